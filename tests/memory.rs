//! Ten thousand fibers suspended, then cancelled, leave nothing behind (scenario C5). A binary of its own: it looks at the
//! process's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, Lua, Module};

const FIBERS: usize = 10_000;

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text.split(' ').nth(1).expect("the second field").parse().expect("a number");
    pages * 4096
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn ten_thousand_suspended_and_cancelled() {
    let held = Arc::new(AtomicUsize::new(0));
    let count = held.clone();
    let module = Module::new("t").function("hold", async move || {
        count.fetch_add(1, Ordering::SeqCst);
        let _held = Held(count.clone());
        std::future::pending::<()>().await;
        Ok(())
    });
    let engine = Engine::builder(Lua::new()).threads(1).fibers(FIBERS).module(module).build().expect("an engine");
    let script = block_on(engine.load_text(
        "hold",
        "local t = require 't'
         local function deep(n) if n == 0 then t.hold() else deep(n - 1) end return n end
         return { hold = function() return deep(10) end, add = function(a, b) return a + b end }",
    ))
    .expect("a script");
    let round = || {
        let calls: Vec<_> =
            (0..FIBERS).map(|_| engine.spawn(script.call::<()>("hold", ())).expect("started")).collect();
        until("all hold", || held.load(Ordering::SeqCst) == FIBERS);
        let full = resident();
        drop(calls);
        until("all host futures are dropped", || held.load(Ordering::SeqCst) == 0);
        until("all fibers are gone", || engine.metrics().fibers == 0);
        full
    };
    for _ in 0..100 {
        block_on(script.call::<i64>("add", (1, 2))).expect("warm");
    }
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let before = resident();
    // Every round needs all the stacks there are.
    for number in 1..=3 {
        let full = round();
        let bound = before + (full - before) / 6;
        until("memory goes back", || {
            // SAFETY: it gives back what the allocator keeps for reuse, which is not ours any more.
            unsafe { libc::malloc_trim(0) };
            resident() < bound
        });
        println!("round {number}: before {:.1} MiB, full {:.1}, after {:.1}", mib(before), mib(full), mib(resident()));
    }
    assert_eq!(block_on(script.call::<i64>("add", (1, 2))).expect("the interpreter works"), 3);
}
