//! Everything that may go wrong with a call has a counter, an event with its fiber, and a backtrace where there is one.
#![cfg(feature = "lua")]

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Builder, Engine, Error, Failures, HostPanic, Language, Lua, Module, Raise, Script, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// How long anything may take that is not measured.
const LONG: Duration = Duration::from_secs(20);

/// The library's events so far, a line each: level, message, fields.
static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sidestack"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let _ = write!(self.0, " {}={value:?}", field.name());
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        EVENTS.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// One test at a time: events are the process's.
fn events() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The first one sets it.
    let _ = tracing::subscriber::set_global_default(Lines);
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    one
}

/// The event that has all of these parts.
#[track_caller]
fn event(parts: &[&str]) -> String {
    let begun = Instant::now();
    loop {
        let all = EVENTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = all.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
            return found.clone();
        }
        assert!(begun.elapsed() < LONG, "no event with {parts:?} in {all:#?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

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
}";

fn engine(build: impl FnOnce(Builder<Lua>) -> Builder<Lua>) -> (Engine, Script) {
    fn deeper(message: &str) -> u32 {
        if message.is_empty() { 0 } else { panic!("a panic {message}") }
    }
    let app = Module::new("app")
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
            .queue_timeout(Duration::from_millis(100))
            .grace(Duration::from_millis(50))
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
        let ended = call("sleep").deadline(Duration::from_millis(20)).blocking();
        assert!(matches!(ended, Err(Error::Limit { .. })), "{ended:?}");
    });
    event(&["DEBUG", "a fiber is cancelled", "fiber=", "label=\"label sleep\"", "reason=Deadline"]);
    moves(&engine, &["memory"], || {
        assert!(matches!(call("grow").memory(1 << 20).blocking(), Err(Error::Limit { .. })))
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
    event(&["a call fails", "label=\"label fine\"", "queue time limit of 100 ms"]);
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
        for function in ["sslua_host_call", "luaV_execute", "sslua_entry"] {
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
        ss.sleep(0.05)
        t:join()
        ss.env('HOME')",
    );
    let stats = call.stats();
    assert_eq!((stats.fiber(), stats.host_calls()), (None, 0));
    block_on(call).expect("it ends");
    assert!(stats.fiber().is_some());
    // spawn, sleep, join, env; and two in the task.
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
