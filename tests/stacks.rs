//! No Lua script overflows a fiber's C stack: deep recursion of every kind is an error, on small stacks too.
//!
//! What takes the most of the stack is code without optimization, so this test is at its hardest in a debug build.

use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Cx, Engine, Error, Function, Limit, Lua, Module, Value};

const SIZES: [usize; 3] = [64 << 10, 128 << 10, 256 << 10];

fn engine(stack: usize) -> Engine {
    let app = Module::new("app")
        .function("call", async |mut cx: Cx, f: Function, x: Value| Ok(cx.call::<Value>(&f, x).await?))
        .function("nap", async |cx: Cx| {
            cx.sleep(Duration::from_millis(1)).await;
            Ok(())
        });
    Engine::builder(Lua::new().script_gc(true).unlimited_collectgarbage(true))
        .threads(1)
        .stack(stack)
        .memory(512 << 20)
        .module(app)
        .build()
        .expect("an engine")
}

/// Runs it at every size, twice in a row and once beside a fiber that waits; it must raise one of these, and the next call works.
#[track_caller]
fn raises(expected: &[&str], text: &str) {
    for size in SIZES {
        let engine = engine(size);
        let waits = engine.spawn(engine.eval::<i64>("require 'app'.nap() return 5")).expect("started");
        for _ in 0..2 {
            match block_on(engine.eval::<()>(text)).expect_err("it recurses without end") {
                // Lua's own stack, which is memory; or the C stack, where it was found in the middle of something.
                Error::Script { message, .. } => {
                    assert!(expected.iter().any(|e| message.contains(e)), "{size}: {message:.300}");
                    assert!(!message.ends_with("C stack overflow"), "{size}: {message:.300}");
                }
                Error::Limit { which: Limit::Stack, value, setting: "stack", traceback } => {
                    assert_eq!(value, size as u64);
                    assert!(traceback.contains("eval:1"), "{size}: {traceback:.300}");
                }
                error => panic!("{size}: {error:?}"),
            }
            assert_eq!(
                block_on(engine.eval::<i64>("return tonumber((('x'):gsub('x', function() return '42' end)))"))
                    .expect("the next"),
                42
            );
        }
        assert_eq!(block_on(waits).expect("a fiber beside it"), 5);
    }
}

/// Runs it at every size: it may fail or not, but ends, and the next call works.
#[track_caller]
fn ends(text: &str) {
    for size in SIZES {
        let engine = engine(size);
        for _ in 0..2 {
            // Some take exponential time, or all memory, before any stack.
            match block_on(engine.eval::<Value>(text).deadline(Duration::from_secs(1))) {
                Ok(_) | Err(Error::Script { .. } | Error::Limit { .. }) => {}
                Err(error) => panic!("{size}: {error:?}"),
            }
            assert_eq!(block_on(engine.eval::<i64>("return 42")).expect("the next call"), 42);
        }
    }
}

const OVERFLOW: &[&str] = &["overflow", "error in error handling"];

