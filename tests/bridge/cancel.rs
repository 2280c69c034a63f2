//! Cancelling a call in each of its states, and deadlines.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, Error, Limit, Module};

use crate::stage::{Stage, chunk, swallowing, until};

/// An engine where only the grace could hide that phase a did not work.
fn patient(stage: &Stage) -> Engine {
    stage.builder().grace(Duration::from_secs(60)).build().expect("an engine")
}

fn quiet(engine: &Engine) {
    until("no fiber is left", || engine.metrics().fibers == 0);
}

#[test]
fn one_that_was_never_polled_never_starts() {
    let stage = Stage::new();
    let engine = stage.engine();
    drop(engine.eval::<()>(&chunk(script!(
    lua: "t.note('ran')",
    php: r"t\note('ran');",
    ))));
    block_on(engine.eval::<()>("")).expect("another call");
    assert!(stage.log().is_empty());
}

#[test]
fn one_that_is_queued_leaves_the_queue() {
    let stage = Stage::new();
    let engine = stage.builder().fibers(1).build().expect("an engine");
    let first = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    let mut queued: Vec<_> = (0..10)
        .map(|i| {
            engine
                .spawn(
                    engine.eval::<()>(&chunk(&script!(lua: format!("t.note('{i}')"), php: format!("t\\note('{i}');")))),
                )
                .expect("queued")
        })
        .collect();
    until("ten are queued", || engine.metrics().queued == 10);
    let kept = queued.remove(3);
    drop(queued);
    until("one is left in the queue", || engine.metrics().queued == 1);
    stage.open(1, 1);
    block_on(first).expect("the first");
    block_on(kept).expect("the one that was kept");
    assert_eq!(stage.log(), ["dropped 1", "3"]);
    quiet(&engine);
    assert_eq!(engine.metrics().queued, 0);
}

#[test]
fn one_that_got_a_fiber_but_no_turn_does_not_run() {
    let stage = Stage::new();
    let (send, block) = std::sync::mpsc::channel::<()>();
    let block = std::sync::Mutex::new(block);
    let blocks = stage.clone();
    let module = Module::new("u").function("block", move || {
        blocks.note("blocked");
        Ok(block.lock().expect("not poisoned").recv_timeout(Duration::from_secs(10))?)
    });
    let engine = stage.builder().module(module).build().expect("an engine");
    // The first holds the thread while the others come; then all get fibers at once, and the second holds the thread.
    let blocker = || {
        engine
            .spawn(engine.eval::<()>(script!(
            lua: "require('u').block()",
            php: r"u\block()",
            )))
            .expect("started")
    };
    let first = blocker();
    stage.logged(1);
    let second = blocker();
    let mut rest: Vec<_> = (0..200)
        .map(|i| {
            engine
                .spawn(
                    engine.eval::<()>(&chunk(&script!(lua: format!("t.note('{i}')"), php: format!("t\\note('{i}');")))),
                )
                .expect("started")
        })
        .collect();
    send.send(()).expect("it waits");
    stage.logged(2);
    drop(rest.pop());
    send.send(()).expect("it waits");
    block_on(first).expect("the first");
    block_on(second).expect("the second");
    rest.into_iter().for_each(|call| block_on(call).expect("it ran"));
    quiet(&engine);
    let log = stage.log();
    assert!(log.contains(&"198".to_string()) && !log.contains(&"199".to_string()), "the cancelled one ran");
}

#[test]
fn a_busy_loop_ends_at_once() {
    let stage = Stage::new();
    let engine = patient(&stage);
    let call = engine
        .spawn(engine.eval::<()>(&chunk(script!(
        lua: "t.note('in') while true do end",
        php: r"t\note('in'); while (true) {}",
        ))))
        .expect("started");
    stage.logged(1);
    let begun = Instant::now();
    drop(call);
    quiet(&engine);
    assert!(begun.elapsed() < Duration::from_secs(20), "a slice is two ticks, 10 ms: {:?}", begun.elapsed());
}

#[test]
fn a_busy_loop_in_a_nested_call_ends_at_once() {
    let stage = Stage::new();
    let engine = patient(&stage);
    let text = chunk(script!(
    lua: "t.hold(function() t.note('in') while true do end end, 1)",
    php: r"t\hold(function () { t\note('in'); while (true) {} }, 1);",
    ));
    let call = engine.spawn(engine.eval::<()>(&text)).expect("started");
    stage.logged(1);
    drop(call);
    quiet(&engine);
    assert_eq!(stage.log(), ["in", "dropped 1"]);
}

