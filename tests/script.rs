//! What `require "sidestack"` gives Lua scripts: tasks, groups, channels, locks, time, JSON, logs.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use serde::de::DeserializeOwned;
use sidestack::{Engine, Error, Lua, Module};

fn engine() -> Engine {
    Engine::builder(Lua::new()).threads(1).grace(Duration::from_millis(100)).build().expect("an engine")
}

fn run<R: DeserializeOwned + Send + 'static>(engine: &Engine, body: &str) -> Result<R, Error> {
    let text = format!("local ss = require 'sidestack'\n{body}");
    block_on(engine.eval(&text).deadline(Duration::from_secs(20)))
}

/// Runs a script that returns what a test looks at.
#[track_caller]
fn gives<R: DeserializeOwned + Send + 'static>(body: &str) -> R {
    run(&engine(), body).unwrap_or_else(|e| panic!("{e}\n{e:?}"))
}

#[test]
fn sleep_takes_its_time_and_refuses_nonsense() {
    let begun = Instant::now();
    let codes: Vec<String> = gives(
        "ss.sleep(0.05)
         local codes = {}
         for _, bad in ipairs { -1, 0/0, 1e300 } do
           local ok, e = pcall(ss.sleep, bad)
           codes[#codes + 1] = tostring(ok) .. ' ' .. tostring(e.code)
         end
         return codes",
    );
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(codes, ["false bad_argument"; 3]);
}

#[test]
fn a_short_sleep_is_never_too_short_and_hardly_too_long() {
    let origin = Instant::now();
    let now = move || Ok(i64::try_from(origin.elapsed().as_nanos())?);
    let engine = Engine::builder(Lua::new()).threads(1).module(Module::new("app").function("now", now));
    let engine = engine.build().expect("an engine");
    let text = "local ss, now, took = require 'sidestack', require 'app'.now, {}
         for i = 1, 200 do
           local begun = now()
           ss.sleep(0.0022)
           took[i] = now() - begun
         end
         return took";
    let took = engine.spawn(engine.eval::<Vec<i64>>(text)).expect("begun");
    // What this machine makes of the same meanwhile.
    let own = |_| {
        let begun = Instant::now();
        std::thread::sleep(Duration::from_micros(2200));
        i64::try_from(begun.elapsed().as_nanos()).expect("short")
    };
    let own = (0..200).map(own).min().expect("some");
    let took = block_on(took).expect("times");
    assert!(took.iter().all(|took| *took >= 2_200_000), "{took:?}");
    // Each begins when the last one's timer was due: timers of whole milliseconds would all be late. The best of many, on a busy machine.
    assert!(took[1..].iter().any(|took| *took < own + 400_000), "{own} {took:?}");
}

#[test]
fn a_task_joins_with_all_its_results_any_number_of_times() {
    let got: (i64, Option<bool>, String, i64, bool, bool) = gives(
        "local t = ss.spawn(function(a, b) ss.sleep(0.02) return a + b, nil, 'x' end, 20, 22)
         local early = t.done
         local a, b, c = t:join()
         return a, b, c, t:join(), early, t.done",
    );
    assert_eq!(got, (42, None, "x".into(), 42, false, true));
}

#[test]
fn values_keep_their_identity_between_fibers() {
    let same: Vec<bool> = gives(
        "local t, f, co = {}, function() end, coroutine.create(function() end)
         local meta = setmetatable({}, { __index = { deep = t } })
         local ch = ss.channel(8)
         for _, v in ipairs { t, f, co, meta } do ch:send(v) end
         ch:send(ss.json.null) ch:send(1) ch:send(1.0)
         local out = { ch:recv() == t, ch:recv() == f, ch:recv() == co, rawequal(ch:recv().deep, t),
                       ch:recv() == ss.json.null, math.type(ch:recv()) == 'integer', math.type(ch:recv()) == 'float' }
         out[#out + 1] = ss.spawn(function(x) return x == t end, t):join()
         out[#out + 1] = ss.spawn(function() return t end):join() == t
         out[#out + 1] = ss.timeout(1, function(x) return x end, t) == t
         out[#out + 1] = ss.group(function() return t end) == t
         local i, v = ss.select({ (function() local c = ss.channel(1) c:send(t) return c end)() })
         out[#out + 1] = i == 1 and v == t
         out[#out + 1] = select('#', ss.spawn(function() return nil, nil end):join()) == 2
         return out",
    );
    assert_eq!(same, [true; 13]);
}

#[test]
fn a_failed_task_raises_where_it_is_joined() {
    let got: (String, String, bool, String, String) = gives(
        "local t = ss.spawn(function() error({ code = 'odd', message = 'no' }) end)
         local _, e = pcall(t.join, t)
         local _, again = pcall(t.join, t)
         local s = ss.spawn(function() local x = nil; return x.y end)
         local _, e2 = pcall(s.join, s)
         return e.code, e.message, #e.traceback > 0, again.code, e2.message",
    );
    assert_eq!((got.0.as_str(), got.1.as_str(), got.2, got.3.as_str()), ("odd", "no", true, "odd"));
    assert!(got.4.contains("attempt to index a nil value"), "{}", got.4);
    let error = run::<()>(&engine(), "ss.spawn(function() error({ code = 'odd' }) end):join()").expect_err("odd");
    assert_eq!(error.code(), Some("odd"));
}

#[test]
fn a_task_is_cancelled_and_cleans_up() {
    let got: (String, bool, bool) = gives(
        "local cleaned, went_on = false, false
         local t = ss.spawn(function()
           local guard <close> = setmetatable({}, { __close = function() cleaned = true end })
           ss.sleep(60)
           went_on = true
         end)
         ss.sleep(0.02)
         t:cancel()
         local ok, e = pcall(t.join, t)
         return e.code, cleaned, went_on",
    );
    assert_eq!(got, ("cancelled".into(), true, false));
    // Before it began, twice, and after it ended.
    let got: (String, i64) = gives(
        "local t = ss.spawn(function() return 1 end)
         t:cancel() t:cancel()
         local _, e = pcall(t.join, t)
         local u = ss.spawn(function() return 7 end)
         u:join() u:cancel()
         return e.code, u:join()",
    );
    assert_eq!(got, ("cancelled".into(), 7));
}

#[test]
fn tasks_outlive_the_response_and_background_the_deadline() {
    let engine = engine();
    let script = block_on(engine.load_text(
        "late",
        "local ss = require 'sidestack'
         local seen = {}
         return {
           start = function()
             ss.spawn(function() ss.sleep(0.05) seen.task = true end)
             ss.spawn(function() ss.sleep(2) seen.too_late = true end)
             ss.background(function() ss.sleep(2.1) seen.background = true end)
           end,
           seen = function() return { seen.task or false, seen.too_late or false, seen.background or false } end,
         }",
    ))
    .expect("a script");
    block_on(script.call::<()>("start", ()).deadline(Duration::from_secs(1))).expect("an answer at once");
    // When the task that ends in time has ended, and when that in the background has.
    for (of, expected) in [(0, [true, false, false]), (2, [true, false, true])] {
        let begun = Instant::now();
        let mut seen = vec![false; 3];
        while !seen[of] {
            assert!(begun.elapsed() < Duration::from_secs(20), "{seen:?}");
            std::thread::sleep(Duration::from_millis(10));
            seen = block_on(script.call::<Vec<bool>>("seen", ())).expect("seen");
        }
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_group_waits_for_all_and_gives_the_bodys_results() {
    let got: (i64, i64, String) = gives(
        "local done = 0
         local a, b = ss.group(function(g)
           for i = 1, 10 do g:spawn(function() ss.sleep(0.001 * i) done = done + 1 end) end
           local t = g:spawn(function(x) return x * 2 end, 21)
           return t:join(), 'body'
         end)
         return done, a, b",
    );
    assert_eq!(got, (10, 42, "body".into()));
}

#[test]
fn the_first_error_of_a_group_cancels_the_others() {
    let begun = Instant::now();
    let got: (String, i64, bool, bool) = gives(
        "local closed, body_went_on = 0, false
         local ok, e = pcall(ss.group, function(g)
           for _ = 1, 3 do
             g:spawn(function()
               local guard <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
               ss.sleep(30)
             end)
           end
           g:spawn(function() ss.sleep(0.02) error({ code = 'first' }) end)
           ss.sleep(30)
           body_went_on = true
         end)
         return e.code, closed, body_went_on, ok",
    );
    assert_eq!(got, ("first".into(), 3, false, false));
    assert!(begun.elapsed() < Duration::from_secs(10));
    // An error of the body does the same.
    let got: (String, i64) = gives(
        "local closed = 0
         local _, e = pcall(ss.group, function(g)
           g:spawn(function()
             local guard <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
             ss.sleep(30)
           end)
           ss.sleep(0.01)
           error({ code = 'body' })
         end)
         return e.code, closed",
    );
    assert_eq!(got, ("body".into(), 1));
}

#[test]
fn groups_nest_and_an_ended_group_takes_nothing() {
    let got: (String, i64, String) = gives(
        "local closed, kept = 0, nil
         local _, e = pcall(ss.group, function(outer)
           outer:spawn(function()
             ss.group(function(inner)
               inner:spawn(function()
                 local guard <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
                 ss.sleep(30)
               end)
             end)
           end)
           outer:spawn(function()
             ss.group(function(inner)
               kept = kept or inner
               inner:spawn(function() ss.sleep(0.03) error({ code = 'deep' }) end)
             end)
           end)
         end)
         local _, late = pcall(kept.spawn, kept, function() end)
         return e.code, closed, late.code",
    );
    assert_eq!(got, ("deep".into(), 1, "group_ended".into()));
}

#[test]
fn a_timeout_ends_what_waits_and_what_is_busy() {
    let begun = Instant::now();
    let got: (String, String, String, i64, bool) = gives(
        "local _, waiting = pcall(ss.timeout, 0.05, ss.sleep, 30)
         local _, busy = pcall(ss.timeout, 0.05, function() while true do end end)
         local _, stubborn = pcall(ss.timeout, 0.05, function() while true do pcall(ss.sleep, 30) end end)
         local _, nested = pcall(ss.timeout, 5, function() return ss.timeout(0.05, ss.sleep, 30) end)
         return waiting.code, busy.code, stubborn.code, ss.timeout(5, function(a, b) return a + b end, 1, 2),
                nested.code == 'timeout'",
    );
    assert_eq!(got, ("timeout".into(), "timeout".into(), "timeout".into(), 3, true));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let code: String = gives("local _, e = pcall(ss.timeout, 5, function() error({ code = 'own' }) end) return e.code");
    assert_eq!(code, "own");
    // The outer time is over first: the inner one does not hold it up.
    let begun = Instant::now();
    let code: String = gives(
        "local _, e = pcall(ss.timeout, 0.05, function() return pcall(ss.timeout, 30, ss.sleep, 30) end)
         return e.code",
    );
    assert_eq!(code, "timeout");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn channels_block_when_full_and_end_when_closed() {
    let got: (Vec<i64>, bool, bool, i64, bool) = gives(
        "local ch = ss.channel(2)
         local sent = 0
         ss.spawn(function() for i = 1, 6 do ch:send(i) sent = i end ch:close() end)
         ss.sleep(0.02)
         local blocked = sent == 2
         local got = {}
         for msg in ch:iter() do got[#got + 1] = msg end
         return got, blocked, ch:recv() == nil, ch.len, ch.closed",
    );
    assert_eq!(got, (vec![1, 2, 3, 4, 5, 6], true, true, 0, true));
}

#[test]
fn channels_try_and_refuse() {
    let got: (Vec<bool>, Vec<String>) = gives(
        "local ch = ss.channel(1)
         local out = {}
         local function note(...) for i = 1, select('#', ...) do out[#out + 1] = (select(i, ...)) == true end end
         note((ch:try_recv()))                 -- empty: false
         note(ch:try_send('a'), ch:try_send('b')) -- true, full: false
         local there, v = ch:try_recv()
         note(there, v == 'a')
         local codes = {}
         local function fails(f, ...) local ok, e = pcall(f, ...) codes[#codes + 1] = ok and 'ok' or tostring(e.code) end
         fails(ch.send, ch, nil)
         fails(ss.channel, 0)
         ch:close()
         fails(ch.send, ch, 1)
         fails(ch.try_send, ch, 1)
         there, v = ch:try_recv()
         note(there, v == nil)
         local unbounded = ss.channel()
         for i = 1, 1000 do unbounded:send(i) end
         note(unbounded.len == 1000)
         do local scoped <close> = unbounded end
         note(unbounded.closed)
         return out, codes",
    );
    assert_eq!(got.0, [false, true, false, true, true, true, true, true, true]);
    assert_eq!(got.1, ["bad_argument", "bad_argument", "closed", "closed"]);
}

#[test]
fn a_sender_that_waits_learns_that_the_channel_was_closed() {
    let got: (String, i64) = gives(
        "local ch = ss.channel(1)
         ch:send(1)
         local t = ss.spawn(function() ch:send(2) end)
         ss.sleep(0.02)
         ch:close()
         local _, e = pcall(t.join, t)
         return e.code, ch:recv()",
    );
    assert_eq!(got, ("closed".into(), 1));
}

#[test]
fn select_takes_the_first_and_times_out() {
    let got: Vec<Option<i64>> = gives(
        "local a, b = ss.channel(4), ss.channel(4)
         local out = {}
         local function note(i, v) out[#out + 1] = i or ss.json.null out[#out + 1] = v or ss.json.null end
         ss.spawn(function() ss.sleep(0.02) b:send(7) end)
         note(ss.select({ a, b }, 10))
         note(ss.select({ a, b }, 0.02))
         note(ss.select({ a, b }, 0))
         a:send(1) b:send(2)
         note(ss.select({ a, b }))
         note(ss.select({ a, b }))
         ss.spawn(function() ss.sleep(0.02) b:close() end)
         note(ss.select({ a, b }, 10))   -- closed meanwhile
         note(ss.select({ a, b }))       -- closed before
         a:send(5)
         note(ss.select({ a, b }))       -- a value goes first in order
         return out",
    );
    let expected = [
        (Some(2), Some(7)),
        (None, None),
        (None, None),
        (Some(1), Some(1)),
        (Some(2), Some(2)),
        (Some(2), None),
        (Some(2), None),
        (Some(1), Some(5)),
    ];
    assert_eq!(got, expected.iter().flat_map(|(i, v)| [*i, *v]).collect::<Vec<_>>());
    let codes: Vec<String> = gives(
        "local _, none = pcall(ss.select, {})
         local _, odd = pcall(ss.select, { 1 })
         local _, negative = pcall(ss.select, { ss.channel(1) }, -1)
         return { none.code, odd.code, negative.code }",
    );
    assert_eq!(codes, ["bad_argument", "convert", "bad_argument"]);
}

#[test]
fn a_select_that_times_out_loses_no_value() {
    let got: i64 = gives(
        "local a, b = ss.channel(4), ss.channel(4)
         ss.spawn(function() for i = 1, 200 do a:send(1) b:send(1) if i % 7 == 0 then ss.yield() end end a:close() b:close() end)
         local sum, open = 0, 2
         while open > 0 do
           local from = {}
           if not (a.closed and a.len == 0) then from[#from + 1] = a end
           if not (b.closed and b.len == 0) then from[#from + 1] = b end
           open = #from
           if open > 0 then
             local i, v = ss.select(from, 0.0001)
             if v then sum = sum + v end
           end
         end
         return sum",
    );
    assert_eq!(got, 400);
}

#[test]
fn a_mutex_lets_one_in_and_is_released_by_the_scope() {
    let got: (i64, bool, bool, bool) = gives(
        "local mutex, inside, most = ss.mutex(), 0, 0
         ss.group(function(g)
           for _ = 1, 10 do
             g:spawn(function()
               local lock <close> = mutex:lock()
               inside = inside + 1
               most = math.max(most, inside)
               ss.sleep(0.001)
               inside = inside - 1
             end)
           end
         end)
         pcall(function() local lock <close> = mutex:lock() error 'x' end)
         local free = mutex:try_lock()
         local taken = mutex:try_lock() == nil
         free:unlock() free:unlock() -- twice does nothing more
         local again <close> = mutex:try_lock()
         return most, free ~= nil, taken, again ~= nil",
    );
    assert_eq!(got, (1, true, true, true));
}

#[test]
fn a_cancelled_waiter_does_not_keep_the_lock() {
    let got: (String, bool) = gives(
        "local mutex = ss.mutex()
         local held = mutex:lock()
         local waiter = ss.spawn(function() local lock <close> = mutex:lock() ss.sleep(30) end)
         ss.sleep(0.01)
         waiter:cancel()
         local _, e = pcall(waiter.join, waiter)
         held:unlock()
         local lock <close> = ss.timeout(5, function() return mutex:lock() end)
         return e.code, lock ~= nil",
    );
    assert_eq!(got, ("cancelled".into(), true));
}

#[test]
fn a_semaphore_counts_and_serves_in_order() {
    let got: (i64, Vec<i64>, String) = gives(
        "local s, inside, most, order = ss.semaphore(3), 0, 0, {}
         ss.group(function(g)
           for i = 1, 12 do
             g:spawn(function()
               local permit <close> = s:acquire()
               order[#order + 1] = i
               inside = inside + 1
               most = math.max(most, inside)
               ss.sleep(0.002)
               inside = inside - 1
             end)
           end
         end)
         local a, b, c = s:try_acquire(), s:try_acquire(), s:try_acquire()
         assert(a and b and c and s:try_acquire() == nil)
         b:unlock()
         assert(s:try_acquire() ~= nil)
         local _, e = pcall(ss.semaphore, 0)
         return most, order, e.code",
    );
    assert_eq!(got, (3, (1..=12).collect(), "bad_argument".into()));
}

#[test]
fn json_goes_there_and_back() {
    let got: Vec<String> = gives(
        r#"local j = ss.json
         local v = j.decode('{"a":[1,2.5,"x",null,true],"b":{},"c":[],"n":null}')
         local out = { tostring(#v.a), tostring(v.a[4] == j.null), tostring(v.n == j.null), j.encode(v.a), j.encode { x = j.null } }
         out[#out + 1] = tostring(math.type(v.a[1])) .. math.type(v.a[2])
         out[#out + 1] = j.encode({ 1 }, true)
         out[#out + 1] = j.encode('\u{1F600}"')
         out[#out + 1] = tostring(j.decode('null'))
         out[#out + 1] = j.encode({ [1] = 'a', x = 'b' }) == '{"1":"a","x":"b"}' and 'mixed' or j.encode({ [1] = 'a', x = 'b' })
         return out"#,
    );
    assert_eq!(
        got,
        [
            "5",
            "true",
            "true",
            "[1,2.5,\"x\",null,true]",
            "{\"x\":null}",
            "integerfloat",
            "[\n  1\n]",
            "\"😀\\\"\"",
            "nil",
            "mixed"
        ]
    );
    let codes: Vec<String> = gives(
        r#"local codes = {}
         for _, bad in ipairs { '', '{', '[1,]', 'nul', '\xff' } do
           local ok, e = pcall(ss.json.decode, bad)
           codes[#codes + 1] = ok and 'ok' or tostring(e.code)
         end
         local cycle = {}
         cycle[1] = cycle
         codes[#codes + 1] = tostring((pcall(ss.json.encode, cycle)))
         codes[#codes + 1] = tostring((pcall(ss.json.encode, print)))
         codes[#codes + 1] = tostring((pcall(ss.json.decode, ('['):rep(100000))))
         return codes"#,
    );
    assert_eq!(codes, ["json", "json", "json", "json", "json", "false", "false", "false"]);
}

#[test]
fn logs_and_the_environment_answer() {
    let got: (bool, bool, String, String) = gives(
        "for _, level in ipairs { 'trace', 'debug', 'info', 'warn', 'error' } do
           ss.log[level]('got', { msg = 'x', n = 1 })
           ss.log[level]('plain')
         end
         local ok = pcall(ss.log.info, {}, print)
         return ss.env('PATH') ~= nil, ss.env('SIDESTACK_NO_SUCH') == nil, ss.env('SIDESTACK_NO_SUCH', 'or this'), tostring(ok)",
    );
    // A log line never fails for what it is given.
    assert_eq!(got, (true, true, "or this".into(), "true".into()));
}

#[test]
fn yield_lets_others_run() {
    let got: String = gives(
        "local s = ''
         ss.group(function(g)
           g:spawn(function() for _ = 1, 3 do s = s .. 'a' ss.yield() end end)
           g:spawn(function() for _ = 1, 3 do s = s .. 'b' ss.yield() end end)
         end)
         return s",
    );
    assert_eq!(got, "ababab");
}

#[test]
fn errors_tell_code_message_and_traceback() {
    let got: (String, String, bool, String) = gives(
        "local function deep() ss.sleep(-1) end
         local ok, e = pcall(deep)
         return e.code, e.message, e.traceback:find('eval:2:', 1, true) ~= nil, tostring(e)",
    );
    assert_eq!(got.0, "bad_argument");
    assert!(got.1.contains("-1"), "{}", got.1);
    assert!(got.2, "a traceback that names the line");
    assert!(got.3.starts_with("eval:2: "), "{}", got.3);
    let codes: Vec<String> = gives(
        "local codes = {}
         for _, call in ipairs { { ss.spawn }, { ss.spawn, 1 }, { ss.timeout, 'x' }, { ss.group }, { ss.sleep }, { ss.channel, 'x' } } do
           local ok, e = pcall(table.unpack(call))
           codes[#codes + 1] = ok and 'ok' or tostring(e.code)
         end
         return codes",
    );
    assert_eq!(codes, ["convert"; 6]);
}

#[test]
fn the_module_is_read_only_and_has_no_inner_parts() {
    let got: Vec<bool> = gives(
        "return { pcall(function() ss.sleep = 1 end) or pcall(function() ss.json.encode = 1 end)
                    or pcall(function() ss.http.get = 1 end) or pcall(function() ss.log.info = 1 end)
                    or pcall(rawset, ss.json, 'encode', 1),
                  ss.module_wait == nil and ss.module_done == nil and pcall(require, 'sidestack.core') == false,
                  getmetatable(ss.json) == false }",
    );
    assert_eq!(got, [false, true, true]);
    // What scripts set as globals is nothing to the prelude.
    let text: String =
        gives("error, pairs, type, string = nil, nil, nil, nil\nss.log.info('x', {}) return ss.json.encode({1})");
    assert_eq!(text, "[1]");
}
