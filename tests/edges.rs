//! Corners that were once wrong: loading that waits for its own tasks, errors that were caught long ago, two views of one
//! call, extensions that outlive their call, endless graces and sleeps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot;
use futures_executor::block_on;
use sidestack::{Cx, Engine, Error, Ext, Function, HostResult, Limit, Lua, Module, Raise};

#[test]
fn a_script_may_wait_for_its_own_tasks_while_it_loads() {
    let engine = Engine::builder(Lua::new()).threads(1).deadline(Duration::from_secs(5)).build().expect("an engine");
    let text = "local ss = require 'sidestack'
        local v = ss.spawn(function() ss.sleep(0.01) return 41 end):join()
        return { get = function() return v + 1 end }";
    let script = block_on(engine.load_text("waits", text)).expect("it loads");
    assert_eq!(block_on(script.call::<i64>("get", ())).expect("a call"), 42);
}

#[test]
fn calls_of_other_scripts_go_on_while_one_loads() {
    let (go, wait) = oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let app = Module::new("app").function("wait", async move || {
        let wait = wait.lock().expect("not poisoned").take().expect("called once");
        Ok(wait.await?)
    });
    let builder = Engine::builder(Lua::new()).threads(1).deadline(Duration::from_secs(20)).module(app);
    let engine = builder.build().expect("an engine");
    let first = block_on(engine.load_text("first", "return function() return 1 end")).expect("loads");
    block_on(async {
        let slow = engine.load_text("slow", "require 'app'.wait() return function() return 2 end");
        let quick = async {
            assert_eq!(first.call::<i64>("default", ()).await.expect("it does not wait for the other's load"), 1);
            go.send(()).expect("it waits");
        };
        futures_util::join!(slow, quick).0.expect("loads");
    });
}

#[test]
fn an_error_that_was_caught_is_not_the_source_of_a_later_one() {
    let app = Module::new("app").function("fail", || -> HostResult<()> { Err(std::io::Error::other("first").into()) });
    let engine = Engine::builder(Lua::new()).threads(1).module(app).build().expect("an engine");
    let text = "pcall(require 'app'.fail) error('second')";
    let error = block_on(engine.eval::<()>(text)).expect_err("raised");
    assert!(error.host::<std::io::Error>().is_none(), "{error:?}");
}

#[test]
fn two_views_of_one_call_are_refused() {
    let app =
        Module::new("app").function("two", async |mut a: Cx, _b: Cx, f: Function| Ok(a.call::<i64>(&f, ()).await?));
    let engine = Engine::builder(Lua::new()).threads(1).module(app).build().expect("an engine");
    let error = block_on(engine.eval::<i64>("require 'app'.two(function() return 1 end)")).expect_err("refused");
    assert!(error.to_string().contains("two `Cx`"), "{error}");
}

#[test]
fn extensions_end_with_their_call() {
    let app = Module::new("app").function("peek", |held: Ext<Arc<()>>| Ok(Arc::strong_count(&held)));
    let engine = Engine::builder(Lua::new()).threads(1).module(app).build().expect("an engine");
    let value = Arc::new(());
    let call = engine.eval::<usize>("require 'app'.peek()").ext(value.clone());
    assert_eq!(block_on(call).expect("a count"), 2);
    // The fiber ends just after its outcome is given out.
    block_on(engine.eval::<i64>("1")).expect("another call");
    assert_eq!(Arc::strong_count(&value), 1, "the ended call still holds its extension");
}

#[test]
fn never_to_kill_and_to_sleep_for_ever_are_no_overflow() {
    let engine = Engine::builder(Lua::new())
        .threads(1)
        .grace(Duration::MAX)
        .deadline(Duration::from_millis(50))
        .build()
        .expect("an engine");
    for text in ["require 'sidestack'.sleep(1e19)", "while true do end"] {
        let error = block_on(engine.eval::<()>(text)).expect_err(text);
        assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{text}: {error:?}");
    }
    assert!(block_on(engine.shutdown(Duration::from_millis(100))).stuck == 0);
}

#[test]
fn a_raise_keeps_its_code_through_the_script() {
    let app = Module::new("app")
        .function("fail", || -> HostResult<()> { Err(Raise::new("teapot", "short and stout").into()) });
    let engine = Engine::builder(Lua::new()).threads(1).module(app).build().expect("an engine");
    let error = block_on(engine.eval::<()>("require 'app'.fail()")).expect_err("raised");
    assert_eq!(error.code(), Some("teapot"));
}
