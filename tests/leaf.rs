//! Leaves: host functions that run on the fiber's stack.

use std::process::Command;

use futures_executor::block_on;
use serde::de::DeserializeOwned;
use sidestack::{Engine, Error, Lua, Module, Value};

const CHILD: &str = "SIDESTACK_TEST_CHILD";

/// The address of something on the stack that this runs on.
#[inline(never)]
fn here() -> i64 {
    let on_stack = 0_u8;
    std::hint::black_box(&raw const on_stack).addr().cast_signed() as i64
}

/// Each function twice: as a leaf, and by `function`.
fn engine() -> Engine {
    let functions = Module::new("plain")
        .function("add", |a: i64, b: i64| Ok(a.wrapping_add(b)))
        .function("half", |x: f64| Ok(x / 2.0))
        .function("small", |x: u8| Ok(x))
        .function("not", |x: bool| Ok(!x))
        .function("nothing", || Ok(()))
        .function("here", || Ok(here()));
    // SAFETY: none can panic (but for the one whose test is that), waits, or owns anything.
    let leaves = unsafe {
        Module::new("leaf")
            .leaf("add", i64::wrapping_add)
            .leaf("half", |x: f64| x / 2.0)
            .leaf("small", |x: u8| x)
            .leaf("not", |x: bool| !x)
            .leaf("nothing", || ())
            .leaf("here", here)
            .leaf("captured", {
                let factor = std::hint::black_box(7_i64);
                move |x: i64| x.wrapping_mul(factor)
            })
            .leaf("panics", |x: i32| assert_eq!(x, 0, "a leaf's panic"))
    };
    Engine::builder(Lua::new()).threads(1).module(functions).module(leaves).build().expect("an engine")
}

fn eval<R: DeserializeOwned + Send + 'static>(engine: &Engine, text: &str) -> Result<R, Error> {
    block_on(engine.eval(format!("local leaf, plain = require 'leaf', require 'plain' {text}").as_str()))
}

#[test]
fn values_cross() {
    let engine = engine();
    let many: (i64, f64, u8, bool, usize, i64) = eval(
        &engine,
        "local function count(...) return select('#', ...) end
         return leaf.add(20, 22), leaf.half(3.0), leaf.small(255), leaf['not'](false), count(leaf.nothing()), leaf.captured(6)",
    )
    .expect("values");
    assert_eq!(many, (42, 1.5, 255, true, 0, 42));
    let sum: i64 = eval(&engine, "local n = 0 for i = 1, 100000 do n = leaf.add(n, i) end return n").expect("a sum");
    assert_eq!(sum, 5_000_050_000);
}

#[test]
fn what_is_not_just_that_is_as_in_an_ordinary_function() {
    let engine = engine();
    for call in [
        "half(3)",
        "half('3')",
        "half()",
        "half(nil)",
        "half({})",
        "small(256)",
        "small(-1)",
        "small(1.0)",
        "small(1.5)",
        "add(1)",
        "add(1, 2, 3)",
        "add('1', 2)",
        "add(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)",
        "not(1)",
        "not(nil)",
        "nothing(1)",
        "nothing('x', {})",
    ] {
        let told = |module: &str| match eval::<Value>(
            &engine,
            &format!("return {module}['{}", call.replacen('(', "'](", 1)),
        ) {
            Ok(value) => format!("{value:?}"),
            Err(Error::Script { code, message, .. }) => {
                format!("{code:?} {}", message.replace(&format!("{module}."), ""))
            }
            Err(other) => panic!("{call}: {other:?}"),
        };
        assert_eq!(told("leaf"), told("plain"), "{call}");
    }
}

/// Two fibers at once: a leaf is on the stack of each, an ordinary function on the thread's.
#[test]
fn it_runs_on_the_fibers_stack() {
    let places: Vec<Vec<i64>> = eval(
        &engine(),
        "local ss = require 'sidestack'
         local places, done = {}, ss.channel(2)
         for i = 1, 2 do
           ss.spawn(function()
             places[i] = { leaf.here(), plain.here() }
             ss.sleep(0.05)
             done:send(true)
           end)
         end
         done:recv() done:recv()
         return places",
    )
    .expect("places");
    let apart = |of: usize| (places[0][of] - places[1][of]).abs();
    assert!(apart(0) >= 64 << 10, "both leaves were on one stack: {places:?}");
    assert!(apart(1) < 16 << 10, "the functions were on two stacks: {places:?}");
}

#[test]
fn a_panic_ends_the_process_with_its_message() {
    const NAME: &str = "a_panic_ends_the_process_with_its_message";
    if std::env::var_os(CHILD).is_some() {
        let engine = engine();
        eval::<()>(&engine, "leaf.panics(0)").expect("no panic yet");
        eprintln!("got this far");
        let _ = eval::<()>(&engine, "leaf.panics(1)");
        unreachable!("the leaf has panicked");
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let output = command.args(["--exact", NAME, "--nocapture"]).env(CHILD, NAME).output().expect("a child");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("got this far"), "{told}");
    assert!(told.contains("a leaf's panic") && !told.contains("the leaf has panicked"), "{told}");
}
