//! Deferred signals and ticks. A binary of its own: signal handlers belong to the process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use sidestack_test_native::signals::{self, StormResult};

/// One test at a time: they share the process's handlers.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const THREADS: usize = 4;
const PERIOD_NS: u64 = 50_000; // two timers a thread, 20 kHz each

fn storm(crossings: u64, protect: bool) -> Vec<StormResult> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(move || signals::storm(crossings, PERIOD_NS, protect))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a storm")).collect()
    })
}

#[test]
fn no_handler_runs_in_host_code_and_no_signal_is_lost() {
    let _alone = alone();
    for result in storm(2_000_000, true) {
        println!("{result:?}");
        assert_eq!((result.violations, result.wrong_fiber, result.wrong_info), (0, 0, 0), "{result:?}");
        assert!((result.sent_least..=result.sent_most).contains(&result.accounted), "{result:?}");
        assert!(result.runs > 1000 && result.second_runs > 0 && result.dropped > 0, "the storm was none: {result:?}");
    }
}

/// The control: without the flag the same storm is seen to break the rule.
#[test]
fn without_protection_handlers_run_in_host_code() {
    let _alone = alone();
    let violations: u64 = storm(1_000_000, false).iter().map(|result| result.violations).sum();
    println!("{violations} violations");
    assert!(violations > 100, "{violations}");
}

#[test]
fn a_stream_from_another_thread_arrives_whole_and_in_order() {
    let _alone = alone();
    let result = signals::stream(100_000, true);
    println!("{result:?}");
    assert_eq!((result.violations, result.out_of_order), (0, 0), "{result:?}");
    let control = signals::stream(20_000, false);
    println!("unprotected: {control:?}");
    assert!(control.violations > 0, "{control:?}");
}

#[test]
fn a_library_opened_at_run_time_is_caught() {
    let _alone = alone();
    signals::loaded();
}

macro_rules! cases {
    ($($test:ident: $case:ident;)*) => {$(
        #[test]
        fn $test() {
            let _alone = alone();
            signals::$case();
        }
    )*};
}

cases! {
    two_hundred_queued_signals_arrive_in_order: case_overflow;
    an_overflow_keeps_fibers_apart: case_overflow_of_two_fibers;
    a_signal_belongs_to_the_fiber_that_was_current: case_fibers;
    standard_signals_coalesce_and_keep_their_siginfo: case_standard;
    the_guests_mask_and_flags_hold: case_mask_and_flags;
    guests_see_their_handlers_and_the_hosts_pass: case_registrations;
    a_removed_handler_gets_nothing: case_handler_gone;
    a_signal_on_a_foreign_thread_is_forwarded: case_forward;
    a_slice_ends_only_for_others: case_slice;
    a_stale_tick_does_nothing: case_stale;
    a_deadline_is_noticed: case_deadline;
    a_cancel_is_repeated: case_cancel;
    a_tick_in_host_code_waits_for_the_return: case_in_host;
    an_idle_thread_stops_ticking: case_idle;
}
