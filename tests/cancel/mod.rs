//! The cancel matrix, for any guest: whatever ends a call, and whatever its fiber is at, one mechanism does the same.
//!
//! A guest's test gives the [`States`] that it can bring a fiber into; the harness ends the call in each of them by each [`Cause`], and
//! shows: the host future is dropped at once; the guest's clean-up runs, may call host functions that are ready, and cannot
//! wait; the caller gets the cause's error; what will not go is killed; and what cannot be killed costs its interpreter, which is
//! replaced. The host's part is [`module`]; what each state has to do is told at [`State`].
#![allow(dead_code, reason = "each guest's test uses its part")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Call, Cx, Engine, Error, Function, Limit, Module, Script};

/// What a fiber is at when its call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has none yet: all are taken by calls of `waiting`.
    Queued,
    /// It gives way again and again: calls `m.at()`, then yields until that fails, then cleans up.
    Ready,
    /// It runs, and looks up: calls `m.at()`, loops, then cleans up.
    Running,
    /// In a host function: `m.hold()`, then it cleans up.
    Waiting,
    /// In a host function in a guest function in a host function: `m.each(f)`, where f is as `Waiting`; both clean up.
    Nested,
    /// In a finalizer, which calls `m.at()`, loops, and does not clean up.
    Finalizer,
    /// As `Running`, but it catches every error and goes on.
    Stubborn,
    /// In code that does not come back: `m.block()`.
    Hung,
}

impl State {
    /// The name of its export.
    fn export(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Running => "running",
            State::Queued | State::Waiting => "waiting",
            State::Nested => "nested",
            State::Finalizer => "finalizer",
            State::Stubborn => "stubborn",
            State::Hung => "hung",
        }
    }
}

/// Clean-up is: `m.clean()`, then `m.nap()`, and `m.refused()` if that failed.
const ALL: [State; 8] = [
    State::Queued,
    State::Ready,
    State::Running,
    State::Waiting,
    State::Nested,
    State::Finalizer,
    State::Stubborn,
    State::Hung,
];

/// Why a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its caller drops it.
    Dropped,
    /// Its deadline passes.
    Deadline,
    /// The engine shuts down.
    Shutdown,
}

/// A guest's test.
pub trait Guest {
    /// Code that does not go can be killed.
    const KILLS: bool;
    /// The states that there are not: why.
    const INAPPLICABLE: &'static [(State, &'static str)];
    /// An engine of one interpreter, whose script has an export for each state.
    fn engine(settings: Settings) -> Engine;
    /// The text of its script.
    fn text() -> &'static str;
}

/// What an engine of the matrix is built with.
pub struct Settings {
    /// The host's part.
    pub module: Module,
    /// Fibers alive at once.
    pub fibers: usize,
}

/// Builds an engine of the matrix for a guest: a macro, since the trait of guests is not public.
macro_rules! matrix_engine {
    ($guest:expr, $settings:expr) => {
        sidestack::Engine::builder($guest)
            .threads(1)
            .grace(matrix::GRACE)
            .give_up_after(std::time::Duration::from_secs(1))
            .module($settings.module)
            .fibers($settings.fibers)
            .build()
            .expect("an engine")
    };
}
pub(crate) use matrix_engine;

/// What happened.
#[derive(Default)]
struct Seen {
    at: AtomicI64,
    held: AtomicI64,
    dropped: AtomicI64,
    cleaned: AtomicI64,
    refused: AtomicI64,
    /// Clean-ups that had begun when the last future was dropped.
    cleaned_before: AtomicI64,
    open: (Mutex<bool>, Condvar),
}

impl Seen {
    fn get(&self) -> [i64; 5] {
        [&self.at, &self.held, &self.dropped, &self.cleaned, &self.refused].map(|count| count.load(Ordering::SeqCst))
    }
}

struct Held(Arc<Seen>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.cleaned_before.store(self.0.cleaned.load(Ordering::SeqCst), Ordering::SeqCst);
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn module(seen: &Arc<Seen>) -> Module {
    let count = |which: fn(&Seen) -> &AtomicI64| {
        let seen = seen.clone();
        move || {
            which(&seen).fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    };
    let (hold, block) = (seen.clone(), seen.clone());
    Module::new("m")
        .function("at", count(|seen| &seen.at))
        .function("clean", count(|seen| &seen.cleaned))
        .function("refused", count(|seen| &seen.refused))
        .function("hold", async move || {
            let _held = Held(hold.clone());
            hold.held.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
            Ok(())
        })
        .function("nap", async |cx: Cx| {
            cx.sleep(Duration::from_millis(1)).await;
            Ok(())
        })
        .function("each", async |mut cx: Cx, f: Function| {
            cx.call::<()>(&f, ()).await?;
            Ok(())
        })
        .function("block", move || {
            block.at.fetch_add(1, Ordering::SeqCst);
            let open = block.open.0.lock().expect("not poisoned");
            drop(block.open.1.wait_while(open, |open| !*open).expect("not poisoned"));
            Ok(())
        })
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn outcome(call: Call<()>, what: &str) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(block_on(call)));
    told.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("{what}: the call is answered"))
}

