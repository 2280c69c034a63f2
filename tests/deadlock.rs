//! Fibers that wait for each other: told where somebody wants to know, and not told while anything could still wake one.
#![cfg(feature = "lua")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use proptest::prelude::*;
use sidestack::{Builder, Engine, Error, FiberInfo, FiberState, Function, Lua, Module, Value};

/// How long anything may take that is not measured.
const LONG: Duration = Duration::from_secs(20);
/// Longer than a deadlock takes to be found, several times over.
const WHILE: Duration = Duration::from_millis(300);

type Kept<T> = Arc<Mutex<Option<T>>>;

/// What scripts give to Rust.
#[derive(Clone, Default)]
struct Given {
    function: Kept<Function>,
    value: Kept<Value>,
}

fn engine(build: impl FnOnce(Builder<Lua>) -> Builder<Lua>) -> (Engine, Given) {
    let given = Given::default();
    let (function, value) = (given.function.clone(), given.value.clone());
    let app = Module::new("app")
        .blocking_function("work", |ms: u64| {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(())
        })
        .function("keep", move |given: Function| {
            *function.lock().expect("kept") = Some(given);
            Ok(())
        })
        .function("give", move |given: Value| {
            *value.lock().expect("kept") = Some(given);
            Ok(())
        });
    let builder = Engine::builder(Lua::new()).threads(1).module(app);
    (build(builder).build().expect("an engine"), given)
}

/// The fibers of the deadlock that this text runs into.
fn deadlock(engine: &Engine, text: &str) -> Arc<[FiberInfo]> {
    match engine.eval::<Value>(text).detect_deadlock().blocking() {
        Err(Error::Deadlock { fibers }) => fibers,
        other => panic!("{other:?} of\n{text}"),
    }
}

/// What this text returns, where nothing is amiss.
fn fine(engine: &Engine, text: &str) -> Value {
    engine.eval(text).detect_deadlock().blocking().unwrap_or_else(|error| panic!("{error} of\n{text}"))
}

/// "waits_for at" of each, sorted.
fn waits(fibers: &[FiberInfo]) -> Vec<String> {
    let mut waits: Vec<String> = fibers
        .iter()
        .map(|fiber| {
            let function = fiber.waits_for.as_deref().unwrap_or("-");
            let name = function.strip_prefix("sidestack.core.").unwrap_or(function);
            format!("{name} {}", fiber.at.as_deref().unwrap_or("-"))
        })
        .collect();
    waits.sort();
    waits
}

#[test]
fn each_wait_for_nobody_is_told_with_its_line() {
    let (engine, _) = engine(|builder| builder);
    let head = "local ss = require 'sidestack'\n";
    for (text, expected) in [
        ("ss.channel():recv()", "Channel.recv eval:2"),
        ("local c = ss.channel(1) c:send(1)\nc:send(2)", "Channel.send eval:3"),
        ("for _ in ss.channel():iter() do end", "Channel.recv eval:2"),
        ("ss.select({ ss.channel(), ss.channel() })", "select eval:2"),
        ("local m = ss.mutex() local one = m:lock()\nlocal held = m:lock()", "Mutex.lock eval:3"),
        ("local s = ss.semaphore(2) local a, b = s:acquire(), s:acquire()\ns:acquire()", "Semaphore.acquire eval:3"),
        ("local t\nt = ss.spawn(function() t:join() end)\nss.yield()", ""),
        ("coroutine.wrap(function()\nss.channel():recv()\nend)()", "Channel.recv eval:3"),
        ("table.sort({ 1, 2 }, function()\nss.channel():recv()\nend)", "Channel.recv eval:3"),
    ] {
        if expected.is_empty() {
            // The call itself ends; its task is left, and is ended too.
            fine(&engine, &format!("{head}{text}"));
            let begun = Instant::now();
            while engine.metrics().fibers > 0 {
                assert!(begun.elapsed() < LONG, "the task is left");
                std::thread::sleep(Duration::from_millis(1));
            }
            continue;
        }
        let fibers = deadlock(&engine, &format!("{head}{text}"));
        assert_eq!(waits(&fibers), [expected], "{text}");
        assert_eq!((fibers[0].state, fibers[0].guest, fibers[0].interpreter), (FiberState::Waiting, "Lua 5.4", 0));
    }
    assert_eq!(engine.metrics().deadlocks, 9);
    assert_eq!(fine(&engine, "1 + 1"), Value::Int(2));
}

