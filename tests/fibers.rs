//! `Engine::fibers()`, the queue's time limit and `max_calls`, without an async runtime.
#![cfg(feature = "lua")]

#[path = "found/mod.rs"]
mod found;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use found::only;
use futures_executor::block_on;
use sidestack::{Cancelled, Engine, Error, FiberInfo, FiberState, Function, Language, Limit, Lua, Module, Script};

/// How long anything may take that is not measured.
const LONG: Duration = Duration::from_secs(20);

const SCRIPT: &str = "local ss = require 'sidestack'
local app = require 'app'
return {
  nap = function() ss.sleep(60) end,
  block = function(path) app.block(path) end,
  clean = function()
    local clean <close> = setmetatable({}, { __close = function() while true do end end })
    ss.sleep(60)
  end,
  inside = function()
    coroutine.wrap(function()
      ss.sleep(60)
    end)()
  end,
  count = function() calls = (calls or 0) + 1 return calls end,
  give = function() return function() return 'given' end end,
}";

/// `app.block(path)` holds its interpreter until there is such a file.
fn app() -> Module {
    Module::new("app").function("block", |path: PathBuf| {
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })
}

/// A path where there is no file yet, in a folder of its own.
fn door() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("open");
    (folder, path)
}

fn open(door: &Path) {
    std::fs::write(door, "").expect("written");
}

fn engine(build: impl FnOnce(sidestack::Builder<Lua>) -> sidestack::Builder<Lua>) -> (Engine, Script) {
    let engine = build(Engine::builder(Lua::new()).threads(1).module(app())).build().expect("an engine");
    let script = block_on(engine.load_text("app.lua", SCRIPT)).expect("a script");
    (engine, script)
}

/// The fibers once `good` is true of them.
fn until(engine: &Engine, good: impl Fn(&[FiberInfo]) -> bool) -> Vec<FiberInfo> {
    let begun = Instant::now();
    loop {
        let found = block_on(engine.fibers());
        if good(&found) {
            return found;
        }
        assert!(begun.elapsed() < LONG, "{found:?}");
    }
}

#[test]
fn waiting_fibers_are_told_with_all_that_is_known() {
    let (engine, script) = engine(|builder| builder.fibers(2).grace(LONG));
    let nap = engine.spawn(script.call::<()>("nap", ()).label("a nap")).expect("begun");
    until(&engine, |found| found.len() == 1 && found[0].state == FiberState::Waiting);
    let inside = engine.spawn(script.call::<()>("inside", ())).expect("begun");
    let queued = engine.spawn(script.call::<()>("nap", ()).label("too many")).expect("begun");
    let found = until(&engine, |found| found.len() == 3 && found[1].state == FiberState::Waiting);
    let [first, second, third] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.label.as_deref(), first.state), (Some("a nap"), FiberState::Waiting));
    assert_eq!((first.waits_for.as_deref(), first.at.as_deref()), (Some("sidestack.core.sleep"), Some("app.lua:4")));
    assert_eq!((first.guest, first.interpreter, first.held), ("Lua 5.4", 0, None));
    assert!(first.age >= second.age && second.age >= third.age);
    assert_eq!((second.label.as_deref(), second.at.as_deref()), (None, Some("app.lua:12")), "inside a coroutine");
    assert!(second.id > first.id);
    assert_eq!((third.id, third.label.as_deref(), third.state), (None, Some("too many"), FiberState::Queued));
    drop((nap, inside, queued));
    until(&engine, <[FiberInfo]>::is_empty);
}

#[test]
fn a_cancelled_fiber_that_cleans_up_is_told_so() {
    let (engine, script) = engine(|builder| builder.grace(Duration::from_millis(700)));
    let call = engine.spawn(script.call::<()>("clean", ()).label("clean")).expect("begun");
    until(&engine, |found| found.len() == 1 && found[0].state == FiberState::Waiting);
    drop(call);
    let in_handler = |fiber: &FiberInfo| fiber.at.as_deref() == Some("app.lua:7");
    let found = until(&engine, |found| found.first().is_none_or(in_handler));
    assert_eq!(found.first().map(|fiber| fiber.state), Some(FiberState::Cancelling));
    // Until the kill.
    until(&engine, <[FiberInfo]>::is_empty);
}

