//! Code that does not come back: a C loop, a host function that blocks. After cancel, grace and kill the interpreter is given up:
//! others notice nothing, callers are told, what waits runs on the replacement, and the thread, should it come back, cleans up.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_executor::block_on;
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use sidestack::{Builder, Call, Cx, Engine, Error, Function, Limit, Lua, Metrics, Module, Native, Script};

/// A door that blocks the thread.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn pass(&self) {
        let (open, changed) = &*self.0;
        let open = open.lock().expect("not poisoned");
        drop(changed.wait_while(open, |open| !*open).expect("not poisoned"));
    }

    fn open(&self) {
        *self.0.0.lock().expect("not poisoned") = true;
        self.0.1.notify_all();
    }
}

/// Waits on a thread of its own: a call that is never answered fails its test and hangs nothing.
#[track_caller]
fn outcome<R: DeserializeOwned + Send + 'static>(call: Call<R>) -> Result<R, Error> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(block_on(call)));
    told.recv_timeout(Duration::from_secs(30)).expect("the call is answered")
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const GRACE: Duration = Duration::from_millis(50);
const GIVE_UP: Duration = Duration::from_millis(150);

/// An engine whose script has `hang()`, which returns when the door is opened, `nap(ms)` and `add(a, b)`.
struct Bed {
    engine: Engine,
    script: Script,
    /// Calls that are in `hang`.
    inside: Arc<AtomicI64>,
    door: Door,
}

impl Bed {
    fn lua(threads: usize, configure: impl FnOnce(Builder<Lua>) -> Builder<Lua>) -> Bed {
        let (door, inside) = (Door::default(), Arc::new(AtomicI64::new(0)));
        let (at, count) = (door.clone(), inside.clone());
        let app = Module::new("app")
            .function("hang", move || {
                count.fetch_add(1, Ordering::SeqCst);
                at.pass();
                count.fetch_sub(1, Ordering::SeqCst);
                Ok(1)
            })
            .function("nap", async |cx: Cx, milliseconds: u64| {
                cx.sleep(Duration::from_millis(milliseconds)).await;
                Ok(())
            });
        let builder = Engine::builder(Lua::new()).threads(threads).grace(GRACE).give_up_after(GIVE_UP).module(app);
        let engine = configure(builder).build().expect("an engine");
        let text = "local app = require 'app'
            return {
              hang = function() return app.hang() end,
              nap = function(ms) app.nap(ms) return ms end,
              add = function(a, b) return a + b end,
              give = function() return function(n) return n * 2 end end,
            }";
        let script = block_on(engine.load_text("app", text)).expect("a script");
        Bed { engine, script, inside, door }
    }

    /// Starts a call that hangs, and waits until it does.
    fn hang(&self, configure: impl FnOnce(Call<i64>) -> Call<i64>) -> Call<i64> {
        let before = self.inside.load(Ordering::SeqCst);
        let call = self.engine.spawn(configure(self.script.call("hang", ()))).expect("started");
        until("it hangs", || self.inside.load(Ordering::SeqCst) > before);
        call
    }

    fn add(&self, a: i64) -> Call<i64> {
        self.script.call("add", (a, 1))
    }

    #[track_caller]
    fn metrics(&self, what: &str, reached: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, || reached(&self.engine.metrics()));
        self.engine.metrics()
    }
}

fn is_deadline(outcome: &Result<i64, Error>) -> bool {
    matches!(outcome, Err(Error::Limit { which: Limit::Deadline, setting: "deadline", .. }))
}

fn is_lost(outcome: &Result<i64, Error>) -> bool {
    matches!(outcome, Err(error @ Error::InterpreterLost { started: true }) if !error.is_retryable())
}

