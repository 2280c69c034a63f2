//! A thread that is no interpreter thread, and whose call has begun on an interpreter that hangs. A binary of its own: what such a
//! call borrowed from the thread is never dropped.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use sidestack::{Engine, Error, Limit, Lua, Module};
use sidestack_test_export::stage::{arrived, live, open, until};
use sidestack_test_export::wait;

unsafe extern "C" {
    fn threads_owned(_: i64) -> i64;
    fn threads_gate(_: i64) -> i64;
}

#[test]
fn the_thread_is_told_when_the_interpreter_is_given_up() {
    let (door, behind) = mpsc::channel::<()>();
    let behind = Mutex::new(behind);
    let app = Module::new("app").function("hang", move || {
        let _ = behind.lock().expect("not poisoned").recv();
        Ok(())
    });
    let builder = Engine::builder(Lua::new()).threads(1).module(app).grace(Duration::from_millis(20));
    let engine = builder.give_up_after(Duration::from_millis(100)).build().expect("an engine");
    engine.own_foreign_calls();
    let (tell, told) = mpsc::channel();
    // SAFETY: a case of csrc/cases.c.
    std::thread::spawn(move || tell.send(unsafe { threads_gate(1) }));
    arrived(1);
    let hung = wait(engine.eval::<()>("require 'app'.hang()").deadline(Duration::from_millis(500)));
    assert!(matches!(hung, Err(Error::Limit { which: Limit::Deadline, .. })), "{hung:?}");
    assert_eq!(told.recv_timeout(Duration::from_secs(20)).expect("it is told while the interpreter hangs"), -1);
    assert_eq!(engine.metrics().failures.lost, 1);
    // SAFETY: a case of csrc/cases.c.
    assert_eq!(unsafe { threads_owned(5) }, 0, "the replacement runs calls of other threads too");
    // A late wake is nobody's, and the thread that comes back touches nothing of what the caller's frame held.
    open(1, 7);
    drop(door);
    until("the thread comes back", || engine.metrics().reclaimed == 1);
    assert_eq!(live(), 1, "what may borrow from the caller's frame is left as it is");
    let metrics = engine.metrics();
    assert_eq!((metrics.failures.lost, metrics.failures.deadline, metrics.abandoned), (1, 1, 0));
    assert_eq!(wait(engine.shutdown(Duration::from_secs(1))).stuck, 0);
}
