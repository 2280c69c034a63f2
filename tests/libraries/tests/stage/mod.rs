//! What the tests of all libraries share: gates for host functions to wait at, and engines.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_executor::block_on;
use sidestack::{Builder, Engine, Module, Native, Script};
use sidestack_test_libraries::native;

/// Waits, for a minute at most.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where host functions wait until the test lets them go on: one by one, in an order of its choice, or all from now on.
#[derive(Default)]
pub struct Gate(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    open: bool,
    list: Vec<(i64, oneshot::Sender<()>)>,
}

impl Gate {
    /// Waits; true if the gate was shut.
    pub async fn pass(&self, who: i64) -> bool {
        let waits = {
            let mut waiting = self.0.lock().expect("not poisoned");
            (!waiting.open).then(|| {
                let (sender, receiver) = oneshot::channel();
                waiting.list.push((who, sender));
                receiver
            })
        };
        match waits {
            Some(receiver) => receiver.await.is_ok(),
            None => false,
        }
    }

    /// Who waits now; whoever was cancelled does not.
    pub fn waiting(&self) -> Vec<i64> {
        let waiting = self.0.lock().expect("not poisoned");
        waiting.list.iter().filter(|(_, sender)| !sender.is_canceled()).map(|(who, _)| *who).collect()
    }

    /// Lets one go on.
    pub fn release(&self, who: i64) {
        let mut waiting = self.0.lock().expect("not poisoned");
        let place = waiting.list.iter().position(|(other, _)| *other == who).expect("it waits");
        waiting.list.remove(place).1.send(()).expect("it was not cancelled");
    }

    /// Lets all go on, the last one first, and whoever comes from now on.
    #[allow(dead_code, reason = "not every test binary does so")]
    pub fn open(&self) {
        let mut waiting = self.0.lock().expect("not poisoned");
        waiting.open = true;
        for (_, sender) in waiting.list.drain(..).rev() {
            let _ = sender.send(());
        }
    }
}

/// One interpreter thread, if not told otherwise, with all the C functions, and host functions for them.
pub struct Bed {
    pub engine: Engine,
    pub script: Script,
}

impl Bed {
    pub fn new(module: Module) -> Bed {
        Bed::with(module, |builder| builder)
    }

    pub fn with(module: Module, settings: impl FnOnce(Builder<Native>) -> Builder<Native>) -> Bed {
        let builder = Engine::builder(native()).threads(1).stack(128 << 10).module(module);
        let engine = settings(builder).build().expect("an engine");
        let script = block_on(engine.load_text("native", "")).expect("a script");
        Bed { engine, script }
    }

    /// All fibers have ended and their stacks are back.
    pub fn idle(&self) {
        until("all stacks are back", || {
            let metrics = self.engine.metrics();
            metrics.fibers == 0 && metrics.stacks == 0
        });
    }
}
