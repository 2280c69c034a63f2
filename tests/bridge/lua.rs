//! What only Lua has: finalizers that cannot wait, scripts that run when they are loaded, coroutines between nested calls.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use sidestack::{Engine, Error, Lua};

use crate::panics::{PREPARE, haunted};
use crate::stage::{Stage, chunk, until};

#[test]
fn a_finalizer_cannot_wait_and_says_so() {
    let stage = Stage::new();
    let engine = Engine::builder(Lua::new().script_gc(true).unlimited_collectgarbage(true))
        .threads(1)
        .module(stage.module())
        .build()
        .expect("an engine");
    let text = chunk(
        "do setmetatable({}, {__gc = function()
            local ok, e = pcall(t.wait, 1)
            t.note(tostring(ok) .. ' ' .. tostring(e.code))
         end}) end
         collectgarbage() collectgarbage()
         return 1",
    );
    assert_eq!(block_on(engine.eval::<i64>(&text)).expect("the call goes on"), 1);
    let log = stage.log();
    assert!(log.contains(&"false cannot_suspend_in_finalizer".to_string()), "{log:?}");
    stage.open(1, 9);
    assert_eq!(block_on(engine.eval::<i64>(&chunk("return t.wait(1)"))).expect("the interpreter works"), 9);
}

fn depth(levels: i64, stack: usize, body: &str) -> Result<i64, Error> {
    let stage = Stage::new();
    let engine = stage.builder().stack(stack).build().expect("an engine");
    let result = block_on(engine.eval_with::<i64>(&chunk(body), levels));
    assert_eq!(block_on(engine.eval::<i64>("1 + 1")).expect("the interpreter works"), 2);
    result
}

const PLAIN: &str = "local function f(n) if n == 0 then return 0 end return 1 + t.call(f, n - 1) end return f(...)";
const COROUTINES: &str = "local function f(n)
        if n == 0 then return 0 end
        return coroutine.wrap(function() return 1 + t.call(f, n - 1) end)()
    end
    return f(...)";

/// A level takes 5 KiB of C stack, and 9 KiB through a coroutine, where the C is compiled without optimisation, as it is in
/// a debug build; with -O2 it is 1.7 and 2.4 KiB (see `stack_of_a_level`), so that 512 KiB would do.
const STACK: usize = 2 << 20;

#[test]
fn nested_250_deep() {
    assert_eq!(depth(250, STACK, PLAIN).expect("room for it"), 250);
}

#[test]
fn nested_150_deep_through_coroutines() {
    assert_eq!(depth(150, STACK, COROUTINES).expect("room for it"), 150);
}

/// What the numbers above come from.
#[test]
fn stack_of_a_level() {
    let levels = |body, stack| (1..).take_while(|n| depth(*n, stack, body).is_ok()).last().unwrap_or(0);
    for (name, body, most) in [("plain", PLAIN, 7 << 10), ("coroutines", COROUTINES, 12 << 10)] {
        let more = levels(body, 512 << 10) - levels(body, 256 << 10);
        let level = i64::from(256 << 10) / more.max(1);
        println!("{name}: {level} bytes a level");
        assert!(level < most, "{name}: {level} bytes a level");
    }
}

#[test]
fn nesting_without_end_is_an_error() {
    for body in [PLAIN, COROUTINES] {
        let error = depth(1 << 40, 256 << 10, body).expect_err("no stack is that large");
        assert_eq!(error.to_string(), "stack limit of 262144 bytes reached (setting: stack)");
    }
}

#[test]
fn a_script_that_did_not_load_is_not_loaded_again() {
    let stage = Stage::new();
    let (builder, panic_in, _) = haunted(&stage);
    let engine = builder.build().expect("an engine");
    let script = block_on(engine.load_text("s", "return { two = function() return 2 end }")).expect("a script");
    // It failed, or its caller gave up.
    let waits = chunk("t.wait(1) return {}");
    block_on(engine.load_text("bad", "error 'on purpose'")).expect_err("on purpose");
    let mut given_up = Box::pin(engine.load_text("given up", waits));
    block_on(async { assert!(futures_util::poll!(&mut given_up).is_pending()) });
    stage.arrived(1, 1);
    drop(given_up);
    until("it is gone", || engine.metrics().fibers == 0);
    panic_in.store(PREPARE, Ordering::SeqCst);
    block_on(engine.eval::<()>("")).expect_err("its interpreter is lost");
    assert_eq!(block_on(script.call::<i64>("two", ())).expect("the replacement has it"), 2);
    until("nothing waits at the gate", || engine.metrics().fibers == 0);
}
