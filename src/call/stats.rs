//! What a call did with its time, for whoever asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a call did: see [`Call::stats`](crate::Call::stats). It is filled in when a fiber of the call ends.
#[derive(Debug, Default)]
pub struct CallStats {
    fiber: AtomicU64,
    host_calls: AtomicU64,
    waited: AtomicU64,
    last: Mutex<Option<(String, Duration)>>,
}

impl CallStats {
    /// The id of its fiber, once it has one.
    pub fn fiber(&self) -> Option<u64> {
        Some(self.fiber.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// Host functions called, those of its tasks that have ended included.
    pub fn host_calls(&self) -> u64 {
        self.host_calls.load(Ordering::Relaxed)
    }

    /// How long its own fiber waited in host functions.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// The host function that its own fiber waited for last, and for how long.
    pub fn last_wait(&self) -> Option<(String, Duration)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has a fiber.
    pub(crate) fn begun(&self, fiber: u64) {
        self.fiber.store(fiber, Ordering::Relaxed);
    }

    /// A fiber of it has ended.
    pub(crate) fn add_host_calls(&self, calls: u64) {
        self.host_calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Its own fiber has.
    pub(crate) fn set_waits(&self, waited: Duration, last: Option<(String, Duration)>) {
        self.waited.store(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

/// Where a fiber's part of it goes.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The call's.
    pub call: Arc<CallStats>,
    /// The fiber is the call's own, and not one of its tasks.
    pub own: bool,
}
