//! Everything that may go wrong with a call has a counter, an event with its fiber, and a backtrace where there is one.
#![cfg(feature = "lua")]

mod child;
mod events;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use events::{event, events};
use futures_executor::block_on;
use futures_util::FutureExt;
use sidestack::{
    Builder, Engine, Error, Failures, Function, HostPanic, Language, Limit, Lua, Module, Raise, Script, Value,
};

/// How long anything may take that is not measured.
const LONG: Duration = Duration::from_secs(20);

const SCRIPT: &str = "local ss = require 'sidestack'
local app = require 'app'
return {
  error = function() error('no') end,
  sleep = function() ss.sleep(60) end,
  grow = function() local t = {} while true do t[#t + 1] = ('x'):rep(1e5) end end,
  wait = function() ss.channel():recv() end,
  stubborn = function()
    local late <close> = setmetatable({}, { __close = function() while true do end end })
    ss.sleep(60)
  end,
  part = function() pcall(ss.timeout, 0.01, function() ss.sleep(60) end) end,
  panic = function()
    local x = app.panic('now')
    return x
  end,
  late = function()
    local x = app.late()
    return x
  end,
  fails = function()
    local x = app.fails()
    return x
  end,
  nested = function()
    local x = app.nested(function()
      local y = app.panic('inside')
      return y
    end)
    return x
  end,
  fine = function() return 'text' end,
  spin = function() while true do end end,
  deep = function()
    local function f() return (('x'):gsub('x', f)) end
    f()
  end,
  hang = function() app.hang() end,
  give = function() return function() end end,
}";

/// Host functions that block their thread until it opens.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn pass(&self) {
        let (open, changed) = &*self.0;
        drop(changed.wait_while(open.lock().expect("not poisoned"), |open| !*open).expect("not poisoned"));
    }

    fn open(&self) {
        *self.0.0.lock().expect("not poisoned") = true;
        self.0.1.notify_all();
    }
}

fn engine(build: impl FnOnce(Builder<Lua>) -> Builder<Lua>) -> (Engine, Script) {
    engine_with(&Door::default(), build)
}

fn engine_with(door: &Door, build: impl FnOnce(Builder<Lua>) -> Builder<Lua>) -> (Engine, Script) {
    fn deeper(message: &str) -> u32 {
        if message.is_empty() { 0 } else { panic!("a panic {message}") }
    }
    let door = door.clone();
    let app = Module::new("app")
        .function("hang", move || {
            door.pass();
            Ok(())
        })
        .function("panic", |message: String| Ok(deeper(&message)))
        .function("late", async |cx: sidestack::Cx| {
            cx.sleep(Duration::from_millis(5)).await;
            Ok(deeper("later"))
        })
        .function("fails", || -> anyhow::Result<()> { Err(Raise::new("a_code", "it fails").into()) })
        .function("nested", async |mut cx: sidestack::Cx, f: sidestack::Function| Ok(cx.call::<Value>(&f, ()).await?));
    let engine = build(Engine::builder(Lua::new()).threads(1).module(app)).build().expect("an engine");
    let script = block_on(engine.load_text("app.lua", SCRIPT)).expect("a script");
    (engine, script)
}

/// What moved since `before`, by name.
fn moved(engine: &Engine, before: &Failures) -> Vec<(&'static str, u64)> {
    let now = engine.metrics().failures;
    now.list()
        .zip(before.list())
        .map(|((name, now), (_, before))| (name, now - before))
        .filter(|(_, n)| *n > 0)
        .collect()
}

