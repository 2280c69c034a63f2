//! C calls exported functions: types, errors, panics, waits, cancels, other stacks, host code that calls C.

use std::time::Duration;

use sidestack::Error;
use sidestack_test_export::stage::{arrived, arrived_all, live, notes, open, until};
use sidestack_test_export::{Bed, Case, last_error, wait};

unsafe extern "C" {
    fn case_types(_: i64) -> i64;
    fn case_errors(_: i64) -> i64;
    fn case_panics(_: i64) -> i64;
    fn case_own_error(_: i64) -> i64;
    fn case_gate(_: i64) -> i64;
    fn case_pattern(_: i64) -> i64;
    fn case_small_stack(_: i64) -> i64;
    fn case_sum(_: i64) -> i64;
    fn case_stubborn(_: i64) -> i64;
    fn case_deadline(_: i64) -> i64;
    fn case_on_thread(_: i64) -> i64;
    fn case_no_callback(_: i64) -> i64;
    fn case_jump(_: i64) -> i64;
    fn case_busy(_: i64) -> i64;
    fn case_busy_deadline(_: i64) -> i64;
    fn case_stop(_: i64) -> i64;
    fn add(a: i32, b: i32) -> i32;
}

#[test]
fn every_type_crosses() {
    Bed::new().check(case_types);
}

/// A3.
#[test]
fn c_reads_why_it_failed() {
    Bed::new().check(case_errors);
}

#[test]
fn panics_are_errors() {
    open(2000, 1);
    Bed::new().check(case_panics);
}

#[test]
fn each_fiber_has_its_own_last_error() {
    let bed = Bed::new();
    let calls: Vec<_> =
        (0..2).map(|which| bed.engine.spawn(bed.call(case_own_error, which)).expect("started")).collect();
    arrived_all(3000, 2);
    open(3000, 1);
    for call in calls {
        assert_eq!(wait(call).expect("it returns"), 0);
    }
    assert_eq!(last_error().0, "", "nor has the thread one of theirs");
}

#[test]
fn borrowed_arguments_last_while_it_waits() {
    let bed = Bed::new();
    let call = bed.engine.spawn(bed.call(case_sum, 0)).expect("started");
    arrived(1000);
    open(1000, 0);
    assert_eq!(wait(call).expect("a sum"), -4);
}

/// A4, in both orders.
#[test]
fn a_hundred_in_flight_keep_their_stacks_and_values() {
    let bed = Bed::new();
    for round in 0..2 {
        let base = 10_000 + round * 1000;
        let calls: Vec<_> =
            (0..100).map(|i| bed.engine.spawn(bed.call(case_pattern, base + i)).expect("started")).collect();
        (0..100).for_each(|i| arrived(base + i));
        assert_eq!(bed.engine.metrics().fibers, 100);
        // Backwards; then in an order without any (a generator of the numbers modulo 101).
        let mut order: Vec<i64> = (0..100).rev().collect();
        if round == 1 {
            order = std::iter::successors(Some(1), |n| Some(n * 2 % 101)).take(100).map(|n| n - 1).collect();
        }
        for i in order {
            open(base + i, 3 * i);
        }
        for (i, call) in calls.into_iter().enumerate() {
            assert_eq!(wait(call).expect("a value"), 3 * i as i64);
        }
    }
}

#[test]
fn it_waits_on_stacks_that_c_made() {
    let bed = Bed::new();
    let calls: Vec<_> =
        (0..20).map(|i| bed.engine.spawn(bed.call(case_small_stack, 20_000 + 3 * i)).expect("started")).collect();
    for step in 0..3 {
        for i in (0..20).rev() {
            arrived(20_000 + 3 * i + step);
            open(20_000 + 3 * i + step, i);
        }
    }
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(wait(call).expect("a sum"), 3 * i as i64);
    }
}

/// How often the cases that outlive their caller got to their end.
fn ends() -> i64 {
    unsafe extern "C" {
        fn case_count(_: i64) -> i64;
    }
    Bed::new().run(case_count, 0)
}

