//! Bounded queues, bounded fibers, and the end of an engine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Error, Module};

use crate::stage::{Stage, chunk, until};

#[test]
fn a_full_queue_is_told_at_once() {
    let stage = Stage::new();
    let engine = stage.builder().fibers(1).queue(3).build().expect("an engine");
    let call = || {
        engine.spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
    };
    let first = call().expect("started");
    stage.arrived(1, 1);
    let queued: Vec<_> = (0..3).map(|_| call().expect("queued")).collect();
    let begun = Instant::now();
    for _ in 0..10 {
        let error = call().expect_err("full");
        assert!(matches!(error, Error::QueueFull { capacity: 3, .. }), "{error:?}");
        assert!(error.is_retryable());
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(engine.metrics().queued, 3);
    stage.open(1, 1);
    block_on(first).expect("the first");
    for call in queued {
        block_on(call).expect("a queued one");
    }
    until("no fiber is left", || engine.metrics().fibers == 0);
    assert_eq!(engine.metrics().queued, 0);
    let again: Vec<_> = (0..3).map(|_| call().expect("room again")).collect();
    again.into_iter().for_each(|call| assert_eq!(block_on(call).expect("a value"), 1));
}

#[test]
fn fibers_are_bounded_and_calls_wait_for_one() {
    let stage = Stage::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (now.clone(), most.clone());
    let module = Module::new("u").function("inside", async move |cx: sidestack::Cx| {
        peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        cx.sleep(Duration::from_millis(2)).await;
        inside.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    let engine = stage.builder().fibers(4).module(module).build().expect("an engine");
    let calls: Vec<_> = (0..40)
        .map(|_| {
            engine
                .spawn(engine.eval::<()>(script!(
                lua: "require('u').inside()",
                php: r"u\inside()",
                )))
                .expect("queued")
        })
        .collect();
    calls.into_iter().for_each(|call| block_on(call).expect("it ran"));
    assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, 4));
}

#[test]
fn shutdown_lets_calls_end_within_its_patience() {
    let stage = Stage::new();
    let engine = stage.builder().fibers(2).build().expect("an engine");
    let calls: Vec<_> = (0..6)
        .map(|_| {
            engine
                .spawn(engine.eval::<i64>(&chunk(script!(
                lua: "t.nap(30) return 1",
                php: r"t\nap(30); return 1;",
                ))))
                .expect("started")
        })
        .collect();
    let begun = Instant::now();
    let metrics = block_on(engine.shutdown(Duration::from_secs(60)));
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for more than the calls");
    assert_eq!((metrics.stuck, metrics.fibers, metrics.queued), (0, 0, 0));
    calls.into_iter().for_each(|call| assert_eq!(block_on(call).expect("it had the time"), 1));
}

#[test]
fn shutdown_cancels_what_does_not_end() {
    let stage = Stage::new();
    let engine = stage.builder().fibers(3).grace(Duration::from_millis(100)).build().expect("an engine");
    let texts = script!(
        lua: ["t.wait(1)", "while true do end", "while true do pcall(t.wait, 1) end", "t.note('queued')"],
        php: [
            r"t\wait(1);",
            "while (true) {}",
            r"while (true) try { t\wait(1); } catch (Throwable) {}",
            r"t\note('queued');",
        ],
    );
    let calls: Vec<_> = texts.map(|text| engine.spawn(engine.eval::<()>(&chunk(text))).expect("started")).into();
    stage.arrived(1, 2);
    let begun = Instant::now();
    let metrics = block_on(engine.shutdown(Duration::from_millis(200)));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!((metrics.stuck, metrics.fibers, metrics.queued), (0, 0, 0));
    for (text, call) in texts.iter().zip(calls) {
        let error = block_on(call).expect_err(text);
        assert_eq!(error.code(), Some("cancelled"), "{text}: {error:?}");
    }
    assert_eq!(stage.counts().0, stage.counts().1);
    assert!(!stage.log().contains(&"queued".to_string()));
}

#[test]
fn shutdown_reports_an_interpreter_that_is_stuck() {
    let stage = Stage::new();
    let (free, stuck) = mpsc::channel::<()>();
    let stuck = Mutex::new(stuck);
    let blocks = stage.clone();
    let module = Module::new("u").function("stuck", move || {
        blocks.note("stuck");
        let _ = stuck.lock().expect("not poisoned").recv_timeout(Duration::from_secs(30));
        Ok(())
    });
    let engine = stage.builder().threads(2).module(module).build().expect("an engine");
    let call = engine
        .spawn(engine.eval::<()>(script!(
        lua: "require('u').stuck()",
        php: r"u\stuck()",
        )))
        .expect("started");
    stage.logged(1);
    let begun = Instant::now();
    let metrics = block_on(engine.shutdown(Duration::from_millis(300)));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "patience and a second, and some for a busy machine: {:?}",
        begun.elapsed()
    );
    assert_eq!((metrics.stuck, metrics.interpreters), (1, 2));
    assert_eq!(engine.metrics().stuck, 1);
    let error = block_on(call).expect_err("its interpreter was left behind");
    assert!(matches!(error, Error::InterpreterLost { started: true }), "{error:?}");
    free.send(()).expect("it waits");
}

#[test]
fn shutdown_may_come_twice() {
    let stage = Stage::new();
    let engine = stage.builder().threads(2).build().expect("an engine");
    let call = engine
        .spawn(engine.eval::<()>(&chunk(script!(
        lua: "t.nap(1000)",
        php: r"t\nap(1000);",
        ))))
        .expect("started");
    until("it runs", || engine.metrics().fibers == 1);
    let both =
        futures_util::future::join(engine.shutdown(Duration::from_secs(20)), engine.shutdown(Duration::from_secs(30)));
    let (one, other) = block_on(both);
    assert_eq!((one.stuck, other.stuck), (0, 0), "at the same time");
    block_on(call).expect("it had the time");
    let begun = Instant::now();
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(60))).stuck, 0, "once more");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn dropping_the_engine_cancels_its_calls() {
    let stage = Stage::new();
    let engine = stage.engine();
    let call = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    drop(engine);
    assert_eq!(block_on(call).expect_err("cancelled").code(), Some("cancelled"));
    assert_eq!(stage.counts(), (1, 1));
}