#[test]
fn one_that_waits_has_its_future_dropped_and_cleans_up() {
    let stage = Stage::new();
    let engine = patient(&stage);
    let text = chunk(script!(
        lua: "local x <close> = setmetatable({}, {__close = function(_, e)
                    t.note('close ' .. e.code)
                    local ok, e = pcall(t.wait, 2)
                    t.note('in close ' .. e.code)
                 end})
                 local ok, e = pcall(t.wait, 1)
                 t.note('after pcall ' .. e.code)
                 t.wait(3)
                 t.note('never')",
        php: r"try {
                    try { t\wait(1); } catch (Exception $e) { t\note('after pcall ' . $e->getCode()); }
                    t\wait(3);
                    t\note('never');
                 } catch (Exception $e) {
                    t\note('close ' . $e->getCode());
                    try { t\wait(2); } catch (Exception $e) { t\note('in close ' . $e->getCode()); }
                 }",
    ));
    let call = engine.spawn(engine.eval::<()>(&text)).expect("started");
    stage.arrived(1, 1);
    drop(call);
    quiet(&engine);
    let (made, dropped) = stage.counts();
    assert_eq!(made, dropped);
    let log = stage.log();
    assert_eq!(log[0], "dropped 1");
    let told: Vec<_> = log.iter().filter(|line| !line.starts_with("dropped")).collect();
    assert_eq!(told, ["after pcall cancelled", "close cancelled", "in close cancelled"]);
}

#[test]
fn one_that_is_in_its_clean_up_already() {
    let stage = Stage::new();
    let engine = patient(&stage);
    let text = chunk(script!(
        lua: "do
                    local x <close> = setmetatable({}, {__close = function()
                        local ok, e = pcall(t.wait, 1)
                        t.note('close ' .. e.code)
                    end})
                 end
                 t.note('after')
                 t.wait(2)",
        php: r"class X { function __destruct() { try { t\wait(1); } catch (Exception $e) { t\note('close ' . $e->getCode()); } } }
                 $x = new X;
                 unset($x);
                 t\note('after');
                 t\wait(2);",
    ));
    let call = engine.spawn(engine.eval::<()>(&text)).expect("started");
    stage.arrived(1, 1);
    drop(call);
    quiet(&engine);
    assert_eq!(stage.log()[..3], ["dropped 1", "close cancelled", "after"]);
}

#[test]
fn one_inside_a_nested_call_unwinds_through_all_of_it() {
    let stage = Stage::new();
    let engine = patient(&stage);
    let text = chunk(script!(
        lua: "local ok, e = pcall(t.hold, function()
                    local ok, e = pcall(t.hold, function() return t.wait(1) end, 3)
                    t.note('inner ' .. tostring(e.code))
                    return 1
                 end, 2)
                 t.note('outer ' .. tostring(e.code))",
        php: r"try { t\hold(function () {
                    try { t\hold(fn () => t\wait(1), 3); } catch (Exception $e) { t\note('inner ' . $e->getCode()); }
                    return 1;
                 }, 2); } catch (Exception $e) { t\note('outer ' . $e->getCode()); }",
    ));
    let call = engine.spawn(engine.eval::<()>(&text)).expect("started");
    stage.arrived(1, 1);
    drop(call);
    quiet(&engine);
    assert_eq!(stage.log(), ["dropped 1", "dropped 3", "dropped 2", "inner cancelled", "outer cancelled"]);
}

#[test]
fn one_that_swallows_the_error_is_killed_after_the_grace() {
    for body in swallowing() {
        let stage = Stage::new();
        let engine = stage.builder().grace(Duration::from_millis(150)).build().expect("an engine");
        let call = engine
            .spawn(engine.eval::<()>(&chunk(
                &script!(lua: format!("t.note('in') {body}"), php: format!("t\\note('in'); {body}")),
            )))
            .expect("started");
        stage.logged(1);
        let begun = Instant::now();
        drop(call);
        quiet(&engine);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(140) && took < Duration::from_secs(20), "{took:?}");
        assert_eq!(block_on(engine.eval::<i64>("1 + 1")).expect("the interpreter works"), 2);
    }
}

