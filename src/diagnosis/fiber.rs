//! What is told of one fiber.

use std::fmt;
use std::time::Duration;

use super::Backtrace;

/// One fiber, or one call that waits for one: see [`Engine::fibers`](crate::Engine::fibers).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FiberInfo {
    /// Its id, which no other fiber of the process has; `None`: it is queued.
    pub id: Option<u64>,
    /// The label of its call; of a PHP worker that has a page, the page's before it.
    pub label: Option<String>,
    /// What it is at.
    pub state: FiberState,
    /// Since its call began, queueing included.
    pub age: Duration,
    /// The host function that it waits for, or that holds its interpreter: "app.nap".
    pub waits_for: Option<String>,
    /// Which one of several: "fiber 12", of a task that it joins. Told of a deadlock only.
    pub which: Option<String>,
    /// Where it is in its script: "app.lua:22"; `None` where the guest cannot tell.
    pub at: Option<String>,
    /// Its C frames, then its script's; empty unless asked for: [`Engine::fibers_with_stacks`](crate::Engine::fibers_with_stacks).
    pub backtrace: Backtrace,
    /// The guest: "Lua 5.4".
    pub guest: &'static str,
    /// The number of its interpreter.
    pub interpreter: u32,
    /// How long it has had the thread without a break, where its interpreter did not answer in time. The rest is then what is
    /// known without asking it.
    pub held: Option<Duration>,
}

impl FiberInfo {
    /// Nothing is known yet.
    pub(crate) fn blank(guest: &'static str, interpreter: u32, state: FiberState) -> FiberInfo {
        FiberInfo {
            id: None,
            label: None,
            state,
            age: Duration::ZERO,
            waits_for: None,
            which: None,
            at: None,
            backtrace: Backtrace::default(),
            guest,
            interpreter,
            held: None,
        }
    }

    /// "fiber 7 (app.lua:22) in sidestack.core.sleep"
    pub(crate) fn parked(&self) -> impl fmt::Display {
        struct Parked<'a>(&'a FiberInfo);
        impl fmt::Display for Parked<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let FiberInfo { id, at, waits_for, which, .. } = self.0;
                match id {
                    Some(id) => write!(f, "fiber {id}")?,
                    None => f.write_str("a call without a fiber")?,
                }
                if let Some(at) = at {
                    write!(f, " ({at})")?;
                }
                if let Some(function) = waits_for {
                    write!(f, " waits in {function}")?;
                }
                match which {
                    Some(which) => write!(f, " for {which}"),
                    None => Ok(()),
                }
            }
        }
        Parked(self)
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
