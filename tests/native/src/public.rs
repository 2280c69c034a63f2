//! C functions over the public API (`csrc/sidestack.h`), and C functions of scalars.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::AtomicI64;

use sidestack::Native;
use sidestack::guest::native::{CallableFunction, sidestack_results};
use sidestack::guest::ss_value;

macro_rules! callables { ($($name:ident)*) => {
    unsafe extern "C" {
        $(fn $name(data: *mut c_void, args: *const ss_value, nargs: u32, results: *mut sidestack_results) -> c_int;)*
    }

    /// By name, without the prefix.
    const CALLABLES: &[(&str, CallableFunction)] = &[$((stringify!($name), $name)),*];
}}

callables! {
    public_echo public_call public_failure public_compound public_fail public_stack public_stubborn public_spin
    public_object public_late public_yields public_busy public_timeout public_callback public_keep public_kept_destroyed public_nest public_jump public_signal
    public_destroyed public_leave public_use public_release public_misuse public_handle_storm public_cycles
    public_counters public_policy public_join_itself public_threads public_thread_misuse
}

unsafe extern "C" {
    fn public_in_host(statuses: *mut c_int, codes: *mut c_char, size: usize, destroyed: *mut i64);
    fn public_late_told(status: *mut c_int, second: *mut c_int, code: *mut *const c_char) -> c_int;
    fn scalar_add(a: i64, b: i32, c: u8) -> i64;
    fn scalar_mean(a: f64, b: f32) -> f64;
    fn scalar_not(a: bool) -> bool;
    fn scalar_nothing();
    fn scalar_large() -> u64;
    fn scalar_eight(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: f64) -> i64;
    fn scalar_greet(name: *const c_char) -> *const c_char;
}

/// All of them: `public_echo` is `echo`, `scalar_add` is `add`.
pub fn native() -> Native {
    // SAFETY: tests/native/csrc/public_*.c keep to sidestack.h, and the signatures above are theirs.
    unsafe {
        CALLABLES
            .iter()
            .fold(Native::new(), |native, (name, function)| {
                native.callable(name.trim_start_matches("public_"), *function, ptr::null_mut())
            })
            .entry("add", scalar_add as unsafe extern "C" fn(i64, i32, u8) -> i64)
            .entry("mean", scalar_mean as unsafe extern "C" fn(f64, f32) -> f64)
            .entry("not", scalar_not as unsafe extern "C" fn(bool) -> bool)
            .entry("nothing", scalar_nothing as unsafe extern "C" fn())
            .entry("large", scalar_large as unsafe extern "C" fn() -> u64)
            .entry("eight", scalar_eight as unsafe extern "C" fn(i64, i64, i64, i64, i64, i64, i64, f64) -> i64)
            .entry("greet", scalar_greet as unsafe extern "C" fn(*const c_char) -> *const c_char)
    }
}

/// What C code that host code calls is told: five statuses, and the codes of those that failed. It leaves a handle, whose end
/// adds one to `destroyed`.
pub fn in_host(destroyed: &'static AtomicI64) -> (Vec<i32>, String) {
    let (mut statuses, mut codes) = ([0; 5], [0; 256]);
    // SAFETY: as many places as it fills, text that it terminates, and a number that is never freed.
    unsafe {
        public_in_host(statuses.as_mut_ptr(), codes.as_mut_ptr(), codes.len(), destroyed.as_ptr());
        (statuses.to_vec(), CStr::from_ptr(codes.as_ptr()).to_string_lossy().into_owned())
    }
}

/// What the thread of `late` was told, once it has ended: two statuses and the last error's code.
pub fn late_told() -> Option<(i32, i32, String)> {
    let (mut status, mut second, mut code) = (0, 0, ptr::null());
    // SAFETY: three places; the text is terminated and stays.
    unsafe {
        (public_late_told(&raw mut status, &raw mut second, &raw mut code) != 0)
            .then(|| (status, second, CStr::from_ptr(code).to_string_lossy().into_owned()))
    }
}
