//! What an interpreter thread is at, as the watchdog reads it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// See the module. Only its own thread writes it, but for `gone`.
#[derive(Debug, Default)]
pub struct Activity {
    /// Id + 1 of the host function that runs now; 0: none.
    pub function: AtomicU32,
    /// Counts host functions started and polls, wrapping: tells one run from the next.
    pub count: AtomicU32,
    /// When the cancel of the fiber that has the thread began, or when it will: nanoseconds of CLOCK_MONOTONIC; `u64::MAX`: never.
    pub due: AtomicU64,
    /// The fiber that has the thread, if its cancel waits in the inbox and the thread has not come by to read it: in a finalizer, which
    /// has no time slices. Written by the watchdog, for the fiber's next look-up.
    pub gone: AtomicU64,
}

impl Activity {
    /// A host function, or a poll of its future, begins. Returns what ran before it, for [`Activity::leave`]: host code may
    /// call C that calls the host.
    #[inline]
    pub fn enter(&self, function: u32) -> u32 {
        // One writer, its own thread: a plain increment is enough.
        self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let outer = self.function.load(Ordering::Relaxed);
        self.function.store(function + 1, Ordering::Relaxed);
        outer
    }

    /// It gave the thread back to `outer`, which is what `enter` returned.
    #[inline]
    pub fn leave(&self, outer: u32) {
        self.function.store(outer, Ordering::Relaxed);
    }
}
