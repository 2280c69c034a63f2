//! Exported functions, for the loops of csrc/exports.c.

use std::ffi::c_int;
use std::hint::black_box;

use sidestack::guest::ss_value;
use sidestack::{Object, export};

use crate::both::wait_once;
use crate::native::Thing;

unsafe extern "C" {
    pub(crate) fn bench_exports(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
}

/// The loops by name; csrc/exports.c numbers them so.
pub(crate) const LOOPS: [&str; 7] =
    ["ready", "async, ready", "awaited", "leaf", "swapcontext", "handle", "thread hand-off"];

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

#[export]
fn bench_export_thing() -> Object<Thing> {
    Object::new(Thing)
}

#[export]
fn bench_export_handle(thing: Object<Thing>, value: i64) -> i64 {
    black_box(&thing);
    black_box(value).wrapping_add(1)
}
