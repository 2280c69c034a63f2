//! Panics in host code: each has its defined outcome, and the interpreter serves the next call.

use std::panic::panic_any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_executor::block_on;
use futures_util::task::{ArcWake, waker};
use serde::{Deserialize, Deserializer};
use sidestack::guest::{FiberSetup, Guest, Interpreter, Setup, Task};
use sidestack::{Builder, Cx, Engine, Error, Ext, Function, HostObject, HostResult, Members, Module, Object};

use crate::stage::{Stage, chunk, until};

struct PanicsInDrop(&'static str);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in the drop of {}", self.0);
        }
    }
}

#[derive(Debug)]
struct PanicsInDisplay;

impl std::fmt::Display for PanicsInDisplay {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("in Display")
    }
}

impl std::error::Error for PanicsInDisplay {}

#[derive(Debug)]
struct ErrorPanicsInDrop;

impl std::fmt::Display for ErrorPanicsInDrop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an error")
    }
}

impl std::error::Error for ErrorPanicsInDrop {}

impl Drop for ErrorPanicsInDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in an error's drop");
        }
    }
}

struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("in a host object's drop");
    }
}

impl HostObject for Fragile {
    const NAME: &'static str = "Fragile";
    fn members(members: &mut Members<Self>) {
        members.method("touch", |_: &Self| Ok(1));
    }
}

/// Not declared: it cannot be given to a script.
struct Unknown(#[expect(dead_code, reason = "dropped")] PanicsInDrop);

impl HostObject for Unknown {
    const NAME: &'static str = "Unknown";
    fn members(_: &mut Members<Self>) {}
}

struct BadArgument;

impl<'de> Deserialize<'de> for BadArgument {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in Deserialize")
    }
}

fn module() -> Module {
    Module::new("p")
        .object::<Fragile>()
        .function("plain", || -> HostResult<()> { panic!("plainly") })
        .function("first_poll", async || -> HostResult<()> { panic!("in the first poll") })
        .function("later_poll", async |cx: Cx| -> HostResult<()> {
            cx.sleep(Duration::from_millis(1)).await;
            panic!("in a later poll")
        })
        .function("future_drop", async |cx: Cx| {
            let _bad = PanicsInDrop("a future");
            cx.sleep(Duration::from_millis(1)).await;
            Ok(1)
        })
        .function("long", async |cx: Cx| {
            let _bad = PanicsInDrop("a future that was cancelled");
            cx.sleep(Duration::from_secs(100)).await;
            Ok(1)
        })
        .function("payload", || -> HostResult<()> { panic_any(PanicsInDrop("a payload")) })
        .function("payload_later", async |cx: Cx| -> HostResult<()> {
            cx.sleep(Duration::from_millis(1)).await;
            panic_any(PanicsInDrop("a payload"))
        })
        .function("argument", |_: BadArgument| Ok(1))
        .function("display", || -> HostResult<()> { Err(PanicsInDisplay.into()) })
        .function("error_drop", || -> HostResult<()> { Err(ErrorPanicsInDrop.into()) })
        .function("fragile", || Ok(Object::new(Fragile)))
        .function("unknown", || Ok(Object::new(Unknown(PanicsInDrop("an undeclared object")))))
        .function("after_nested", async |mut cx: Cx, f: Function| -> HostResult<()> {
            cx.call::<()>(&f, ()).await?;
            panic!("after a nested call")
        })
}

fn builder(stage: &Stage) -> Builder<crate::guest::Guest> {
    stage.builder().module(module())
}

fn assert_works(engine: &Engine) {
    let text = chunk(script!(
    lua: "t.nap(1) return 1 + 1",
    php: r"t\nap(1); return 1 + 1;",
    ));
    assert_eq!(block_on(engine.eval::<i64>(&text)).expect("the interpreter works"), 2);
    assert_eq!(engine.metrics().quarantined, 0);
}

