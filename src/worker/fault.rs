//! A fiber whose guest code has faulted: the end of the incarnation.
//!
//! The guest's state may be broken, and what the fiber held is held for ever. So nothing of the guest runs again: the
//! caller is told what happened, and the interpreter is given up as after a panic of its thread (`thread`), with all
//! that is on its stacks and in its heap. That memory is abandoned, since other code may still point into it; the
//! number of abandoned interpreters is bounded by a setting.

use std::sync::atomic::Ordering;

use super::Worker;
use super::jobs::refuse;
use super::thread::Losses;
use crate::call::outcomes::Failure;
use crate::crossing::finish;
use crate::guest::Interpreter;

impl<I: Interpreter> Worker<I> {
    /// Tells the fiber's caller and leaves the loop for `thread`, by a panic that nothing on the way stops.
    #[cold]
    pub(super) fn faulted(&mut self, index: u32) -> ! {
        let mut crash = self.attached.crash();
        if let Some(fiber) = self.fibers[index as usize].as_deref_mut() {
            // Host futures first, as at any end.
            // SAFETY: the fiber is suspended for ever, and this is the worker loop.
            unsafe { finish::end_calls(&raw mut fiber.record) };
            crash.label.clone_from(&fiber.record.context.caller.label);
            self.local.inbox.outcomes.count(failure(crash.signal));
            if let Some(job) = fiber.record.job.take() {
                refuse(&self.local, job, crash.error());
            }
        }
        let message = crash.fault.clone();
        self.crash = Some(crash);
        std::panic::resume_unwind(Box::new(message))
    }
}

fn failure(signal: i32) -> Failure {
    match signal {
        libc::SIGBUS => Failure::CrashBus,
        libc::SIGFPE => Failure::CrashFpe,
        libc::SIGILL => Failure::CrashIll,
        libc::SIGABRT => Failure::CrashAbort,
        _ => Failure::CrashSegv,
    }
}

/// One more interpreter is abandoned: past the bound the process ends, with a report.
pub(super) fn count_abandoned(losses: &Losses, bound: u64) {
    let abandoned = losses.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
    if abandoned > bound {
        eprintln!(
            "sidestack: the process ends: {abandoned} interpreters were lost and their memory with them (setting: abandoned)"
        );
        std::process::abort();
    }
}
