//! What the tests of encoding and decoding share.

mod attachments;
mod decoding;
mod encoding;
mod misuse;
mod round_trips;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::run::Entry;
use super::*;
use crate::abi::*;

/// The entries of a run, in words.
fn words(flat: &Flat) -> String {
    let words = flat.parts().0.iter().map(|entry| {
        // SAFETY: the tag says what the payload is, and strings of a `Flat` are valid.
        unsafe {
            match entry.kind() {
                SS_NIL => "nil".into(),
                SS_NULL => "null".into(),
                SS_BOOL => format!("{}", entry.as_.integer != 0),
                SS_INT => format!("{}", entry.as_.integer),
                SS_FLOAT => format!("{:?}", entry.as_.number),
                SS_STRING => format!("{:?}", str::from_utf8(entry.data()).expect("UTF-8")),
                SS_BYTES => format!("b{:?}", entry.data()),
                SS_LIST => format!("list{}", entry.len),
                SS_MAP => format!("map{}", entry.len),
                SS_FUNCTION => format!("function#{}", entry.as_.key),
                SS_REFERENCE => format!("reference#{}", entry.as_.key),
                SS_OBJECT => format!("object#{}", entry.as_.key),
                tag => format!("?{tag}"),
            }
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The entries that one value becomes.
fn pushed<T: Serialize + ?Sized>(value: &T) -> String {
    words(&flat(value))
}

/// The entries that arguments become.
fn passed<T: Serialize + ?Sized>(values: &T) -> String {
    let mut flat = Flat::new();
    flat.push_args(values).expect("encodes");
    words(&flat)
}

fn flat<T: Serialize + ?Sized>(value: &T) -> Flat {
    let mut flat = Flat::new();
    flat.push(value).expect("encodes");
    assert_eq!(flat.count(), 1);
    flat
}

fn refused<T: Serialize + ?Sized>(value: &T) -> String {
    let mut flat = Flat::new();
    flat.push("before").expect("encodes");
    let error = flat.push(value).expect_err("is refused");
    assert_eq!((flat.count(), words(&flat)), (1, "\"before\"".into()), "a failure leaves nothing behind");
    error.to_string()
}

/// Decodes what a value was encoded as.
fn recoded<T: DeserializeOwned>(value: &(impl Serialize + ?Sized)) -> Result<T, String> {
    let mut flat = flat(value);
    let decoded = Results::of(&flat).decode().map_err(|error| error.to_string());
    let (values, count) = flat.as_raw();
    // SAFETY: the run is valid, holds no attachments and so is not written to.
    let mut run = unsafe { Run::new(values, count) };
    let _ = run.next::<T>(&mut ());
    assert_eq!(run.left(), 0);
    let end = values.wrapping_add(flat.parts().0.len());
    assert_eq!(run.position(), end, "the cursor is behind the value, also after an error");
    decoded
}

fn decode_error<T: DeserializeOwned + std::fmt::Debug>(value: &(impl Serialize + ?Sized)) -> String {
    recoded::<T>(value).expect_err("is refused")
}

/// Results of a call.
fn results<T: DeserializeOwned>(values: impl Serialize) -> Result<T, String> {
    let mut flat = Flat::new();
    flat.push_args(&values).expect("encodes");
    Results::of(&flat).decode().map_err(|error| error.to_string())
}
