//! E5: threads that are no interpreter threads. A binary of its own: it looks at the process's threads and memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidestack_test_export::stage::{arrived, live, open, until};
use sidestack_test_export::{Bed, Case, last_error, wait};

unsafe extern "C" {
    fn threads_rejected(_: i64) -> i64;
    fn threads_owned(_: i64) -> i64;
    fn threads_attached(_: i64) -> i64;
    fn threads_no_owner(_: i64) -> i64;
    fn threads_shut_down(_: i64) -> i64;
    fn threads_gate(_: i64) -> i64;
    fn add(a: i32, b: i32) -> i32;
}

/// One test at a time: the owner is the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux").count()
}

/// Bytes that malloc has given out.
fn allocated() -> usize {
    // SAFETY: it has no precondition.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[track_caller]
fn runs(case: Case, argument: i64) {
    // SAFETY: a case of csrc/cases.c.
    assert_eq!(unsafe { case(argument) }, 0, "failed at this line of cases.c");
}

#[test]
fn each_policy_does_what_it_says_and_leaves_nothing() {
    let _alone = alone();
    let bed = Bed::new();
    bed.engine.own_foreign_calls();
    for case in [threads_rejected as Case, threads_owned, threads_attached] {
        for n in 0..100 {
            runs(case, n);
        }
        let (threads_before, before) = (threads(), allocated());
        for n in 0..1000 {
            runs(case, n);
        }
        until("no thread is left", || threads() <= threads_before);
        let grown = allocated().saturating_sub(before);
        assert!(grown < 64 << 10, "{grown} bytes more after 1,000 threads");
        until("no fiber is left", || bed.engine.metrics().fibers == 0);
        assert_eq!(live(), 0);
    }
}

/// From several threads at once.
#[test]
fn many_at_once() {
    let _alone = alone();
    let bed = Bed::new();
    bed.engine.own_foreign_calls();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || (0..20).for_each(|n| runs(threads_owned, thread * 100 + n)));
        }
    });
    until("no fiber is left", || bed.engine.metrics().fibers == 0);
}

#[test]
fn without_an_owner_there_is_an_error() {
    let _alone = alone();
    let bed = Bed::new();
    bed.engine.own_foreign_calls();
    runs(threads_owned, 1);
    wait(bed.engine.shutdown(Duration::from_secs(1)));
    runs(threads_shut_down, 1);
    drop(bed);
    runs(threads_no_owner, 1);
    // SAFETY: it is refused.
    assert_eq!(unsafe { add(1, 2) }, 0);
    assert_eq!(last_error().0, "foreign_thread");
}

/// The engine's shutdown cancels what it runs for others.
#[test]
fn a_shutdown_lets_the_threads_go() {
    let _alone = alone();
    let bed = Bed::new();
    bed.engine.own_foreign_calls();
    // SAFETY: a case of csrc/cases.c.
    let waiting = std::thread::spawn(|| unsafe { threads_gate(50_000) });
    arrived(50_000);
    wait(bed.engine.shutdown(Duration::ZERO));
    assert_eq!(waiting.join().expect("it returns"), -1);
    assert_eq!(live(), 0);
    let bed = Bed::new();
    bed.engine.own_foreign_calls();
    open(50_000, 7);
    // SAFETY: a case of csrc/cases.c.
    assert_eq!(unsafe { threads_gate(50_000) }, 7);
    drop(bed);
}

/// With Lua as the engine's guest: no guest code runs for them.
#[test]
fn a_lua_engine_may_be_the_owner() {
    let _alone = alone();
    let engine = sidestack::Engine::builder(sidestack::Lua::new()).threads(2).build().expect("an engine");
    engine.own_foreign_calls();
    (0..50).for_each(|n| runs(threads_owned, n));
    assert_eq!(wait(engine.eval::<i64>("1 + 1")).expect("two"), 2);
    until("no fiber is left", || engine.metrics().fibers == 0);
}
