//! What the tests share: gates that scripts wait at and tests open, a log that both write, waits with a limit.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use sidestack::{Builder, Cx, Engine, Function, Module};

use crate::guest::{Guest, guest};

/// Nothing in a test takes this long unless it hangs.
pub const LONG: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What catches every error and goes on: while it waits, and while it runs.
pub fn swallowing() -> [&'static str; 2] {
    script!(
        lua: ["while true do pcall(t.wait, 1) end", "while true do pcall(function() while true do end end) end"],
        php: [
            r"while (true) try { t\wait(1); } catch (Throwable) {}",
            "while (true) try { while (true) {} } catch (Throwable) {}",
        ],
    )
}

#[derive(Clone, Default)]
pub struct Stage(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gates: HashMap<u64, Gate>,
    made: usize,
    dropped: usize,
    log: Vec<String>,
}

#[derive(Default)]
struct Gate {
    value: Option<i64>,
    wakers: Vec<Waker>,
    waiting: usize,
}

/// A host future that waits at a gate. Its drop is counted and logged.
pub struct Wait {
    stage: Stage,
    gate: u64,
    logged: bool,
}

impl Future for Wait {
    type Output = i64;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<i64> {
        let mut state = self.stage.lock();
        let gate = state.gates.entry(self.gate).or_default();
        match gate.value {
            Some(value) => Poll::Ready(value),
            None => {
                gate.wakers.push(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut state = self.stage.lock();
        state.dropped += 1;
        let gate = state.gates.entry(self.gate).or_default();
        gate.waiting -= 1;
        if self.logged {
            state.log.push(format!("dropped {}", self.gate));
        }
    }
}

impl Stage {
    pub fn new() -> Self {
        Stage::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with the lock")
    }

    pub fn wait(&self, gate: u64) -> Wait {
        self.wait_logged(gate, false)
    }

    pub fn wait_logged(&self, gate: u64, logged: bool) -> Wait {
        let mut state = self.lock();
        state.made += 1;
        state.gates.entry(gate).or_default().waiting += 1;
        Wait { stage: self.clone(), gate, logged }
    }

    /// Lets through whoever waits at the gate, and whoever comes.
    pub fn open(&self, gate: u64, value: i64) {
        let wakers = {
            let mut state = self.lock();
            let gate = state.gates.entry(gate).or_default();
            gate.value = Some(value);
            std::mem::take(&mut gate.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The wakers that wait at a gate, which stays shut.
    pub fn wakers(&self, gate: u64) -> Vec<Waker> {
        self.lock().gates.entry(gate).or_default().wakers.clone()
    }

    /// Until so many futures wait at the gate.
    #[track_caller]
    pub fn arrived(&self, gate: u64, count: usize) {
        until("futures at a gate", || {
            let mut state = self.lock();
            let gate = state.gates.entry(gate).or_default();
            gate.waiting == count && gate.wakers.len() >= count
        });
    }

    /// Futures made and dropped.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.made, state.dropped)
    }

    pub fn note(&self, line: impl Into<String>) {
        self.lock().log.push(line.into());
    }

    pub fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// Until the log has so many lines; returns them.
    #[track_caller]
    pub fn logged(&self, lines: usize) -> Vec<String> {
        until("lines in the log", || self.lock().log.len() >= lines);
        self.log()
    }

    /// The module `t`.
    pub fn module(&self) -> Module {
        let (waits, notes, races, holds, passes) =
            (self.clone(), self.clone(), self.clone(), self.clone(), self.clone());
        Module::new("t")
            .function("wait", async move |gate: u64| Ok(waits.wait_logged(gate, true).await))
            .function("note", move |line: String| {
                notes.note(line);
                Ok(())
            })
            .function("pass", move |gate: u64, value: i64| {
                passes.open(gate, value);
                Ok(())
            })
            .function("nap", async |cx: Cx, ms: u64| {
                cx.sleep(Duration::from_millis(ms)).await;
                Ok(())
            })
            .function("call", async |mut cx: Cx, f: Function, n: i64| Ok(cx.call::<i64>(&f, n).await?))
            // Calls `f` until the gate opens; then drops that call.
            .function("race", async move |mut cx: Cx, f: Function, gate: u64| {
                let call = std::pin::pin!(cx.call::<i64>(&f, ()));
                Ok(match select(call, races.wait(gate)).await {
                    Either::Left((result, _)) => ("returned", result?),
                    Either::Right((value, _)) => ("dropped", value),
                })
            })
            // Calls `f` with a logged future of its own beside it.
            .function("hold", async move |mut cx: Cx, f: Function, gate: u64| {
                let _held = holds.wait_logged(gate, true);
                Ok(cx.call::<i64>(&f, ()).await?)
            })
    }

    /// One interpreter with the module `t`.
    pub fn builder(&self) -> Builder<Guest> {
        Engine::builder(guest()).threads(1).module(self.module())
    }

    pub fn engine(&self) -> Engine {
        self.builder().build().expect("an engine")
    }
}

pub use crate::guest::chunk;
