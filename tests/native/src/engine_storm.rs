//! A native guest with a timer of its own on real fibers (`csrc/engine_storm.c`).

use std::ffi::{c_int, c_ulong};

use sidestack::guest::ss_value;

unsafe extern "C" {
    fn engine_storm(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn engine_storm_host(inside: c_int);
    fn engine_storm_counts(out: *mut c_ulong);
}

/// The guest function, for `Native::function`.
pub const GUEST: unsafe extern "C" fn(*mut ss_value, u32, *mut ss_value) -> c_int = engine_storm;

/// Tells the guest's handler whether host code runs on this thread.
pub fn in_host(inside: bool) {
    // SAFETY: it sets a thread-local.
    unsafe { engine_storm_host(c_int::from(inside)) }
}

/// Handler runs, runs while host code ran, runs for a fiber that was not current.
pub fn counts() -> [u64; 3] {
    let mut out = [0; 3];
    // SAFETY: room for the three counts.
    unsafe { engine_storm_counts(out.as_mut_ptr()) };
    out
}
