//! The watchdog: looks at what has an interpreter's thread for too long. A thread of the engine's own.
//!
//! - A host function that does is named, never a silent hang.
//! - An interpreter where one fiber does **does not answer**: new calls go to others, and calls there whose time is over are answered
//!   without it.
//! - If that fiber was cancelled, and does not go after the grace, the kill and a further time, the interpreter is given up: see
//!   `worker::quarantine`.
//!
//! Time counts as it is seen to pass, in small steps: a process that was stopped, or a machine that was asleep, gives up nobody. Of a thread
//! that could run, only the time counts that it was let run: a busy machine gives up nobody either.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::call::activity::Activity;
use crate::call::inbox::Inbox;
use crate::call::presence::Absence;
use crate::call::tenure::Tenure;
use crate::host::local::Clock;
use crate::host::registry::Registry;
use crate::sys::clock::{is_runnable, thread_cpu_of};
use crate::worker::quarantine::Watched;

/// How long a host function may hold its interpreter before it is named.
const TOO_LONG: Duration = Duration::from_millis(50);
/// How long a fiber may have its interpreter's thread before that counts as one that does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_millis(100);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// The most that counts between two looks.
const STEP: Duration = Duration::from_millis(60);

/// See the module.
pub struct Watchdog(Arc<Shared>);

struct Shared {
    inboxes: Vec<Arc<Inbox>>,
    watched: Vec<Weak<dyn Watched>>,
    registry: Arc<Registry>,
    clock: Clock,
    /// Of each interpreter, the turn that was seen last.
    turns: Mutex<Vec<Option<Turn>>>,
    stop: AtomicBool,
    slow: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Watchdog {
    /// Watches these interpreters until `stop`.
    pub fn start(
        inboxes: Vec<Arc<Inbox>>,
        watched: Vec<Weak<dyn Watched>>,
        registry: Arc<Registry>,
    ) -> std::io::Result<Watchdog> {
        let shared = Arc::new(Shared {
            turns: Mutex::new(vec![None; watched.len()]),
            inboxes,
            watched,
            registry,
            clock: Clock::new(),
            stop: AtomicBool::default(),
            slow: AtomicU64::default(),
            last: Mutex::default(),
        });
        let own = shared.clone();
        // A thread that begins takes memory, and ends the process where it finds none: it has begun when the engine is there.
        let begun = Arc::new(Barrier::new(2));
        let begins = begun.clone();
        std::thread::Builder::new().name("sidestack-watchdog".into()).spawn(move || {
            begins.wait();
            own.watch();
        })?;
        begun.wait();
        Ok(Watchdog(shared))
    }

    /// Ends the thread, soon.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
    }

    /// Which fiber has had an interpreter's thread without a break.
    pub fn running(&self, interpreter: usize) -> Option<Running> {
        let tenure = self.0.inboxes.get(interpreter)?.tenure()?;
        let absence = tenure.presence.absence()?;
        let turn = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)[interpreter];
        let held = turn.filter(|turn| turn.absence == absence).map_or(Duration::ZERO, |turn| turn.since.elapsed());
        let function = tenure.activity.running().0;
        let function = function.and_then(|id| self.0.registry.name(id)).map(str::to_owned);
        Some(Running { fiber: absence.fiber, held, function, thread: tenure.thread() })
    }

    /// How many were named, and the last of them.
    pub fn slow(&self) -> (u64, Option<String>) {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.0.slow.load(Ordering::Relaxed), last.clone())
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
    absence: Absence,
    since: Instant,
    /// As it was seen to pass.
    held: Duration,
    /// Its thread's processor time at the last look, once it was to have ended.
    cpu: Option<Duration>,
    /// Since it was to have ended.
    overdue: Duration,
}

impl Shared {
    fn watch(&self) {
        let mut seen: Vec<Seen> = self.watched.iter().map(|_| Seen::default()).collect();
        let mut last = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK);
            let now = Instant::now();
            let step = now.duration_since(last).min(STEP);
            last = now;
            for (interpreter, seen) in seen.iter_mut().enumerate() {
                let Some(tenure) = self.inboxes[interpreter].tenure() else { continue };
                if let Some((function, held)) = seen.look(&tenure.activity) {
                    let name = self.registry.name(function).unwrap_or("?");
                    tracing::warn!(target: "sidestack", function = name, held_ms = held.as_millis(), "a host function holds its interpreter");
                    // Who sees the count finds the name.
                    let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                    *last = Some(name.to_string());
                    self.slow.fetch_add(1, Ordering::Relaxed);
                }
                let due = tenure.activity.due.load(Ordering::Relaxed) <= self.clock.nanos(now);
                self.look_at(interpreter, &tenure, due, step);
            }
        }
    }

    /// Keeps account of a turn, and does what is due. `due`: its fiber was to have ended.
    fn look_at(&self, interpreter: usize, tenure: &Tenure, due: bool, step: Duration) {
        let inbox = &self.inboxes[interpreter];
        let last = self.turns.lock().unwrap_or_else(PoisonError::into_inner)[interpreter];
        let mut turn = tenure.presence.absence().map(|absence| match last {
            Some(last) if last.absence == absence => Turn { held: last.held + step, ..last },
            _ => Turn { absence, since: Instant::now(), held: Duration::ZERO, cpu: None, overdue: Duration::ZERO },
        });
        let long = turn.as_mut().filter(|turn| turn.held >= ANSWERS_WITHIN);
        inbox.set_hung(long.is_some());
        if let (Some(turn), Some(watched)) = (long, self.watched[interpreter].upgrade()) {
            let gone = watched.answer_overdue(turn.absence);
            if let Some(thread) = tenure.thread().filter(|_| due || gone) {
                let (runnable, cpu) = (is_runnable(thread), thread_cpu_of(thread));
                let ran = turn.cpu.replace(cpu).map_or(Duration::ZERO, |before| cpu.saturating_sub(before));
                turn.overdue += if runnable { ran.min(step) } else { step };
            }
            if turn.overdue >= watched.patience() {
                watched.give_up(turn.absence, false);
            }
        }
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)[interpreter] = turn;
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
        let (function, count) = activity.running();
        if function.is_none() || count != self.count || self.since.is_none() {
            *self = Seen { count, since: function.map(|_| Instant::now()), named: false };
            return None;
        }
        let held = self.since?.elapsed();
        if held < TOO_LONG || self.named {
            return None;
        }
        self.named = true;
        Some((function?, held))
    }
}