#[test]
fn a_host_calls_completion_beats_a_later_cancel() {
    let stage = Stage::new();
    let (send, block) = std::sync::mpsc::channel::<()>();
    let block = std::sync::Mutex::new(block);
    let blocks = stage.clone();
    let module = Module::new("u").function("block", move || {
        blocks.note("blocked");
        Ok(block.lock().expect("not poisoned").recv_timeout(Duration::from_secs(10))?)
    });
    let engine = stage.builder().module(module).build().expect("an engine");
    let waiting = engine
        .spawn(engine.eval::<()>(&chunk(script!(
        lua: "t.note('got ' .. t.wait(1))",
        php: r"t\note('got ' . t\wait(1));",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    let blocker = engine
        .spawn(engine.eval::<()>(script!(
        lua: "require('u').block()",
        php: r"u\block()",
        )))
        .expect("started");
    stage.logged(1);
    stage.open(1, 5);
    drop(waiting);
    send.send(()).expect("it waits");
    block_on(blocker).expect("the blocker");
    quiet(&engine);
    assert_eq!(stage.log(), ["blocked", "dropped 1", "got 5"]);
}

/// The same where the fiber has to wait for its turn, because others are ready.
#[test]
fn a_host_calls_completion_beats_a_later_cancel_beside_a_busy_fiber() {
    let stage = Stage::new();
    let engine = stage.engine();
    let busy =
        engine.spawn(engine.eval::<()>(script!(lua: "while true do end", php: "while (true) {}"))).expect("started");
    for round in 1..=20 {
        let text = script!(
            lua: format!("t.note('got ' .. t.wait({round}))"),
            php: format!("t\\note('got ' . t\\wait({round}));"),
        );
        let waiting = engine.spawn(engine.eval::<()>(&chunk(&text))).expect("started");
        stage.arrived(round, 1);
        stage.open(round, 5);
        drop(waiting);
        until("it has gone", || engine.metrics().fibers == 1);
    }
    drop(busy);
    quiet(&engine);
    let got = stage.log().iter().filter(|line| *line == "got 5").count();
    assert_eq!(got, 20, "{:?}", stage.log());
}

#[test]
fn a_host_function_may_drop_a_call_to_its_own_interpreter() {
    let stage = Stage::new();
    let own = stage.clone();
    let engines: std::sync::Arc<std::sync::OnceLock<Engine>> = std::sync::Arc::default();
    let engine_of = engines.clone();
    let module = Module::new("u").function("start_and_drop", async move || {
        let engine = engine_of.get().expect("set below");
        let call = engine.spawn(engine.eval::<()>(&chunk(script!(
        lua: "t.wait(1)",
        php: r"t\wait(1);",
        ))))?;
        own.wait(2).await;
        drop(call);
        Ok(())
    });
    let engine = stage.builder().module(module).build().expect("an engine");
    engines.set(engine.clone()).expect("once");
    let call = engine
        .spawn(engine.eval::<()>(script!(
        lua: "require('u').start_and_drop()",
        php: r"u\start_and_drop()",
        )))
        .expect("started");
    stage.arrived(1, 1);
    stage.open(2, 0);
    block_on(call).expect("it returned");
    quiet(&engine);
    assert_eq!(stage.counts().0, stage.counts().1);
}

fn assert_deadline(result: Result<(), Error>, ms: u64) {
    match result {
        Err(Error::Limit { which: Limit::Deadline, value, .. }) => assert_eq!(value, ms),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deadline_counts_waiting_and_running() {
    let bodies = script!(
        lua: [
            "t.wait(1)",
            "while true do end",
            "t.call(function() while true do end end, 1)",
            "t.call(function() t.wait(1) return 1 end, 1)",
            "while true do t.nap(5) end",
        ],
        php: [
            r"t\wait(1);",
            "while (true) {}",
            r"t\call(function () { while (true) {} }, 1);",
            r"t\call(function () { t\wait(1); return 1; }, 1);",
            r"while (true) t\nap(5);",
        ],
    );
    for body in bodies {
        let stage = Stage::new();
        let engine = patient(&stage);
        let begun = Instant::now();
        let call = engine.eval::<()>(&chunk(body)).deadline(Duration::from_millis(120));
        assert_deadline(block_on(call), 120);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(120) && took < Duration::from_secs(20), "{body}: {took:?}");
        quiet(&engine);
        assert_eq!(stage.counts().0, stage.counts().1, "{body}");
    }
}

#[test]
fn a_deadline_passes_in_the_queue_too() {
    let stage = Stage::new();
    let engine = stage.builder().fibers(1).build().expect("an engine");
    let first = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    let begun = Instant::now();
    assert_deadline(
        block_on(
            engine
                .eval::<()>(&chunk(script!(
                lua: "t.note('ran')",
                php: r"t\note('ran');",
                )))
                .deadline(Duration::from_millis(120)),
        ),
        120,
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(engine.metrics().queued, 0);
    stage.open(1, 1);
    block_on(first).expect("the first");
    assert_eq!(stage.log(), ["dropped 1"]);
}
