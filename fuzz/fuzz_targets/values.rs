//! From Rust into a run and back: what is encoded decodes to the same, and into other types without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use sidestack::Value;
use sidestack::value::{Flat, Results};
use sidestack_fuzz::{Data, depth, each_type, has_plain_keys, same};

fn decode<T: DeserializeOwned>(flat: &Flat) {
    drop(Results::of(flat).decode::<T>());
}

fuzz_target!(|data: Data| {
    let Data(value) = data;
    let mut flat = Flat::new();
    if flat.push(&value).is_err() {
        // Too deep, or a key that none can be; and nothing of it stays.
        assert!((depth(&value) >= 100 || !has_plain_keys(&value)) && flat.count() == 0);
        return;
    }
    let back: Value = Results::of(&flat).decode().expect("what was encoded decodes");
    assert!(same(&value, &back), "{value:?} became {back:?}");
    each_type!(decode, &flat);
});
