//! What the exported functions share with the tests: gates that they wait at, notes, and futures counted.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Stage {
    open: HashMap<i64, i64>,
    wakers: HashMap<i64, Vec<Waker>>,
    notes: Vec<String>,
}

fn stage() -> MutexGuard<'static, Stage> {
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    STAGE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

static LIVE: AtomicI64 = AtomicI64::new(0);

/// Counts itself while it lives.
#[derive(Debug)]
pub struct Live(());

impl Live {
    /// One more.
    #[expect(clippy::new_without_default, reason = "counting is no default")]
    pub fn new() -> Live {
        LIVE.fetch_add(1, Ordering::SeqCst);
        Live(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many live.
pub fn live() -> i64 {
    LIVE.load(Ordering::SeqCst)
}

/// Writes a line down.
pub fn note(line: impl Into<String>) {
    stage().notes.push(line.into());
}

/// All lines.
pub fn notes() -> Vec<String> {
    stage().notes.clone()
}

/// Waits until the gate is open; its value.
pub async fn pass(gate: i64) -> i64 {
    let _live = Live::new();
    poll_fn(|task| {
        let mut stage = stage();
        match stage.open.get(&gate) {
            Some(value) => Poll::Ready(*value),
            None => {
                stage.wakers.entry(gate).or_default().push(task.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Opens a gate.
pub fn open(gate: i64, value: i64) {
    let wakers = {
        let mut stage = stage();
        stage.open.insert(gate, value);
        stage.wakers.remove(&gate)
    };
    wakers.into_iter().flatten().for_each(Waker::wake);
}

/// Waits until somebody waits at the gate.
pub fn arrived(gate: i64) {
    arrived_all(gate, 1);
}

/// Waits until so many do.
pub fn arrived_all(gate: i64, count: usize) {
    until("somebody at a gate", || stage().wakers.get(&gate).is_some_and(|wakers| wakers.len() >= count));
}

/// Waits for a condition.
///
/// # Panics
///
/// If it does not come within 20 s.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
