//! What becomes of an incarnation that was lost, on its thread, once its calls are told and its replacement is under way.
//!
//! **Reclaimed**: control has come back from its fibers, and its guest can give back all that it has without running. Then its
//! stacks are unmapped, what host objects it held are dropped, and the thread ends.
//!
//! **Abandoned**: all other guests. Code somewhere else (a thread that C started, a callback in a library) may still point into
//! stacks and heap: they are leaked, counted, and bounded by a setting. The thread sleeps for ever, since its end would run
//! destructors of the guest's thread-local objects.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use super::Worker;
use super::thread::Losses;
use crate::crossing::fence::drop_fenced;
use crate::guest::Interpreter;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Thread {
    /// Nothing of a guest is left on it.
    Ends,
    /// It must not end.
    Sleeps,
}

/// Gives back what can be given back, after [`Worker::lose`].
#[cold]
pub(super) fn clear<I: Interpreter>(mut worker: ManuallyDrop<Worker<I>>, losses: &Losses) -> Thread {
    // SAFETY: the loop has been left, so that each fiber is suspended; nobody resumes one again.
    if unsafe { (*worker.interpreter.get()).reclaim() } {
        // Each behind its own fence: they hold values of the host's.
        worker.local.let_go().into_iter().for_each(drop_fenced);
        worker.fibers.drain(..).for_each(drop_fenced);
        drop_fenced(ManuallyDrop::into_inner(worker));
        losses.reclaimed.fetch_add(1, Ordering::Relaxed);
        return Thread::Ends;
    }
    losses.count_abandoned(worker.settings.abandoned);
    // The leaked worker must not keep the channel open when there is no other reader.
    worker.inbox = crossbeam_channel::never();
    // SAFETY: nothing of the guest runs on this thread again, and the rest of the worker is leaked unread.
    unsafe { std::ptr::drop_in_place(&raw mut worker.attached) };
    Thread::Sleeps
}

impl Losses {
    /// One more interpreter is abandoned: past the bound the process ends, with a report.
    fn count_abandoned(&self, bound: u64) {
        let abandoned = self.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
        if abandoned > bound {
            eprintln!(
                "sidestack: the process ends: {abandoned} interpreters were lost and their memory with them (setting: abandoned)"
            );
            std::process::abort();
        }
    }
}

/// The rest of a thread that must not end.
pub(super) fn sleep() -> ! {
    loop {
        std::thread::park();
    }
}
