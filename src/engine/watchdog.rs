//! The watchdog: a host function that holds its interpreter for too long is named, never a silent hang.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::host::local::Activity;
use crate::host::registry::Registry;

/// How long a host function may hold its interpreter before it is named.
const TOO_LONG: Duration = Duration::from_millis(50);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
pub struct Watchdog(Arc<Shared>);

struct Shared {
    watched: Vec<Arc<Activity>>,
    registry: Arc<Registry>,
    /// Of each interpreter, the turn that was seen last, and when it was first.
    turns: Mutex<Vec<Option<Turn>>>,
    stop: AtomicBool,
    slow: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Watchdog {
    /// Watches these interpreters until `stop`.
    pub fn start(watched: Vec<Arc<Activity>>, registry: Arc<Registry>) -> std::io::Result<Watchdog> {
        let shared = Arc::new(Shared {
            turns: Mutex::new(vec![None; watched.len()]),
            watched,
            registry,
            stop: AtomicBool::default(),
            slow: AtomicU64::default(),
            last: Mutex::default(),
        });
        let own = shared.clone();
        std::thread::Builder::new().name("sidestack-watchdog".into()).spawn(move || {
            let mut seen: Vec<Seen> = own.watched.iter().map(|_| Seen::default()).collect();
            while !own.stop.load(Ordering::Acquire) {
                std::thread::park_timeout(LOOK);
                own.look_at_turns();
                for (activity, seen) in own.watched.iter().zip(&mut seen) {
                    if let Some((function, held)) = seen.look(activity) {
                        let name = own.registry.name(function).unwrap_or("?");
                        tracing::warn!(target: "sidestack", function = name, held_ms = held.as_millis(), "a host function holds its interpreter");
                        own.slow.fetch_add(1, Ordering::Relaxed);
                        *own.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_string());
                    }
                }
            }
        })?;
        Ok(Watchdog(shared))
    }

    /// Ends the thread, soon.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
    }

    /// Which fiber has had an interpreter's thread without a break.
    pub fn running(&self, interpreter: usize) -> Option<Running> {
        let activity = self.0.watched.get(interpreter)?;
        self.0.look_at_turns();
        let turn = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)[interpreter]?;
        let function = activity.function.load(Ordering::Relaxed).checked_sub(1);
        let name = function.and_then(|id| self.0.registry.name(id)).map(str::to_owned);
        Some(Running { fiber: turn.fiber, held: turn.since.elapsed(), function: name, thread: activity.thread() })
    }

    /// How many were named, and the last of them.
    pub fn slow(&self) -> (u64, Option<String>) {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.0.slow.load(Ordering::Relaxed), last)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A fiber that has a thread.
pub struct Running {
    /// Its id.
    pub fiber: u64,
    /// For how long; 20 ms too short at most.
    pub held: Duration,
    /// The host function that it is in.
    pub function: Option<String>,
    /// The thread, by its `gettid()`.
    pub thread: Option<i32>,
}

/// A turn of a fiber.
#[derive(Debug, Clone, Copy)]
struct Turn {
    fiber: u64,
    number: u64,
    since: Instant,
}

impl Shared {
    /// Writes down which turns are under way, and since when.
    fn look_at_turns(&self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        for (activity, last) in self.watched.iter().zip(turns.iter_mut()) {
            let since = |fiber, number| match *last {
                Some(last) if (last.fiber, last.number) == (fiber, number) => last.since,
                _ => Instant::now(),
            };
            *last = activity.turn().map(|(fiber, number)| Turn { fiber, number, since: since(fiber, number) });
        }
    }
}

/// What was seen of one interpreter.
#[derive(Default)]
struct Seen {
    count: u32,
    since: Option<Instant>,
    named: bool,
}

impl Seen {
    /// The function that has held the interpreter for too long, once for each time it does.
    fn look(&mut self, activity: &Activity) -> Option<(u32, Duration)> {
        let (function, count) = (activity.function.load(Ordering::Relaxed), activity.count.load(Ordering::Relaxed));
        if function == 0 || count != self.count || self.since.is_none() {
            *self = Seen { count, since: (function != 0).then(Instant::now), named: false };
            return None;
        }
        let held = self.since?.elapsed();
        if held < TOO_LONG || self.named {
            return None;
        }
        self.named = true;
        Some((function - 1, held))
    }
}
