//! The scheduled flag of a waker: at most one wake of it is under way.
//!
//! A wake sets it and, if it was clear, delivers the key. The worker takes the key, clears the flag, and only then polls: a
//! wake during the poll finds it clear and delivers again. Built with `--cfg loom` the same code runs on loom's atomics (tests/loom).

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Scheduled(AtomicBool);

impl Scheduled {
    /// A wake: true if this one has to deliver the key.
    #[must_use]
    pub fn schedule(&self) -> bool {
        // AcqRel: what the waking side wrote before is seen by the poll that follows `clear`.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// The worker took the key and polls next.
    pub fn clear(&self) {
        // A swap, not a store: it must see, and so order after, the writes of every wake that it swallows.
        self.0.swap(false, Ordering::AcqRel);
    }
}
