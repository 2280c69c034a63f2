//! Guest → host → guest: nested calls, their drop, their errors, their depth.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::{Either, select};
use sidestack::{Cx, Engine, Error, Function, Module};

use crate::guest::guest;

use crate::stage::{Stage, chunk, swallowing, until};

/// Starts `text`, opens `gate` once `arrived` future waits, and returns the result.
fn raced(stage: &Stage, engine: &Engine, text: &str, inner: Option<u64>, gate: u64) -> Result<(String, i64), Error> {
    let call = engine.spawn(engine.eval::<(String, i64)>(&chunk(text))).expect("started");
    stage.arrived(gate, 1);
    if let Some(inner) = inner {
        stage.arrived(inner, 1);
    }
    stage.open(gate, 5);
    block_on(call)
}

#[test]
fn dropping_a_nested_call_cancels_a_guest_that_waits() {
    let (stage, text) = (
        Stage::new(),
        script!(
        lua: "
        local how, v = t.race(function()
            local ok, e = pcall(t.wait, 1)
            t.note('inner ' .. tostring(ok) .. ' ' .. e.code)
            local ok, e = pcall(t.wait, 3)
            t.note('again ' .. tostring(ok) .. ' ' .. e.code)
            return 7
        end, 2)
        t.note('outer ' .. how)
        return how, v",
        php: r"
        [$how, $v] = t\race(function () {
            try { t\wait(1); } catch (Exception $e) { t\note('inner false ' . $e->getCode()); }
            try { t\wait(3); } catch (Exception $e) { t\note('again false ' . $e->getCode()); }
            return 7;
        }, 2);
        t\note('outer ' . $how);
        return [$how, $v];",
        ),
    );
    let engine = stage.engine();
    let begun = Instant::now();
    assert_eq!(raced(&stage, &engine, text, Some(1), 2).expect("the outer script goes on"), ("dropped".into(), 5));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // The result of the host call waits for the guest's frame to be gone. Gate 3's future is dropped by its refusal.
    let log = stage.log();
    assert_eq!(log.first().map(String::as_str), Some("dropped 1"));
    let told: Vec<_> = log.iter().filter(|line| !line.starts_with("dropped")).collect();
    assert_eq!(told, ["inner false cancelled", "again false cancelled", "outer dropped"]);
    let (made, dropped) = stage.counts();
    assert_eq!(made, dropped);
    assert_eq!(block_on(engine.eval::<i64>("1 + 1")).expect("the interpreter works"), 2);
}

#[test]
fn dropping_a_nested_call_cancels_a_guest_that_is_busy() {
    let (stage, text) = (
        Stage::new(),
        script!(
        lua: "return t.race(function() while true do end end, 2)",
        php: r"return t\race(function () { while (true) {} }, 2);",
        ),
    );
    let engine = stage.builder().grace(Duration::from_secs(60)).build().expect("an engine");
    assert_eq!(raced(&stage, &engine, text, None, 2).expect("the outer script goes on"), ("dropped".into(), 5));
}

#[test]
fn a_nested_guest_that_swallows_errors_is_killed_down_to_its_frame() {
    for body in swallowing() {
        let stage = Stage::new();
        let text = script!(lua: format!("local how, v = t.race(function() {body} end, 2)
                     local ok, e = pcall(t.wait, 4)
                     return how, v + e"), php: format!("[$how, $v] = t\\race(function () {{ {body} }}, 2);
                 return [$how, $v + t\\wait(4)];"));
        let engine = stage.builder().grace(Duration::from_millis(100)).build().expect("an engine");
        let begun = Instant::now();
        stage.open(4, 100);
        assert_eq!(raced(&stage, &engine, &text, None, 2).expect("the outer script goes on"), ("dropped".into(), 105));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(20), "{took:?}");
    }
}

#[test]
fn a_call_after_a_dropped_one_waits_for_it() {
    let stage = Stage::new();
    let own = stage.clone();
    let module = Module::new("u").function("twice", async move |mut cx: Cx, f: Function, g: Function| {
        {
            let call = std::pin::pin!(cx.call::<i64>(&f, ()));
            match select(call, own.wait(2)).await {
                Either::Left(_) => anyhow::bail!("it returned"),
                Either::Right(_) => own.note("dropped the call"),
            }
        }
        let second = cx.call::<i64>(&g, 20).await?;
        let third = cx.call::<i64>(&g, second).await?;
        Ok(third)
    });
    let engine = stage.builder().module(module).build().expect("an engine");
    let call = engine.spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return require('u').twice(
                function() local ok, e = pcall(t.wait, 1) t.note('f ' .. e.code) return 1 end,
                function(n) t.note('g ' .. n) t.nap(5) return n + 1 end)",
        php: r"return u\twice(
                function () { try { t\wait(1); } catch (Exception $e) { t\note('f ' . $e->getCode()); } return 1; },
                function ($n) { t\note('g ' . $n); t\nap(5); return $n + 1; });",
    ))));
    let call = call.expect("started");
    stage.arrived(1, 1);
    stage.open(2, 0);
    assert_eq!(block_on(call).expect("both later calls"), 22);
    assert_eq!(stage.log(), ["dropped the call", "dropped 1", "f cancelled", "g 20", "g 21"]);
}

