//! The C API with any arguments, in any order (csrc/c_api.c): each call gives a status, and nothing is left.
#![no_main]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;
use sidestack::guest::native::sidestack_results;
use sidestack::guest::ss_value;
use sidestack::{Bytes, Cx, Engine, Error, Function, HostObject, Members, Module, Native, Object, Rest, Script, Value};

unsafe extern "C" {
    fn fuzz_c_api(data: *mut c_void, args: *const ss_value, nargs: u32, results: *mut sidestack_results) -> c_int;
}

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
    // SAFETY: csrc/c_api.c passes what the header allows, and what it says is an error.
    let native = unsafe { Native::new().callable("fuzz", fuzz_c_api, ptr::null_mut()) };
    let engine = Engine::builder(native).threads(1).module(module).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    (engine, script)
});

fuzz_target!(|bytes: &[u8]| {
    let (engine, script) = &*SCRIPTS;
    match block_on(script.call::<Value>("fuzz", Bytes(bytes.to_vec()))) {
        Ok(_) | Err(Error::Script { .. } | Error::Convert { .. } | Error::Refused { .. }) => {}
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
