//! The short way for an argument that is a number or a boolean and is wanted as one: straight from its entry.
//!
//! It reads what [`Run::next`](super::Run::next) would, or says that this is nothing for it.

use std::fmt::{self, Display};

use serde::Deserializer;
use serde::de::{DeserializeOwned, Visitor};

use super::attach::{self, Kind};
use crate::abi::{SS_BOOL, SS_FLOAT, SS_INT, ss_value};

/// Decodes an entry that is a number or a boolean.
#[inline]
pub(super) fn number<T: DeserializeOwned>(entry: &ss_value) -> Option<T> {
    if !matches!(entry.tag, SS_BOOL | SS_INT | SS_FLOAT) {
        return None;
    }
    T::deserialize(Number(entry)).ok()
}

/// Not a number that is wanted as one.
#[derive(Debug)]
struct Other;

impl Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a number that is wanted as one")
    }
}

impl std::error::Error for Other {}

impl serde::de::Error for Other {
    #[inline]
    fn custom<T: Display>(_: T) -> Self {
        Other
    }
}

struct Number<'a>(&'a ss_value);

macro_rules! integers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
            if self.0.tag != SS_INT {
                return Err(Other);
            }
            // SAFETY: the tag says that the payload is an integer.
            visitor.visit_i64(unsafe { self.0.as_.integer })
        }
    )*};
}

macro_rules! others {
    ($($method:ident($($argument:ty),*);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Other> {
            Err(Other)
        }
    )*};
}

impl<'de> Deserializer<'de> for Number<'_> {
    type Error = Other;

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    integers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    others! {
        deserialize_any();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(&'static str);
        deserialize_seq();
        deserialize_tuple(usize);
        deserialize_tuple_struct(&'static str, usize);
        deserialize_map();
        deserialize_struct(&'static str, &'static [&'static str]);
        deserialize_enum(&'static str, &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        if self.0.tag != SS_BOOL {
            return Err(Other);
        }
        // SAFETY: the tag says that the payload is an integer.
        visitor.visit_bool(unsafe { self.0.as_.integer } != 0)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        self.deserialize_f64(visitor)
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        visitor.visit_f64(match self.0.tag {
            // SAFETY: the tag says that the payload is a number.
            SS_FLOAT => unsafe { self.0.as_.number },
            // SAFETY: the tag says that the payload is an integer.
            SS_INT => unsafe { self.0.as_.integer as f64 },
            _ => return Err(Other),
        })
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        visitor.visit_some(self)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Other> {
        if Kind::named(name).is_some() || name == attach::ANY {
            return Err(Other);
        }
        visitor.visit_newtype_struct(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::abi::{SS_NIL, ss_value__bindgen_ty_1 as Payload};
    use crate::value::{Resolver, Run, Value};

    struct Nobody;

    impl Resolver for Nobody {
        fn object(&mut self, _: u64, _: u32) -> Result<std::sync::Arc<dyn std::any::Any + Send + Sync>, String> {
            Err("there are none".into())
        }

        fn guest(&mut self, _: &mut ss_value) -> Result<std::sync::Arc<dyn std::any::Any + Send + Sync>, String> {
            Err("there are none".into())
        }
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(u8);

    /// Both ways read the same, or the short one declines; whether it did not.
    fn agree<T: DeserializeOwned + PartialEq + Debug>(tag: u32, as_: Payload) -> bool {
        let mut entry = ss_value { tag, len: 0, as_ };
        let Some(short) = number::<T>(&entry) else { return false };
        // SAFETY: a number is a well-formed run of one, and it is this function's own.
        let long = unsafe { Run::new(&raw mut entry, 1) }.next::<T>(&mut Nobody);
        assert_eq!(short, long.expect("what the short way reads, the long one does"));
        true
    }

    #[test]
    fn what_is_read_and_what_is_not() {
        let (two, half) = (Payload { integer: 2 }, Payload { number: 0.5 });
        assert!(agree::<i64>(SS_INT, two));
        assert!(agree::<f64>(SS_INT, two));
        assert!(agree::<f32>(SS_FLOAT, half));
        assert!(agree::<Option<u16>>(SS_INT, two));
        assert!(agree::<Wrapped>(SS_INT, two));
        assert!(agree::<bool>(SS_BOOL, Payload { integer: 1 }));
        assert!(!agree::<i64>(SS_FLOAT, half));
        assert!(!agree::<bool>(SS_INT, two));
        assert!(!agree::<u64>(SS_INT, Payload { integer: -1 }));
        assert!(!agree::<String>(SS_INT, two));
        assert!(!agree::<()>(SS_INT, two));
        assert!(!agree::<Option<u16>>(SS_NIL, two));
        assert!(number::<Value>(&ss_value { tag: SS_INT, len: 0, as_: two }).is_none());
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_ever(integer: i64, number in -1e19..1e19) {
            let (whole, float) = (Payload { integer }, Payload { number });
            prop_assert!(agree::<i64>(SS_INT, whole));
            prop_assert!(agree::<f64>(SS_INT, whole));
            prop_assert!(agree::<f64>(SS_FLOAT, float));
            prop_assert_eq!(agree::<u32>(SS_INT, whole), u32::try_from(integer).is_ok());
        }
    }
}
