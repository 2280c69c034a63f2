//! What is told of fibers, and what is known of them where their interpreter does not answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One fiber, or one call that waits for one: see [`Engine::fibers`](crate::Engine::fibers).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FiberInfo {
    /// Its id, which no other fiber of the process has; `None`: it is queued.
    pub id: Option<u64>,
    /// The label of its call.
    pub label: Option<String>,
    /// What it is at.
    pub state: FiberState,
    /// Since its call began, queueing included.
    pub age: Duration,
    /// The host function that it waits for, or that holds its interpreter: "app.nap".
    pub waits_for: Option<String>,
    /// Where it is in its script: "app.lua:22"; `None` where the guest cannot tell.
    pub at: Option<String>,
    /// The guest: "Lua 5.4".
    pub guest: &'static str,
    /// The number of its interpreter.
    pub interpreter: u32,
    /// How long it has had the thread without a break, where its interpreter did not answer in time. The rest is then what is
    /// known without asking it.
    pub held: Option<Duration>,
}

impl FiberInfo {
    /// Nothing is known yet. The engine fills in what its guest is.
    pub(crate) fn blank(interpreter: u32, state: FiberState) -> FiberInfo {
        FiberInfo {
            id: None,
            label: None,
            state,
            age: Duration::ZERO,
            waits_for: None,
            at: None,
            guest: "",
            interpreter,
            held: None,
        }
    }
}

/// What a fiber is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FiberState {
    /// Its call waits for a fiber.
    Queued,
    /// It can go on, and waits for its turn.
    Ready,
    /// It has the thread, or had it until its time slice ended.
    Running,
    /// In a host function.
    Waiting,
    /// Cancelled: it cleans up.
    Cancelling,
    /// Its interpreter did not answer in time, and another fiber has the thread there.
    Unknown,
}

impl fmt::Display for FiberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FiberState::Queued => "queued",
            FiberState::Ready => "ready",
            FiberState::Running => "running",
            FiberState::Waiting => "waiting",
            FiberState::Cancelling => "cancelling",
            FiberState::Unknown => "unknown",
        })
    }
}

/// The fibers of an interpreter whose calls have labels, for when it does not answer. A call without one costs nothing here.
#[derive(Debug, Default)]
pub struct Roster(Mutex<HashMap<u64, Listed>>);

/// A fiber in the roster.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its call's label.
    pub label: String,
    /// When its call began.
    pub begun: Instant,
}

impl Roster {
    /// A fiber begins.
    pub fn enter(&self, id: u64, label: &str, begun: Instant) {
        self.lock().insert(id, Listed { label: label.into(), begun });
    }

    /// It has ended.
    pub fn leave(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// The incarnation is gone, and its fibers with it.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// All of them, by id.
    pub fn list(&self) -> Vec<(u64, Listed)> {
        self.lock().iter().map(|(id, listed)| (*id, listed.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
