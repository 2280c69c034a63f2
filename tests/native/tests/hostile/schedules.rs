//! Random schedules of fibers that wait, are signalled, cancelled and fault, against a model: what each call's outcome may be,
//! and that nothing is left.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_executor::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sidestack::{Call, Cx, Engine, Error, Function, HostObject, Members, Module, Object, Script};
use sidestack_test_native::schedule::{self, NUMBERS, Operation};

use super::child::{long, passes, say, uncontained, until};

/// One step of a schedule.
#[derive(Debug, Clone)]
enum Step {
    /// A call of these operations.
    Start(Vec<Operation>),
    /// The caller of the nth call that it still waits for gives up.
    Cancel(usize),
    /// The gate of the nth call opens.
    Open(usize),
    /// Milliseconds.
    Pause(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{Callback, Gate, HostRaise, Nap, Object, OwnStack, Raise, Ready, Turn};
    let mut all = vec![Ready, Gate, Nap, Turn, Object, Callback, OwnStack];
    if signals() {
        all.extend([Raise, HostRaise, HostRaise]);
    }
    prop::sample::select(all)
}

/// Whether signals come as the model has it: AddressSanitizer has handlers of its own, and valgrind delivers late.
fn signals() -> bool {
    uncontained().is_none()
}

/// The last operation: most calls end well.
fn end(faults: bool) -> impl Strategy<Value = Option<Operation>> {
    use Operation::{Abort, Divide, Fail, NullWrite, Recurse};
    let bad = if faults { vec![NullWrite, Recurse, Abort, Divide] } else { vec![Fail] };
    prop_oneof![12 => Just(None), 2 => Just(Some(Fail)), 1 => prop::sample::select(bad).prop_map(Some)]
}

fn steps(faults: bool) -> impl Strategy<Value = Vec<Step>> {
    let start = (vec(operation(), 0..6), end(faults)).prop_map(|(mut operations, end)| {
        operations.extend(end);
        Step::Start(operations)
    });
    let step = prop_oneof![
        6 => start,
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Open),
        1 => (0..3_u64).prop_map(Step::Pause),
    ];
    vec(step, 1..60)
}

/// What the host functions share.
#[derive(Default)]
struct Host {
    /// Futures and objects that are alive.
    live: AtomicI64,
    gates: Mutex<HashMap<usize, (bool, Vec<Waker>)>>,
    /// Ids of interpreter threads.
    threads: Mutex<Vec<i32>>,
}

