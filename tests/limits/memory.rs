//! Memory: charged to who asked for it, refused at its limit, and given back.

use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::{Error, Limit};

use super::{builder, engine, outcome, serves_the_next};

const GREEDY: [(&str, &str); 11] = [
    ("a list", "local t = {} for i = 1, 1e9 do t[i] = i end"),
    ("strings", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end"),
    ("caught in a pcall", "local t = {} while true do pcall(function() while true do t[#t + 1] = {} end end) end"),
    ("in a coroutine", "local t = {} coroutine.wrap(function() while true do t[#t + 1] = {} end end)()"),
    (
        "in caught coroutines",
        "local t = {} while true do coroutine.resume(coroutine.create(function() while true do t[#t + 1] = {} end end)) end",
    ),
    ("deep nests", "local t = {} for i = 1, 1e9 do t = { t } end"),
    ("one string", "return #('x'):rep(1 << 30)"),
    ("one doubling string", "local s = 'x' while true do s = s .. s end"),
    ("coroutines", "local t = {} while true do t[#t + 1] = coroutine.create(print) end"),
    ("in a task", "require 'sidestack'.spawn(function() local t = {} while true do t[#t + 1] = {} end end):join()"),
    ("a concat", "local t = {} for i = 1, 100 do t[i] = ('x'):rep(100000) end return #table.concat(t)"),
];

#[test]
fn a_greedy_call_gets_its_memory_limit_and_its_neighbours_nothing() {
    let engine = engine();
    block_on(async {
        for (name, text) in GREEDY {
            let limit = 4 << 20;
            // One that catches its errors for ever is ended by its deadline.
            let catches = name.contains("caught");
            let deadline = Duration::from_secs(if catches { 3 } else { 60 });
            let greedy = engine.eval::<()>(text).memory(limit).deadline(deadline);
            let neighbours = (0..if name == "a list" { 1000 } else { 100 }).map(|i| {
                engine.eval_with::<i64>("local n = ... local t = {} for i = 1, 100 do t[i] = { i } end require 'app'.nap(0.002) return #t + n", i)
            });
            let (greedy, neighbours) = futures_util::join!(greedy, join_all(neighbours));
            let error = greedy.expect_err(name);
            let whole = matches!(&error, Error::Limit { which: Limit::Memory, value, .. } if *value == limit as u64);
            let caught = catches && error.code() == Some("deadline");
            assert!(whole || caught, "{name}: {error:?}");
            for (i, n) in neighbours.into_iter().enumerate() {
                assert_eq!(n.expect(name), 100 + i64::try_from(i).expect("small"), "{name}");
            }
        }
    });
    serves_the_next(&engine);
}

#[test]
fn an_error_for_memory_can_be_caught_and_is_one_calls_own() {
    let engine = engine();
    let got: (bool, String, i64) = outcome(
        engine
            .eval("local ok, e = pcall(function() local t = {} while true do t[#t + 1] = {} end end) collectgarbage() local t = {} for i = 1, 1000 do t[i] = i end return ok, tostring(e), #t")
            .memory(4 << 20),
    )
    .expect("caught");
    assert_eq!(got, (false, "not enough memory".into(), 1000));
}

#[test]
fn at_the_cap_the_largest_fiber_ends_and_not_the_asker() {
    let engine = builder().memory(32 << 20).build().expect("an engine");
    block_on(async {
        let large =
            engine
                .spawn(engine.eval::<()>(
                    "local t = {} for i = 1, 24 do t[i] = ('x'):rep(1000000) .. i end require 'app'.nap(60)",
                ))
                .expect("started");
        // Large, and waiting. Now small ones go on until the cap is reached.
        let small = (0..40).map(|i| {
            engine.eval_with::<i64>("local n = ... require 'app'.nap(0.05) local t = {} for i = 1, 10 do t[i] = ('y'):rep(60000) .. i .. n end require 'app'.nap(2) return #t", i)
        });
        let (large, small) = futures_util::join!(large, join_all(small));
        let error = large.expect_err("it was cancelled");
        assert!(matches!(error, Error::Limit { which: Limit::Memory, .. }), "{error:?}");
        for n in small {
            assert_eq!(n.expect("a small one"), 10);
        }
    });
    serves_the_next(&engine);
}

#[test]
fn a_greedy_call_at_the_cap_ends_itself() {
    let engine = builder().memory(32 << 20).build().expect("an engine");
    for (name, text) in GREEDY {
        if name.contains("caught") || name == "a concat" {
            continue;
        }
        let error = outcome(engine.eval::<()>(text)).expect_err(name);
        assert_eq!(error.code(), Some("memory"), "{name}: {error:?}");
        serves_the_next(&engine);
    }
}

/// What scripts leave with the host: each of these would fill its memory, and hardly uses any of Lua's heap.
const LEFT_WITH_THE_HOST: [(&str, &str); 6] = [
    ("bounded channels", "while true do kept[#kept + 1] = ss.channel(1024) end"),
    ("channels", "while true do kept[#kept + 1] = ss.channel() end"),
    ("a channel's values", "local ch = ss.channel() while true do ch:send(text) end"),
    (
        "the values of many bounded channels",
        "while true do local ch = ss.channel(4) for i = 1, 4 do ch:send(text) end kept[#kept + 1] = ch end",
    ),
    (
        "tasks' arguments",
        "local gate = ss.channel() while true do kept[#kept + 1] = ss.spawn(function(...) gate:recv() end, text) end",
    ),
    (
        "tasks' results",
        "while true do local task = ss.spawn(function() return text end) task:join() kept[#kept + 1] = task end",
    ),
];

#[test]
fn what_a_call_leaves_with_the_host_is_charged_to_it() {
    let engine = engine();
    block_on(async {
        for (name, text) in LEFT_WITH_THE_HOST {
            let text = format!("local ss, kept, text = require 'sidestack', {{}}, ('x'):rep(100000) {text}");
            let greedy = engine.eval::<()>(&text).memory(4 << 20).deadline(Duration::from_secs(60));
            let neighbours = (0..100).map(|i| {
                engine.eval_with::<i64>("local n, ss = ..., require 'sidestack' local ch = ss.channel(8) for i = 1, 8 do ch:send(('y'):rep(1000)) end require 'app'.nap(0.002) return #ch:recv() + n", i)
            });
            let (greedy, neighbours) = futures_util::join!(greedy, join_all(neighbours));
            let error = greedy.expect_err(name);
            let whole =
                matches!(error, Error::Limit { which: Limit::Memory, value: 0x40_0000, setting: "call_memory", .. });
            assert!(whole, "{name}: {error:?}");
            for (i, n) in neighbours.into_iter().enumerate() {
                assert_eq!(n.expect(name), 1000 + i64::try_from(i).expect("small"), "{name}");
            }
        }
    });
    serves_the_next(&engine);
}

#[test]
fn at_the_cap_the_fiber_that_left_most_with_the_host_ends() {
    let engine = builder().memory(32 << 20).build().expect("an engine");
    let fill = "local count, seconds = ... local ss = require 'sidestack' local ch = ss.channel()
        for i = 1, count do ch:send(('x'):rep(60000)) if i % 20 == 0 then ss.yield() end end
        ss.sleep(seconds) return ch.len";
    block_on(async {
        let large = engine.spawn(engine.eval_with::<i64>(fill, (400, 60))).expect("started");
        let small = (0..40).map(|_| engine.eval_with::<i64>(fill, (10, 2)));
        let (large, small) = futures_util::join!(large, join_all(small));
        let error = large.expect_err("it was cancelled");
        assert!(
            matches!(error, Error::Limit { which: Limit::Memory, value: 0x200_0000, setting: "memory", .. }),
            "{error:?}"
        );
        for n in small {
            assert_eq!(n.expect("a small one"), 10);
        }
        // All of it has come back: as much goes in again.
        assert_eq!(engine.eval_with::<i64>(fill, (500, 0)).await.expect("there is room"), 500);
    });
    serves_the_next(&engine);
}

#[test]
fn at_the_cap_who_asks_and_holds_most_is_refused() {
    let engine = builder().memory(32 << 20).call_memory(24 << 20).build().expect("an engine");
    let fill = "local count, seconds = ... local ss = require 'sidestack' local ch = ss.channel()
        for i = 1, count do ch:send(('x'):rep(60000)) if i % 20 == 0 then ss.yield() end end
        ss.sleep(seconds) return ch.len";
    block_on(async {
        let small = engine.spawn(engine.eval_with::<i64>(fill, (200, 2))).expect("started");
        let error = engine.eval_with::<i64>(fill, (390, 60)).await.expect_err("it holds most");
        // Its own limit was not reached: that of all was.
        assert!(
            matches!(error, Error::Limit { which: Limit::Memory, value: 0x200_0000, setting: "memory", .. }),
            "{error:?}"
        );
        assert_eq!(small.await.expect("the small one"), 200);
    });
    serves_the_next(&engine);
}

#[test]
fn memory_comes_back() {
    let engine = builder().memory(64 << 20).build().expect("an engine");
    // Ten times the cap in total.
    for i in 0..40 {
        let n =
            outcome(engine.eval::<i64>("local t = {} for i = 1, 16 do t[i] = ('x'):rep(1000000) .. i end return #t"));
        assert_eq!(n.unwrap_or_else(|e| panic!("call {i}: {e:?}")), 16);
    }
    outcome(engine.eval::<()>("collectgarbage() collectgarbage()")).expect("a collection");
    let kib: f64 = outcome(engine.eval("collectgarbage 'count'")).expect("a count");
    assert!(kib < 4096.0, "{kib} KiB are still held");
}

/// What is kept for the next calls after many at once goes when another one needs the memory.
#[test]
fn memory_kept_after_a_burst_is_let_go_for_who_needs_it() {
    let engine = builder().memory(24 << 20).build().expect("an engine");
    let script = block_on(engine.load_text("nap", "return { nap = function() require 'app'.nap(0.5) end }"));
    let script = script.expect("a script");
    for nap in block_on(join_all((0..10_000).map(|_| script.call::<()>("nap", ())))) {
        nap.expect("it ends");
    }
    // Through a buffer: 16 MiB.
    let length = outcome(engine.eval::<i64>("return #('x'):rep(8 << 20)"));
    assert_eq!(length.expect("there is room"), 8 << 20);
}

#[test]
fn memory_of_ended_calls_that_is_still_used_is_nobodys() {
    let engine = engine();
    let script = block_on(engine.load_text(
        "cache",
        "local cache = {}
         return { keep = function(n) for i = 1, 10 do cache[#cache + 1] = ('x'):rep(100000) .. n end return #cache end,
                  drop = function() cache = {} end }",
    ))
    .expect("a script");
    for i in 1..=20 {
        let call = script.call::<i64>("keep", i).memory(2 << 20);
        assert_eq!(outcome(call).expect("it holds 1 MB"), i * 10);
    }
    outcome(script.call::<()>("drop", ()).memory(2 << 20)).expect("dropped");
    assert_eq!(outcome(script.call::<i64>("keep", 0).memory(2 << 20)).expect("kept"), 10);
}

/// What is charged for a table follows the table, whoever made it, grows it, shrinks it and drops it.
#[test]
fn a_shared_tables_memory_is_charged_to_who_grew_it() {
    let engine = engine();
    let script = block_on(engine.load_text(
        "shared",
        "local t, done
         return {
           make = function()
             t = {}
             for i = 1, 1 << 19 do t[i] = i end -- 8 MiB
             while not done do require 'app'.nap(0.001) end
           end,
           ready = function() return t ~= nil and #t == 1 << 19 end,
           grow = function()
             t[#t + 1] = 1 -- 16 MiB
             t = nil
             collectgarbage()
             local own = ('x'):rep(6 << 20) -- through a buffer: 12 MiB
             return #own
           end,
           shrink = function()
             for i = 1000, 1 << 19 do t[i] = nil end
             t.x = 1 -- a rehash
             collectgarbage()
             local own = ('x'):rep(3 << 20) -- 6 MiB
             return #own
           end,
           stop = function() done = true end,
           begin = function() done = false end,
         }",
    ))
    .expect("a script");
    for (export, limit) in [("grow", 18), ("shrink", 4)] {
        block_on(script.call::<()>("begin", ())).expect("begun");
        let make = engine.spawn(script.call::<()>("make", ())).expect("started");
        while !block_on(script.call::<bool>("ready", ())).expect("asked") {
            std::thread::sleep(Duration::from_millis(1));
        }
        let got = outcome(script.call::<i64>(export, ()).memory(limit << 20));
        block_on(script.call::<()>("stop", ())).expect("stopped");
        outcome(make).expect("it ends");
        if export == "grow" {
            assert_eq!(got.expect("16 MiB, then 12"), 6 << 20);
        } else {
            let error = got.expect_err("6 MiB of its own are above 4");
            assert_eq!(error.code(), Some("memory"), "{error:?}");
        }
    }
}

/// Full collections stop everybody: a script that is refused again and again gets few of them, and those that help.
#[test]
fn refused_allocations_cannot_have_the_heap_collected_without_end() {
    let engine = engine();
    let (collected, got): (i64, i64) = outcome(
        engine
            .eval(
                "local weak = setmetatable({}, { __mode = 'v' })
                 local function refused(size)
                   weak[1] = weak[1] or {}
                   local ok, e = pcall(string.rep, 'x', size)
                   return ok, weak[1] == nil
                 end
                 local held
                 local function hold() held = {} for i = 1, 34 do held[i] = ('h'):rep(100000) .. i end end
                 hold()
                 local n = 0
                 -- One that drops what it can, and tries again at once.
                 assert(not refused(1 << 20))
                 held = nil
                 assert(refused(1 << 20))
                 collectgarbage()
                 hold()
                 for i = 1, 3000 do
                   local ok, collected = refused(i % 2 == 0 and 1 << 20 or 1 << 30)
                   assert(not ok)
                   n = n + (collected and 1 or 0)
                 end
                 return n, #held",
            )
            .memory(4 << 20),
    )
    .expect("its errors are its own");
    assert_eq!(got, 34);
    assert!(collected < 100, "{collected} full collections for 3000 refusals");
}
