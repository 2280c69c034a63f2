//! What C and Rust both see: plain tagged values, a host call, the state of a thread. A leaf that any part may use.
//!
//! `bindings.rs` is generated from the headers in `csrc/` and committed, so that a build needs no libclang.

#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    dead_code,
    clippy::all,
    reason = "generated from C headers, which document each item"
)]
#[rustfmt::skip]
#[cfg_attr(feature = "bindgen", path = "abi/generated.rs")]
mod bindings;

pub use bindings::*;

/// What an entry holds; by the name that it has as a part of `ss_value`.
pub use bindings::sidestack_payload as ss_value__bindgen_ty_1;
