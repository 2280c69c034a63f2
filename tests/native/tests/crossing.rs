//! Stacks never mix: plain C functions on fibers, with C's own ways of leaving and switching stacks.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::error::refused;
use sidestack::{Cx, Engine, Error, Function, HostObject, Members, Module, Object, Script};
use sidestack_test_native::guests::{Guests, Numbers, call_back, call_back_with_function};

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Gates that host functions wait at, a log, and live futures counted.
#[derive(Clone, Default)]
struct Stage(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    open: HashMap<i64, i64>,
    wakers: HashMap<i64, Vec<Waker>>,
    log: Vec<String>,
    live: i64,
}

struct Live(Stage);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.0.lock().expect("not poisoned").live -= 1;
    }
}

impl Stage {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("not poisoned")
    }

    fn note(&self, line: impl Into<String>) {
        self.lock().log.push(line.into());
    }

    fn live(&self) -> Live {
        self.lock().live += 1;
        Live(self.clone())
    }

    async fn pass(&self, gate: i64) -> i64 {
        let _live = self.live();
        poll_fn(|task| {
            let mut inner = self.lock();
            match inner.open.get(&gate) {
                Some(value) => Poll::Ready(*value),
                None => {
                    inner.wakers.entry(gate).or_default().push(task.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn open(&self, gate: i64, value: i64) {
        let wakers = {
            let mut inner = self.lock();
            inner.open.insert(gate, value);
            inner.wakers.remove(&gate)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn arrived(&self, gate: i64) {
        until("a future at a gate", || self.lock().wakers.contains_key(&gate));
    }
}

struct Counter;

impl HostObject for Counter {
    const NAME: &'static str = "Counter";
    fn members(_: &mut Members<Self>) {}
}

struct Stranger;

impl HostObject for Stranger {
    const NAME: &'static str = "Stranger";
    fn members(_: &mut Members<Self>) {}
}

struct Bed {
    stage: Stage,
    numbers: Numbers,
    engine: Engine,
    script: Script,
}

fn bed() -> Bed {
    let stage = Stage::default();
    let (guests, numbers) = Guests::new();
    let own: Arc<OnceLock<Numbers>> = Arc::default();
    own.set(numbers.clone()).expect("once");
    let number = move |name: &str| own.get().expect("set").of(name);
    let (n1, n2, n3, n4, n5, n6) =
        (number.clone(), number.clone(), number.clone(), number.clone(), number.clone(), number);
    let (waits, notes, calls, late) = (stage.clone(), stage.clone(), stage.clone(), stage.clone());
    let module = Module::new("t")
        .object::<Counter>()
        .object::<Stranger>()
        .function("wait", async move |gate: i64| Ok(waits.pass(gate).await))
        .function("counter", || Ok(Object::<Counter>::new(Counter)))
        .function("ready", async |n: i64| Ok(n + 1))
        .function("note", move |n: i64| {
            notes.note(format!("note {n}"));
            Ok(())
        })
        // Calls the guest function, then waits a little.
        .function("call", async move |mut cx: Cx, f: Function| {
            let _live = calls.live();
            calls.note("begin");
            let value = cx.call::<i64>(&f, ()).await?;
            cx.sleep(Duration::from_millis(2)).await;
            calls.note(format!("end {value}"));
            Ok(value + 1)
        })
        // Host → C → host, so many levels.
        .function("down", move |n: i64| match n {
            0 => Ok(0),
            n => call_back(n1("t.down"), n - 1).map(|below| below + 1).map_err(|code| anyhow::anyhow!("{code} below")),
        })
        .function("down_to_panic", move |n: i64| match n {
            0 => panic!("at the bottom"),
            n => call_back(n2("t.down_to_panic"), n - 1).map_err(|code| anyhow::anyhow!("{code} below")),
        })
        .function("on_thread", move |_: i64| {
            assert_eq!(call_back(n3("t.ready"), 41), Ok(42), "ready at once");
            assert_eq!(call_back(n3("t.wait"), 1), Err(refused::ON_THREAD.into()), "a wait");
            assert_eq!(call_back_with_function(n3("t.call")), Err(refused::ON_THREAD.into()), "a guest call");
            Ok(call_back(n3("t.down"), 5).expect("usable afterwards"))
        })
        // The same in a later poll.
        .function("on_thread_later", async move |cx: Cx, _: i64| {
            cx.sleep(Duration::from_millis(1)).await;
            let _ = late.live();
            assert_eq!(call_back(n4("t.ready"), 41), Ok(42), "ready at once");
            assert_eq!(call_back(n4("t.wait"), 1), Err(refused::ON_THREAD.into()), "a wait");
            assert_eq!(call_back_with_function(n4("t.call")), Err(refused::ON_THREAD.into()), "a guest call");
            Ok(call_back(n4("t.down"), 5).expect("usable afterwards"))
        })
        // Slow only after its inner host call has ended.
        .function("slow_after", move |_: i64| {
            call_back(n5("t.ready"), 1).expect("ready at once");
            std::thread::sleep(Duration::from_millis(1500));
            Ok(())
        })
        .function("touch", move |_: Object<Counter>| {
            let _ = &n6;
            Ok(7)
        });
    let engine = Engine::builder(guests).threads(1).stack(128 << 10).module(module).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    Bed { stage, numbers, engine, script }
}

impl Bed {
    fn call(&self, function: &str, argument: i64) -> Result<i64, Error> {
        block_on(self.script.call("call", (self.numbers.of(function), argument)))
    }
}

#[test]
fn host_code_that_calls_c_that_calls_the_host() {
    let bed = bed();
    assert_eq!(bed.call("t.down", 1).expect("one level"), 1);
    assert_eq!(bed.call("t.down", 200).expect("200 levels"), 200);
    assert_eq!(bed.call("t.on_thread", 0).expect("as it says"), 5);
    assert_eq!(bed.call("t.on_thread_later", 0).expect("as it says, in a later poll too"), 5);
    let error = bed.call("t.down_to_panic", 200).expect_err("a panic at the bottom");
    assert!(error.to_string().contains("below"), "{error}");
    let error = bed.call("t.down_to_panic", 0).expect_err("a panic");
    assert!(error.to_string().contains("at the bottom"), "{error}");
    bed.stage.open(1, 3);
    assert_eq!(bed.call("t.wait", 1).expect("usable afterwards"), 3);
    assert_eq!(bed.stage.lock().live, 0);
}

#[test]
fn the_watchdog_still_names_the_outer_function_after_an_inner_one() {
    let bed = bed();
    bed.call("t.slow_after", 0).expect("slow");
    assert_eq!(bed.engine.metrics().last_slow_host_call.as_deref(), Some("t.slow_after"));
}

#[test]
fn a_call_with_no_fiber_is_an_error() {
    assert_eq!(call_back(0, 1), Err("no_fiber".into()));
}

#[test]
fn many_in_flight_complete_in_any_order_on_intact_stacks() {
    let bed = bed();
    let wait = bed.numbers.of("t.wait");
    let orders: [fn(i64) -> i64; 3] = [|i| 99 - i, |i| i * 37 % 100, |i| i];
    for (round, order) in orders.into_iter().enumerate() {
        let gate = |i: i64| round as i64 * 1000 + i;
        let calls: Vec<_> = (0..100)
            .map(|i| bed.engine.spawn(bed.script.call::<i64>("pattern", (wait, gate(i)))).expect("started"))
            .collect();
        (0..100).for_each(|i| bed.stage.arrived(gate(i)));
        (0..100).map(order).for_each(|i| bed.stage.open(gate(i), i * 3));
        for (i, call) in calls.into_iter().enumerate() {
            assert_eq!(block_on(call).expect("a value and an intact stack"), i as i64 * 3);
        }
    }
}

#[test]
fn host_calls_may_wait_on_stacks_that_c_made() {
    let bed = bed();
    let wait = bed.numbers.of("t.wait");
    let calls: Vec<_> = (0..20)
        .map(|i| bed.engine.spawn(bed.script.call::<i64>("small_stack", (wait, i * 10))).expect("started"))
        .collect();
    for step in 0..3 {
        for i in (0..20).rev() {
            bed.stage.arrived(i * 10 + step);
            bed.stage.open(i * 10 + step, i + step);
        }
    }
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(block_on(call).expect("a sum"), 3 * i as i64 + 3);
    }
}

#[test]
fn the_first_host_call_entered_may_be_the_first_to_leave() {
    let bed = bed();
    let call = bed.numbers.of("t.call");
    let calls: Vec<_> =
        (0..10).map(|_| bed.engine.spawn(bed.script.call::<i64>("interleave", call)).expect("started")).collect();
    for call in calls {
        assert_eq!(block_on(call).expect("both"), 11_021);
    }
    assert_eq!(bed.stage.lock().live, 0);
    bed.stage.lock().log.clear();
    assert_eq!(block_on(bed.script.call::<i64>("interleave", call)).expect("both"), 11_021);
    assert_eq!(bed.stage.lock().log, ["begin", "begin", "end 10", "end 20"]);
}

#[test]
fn a_jump_past_a_host_call_ends_it() {
    let bed = bed();
    let args = (bed.numbers.of("t.call"), bed.numbers.of("t.wait"), 5);
    let call = bed.engine.spawn(bed.script.call::<i64>("jump", args)).expect("started");
    bed.stage.arrived(5);
    assert_eq!(bed.stage.lock().live, 1, "the future that was jumped past is dropped, the other one waits");
    bed.stage.open(5, 6);
    assert_eq!(block_on(call).expect("the later wait"), 6);
    assert_eq!(bed.stage.lock().live, 0);
}

#[test]
fn each_bad_handle_has_its_own_error() {
    let bed = bed();
    let touch = bed.numbers.of("t.touch");
    let how = |how: i64| {
        let object = Object::<Counter>::new(Counter);
        block_on(bed.script.call::<i64>("handle", (touch, object, how)))
    };
    assert_eq!(how(0).expect("as it is"), 7);
    let told = |result: Result<i64, Error>| result.expect_err("a bad handle").to_string();
    for (number, text) in [
        (1, "forged handle"),
        (2, "forged handle"),
        (3, "handle of another owner"),
        (4, "stale handle"),
        (5, "stale handle"),
    ] {
        let message = told(how(number));
        assert!(message.contains(text), "{number}: {message}");
    }
    let wrong = Object::<Stranger>::new(Stranger);
    let message = told(block_on(bed.script.call::<i64>("handle", (touch, wrong, 0))));
    assert!(message.contains("wrong type of host object: expected Counter"), "{message}");
    assert_eq!(how(0).expect("usable afterwards"), 7);
}

/// C says what it keeps; all else is released for it.
#[test]
fn an_object_is_released_unless_c_claims_it() {
    let bed = bed();
    let (touch, counter) = (bed.numbers.of("t.touch"), bed.numbers.of("t.counter"));
    for claim in [0, 1, 0] {
        for result in [false, true] {
            match result {
                false => block_on(bed.script.call::<i64>("keep", (Object::<Counter>::new(Counter), claim))),
                true => block_on(bed.script.call::<i64>("keep_result", (counter, claim))),
            }
            .expect("kept");
            let used = block_on(bed.script.call::<i64>("use_kept", touch));
            match claim {
                0 => assert!(used.expect_err("released").to_string().contains("stale handle")),
                _ => assert_eq!(used.expect("claimed"), 7),
            }
        }
    }
    assert_eq!(block_on(bed.engine.shutdown(Duration::from_secs(1))).leaked_objects, 0);
}

#[test]
fn a_cancelled_c_function_is_told_at_each_wait_and_may_use_the_rest() {
    let bed = bed();
    let args = (bed.numbers.of("t.wait"), bed.numbers.of("t.note"));
    let call = bed.engine.spawn(bed.script.call::<i64>("stubborn", args)).expect("started");
    bed.stage.arrived(1);
    drop(call);
    until("it is gone", || bed.engine.metrics().fibers == 0);
    assert_eq!(bed.stage.lock().log, ["note 1", "note 2", "note 3"]);
    assert_eq!(bed.stage.lock().live, 0);
}

/// While the first host call waits and the second one is in the guest.
#[test]
fn a_cancel_ends_interleaved_calls() {
    let bed = bed();
    let call = bed.engine.spawn(bed.script.call::<i64>("interleave", bed.numbers.of("t.call")));
    let call = call.expect("started");
    until("both have begun", || bed.stage.lock().log.len() >= 2);
    drop(call);
    until("it is gone", || bed.engine.metrics().fibers == 0);
    assert_eq!(bed.stage.lock().live, 0);
    bed.stage.open(1, 1);
    assert_eq!(bed.call("t.wait", 1).expect("usable afterwards"), 1);
}