#[test]
fn scripts_see_a_panic_as_an_error_with_a_code() {
    let stage = Stage::new();
    let engine = builder(&stage).build().expect("an engine");
    for (call, text) in [
        ("p.plain()", "plainly"),
        ("p.first_poll()", "in the first poll"),
        ("p.later_poll()", "in a later poll"),
        ("p.future_drop()", "in the drop of a future"),
        ("p.payload()", "a panic with a payload that is no text"),
        ("p.payload_later()", "a panic with a payload that is no text"),
        (script!(lua: "p.argument({})", php: r"p\argument([])"), "in Deserialize"),
        ("p.display()", "in Display"),
        (
            script!(lua: "p.after_nested(function() t.nap(1) end)", php: r"p\after_nested(fn () => t\nap(1))"),
            "after a nested call",
        ),
    ] {
        let call = script!(lua: call.to_owned(), php: call.replace("p.", r"p\"));
        let call = call.as_str();
        let text_of = chunk(
            &script!(lua: format!("local p = require 'p' local ok, e = pcall(function() return {call} end) return e.code, e.message"), php: format!("try {{ {call}; }} catch (Exception $e) {{ return [$e->getCode(), $e->getMessage()]; }}")),
        );
        let (code, message) = block_on(engine.eval::<(Option<String>, String)>(&text_of)).expect(call);
        assert_eq!(code.as_deref(), Some("panic"), "{call}: {message}");
        assert!(message.contains(text), "{call}: {message}");
        let error = block_on(
            engine.eval::<()>(&chunk(&script!(lua: format!("local p = require 'p' {call}"), php: format!("{call};")))),
        )
        .expect_err(call);
        assert_eq!(error.code(), Some("panic"), "{call}");
        assert_works(&engine);
    }
}

#[test]
fn panics_in_drops_are_stopped() {
    let stage = Stage::new();
    let engine = builder(&stage).build().expect("an engine");
    // Objects: collected, and still alive at the end of the interpreter.
    block_on(engine.eval::<()>(script!(
    lua: "for i = 1, 300 do require('p').fragile():touch() end",
    php: r"for ($i = 0; $i < 300; $i++) p\fragile()->touch();",
    )))
    .expect("objects");
    assert_works(&engine);
    let error = block_on(engine.eval::<()>(script!(
    lua: "require('p').unknown()",
    php: r"p\unknown()",
    )))
    .expect_err("an undeclared class");
    assert!(error.to_string().contains("not declared"), "{error}");
    assert_works(&engine);
    // Errors that are caught are dropped sooner or later: some by the record's bound, the rest at the fiber's end.
    block_on(engine.eval::<()>(script!(
    lua: "for i = 1, 30 do pcall(require('p').error_drop) end",
    php: r"for ($i = 0; $i < 30; $i++) try { p\error_drop(); } catch (Exception) {}",
    )))
    .expect("caught errors");
    assert_works(&engine);
    // A future that is dropped by a cancel.
    let call = engine
        .spawn(engine.eval::<()>(&chunk(script!(
        lua: "t.note('in') require('p').long()",
        php: r"t\note('in'); p\long();",
        ))))
        .expect("started");
    stage.logged(1);
    std::thread::sleep(Duration::from_millis(20));
    drop(call);
    until("it is gone", || engine.metrics().fibers == 0);
    assert_works(&engine);
    let metrics = block_on(engine.shutdown(Duration::from_secs(5)));
    assert_eq!((metrics.stuck, metrics.quarantined), (0, 0));
}

#[test]
fn the_callers_own_panics_are_stopped() {
    #[derive(Debug)]
    struct Bad;
    impl<'de> Deserialize<'de> for Bad {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("the caller's Deserialize")
        }
    }
    struct BadWaker;
    impl ArcWake for BadWaker {
        fn wake_by_ref(_: &Arc<Self>) {
            panic!("the caller's waker")
        }
    }
    let stage = Stage::new();
    let engine = builder(&stage).build().expect("an engine");
    match block_on(engine.eval::<Bad>("1")) {
        Err(Error::Convert { message, .. }) => assert!(message.contains("the caller's Deserialize"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_works(&engine);
    let mut call = engine.eval::<i64>(&chunk(script!(
    lua: "return t.wait(1)",
    php: r"return t\wait(1);",
    )));
    let waker = waker(Arc::new(BadWaker));
    assert!(Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_pending());
    stage.arrived(1, 1);
    stage.open(1, 7);
    until("it has ended", || engine.metrics().fibers == 0);
    assert_works(&engine);
    // The result is there all the same.
    let mut result = Pin::new(&mut call).poll(&mut Context::from_waker(std::task::Waker::noop()));
    until("the result", || {
        if result.is_pending() {
            result = Pin::new(&mut call).poll(&mut Context::from_waker(std::task::Waker::noop()));
        }
        result.is_ready()
    });
    let Poll::Ready(result) = result else { unreachable!("just seen") };
    assert_eq!(result.expect("the value"), 7);
}

// ---- panics that reach the worker ----

pub const RESTORE: u32 = 1;
pub const PREPARE: u32 = 2;

/// A guest whose interpreter panics on command, once.
pub struct Haunted<G> {
    guest: G,
    panic_in: Arc<AtomicU32>,
    created: Arc<AtomicUsize>,
}

pub struct HauntedInterpreter<I> {
    interpreter: I,
    panic_in: Arc<AtomicU32>,
}

impl<I> HauntedInterpreter<I> {
    fn haunt(&self, place: u32) {
        if self.panic_in.compare_exchange(place, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            panic!("a bug in the interpreter");
        }
    }
}

impl<G: Guest> Guest for Haunted<G> {
    type Interpreter = HauntedInterpreter<G::Interpreter>;

    fn name(&self) -> &'static str {
        "haunted"
    }

    fn create(&self, setup: &Setup) -> Result<Self::Interpreter, Error> {
        self.created.fetch_add(1, Ordering::SeqCst);
        Ok(HauntedInterpreter { interpreter: self.guest.create(setup)?, panic_in: self.panic_in.clone() })
    }
}

// SAFETY: everything that runs C is the inner interpreter's own.
unsafe impl<I: Interpreter> Interpreter for HauntedInterpreter<I> {
    type Run = I::Run;
    type Saved = I::Saved;

    fn entry(&self) -> unsafe extern "C" fn(*mut std::ffi::c_void) {
        self.interpreter.entry()
    }

    fn interrupt(&self) -> Option<unsafe extern "C" fn()> {
        self.interpreter.interrupt()
    }

    fn new_run(&mut self) -> Self::Run {
        self.interpreter.new_run()
    }

    fn prepare(&mut self, run: &mut Self::Run, fiber: &FiberSetup, task: &Task<'_>) {
        self.haunt(PREPARE);
        self.interpreter.prepare(run, fiber, task);
    }

    fn ended(&mut self, run: &mut Self::Run, returned: bool) {
        self.interpreter.ended(run, returned);
    }

    fn save(&mut self) -> Self::Saved {
        self.interpreter.save()
    }

    fn restore(&mut self, run: &mut Self::Run, saved: &Self::Saved) {
        self.haunt(RESTORE);
        self.interpreter.restore(run, saved);
    }

    fn in_finalizer(&self) -> bool {
        self.interpreter.in_finalizer()
    }

    fn over_memory(&mut self) -> Option<u64> {
        self.interpreter.over_memory()
    }

    fn memory_used(&self) -> usize {
        self.interpreter.memory_used()
    }
}

pub fn haunted(stage: &Stage) -> (Builder<Haunted<crate::guest::Guest>>, Arc<AtomicU32>, Arc<AtomicUsize>) {
    let (panic_in, created) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
    let guest = Haunted { guest: crate::guest::guest(), panic_in: panic_in.clone(), created: created.clone() };
    (Engine::builder(guest).threads(1).module(stage.module()), panic_in, created)
}

fn lost(error: &Error) -> Option<bool> {
    match error {
        Error::InterpreterLost { started } => Some(*started),
        _ => None,
    }
}

#[test]
fn a_panic_in_the_worker_replaces_the_interpreter() {
    let stage = Stage::new();
    let (builder, panic_in, created) = haunted(&stage);
    let engine = builder.fibers(3).build().expect("an engine");
    let script = block_on(engine.load_text(
        "again",
        chunk(script!(
 lua: "return { wait = function(g) return t.wait(g) end, make = function() return function(x) return x + 1 end end }",
 php: r"return ['wait' => fn ($g) => t\wait($g), 'make' => fn () => fn ($x) => $x + 1];",
 )),
    ))
    .expect("a script");
    let function: Function = block_on(script.call("make", ())).expect("a function");
    let copy = function.clone();
    assert_eq!(block_on(function.call::<i64>(1)).expect("its result"), 2);

    let started: Vec<_> = (1..=3).map(|g| engine.spawn(script.call::<i64>("wait", g)).expect("started")).collect();
    (1..=3).for_each(|gate| stage.arrived(gate, 1));
    stage.open(9, 90);
    let queued: Vec<_> = (0..5).map(|_| engine.spawn(script.call::<i64>("wait", 9)).expect("queued")).collect();
    until("five are queued", || engine.metrics().queued == 5);
    panic_in.store(RESTORE, Ordering::SeqCst);
    stage.open(2, 20);

    for call in started {
        let error = block_on(call).expect_err("its interpreter is lost");
        assert_eq!(lost(&error), Some(true), "{error:?}");
        assert!(!error.is_retryable());
    }
    for call in queued {
        assert_eq!(block_on(call).expect("it runs on the replacement"), 90);
    }
    assert_eq!(stage.counts().0, stage.counts().1, "host futures of lost calls are dropped");
    assert_eq!(block_on(script.call::<i64>("wait", 9)).expect("scripts and host functions are there"), 90);
    let error = block_on(function.call::<i64>(1)).expect_err("of the lost incarnation");
    assert_eq!(lost(&error), Some(false), "{error:?}");
    assert!(error.is_retryable());
    let error = block_on(engine.eval_with::<()>(
        script!(
        lua: "local f = ... f(1)",
        php: "$args[0](1);",
        ),
        copy,
    ))
    .expect_err("of the lost incarnation");
    assert_eq!(lost(&error), Some(false), "{error:?}");
    let fresh: Function = block_on(script.call("make", ())).expect("a function of the replacement");
    drop(function);
    block_on(script.call::<i64>("wait", 9)).expect("a call after the late release");
    assert_eq!(block_on(fresh.call::<i64>(41)).expect("untouched by the late release"), 42);
    let metrics = engine.metrics();
    assert_eq!((metrics.quarantined, metrics.queued), (1, 0));
    assert_eq!(created.load(Ordering::SeqCst), 2);

    // And again.
    panic_in.store(PREPARE, Ordering::SeqCst);
    let error = block_on(script.call::<i64>("wait", 9)).expect_err("its interpreter is lost");
    assert!(lost(&error).is_some(), "{error:?}");
    assert_eq!(block_on(script.call::<i64>("wait", 9)).expect("the third incarnation"), 90);
    assert_eq!(engine.metrics().quarantined, 2);
    let metrics = block_on(engine.shutdown(Duration::from_secs(5)));
    assert_eq!((metrics.stuck, metrics.fibers), (0, 0));
}

/// One that is replaced after it has loaded a script, and before the others have, or the caller knows.
#[test]
fn a_replacement_has_the_scripts_that_were_being_loaded() {
    let stage = Stage::new();
    let (builder, panic_in, created) = haunted(&stage);
    let engine = builder.build().expect("an engine");
    let mut load = Box::pin(engine.load_text(
        "s",
        script!(
        lua: "return { two = function() return 2 end }",
        php: "<?php return ['two' => fn () => 2];",
        ),
    ));
    block_on(async { assert!(futures_util::poll!(&mut load).is_pending()) });
    until("it is loaded", || block_on(engine.eval::<()>("")).is_ok() && engine.metrics().fibers == 0);
    panic_in.store(PREPARE, Ordering::SeqCst);
    block_on(engine.eval::<()>("")).expect_err("its interpreter is lost");
    until("it is replaced", || created.load(Ordering::SeqCst) == 2);
    let script = block_on(load).expect("it was loaded");
    assert_eq!(block_on(script.call::<i64>("two", ())).expect("the replacement has it"), 2);
}

/// Calls that had a fiber, and no turn yet, move to the replacement with all that was attached to them.
#[test]
fn calls_that_have_not_begun_move_whole() {
    let stage = Stage::new();
    let (send, block) = std::sync::mpsc::channel::<()>();
    let block = std::sync::Mutex::new(block);
    let blocks = stage.clone();
    let module = Module::new("u")
        .function("block", move || {
            blocks.note("blocked");
            Ok(block.lock().expect("not poisoned").recv_timeout(Duration::from_secs(10))?)
        })
        .function("ext", |cx: Cx, Ext(number): Ext<u64>| {
            Ok((*number, cx.label().map(String::from), cx.deadline().is_some()))
        });
    let (builder, panic_in, _) = haunted(&stage);
    // Without ticks: at the end of a slice the one that blocked would be the first that is resumed.
    let engine = builder.tick(Duration::from_secs(60)).module(module).build().expect("an engine");
    let blocker = engine
        .spawn(engine.eval::<()>(script!(
        lua: "require('u').block()",
        php: r"u\block()",
        )))
        .expect("started");
    stage.logged(1);
    // All in one intake: the first fibers are prepared, then the panic comes with the first resume.
    let calls: Vec<_> = (0..5_u64)
        .map(|i| {
            let call = engine.eval::<(u64, Option<String>, bool)>(script!(
            lua: "return require('u').ext()",
            php: r"return u\ext();",
            ));
            engine.spawn(call.ext(i).label("five").deadline(Duration::from_secs(60))).expect("started")
        })
        .collect();
    panic_in.store(RESTORE, Ordering::SeqCst);
    send.send(()).expect("it waits");
    block_on(blocker).expect("it ended before");
    let mut moved = 0;
    for (i, call) in calls.into_iter().enumerate() {
        match block_on(call) {
            Ok(result) => {
                assert_eq!(result, (i as u64, Some("five".into()), true));
                moved += 1;
            }
            Err(error) => assert_eq!(lost(&error), Some(true), "{error:?}"),
        }
    }
    assert_eq!(moved, 4, "all but the one whose first turn it was");
}

#[test]
fn an_interpreter_that_panics_at_its_start_is_an_error_of_build() {
    let stage = Stage::new();
    let (builder, panic_in, created) = haunted(&stage);
    panic_in.store(PREPARE, Ordering::SeqCst);
    let error = builder.build().expect_err("it panicked");
    assert!(error.to_string().contains("a bug in the interpreter"), "{error:?}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(created.load(Ordering::SeqCst), 1, "nobody asked for a replacement");
}

#[test]
fn shutdown_reaches_the_replacement() {
    let stage = Stage::new();
    let (builder, panic_in, _) = haunted(&stage);
    let engine = builder.build().expect("an engine");
    let call = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    let stopping = {
        let engine = engine.clone();
        std::thread::spawn(move || block_on(engine.shutdown(Duration::from_secs(5))))
    };
    std::thread::sleep(Duration::from_millis(50));
    panic_in.store(RESTORE, Ordering::SeqCst);
    stage.open(1, 1);
    assert_eq!(lost(&block_on(call).expect_err("lost")), Some(true));
    let metrics = stopping.join().expect("no panic");
    assert_eq!((metrics.stuck, metrics.quarantined), (0, 1));
}
