//! Values that are bound to an interpreter (rule 10), and waiting on one's own interpreter.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_executor::block_on;
use sidestack::error::refused;
use sidestack::{Engine, Function, HostObject, Members, Module, Object};

use crate::guest::guest;
use crate::stage::{Stage, chunk, until};

#[derive(Default)]
struct Counter(Mutex<i64>);

impl HostObject for Counter {
    const NAME: &'static str = "Counter";
    fn members(members: &mut Members<Self>) {
        members.method("add", |this: &Self, n: i64| {
            *this.0.lock().expect("not poisoned") += n;
            Ok(())
        });
    }
}

fn thread_name() -> String {
    std::thread::current().name().unwrap_or("").to_string()
}

fn engine(threads: usize) -> Engine {
    let module = Module::new("u")
        .object::<Counter>()
        .function("thread", || Ok(thread_name()))
        .function("counter", || Ok(Object::new(Counter::default())));
    Engine::builder(guest()).threads(threads).module(module).build().expect("an engine")
}

/// A function of each interpreter, with its thread's name.
fn functions(engine: &Engine) -> Vec<(String, Function)> {
    let script = block_on(engine.load_text(
        "f",
        script!(
            lua: "local u = require 'u'
                 local function f(...) return u.thread(), select('#', ...) end
                 return { make = function() return u.thread(), f end }",
            php: r"<?php return ['make' => fn () => [u\thread(), fn (...$all) => [u\thread(), count($all)]]];",
        ),
    ))
    .expect("a script");
    let mut found: Vec<(String, Function)> = Vec::new();
    until("a function of each interpreter", || {
        let (name, function): (String, Function) = block_on(script.call("make", ())).expect("a function");
        if !found.iter().any(|(seen, _)| *seen == name) {
            found.push((name, function));
        }
        found.len() == 4
    });
    found
}

#[test]
fn a_function_runs_on_its_own_interpreter_from_any_thread() {
    let engine = engine(4);
    for (name, function) in functions(&engine) {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (ran_on, _): (String, i64) = block_on(function.call(())).expect("a call");
                    assert_eq!(ran_on, name);
                    // As an argument it takes the call with it.
                    let text = script!(lua: "local f = ... return (f())", php: "return $args[0]()[0];");
                    let ran_on = block_on(engine.eval_with::<String>(text, &function));
                    script!(
                        lua: assert_eq!(ran_on.expect("a call"), name),
                        // There, a call is a request, which has no values of another one.
                        php: assert_eq!(ran_on.expect_err("refused").code(), Some("wrong_request")),
                    );
                });
            }
        });
    }
}

#[test]
fn two_owners_in_one_call_are_refused_before_it_is_queued() {
    let engine = engine(4);
    let functions = functions(&engine);
    let pair = (&functions[0].1, &functions[1].1);
    for call in [engine.eval_with::<()>("", pair), functions[2].1.call::<()>((1, pair.0))] {
        let error = engine.spawn(call).expect_err("refused at once");
        assert_eq!(error.code(), Some(refused::TWO_OWNERS), "{error:?}");
    }
    assert_eq!(engine.metrics().queued, 0);
    let same = (&functions[0].1, functions[0].1.clone());
    let once = block_on(engine.eval_with::<()>("", same));
    script!(
        lua: once.expect("one owner twice"),
        php: assert_eq!(once.expect_err("refused by the request").code(), Some("wrong_request")),
    );
}

#[test]
fn a_function_after_shutdown_is_refused() {
    let engine = engine(1);
    let function: Function = block_on(engine.eval(script!(
    lua: "return function() return 1 end",
    php: "return fn () => 1;",
    )))
    .expect("a function");
    block_on(engine.shutdown(Duration::from_secs(5)));
    let error = block_on(function.call::<i64>(())).expect_err("shut down");
    assert_eq!(error.code(), Some(refused::SHUT_DOWN), "{error:?}");
    let error = block_on(engine.eval::<i64>("1")).expect_err("shut down");
    assert_eq!(error.code(), Some(refused::SHUT_DOWN), "{error:?}");
    drop(engine);
    let error = block_on(function.call::<i64>(())).expect_err("gone");
    assert_eq!(error.code(), Some(refused::SHUT_DOWN), "{error:?}");
}

#[test]
fn objects_come_back_as_the_same() {
    let engine = engine(2);
    let counter = Arc::new(Counter::default());
    let mut threads = HashSet::new();
    for _ in 0..8 {
        let object = Object::<Counter>::new(counter.clone());
        let (back, list, thread): (Object<Counter>, Vec<Object<Counter>>, String) = block_on(engine.eval_with(
            script!(
            lua: "local c = ... c:add(2) return c, {c, c}, require('u').thread()",
            php: r"$c = $args[0]; $c->add(2); return [$c, [$c, $c], u\thread()];",
            ),
            object,
        ))
        .expect("a call");
        threads.insert(thread);
        assert!(Arc::ptr_eq(&back.into_inner(), &counter));
        assert!(list.into_iter().all(|object| Arc::ptr_eq(&object.into_inner(), &counter)));
    }
    assert_eq!(*counter.0.lock().expect("not poisoned"), 16);
    let made: Object<Counter> = block_on(engine.eval(script!(
    lua: "local c = require('u').counter() c:add(5) return c",
    php: r"$c = u\counter(); $c->add(5); return $c;",
    )))
    .expect("one");
    assert_eq!(*made.0.lock().expect("not poisoned"), 5);
    block_on(engine.shutdown(Duration::from_secs(5)));
    drop(made);
    assert_eq!(Arc::strong_count(&counter), 1, "the interpreters have given theirs back");
}