#[test]
fn a_deadlock_is_told_within_100_ms() {
    let (engine, _) = engine(|builder| builder);
    let took = || {
        let begun = Instant::now();
        deadlock(&engine, "require('sidestack').channel():recv()");
        begun.elapsed()
    };
    let best = (0..20).map(|_| took()).min().expect("some");
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[test]
fn all_that_wait_are_listed_and_each_caller_is_told() {
    let (engine, _) = engine(|builder| builder);
    let text = "local ss = require 'sidestack'
local a, b = ss.mutex(), ss.mutex()
local met = ss.channel()
local function take(first, second)
  local one <close> = first:lock()
  met:send(true)
  ss.yield()
  local two <close> = second:lock()
end
local t = ss.spawn(take, a, b)
local u = ss.spawn(take, b, a)
t:join()";
    let fibers = deadlock(&engine, text);
    assert_eq!(waits(&fibers), ["Mutex.lock eval:8", "Mutex.lock eval:8", "Task.join eval:12"]);
    // The oldest first: the one that started the others, and which of them it waits for.
    let joined = format!("fiber {}", fibers[1].id.expect("a fiber").min(fibers[2].id.expect("a fiber")));
    assert_eq!(fibers[0].which.as_deref(), Some(joined.as_str()));
    let error = Error::Deadlock { fibers: fibers.clone() };
    let id = fibers[0].id.expect("a fiber");
    let start = "deadlock: 3 fibers wait and nothing is left that could wake one: ";
    let first = format!("{start}fiber {id} (eval:12) waits in Task.join for {joined}; ");
    assert!(error.to_string().starts_with(&first), "{error}");
    assert_eq!(error.code(), Some("deadlock"));
    let metrics = engine.metrics();
    assert_eq!((metrics.deadlocks, metrics.last_deadlock), (1, Some(fibers)));
}

#[test]
fn a_script_can_clean_up_after_a_deadlock_but_not_go_on() {
    let (engine, given) = engine(|builder| builder);
    let text = "local ss = require 'sidestack'
local ok, e = pcall(function()
  local clean <close> = setmetatable({}, { __close = function() log = 'closed' end })
  ss.channel():recv()
end)
local app = require 'app'
app.give({ code = e.code, message = tostring(e), log = log })
ss.channel():recv()";
    assert_eq!(waits(&deadlock(&engine, text)), ["Channel.recv eval:4"]);
    let told = given.value.lock().expect("kept").take().expect("given");
    assert_eq!(told.get("code").and_then(Value::as_str), Some("deadlock"));
    assert_eq!(told.get("log").and_then(Value::as_str), Some("closed"));
    assert!(told.get("message").and_then(Value::as_str).expect("text").contains("deadlock: 1 fiber waits"), "{told:?}");
}

#[test]
fn no_alarm_while_a_timer_runs() {
    let (engine, _) = engine(|builder| builder);
    for text in [
        "ss.spawn(function() ss.sleep(0.3) c:send(7) end) return c:recv()",
        "local _, e = pcall(ss.timeout, 0.3, function() c:recv() end) return e.code == 'timeout' and 7",
        "ss.select({ c }, 0.3) return 7",
        "ss.group(function(g) g:spawn(function() ss.sleep(0.3) c:send(7) end) g:spawn(function() c:recv() end) end) return 7",
    ] {
        let text = format!("local ss = require 'sidestack'\nlocal c = ss.channel()\n{text}");
        assert_eq!(fine(&engine, &text), Value::Int(7), "{text}");
    }
    // One that was cancelled is no timer any more, however far off it was.
    let text = "local ss = require 'sidestack'\nss.timeout(3600, function() end)\nss.channel():recv()";
    assert_eq!(waits(&deadlock(&engine, text)), ["Channel.recv eval:3"]);
    assert_eq!(engine.metrics().deadlocks, 1);
}

#[test]
fn no_alarm_while_the_host_is_at_work() {
    let (engine, _) = engine(|builder| builder);
    let text = "local ss, app = require 'sidestack', require 'app'
local c = ss.channel()
ss.spawn(function() app.work(300) c:send(7) end)
return c:recv()";
    assert_eq!(fine(&engine, text), Value::Int(7));
    // A function of the host's that waits further out may end what waits inside.
    let outer = Module::new("outer").function("call", async |mut cx: sidestack::Cx, f: Function| {
        let sleep = blocking::unblock(|| std::thread::sleep(WHILE));
        let call = std::pin::pin!(cx.call::<()>(&f, ()));
        match futures_util::future::select(call, std::pin::pin!(sleep)).await {
            futures_util::future::Either::Left(_) => Ok("the call"),
            futures_util::future::Either::Right(_) => Ok("the host"),
        }
    });
    let (engine, _) = self::engine(|builder| builder.module(outer));
    let text = "return require('outer').call(function() require('sidestack').channel():recv() end)";
    assert_eq!(fine(&engine, text), Value::from("the host"));
    assert_eq!(engine.metrics().deadlocks, 0);
}

#[test]
fn no_alarm_while_rust_can_call() {
    let (engine, given) = engine(|builder| builder);
    let text = "local ss, app = require 'sidestack', require 'app'
local c = ss.channel()
app.keep(function(n) c:send(n) end)
return c:recv()";
    let call = engine.spawn(engine.eval::<i64>(text).detect_deadlock()).expect("begun");
    std::thread::sleep(WHILE);
    let function = given.function.lock().expect("kept").take().expect("given");
    block_on(function.call::<()>(7)).expect("the call lives");
    assert_eq!(block_on(call).expect("woken"), 7);
    assert_eq!(engine.metrics().deadlocks, 0);
    // Until it cannot any more.
    let call = engine.spawn(engine.eval::<i64>(text).detect_deadlock()).expect("begun");
    std::thread::sleep(WHILE);
    assert_eq!(engine.metrics().deadlocks, 0);
    drop(function);
    given.function.lock().expect("kept").take();
    assert!(matches!(block_on(call), Err(Error::Deadlock { .. })));
}

#[test]
fn no_alarm_for_what_rust_was_given() {
    let (engine, given) = engine(|builder| builder.threads(2));
    let text = "local ss, app = require 'sidestack', require 'app'
local c = ss.channel()
app.give({ inside = c })
return c:recv()";
    let call = engine.spawn(engine.eval::<i64>(text).detect_deadlock()).expect("begun");
    std::thread::sleep(WHILE);
    let value = given.value.lock().expect("kept").take().expect("given");
    // Any interpreter may use it now.
    for _ in 0..2 {
        engine.eval_with::<()>("local given = ... given.inside:send(7)", value.clone()).blocking().expect("sent");
    }
    assert_eq!(block_on(call).expect("woken"), 7);
    // A guard, by whose drop the lock is free.
    let text = "local ss, app = require 'sidestack', require 'app'
local m = ss.mutex()
local guard = m:lock()
app.give(guard)
guard = nil
local again = m:lock()
return 8";
    let call = engine.spawn(engine.eval::<i64>(text).detect_deadlock()).expect("begun");
    std::thread::sleep(WHILE);
    given.value.lock().expect("kept").take();
    // The guest's own reference to it is garbage.
    engine.eval::<()>("for _ = 1, 100 do collectgarbage() end").blocking().expect("collected");
    let ended = block_on(call);
    assert!(matches!(ended, Ok(8)), "{ended:?}");
    assert_eq!(engine.metrics().deadlocks, 0);
}

#[test]
fn a_lock_whose_guard_is_lost_is_free_before_an_alarm() {
    let (engine, _) = engine(|builder| builder);
    let text = "local ss = require 'sidestack'
local m = ss.mutex()
local function lose() local guard = m:lock() end
lose()
local again = m:lock()
return 7";
    assert_eq!(fine(&engine, text), Value::Int(7));
}

#[test]
fn who_did_not_ask_waits_for_a_later_call() {
    let (engine, _) = engine(|builder| builder);
    let script = "local c = require('sidestack').channel()
return { wait = function() return c:recv() end, fill = function(n) c:send(n) end }";
    let script = block_on(engine.load_text("app.lua", script)).expect("a script");
    let waits = engine.spawn(script.call::<i64>("wait", ())).expect("begun");
    std::thread::sleep(WHILE);
    // Another one that asks is told alone.
    let fibers = deadlock(&engine, "require('sidestack').channel():recv()");
    assert_eq!(self::waits(&fibers), ["Channel.recv app.lua:2", "Channel.recv eval:1"]);
    script.call_blocking::<()>("fill", 7).expect("sent");
    assert_eq!(block_on(waits).expect("woken"), 7);
}

#[test]
fn no_alarm_before_the_deadline_of_another_call() {
    let (engine, _) = engine(|builder| builder);
    let script = "local ss = require('sidestack')
local m = ss.mutex()
return {
  hold = function() local held <close> = m:lock() ss.channel():recv() end,
  take = function() local held <close> = m:lock() return 7 end,
}";
    let script = block_on(engine.load_text("app.lua", script)).expect("a script");
    let holds = engine.spawn(script.call::<()>("hold", ()).deadline(WHILE)).expect("begun");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(script.call::<i64>("take", ()).detect_deadlock().blocking().expect("freed"), 7);
    assert!(matches!(block_on(holds), Err(Error::Limit { .. })));
    assert_eq!(engine.metrics().deadlocks, 0);
}

#[test]
fn a_shutdown_does_not_wait_for_a_deadlock() {
    let (engine, given) = engine(|builder| builder);
    let script = "local ss, app = require('sidestack'), require('app')
local c = ss.channel()
return { wait = function() app.keep(function() c:send(1) end) c:recv() end, work = function() app.work(400) c:send(1) end }";
    let script = block_on(engine.load_text("app.lua", script)).expect("a script");
    // Rust holds a function, which can call nobody any more; what is at work outside is waited for.
    let waits = [(); 3].map(|()| engine.spawn(script.call::<()>("wait", ())).expect("begun"));
    let works = engine.spawn(script.call::<()>("work", ())).expect("begun");
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    let metrics = block_on(engine.shutdown(LONG));
    assert!(begun.elapsed() < LONG / 2 && metrics.stuck == 0, "{:?}", begun.elapsed());
    block_on(works).expect("it ends");
    let outcomes = waits.map(block_on);
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    for told in &outcomes[1..] {
        assert!(matches!(told, Err(Error::Deadlock { fibers }) if fibers.len() == 2), "{told:?}");
    }
    drop(given);
}

#[test]
fn calls_that_no_fiber_is_left_for_count_among_those_that_wait() {
    let (engine, _) = engine(|builder| builder.fibers(2));
    let text = "local ss = require 'sidestack'
local c = ss.channel()
local t = ss.spawn(function() c:recv() end)
ss.yield()
local u = ss.spawn(function() c:send(1) end)
u:join()";
    let fibers = deadlock(&engine, text);
    assert_eq!(waits(&fibers), ["- -", "Channel.recv eval:3", "Task.join eval:6"]);
    assert_eq!(fibers.iter().filter(|fiber| fiber.state == FiberState::Queued).count(), 1);
    assert_eq!(fine(&engine, "7"), Value::Int(7));
}

/// What a task does, an operation a line. Of each channel one task sends and one receives, so that the outcome does not
/// depend on who runs first, and a model can tell it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Send(usize),
    Receive(usize),
    Join(usize),
    Sleep,
    Work,
}

