//! Deadlines, kills, time slices, processor time, and what the errors of limits say.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Call, Engine, Error, Limit, Module};

use super::{builder, engine, outcome, serves_the_next};

#[track_caller]
fn dies(text: &str) {
    let engine = engine();
    let begun = Instant::now();
    let call = engine.eval::<()>(text).deadline(Duration::from_millis(200)).memory(64 << 20);
    let error = outcome(call).expect_err("it has no end");
    let took = begun.elapsed();
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, value: 200, .. }), "{error:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    serves_the_next(&engine);
}

macro_rules! dies {
    ($($name:ident: $text:expr;)*) => { $(#[test] fn $name() { dies($text) })* };
}

dies! {
    endless_loop: "while true do end";
    endless_goto: "::again:: goto again";
    endless_empty_for: "for i = 1, math.huge do end";
    endless_recursion_by_tail_calls: "local function f() return f() end f()";
    endless_pcall: "while true do pcall(error) end";
    endless_pcall_of_a_loop: "while true do pcall(function() while true do end end) end";
    endless_xpcall_handler: "xpcall(error, function() while true do end end)";
    endless_xpcall_handlers: "local function h() while true do xpcall(error, function() while true do end end) end end while true do xpcall(error, h) end";
    recursive_pcall: "local function f() while true do pcall(f) end end f()";
    coroutine_that_swallows_the_kill: "while true do local co = coroutine.create(function() while true do pcall(function() while true do end end) end end) coroutine.resume(co) end";
    coroutine_wrap_in_pcall: "while true do pcall(coroutine.wrap(function() while true do end end)) end";
    coroutine_close_with_endless_close: "local function bad() local c <close> = setmetatable({}, { __close = function() while true do pcall(bad) end end }) coroutine.yield() end while true do local co = coroutine.create(bad) coroutine.resume(co) coroutine.close(co) end";
    endless_close_handler: "local c <close> = setmetatable({}, { __close = function() while true do end end })";
    endless_close_handlers_in_a_loop: "while true do pcall(function() local c <close> = setmetatable({}, { __close = function() while true do end end }) error 'x' end) end";
    endless_yield: "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end";
    endless_gc: "for i = 1, 100 do setmetatable({}, { __gc = function() while true do end end }) end collectgarbage() while true do local t = {} end";
    endless_gc_that_catches: "for i = 1, 100 do setmetatable({}, { __gc = function() while true do pcall(function() while true do end end) end end }) end collectgarbage() while true do local t = {} end";
    endless_gc_that_comes_back: "local function again() setmetatable({}, { __gc = function() again() while true do end end }) end again() while true do collectgarbage() end";
    endless_gc_in_a_coroutine: "setmetatable({}, { __gc = function() coroutine.wrap(function() while true do end end)() end }) collectgarbage() while true do end";
    endless_index: "local t = setmetatable({}, { __index = function() while true do end end }) return t.x";
    endless_comparator: "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() while true do end end)";
    long_sort: "local t = {} for i = 1, 300000 do t[i] = -i end while true do table.sort(t, function(a, b) return a < b end) table.sort(t) table.sort(t, function(a, b) return a > b end) end";
    evil_comparator: "local t = {} for i = 1, 1000 do t[i] = i end while true do pcall(table.sort, t, function() return true end) end";
    endless_gsub_function: "('a'):gsub('a', function() while true do end end)";
    string_rep_of_nothing: "return ('').rep('', 1 << 62)";
    string_rep_of_nothing_in_pcall: "while true do pcall(string.rep, '', 1 << 62) end";
    plain_find_of_a_large_needle: "local n = ('a'):rep(500000) .. 'b' local h = ('a'):rep(30000000) while true do h:find(n, 1, true) end";
    find_that_backtracks: "('a'):rep(40):find(('.-'):rep(12) .. 'b')";
    match_that_backtracks: "('a'):rep(100000):match(('a?'):rep(30) .. ('.*'):rep(10) .. 'b')";
    gmatch_that_backtracks: "for _ in ('a'):rep(60):gmatch(('.-'):rep(12) .. 'b') do end";
    gsub_that_backtracks: "('a'):rep(60):gsub(('.-'):rep(12) .. 'b', '')";
    find_of_a_frontier: "local s = ('a'):rep(200000) while true do s:find('%f[b]%f[b]b') s:find('%b()') end";
    table_move_of_everything: "table.move({}, 1, math.maxinteger - 1, 2)";
    table_move_with_metamethods: "table.move(setmetatable({}, { __index = function() end }), 1, math.maxinteger - 1, 2, setmetatable({}, { __newindex = function() end }))";
    table_insert_far_away: "local t = setmetatable({}, { __len = function() return math.maxinteger - 1 end }) table.insert(t, 1, 'x')";
    table_remove_far_away: "local t = setmetatable({}, { __len = function() return math.maxinteger - 1 end }) table.remove(t, 1)";
    table_concat_of_everything: "table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, math.maxinteger)";
    table_unpack_in_a_loop: "local t = {} for i = 1, 200 do t[i] = i end while true do table.unpack(t) end";
    ipairs_of_everything: "for _ in ipairs(setmetatable({}, { __index = function(_, i) return i end })) do end";
    next_in_a_loop: "local t = {} for i = 1, 100 do t[i] = i end while true do for _ in pairs(t) do end end";
    string_format_in_a_loop: "while true do string.format('%99.99f %s %q', 1e300, {}, 'x') end";
    string_pack_in_a_loop: "while true do string.unpack('z', string.pack('z', 'x')) end";
    concat_in_a_loop: "local s = ('x'):rep(1000000) while true do local t = s .. s end";
    load_with_an_endless_reader: "load(function() return ' ' end)";
    load_with_an_endless_comment: "load(function() return '-- x\\n' end)";
    load_of_a_huge_chunk: "local s = ('x = 1 '):rep(2000000) while true do load(s) end";
    utf8_in_a_loop: "local s = ('\\u{e9}'):rep(1000000) while true do utf8.len(s) utf8.offset(s, -1) end";
    tostring_without_end: "local t = setmetatable({}, { __tostring = function() while true do end end }) tostring(t)";
    error_object_without_end: "error(setmetatable({}, { __tostring = function() while true do end end }))";
    select_in_a_loop: "while true do select('#', table.unpack({}, 1, 100)) end";
    random_in_a_loop: "while true do math.random(1, 3) end";
    call_metamethods_without_end: "local t = setmetatable({}, { __call = function(self) return self() end }) t()";
    tasks_without_end: "local ss = require 'sidestack' while true do ss.spawn(function() end):join() end";
    catching_the_cancel: "local app = require 'app' while true do pcall(app.nap, 1000) end";
    catching_the_cancel_in_coroutines: "local app = require 'app' while true do coroutine.wrap(function() pcall(app.nap, 1000) end)() end";
    require_of_a_loop: "while true do pcall(require, 'nothing') end";
}

#[test]
fn a_deadline_counts_waiting() {
    let engine = engine();
    let begun = Instant::now();
    let error =
        outcome(engine.eval::<()>("require 'app'.nap(60)").deadline(Duration::from_millis(150))).expect_err("over");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, value: 150, .. }), "{error:?}");
    assert!((150..10_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    serves_the_next(&engine);
}

#[test]
fn a_deadline_lets_the_script_clean_up() {
    let engine = engine();
    let script = block_on(engine.load_text(
        "tidy",
        "local closed, caught = 0, nil
         return {
           hold = function()
             local c <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
             local ok, e = pcall(require 'app'.nap, 60)
             caught = e.code
             return 'on time'
           end,
           busy = function()
             local c <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
             while true do end
           end,
           seen = function() return closed, caught end,
         }",
    ))
    .expect("a script");
    for export in ["hold", "busy"] {
        // Long enough that it is where it cleans up.
        let error = outcome(script.call::<()>(export, ()).deadline(Duration::from_secs(1))).expect_err("over");
        assert_eq!(error.code(), Some("deadline"), "{export}");
    }
    assert_eq!(block_on(script.call::<(i64, String)>("seen", ())).expect("seen"), (2, "deadline".into()));
}

#[test]
fn a_dropped_call_ends_busy_code() {
    let engine = engine();
    let call =
        engine.spawn(engine.eval::<()>("while true do pcall(function() while true do end end) end")).expect("started");
    std::thread::sleep(Duration::from_millis(50));
    drop(call);
    serves_the_next(&engine);
    let until = Instant::now() + Duration::from_secs(20);
    while engine.metrics().fibers > 0 {
        assert!(Instant::now() < until, "{:?}", engine.metrics());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_busy_script_does_not_starve_others() {
    let engine = engine();
    let busy: Vec<_> =
        ["while true do end", "while true do ('x'):rep(10):find('y') end", "while true do pcall(error) end"]
            .map(|text| engine.spawn(engine.eval::<()>(text).deadline(Duration::from_secs(60))).expect("started"))
            .into();
    std::thread::sleep(Duration::from_millis(50));
    let mut took: Vec<_> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            outcome(engine.eval::<()>("require 'app'.nap(0.001)")).expect("a ping");
            begun.elapsed()
        })
        .collect();
    took.sort();
    // Three slices of one to two ticks (5 ms) for each of a ping's turns; most pings, as a shared machine stands still now and then.
    assert!(took[10] < Duration::from_millis(500), "{took:?}");
    drop(busy);
}

/// A slice given away inside a finalizer would stop the collector for everybody.
#[test]
fn no_slice_ends_in_a_finalizer() {
    let engine = engine();
    let script = block_on(engine.load_text(
        "fin",
        "local inside, seen, ran = false, 0, 0
         local function spin() local x = 0 for i = 1, 3e6 do x = x + i end return x end
         return {
           finalize = function(wrapped)
             for _ = 1, 5 do
               setmetatable({}, { __gc = function()
                 inside = true
                 if wrapped then coroutine.wrap(spin)() else spin() end
                 inside = false
                 ran = ran + 1
               end })
             end
             collectgarbage()
           end,
           look = function() if inside then seen = seen + 1 end end,
           seen = function() return seen, ran end,
         }",
    ))
    .expect("a script");
    for wrapped in [false, true] {
        let finalize = engine.spawn(script.call::<()>("finalize", wrapped)).expect("started");
        let looks: Vec<_> = (0..200).map(|_| script.call::<()>("look", ())).collect();
        for look in looks {
            block_on(look).expect("a look");
        }
        outcome(finalize).expect("finalizers end");
    }
    assert_eq!(block_on(script.call::<(i64, i64)>("seen", ())).expect("seen"), (0, 10));
}

/// A kill that ends at a host call's frame, raised where that call's clean-up runs: outside of the frame's guest call.
#[test]
fn a_kill_in_a_clean_up_ends_where_its_cancel_does() {
    let engine = engine();
    let got = outcome(engine.eval::<(bool, String, i64)>(
        "local ss = require 'sidestack'
         local function swallow() while true do pcall(function() while true do end end) end end
         local function f()
           local c <close> = setmetatable({}, { __close = swallow })
           swallow()
         end
         local n = 0
         local ok, e = pcall(function()
           local ok, e = pcall(ss.timeout, 0.1, f)
           n = n + 1
           local co = coroutine.wrap(function() return pcall(ss.timeout, 0.1, f) end)
           local again = co()
           n = n + (again and 0 or 1)
           error(ok and 'it ended' or e.code, 0)
         end)
         return ok, e, n",
    ));
    assert_eq!(got.expect("the script goes on"), (false, "timeout".into(), 2));
    serves_the_next(&engine);
}

/// Loops of the libraries over what a script gave, without a call of Lua's API in them.
#[test]
fn long_loops_of_the_libraries_look_up() {
    let engine = builder().memory(1 << 30).build().expect("an engine");
    let script = block_on(engine.load_text(
        "long",
        "local percents, orders = ('%%'):rep(1500000), ('<'):rep(10000000)
         return { date = function() os.date(percents) end, packsize = function() string.packsize(orders) end,
                  unpack = function() string.unpack(orders, '') end }",
    ))
    .expect("a script");
    for export in ["date", "packsize", "unpack"] {
        let begun = Instant::now();
        outcome(script.call::<()>(export, ())).expect(export);
        let whole = begun.elapsed();
        for tenth in [1, 7] {
            let deadline = whole * tenth / 10;
            let late = || {
                let begun = Instant::now();
                let _ = outcome(script.call::<()>(export, ()).deadline(deadline));
                begun.elapsed().saturating_sub(deadline)
            };
            // A tick or two; generous, and with more than one try, for a shared machine.
            let bound = Duration::from_millis(60).max(whole / 10);
            let least = (0..5).map(|_| late()).find(|late| *late < bound);
            assert!(least.is_some(), "{export}: five times more than {bound:?} late, of {whole:?}");
        }
    }
}

/// The front of `ss_thread` (csrc/thread.h).
#[repr(C)]
struct Thread {
    host_stack: usize,
    in_host: i32,
    place: i32,
    pending: i32,
    interrupt: i32,
}

unsafe extern "C" {
    fn ss_current_thread() -> *mut Thread;
}

/// A slice ends between two instructions, also where a deadline's bit that has become stale makes the API look up.
#[test]
fn no_slice_ends_inside_the_api() {
    let poke = Module::new("poke").function("both", || {
        // SAFETY: an interpreter thread's own state; 1 and 2 are the bits of a slice and of a deadline.
        unsafe { (*ss_current_thread()).interrupt |= 1 | 2 };
        Ok(())
    });
    // No tick comes in between.
    let engine = builder().tick(Duration::from_secs(60)).module(poke).build().expect("an engine");
    let got = outcome(engine.eval::<(bool, bool)>(
        "local ss, both = require 'sidestack', require 'poke'.both
         local n = 0
         local other = ss.spawn(function() while n < 1000 do n = n + 1 ss.yield() end end)
         ss.yield()
         local before, rep = n, string.rep
         for _ = 1, 300 do both() rep('x', 3) end -- turns enough for the other one to get its own
         local inside = n ~= before
         for _ = 1, 300 do both() coroutine.wrap(function() local x = 1 end)() end
         local after = n ~= before
         other:join()
         return inside, after",
    ));
    assert_eq!(got.expect("it runs"), (false, true));
}

/// Processor time in total: what a call runs, not what it waits, and of its own fiber only.
#[test]
fn processor_time_is_a_limit_of_its_own() {
    let engine = builder().cpu(Duration::from_secs(60)).build().expect("an engine");
    let limit = Duration::from_millis(100);
    let over = |error: &Error| matches!(error, Error::Limit { which: Limit::Cpu, value: 100, setting: "cpu", .. });
    for text in ["while true do end", "while true do pcall(error) end", "while true do require 'sidestack'.yield() end"]
    {
        let error = outcome(engine.eval::<()>(text).cpu(limit)).expect_err(text);
        assert!(over(&error), "{text}: {error:?}");
        assert_eq!((error.code(), error.is_retryable()), (Some("cpu"), false));
        assert_eq!(error.to_string(), "cpu limit of 100 ms reached (setting: cpu)");
        serves_the_next(&engine);
    }
    // Beside one that takes all it gets, and over many waits.
    let busy = engine.spawn(engine.eval::<()>("while true do end").deadline(Duration::from_secs(5))).expect("started");
    let waits = "local nap = require 'app'.nap for _ = 1, 20 do nap(0.02) for _ = 1, 1000 do end end return 1";
    assert_eq!(outcome(engine.eval::<i64>(waits).cpu(limit)).expect("it hardly runs"), 1);
    drop(busy);
    // In many short turns.
    let turns = "local nap = require 'app'.nap while true do nap(0.001) for _ = 1, 1000000 do end end";
    let error = outcome(engine.eval::<()>(turns).cpu(limit)).expect_err("it adds up");
    assert!(over(&error), "{error:?}");
    // Clean-up has the grace.
    let cleans = "local n = 0 local c <close> = setmetatable({}, { __close = function() for i = 1, 1000 do n = n + 1 end cleaned = n end })
                  while true do end";
    let error = outcome(engine.eval::<()>(cleans).cpu(limit)).expect_err("over");
    assert!(over(&error), "{error:?}");
    serves_the_next(&engine);
}

/// The builder's limits, each with its error: the limit, its value, the setting.
#[test]
fn each_error_names_the_limit_its_value_and_the_setting() {
    let queue = Duration::from_millis(50);
    let engine =
        builder().fibers(1).queue(1).queue_timeout(queue).cpu(Duration::from_millis(40)).build().expect("an engine");
    let nap = |seconds: f64| engine.eval_with::<()>("require 'app'.nap(...)", seconds);
    let holds = engine.spawn(nap(10.0)).expect("started");
    while engine.metrics().fibers == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let waits = engine.spawn(nap(0.0)).expect("queued");
    let error = outcome(nap(0.0)).expect_err("the queue is full");
    assert_eq!(error.to_string(), "queue full: 1 calls are waiting (setting: queue)");
    assert!(error.is_retryable());
    let error = outcome(waits).expect_err("no fiber in time");
    assert_eq!(error.to_string(), "queue time limit of 50 ms reached (setting: queue_timeout)");
    assert!(error.is_retryable());
    drop(holds);
    let told = |call: Call<()>| {
        // The fiber of the one before may not be gone yet.
        loop {
            match outcome(engine.spawn(call_again(&engine)).expect("started")) {
                Ok(()) => break,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
        outcome(call).expect_err("a limit").to_string()
    };
    assert_eq!(
        told(nap(10.0).deadline(Duration::from_millis(30))),
        "deadline limit of 30 ms reached (setting: deadline)"
    );
    assert_eq!(told(engine.eval("while true do end")), "cpu limit of 40 ms reached (setting: cpu)");
    let greedy =
        engine.eval("local t = {} while true do t[#t + 1] = {} end").memory(1 << 20).cpu(Duration::from_secs(20));
    assert_eq!(told(greedy), "memory limit of 1048576 bytes reached (setting: call_memory)");
}

fn call_again(engine: &Engine) -> Call<()> {
    engine.eval("return nil")
}
