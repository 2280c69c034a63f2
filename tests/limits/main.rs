//! Lua scripts that will not end, or will not stop growing.

mod memory;
mod time;

use std::sync::mpsc;
use std::time::Duration;

use futures_executor::block_on;
use serde::de::DeserializeOwned;
use sidestack::{Call, Cx, Engine, Error, Lua, Module};

fn builder() -> sidestack::Builder<Lua> {
    let app = Module::new("app").function("nap", async |cx: Cx, seconds: f64| {
        cx.sleep(Duration::from_secs_f64(seconds)).await;
        Ok(())
    });
    let grace = Duration::from_millis(50);
    Engine::builder(Lua::new().script_gc(true).unlimited_collectgarbage(true)).threads(1).grace(grace).module(app)
}

fn engine() -> Engine {
    builder().build().expect("an engine")
}

/// Waits for a call on a thread of its own: one that never ends fails its test and hangs nothing.
#[track_caller]
fn outcome<R: DeserializeOwned + Send + 'static>(call: Call<R>) -> Result<R, Error> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(block_on(call)));
    told.recv_timeout(Duration::from_secs(60)).expect("the call ends at all")
}

#[track_caller]
fn serves_the_next(engine: &Engine) {
    let next = outcome(engine.eval::<String>("x = (x or 0) + 1 return ('%d'):format(x) .. ('a'):rep(3)"));
    assert_eq!(next.expect("the next call"), "1aaa");
    assert_eq!(engine.metrics().quarantined, 0, "the same interpreter");
}
