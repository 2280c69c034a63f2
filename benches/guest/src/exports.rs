//! Exported functions, for the loops of csrc/exports.c.

use std::ffi::c_int;
use std::hint::black_box;

use sidestack::export;
use sidestack::guest::ss_value;

use crate::wait_once;

unsafe extern "C" {
    pub(crate) fn bench_exports(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
}

/// The loops by name; csrc/exports.c numbers them so.
pub(crate) const LOOPS: [&str; 6] = ["ready", "async, ready", "awaited", "leaf", "swapcontext", "thread hand-off"];

#[export]
fn bench_export_ready(value: i64) -> i64 {
    black_box(value).wrapping_add(1)
}

#[export]
async fn bench_export_async_ready(value: i64) -> i64 {
    black_box(value).wrapping_add(1)
}

#[export]
async fn bench_export_awaited(value: i64) -> i64 {
    wait_once().await;
    black_box(value).wrapping_add(1)
}

/// # Safety
///
/// None: it is a leaf.
#[export(stack = fiber)]
unsafe fn bench_export_leaf(value: i64) -> i64 {
    black_box(value).wrapping_add(1)
}
