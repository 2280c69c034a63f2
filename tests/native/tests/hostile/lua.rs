//! Scripts that fault, recurse and use up their interpreter (scenarios B2, B3 and C4 for Lua).

use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Cx, Engine, Error, Limit, Lua, Module, Script};

use super::child::{long, passes, resident, say, uncontained, until};

/// Byte code that reads upvalues that there are not: sooner or later one is behind a null pointer.
const SCRIPT: &str = r#"
local app = require "app"
local function crash()
  local function plain()
    local a = "constant"
    local b = "constant"
    local c = 1
    return c
  end
  local code = string.dump(plain)
  local loads = "\x03\x00\x00\x00\x83\x00\x00\x00"
  local at = assert(code:find(loads, 1, true), "the compiler has changed")
  for upvalue = 255, 1, -1 do
    load(code:sub(1, at - 1) .. string.pack("<I4", 9 | upvalue << 16) .. code:sub(at + 4), "broken", "b")()
  end
  return "survived"
end
local function recurse(n) return 1 + recurse(n + 1) end
local function through_c(n) return (("x"):gsub("x", function() return through_c(n + 1) end)) end
local function through_host(n) return app.apply(through_host, n + 1) end
local function through_coroutines(n) return coroutine.wrap(through_coroutines)(n + 1) end
local meta = {}
meta.__index = function(_, k) return setmetatable({}, meta)[k] end
local function unclosed(n) local c <close> = setmetatable({}, { __close = function() unclosed(n + 1) end }) unclosed(n + 1) end
local kept = {}
return {
  fine = function(n) return n + 1 end,
  wait = function(n) app.wait(60) return n end,
  crash = crash,
  crash_later = function() app.wait(1) crash() end,
  grow = function(n) kept[n % 1000] = ("x"):rep(5000) .. n return n + 1 end,
  recurse = function() return recurse(0) end,
  through_c = function() return through_c(0) end,
  through_host = function() return through_host(0) end,
  through_coroutines = function() return through_coroutines(0) end,
  through_metatables = function() return setmetatable({}, meta).x end,
  unclosed = function() return unclosed(0) end,
}
"#;

fn module() -> Module {
    Module::new("app")
        .function("wait", async |cx: Cx, seconds: f64| {
            cx.sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        })
        .function("apply", async |mut cx: Cx, f: sidestack::Function, n: i64| Ok(cx.call::<i64>(&f, n).await?))
}

fn engine(settings: impl FnOnce(sidestack::Builder<Lua>) -> sidestack::Builder<Lua>) -> (Engine, Script) {
    let builder = Engine::builder(Lua::new().binary_chunks(true)).threads(1).memory(64 << 20).module(module());
    let engine = settings(builder).build().expect("an engine");
    let script = block_on(engine.load_text("app.lua", SCRIPT)).expect("a script");
    (engine, script)
}

/// Scenario B2: 500 calls one after another, the 50th traps.
#[test]
fn one_of_five_hundred_traps() {
    if let Some(why) = uncontained() {
        return println!("SKIPPED: {why}");
    }
    passes("lua::one_of_five_hundred_traps", || {
        let (engine, script) = engine(|builder| builder);
        for i in 1..=500_i64 {
            if i == 50 {
                match block_on(script.call::<String>("crash", ())) {
                    Err(Error::Crashed { fault, fiber, backtrace }) => {
                        assert!(fault.contains("SIGSEGV") && fault.contains("script at"), "{fault}");
                        assert!(fiber > 0 && backtrace.to_string().contains("luaV_execute"), "{backtrace}");
                    }
                    other => panic!("{other:?}"),
                }
                continue;
            }
            assert_eq!(block_on(script.call::<i64>("fine", i)).expect("a call"), i + 1);
        }
        until("it is counted", || engine.metrics().crashed == 1);
        assert_eq!(engine.metrics().quarantined, 1);
    });
}

/// The same with calls beside it: those that had begun are told so, those in the queue run on the replacement.
#[test]
fn neighbours_of_a_trap_are_told_and_queued_calls_succeed() {
    if let Some(why) = uncontained() {
        return println!("SKIPPED: {why}");
    }
    passes("lua::neighbours_of_a_trap_are_told_and_queued_calls_succeed", || {
        for _ in 0..3 * long() {
            let (engine, script) = engine(|builder| builder.fibers(5));
            let waiting: Vec<_> =
                (0..4_i64).map(|n| engine.spawn(script.call::<i64>("wait", n)).expect("started")).collect();
            let crash = engine.spawn(script.call::<()>("crash_later", ())).expect("started");
            until("all have begun", || engine.metrics().fibers == 5);
            let queued: Vec<_> =
                (0..30_i64).map(|n| engine.spawn(script.call::<i64>("fine", n)).expect("queued")).collect();
            assert!(matches!(block_on(crash), Err(Error::Crashed { .. })));
            for call in waiting {
                let error = block_on(call).expect_err("its interpreter is lost");
                assert!(matches!(error, Error::InterpreterLost { started: true }), "{error:?}");
                assert!(!error.is_retryable());
            }
            for (n, call) in (0..30).zip(queued) {
                assert_eq!(block_on(call).expect("a queued call"), n + 1);
            }
            assert_eq!(block_on(engine.shutdown(Duration::from_secs(5))).stuck, 0);
        }
    });
}

/// Scenario B3: 2,000 calls, a new interpreter every 400: memory stays, whatever scripts keep.
#[test]
fn interpreters_that_are_used_up_give_their_memory_back() {
    passes("lua::interpreters_that_are_used_up_give_their_memory_back", || {
        let (engine, script) = engine(|builder| builder.max_calls(400));
        let mut memory = Vec::new();
        for round in 0..5 * i64::from(long()) {
            for i in 0..400 {
                let n = round * 400 + i;
                assert_eq!(block_on(script.call::<i64>("grow", n)).expect("a call"), n + 1);
            }
            until("it is replaced", || engine.metrics().recycled >= round.unsigned_abs());
            memory.push(resident());
        }
        assert!(engine.metrics().recycled >= 4, "{:?}", engine.metrics());
        assert_eq!((engine.metrics().quarantined, engine.metrics().abandoned), (0, 0));
        let (first, last) = (memory[0], *memory.last().expect("rounds"));
        say(&format!("Lua: {} KiB after 400 calls, {} KiB after {}", first / 1024, last / 1024, 400 * memory.len()));
        assert!(last <= first + first / 10, "{memory:?}");
    });
}

/// Scenario C4: recursion without an end, in all the ways there are, on stacks of all sizes: an error, and the next call works.
#[test]
fn recursion_without_an_end_is_an_error_each_time() {
    passes("lua::recursion_without_an_end_is_an_error_each_time", || {
        for stack in [64 << 10, 512 << 10] {
            let (engine, script) = engine(|builder| builder.stack(stack).deadline(Duration::from_secs(20)));
            for way in ["recurse", "through_c", "through_host", "through_coroutines", "through_metatables", "unclosed"]
            {
                for _ in 0..long() {
                    match block_on(script.call::<i64>(way, ())) {
                        Err(Error::Script { message, .. }) => assert!(message.contains("overflow"), "{way}: {message}"),
                        Err(Error::Limit { which: Limit::Memory | Limit::Stack, .. }) => {}
                        other => panic!("{way} on {stack} bytes: {other:?}"),
                    }
                    assert_eq!(block_on(script.call::<i64>("fine", 1)).expect("the next call"), 2);
                }
            }
            assert_eq!(engine.metrics().quarantined, 0);
        }
    });
}
