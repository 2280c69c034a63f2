//! Host objects on their way to the guest: one that does not arrive is dropped, whatever went wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Cx, Engine, Function, HostObject, Lua, Members, Module, Object};

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(live: &Arc<AtomicUsize>) -> Object<Counted> {
        live.fetch_add(1, Ordering::SeqCst);
        Object::new(Counted(live.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HostObject for Counted {
    const NAME: &'static str = "Counted";
    fn members(_: &mut Members<Self>) {}
}

struct Undeclared;

impl HostObject for Undeclared {
    const NAME: &'static str = "Undeclared";
    fn members(_: &mut Members<Self>) {}
}

fn engine(live: &Arc<AtomicUsize>) -> Engine {
    let (made, given) = (live.clone(), live.clone());
    let module = Module::new("c")
        .object::<Counted>()
        .function("make", move |size: usize| Ok(("x".repeat(size), Counted::new(&made), vec![Counted::new(&made)])))
        .function("give", async move |mut cx: Cx, f: Function, size: usize| {
            Ok(cx.call::<i64>(&f, ("x".repeat(size), Counted::new(&given))).await.is_ok())
        });
    Engine::builder(Lua::new().unlimited_collectgarbage(true)).threads(1).module(module).build().expect("an engine")
}

#[track_caller]
fn nothing_left(engine: &Engine, live: &Arc<AtomicUsize>, what: &str) {
    block_on(engine.eval::<()>("collectgarbage() collectgarbage()")).expect("a collection");
    assert_eq!(live.load(Ordering::SeqCst), 0, "{what}");
}

#[test]
fn arguments_that_nobody_takes_are_dropped() {
    let live = Arc::new(AtomicUsize::new(0));
    let engine = engine(&live);
    let script =
        block_on(engine.load_text("s", "return { take = function(...) return select('#', ...) end, seven = 7 }"))
            .expect("a script");
    for export in ["missing", "seven"] {
        let error = block_on(script.call::<()>(export, (Counted::new(&live), 1))).expect_err(export);
        assert_eq!(error.code(), Some("not_found"));
        nothing_left(&engine, &live, export);
    }
    block_on(engine.eval_with::<()>("no Lua", Counted::new(&live))).expect_err("a syntax error");
    nothing_left(&engine, &live, "a syntax error");
    block_on(script.call::<()>("take", (Counted::new(&live), Object::new(Undeclared)))).expect_err("undeclared");
    nothing_left(&engine, &live, "bound in part");
    let big = ("x".repeat(1 << 20), Counted::new(&live));
    let error = block_on(script.call::<()>("take", big).memory(1 << 18)).expect_err("no room");
    assert_eq!(error.code(), Some("memory"));
    nothing_left(&engine, &live, "no room");
    let refused = script.call::<()>("take", Counted::new(&live)).deadline(Duration::ZERO);
    assert_eq!(block_on(refused).expect_err("late").code(), Some("deadline"));
    nothing_left(&engine, &live, "refused");
    let n = block_on(script.call::<i64>("take", (Counted::new(&live), Counted::new(&live)))).expect("taken");
    assert_eq!(n, 2);
    nothing_left(&engine, &live, "taken");
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(1))).leaked_objects, 0);
}

/// With each limit some other allocation fails.
#[test]
fn results_and_guest_calls_that_fail_half_way_drop_what_they_brought() {
    let live = Arc::new(AtomicUsize::new(0));
    let engine = engine(&live);
    let script = block_on(engine.load_text(
        "s",
        "local c = require 'c'
         local function take(text, object) return #text end
         return { make = function(n) return (pcall(c.make, n)) end, give = function(n) return c.give(take, n) end }",
    ))
    .expect("a script");
    for export in ["make", "give"] {
        let mut outcomes = [0, 0];
        for limit in (1..=3000).step_by(16).chain([1 << 14, 1 << 18]) {
            let arrived = block_on(script.call::<bool>(export, 1000).memory(limit)).unwrap_or(false);
            outcomes[usize::from(arrived)] += 1;
            block_on(engine.eval::<()>("collectgarbage() collectgarbage()")).expect("a collection");
            assert_eq!(live.load(Ordering::SeqCst), 0, "{export} with {limit} bytes");
        }
        assert!(outcomes[0] > 50 && outcomes[1] > 1, "{export}: {outcomes:?}");
    }
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(1))).leaked_objects, 0);
}

#[test]
fn a_lock_whose_guard_does_not_arrive_is_free() {
    let engine = engine(&Arc::default());
    let script = block_on(engine.load_text(
        "s",
        "local ss = require 'sidestack'
         local m = ss.mutex()
         return { lock = function() return (pcall(function() local g <close> = m:lock() end)) end,
                  free = function() return (pcall(ss.timeout, 0.05, function() local g <close> = m:lock() end)) end }",
    ))
    .expect("a script");
    for limit in (1..=3000).step_by(8) {
        let _ = block_on(script.call::<bool>("lock", ()).memory(limit));
        assert!(block_on(script.call::<bool>("free", ())).expect("asked"), "with {limit} bytes");
    }
}
