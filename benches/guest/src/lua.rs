//! Cases in Lua.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_executor::block_on;
use serde::de::DeserializeOwned;
use sidestack::{Call, Engine, Module, Script};

use crate::both::{now, wait_once};
use crate::native::{FIBERS, all_at_once, nanoseconds};

const SCRIPT: &str = include_str!("loops.lua");

/// Calls that are queued before the worker may start the first.
const BATCH: u64 = 1000;

/// An engine of one Lua interpreter.
pub struct Lua {
    script: Script,
    open: Sender<()>,
    engine: Engine,
}

impl Lua {
    pub(crate) fn new(tick: Duration) -> Lua {
        let (open, gate) = channel();
        let gate: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(gate));
        let module = Module::new("bench");
        // SAFETY: they cannot panic and own nothing.
        let module = unsafe { module.leaf("leaf", || ()).leaf("leaf_add", |a: i64, b: i64| a.wrapping_add(b)) };
        let module = module
            .function("now", || Ok(now()))
            .function("nothing", || Ok(()))
            .function("add", |a: i64, b: i64| Ok(a + b))
            .function("wait", async || {
                wait_once().await;
                Ok(())
            })
            .function("gate", move || {
                gate.lock().expect("never poisoned").recv()?;
                Ok(now())
            })
            .function("forever", async || {
                std::future::pending::<()>().await;
                Ok(())
            });
        let engine = Engine::builder(sidestack::Lua::new())
            .threads(1)
            .tick(tick)
            .fibers(FIBERS + 1)
            .module(module)
            .build()
            .expect("a Lua engine");
        let script = block_on(engine.load_text("bench", SCRIPT)).expect("the script loads");
        Lua { script, open, engine }
    }

    /// A loop in Lua that times itself.
    pub(crate) fn inside(&self, export: &str, n: u64) -> Duration {
        nanoseconds(block_on(self.script.call::<i64>(export, n)).expect("a time"))
    }

    /// New calls of an empty function: what the worker spends on each, from its queue to the caller's slot. The calls are
    /// queued while a host function holds the worker, so making and sending them is not in the figure.
    pub(crate) fn new_calls(&self, n: u64) -> Duration {
        let mut time = Duration::ZERO;
        let mut left = n;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let first = self.started(self.script.call::<i64>("gate", ()));
            let calls: Vec<_> = (0..batch).map(|_| self.started(self.script.call::<()>("empty", ()))).collect();
            let last = self.started(self.script.call::<i64>("now", ()));
            self.open.send(()).expect("the engine holds the gate");
            let begun = block_on(first).expect("a time");
            time += nanoseconds(block_on(last).expect("a time") - begun);
            for call in calls {
                block_on(call).expect("nothing");
            }
        }
        time
    }

    fn started<R: DeserializeOwned + Send + 'static>(&self, call: Call<R>) -> Call<R> {
        self.engine.spawn(call).expect("room in the queue")
    }

    /// 10,000 fibers of Lua, each of which sleeps `n` times for a millisecond, on the interpreter's own timers.
    pub(crate) fn sleeps(&self, n: u64) -> Duration {
        all_at_once(&self.script, n)
    }

    /// Suspends this many fibers in a host function, has `measure` look, and cancels them.
    pub fn suspended(&self, fibers: usize, measure: impl FnOnce()) {
        let calls: Vec<_> = (0..fibers).map(|_| self.started(self.script.call::<()>("forever", ()))).collect();
        // Once this one has run, so have those that were queued before it, as far as they could.
        block_on(self.script.call::<i64>("now", ())).expect("a time");
        measure();
        drop(calls);
    }
}