#[derive(Debug, Clone)]
struct Graph {
    /// Sender, receiver, capacity.
    channels: Vec<(usize, usize, usize)>,
    tasks: Vec<Vec<Step>>,
}

fn graphs() -> impl Strategy<Value = Graph> {
    (2..6_usize).prop_flat_map(|tasks| {
        let channels = prop::collection::vec((0..tasks, 0..tasks, 1..4_usize), 1..5);
        let steps = prop::collection::vec(prop::collection::vec((0..10_u8, any::<prop::sample::Index>()), 0..6), tasks);
        (channels, steps).prop_map(move |(channels, steps)| {
            let step = |task: usize, (kind, which): (u8, prop::sample::Index)| {
                let mine = |end: fn(&(usize, usize, usize)) -> usize| -> Option<usize> {
                    let mine: Vec<usize> = (0..channels.len()).filter(|c| end(&channels[*c]) == task).collect();
                    (!mine.is_empty()).then(|| mine[which.index(mine.len())])
                };
                match kind {
                    0..4 => mine(|channel| channel.0).map(Step::Send),
                    4..7 => mine(|channel| channel.1).map(Step::Receive),
                    7 => Some(Step::Join(which.index(tasks))),
                    8 => Some(Step::Sleep),
                    _ => Some(Step::Work),
                }
            };
            let tasks =
                (0..).zip(&steps).map(|(task, all)| all.iter().filter_map(|s| step(task, *s)).collect()).collect();
            Graph { channels: channels.clone(), tasks }
        })
    })
}

