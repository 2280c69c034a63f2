//! Lua through the public API: calls, host functions that wait, errors, values.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Cx, Engine, Error, Function, Lua, Module, Raise, Rest, Value};

fn engine() -> Engine {
    let app = Module::new("app")
        .function("add", |a: i64, b: i64| Ok(a + b))
        .function("nap", async |cx: Cx, seconds: f64| {
            cx.sleep(Duration::from_secs_f64(seconds)).await;
            Ok(format!("slept {seconds}"))
        })
        .function("each", async |mut cx: Cx, items: Vec<i64>, f: Function| {
            let mut out = Vec::with_capacity(items.len());
            for x in items {
                out.push(cx.call::<f64>(&f, x).await?);
            }
            Ok(out)
        })
        .function("fail", |code: String| -> sidestack::HostResult<()> { Err(Raise::new(code, "it failed").into()) })
        .function("io", || -> sidestack::HostResult<()> { Err(std::io::Error::other("disk gone").into()) })
        .function("count", |Rest(all): Rest<Value>| Ok(all.len()));
    Engine::builder(Lua::new()).threads(1).module(app).build().expect("an engine")
}

fn eval<R: serde::de::DeserializeOwned + Send + 'static>(text: &str) -> Result<R, Error> {
    block_on(engine().eval(text))
}

#[test]
fn an_expression_and_a_host_function() {
    let engine = engine();
    assert_eq!(block_on(engine.eval::<i64>("1 + 1")).expect("a number"), 2);
    assert_eq!(block_on(engine.eval::<i64>("require('app').add(20, 22)")).expect("a number"), 42);
    let (a, b): (String, Option<bool>) = block_on(engine.eval("return 'x', nil")).expect("two results");
    assert_eq!((a.as_str(), b), ("x", None));
}

#[test]
fn waiting_suspends_one_fiber_only() {
    let engine = engine();
    let begun = Instant::now();
    let naps = (0..50).map(|_| engine.eval::<String>("require('app').nap(0.4)"));
    for slept in block_on(futures_util::future::join_all(naps)) {
        assert_eq!(slept.expect("a nap"), "slept 0.4");
    }
    // One after the other it would be 20 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "50 naps took {:?}", begun.elapsed());
}

#[test]
fn host_functions_call_back_and_wait_inside() {
    let doubled: Vec<f64> = eval(
        "local app = require 'app'
         return app.each({1, 2, 3}, function(x) app.nap(0.01) return x * 2 end)",
    )
    .expect("a list");
    assert_eq!(doubled, [2.0, 4.0, 6.0]);
}

#[test]
fn errors_carry_code_line_and_original() {
    let error = eval::<()>("local x = nil\nreturn x.y").expect_err("an index of nil");
    let Error::Script { message, traceback, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("eval:2:") && message.contains("'x'"), "{message}");
    assert!(traceback.contains("eval:2"), "{traceback}");
    let caught: (bool, String, String) =
        eval("local ok, e = pcall(require('app').fail, 'teapot') return ok, e.code, e.message").expect("caught");
    assert_eq!((caught.0, caught.1.as_str()), (false, "teapot"));
    let error = eval::<()>("require('app').io()").expect_err("a host error");
    assert_eq!(error.host::<std::io::Error>().expect("the original").to_string(), "disk gone");
}

#[test]
fn a_script_is_loaded_and_called() {
    let engine = engine();
    let script = block_on(engine.load_text(
        "hello",
        "local app = require 'app'
         return { greet = function(name) return 'hi ' .. name .. ', I ' .. app.nap(0.01) end }",
    ))
    .expect("a script");
    assert_eq!(block_on(script.call::<String>("greet", "ada")).expect("a greeting"), "hi ada, I slept 0.01");
    assert_eq!(script.exports(), Some(&["greet".to_string()][..]));
    let error = block_on(script.call::<String>("nope", ())).expect_err("no such export");
    assert_eq!(error.code(), Some("not_found"));
}

#[test]
fn the_sidestack_module_waits() {
    let sums: i64 = eval(
        "local ss = require 'sidestack'
         local ch = ss.channel(2)
         ss.spawn(function() for i = 1, 10 do ch:send(i) end ch:close() end)
         local sum = 0
         while true do
           local v = ch:recv()
           if v == nil then break end
           sum = sum + v
         end
         return sum",
    )
    .expect("a sum");
    assert_eq!(sums, 55);
}

#[test]
fn a_first_line_for_the_shell_is_left_out() {
    assert_eq!(eval::<i64>("#!/usr/bin/env sidestack\nreturn 7").expect("a number"), 7);
}