/// From a cancel to the kill.
pub const GRACE: Duration = Duration::from_millis(800);
/// Long enough that a call comes to the state that it is to end in.
const DEADLINE: Duration = Duration::from_millis(800);

/// Runs the matrix.
pub fn run<G: Guest>() {
    for state in ALL {
        if let Some((_, why)) = G::INAPPLICABLE.iter().find(|(inapplicable, _)| *inapplicable == state) {
            println!("{state:?}: inapplicable, {why}");
            continue;
        }
        for cause in [Cause::Dropped, Cause::Deadline, Cause::Shutdown] {
            cell::<G>(state, cause);
            println!("{state:?} x {cause:?}: as it should be");
        }
    }
}

fn engine<G: Guest>(state: State, seen: &Arc<Seen>) -> (Engine, Script) {
    let fibers = if state == State::Queued { 2 } else { 100 };
    let engine = G::engine(Settings { module: module(seen), fibers });
    let script = block_on(engine.load_text("cancel", G::text())).expect("a script");
    (engine, script)
}

fn cell<G: Guest>(state: State, cause: Cause) {
    let what = format!("{state:?} x {cause:?}");
    let seen = Arc::new(Seen::default());
    let (engine, script) = engine::<G>(state, &seen);
    let start = |state: State| engine.spawn(script.call::<()>(state.export(), ())).expect("started");
    // They take all the fibers, or are just there; nobody cancels them.
    let neighbours: Vec<_> = (0..2).map(|_| start(State::Waiting)).collect();
    until("the neighbours wait", || seen.get()[1] == 2);
    let before = seen.get();
    let mut call = script.call::<()>(state.export(), ());
    if cause == Cause::Deadline {
        call = call.deadline(DEADLINE);
    }
    let call = engine.spawn(call).expect("started");
    match state {
        State::Queued => until(&what, || engine.metrics().queued == 1),
        State::Waiting | State::Nested => until(&what, || seen.get()[1] > before[1]),
        _ => until(&what, || seen.get()[0] > before[0]),
    }
    let shutdown = match cause {
        Cause::Dropped => {
            drop(call);
            None
        }
        Cause::Deadline => {
            let error = outcome(call, &what).expect_err(&what);
            assert!(matches!(error, Error::Limit { which: Limit::Deadline, value: 800, .. }), "{what}: {error:?}");
            None
        }
        Cause::Shutdown => {
            let metrics = block_on(engine.shutdown(Duration::ZERO));
            let error = outcome(call, &what).expect_err(&what);
            let lost = matches!(error, Error::InterpreterLost { started: true });
            assert!(if costs::<G>(state) { lost } else { matches!(error, Error::Cancelled) }, "{what}: {error:?}");
            Some(metrics)
        }
    };
    // At once, and not when the guest has cleaned up. (In a shutdown the neighbours do that too.)
    if matches!(state, State::Waiting | State::Nested) {
        until(&what, || seen.get()[2] > before[2]);
        let cleaned = seen.cleaned_before.load(Ordering::SeqCst);
        assert!(cleaned == before[3] || cause == Cause::Shutdown, "{what}: {cleaned} were cleaned up before");
    }
    let cleaned = match state {
        State::Queued | State::Finalizer | State::Stubborn | State::Hung => 0,
        State::Nested => 2,
        _ => 1,
    };
    match &shutdown {
        // The neighbours clean up too.
        Some(_) if !costs::<G>(state) => {
            until(&what, || seen.get()[3..] == [cleaned + 2, cleaned + 2]);
            assert_eq!(seen.get()[1], seen.get()[2], "{what}: all futures are dropped");
        }
        Some(_) => {}
        None => until(&what, || seen.get()[3..] == [cleaned; 2]),
    }
    let lost = u64::from(costs::<G>(state));
    if let Some(metrics) = shutdown {
        assert_eq!((metrics.quarantined, metrics.stuck as u64), (lost, lost), "{what}");
        *seen.open.0.lock().expect("not poisoned") = true;
        seen.open.1.notify_all();
        return;
    }
    until(&what, || engine.metrics().quarantined == lost);
    if lost == 0 {
        until(&what, || engine.metrics().fibers == 2 && engine.metrics().queued == 0);
        assert_eq!(seen.get()[1] - seen.get()[2], 2, "{what}: the neighbours wait on");
    }
    // The next call, on this interpreter or its replacement.
    drop(neighbours);
    until(&what, || engine.metrics().fibers == 0);
    let next = script.call::<()>(State::Waiting.export(), ()).deadline(Duration::from_millis(50));
    assert!(matches!(outcome(next, &what), Err(Error::Limit { which: Limit::Deadline, .. })), "{what}");
    *seen.open.0.lock().expect("not poisoned") = true;
    seen.open.1.notify_all();
}

/// What does not go and cannot be killed costs its interpreter.
fn costs<G: Guest>(state: State) -> bool {
    state == State::Hung || (state == State::Stubborn && !G::KILLS)
}