impl Graph {
    /// The text, and the line of each step.
    fn text(&self) -> (String, Vec<Vec<usize>>, usize) {
        let mut lines = vec!["local ss, app, tasks, c = require 'sidestack', require 'app', {}, {}".to_string()];
        lines.extend(self.channels.iter().map(|(.., capacity)| format!("c[#c + 1] = ss.channel({capacity})")));
        let mut places = Vec::new();
        for steps in &self.tasks {
            lines.push("tasks[#tasks + 1] = ss.spawn(function()".into());
            let mut own = Vec::new();
            for step in steps {
                lines.push(match step {
                    Step::Send(channel) => format!("c[{}]:send(1)", channel + 1),
                    Step::Receive(channel) => format!("c[{}]:recv()", channel + 1),
                    Step::Join(task) => format!("tasks[{}]:join()", task + 1),
                    Step::Sleep => "ss.sleep(0.03)".into(),
                    Step::Work => "app.work(30)".into(),
                });
                own.push(lines.len());
            }
            places.push(own);
            lines.push("end)".into());
        }
        lines.push("for _, task in ipairs(tasks) do".into());
        lines.push("task:join()".into());
        let join = lines.len();
        lines.push("end".into());
        (lines.join("\n"), places, join)
    }

    /// Where each task is at last; as many as its steps: it has ended.
    fn model(&self) -> Vec<usize> {
        let mut at = vec![0; self.tasks.len()];
        let mut filled = vec![0; self.channels.len()];
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for task in 0..at.len() {
                while let Some(step) = self.tasks[task].get(at[task]) {
                    let can = match *step {
                        Step::Send(channel) => filled[channel] < self.channels[channel].2,
                        Step::Receive(channel) => filled[channel] > 0,
                        Step::Join(other) => at[other] == self.tasks[other].len(),
                        Step::Sleep | Step::Work => true,
                    };
                    if !can {
                        break;
                    }
                    match *step {
                        Step::Send(channel) => filled[channel] += 1,
                        Step::Receive(channel) => filled[channel] -= 1,
                        _ => {}
                    }
                    at[task] += 1;
                    moved = true;
                }
            }
        }
        at
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_waits_is_what_a_model_says(graphs in prop::collection::vec(graphs(), 1..4)) {
        let (engine, _) = engine(|builder| builder);
        for graph in &graphs {
            let (text, places, join) = graph.text();
            let at = graph.model();
            let mut expected: Vec<String> = (0..)
                .zip(&at)
                .filter_map(|(task, at): (usize, _)| places[task].get(*at).map(|line| format!("eval:{line}")))
                .collect();
            let outcome = engine.eval::<()>(&text).detect_deadlock().blocking();
            match outcome {
                Ok(()) => prop_assert!(expected.is_empty(), "{expected:?} of\n{text}"),
                Err(Error::Deadlock { fibers }) => {
                    expected.push(format!("eval:{join}"));
                    expected.sort();
                    let mut found: Vec<String> = fibers.iter().filter_map(|fiber| fiber.at.clone()).collect();
                    found.sort();
                    prop_assert_eq!(found, expected, "of\n{}", text);
                }
                Err(error) => prop_assert!(false, "{error} of\n{text}"),
            }
        }
    }
}
