//! Values through Lua: into tables, out of tables, by way of the host. What has been a table once stays the same.
#![no_main]

use std::sync::LazyLock;

use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;
use sidestack::{Engine, Error, Lua, Module, Script, Value};
use sidestack_fuzz::Data;

const SCRIPT: &str = r#"
local app = require "app"
local function same(a, b)
  if type(a) ~= type(b) then return false end
  if a ~= a then return b ~= b end
  if type(a) ~= "table" then return a == b and math.type(a) == math.type(b) end
  for k, v in pairs(a) do
    if type(k) ~= "table" and not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if type(k) ~= "table" and a[k] == nil then return false end
  end
  return true
end
return {
  identity = function(...) return ... end,
  -- Out to the host and back: the same table.
  there_and_back = function(v)
    local back = app.echo(v)
    if not same(v, back) then error("it came back as another") end
    return back
  end,
}
"#;

static SCRIPTS: LazyLock<(Engine, Script)> = LazyLock::new(|| {
    let app = Module::new("app").function("echo", |value: Value| Ok(value));
    let engine = Engine::builder(Lua::new()).threads(1).stack(1 << 20).module(app).build().expect("an engine");
    let script = block_on(engine.load_text("fuzz", SCRIPT)).expect("a script");
    (engine, script)
});

/// In an order of its own, since a table has none.
fn sorted(value: Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(sorted).collect()),
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs.into_iter().map(|(key, value)| (sorted(key), sorted(value))).collect();
            pairs.sort_by_cached_key(|pair| format!("{pair:?}"));
            Value::Map(pairs)
        }
        other => other,
    }
}

fn call(name: &str, value: &Value) -> Option<Value> {
    match block_on(SCRIPTS.1.call::<Value>(name, (value,))) {
        Ok(value) => Some(sorted(value)),
        // A key that is nil or not a number; too deep.
        Err(Error::Convert { .. }) => None,
        Err(Error::Script { message, .. }) if !message.contains("as another") => None,
        Err(error) => panic!("{name}: {error:?}"),
    }
}

fuzz_target!(|data: Data| {
    if let Some(once) = call("identity", &data.0) {
        let twice = call("identity", &once);
        assert_eq!(format!("{twice:?}"), format!("{:?}", Some(&once)), "a second pass changes it");
        let back = call("there_and_back", &once);
        assert_eq!(format!("{back:?}"), format!("{:?}", Some(&once)), "the way out and back changes it");
    }
    assert_eq!(SCRIPTS.0.metrics().quarantined, 0);
});