#[test]
fn who_holds_an_interpreter_is_told_without_it() {
    let (engine, script) = engine(|builder| builder);
    let nap = engine.spawn(script.call::<()>("nap", ()).label("nap")).expect("begun");
    until(&engine, |found| found.len() == 1 && found[0].state == FiberState::Waiting);
    // No label: it is known by its id.
    let (_folder, door) = door();
    let block = engine.spawn(script.call::<()>("block", &door)).expect("begun");
    let found = until(&engine, |found| found.iter().any(|fiber| fiber.held.is_some()));
    let (held, other) = if found[0].held.is_some() { (&found[0], &found[1]) } else { (&found[1], &found[0]) };
    assert_eq!((held.state, held.waits_for.as_deref()), (FiberState::Running, Some("app.block")));
    assert!(held.id > other.id && held.held > Some(Duration::from_millis(150)), "{held:?}");
    assert_eq!((other.state, other.label.as_deref(), other.at.as_deref()), (FiberState::Unknown, Some("nap"), None));
    open(&door);
    block.blocking().expect("it ends");
    until(&engine, |found| found.len() == 1 && found[0].state == FiberState::Waiting);
    drop(nap);
}

#[test]
fn a_call_waits_for_a_fiber_no_longer_than_it_may() {
    let (engine, script) = engine(|builder| builder.fibers(1).queue_timeout(Duration::from_millis(200)));
    let nap = engine.spawn(script.call::<()>("nap", ())).expect("begun");
    until(&engine, |found| found.len() == 1 && found[0].state == FiberState::Waiting);
    let begun = Instant::now();
    let late = script.call_blocking::<()>("nap", ()).expect_err("nobody is free");
    assert!(matches!(late, Error::Limit { which: Limit::Queue, value: 200, setting: "queue_timeout", .. }), "{late:?}");
    assert!(late.is_retryable() && begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < LONG);
    // The shorter of two limits decides.
    let late = script.call::<()>("nap", ()).deadline(Duration::from_millis(50)).blocking().expect_err("nobody is free");
    assert!(matches!(late, Error::Limit { which: Limit::Deadline, value: 50, .. }), "{late:?}");
    drop(nap);
    until(&engine, <[FiberInfo]>::is_empty);
    // One that was busy refuses what came too long ago, and starts nothing of it.
    let (_folder, door) = door();
    let block = engine.spawn(script.call::<()>("block", &door)).expect("begun");
    let late = engine.spawn(script.call::<i64>("count", ())).expect("queued");
    std::thread::sleep(Duration::from_millis(500));
    open(&door);
    let late = block_on(late).expect_err("too late");
    assert!(matches!(late, Error::Limit { which: Limit::Queue, .. }), "{late:?}");
    block.blocking().expect("it ends");
    assert_eq!(script.call_blocking::<i64>("count", ()).expect("free again"), 1);
}

#[test]
fn an_interpreter_is_replaced_after_its_calls() {
    let (engine, script) = engine(|builder| builder.max_calls(3));
    let given = script.call_blocking::<Function>("give", ()).expect("a function");
    assert_eq!(block_on(given.call::<String>(())).expect("it lives"), "given");
    for _ in 0..30 {
        assert_eq!(script.call_blocking::<i64>("count", ()).expect("no call is lost"), 1);
    }
    assert!((9..=11).contains(&engine.metrics().recycled), "{:?}", engine.metrics());
    // What Rust holds of an incarnation goes with it.
    let lost = block_on(given.call::<String>(())).expect_err("it is gone");
    assert!(matches!(lost, Error::InterpreterLost { .. }), "{lost:?}");
    let metrics = block_on(engine.shutdown(LONG));
    assert_eq!((metrics.stuck, metrics.leaked_objects, metrics.quarantined), (0, 0, 0));
    assert!(Engine::builder(Lua::new()).max_calls(0).build().is_err());
}

const STACKS: &str = "local ss = require 'sidestack'
local app = require 'app'
local function wait()
  ss.sleep(60)
end
local function deeper(n)
  if n == 0 then return wait() or n end
  return deeper(n - 1) + n
end
return {
  deep = function() return deeper(2) end,
  inside = function()
    local outer = coroutine.wrap(function()
      local inner = coroutine.create(function()
        local _ = wait()
      end)
      coroutine.resume(inner)
    end)
    outer()
  end,
  sorts = function()
    table.sort({ 1, 2 }, function() local _ = wait() end)
  end,
  spin = function()
    while true do
    end
  end,
  block = function(path)
    app.block(path)
  end,
  shell = function(path)
    return io.popen('until [ -e ' .. path .. ' ]; do sleep 0.05; done'):read('a')
  end,
}";

fn stacks(build: impl FnOnce(sidestack::Builder<Lua>) -> sidestack::Builder<Lua>) -> (Engine, Script) {
    let engine = build(Engine::builder(Lua::new().io(true)).threads(1).module(app())).build().expect("an engine");
    let script = block_on(engine.load_text("app.lua", STACKS)).expect("a script");
    (engine, script)
}

fn script_places(fiber: &FiberInfo) -> Vec<&str> {
    fiber.backtrace.of(Language::Script).map(|frame| frame.place.as_deref().expect("a place")).collect()
}

