//! What the fuzz targets share: arbitrary values, and when two are the same.

// The C code calls the bridge, which is linked only if the crate is named.
use sidestack as _;

use std::ffi::{c_int, c_void};
use std::ptr;

use arbitrary::{Arbitrary, Result, Unstructured};
use sidestack::guest::native::sidestack_results;
use sidestack::guest::ss_value;
use sidestack::{Bytes, Native, Value};

unsafe extern "C" {
    fn fuzz_c_api(data: *mut c_void, args: *const ss_value, nargs: u32, results: *mut sidestack_results) -> c_int;
}

/// The guest of csrc/c_api.c: `fuzz` takes bytes.
pub fn c_api() -> Native {
    // SAFETY: csrc/c_api.c passes what the header allows, and what it says is an error.
    unsafe { Native::new().callable("fuzz", fuzz_c_api, ptr::null_mut()) }
}

/// How deep arbitrary values are nested; the limit of values is 128.
const DEPTH: u32 = 140;

/// Any value that is data.
#[derive(Debug, Clone)]
pub struct Data(pub Value);

impl<'a> Arbitrary<'a> for Data {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        value(u, DEPTH).map(Data)
    }
}

fn value(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth == 0 { 5 } else { 8_u8 })? {
        0 => Value::Nil,
        1 => Value::Bool(u.arbitrary()?),
        2 => Value::Int(u.arbitrary()?),
        3 => Value::Float(u.arbitrary()?),
        4 => Value::String(u.arbitrary::<&str>()?.to_string()),
        5 => Value::Bytes(Bytes(u.arbitrary::<&[u8]>()?.to_vec())),
        6 => Value::List((0..u.int_in_range(0..=4)?).map(|_| value(u, depth - 1)).collect::<Result<_>>()?),
        // Chains, which get deep soon.
        7 => Value::List(vec![value(u, depth - 1)?]),
        _ => Value::Map(
            (0..u.int_in_range(0..=4)?)
                .map(|_| Ok((value(u, depth.min(2) - 1)?, value(u, depth - 1)?)))
                .collect::<Result<_>>()?,
        ),
    })
}

/// How deep a value is nested.
pub fn depth(value: &Value) -> u32 {
    match value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(pairs) => 1 + pairs.iter().map(|(key, value)| depth(key).max(depth(value))).max().unwrap_or(0),
        _ => 0,
    }
}

/// All keys of maps are scalars.
pub fn has_plain_keys(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().all(has_plain_keys),
        Value::Map(pairs) => pairs
            .iter()
            .all(|(key, value)| !matches!(key, Value::Nil | Value::List(_) | Value::Map(_)) && has_plain_keys(value)),
        _ => true,
    }
}

/// The same data, not a number included.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        (a, b) => a == b,
    }
}

/// Types of many kinds, to decode into: whatever they are given, they are made or an error.
pub mod types {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;

    /// Tries them all.
    #[macro_export]
    macro_rules! each_type {
        ($decode:ident, $from:expr) => {{
            use std::collections::{BTreeMap, HashMap};
            use $crate::types::{Choice, Record, Unit};
            $decode::<()>($from);
            $decode::<bool>($from);
            $decode::<i8>($from);
            $decode::<u8>($from);
            $decode::<i32>($from);
            $decode::<u64>($from);
            $decode::<i128>($from);
            $decode::<f32>($from);
            $decode::<f64>($from);
            $decode::<char>($from);
            $decode::<String>($from);
            $decode::<sidestack::Bytes>($from);
            $decode::<sidestack::Value>($from);
            $decode::<serde_json::Value>($from);
            $decode::<Option<i64>>($from);
            $decode::<Option<Option<String>>>($from);
            $decode::<Vec<u8>>($from);
            $decode::<Vec<Option<String>>>($from);
            $decode::<[i64; 3]>($from);
            $decode::<(i64, String, Vec<f64>)>($from);
            $decode::<HashMap<String, i64>>($from);
            $decode::<BTreeMap<i64, Vec<String>>>($from);
            $decode::<BTreeMap<Vec<u8>, bool>>($from);
            $decode::<Record>($from);
            $decode::<Vec<Record>>($from);
            $decode::<Choice>($from);
            $decode::<Vec<Choice>>($from);
            $decode::<Unit>($from);
            $decode::<Box<str>>($from);
            $decode::<std::time::Duration>($from);
            $decode::<std::net::IpAddr>($from);
            $decode::<std::path::PathBuf>($from);
            $decode::<Result<i64, String>>($from);
        }};
    }

    /// A struct with all that serde offers.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is made, and that is all")]
    pub struct Record {
        a: i64,
        #[serde(default)]
        b: Option<Box<Record>>,
        #[serde(rename = "c")]
        renamed: BTreeMap<String, Choice>,
    }

    /// An enum of all kinds of variants.
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is made, and that is all")]
    pub enum Choice {
        /// A name.
        A,
        /// A value.
        B(u16),
        /// Some values.
        C(i64, String),
        /// Named ones.
        D {
            /// Nested.
            x: HashMap<String, f32>,
        },
    }

    /// Nothing.
    #[derive(Debug, Deserialize)]
    pub struct Unit;
}
