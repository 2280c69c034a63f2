//! Each allocation of guest code fails in turn: a memory error or success, nothing is left, and the interpreter still serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Cx, Engine, Error, Function, HostObject, Limit, Lua, Members, Module, Native, Object, Value};
use sidestack_test_native::{failing, public};

use super::child::{long, passes, say, until};

/// Of everything that a script can do some.
const SCRIPT: &str = r#"
local ss, app = require "sidestack", require "app"

local function level(n)
  if n == 0 then return "bottom" end
  return (level(n - 1))
end

return function(n)
  local t = {}
  for i = 1, 40 do t[i] = { i, tostring(i), name = ("x"):rep(i) } end
  table.sort(t, function(a, b) return a[1] > b[1] end)
  local text = {}
  for i, v in ipairs(t) do text[i] = v[2] .. v.name end
  local joined = table.concat(text, ",")
  local swapped = joined:gsub("%d+", function(d) return "<" .. d .. ">" end)
  local object <close> = setmetatable({}, { __index = function(_, k) return k .. k end, __close = function() t.closed = true end })
  local co = coroutine.wrap(function(a) local b = coroutine.yield(a .. "1") return b .. "2" end)
  local a, b = co("a"), co("b")
  local ok, e = pcall(error, { code = "mine", message = "caught" })
  local made = app.object()
  local back = app.echo({ list = { 1, 2, 3 }, text = swapped, deep = { { { true } } } })
  local called = app.apply(function(x) return x .. object.k end, "f")
  local tasks = ss.group(function(g)
    local one = g:spawn(function() ss.sleep(0.0001) return level(20) end)
    return one:join()
  end)
  local json = ss.json.decode(ss.json.encode({ 1, "two", { three = 3.5 } }))
  local chunk = load("local x = ... return x * 2")
  local packed = string.pack("s4I8", "packed", n)
  return #back.text .. a .. b .. tostring(ok) .. e.code .. called .. tasks .. json[3].three .. chunk(n) .. #packed
end
"#;

/// Counts those that are alive.
struct Live(Arc<AtomicI64>);

