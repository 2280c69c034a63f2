//! A fiber whose guest code has faulted: the end of the incarnation.
//!
//! The guest's state may be broken, and what the fiber held is held for ever. So nothing of the guest runs again: the
//! caller is told what happened, and the interpreter is given up as after a panic of its thread (`thread`), with all
//! that is on its stacks and in its heap (`lost`).

use super::Worker;
use super::jobs::fail;
use crate::call::outcomes::Failure;
use crate::crossing::finish;
use crate::guest::Interpreter;

impl<I: Interpreter> Worker<I> {
    /// Tells the fiber's caller and leaves the loop for `thread`, by a panic that nothing on the way stops.
    #[cold]
    pub(super) fn faulted(&mut self, index: u32) -> ! {
        let mut crash = self.attached.crash(self.settings.stack);
        let (_, to) = self.books().leave(index as usize);
        if let Some(fiber) = self.fibers[index as usize].as_deref_mut() {
            // Host futures first, as at any end.
            // SAFETY: the fiber is suspended for ever, and this is the worker loop.
            unsafe { finish::end_calls(&raw mut fiber.record) };
            crash.label = self.local.inbox.roster.label(fiber.record.key.id);
            self.local.inbox.outcomes.count(failure(crash.signal));
            if let Some(job) = fiber.record.job.take() {
                fail(&self.local, job, to, crash.error());
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