/// Exactly these counters move, by one each, when `provoke` has run.
#[track_caller]
fn moves(engine: &Engine, names: &[&str], provoke: impl FnOnce()) {
    let before = engine.metrics().failures;
    provoke();
    let begun = Instant::now();
    let mut names = names.to_vec();
    names.sort_unstable();
    loop {
        let found = moved(engine, &before);
        let mut found_names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        found_names.sort_unstable();
        if found_names == names && found.iter().all(|(_, count)| *count == 1) {
            return;
        }
        assert!(begun.elapsed() < LONG, "{found:?} instead of {names:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn each_outcome_moves_its_counter_and_is_told_with_its_fiber() {
    let _one = events();
    let (engine, script) = engine(|builder| {
        builder
            .fibers(2)
            .queue(1)
            .queue_timeout(Duration::from_secs(1))
            .grace(Duration::from_millis(200))
            .memory(32 << 20)
    });
    let call = |name: &str| script.call::<()>(name, ()).label(format!("label {name}"));
    let run = |name: &str| call(name).blocking();
    let waiting = |count: usize| {
        let begun = Instant::now();
        while engine.metrics().fibers != count || engine.metrics().queued > 0 {
            assert!(begun.elapsed() < LONG, "{:?}", engine.metrics());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    moves(&engine, &["script_error"], || assert!(run("error").is_err()));
    moves(&engine, &["convert"], || assert!(script.call::<u64>("fine", ()).blocking().is_err()));
    moves(&engine, &["deadline"], || {
        let ended = call("sleep").deadline(Duration::from_millis(500)).blocking();
        assert!(matches!(ended, Err(Error::Limit { .. })), "{ended:?}");
    });
    event(&["DEBUG", "a fiber is cancelled", "fiber=", "label=\"label sleep\"", "reason=Deadline"]);
    moves(&engine, &["memory"], || {
        assert!(matches!(call("grow").memory(1 << 20).blocking(), Err(Error::Limit { .. })))
    });
    moves(&engine, &["cpu"], || {
        let spent = call("spin").cpu(Duration::from_millis(20)).blocking().expect_err("it has no end");
        assert_eq!(spent.to_string(), "cpu limit of 20 ms reached (setting: cpu)");
    });
    event(&["DEBUG", "a fiber is cancelled", "fiber=", "label=\"label spin\"", "reason=Cpu"]);
    moves(&engine, &["stack"], || {
        let deep = run("deep").expect_err("it has no end");
        assert_eq!(deep.to_string(), "stack limit of 262144 bytes reached (setting: stack)");
        assert!(deep.backtrace().to_string().contains("app.lua:35"), "{}", deep.backtrace());
    });
    moves(&engine, &["system"], || {
        let missing = engine.run_file::<()>("/nowhere/to/be/found.lua", ()).blocking();
        assert!(matches!(missing, Err(Error::System { .. })), "{missing:?}");
    });
    moves(&engine, &["deadlock"], || assert!(call("wait").detect_deadlock().blocking().is_err()));
    event(&["WARN", "deadlock: 1 fiber waits", "cancelled=1"]);
    moves(&engine, &["host_panic", "script_error"], || assert!(run("panic").is_err()));
    event(&[
        "ERROR",
        "a host function panicked",
        "fiber=",
        "label=\"label panic\"",
        "function=app.panic",
        "a panic now",
    ]);
    moves(&engine, &["cancelled_in_part"], || run("part").expect("it goes on"));
    event(&["a fiber is cancelled", "label=\"label part\"", "reason=Dropped"]);
    moves(&engine, &["cancelled"], || {
        let call = engine.spawn(call("sleep")).expect("begun");
        waiting(1);
        drop(call);
        waiting(0);
    });
    event(&["a fiber is cancelled", "label=\"label sleep\"", "reason=Cancelled"]);
    moves(&engine, &["cancelled", "killed"], || {
        let call = engine.spawn(call("stubborn")).expect("begun");
        waiting(1);
        drop(call);
        waiting(0);
    });
    event(&["WARN", "it is killed", "fiber=", "label=\"label stubborn\"", "reason=Cancelled"]);
    moves(&engine, &["cancelled_by_hand"], || {
        let call = engine.spawn(call("sleep")).expect("begun");
        waiting(1);
        let id = block_on(engine.fibers())[0].id.expect("a fiber");
        let _ = block_on(engine.cancel(id));
        assert!(matches!(block_on(call), Err(Error::Cancelled)));
        event(&["a fiber is cancelled", &format!("fiber={id}"), "reason=Hand"]);
    });
    let one = engine.spawn(call("sleep")).expect("begun");
    waiting(1);
    let two = engine.spawn(call("sleep")).expect("begun");
    waiting(2);
    moves(&engine, &["queue_timeout"], || assert!(run("fine").is_err()));
    event(&["a call fails", "label=\"label fine\"", "queue time limit of 1000 ms"]);
    moves(&engine, &["queue_full", "cancelled"], || {
        let queued = engine.spawn(call("sleep")).expect("queued");
        let refused = engine.spawn(call("error"));
        assert!(matches!(refused, Err(Error::QueueFull { capacity: 1, .. })), "{refused:?}");
        drop(queued);
    });
    event(&["the queue is full", "label=\"label error\"", "capacity=1"]);
    drop(one);
    waiting(1);
    moves(&engine, &["cancelled_by_shutdown"], || assert_eq!(block_on(engine.shutdown(Duration::ZERO)).stuck, 0));
    assert!(matches!(block_on(two), Err(Error::Cancelled)));
    event(&["a fiber is cancelled", "reason=Shutdown"]);
    moves(&engine, &["refused"], || assert_eq!(run("fine").expect_err("it is shut down").code(), Some("shut_down")));
}

/// A thread that does not come back: who is told when, and how often that is counted.
#[test]
fn a_quarantine_is_told_with_its_fibers_and_counted_once() {
    let _one = events();
    let door = Door::default();
    let (engine, script) = engine_with(&door, |builder| {
        builder.grace(Duration::from_millis(20)).give_up_after(Duration::from_millis(100))
    });
    let call = |name: &str| script.call::<()>(name, ()).label(format!("label {name}"));
    let function: Function = block_on(script.call("give", ())).expect("a function");
    moves(&engine, &["deadline", "lost"], || {
        let beside = engine.spawn(call("sleep")).expect("begun");
        while engine.metrics().fibers != 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let late = call("hang").deadline(Duration::from_millis(500)).blocking();
        assert!(matches!(late, Err(Error::Limit { which: Limit::Deadline, value: 500, .. })), "{late:?}");
        assert!(matches!(block_on(beside), Err(Error::InterpreterLost { started: true })));
    });
    event(&["ERROR", "does not come back", "fiber=", "label=\"label hang\"", "host_function=\"app.hang\""]);
    event(&["WARN", "a fiber is lost with its interpreter", "fiber=", "label=\"label sleep\""]);
    moves(&engine, &["lost_unstarted"], || {
        assert!(matches!(block_on(function.call::<()>(())), Err(Error::InterpreterLost { started: false })));
    });
    moves(&engine, &[], || {
        door.open();
        event(&["the thread of an interpreter that was given up has come back"]);
        child::until("it is reclaimed", || engine.metrics().reclaimed == 1);
    });
}

/// The watchdog answers a deadline while the thread is away; the fiber, when it comes back in time, is not counted again.
#[test]
fn a_deadline_that_the_watchdog_answered_counts_once() {
    let _one = events();
    let door = Door::default();
    let (engine, script) = engine_with(&door, |builder| builder.fibers(2));
    let call =
        |name: &str| script.call::<()>(name, ()).label(format!("label {name}")).deadline(Duration::from_millis(500));
    moves(&engine, &["deadline"], || {
        assert!(call("hang").blocking().is_err());
        door.open();
        child::until("the thread is back", || engine.metrics().fibers == 0);
        script.call::<String>("fine", ()).blocking().expect("the same interpreter");
    });
    assert_eq!(engine.metrics().quarantined, 0);
}

/// Guards that are mappings, as where memory is locked, are bounded for the process, and here nearly used up.
#[test]
fn a_fiber_without_a_guard_is_counted() {
    child::passes("a_fiber_without_a_guard_is_counted", || {
        // SAFETY: it locks what is touched from now on; the rest of this process's memory is as before.
        let locked = unsafe { libc::mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT) };
        if locked != 0 {
            return child::say("SKIPPED: memory cannot be locked here");
        }
        let most: usize =
            std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("Linux").trim().parse().expect("a number");
        let maps = || std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count();
        let (engine, _) = engine(|builder| builder.fibers(3000));
        // Every other page another mapping: 2,600 are left, of which the pool leaves 2,000 to the process.
        let pages = most - 2_600 - maps();
        // SAFETY: new mappings, which nothing else uses.
        unsafe {
            let (size, access) = (pages * 4096, libc::PROT_READ | libc::PROT_WRITE);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let start = libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            for page in (0..pages).step_by(2) {
                assert_eq!(libc::mprotect(start.byte_add(page * 4096), 4096, libc::PROT_NONE), 0);
            }
        }
        let sleep = || engine.spawn(engine.eval::<()>("require 'sidestack'.sleep(60)")).expect("begun");
        let mut sleeping: Vec<_> = (0..2500).map(|_| sleep()).collect();
        let mut ended = None;
        child::until("one has no stack", || {
            ended = sleeping.iter_mut().find_map(FutureExt::now_or_never);
            ended.is_some()
        });
        let error = ended.expect("one has").expect_err("it has no stack");
        assert!(engine.metrics().failures.fibers > 0);
        assert!(
            matches!(error, Error::Limit { which: Limit::Fibers, setting: "vm.max_map_count", value: 1.., .. }),
            "{error:?}"
        );
        assert!(error.to_string().starts_with("fibers limit of "), "{error}");
    });
}

#[test]
fn a_panic_has_one_backtrace_from_rust_over_c_to_the_script() {
    let _one = events();
    let (_engine, script) = engine(|builder| builder);
    for (name, message, place) in [("panic", "a panic now", "app.lua:14"), ("late", "a panic later", "app.lua:18")] {
        let error = script.call::<()>(name, ()).blocking().expect_err("a panic");
        let panic = error.host::<HostPanic>().expect("its source");
        assert_eq!((panic.function.as_str(), panic.message.as_str()), (&*format!("app.{name}"), message));
        assert_eq!(error.code(), Some("panic"));
        let trace = error.backtrace();
        let text = trace.to_string();
        let languages: Vec<Language> = trace.frames().iter().map(|frame| frame.language).collect();
        let first =
            |language| languages.iter().position(|found| *found == language).unwrap_or_else(|| panic!("{text}"));
        assert!(first(Language::Rust) == 0 && first(Language::Rust) < first(Language::C), "{text}");
        assert!(first(Language::C) < first(Language::Script), "{text}");
        assert!(trace.frames()[0].function.contains("deeper"), "{text}");
        assert!(trace.of(Language::Rust).all(|frame| !frame.function.contains("panicking")), "{text}");
        for function in ["host_function", "luaV_execute", "sslua_entry"] {
            assert!(trace.of(Language::C).any(|frame| frame.function == function), "no {function} in {text}");
        }
        let script: Vec<_> = trace.of(Language::Script).map(|frame| frame.place.as_deref()).collect();
        assert_eq!(script, [Some(place)], "{text}");
    }
}

#[test]
fn a_panic_in_a_nested_call_keeps_its_backtrace() {
    let _one = events();
    let (_engine, script) = engine(|builder| builder);
    let error = script.call::<()>("nested", ()).blocking().expect_err("a panic");
    let trace = error.backtrace();
    let script: Vec<_> = trace.of(Language::Script).filter_map(|frame| frame.place.as_deref()).collect();
    assert!(trace.frames()[0].function.contains("deeper"), "{trace}");
    assert!(script.starts_with(&["app.lua:27"]) && script.contains(&"app.lua:26"), "{trace}");
}

#[test]
fn a_host_error_has_the_scripts_lines_and_its_own_if_it_was_made_with_them() {
    let _one = events();
    let (_engine, script) = engine(|builder| builder);
    let error = script.call::<()>("fails", ()).blocking().expect_err("it fails");
    let trace = error.backtrace();
    assert!(trace.of(Language::Script).any(|frame| frame.place.as_deref() == Some("app.lua:22")), "{trace}");
    let enabled = std::env::var("RUST_BACKTRACE").is_ok_and(|value| value != "0");
    let own = trace.of(Language::Rust).any(|frame| frame.function.contains("outcomes::engine"));
    assert_eq!(own, enabled, "{trace}");
}

#[test]
fn what_a_call_did_is_told() {
    let _one = events();
    let (engine, _) = engine(|builder| builder);
    let mut call = engine.eval::<()>(
        "local ss = require 'sidestack'
        local t = ss.spawn(function() ss.sleep(0.01) ss.sleep(0.01) end)
        t:join()
        ss.sleep(0.05)
        ss.env('HOME')",
    );
    let stats = call.stats();
    assert_eq!((stats.fiber(), stats.host_calls()), (None, 0));
    block_on(call).expect("it ends");
    assert!(stats.fiber().is_some());
    // spawn, join, sleep, env; and two in the task.
    assert_eq!(stats.host_calls(), 6);
    assert!(stats.waited() >= Duration::from_millis(50), "{:?}", stats.waited());
    let (function, took) = stats.last_wait().expect("it waited");
    assert!(function == "sidestack.core.sleep" && took >= Duration::from_millis(50), "{function} {took:?}");
    let unused: Arc<_> = script_stats(&engine);
    assert_eq!((unused.host_calls(), unused.waited(), unused.last_wait()), (0, Duration::ZERO, None));
}

fn script_stats(engine: &Engine) -> Arc<sidestack::CallStats> {
    let mut call = engine.eval::<i64>("1 + 1");
    let stats = call.stats();
    block_on(call).expect("it ends");
    stats
}
