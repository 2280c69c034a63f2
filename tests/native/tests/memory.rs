//! Ten thousand fibers of plain C suspended, then cancelled: the memory comes back (scenario C5; futures and stacks are
//! counted in `public`). A binary of its own: it looks at the process's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, Module};
use sidestack_test_native::guests::Guests;

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

#[test]
fn ten_thousand_cancelled_fibers_give_their_memory_back() {
    let held = Arc::new(AtomicUsize::new(0));
    let count = held.clone();
    let module = Module::new("t").function("hold", async move |_: i64| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
        Ok(0)
    });
    let (guests, numbers) = Guests::new();
    let engine = Engine::builder(guests).threads(1).fibers(FIBERS).module(module).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("nothing to load");
    let hold = numbers.of("t.hold");
    let before = resident();
    for _ in 0..3 {
        held.store(0, Ordering::SeqCst);
        let calls: Vec<_> =
            (0..FIBERS).map(|_| engine.spawn(script.call::<i64>("call", hold)).expect("started")).collect();
        until("all hold", || held.load(Ordering::SeqCst) == FIBERS);
        let full = resident();
        drop(calls);
        until("all fibers are gone", || engine.metrics().fibers == 0);
        let bound = before + (full - before) / 6;
        until("memory goes back", || {
            // SAFETY: it gives back what the allocator keeps for reuse, which is not ours any more.
            unsafe { libc::malloc_trim(0) };
            resident() < bound
        });
    }
}
