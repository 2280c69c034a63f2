//! The control: what is right compiles.
#![deny(unsafe_op_in_unsafe_fn, missing_docs, clippy::undocumented_unsafe_blocks, unused)]

use std::ffi::{CStr, c_char};

#[sidestack::export(on_error = -1)]
async fn ui_fetch(url: &CStr, more: Option<&str>, args: i32, result: i32, call: i32) -> anyhow::Result<i32> {
    Ok(url.to_str()?.len() as i32 + more.map_or(0, |more| more.len() as i32) + args + result + call)
}

#[sidestack::export(out, on_error = 9)]
fn ui_parse(scope: &str, _unused: *const *const c_char) -> Result<f64, std::num::ParseFloatError> {
    scope.parse()
}

#[sidestack::export]
fn ui_callback(f: Option<extern "C" fn(*const u8, usize) -> *mut bool>) -> bool {
    f.is_some_and(|f| !f(b"".as_ptr(), 0).is_null())
}

#[cfg(any())]
#[sidestack::export]
fn ui_absent() {}

#[sidestack::export]
#[cfg(any())]
fn ui_absent_too() {}

fn main() {
    #[sidestack::export(name = "ui_inner")]
    fn inner(out: u64) -> u64 {
        out
    }
    let header = sidestack::export::header();
    for declaration in [
        "int32_t ui_fetch(const char *url, const char *more, int32_t args, int32_t result, int32_t call);",
        "int32_t ui_parse(const char *scope, const char *const *unused, double *out);",
        "bool ui_callback(bool *(*f)(const uint8_t *, size_t));",
        "uint64_t ui_inner(uint64_t out);",
    ] {
        assert!(header.contains(declaration), "{declaration}\n{header}");
    }
    assert!(!header.contains("ui_absent"));
}
