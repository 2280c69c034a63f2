//! Wakes (rule 9): late, double, foreign, after the end of everything, and many at once.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use proptest::prelude::*;
use sidestack::{Call, Cx, Module};

use crate::stage::{Stage, chunk, until};

/// A host function that leaves its waker in a list and is pending so many times.
fn leaking(list: &Arc<Mutex<Vec<Waker>>>) -> Module {
    let list = list.clone();
    Module::new("u").function("leak", async move |times: u64| {
        let mut left = times;
        std::future::poll_fn(|task| {
            list.lock().expect("not poisoned").push(task.waker().clone());
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            Poll::Pending
        })
        .await;
        Ok(times)
    })
}

#[test]
fn late_double_and_foreign_wakes_are_harmless() {
    let stage = Stage::new();
    let wakers = Arc::new(Mutex::new(Vec::new()));
    let engine = stage.builder().module(leaking(&wakers)).build().expect("an engine");
    let call = engine
        .spawn(engine.eval::<u64>(script!(
        lua: "return require('u').leak(3)",
        php: r"return u\leak(3);",
        )))
        .expect("started");
    let all = || wakers.lock().expect("not poisoned").clone();
    for round in 1..=3 {
        until("a poll", || all().len() == round);
        let waker = all().pop().expect("one");
        thread::spawn(move || {
            waker.wake_by_ref();
        })
        .join()
        .expect("no panic");
    }
    assert_eq!(block_on(call).expect("three wakes"), 3);
    // Late, many times, from several threads, while another fiber has the same place in the worker's table.
    let other = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1) + t.wait(2)",
        php: r"return t\wait(1) + t\wait(2);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    let late = all();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| late.iter().for_each(Waker::wake_by_ref)));
        }
    });
    stage.open(1, 1);
    stage.arrived(2, 1);
    late.iter().for_each(Waker::wake_by_ref);
    stage.open(2, 2);
    assert_eq!(block_on(other).expect("undisturbed"), 3);
    // After the end of the engine.
    block_on(engine.shutdown(Duration::from_secs(5)));
    late.iter().for_each(Waker::wake_by_ref);
    drop(engine);
    late.iter().for_each(Waker::wake_by_ref);
    drop(late);
    let last = std::mem::take(&mut *wakers.lock().expect("not poisoned"));
    last.into_iter().for_each(Waker::wake);
}

#[test]
fn a_spurious_wake_polls_and_changes_nothing() {
    let stage = Stage::new();
    let engine = stage.engine();
    let call = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    for round in 1..20 {
        stage.wakers(1)[0].wake_by_ref();
        until("another poll", || stage.wakers(1).len() > round);
    }
    stage.open(1, 4);
    assert_eq!(block_on(call).expect("the value"), 4);
}

#[test]
fn a_storm_of_wakes_loses_none() {
    const FIBERS: u64 = 100;
    const ROUNDS: u64 = 50;
    type Waiting = Arc<Mutex<HashMap<u64, (Waker, Arc<AtomicBool>)>>>;
    let waiting: Waiting = Arc::default();
    let list = waiting.clone();
    let numbers = AtomicU64::new(0);
    let module = Module::new("u").function("turn", async move |cx: Cx| {
        let (number, woken) = (numbers.fetch_add(1, Ordering::Relaxed), Arc::new(AtomicBool::new(false)));
        let _ = cx.fiber();
        let result = std::future::poll_fn(|task| {
            if woken.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            list.lock().expect("not poisoned").insert(number, (task.waker().clone(), woken.clone()));
            Poll::Pending
        })
        .await;
        Ok(result)
    });
    let stage = Stage::new();
    let engine = stage.builder().module(module).build().expect("an engine");
    let text = script!(lua: format!("local turn = require('u').turn for i = 1, {ROUNDS} do turn() end return {ROUNDS}"), php: format!("for ($i = 0; $i < {ROUNDS}; $i++) u\\turn(); return {ROUNDS};"));
    let calls: Vec<_> = (0..FIBERS).map(|_| engine.spawn(engine.eval::<u64>(&text)).expect("started")).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (waiting, over) = (&waiting, &over);
            scope.spawn(move || {
                let mut old: Vec<Waker> = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let mut taken: Vec<_> = {
                        let mut map = waiting.lock().expect("not poisoned");
                        let keys: Vec<u64> = map.keys().copied().filter(|key| key % 4 == number).collect();
                        keys.iter().map(|key| map.remove(key).expect("just seen")).collect()
                    };
                    for (waker, woken) in taken.drain(..) {
                        waker.wake_by_ref(); // too early: nothing has changed
                        woken.store(true, Ordering::Release);
                        waker.wake_by_ref();
                        old.push(waker);
                    }
                    old.iter().rev().take(50).for_each(Waker::wake_by_ref);
                }
            });
        }
        for call in calls {
            assert_eq!(block_on(call).expect("all rounds"), ROUNDS);
        }
        over.store(true, Ordering::Release);
    });
}

