//! A hundred thousand C functions suspended at once. A binary of its own: it looks at the process's memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, Module};
use sidestack_test_native::guests::Guests;

const FIBERS: usize = 100_000;

#[test]
fn a_hundred_thousand_wait_at_once() {
    let (guests, numbers) = Guests::new();
    let waiting: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let open = Arc::new(AtomicUsize::new(0));
    let (list, gate) = (waiting.clone(), open.clone());
    let module = Module::new("t").function("wait", async move |n: i64| {
        std::future::poll_fn(|task| {
            if gate.load(Ordering::Acquire) > 0 {
                return Poll::Ready(());
            }
            list.lock().expect("not poisoned").push(task.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(n + 1)
    });
    let engine = Engine::builder(guests)
        .threads(1)
        .fibers(FIBERS)
        .queue(FIBERS)
        .stack(64 << 10)
        .module(module)
        .build()
        .expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    let wait = numbers.of("t.wait");
    let begun = Instant::now();
    let calls: Vec<_> =
        (0..FIBERS).map(|i| engine.spawn(script.call::<usize>("call", (wait, i))).expect("started")).collect();
    while waiting.lock().expect("not poisoned").len() < FIBERS {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", engine.metrics());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(engine.metrics().fibers, FIBERS);
    println!("{FIBERS} suspended after {:?}", begun.elapsed());
    open.store(1, Ordering::Release);
    std::mem::take(&mut *waiting.lock().expect("not poisoned")).into_iter().for_each(Waker::wake);
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(block_on(call).expect("a value"), i + 1);
    }
    println!("all ended after {:?}", begun.elapsed());
}
