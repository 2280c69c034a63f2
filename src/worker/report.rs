//! What the fibers of an interpreter are at, for whoever asks.

use super::Worker;
use super::fiber::{Fiber, State};
use crate::call::job::Job;
use crate::diagnosis::{Backtrace, FiberInfo, FiberState, Parts};
use crate::guest::Interpreter;
use crate::host::record::{Cancel, Suspended};
use crate::signal::snapshot::frames;

impl<I: Interpreter> Worker<I> {
    /// Every fiber, and every job that waits for one. None of them runs now: this is the worker loop. With `stacks`: also their
    /// frames, whose addresses are for the asker to turn into names.
    pub(super) fn describe(&self, stacks: bool) -> Vec<FiberInfo> {
        let books = self.read_books();
        let waiting = books.backlog.jobs().chain(&books.held).map(|job| self.describe_job(job));
        self.fibers.iter().flatten().map(|fiber| self.describe_fiber(fiber, stacks)).chain(waiting).collect()
    }

    fn describe_fiber(&self, fiber: &Fiber<I>, stacks: bool) -> FiberInfo {
        let record = &fiber.record;
        let waits_for = match record.suspended {
            Suspended::Call(id) => record.find(id).and_then(|place| self.function_name(record.at(place).function)),
            _ => None,
        };
        let state = match (record.cancel, fiber.state, record.suspended) {
            (Some(Cancel { target: None, .. }), ..) => FiberState::Cancelling,
            (_, State::Waiting, _) => FiberState::Waiting,
            // What a script that never gives way looks like between two slices.
            (_, State::Ready, Suspended::Turn) | (_, State::Running, _) => FiberState::Running,
            (_, State::Ready | State::Done, _) => FiberState::Ready,
        };
        // SAFETY: this is the thread's own stack and no fiber runs: nobody else uses the interpreter now. The fiber has not
        // ended, and `saved` is what its last switch left.
        let at = unsafe { (*self.interpreter.get()).position(&fiber.run, &fiber.saved) };
        FiberInfo {
            id: Some(record.key.id),
            label: self.local.inbox.roster.label(record.key.id),
            state,
            age: fiber.asked.elapsed(),
            waits_for,
            at: at.filter(|_| fiber.begun),
            backtrace: if stacks && fiber.begun { self.backtrace(fiber) } else { Backtrace::default() },
            ..self.blank()
        }
    }

    fn backtrace(&self, fiber: &Fiber<I>) -> Backtrace {
        // SAFETY: as above.
        let script = unsafe { (*self.interpreter.get()).stack(&fiber.run, &fiber.saved) };
        let c = frames(fiber.record.frame, fiber.record.bounds);
        Backtrace::new(Parts { c, script, ..Parts::default() })
    }

    fn describe_job(&self, job: &Job) -> FiberInfo {
        FiberInfo { label: job.settings.label.clone(), age: job.begun.elapsed(), ..self.blank() }
    }

    fn function_name(&self, function: u32) -> Option<String> {
        self.local.registry.name(function).map(str::to_owned)
    }

    fn blank(&self) -> FiberInfo {
        FiberInfo::blank(self.local.guest, self.local.inbox.interpreter, FiberState::Queued)
    }
}