// ---- schedules ----

#[derive(Debug, Clone, Copy)]
enum Op {
    Start,
    /// Opens the gate that a fiber is at, or will be at.
    Open(usize, u64),
    Wake(usize),
    Cancel(usize),
    Poll(usize),
    Pause,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Start),
        6 => (any::<usize>(), 0..3_u64).prop_map(|(fiber, gate)| Op::Open(fiber, gate)),
        3 => any::<usize>().prop_map(Op::Wake),
        1 => any::<usize>().prop_map(Op::Cancel),
        2 => any::<usize>().prop_map(Op::Poll),
        1 => Just(Op::Pause),
    ]
}

struct Running {
    call: Option<Call<i64>>,
    opened: [bool; 3],
    result: Option<i64>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Fibers that each pass three gates, one of them in a nested call. Whatever the order of opening, waking and
    /// cancelling: those that are not cancelled get their sum, exactly when all their gates are open, and no future is left.
    #[test]
    fn any_schedule_agrees_with_the_model(ops in proptest::collection::vec(op(), 1..120)) {
        let stage = Stage::new();
        let engine = stage.engine();
        let mut fibers: Vec<Running> = Vec::new();
        let gate_of = |fiber: usize, gate: u64| fiber as u64 * 3 + gate + 1;
        for op in ops {
            match op {
                Op::Start => {
                    let text = chunk(script!(
 lua: "local g = ... return t.wait(g) + t.call(t.wait, g + 1) + t.wait(g + 2)",
 php: r"$g = $args[0]; return t\wait($g) + t\call(t\wait(...), $g + 1) + t\wait($g + 2);",
 ));
                    let call = engine.eval_with::<i64>(&text, gate_of(fibers.len(), 0));
                    let call = engine.spawn(call).expect("started");
                    fibers.push(Running { call: Some(call), opened: [false; 3], result: None });
                }
                Op::Open(pick, gate) if !fibers.is_empty() => {
                    let fiber = pick % fibers.len();
                    fibers[fiber].opened[gate as usize] = true;
                    stage.open(gate_of(fiber, gate), 1 << gate);
                }
                Op::Wake(pick) if !fibers.is_empty() => {
                    let fiber = pick % fibers.len();
                    (0..3).for_each(|gate| stage.wakers(gate_of(fiber, gate)).iter().for_each(Waker::wake_by_ref));
                }
                Op::Cancel(pick) if !fibers.is_empty() => {
                    let fiber = pick % fibers.len();
                    fibers[fiber].call = None;
                }
                Op::Poll(pick) if !fibers.is_empty() => {
                    let fiber = pick % fibers.len();
                    let running = &mut fibers[fiber];
                    if running.result.is_none() && let Some(call) = &mut running.call {
                        let mut task = Context::from_waker(Waker::noop());
                        if let Poll::Ready(result) = Pin::new(call).poll(&mut task) {
                            prop_assert_eq!(running.opened, [true; 3], "it was over before its gates were open");
                            running.result = Some(result.expect("a sum"));
                        }
                    }
                }
                Op::Pause => thread::sleep(Duration::from_micros(300)),
                _ => {}
            }
        }
        for (number, running) in fibers.iter_mut().enumerate() {
            for gate in 0..3 {
                stage.open(gate_of(number, gate), 1 << gate);
            }
            if let Some(call) = running.call.take() {
                let sum = match running.result {
                    Some(sum) => sum,
                    None => block_on(call).expect("a sum"),
                };
                prop_assert_eq!(sum, 7);
            }
        }
        until("all fibers are gone", || engine.metrics().fibers == 0);
        let (made, dropped) = stage.counts();
        prop_assert_eq!(made, dropped);
    }
}