#[test]
fn a_blocked_host_function_costs_its_interpreter_and_nobody_else() {
    let bed = Bed::lua(1, |builder| builder.fibers(3));
    let hung = bed.hang(|call| call.deadline(Duration::from_secs(1)));
    // Behind it: the interpreter does not look at these any more.
    let queued: Vec<_> = (0..20).map(|i| bed.engine.spawn(bed.add(i)).expect("queued")).collect();
    let late = bed.engine.spawn(bed.add(0).deadline(Duration::from_millis(20))).expect("queued");
    assert!(is_deadline(&outcome(late)), "a queued call's own deadline is answered");
    assert!(is_deadline(&outcome(hung)), "so is that of the call that hangs");
    for (i, call) in (0..).zip(queued) {
        assert_eq!(outcome(call).expect("it runs on the replacement"), i + 1);
    }
    let metrics = bed.engine.metrics();
    assert_eq!((metrics.quarantined, metrics.abandoned, metrics.reclaimed), (1, 1, 0));
    bed.door.open();
    let metrics = bed.metrics("the thread comes back", |metrics| metrics.reclaimed == 1);
    assert_eq!((metrics.quarantined, metrics.abandoned), (1, 0));
    assert_eq!(outcome(bed.add(41)).expect("the replacement goes on"), 42);
    assert_eq!(block_on(bed.engine.shutdown(Duration::from_secs(1))).stuck, 0);
}

#[test]
fn started_neighbours_are_lost_or_get_their_own_deadlines() {
    let bed = Bed::lua(1, |builder| builder);
    let nap = |ms: i64| bed.script.call::<i64>("nap", ms);
    let function: Function = outcome(bed.script.call("give", ())).expect("a function");
    let waiting: Vec<_> = (0..10).map(|_| bed.engine.spawn(nap(60_000)).expect("started")).collect();
    let begun = Instant::now();
    let limited = bed.engine.spawn(nap(60_000).deadline(Duration::from_secs(1))).expect("started");
    // All have begun: what starts later runs later.
    assert_eq!(outcome(bed.add(1)).expect("a call"), 2);
    let hung = bed.hang(|call| call);
    assert!(is_deadline(&outcome(limited)), "while the interpreter hangs");
    assert!(begun.elapsed() >= Duration::from_secs(1) && bed.engine.metrics().quarantined == 0);
    // Its caller goes: a cancel.
    drop(hung);
    for call in waiting {
        let got = outcome(call);
        assert!(is_lost(&got), "{got:?}");
    }
    assert_eq!(bed.engine.metrics().quarantined, 1);
    let gone = outcome(function.call::<i64>(4));
    assert!(matches!(gone, Err(Error::InterpreterLost { started: false })), "{gone:?}");
    assert_eq!(outcome(bed.add(1)).expect("the replacement"), 2);
    bed.door.open();
    bed.metrics("the thread comes back", |metrics| metrics.reclaimed == 1 && metrics.abandoned == 0);
}

#[test]
fn without_a_cancel_an_interpreter_may_take_its_time() {
    let bed = Bed::lua(1, |builder| builder);
    let call = bed.hang(|call| call);
    std::thread::sleep(4 * (GRACE + GIVE_UP));
    bed.door.open();
    assert_eq!(outcome(call).expect("its result"), 1);
    assert_eq!(bed.engine.metrics().quarantined, 0);
}

#[test]
fn new_calls_go_where_they_are_answered() {
    let bed = Bed::lua(2, |builder| builder);
    // Many wait on the other one, so that it is the busier.
    let hung = bed.hang(|call| call);
    // And it is known that it does not answer.
    until("it does not answer", || block_on(bed.engine.fibers()).iter().any(|fiber| fiber.held.is_some()));
    std::thread::sleep(Duration::from_millis(400));
    let naps: Vec<_> =
        (0..50).map(|_| bed.engine.spawn(bed.script.call::<i64>("nap", 1500)).expect("started")).collect();
    for i in 0..50 {
        assert_eq!(outcome(bed.add(i)).expect("the other interpreter answers"), i + 1);
    }
    for nap in naps {
        assert_eq!(outcome(nap).expect("it went to the other one"), 1500);
    }
    bed.door.open();
    assert_eq!(outcome(hung).expect("its result"), 1);
}

