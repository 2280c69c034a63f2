//! Limits of memory, taken to their ends: every limit of a call in turn, and an address space that is full.

use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Builder, Cx, Engine, Error, Limit, Lua, Module, Native};

use super::child::{long, passes, say, until};

const SCRIPT: &str = r#"
local app = require "app"
return {
  work = function(n)
    local t = {}
    for i = 1, n do t[i] = { ("x"):rep(i), i } end
    table.sort(t, function(a, b) return a[2] > b[2] end)
    local s = {}
    for i, v in ipairs(t) do s[i] = v[1] end
    app.nap()
    return #table.concat(s):gsub("x", "yy")
  end,
  caught = function(n)
    local ok, e = pcall(function() return ("x"):rep(1 << 30) end)
    return tostring(ok)
  end,
}
"#;

fn module() -> Module {
    Module::new("app").function("nap", async |cx: Cx| {
        cx.sleep(Duration::from_micros(100)).await;
        Ok(())
    })
}

/// A call with a limit of any number of bytes ends well or with that limit, and harms no other.
#[test]
fn every_limit_of_a_call_in_turn() {
    let engine = Engine::builder(Lua::new()).threads(1).memory(16 << 20).module(module()).build().expect("an engine");
    let script = block_on(engine.load_text("limits", SCRIPT)).expect("a script");
    let right: i64 = block_on(script.call("work", 60)).expect("no limit");
    let (mut limited, mut fine) = (0, 0);
    let step = if long() > 1 { 16 } else { 256 };
    for limit in (0..).step_by(step) {
        let neighbour = engine.spawn(script.call::<i64>("work", 60)).expect("started");
        match block_on(script.call::<i64>("work", 60).memory(limit)) {
            Ok(length) => {
                assert_eq!(length, right, "limit {limit}");
                fine += 1;
            }
            Err(Error::Limit { which: Limit::Memory, value, .. }) => {
                // 0 is no limit of its own.
                assert_eq!(value as usize, limit, "limit {limit}");
                limited += 1;
            }
            other => panic!("limit {limit}: {other:?}"),
        }
        assert_eq!(block_on(neighbour).expect("a neighbour"), right);
        // Enough is enough for good, but for what garbage there happens to be.
        if fine > 20 {
            break;
        }
    }
    say(&format!("{limited} limits ended the call, {fine} did not"));
    assert!(limited > 20, "{limited} limits");
    until("all are gone", || engine.metrics().fibers == 0);
}

/// What a script leaves in the host is bounded too: a channel has no room for billions, nor are there endless values in one.
#[test]
fn channels_do_not_fill_the_hosts_memory() {
    let engine = Engine::builder(Lua::new()).threads(1).call_memory(4 << 20).build().expect("an engine");
    let text = "local ss = require 'sidestack'
        local codes = {}
        for _, capacity in ipairs { 0, 1025, 100000000, 4294967295 } do
          local ok, e = pcall(ss.channel, capacity)
          codes[#codes + 1] = tostring(ok) .. ' ' .. e.code
        end
        local ch, sent = ss.channel(), 0
        local ok, e = pcall(function() while true do ch:send(true) sent = sent + 1 end end)
        return table.concat(codes, ','), e.message, sent, ch:recv()";
    let (codes, message, sent, first): (String, String, i64, bool) =
        block_on(engine.eval(text)).expect("the script goes on");
    assert_eq!(codes, ["false bad_argument"; 4].join(","));
    assert_eq!(message, "memory limit of 4194304 bytes reached (setting: call_memory)");
    assert!((10_000..200_000).contains(&sent) && first, "{sent} values");
}

/// Bytes of this process's address space.
fn address_space() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

/// No more than so many bytes beyond what is in use.
fn limit_address_space(more: u64) {
    let limit = libc::rlimit { rlim_cur: address_space() + more, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: plain data, which is read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

fn builds(builder: Builder<Native>) -> Result<(), Error> {
    let engine = builder.threads(1).build()?;
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(5))).stuck, 0);
    Ok(())
}

/// Stacks that cannot be reserved are an error that says so; with less, an engine is built.
#[test]
fn a_full_address_space_is_an_error() {
    passes("memory::a_full_address_space_is_an_error", || {
        builds(Engine::builder(Native::new())).expect("room enough");
        limit_address_space(1 << 30);
        // 10,000 fibers need 3.2 GB of addresses.
        for _ in 0..20 {
            let error = builds(Engine::builder(Native::new())).expect_err("no room for the stacks");
            assert!(matches!(error, Error::System { .. }) && error.to_string().contains("stack"), "{error:?}");
        }
        builds(Engine::builder(Native::new()).fibers(100)).expect("room for a hundred");
    });
}

/// A server's interpreter in an address space that fills up: calls fail, one by one, and succeed again when there is room.
#[test]
fn a_script_in_a_full_address_space_gets_a_memory_error() {
    passes("memory::a_script_in_a_full_address_space_gets_a_memory_error", || {
        let builder = Engine::builder(Lua::new()).threads(1).fibers(50).memory(8 << 30).module(module());
        let engine = builder.build().expect("an engine");
        let script = block_on(engine.load_text("limits", SCRIPT)).expect("a script");
        let right: i64 = block_on(script.call("work", 60)).expect("room enough");
        limit_address_space(64 << 20);
        for _ in 0..3 * long() {
            assert_eq!(block_on(script.call::<String>("caught", 0)).expect("the script goes on"), "false");
            let text = "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1 << 20) .. i end";
            let error = block_on(engine.eval::<()>(text)).expect_err("no room");
            assert!(matches!(error, Error::Limit { which: Limit::Memory, .. }), "{error:?}");
            assert_eq!(block_on(script.call::<i64>("work", 60)).expect("the next call"), right);
        }
        assert_eq!(engine.metrics().quarantined, 0);
    });
}