fn cancelled(case: Case, gate: i64) {
    let bed = Bed::new();
    let before = ends();
    let call = bed.engine.spawn(bed.call(case, gate)).expect("started");
    arrived(gate);
    drop(call);
    until("it is gone", || bed.engine.metrics().fibers == 0);
    assert_eq!(ends(), before + 1, "it did not get to its end");
    assert_eq!(bed.run(add_once, 0), 5, "usable afterwards");
}

unsafe extern "C" fn add_once(_: i64) -> i64 {
    // SAFETY: on a fiber, or anywhere.
    unsafe { add(2, 3) }.into()
}

/// One after the other: they count.
#[test]
fn cancels_reach_c() {
    cancelled(case_stubborn, 30_000);
    let bed = Bed::new();
    let before = ends();
    let call = bed.call(case_deadline, 30_002).deadline(Duration::from_secs(1));
    assert!(matches!(wait(call), Err(Error::Limit { .. })));
    assert_eq!(ends(), before + 1);
    let before = ends();
    let call = bed.call(case_busy_deadline, 0).deadline(Duration::from_secs(1));
    assert!(matches!(wait(call), Err(Error::Limit { .. })));
    assert_eq!(ends(), before + 1);
    until("no future is left", || live() == 0);
}

#[test]
fn c_that_host_code_calls_may_call_what_is_ready() {
    Bed::new().check(case_on_thread);
}

/// E4.
#[test]
fn a_function_that_never_calls_back_is_held_to_it() {
    Bed::new().check(case_no_callback);
}

#[test]
fn jumps_past_calls_that_are_over_leave_nothing() {
    let bed = Bed::new();
    bed.check(case_jump);
    until("no fiber is left", || bed.engine.metrics().fibers == 0);
}

/// C has no other place to look up.
#[test]
fn c_that_calls_what_is_ready_gives_way() {
    let bed = Bed::new();
    let busy = bed.engine.spawn(bed.call(case_busy, 0)).expect("started");
    until("it runs", || bed.engine.metrics().queued == 0);
    assert_eq!(bed.run(case_stop, 0), 0);
    assert_eq!(wait(busy).expect("it was stopped"), 0);
}

/// C that called an exported function has no guest functions; pass a pointer to a C function.
#[test]
fn guest_calls_are_refused() {
    unsafe extern "C" {
        fn case_guest_call(_: i64) -> i64;
    }
    Bed::new().check(case_guest_call);
}

#[test]
fn objects_are_handles() {
    unsafe extern "C" {
        fn case_handles(_: i64) -> i64;
    }
    let bed = Bed::new();
    open(46_000, 10);
    assert_eq!(bed.run(case_handles, 46_000), 0, "failed at this line of beyond.c");
    let metrics = wait(bed.engine.shutdown(Duration::from_secs(1)));
    assert_eq!(metrics.leaked_objects, 0);
}

/// Fine print 2: the record of the call that was jumped past ends when an exported function is called further out.
#[test]
fn a_jump_past_a_host_call_ends_it() {
    unsafe extern "C" {
        fn jump_past_host_call(_: i64) -> i64;
    }
    let bed = Bed::new();
    let call = bed.engine.spawn(bed.call(jump_past_host_call, 45_000)).expect("started");
    arrived(45_000);
    assert_eq!(notes(), ["t.call is over"], "its future is dropped, while the other one waits");
    open(45_000, 6);
    assert_eq!(wait(call).expect("the gate's value"), 6);
}

/// Drops of a call's extensions run in the worker loop.
#[test]
fn without_a_fiber_it_is_refused() {
    struct CallsC(std::sync::mpsc::Sender<(i32, String)>);
    impl Drop for CallsC {
        fn drop(&mut self) {
            // SAFETY: it is refused.
            let sum = unsafe { add(1, 2) };
            let _ = self.0.send((sum, last_error().0));
        }
    }
    let (tell, told) = std::sync::mpsc::channel();
    let bed = Bed::new();
    let tell = std::sync::Mutex::new(CallsC(tell));
    let call = bed.call(case_gate, 40_000).ext(tell);
    open(40_000, 9);
    assert_eq!(wait(call).expect("a value"), 9);
    assert_eq!(told.recv().expect("it was dropped"), (0, "no_fiber".to_string()));
    assert_eq!(bed.run(add_once, 0), 5);
}