/// What a lost thread does when it comes back reaches the fibers of its successor, which has the same way in.
#[test]
fn a_wake_by_a_lost_thread_reaches_its_successor() {
    let (tell, told) = oneshot::channel::<i64>();
    let (tell, told) = (Mutex::new(Some(tell)), Mutex::new(Some(told)));
    let door = Door::default();
    let at = door.clone();
    let app = Module::new("app")
        .function("hang", move || {
            at.pass();
            let tell = tell.lock().expect("not poisoned").take().expect("called once");
            tell.send(7).expect("somebody waits");
            Ok(1)
        })
        .function("listen", async move || {
            let told = told.lock().expect("not poisoned").take().expect("called once");
            Ok(told.await?)
        });
    let builder = Engine::builder(Lua::new()).threads(1).grace(GRACE).give_up_after(GIVE_UP).module(app);
    let engine = builder.build().expect("an engine");
    let hung = engine.spawn(engine.eval::<i64>("return require 'app'.hang()").deadline(Duration::from_millis(500)));
    assert!(is_deadline(&outcome(hung.expect("started"))));
    until("it is given up", || engine.metrics().quarantined == 1);
    let listens = engine.spawn(engine.eval::<i64>("return require 'app'.listen()")).expect("started");
    std::thread::sleep(Duration::from_millis(50));
    door.open();
    assert_eq!(outcome(listens).expect("it is woken"), 7);
    until("the thread comes back", || engine.metrics().reclaimed == 1);
}

/// Threads that come back at any moment, before, while and after they are given up: each call has one answer.
#[test]
fn whoever_comes_back_just_then_is_either_lost_or_not() {
    let app = Module::new("app").function("block", |milliseconds: u64| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        Ok(milliseconds)
    });
    let builder = Engine::builder(Lua::new()).threads(2).grace(Duration::from_millis(1)).module(app);
    let engine = builder.give_up_after(Duration::from_millis(40)).abandoned(10_000).build().expect("an engine");
    let script = block_on(engine.load_text(
        "app",
        "return { block = function(ms) return require 'app'.block(ms) end, add = function(a, b) return a + b end }",
    ))
    .expect("a script");
    let (mut fine, mut late, mut lost) = (0, 0, 0);
    for round in 0..30 {
        // From well before the watchdog's decision to well after it.
        let blocks = (0..4).map(|i| {
            let ms = 100 + (round * 13 + i * 29) % 160;
            script.call::<u64>("block", ms).deadline(Duration::from_millis(60))
        });
        let adds = (0..20).map(|i| script.call::<i64>("add", (i, round)));
        let blocks: Vec<_> = blocks.map(|call| engine.spawn(call).expect("started")).collect();
        let adds: Vec<_> = adds.map(|call| engine.spawn(call).expect("started")).collect();
        for (i, call) in (0..).zip(adds) {
            match outcome(call) {
                Ok(sum) => assert_eq!(sum, i + i64::from(round)),
                Err(Error::InterpreterLost { started: true }) => lost += 1,
                other => panic!("{other:?}"),
            }
        }
        for call in blocks {
            match outcome(call) {
                Ok(_) => fine += 1,
                Err(Error::Limit { which: Limit::Deadline, .. }) => late += 1,
                Err(Error::InterpreterLost { .. }) => lost += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    until("all come back", || {
        let metrics = engine.metrics();
        metrics.abandoned == 0 && metrics.reclaimed == metrics.quarantined
    });
    let metrics = engine.metrics();
    println!("{fine} fine, {late} late, {lost} lost; {} given up", metrics.quarantined);
    assert!(metrics.quarantined > 0, "{metrics:?}");
    let calls = (0..200).map(|i| script.call::<i64>("add", (i, 1)));
    assert!(block_on(join_all(calls)).into_iter().all(|sum| sum.is_ok()));
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(1))).stuck, 0);
}