impl Live {
    fn new(count: &Arc<AtomicI64>) -> Live {
        count.fetch_add(1, Ordering::AcqRel);
        Live(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Thing(#[expect(dead_code, reason = "counts until it is dropped")] Live);

impl HostObject for Thing {
    const NAME: &'static str = "Thing";
    fn members(_: &mut Members<Self>) {}
}

fn module(live: &Arc<AtomicI64>) -> Module {
    let (objects, applies) = (live.clone(), live.clone());
    Module::new("app")
        .object::<Thing>()
        .function("echo", async |cx: Cx, value: Value| {
            cx.sleep(Duration::from_micros(100)).await;
            Ok(value)
        })
        .function("object", move || Ok(Object::new(Thing(Live::new(&objects)))))
        .function("apply", async move |mut cx: Cx, f: Function, text: String| {
            let _live = Live::new(&applies);
            Ok(cx.call::<String>(&f, text).await?)
        })
}

/// It is told as memory, in one way or the other.
fn is_memory(error: &Error) -> bool {
    match error {
        Error::Limit { which: Limit::Memory, .. } => true,
        Error::Script { message, code, .. } => code.as_deref() == Some("memory") || message.contains("memory"),
        _ => false,
    }
}

/// One after the other fails, alone and with all that follow, as long as there are so many; how often in all, and how many
/// calls failed. `call` gives the outcome while they fail, and looks whether all is well afterwards.
fn in_turn(step: i64, call: impl Fn() -> Result<(), Error>, well: impl Fn()) -> (i64, i64) {
    let (mut failures, mut errors) = (0, 0);
    for following in [false, true] {
        let mut number = 1;
        loop {
            failing::set(number..if following { i64::MAX } else { number + 1 });
            let outcome = call();
            let (count, failed) = failing::end();
            failures += failed;
            match outcome {
                Ok(()) => assert!(!following || failed == 0 || count >= number, "allocation {number}"),
                Err(error) => {
                    assert!(failed > 0 && is_memory(&error), "allocation {number}, following: {following}: {error:?}");
                    errors += 1;
                }
            }
            well();
            if failed == 0 {
                break;
            }
            number += step;
        }
        say(&format!("all {number} allocations in turn, those that follow too: {following}"));
    }
    (failures, errors)
}

#[test]
fn of_a_lua_call() {
    passes("allocations::of_a_lua_call", || {
        let live = Arc::<AtomicI64>::default();
        let lua = Lua::new().unlimited_collectgarbage(true);
        let engine = Engine::builder(lua).threads(1).module(module(&live)).build().expect("an engine");
        let script = block_on(engine.load_text("turn", SCRIPT)).expect("a script");
        let call = |n: i64| block_on(script.call::<String>("default", n));
        let right = call(21).expect("without failures");
        let kept = || block_on(engine.eval::<f64>("collectgarbage() collectgarbage() return collectgarbage('count')"));
        // What the first calls made is there.
        for _ in 0..5 {
            call(21).expect("without failures");
        }
        let before = kept().expect("a size");
        let (failures, errors) = in_turn(
            1,
            || call(21).map(|text| assert_eq!(text, right)),
            || {
                until("its fibers are gone", || engine.metrics().fibers == 0);
                assert_eq!(call(21).expect("the next call"), right);
                // Collections for want of memory run no finalizers: what waits for them would fill tables that stay large.
                kept().expect("a size");
            },
        );
        assert!(failures > 300 && errors > 150, "{failures} failures, {errors} errors");
        // With an object goes what it held, a function say, soon after.
        until("its heap is as before", || kept().expect("a size") < before + 4.0);
        until("objects and futures are gone", || live.load(Ordering::Acquire) == 0);
        assert_eq!(engine.metrics().quarantined, 0);
        say(&format!("Lua: {failures} failed allocations, {errors} memory errors"));
    });
}

#[test]
fn of_loading_a_script() {
    passes("allocations::of_loading_a_script", || {
        let live = Arc::<AtomicI64>::default();
        let engine = Engine::builder(Lua::new()).threads(1).module(module(&live)).build().expect("an engine");
        let (failures, errors) = in_turn(
            1,
            || block_on(engine.load_text("turn", SCRIPT)).map(drop),
            || {
                let script = block_on(engine.load_text("after", "return function() return 7 end")).expect("a script");
                assert_eq!(block_on(script.call::<i64>("default", ())).expect("a call"), 7);
            },
        );
        assert!(failures > 20 && errors > 10, "{failures} failures, {errors} errors");
        assert_eq!(engine.metrics().quarantined, 0);
        say(&format!("loading: {failures} failed allocations, {errors} memory errors"));
    });
}

/// The interpreter's own start: an engine is built, or it is not and says so.
#[test]
fn of_an_interpreters_start() {
    passes("allocations::of_an_interpreters_start", || {
        let live = Arc::<AtomicI64>::default();
        let (failures, errors) = in_turn(
            // Not all in CI: each is an engine.
            if long() > 1 { 1 } else { 7 },
            || {
                let engine = Engine::builder(Lua::new()).threads(1).module(module(&live)).build()?;
                // A collection that could not go on is no failure.
                assert_eq!(
                    block_on(engine.eval::<i64>("1 + 1")).or_else(|e| if is_memory(&e) { Ok(2) } else { Err(e) })?,
                    2
                );
                block_on(engine.shutdown(Duration::from_secs(5)));
                Ok(())
            },
            || {},
        );
        assert!(failures > 20 && errors > 10, "{failures} failures, {errors} errors");
        say(&format!("start: {failures} failed allocations, {errors} errors"));
    });
}

/// The C API's.
#[test]
fn of_plain_c() {
    passes("allocations::of_plain_c", || {
        let live = Arc::<AtomicI64>::default();
        let module = Module::new("t")
            .function("echo", |value: Value| Ok(value))
            .function("apply", async |mut cx: Cx, f: Function, n: i64| Ok(cx.call::<i64>(&f, n).await?));
        let native: Native = public::native();
        let engine = Engine::builder(native).threads(1).module(module).build().expect("an engine");
        let script = block_on(engine.load_text("native", "")).expect("a script");
        let (mut failures, mut errors) = (0, 0);
        let run = || -> Result<(), Error> {
            let echoed: (i64, String) = block_on(script.call("echo", (7, "text")))?;
            assert_eq!(echoed, (7, "text".into()));
            let list: Vec<String> = block_on(script.call("call", ("t.echo", vec!["a", "b", "c"])))?;
            assert_eq!(list, ["a", "b", "c"]);
            let (sum, calls): (i64, i64) = block_on(script.call("callback", ("t.apply", 21)))?;
            assert_eq!((sum, calls), (42, 1));
            Ok(())
        };
        let (f, e) = in_turn(1, run, || run().expect("the next calls"));
        failures += f;
        errors += e;
        assert!(failures > 5 && errors > 3, "{failures} failures, {errors} errors");
        assert_eq!((engine.metrics().quarantined, live.load(Ordering::Acquire)), (0, 0));
        say(&format!("plain C: {failures} failed allocations, {errors} memory errors"));
    });
}