macro_rules! raises {
    ($($name:ident: $text:expr;)*) => { $(#[test] fn $name() { raises(OVERFLOW, $text) })* };
}

raises! {
    recursion_in_lua: "local function f(n) return 1 + f(n + 1) end return f(1)";
    mutual_recursion: "local a, b function a() return 1 + b() end function b() return 1 + a() end return a()";
    nested_gsub: "local function f() return (('x'):gsub('x', f)) end return f()";
    nested_gsub_with_much_on_the_stack: "local function f(a) return (('x'):rep(200):gsub('((((x))))', f)) end return f()";
    nested_sort: "local function f() table.sort({ 1, 2, 3 }, function(a, b) f() return a < b end) end f()";
    nested_pcall: "local function f() local ok, e = pcall(f) if not ok then error(e, 0) end return 1 end f() local function g() pcall(string.rep) return 1 + g() end return g()";
    nested_tostring: "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end return tostring(t)";
    nested_concat: "local t = setmetatable({}, {}) getmetatable(t).__concat = function() return t .. 'x' end return t .. 'x'";
    nested_index: "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k] end return t.x";
    nested_newindex: "local t = setmetatable({}, {}) getmetatable(t).__newindex = function(_, k, v) t[k] = v end t.x = 1";
    nested_arithmetic: "local t = setmetatable({}, {}) getmetatable(t).__add = function() return t + 1 end return t + 1";
    nested_comparison: "local t = setmetatable({}, {}) getmetatable(t).__lt = function() return t < t end return t < t";
    nested_eq: "local m = {} local a, b = setmetatable({}, m), setmetatable({}, m) m.__eq = function() return a == b end return a == b";
    nested_len: "local t = setmetatable({}, {}) getmetatable(t).__len = function() return #t end return #t";
    nested_call_metamethod: "local t = setmetatable({}, {}) getmetatable(t).__call = function() return 1 + t() end return t()";
    nested_load: "local e local function f() local _, m = load(function() f() end) e = e or m end f() error(e)";
    nested_xpcall_handlers: "local function h() error('x') end local function f() xpcall(f, h) error('overflow') end f()";
    nested_metamethods_through_c: "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, i) return table.concat(t, ',', 1, 2) end return table.concat(t, ',', 1, 2)";
    nested_coroutines: "local function f() local co = coroutine.wrap(f) return co() + 1 end return f()";
    nested_coroutines_and_pcall: "local function f() local co = coroutine.create(function() local ok, e = pcall(f) error(e, 0) end) local ok, e = coroutine.resume(co) error(e, 0) end f()";
    nested_close: "local function f() local c <close> = setmetatable({}, { __close = function() f() end }) return 1 end f()";
    host_and_back: "local app = require 'app' local function f() return app.call(f) + 1 end return f()";
    host_and_back_in_coroutines: "local app = require 'app' local function f() return coroutine.wrap(function() return app.call(f) + 1 end)() end return f()";
    host_and_back_in_gsub: "local app = require 'app' local function f() return (('x'):gsub('x', function() return app.call(f) end)) end return f()";
    everything_by_turns: "local app, n = require 'app', 0 local t = setmetatable({}, {}) local ways = { function(f) return (('x'):gsub('x', f)) end, function(f) table.sort({ 2, 1 }, function() f() return false end) end, function(f) return app.call(f) end, function(f) return coroutine.wrap(f)() end, function(f) getmetatable(t).__tostring = f return tostring(t) end, function(f) local ok, e = pcall(f) if not ok then error(e, 0) end end, function(f) return select(2, load(function() f() end)) end } local function f() n = n + 1 ways[n % #ways + 1](f) return '' end while true do n = 0 f() error('overflow') end";
}

#[test]
fn deep_parsing_is_an_error() {
    let nests = [
        ("(", ")", "1"),
        ("{", "}", ""),
        ("function() return ", " end", "1"),
        ("- ", "", "1"),
        ("not ", "", "1"),
        ("1 .. ", "", "1"),
        ("2 ^ ", "", "1"),
        ("a[", "]", "1"),
        ("f(", ")", ""),
        ("f{", "}", ""),
        ("a.b[", "]", "1"),
    ];
    for (open, close, middle) in nests {
        raises(
            &["overflow", "too many", "error in error handling", "limit"],
            &format!(
                "local n = 50000 error((select(2, load('return ' .. ('{open}'):rep(n) .. '{middle}' .. ('{close}'):rep(n)))))"
            ),
        );
    }
    for (open, close) in [
        ("do ", " end "),
        ("while x do ", " end "),
        ("if x then ", " end "),
        ("for i = 1, 2 do ", " end "),
        ("repeat ", " until x "),
        ("local function f() ", " end "),
        ("if x then else ", " end "),
    ] {
        raises(
            &["overflow", "too many", "error in error handling", "limit"],
            &format!("local n = 50000 error((select(2, load(('{open}'):rep(n) .. ('{close}'):rep(n)))))"),
        );
    }
}

#[test]
fn deep_patterns_are_an_error_or_match() {
    ends("return (('x'):rep(300000):find(('x?'):rep(200000)))");
    ends("return (('x'):rep(300000):match(('(x)'):rep(30)))");
    ends("return #(('x'):rep(300000):match('^(.-)%s*$'))");
    ends("return (('x'):rep(3000):find(('.-'):rep(3000) .. '$'))");
    ends("return (('('):rep(100000) .. (')'):rep(100000)):match('%b()')");
    raises(&["too complex"], "local s = ('a'):rep(1000) return s:find(('a?'):rep(1000) .. ('b?'):rep(100000) .. 'c')");
    // Deep down already.
    raises(
        &["overflow", "too complex", "error in error handling"],
        "local function f() (('x'):rep(400)):find(('x?'):rep(400)) return (('x'):gsub('x', f)) end return f()",
    );
}

#[test]
fn deep_values_cross_or_are_refused() {
    ends("local t = {} for i = 1, 90 do t = { t } end return t");
    ends("local t = {} for i = 1, 100000 do t = { t } end return t");
    ends("local t = {} t.t = t return t");
    ends("local t = {} for i = 1, 100000 do t = { t } end return pcall(require 'app'.call, function() end, t)");
    ends("local t = {} for i = 1, 95 do t = { t } end return require 'app'.call(function(x) return x end, t)");
}

#[test]
fn errors_while_the_stack_is_nearly_full() {
    ends("local function f() local ok, e = pcall(f) error({ e }) end f()");
    ends("local function f() return xpcall(f, function(e) return f() end) end return f()");
    ends("local function f() return xpcall(f, debug.traceback) end return tostring(f())");
    ends(
        "local function h(e) return tostring(setmetatable({}, { __tostring = h })) end return xpcall(function() local function r() return 1 + r() end return r() end, h)",
    );
    ends(
        "setmetatable({}, { __gc = function() local function f() return (('x'):gsub('x', f)) end f() end }) collectgarbage() return 1",
    );
    ends(
        "local function f() collectgarbage() setmetatable({}, { __gc = function() f() end }) return (('x'):gsub('x', f)) end return pcall(f)",
    );
    ends(
        "local function f() local c <close> = setmetatable({}, { __close = function() error('x') end }) return 1 + f() end return f()",
    );
    ends("local app = require 'app' local function f() pcall(app.nap) return app.call(f) end return f()");
}