impl Host {
    fn open(&self, number: usize) {
        let wakers = {
            let mut gates = self.gates.lock().expect("not poisoned");
            let gate = gates.entry(number).or_default();
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Interpreter threads make themselves known.
    fn here(&self) {
        // SAFETY: it has no precondition.
        let here = unsafe { libc::gettid() };
        let mut threads = self.threads.lock().expect("not poisoned");
        if !threads.contains(&here) {
            threads.push(here);
        }
    }
}

struct Live(Arc<Host>);

impl Live {
    fn new(host: &Arc<Host>) -> Live {
        host.live.fetch_add(1, Ordering::AcqRel);
        Live(host.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Thing(#[expect(dead_code, reason = "counts until it is dropped")] Live);

impl HostObject for Thing {
    const NAME: &'static str = "Thing";
    fn members(_: &mut Members<Self>) {}
}

fn module(host: &Arc<Host>) -> Module {
    let (ready, gates, signals, objects, applies) =
        (host.clone(), host.clone(), host.clone(), host.clone(), host.clone());
    Module::new("s")
        .object::<Thing>()
        .function("ready", move |number: i64| {
            ready.here();
            Ok(number)
        })
        .function("gate", async move |number: usize| {
            let _live = Live::new(&gates);
            poll_fn(|task| {
                let mut all = gates.gates.lock().expect("not poisoned");
                let (open, wakers) = all.entry(number).or_default();
                if *open {
                    return Poll::Ready(Ok(()));
                }
                wakers.push(task.waker().clone());
                Poll::Pending
            })
            .await
        })
        // While the fiber is current, and while none is.
        .function("signals", async move |cx: Cx, number: usize| {
            let _live = Live::new(&signals);
            schedule::send(Some(number), 2);
            cx.sleep(Duration::from_millis(1)).await;
            schedule::send(None, 3);
            Ok(())
        })
        .function("object", move || Ok(Object::new(Thing(Live::new(&objects)))))
        .function("apply", async move |mut cx: Cx, f: Function, times: i64| {
            let _live = Live::new(&applies);
            for _ in 0..times {
                cx.call::<i64>(&f, ()).await?;
            }
            Ok(times)
        })
}

/// What became of the calls, over all cases.
#[derive(Debug, Default)]
struct Tally {
    cases: AtomicUsize,
    fine: AtomicUsize,
    failed: AtomicUsize,
    crashed: AtomicUsize,
    lost: AtomicUsize,
    given_up: AtomicUsize,
    signals: AtomicUsize,
}

struct Started {
    number: usize,
    operations: Vec<Operation>,
    /// None: the caller gave up.
    call: Option<Call<usize>>,
}

/// Signals of nobody's to all interpreter threads, for as long as a schedule runs.
fn storm(host: Arc<Host>, on: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut sent = 0;
        while on.load(Ordering::Acquire) {
            let threads = host.threads.lock().expect("not poisoned").clone();
            for thread in threads {
                // A thread that is gone went with its interpreter.
                if schedule::storm(thread) {
                    sent += 1;
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        sent
    })
}

fn play(steps: &[Step], faults: bool, tally: &Tally) -> Result<(), TestCaseError> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let host = Arc::<Host>::default();
    let builder = Engine::builder(schedule::native()).threads(2).stack(64 << 10).module(module(&host));
    let builder = builder.grace(Duration::from_millis(20)).tick(Duration::from_millis(1)).abandoned(1 << 40);
    let engine = builder.build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    let on = Arc::new(AtomicBool::new(true));
    let storm = signals().then(|| storm(host.clone(), on.clone()));
    let mut started: Vec<Started> = Vec::new();
    for step in steps {
        match step {
            Step::Start(operations) => {
                let number = NEXT.fetch_add(1, Ordering::Relaxed) % NUMBERS;
                let call = start(&engine, &script, number, operations);
                started.push(Started { number, operations: operations.clone(), call: Some(call) });
            }
            Step::Cancel(at) => {
                let waiting: Vec<_> = started.iter().enumerate().filter(|(_, one)| one.call.is_some()).collect();
                if !waiting.is_empty() {
                    let at = waiting[at % waiting.len()].0;
                    started[at].call = None;
                }
            }
            Step::Open(at) if !started.is_empty() => host.open(started[at % started.len()].number),
            Step::Open(_) => {}
            Step::Pause(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
        }
    }
    started.iter().for_each(|one| host.open(one.number));
    let any_fault = started.iter().any(|one| one.operations.last().is_some_and(|last| last.faults()));
    for one in &mut started {
        let Some(call) = one.call.take() else {
            tally.given_up.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        judge(one, block_on(call), any_fault, tally)?;
    }
    until("all fibers are gone", || engine.metrics().fibers == 0 && engine.metrics().queued == 0);
    on.store(false, Ordering::Release);
    if let Some(storm) = storm {
        storm.join().expect("the storm");
    }
    let metrics = engine.metrics();
    prop_assert_eq!(metrics.crashed > 0, metrics.quarantined > 0);
    prop_assert!(any_fault || metrics.quarantined == 0, "{metrics:?}");
    prop_assert!(faults || metrics.stacks == 0, "{metrics:?}");
    let last = block_on(engine.shutdown(Duration::from_secs(10)));
    prop_assert_eq!((last.stuck, last.fibers, last.queued, last.leaked_objects), (0, 0, 0, 0));
    // What an interpreter held that was lost may be lost with it.
    let live = host.live.load(Ordering::Acquire);
    prop_assert!(live == 0 || metrics.quarantined > 0, "{live} host futures and objects are left");
    for one in &started {
        let (sent, arrived) = schedule::signals(one.number);
        tally.signals.fetch_add(arrived as usize, Ordering::Relaxed);
        // Dropped only with their fiber, and a fiber only with its interpreter.
        prop_assert!(arrived == sent || (metrics.quarantined > 0 && arrived < sent), "{arrived} of {sent} signals");
    }
    prop_assert_eq!(schedule::misdelivered(), (0, 0), "handlers in host code, handlers of other fibers");
    tally.cases.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn start(engine: &Engine, script: &Script, number: usize, operations: &[Operation]) -> Call<usize> {
    let operations: Vec<i64> = operations.iter().map(|operation| *operation as i64).collect();
    engine.spawn(script.call("run", (number, operations))).expect("started")
}

/// Whether a call may have ended so.
fn judge(one: &Started, outcome: Result<usize, Error>, any_fault: bool, tally: &Tally) -> Result<(), TestCaseError> {
    let last = one.operations.last().copied();
    let count = match &outcome {
        Ok(number) if *number == one.number && last.is_none_or(|last| !last.faults() && last != Operation::Fail) => {
            &tally.fine
        }
        Err(error @ Error::Script { .. }) if last == Some(Operation::Fail) && error.code() == Some("as_asked") => {
            &tally.failed
        }
        Err(Error::Crashed { fault, fiber, .. }) if last.is_some_and(Operation::faults) => {
            let named = match last {
                Some(Operation::NullWrite) => "SIGSEGV at address 0x0",
                Some(Operation::Recurse) => "stack overflow",
                Some(Operation::Abort) => "abort()",
                _ => "SIGFPE",
            };
            prop_assert!(fault.contains(named) && *fiber > 0, "{fault} instead of {named}");
            &tally.crashed
        }
        // A neighbour faulted.
        Err(Error::InterpreterLost { started: true }) if any_fault => &tally.lost,
        other => return Err(TestCaseError::fail(format!("{:?} gave {other:?}", one.operations))),
    };
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn run(faults: bool, cases: u32) {
    let tally = Tally::default();
    let mut config = Config { failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    // Valgrind can bear fewer, and says so.
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases * long();
    }
    let outcome = TestRunner::new(config).run(&steps(faults), |steps| play(&steps, faults, &tally));
    say(&format!("{tally:?}"));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let all = [&tally.fine, &tally.failed, &tally.given_up];
    assert!(all.iter().all(|count| count.load(Ordering::Relaxed) > 0), "too tame: {tally:?}");
    assert!(!signals() || tally.signals.load(Ordering::Relaxed) > 0, "too tame: {tally:?}");
    if faults {
        let all = [&tally.crashed, &tally.lost];
        assert!(all.iter().all(|count| count.load(Ordering::Relaxed) > 0), "too tame: {tally:?}");
    }
}

#[test]
fn waits_signals_and_cancels_at_random() {
    passes("schedules::waits_signals_and_cancels_at_random", || run(false, 300));
}

#[test]
fn waits_signals_cancels_and_faults_at_random() {
    if let Some(why) = uncontained() {
        return println!("SKIPPED: {why}");
    }
    passes("schedules::waits_signals_cancels_and_faults_at_random", || run(true, 300));
}
