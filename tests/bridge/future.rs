//! A call is a future (scenario C), and waits that another call ends (F2).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_executor::block_on;
use futures_util::task::{ArcWake, waker};
use sidestack::Module;

use crate::stage::{Stage, chunk, until};

struct Counting(AtomicUsize);

impl ArcWake for Counting {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn it_is_pending_at_the_first_suspension_and_resolved_once() {
    let stage = Stage::new();
    let engine = stage.engine();
    let wakes = Arc::new(Counting(AtomicUsize::new(0)));
    let waker = waker(wakes.clone());
    let mut task = Context::from_waker(&waker);
    let mut call = engine.eval::<i64>(&chunk(script!(
    lua: "return t.wait(1) + t.wait(2)",
    php: r"return t\wait(1) + t\wait(2);",
    )));
    assert!(Pin::new(&mut call).poll(&mut task).is_pending());
    stage.arrived(1, 1);
    assert!(Pin::new(&mut call).poll(&mut task).is_pending());
    stage.open(1, 30);
    stage.arrived(2, 1);
    assert!(Pin::new(&mut call).poll(&mut task).is_pending());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0, "nothing to tell before the end");
    stage.open(2, 12);
    until("the wake", || wakes.0.load(Ordering::SeqCst) > 0);
    let Poll::Ready(result) = Pin::new(&mut call).poll(&mut task) else { panic!("woken and not ready") };
    assert_eq!(result.expect("a sum"), 42);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
}

#[test]
fn it_is_ready_without_a_host_future_where_nothing_suspends() {
    let stage = Stage::new();
    let engine = stage.engine();
    // The fiber of a call that never waits ends in its first turn, although another one waits all the while.
    let waiting = engine
        .spawn(engine.eval::<i64>(&chunk(script!(
        lua: "return t.wait(1)",
        php: r"return t\wait(1);",
        ))))
        .expect("started");
    stage.arrived(1, 1);
    // Gates that are open are host futures that are ready at once.
    stage.open(2, 1);
    let sum = block_on(engine.eval::<i64>(&chunk(script!(
    lua: "local s = 0 for i = 1, 1000 do s = s + t.wait(2) end return s",
    php: r"$s = 0; for ($i = 0; $i < 1000; $i++) $s += t\wait(2); return $s;",
    ))));
    assert_eq!(sum.expect("a sum"), 1000);
    stage.open(1, 3);
    assert_eq!(block_on(waiting).expect("a value"), 3);
}

#[test]
fn one_function_twice_the_first_resumed_last() {
    let stage = Stage::new();
    let engine = stage.engine();
    let script = block_on(engine.load_text(
        "two",
        chunk(script!(
            lua: "local function deep(n, gate)
                    local a, b, c = n, n * 2, 'x' .. n
                    if n == 0 then return t.wait(gate) end
                    local v = deep(n - 1, gate)
                    assert(a == n and b == n * 2 and c == 'x' .. n)
                    return v + 1
                 end
                 return { run = function(gate) return deep(50, gate) end }",
            php: r"function deep($n, $gate) {
                    [$a, $b, $c] = [$n, $n * 2, 'x' . $n];
                    if ($n == 0) return t\wait($gate);
                    $v = array_map(fn ($n) => deep($n, $gate), [$n - 1])[0];
                    if ([$a, $b, $c] !== [$n, $n * 2, 'x' . $n]) throw new Exception('another value');
                    return $v + 1;
                 }
                 return ['run' => fn ($gate) => deep(50, $gate)];",
        )),
    ))
    .expect("a script");
    let first = engine.spawn(script.call::<i64>("run", 1)).expect("started");
    stage.arrived(1, 1);
    let second = engine.spawn(script.call::<i64>("run", 2)).expect("started");
    stage.arrived(2, 1);
    stage.open(2, 200);
    assert_eq!(block_on(second).expect("the second"), 250);
    stage.open(1, 100);
    assert_eq!(block_on(first).expect("the first"), 150);
}

#[test]
fn a_channel_that_only_a_later_call_fills() {
    let stage = Stage::new();
    let engine = stage.engine();
    let script = block_on(engine.load_text(
        "channel",
        chunk(script!(
            lua: "local ch = ss.channel(1)
                 return { take = function() t.note('taking') return ch:recv() end, put = function(v) ch:send(v) end }",
            // A channel of a script's would be another one in each request: gates are the host's.
            php: r"return ['take' => function () { t\note('taking'); return t\wait(1); }, 'put' => fn ($v) => t\pass(1, $v)];",
        )),
    ))
    .expect("a script");
    let taker = engine.spawn(script.call::<i64>("take", ())).expect("started");
    stage.logged(1);
    block_on(script.call::<()>("put", 42)).expect("put");
    assert_eq!(block_on(taker).expect("taken"), 42);
}

#[test]
fn a_fiber_that_always_yields_does_not_keep_others_from_running() {
    let yields = Arc::new(AtomicUsize::new(0));
    let counted = yields.clone();
    let module = Module::new("u").function("yield", async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let mut yielded = false;
        std::future::poll_fn(move |task| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            task.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Ok(())
    });
    let seen = yields.clone();
    let module = module.function("yields", move || Ok(seen.load(Ordering::SeqCst)));
    let stage = Stage::new();
    let engine = stage.builder().module(module).build().expect("an engine");
    let spinning = engine.eval::<()>(script!(
    lua: "local yield = require('u').yield while true do yield() end",
    php: r"while (true) u\yield();",
    ));
    let spinning = engine.spawn(spinning).expect("started");
    until("it spins", || yields.load(Ordering::SeqCst) > 1000);
    // A call's first turn is from the ready queue. Both ends of the measure are taken on the interpreter thread.
    let text = chunk(script!(
        lua: "local u = require 'u'
             local before = u.yields()
             local task = ss.spawn(u.yields)
             return task:join() - before",
        php: r"$before = u\yields();
             $task = Sidestack\spawn(u\yields(...));
             return $task->join() - $before;",
    ));
    for _ in 0..20 {
        let between = block_on(engine.eval::<usize>(&text)).expect("a count");
        assert!(between < 1000, "{between} turns of the spinning fiber before the first one of another");
    }
    drop(spinning);
    until("the spinning one is gone", || engine.metrics().fibers == 0);
}
