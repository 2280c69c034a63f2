//! Fibers that C starts (scenario F1), and threads that C starts (E5, as far as the C API goes).

use std::time::Duration;

use futures_executor::block_on;
use sidestack::Error;
use sidestack_test_native::public::late_told;

use super::stage::{Bed, until};

const OK: i64 = 0;
const REFUSED: i64 = 3;

/// Ended, and freed: the counters are the process's, so this is one test.
#[test]
fn three_policies_for_what_a_call_starts() {
    let bed = Bed::new();
    let counters = || bed.call::<(i64, i64)>("counters", ()).expect("counters");
    const RUN_ON: i64 = 0;
    const WAIT: i64 = 1;
    const CANCEL: i64 = 2;
    assert_eq!(bed.call::<i64>("policy", (WAIT, 10, 5)).expect("their sum"), 50);
    assert_eq!(counters().0, 10, "it returned when all were done");
    bed.call::<i64>("policy", (RUN_ON, 10, 100)).expect("it does not wait");
    assert_eq!(counters().0, 10, "it returned and they run on");
    until("they end", || counters().0 == 20);
    bed.call::<i64>("policy", (CANCEL, 10, 60_000)).expect("it ends them");
    bed.idle();
    assert_eq!(counters().0, 20, "what was left was cancelled");
    until("all data is freed, also that of fibers that were cancelled", || counters().1 == 30);
}

#[test]
fn c_tasks_that_wait_for_each_other_are_a_deadlock() {
    let bed = Bed::new();
    for _ in 0..3 {
        let ended = block_on(bed.script.call::<()>("join_itself", ()).detect_deadlock());
        let Err(Error::Deadlock { fibers }) = ended else { panic!("{ended:?}") };
        let own = |n: usize| format!("fiber {}", fibers[n].id.expect("a fiber"));
        assert_eq!((fibers.len(), fibers[0].guest), (2, "native"));
        assert!(fibers.iter().all(|fiber| fiber.waits_for.as_deref() == Some("Task.join")), "{fibers:?}");
        assert_eq!(fibers[0].which, fibers[1].which);
        assert_eq!(fibers[1].which.as_deref(), Some(own(1).as_str()));
    }
    bed.idle();
    assert_eq!(bed.call::<(i64, i64)>("counters", ()).map(|_| ()).map_err(|e| e.to_string()), Ok(()));
}

#[test]
fn foreign_threads_are_refused_unless_they_attach() {
    let bed = Bed::new();
    let refused = bed.call::<(i64, i64, String, i64)>("threads", (1, false, false)).expect("told");
    assert_eq!(refused, (REFUSED, REFUSED, "no_fiber".into(), 0));
    for detach in [true, false] {
        let told = bed.call::<(i64, i64, String, i64)>("threads", (100, true, detach)).expect("told");
        assert_eq!((told.0, told.1, told.3), (OK, OK, (1..=100).sum()));
    }
    bed.idle();
}

#[test]
fn a_thousand_threads_leave_nothing_behind() {
    let bed = Bed::new();
    for _ in 0..10 {
        let told = bed.call::<(i64, i64, String, i64)>("threads", (100, true, false)).expect("told");
        assert_eq!((told.0, told.1, told.3), (OK, OK, (1..=100).sum()));
    }
    bed.idle();
    let metrics = futures_executor::block_on(bed.engine.shutdown(Duration::from_secs(5)));
    assert_eq!((metrics.stuck, metrics.leaked_objects, metrics.fibers), (0, 0, 0));
    // A thread that was still attached would keep the host functions, and what they captured.
    let Bed { shared, engine, script } = bed;
    drop((engine, script));
    until("nobody holds the host functions", || std::sync::Arc::strong_count(&shared) == 1);
}

#[test]
fn what_an_attached_thread_may_not_do_is_refused_by_name() {
    let bed = Bed::new();
    let told = bed.call::<(bool, i64, String, bool, i64)>("thread_misuse", ()).err();
    assert!(told.is_some(), "statuses are numbers");
    let told = bed.call::<(i64, i64, String, i64, i64)>("thread_misuse", ()).expect("told");
    assert_eq!(told, (1, REFUSED, "not_for_threads".into(), 1, REFUSED));
}

#[test]
fn a_thread_that_outlives_its_interpreter_is_told() {
    const CANCELLED: i32 = 2;
    let bed = Bed::new();
    bed.call::<()>("late", ()).expect("it starts a thread");
    until("the thread's host call waits", || bed.shared.waiting(9) == 1);
    let metrics = futures_executor::block_on(bed.engine.shutdown(Duration::from_millis(20)));
    assert_eq!((metrics.stuck, metrics.fibers), (0, 0));
    until("the thread has ended", || late_told().is_some());
    assert_eq!(late_told(), Some((CANCELLED, REFUSED as i32, "shut_down".into())));
}
