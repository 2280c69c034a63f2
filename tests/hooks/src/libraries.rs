//! The guests of csrc/libs, as far as their libraries are installed.

use std::ffi::c_long;

#[cfg(any(has_libpq, has_libcurl, has_hiredis))]
use sidestack::Native;
#[cfg(any(has_libpq, has_libcurl, has_hiredis))]
macro_rules! guests {
    ($($(#[$meta:meta])* $library:ident: $($name:ident)*;)*) => {$(
        $(#[$meta])*
        pub fn $library() -> Native {
            use std::ffi::c_int;
            use sidestack::guest::ss_value;
            unsafe extern "C" {
                $(fn $name(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;)*
            }
            let native = Native::new();
            // SAFETY: they keep to csrc/native.h.
            $(let native = unsafe { native.function(stringify!($name), Some($name)) };)*
            native
        }
    )*};
}

#[cfg(has_libpq)]
guests! {
    /// libpq's.
    postgres: pq_operation pq_gate;
}
#[cfg(has_hiredis)]
guests! {
    /// hiredis's.
    redis: redis_operation redis_gate;
}
#[cfg(has_libcurl)]
guests! {
    /// libcurl's, after its global initialisation.
    curl_guest: curl_operation;
}

/// libcurl's guests, after its global initialisation: call it before there are other threads.
#[cfg(has_libcurl)]
pub fn curl() -> Native {
    unsafe extern "C" {
        safe fn curl_prepare() -> std::ffi::c_int;
    }
    assert_eq!(curl_prepare(), 1, "curl_global_init");
    curl_guest()
}

/// Asserts that all of the libraries' guests ran on one thread.
pub fn assert_one_thread() {
    unsafe extern "C" {
        fn libs_threads(out: *mut c_long);
    }
    let mut out = [0; 2];
    // SAFETY: room for both.
    unsafe { libs_threads(out.as_mut_ptr()) };
    assert!(out[0] != 0, "no guest ran");
    assert_eq!(out[1], 0, "guests ran on other threads than {}", out[0]);
}
