//! What an interpreter thread is at, as the watchdog reads it.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. Only its own thread writes it, but for `gone`.
#[derive(Debug, Default)]
pub struct Activity {
    /// Low half: id + 1 of the host function that runs now; 0: none. High half: counts host functions started and polls,
    /// wrapping. One word: a host call costs about a cycle for each store that it makes.
    run: AtomicU64,
    /// When the cancel of the fiber that has the thread began, or when it will: nanoseconds of CLOCK_MONOTONIC; `u64::MAX`: never.
    pub due: AtomicU64,
    /// The fiber that has the thread, if its cancel waits in the inbox and the thread has not come by to read it: in a finalizer, which
    /// has no time slices. Written by the watchdog, for the fiber's next look-up.
    pub gone: AtomicU64,
}

/// One more, for `run`.
const ONE: u64 = 1 << 32;

impl Activity {
    /// A host function, or a poll of its future, begins. Returns what is to be there when it is over, for [`Activity::leave`]: what
    /// ran before it, since host code may call C that calls the host. (The numbers of runs inside it are used again then: who
    /// looks between two of them may take them for one.)
    #[inline]
    pub fn enter(&self, function: u32) -> u64 {
        // One writer, its own thread: a plain change is enough.
        let run = self.run.load(Ordering::Relaxed);
        let back = run.wrapping_add(ONE);
        self.run.store(back - u64::from(run as u32) + u64::from(function + 1), Ordering::Relaxed);
        back
    }

    /// It gave the thread back to `outer`, which is what `enter` returned.
    #[inline]
    pub fn leave(&self, outer: u64) {
        self.run.store(outer, Ordering::Relaxed);
    }

    /// The host function that runs now, and a number that tells this run from the next.
    pub fn running(&self) -> (Option<u32>, u32) {
        let run = self.run.load(Ordering::Relaxed);
        ((run as u32).checked_sub(1), (run >> 32) as u32)
    }
}
