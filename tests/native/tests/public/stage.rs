//! An engine of the C functions, and host functions for them to call.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sidestack::{Builder, Cx, Engine, Error, Function, HostObject, Members, Module, Native, Object, Raise, Script};
use sidestack_test_native::public::native;

#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the host functions leave.
#[derive(Default)]
pub struct Shared {
    pub notes: Mutex<Vec<i64>>,
    pub kept: Mutex<Vec<Function>>,
    pub live: AtomicI64,
    gates: Mutex<HashMap<i64, (bool, Vec<Waker>)>>,
}

pub struct Live(Arc<Shared>);

impl Live {
    fn new(shared: &Arc<Shared>) -> Live {
        shared.live.fetch_add(1, Ordering::AcqRel);
        Live(shared.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    pub fn open(&self, gate: i64) {
        let wakers = {
            let mut gates = self.gates.lock().expect("not poisoned");
            let gate = gates.entry(gate).or_default();
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn counted(self: &Arc<Self>) -> Counted {
        Counted(Live::new(self))
    }

    pub fn waiting(&self, gate: i64) -> usize {
        self.gates.lock().expect("not poisoned").get(&gate).map_or(0, |gate| gate.1.len())
    }

    pub fn live(&self) -> i64 {
        self.live.load(Ordering::Acquire)
    }

    pub fn notes(&self) -> Vec<i64> {
        self.notes.lock().expect("not poisoned").clone()
    }
}

pub struct Thing;

impl HostObject for Thing {
    const NAME: &'static str = "Thing";
    fn members(_: &mut Members<Self>) {}
}

/// Counts among the live ones.
pub struct Counted(#[expect(dead_code, reason = "counts until it is dropped")] Live);

impl HostObject for Counted {
    const NAME: &'static str = "Counted";
    fn members(_: &mut Members<Self>) {}
}

/// A host error that a program might look for.
#[derive(Debug, PartialEq, Eq)]
pub struct Original(pub i64);

impl std::fmt::Display for Original {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "original {}", self.0)
    }
}

impl std::error::Error for Original {}

pub fn module(shared: &Arc<Shared>) -> Module {
    let (notes, keeps, blocks, applies) = (shared.clone(), shared.clone(), shared.clone(), shared.clone());
    let counts = shared.clone();
    // SAFETY: it cannot panic, and owns nothing.
    unsafe { Module::new("t").leaf("add", i64::wrapping_add) }
        .object::<Thing>()
        .object::<Counted>()
        .function("counted", move || Ok(Object::<Counted>::new(Counted(Live::new(&counts)))))
        .function("touch_counted", |_: Object<Counted>| Ok(()))
        .function("ready", async |n: i64| Ok(n + 1))
        .function("fails", |_: i64| Err::<(), _>(Raise::new("a_code", "a message").into()))
        .function("original", async |cx: Cx, n: i64| {
            cx.sleep(Duration::from_millis(1)).await;
            Err::<(), _>(Original(n).into())
        })
        .function("panics", |_: i64| -> anyhow::Result<()> { panic!("a panic in t.panics") })
        .function("note", move |n: i64| {
            notes.notes.lock().expect("not poisoned").push(n);
            Ok(())
        })
        .function("block", async move |gate: i64| {
            let _live = Live::new(&blocks);
            poll_fn(|task| {
                let mut gates = blocks.gates.lock().expect("not poisoned");
                let (open, wakers) = gates.entry(gate).or_default();
                if *open {
                    return Poll::Ready(Ok(gate * 10));
                }
                wakers.push(task.waker().clone());
                Poll::Pending
            })
            .await
        })
        // Calls the function `n` times, with a wait in between, and sums the results.
        .function("apply", async move |mut cx: Cx, f: Function, n: i64| {
            let _live = Live::new(&applies);
            let mut sum = 0;
            for i in 0..n {
                sum += cx.call::<i64>(&f, i).await?;
                cx.sleep(Duration::from_millis(1)).await;
            }
            Ok(sum)
        })
        // As new fibers.
        .function("apply_apart", async |f: Function, n: i64| {
            let mut sum = 0;
            for i in 0..n {
                sum += f.call::<i64>(i).await?;
            }
            Ok(sum)
        })
        .function("keep", move |f: Function| {
            keeps.kept.lock().expect("not poisoned").push(f);
            Ok(())
        })
        // The way down: `n` levels of guest and host.
        .function("nest", async |mut cx: Cx, f: Function, n: i64| match n {
            0 => Ok(0),
            -1000 => panic!("at the bottom"),
            n => Ok(cx.call::<i64>(&f, if n == 1001 { -1000 } else { n - 1 }).await? + 1),
        })
        .function("wait_and_add", async |cx: Cx, n: i64| {
            cx.sleep(Duration::from_millis(2)).await;
            Ok(n + 1)
        })
        .function("touch", |_: Object<Thing>| Ok(()))
}

pub struct Bed {
    pub shared: Arc<Shared>,
    pub engine: Engine,
    pub script: Script,
}

impl Bed {
    pub fn new() -> Bed {
        Bed::with(native(), |builder| builder.threads(1))
    }

    pub fn with(native: Native, settings: impl FnOnce(Builder<Native>) -> Builder<Native>) -> Bed {
        let shared = Arc::<Shared>::default();
        let builder = Engine::builder(native).stack(128 << 10).module(module(&shared));
        let engine = settings(builder).build().expect("an engine");
        let script = block_on(engine.load_text("native", "")).expect("a script");
        Bed { shared, engine, script }
    }

    pub fn call<R: DeserializeOwned + Send + 'static>(&self, name: &str, args: impl Serialize) -> Result<R, Error> {
        block_on(self.script.call(name, args))
    }

    pub fn idle(&self) {
        until("all fibers are gone", || self.engine.metrics().fibers == 0);
    }
}
