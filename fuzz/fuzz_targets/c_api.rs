//! The C API with any arguments, in any order (csrc/c_api.c): each call gives a status, and nothing is left.
#![no_main]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;
use sidestack::{Bytes, Cx, Engine, Error, Function, HostObject, Members, Module, Object, Rest, Script, Value};
use sidestack_fuzz::c_api;

static LIVE: AtomicI64 = AtomicI64::new(0);

struct Thing;

impl Thing {
    fn new() -> Thing {
        LIVE.fetch_add(1, Ordering::AcqRel);
        Thing
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::AcqRel);
    }
}

impl HostObject for Thing {
    const NAME: &'static str = "Thing";
    fn members(_: &mut Members<Self>) {}
}

static SCRIPTS: LazyLock<(Engine, Script)> = LazyLock::new(|| {
    let module = Module::new("f")
        .object::<Thing>()
        .function("take", |Rest(values): Rest<Value>| Ok(values.len()))
        .function("echo", |value: Value| Ok(value))
        .function("typed", |_: i64, _: String, _: Option<Vec<u8>>| Ok(()))
        .function("object", || Ok(Object::new(Thing::new())))
        .function("touch", |_: Object<Thing>| Ok(()))
        .function("apply", async |mut cx: Cx, f: Function, value: Value| Ok(cx.call::<Value>(&f, value).await?))
        .function("waits", async |cx: Cx| {
            cx.sleep(Duration::ZERO).await;
            Ok(())
        });
    let engine = Engine::builder(c_api()).threads(1).module(module).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    (engine, script)
});

fuzz_target!(|bytes: &[u8]| {
    let (engine, script) = &*SCRIPTS;
    // Some functions wait for what nobody does.
    let call = script.call::<Value>("fuzz", Bytes(bytes.to_vec())).deadline(Duration::from_millis(50));
    match block_on(call) {
        Ok(_) | Err(Error::Script { .. } | Error::Convert { .. } | Error::Refused { .. } | Error::Limit { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
    let begun = Instant::now();
    while engine.metrics().fibers > 0 || LIVE.load(Ordering::Acquire) > 0 {
        let (live, metrics) = (LIVE.load(Ordering::Acquire), engine.metrics());
        assert!(begun.elapsed() < Duration::from_secs(5), "{live} objects are left: {metrics:?}");
        std::thread::yield_now();
    }
    assert_eq!(engine.metrics().quarantined, 0);
});
