//! Shared libraries opened at run time, in C and in C++.

use std::ptr;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::guest::native::{CallableFunction, Library};
use sidestack::{Error, Limit, Native};

use super::stage::{Bed, until};

fn plugin() -> Native {
    // SAFETY: csrc/loaded/plugin.c has these functions.
    unsafe {
        let library = Library::open(env!("SIDESTACK_TEST_PLUGIN")).expect("the plugin");
        Native::new()
            .entry("add", library.get::<unsafe extern "C" fn(i64, i64) -> i64>("plugin_add").expect("a symbol"))
            .callable("nap", library.get::<CallableFunction>("plugin_nap").expect("a symbol"), ptr::null_mut())
            .callable("spin", library.get::<CallableFunction>("plugin_spin").expect("a symbol"), ptr::null_mut())
    }
}

#[test]
fn a_library_runs_on_fibers_like_any_guest() {
    let bed = Bed::with(plugin(), |builder| builder.threads(1));
    assert_eq!(bed.call::<i64>("add", (2, 3)).expect("a sum"), 5);
    let begun = Instant::now();
    let naps: Vec<_> =
        (0..100).map(|_| bed.engine.spawn(bed.script.call::<String>("nap", 0.2)).expect("started")).collect();
    for nap in naps {
        assert_eq!(block_on(nap).expect("slept"), "slept");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "they nap at once: one after the other takes 20 s");
    for name in ["nap", "spin"] {
        let error =
            block_on(bed.script.call::<()>(name, 60).deadline(Duration::from_millis(30))).expect_err("too long");
        assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{name}: {error:?}");
        let call = bed.engine.spawn(bed.script.call::<()>(name, 60)).expect("started");
        until("it runs", || bed.engine.metrics().fibers == 1);
        drop(call);
        bed.idle();
    }
    let call = bed.engine.spawn(bed.script.call::<()>("spin", ())).expect("started");
    assert_eq!(block_on(bed.engine.shutdown(Duration::from_millis(10))).stuck, 0);
    assert!(matches!(block_on(call), Err(Error::Cancelled)));
}

#[test]
fn what_cannot_be_opened_or_found_is_named() {
    // SAFETY: there is no such file, and no such symbol.
    unsafe {
        let error = Library::open("/no/such/library.so").expect_err("no file").to_string();
        assert!(error.contains("/no/such/library.so"), "{error}");
        let library = Library::open(env!("SIDESTACK_TEST_PLUGIN")).expect("the plugin");
        let error = library.get::<unsafe extern "C" fn()>("plugin_none").expect_err("no symbol").to_string();
        assert!(error.contains("plugin_none"), "{error}");
    }
}

fn cpp() -> Option<Native> {
    let path = env!("SIDESTACK_TEST_THROWS");
    if path.is_empty() {
        println!("SKIPPED: there is no C++ compiler (Debian package g++)");
        return None;
    }
    // SAFETY: csrc/loaded/throws.cc has these functions.
    unsafe {
        let library = Library::open(path).expect("the library");
        let names = ["cpp_throw", "cpp_unwound", "cpp_callback", "cpp_direct", "cpp_wait_in_catch"];
        let native = names.into_iter().fold(Native::new(), |native, name| {
            native.callable(name, library.get::<CallableFunction>(name).expect("a symbol"), ptr::null_mut())
        });
        let scalar = library.get::<unsafe extern "C" fn(i64) -> i64>("cpp_scalar").expect("a symbol");
        Some(native.entry("cpp_scalar", scalar))
    }
}

#[test]
fn a_cpp_exception_ends_at_the_first_crossing() {
    let Some(native) = cpp() else { return };
    let bed = Bed::with(native, |builder| builder.threads(1));
    for i in 0..200 {
        let error = bed.call::<()>("cpp_throw", i % 2).expect_err("an exception");
        assert_eq!(error.code(), Some("cpp_exception"), "{error:?}");
        let kind = if i % 2 == 0 { "St13runtime_error" } else { "type is i" };
        assert!(error.to_string().ends_with(kind), "{error}");
    }
    let (unwound, in_flight) = bed.call::<(i64, i64)>("cpp_unwound", ()).expect("counters");
    assert_eq!((unwound, in_flight), (200, 0), "destructors ran, and nothing is in flight");
    let (status, code, message, unwound) =
        bed.call::<(i64, String, String, i64)>("cpp_callback", ()).expect("the host's error, as a status");
    assert_eq!((status, code.as_str(), unwound), (1, "cpp_exception", 1), "{message}");
    assert_eq!(bed.shared.live(), 0, "the host function ended");
    assert_eq!(bed.call::<i64>("cpp_direct", ()).expect("a status"), 1);
    assert_eq!(bed.call::<i64>("cpp_scalar", 4).expect("no exception"), 4);
    let error = bed.call::<i64>("cpp_scalar", -4).expect_err("an exception");
    assert!(error.to_string().ends_with("St12out_of_range"), "{error}");
}

#[test]
fn each_fiber_has_its_own_exception_in_hand() {
    let Some(native) = cpp() else { return };
    let bed = Bed::with(native, |builder| builder.threads(1));
    let calls: Vec<_> =
        (0..200).map(|i| bed.engine.spawn(bed.script.call::<i64>("cpp_wait_in_catch", i)).expect("started")).collect();
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(block_on(call).expect("its own"), i as i64);
    }
}