/// Scenario D4.
#[test]
fn shutdown_leaves_one_behind_that_does_not_come_back() {
    let bed = Bed::lua(2, |builder| builder.grace(Duration::from_millis(250)).give_up_after(Duration::from_secs(60)));
    let hung = bed.hang(|call| call);
    assert_eq!(outcome(bed.add(1)).expect("the other one works"), 2);
    let begun = Instant::now();
    let metrics = block_on(bed.engine.shutdown(Duration::from_secs(2)));
    let took = begun.elapsed();
    // Its patience, the grace, and half a second.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((metrics.stuck, metrics.quarantined, metrics.abandoned), (1, 1, 1));
    let got = outcome(hung);
    assert!(is_lost(&got), "{got:?}");
    bed.door.open();
    bed.metrics("the thread comes back", |metrics| metrics.reclaimed == 1 && metrics.abandoned == 0);
}

// ---- plain C, or what is as good: a loop that calls nothing of the host's ----

static SPIN: [AtomicBool; 3] = [const { AtomicBool::new(true) }; 3];

extern "C" fn spin(at: i64) -> i64 {
    let at = usize::try_from(at).expect("small");
    while SPIN[at].load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    7
}

extern "C" fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn native(threads: usize) -> (Engine, Script) {
    // SAFETY: they do what their signatures say.
    let guest = unsafe {
        Native::new()
            .entry("spin", spin as extern "C" fn(i64) -> i64)
            .entry("add", add as extern "C" fn(i64, i64) -> i64)
    };
    let engine = Engine::builder(guest).threads(threads).give_up_after(GIVE_UP).build().expect("an engine");
    let script = block_on(engine.load_text("c", "")).expect("a script");
    (engine, script)
}

#[test]
fn a_c_loop_is_left_behind() {
    let (engine, script) = native(1);
    let hung = engine.spawn(script.call::<i64>("spin", 0).deadline(Duration::from_millis(500))).expect("started");
    let queued: Vec<_> = (0..10).map(|i| engine.spawn(script.call::<i64>("add", (i, 1))).expect("queued")).collect();
    assert!(is_deadline(&outcome(hung)));
    let mut started = 0;
    for (i, call) in (0..).zip(queued) {
        match outcome(call) {
            Ok(sum) => assert_eq!(sum, i + 1),
            got => {
                assert!(is_lost(&got), "{got:?}");
                started += 1;
            }
        }
    }
    assert_eq!(started, 0, "none of them had begun");
    let metrics = engine.metrics();
    assert_eq!((metrics.quarantined, metrics.abandoned, metrics.reclaimed), (1, 1, 0));
    SPIN[0].store(false, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    // Plain C cannot be given back.
    let metrics = engine.metrics();
    assert_eq!((metrics.quarantined, metrics.abandoned, metrics.reclaimed), (1, 1, 0));
    assert_eq!(outcome(script.call::<i64>("add", (1, 2))).expect("the replacement"), 3);
    assert_eq!(block_on(engine.shutdown(Duration::from_secs(1))).stuck, 0);
}

/// Scenario D4.
#[test]
fn shutdown_leaves_a_c_loop_behind() {
    let (engine, script) = native(2);
    let hung = engine.spawn(script.call::<i64>("spin", 1)).expect("started");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(outcome(script.call::<i64>("add", (1, 2))).expect("the other one works"), 3);
    let begun = Instant::now();
    let metrics = block_on(engine.shutdown(Duration::from_secs(2)));
    let took = begun.elapsed();
    // Its patience, the grace, and half a second.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((metrics.stuck, metrics.quarantined, metrics.abandoned), (1, 1, 1));
    let got = outcome(hung);
    assert!(is_lost(&got), "{got:?}");
    SPIN[1].store(false, Ordering::Relaxed);
}

/// A call that is not cancelled may take as long as it likes; its caller's answer is its own.
#[test]
fn a_c_loop_without_a_deadline_is_waited_for() {
    let (engine, script) = native(1);
    let call = engine.spawn(script.call::<i64>("spin", 2)).expect("started");
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(engine.metrics().quarantined, 0);
    SPIN[2].store(false, Ordering::Relaxed);
    assert_eq!(outcome(call).expect("its result"), 7);
}
