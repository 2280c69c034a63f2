//! The C API in C code that host code calls, on fibers of C and of another guest.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_executor::block_on;
use sidestack::guest::Guest;
use sidestack::{Engine, Lua, Module};
use sidestack_test_native::public::{in_host, native};

use super::stage::{Shared, module};

const OK: i32 = 0;
const ERROR: i32 = 1;
const REFUSED: i32 = 3;

/// Statuses, and the codes of those that failed.
type Told = (Vec<i32>, String);

/// What it is told on a fiber of `guest`; the handle that it left is destroyed when the interpreter closes.
fn told(guest: impl Guest, destroyed: &'static AtomicI64, run: impl FnOnce(&Engine)) -> Told {
    let answer: Arc<Mutex<Option<Told>>> = Arc::default();
    let place = answer.clone();
    let ask = Module::new("c").function("ask", move || {
        *place.lock().expect("not poisoned") = Some(in_host(destroyed));
        Ok(())
    });
    let shared = Arc::<Shared>::default();
    let engine = Engine::builder(guest).threads(1).module(module(&shared)).module(ask).build().expect("an engine");
    run(&engine);
    assert_eq!(destroyed.load(Ordering::Acquire), 0);
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(5))).stuck, 0);
    assert_eq!(destroyed.load(Ordering::Acquire), 1);
    answer.lock().expect("not poisoned").take().expect("it was asked")
}

#[test]
fn on_fibers_of_c() {
    static DESTROYED: AtomicI64 = AtomicI64::new(0);
    let told = told(native(), &DESTROYED, |engine| {
        let script = block_on(engine.load_text("native", "")).expect("a script");
        block_on(script.call::<()>("call", "c.ask")).expect("asked");
    });
    assert_eq!(told, (vec![OK, ERROR, REFUSED, OK, OK], "cannot_suspend_on_thread cannot_suspend_on_thread".into()));
}

#[test]
fn on_fibers_of_another_guest() {
    static DESTROYED: AtomicI64 = AtomicI64::new(0);
    let told = told(Lua::new(), &DESTROYED, |engine| {
        block_on(engine.eval::<()>("require('c').ask()")).expect("asked");
    });
    let codes = "cannot_suspend_on_thread cannot_suspend_on_thread not_native";
    assert_eq!(told, (vec![OK, ERROR, REFUSED, REFUSED, OK], codes.into()));
}