/// An engine whose host functions can reach it, which keeps it alive: tests end it by `shutdown`.
fn own_engine(stage: &Stage, make: impl FnOnce(Arc<OnceLock<Engine>>) -> Module) -> Engine {
    let cell: Arc<OnceLock<Engine>> = Arc::default();
    let engine = stage.builder().module(make(cell.clone())).build().expect("an engine");
    cell.set(engine.clone()).expect("once");
    engine
}

#[test]
fn blocking_on_the_own_interpreter_is_refused_by_name() {
    let stage = Stage::new();
    let engine = own_engine(&stage, |cell| {
        Module::new("u").function("nested", move || {
            let engine = cell.get().expect("set");
            let error = engine.eval::<i64>("1").blocking().expect_err("refused");
            Err::<(), _>(error.into())
        })
    });
    let code = script!(
    lua: "local ok, e = pcall(require('u').nested) return e.code",
    php: r"try { u\nested(); } catch (Exception $e) { return $e->getCode(); }",
    );
    let code: String = block_on(engine.eval(code)).expect("caught");
    assert_eq!(code, "would_block_own_interpreter");
    match block_on(engine.eval::<()>(script!(
    lua: "require('u').nested()",
    php: r"u\nested()",
    ))) {
        Err(error) => assert_eq!(error.code(), Some(refused::OWN_INTERPRETER), "{error:?}"),
        Ok(()) => panic!("not refused"),
    }
    assert_eq!(engine.eval::<i64>("1").blocking().expect("not from an interpreter thread"), 1);
    block_on(engine.shutdown(Duration::from_secs(5)));
}

#[test]
fn awaiting_the_own_interpreter_works() {
    let stage = Stage::new();
    let engine = own_engine(&stage, |cell| {
        Module::new("u").function("nested", async move |text: String| {
            let engine = cell.get().expect("set");
            Ok(engine.eval::<i64>(&text).await?)
        })
    });
    let text = script!(
    lua: "return require('u').nested([[return 1 + require('u').nested('41')]])",
    php: r"return u\nested('1 + u\nested(\'41\')');",
    );
    assert_eq!(block_on(engine.eval::<i64>(text)).expect("an answer"), 42);
    block_on(engine.shutdown(Duration::from_secs(5)));
}

#[test]
fn the_watchdog_names_a_function_that_hangs_its_interpreter() {
    let stage = Stage::new();
    let engine = own_engine(&stage, |cell| {
        Module::new("u").function("hang", move || {
            let engine = cell.get().expect("set").clone();
            let (send, receive) = std::sync::mpsc::channel();
            let call = engine.spawn(engine.eval::<i64>("42"))?;
            // What `block_on` in a host function amounts to, with an end.
            std::thread::spawn(move || send.send(block_on(call).ok()));
            Ok(receive.recv_timeout(Duration::from_millis(1500)).ok().flatten())
        })
    });
    let call = engine
        .spawn(engine.eval::<Option<i64>>(script!(
        lua: "return require('u').hang()",
        php: r"return u\hang();",
        )))
        .expect("started");
    until("the watchdog names it while it hangs", || engine.metrics().slow_host_calls == 1);
    assert_eq!(engine.metrics().last_slow_host_call.as_deref(), Some("u.hang"));
    assert_eq!(block_on(call).expect("it ends"), None, "the inner call could not run meanwhile");
    assert_eq!(engine.metrics().slow_host_calls, 1);
    assert_eq!(
        block_on(engine.eval::<i64>(&chunk(script!(
        lua: "t.nap(1) return 1",
        php: r"t\nap(1); return 1;",
        ))))
        .expect("the interpreter works"),
        1
    );
    block_on(engine.shutdown(Duration::from_secs(5)));
}

#[test]
fn the_watchdog_does_not_name_functions_that_wait() {
    let stage = Stage::new();
    let engine = stage.engine();
    block_on(engine.eval::<()>(&chunk(script!(
    lua: "t.nap(200)",
    php: r"t\nap(200);",
    ))))
    .expect("a nap");
    block_on(engine.eval::<()>(&chunk(script!(
    lua: "for i = 1, 100 do t.nap(1) end",
    php: r"for ($i = 0; $i < 100; $i++) t\nap(1);",
    ))))
    .expect("naps");
    assert_eq!(engine.metrics().last_slow_host_call, None);
}
