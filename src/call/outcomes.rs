//! What went wrong in an engine's calls, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnosis::FiberInfo;

/// See the module. Shared by an engine's interpreters.
#[derive(Debug, Default)]
pub struct Outcomes {
    deadlocks: AtomicU64,
    last_deadlock: Mutex<Option<Arc<[FiberInfo]>>>,
}

impl Outcomes {
    /// These fibers waited for each other.
    pub fn deadlock(&self, fibers: &Arc<[FiberInfo]>) {
        self.deadlocks.fetch_add(1, Ordering::Relaxed);
        *self.last_deadlock.lock().unwrap_or_else(PoisonError::into_inner) = Some(fibers.clone());
    }

    /// How many there were, and the last of them.
    pub fn deadlocks(&self) -> (u64, Option<Arc<[FiberInfo]>>) {
        let last = self.last_deadlock.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.deadlocks.load(Ordering::Relaxed), last)
    }
}