#[test]
fn dropping_two_deep_cancels_the_innermost_first() {
    let (stage, text) = (
        Stage::new(),
        script!(
        lua: "
        local how, v = t.race(function()
            local ok, e = pcall(t.hold, function()
                t.note('innermost')
                local ok, e = pcall(t.wait, 1)
                t.note('inner ' .. e.code)
                return 1
            end, 3)
            t.note('middle ' .. tostring(e.code))
            return 2
        end, 2)
        t.note('outer ' .. how)
        return how, v",
        php: r"
        [$how, $v] = t\race(function () {
            try { t\hold(function () {
                t\note('innermost');
                try { t\wait(1); } catch (Exception $e) { t\note('inner ' . $e->getCode()); }
                return 1;
            }, 3); } catch (Exception $e) { t\note('middle ' . $e->getCode()); }
            return 2;
        }, 2);
        t\note('outer ' . $how);
        return [$how, $v];",
        ),
    );
    let engine = stage.engine();
    assert_eq!(raced(&stage, &engine, text, Some(1), 2).expect("the outer script goes on"), ("dropped".into(), 5));
    assert_eq!(
        stage.log(),
        ["innermost", "dropped 1", "dropped 3", "inner cancelled", "middle cancelled", "outer dropped"]
    );
}

#[test]
fn a_host_function_catches_a_guests_error_and_calls_again() {
    let stage = Stage::new();
    let own = stage.clone();
    let module = Module::new("u").function("insist", async move |mut cx: Cx, f: Function| {
        for attempt in 1.. {
            match cx.call::<i64>(&f, attempt).await {
                Ok(value) => return Ok(value),
                Err(error) => own.note(format!("{:?} {error}", error.code())),
            }
        }
        unreachable!("the loop returns")
    });
    let engine = stage.builder().module(module).build().expect("an engine");
    let value = block_on(engine.eval::<i64>(&chunk(script!(
        lua: "return require('u').insist(function(n)
                if n == 1 then error({code = 'first', message = 'one'}) end
                if n == 2 then t.nap(1) error('two') end
                if n == 3 then local x = nil; return x.y end
                return n * 10
             end)",
        php: r"class Coded extends Exception { protected $code = 'first'; }
             return u\insist(function ($n) {
                if ($n == 1) throw new Coded('one');
                if ($n == 2) { t\nap(1); throw new Exception('two'); }
                if ($n == 3) return (function (int $x) { return $x; })('x');
                return $n * 10;
             });",
    ))));
    assert_eq!(value.expect("the fourth attempt"), 40);
    let log = stage.log();
    assert_eq!(log[0], "Some(\"first\") one");
    assert!(log[1].ends_with("two") && log[2].contains(script!(lua: "'x'", php: "must be of type int")), "{log:?}");
}

#[test]
fn plain_closures_cannot_call_guests() {
    let module = Module::new("u").function("plain", |mut cx: Cx, f: Function| Ok(block_on(cx.call::<i64>(&f, ()))?));
    let engine = Engine::builder(guest()).threads(1).module(module).build().expect("an engine");
    let call = engine.eval::<String>(script!(
    lua: "local ok, e = pcall(require('u').plain, function() return 1 end) return e.code",
    php: r"try { u\plain(fn () => 1); } catch (Exception $e) { return $e->getCode(); }",
    ));
    let mut call = engine.spawn(call).expect("started");
    let begun = Instant::now();
    let mut outcome = None;
    until("a named error instead of a hang", || {
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        if let std::task::Poll::Ready(result) = std::pin::Pin::new(&mut call).poll(&mut task) {
            outcome = Some(result);
        }
        outcome.is_some() || begun.elapsed() > Duration::from_secs(20)
    });
    assert_eq!(outcome.expect("an answer").expect("caught"), "cannot_call_guest_here");
}

/// Rust code with a synchronous callback that must call the guest: on the thread pool it can wait for a fiber of its own, on
/// the interpreter thread that is refused by name.
#[test]
fn synchronous_callbacks_call_guests_from_the_thread_pool() {
    fn sorted(mut numbers: Vec<i64>, less: &Function) -> anyhow::Result<Vec<i64>> {
        let mut failed = None;
        let mut before = |a: i64, b: i64| {
            less.call::<bool>((a, b)).blocking().unwrap_or_else(|error| {
                failed.get_or_insert(error);
                a < b
            })
        };
        numbers.sort_by(|a, b| before(*b, *a).cmp(&before(*a, *b)));
        failed.map_or(Ok(numbers), |error| Err(error.into()))
    }
    let module = Module::new("u")
        .blocking_function("sorted", |numbers: Vec<i64>, less: Function| sorted(numbers, &less))
        .function("sorted_here", |numbers: Vec<i64>, less: Function| sorted(numbers, &less));
    let engine = Engine::builder(guest()).threads(1).module(module).build().expect("an engine");
    let got = block_on(engine.eval::<(Vec<i64>, String)>(script!(
    lua: "local u, function_ = require 'u', function(a, b) return a > b end
         local _, refused = pcall(u.sorted_here, { 2, 1 }, function_)
         return u.sorted({ 3, 1, 4, 1, 5, 9, 2, 6 }, function_), refused.code",
    php: r"$function = fn ($a, $b) => $a > $b;
         try { u\sorted_here([2, 1], $function); } catch (Exception $e) { $refused = $e->getCode(); }
         return [u\sorted([3, 1, 4, 1, 5, 9, 2, 6], $function), $refused];",
    )));
    let expected = (vec![9, 6, 5, 4, 3, 2, 1, 1], "would_block_own_interpreter".to_string());
    assert_eq!(got.expect("sorted"), expected);
}