fn functions(fiber: &FiberInfo) -> Vec<&str> {
    fiber.backtrace.of(Language::C).map(|frame| frame.function.as_str()).collect()
}

#[test]
fn the_whole_stack_of_a_waiting_fiber_is_told() {
    let (engine, script) = stacks(|builder| builder);
    let waits = |fiber: &FiberInfo| fiber.state == FiberState::Waiting;
    for (name, places) in [
        ("deep", &["app.lua:4", "app.lua:7", "app.lua:8", "app.lua:8"][..]),
        ("inside", &["app.lua:4", "app.lua:15", "app.lua:17", "app.lua:19"]),
        ("sorts", &["app.lua:4", "app.lua:22", "app.lua:22"]),
    ] {
        let call = engine.spawn(script.call::<()>(name, ())).expect("begun");
        let fiber = only(&engine, waits);
        assert_eq!(script_places(&fiber), places, "{name}: {}", fiber.backtrace);
        let c = functions(&fiber);
        for function in ["host_function", "luaV_execute", "lua_resume", "sslua_entry"] {
            assert!(c.contains(&function), "{name}: no {function} in {}", fiber.backtrace);
        }
        assert_eq!(c.contains(&"luaB_auxwrap") || c.contains(&"auxwrap"), name == "inside", "{}", fiber.backtrace);
        // C first, then the script; and only where it is asked for.
        let last_c = fiber.backtrace.frames().iter().rposition(|frame| frame.language == Language::C);
        assert_eq!(last_c, Some(c.len() - 1));
        assert!(block_on(engine.fibers())[0].backtrace.is_empty());
        drop(call);
        until(&engine, <[FiberInfo]>::is_empty);
    }
    let text = "script app.lua:4 in function <app.lua:3>";
    let call = engine.spawn(script.call::<()>("deep", ())).expect("begun");
    assert!(only(&engine, waits).backtrace.to_string().contains(text));
    drop(call);
}

#[test]
fn the_stack_of_a_script_that_loops_is_told() {
    let (engine, script) = stacks(|builder| builder);
    let call = engine.spawn(script.call::<()>("spin", ())).expect("begun");
    // On a busy machine it may look as if it did not answer.
    let fiber = only(&engine, |fiber| fiber.state == FiberState::Running && fiber.held.is_none());
    assert!(matches!(script_places(&fiber)[..], ["app.lua:25" | "app.lua:26"]), "{}", fiber.backtrace);
    drop(call);
}

#[test]
fn the_stack_of_who_holds_an_interpreter_is_told_without_it() {
    let (engine, script) = stacks(|builder| builder);
    // In a host function: from the frame that called it. In the C library: from wherever that is.
    for (name, place, inner) in [("block", "app.lua:29", "host_function"), ("shell", "app.lua:32", "luaV_execute")] {
        let (_folder, door) = door();
        let call = engine.spawn(script.call::<()>(name, &door)).expect("begun");
        let fiber = only(&engine, |fiber| fiber.held.is_some());
        let c = functions(&fiber);
        assert_eq!(script_places(&fiber), [place], "{name}: {}", fiber.backtrace);
        assert_eq!((fiber.at.as_deref(), fiber.state), (Some(place), FiberState::Running));
        for function in [inner, "luaV_execute", "lua_resume", "sslua_entry"] {
            assert!(c.contains(&function), "{name}: no {function} in {}", fiber.backtrace);
        }
        open(&door);
        let _ = block_on(call);
    }
}

#[test]
fn fibers_are_cancelled_by_their_ids() {
    let (engine, script) = stacks(|builder| builder.grace(Duration::from_millis(50)));
    // Later: on a busy machine it may take a while to answer.
    let not_found = |id| {
        let begun = Instant::now();
        while block_on(engine.cancel(id)) != Cancelled::NotFound {
            assert!(begun.elapsed() < LONG, "{id} is found");
        }
    };
    for name in ["deep", "spin"] {
        let call = engine.spawn(script.call::<()>(name, ())).expect("begun");
        let id = only(&engine, |fiber| fiber.backtrace.of(Language::Script).count() > 0).id.expect("a fiber");
        not_found(id + 1_000_000);
        assert_ne!(block_on(engine.cancel(id)), Cancelled::NotFound);
        assert!(matches!(block_on(call), Err(Error::Cancelled)));
        not_found(id);
    }
    let (_folder, door) = door();
    let call = engine.spawn(script.call::<()>("block", &door)).expect("begun");
    let id = only(&engine, |fiber| fiber.held.is_some()).id.expect("a fiber");
    assert_eq!(block_on(engine.cancel(id)), Cancelled::Later);
    open(&door);
    assert!(matches!(block_on(call), Err(Error::Cancelled)));
}
