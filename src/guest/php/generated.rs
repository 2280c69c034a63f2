//! The bindings of this build (feature `bindgen`).

include!(concat!(env!("OUT_DIR"), "/php.rs"));
