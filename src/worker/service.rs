//! The interpreter's own work on its guest: starting, giving slots back, collecting, closing. It allocates and may run
//! finalizers, so it happens on a fiber too, one that has no caller and does not wait for others.

use super::Worker;
use super::fiber::State;
use crate::Error;
use crate::call::job::{Completion, Job, Over, Settings, Source, Work};
use crate::crossing::cancel;
use crate::guest::{FiberSetup, Interpreter, Task};
use crate::host::record::{Caller, Reason, Suspended};
use crate::value::{Flat, Results};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// Ended fibers that are kept after a burst.
const SPARE: usize = 1024;

/// Where a service fiber's outcome goes.
#[derive(Default)]
struct Outcome {
    result: Mutex<Option<Result<(), Error>>>,
    fiber: (AtomicU64, AtomicU64),
}

impl Completion for Outcome {
    fn complete(&self, outcome: Result<Results<'_>, Error>, _over: Over<'_>) -> Option<Waker> {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome.map(|_| ()));
        None
    }

    fn abandoned(&self) -> bool {
        false
    }

    fn fiber(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.fiber.0, &self.fiber.1)
    }
}

impl<I: Interpreter> Worker<I> {
    /// Runs a task to its end.
    pub(super) fn serve(&mut self, task: &Task<'_>) -> Result<(), Error> {
        let outcome = Arc::new(Outcome::default());
        let stack = self.pool.get()?;
        let key = self.new_key();
        let mut fiber = self.new_fiber();
        fiber.begin(key, stack, Caller { id: key.id, most: usize::MAX, ..Caller::default() }, &self.local);
        fiber.record.grace = self.settings.grace;
        fiber.record.cpu = None;
        let job = Box::new(Job {
            // What a service runs is in `task`; the job only carries the completion.
            work: Work::Eval {
                source: Arc::new(Source { name: String::new(), folder: Default::default(), text: Vec::new() }),
                args: Flat::new(),
            },
            settings: Settings::default(),
            begun: Instant::now(),
            completion: Some(outcome.clone()),
            started: true,
        });
        self.books().place(key.index as usize, job, None);
        let setup = FiberSetup { id: key.id, memory: usize::MAX };
        // SAFETY: no fiber runs: nobody else uses the interpreter now.
        unsafe { (*self.interpreter.get()).prepare(&mut fiber.run, &setup, task) };
        self.fibers[key.index as usize] = Some(fiber);
        self.live += 1;
        while self.is_live(key.index, key.id) {
            if let Some(fiber) = self.fibers[key.index as usize].as_deref_mut()
                && let Suspended::Call(_) = fiber.record.suspended
            {
                // Nothing here is to wait: what tries to gets an error.
                // SAFETY: the fiber is suspended and this is the worker.
                let _ = unsafe { cancel::whole(&raw mut fiber.record, Reason::Cancelled) };
                fiber.state = State::Ready;
            }
            self.resume(key.index);
        }
        let result = outcome.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or(Err(Error::InterpreterLost { started: true }))
    }

    fn is_live(&self, index: u32, id: u64) -> bool {
        self.fibers[index as usize].as_ref().is_some_and(|fiber| fiber.record.key.id == id)
    }

    /// Gives slots of the reference table back.
    pub(super) fn release_slots(&mut self) {
        if self.releases.is_empty() {
            return;
        }
        let slots = std::mem::take(&mut self.releases);
        if let Err(error) = self.serve(&Task::Release { slots: &slots }) {
            tracing::error!(target: "sidestack", %error, "giving references back failed");
        }
    }

    /// What a burst of fibers leaves in the guest's heap would stay there until later calls allocate as much again: collects
    /// it once there have been few for a whole period between two tidyings.
    pub(super) fn collect_after_burst(&mut self) {
        let most = std::mem::replace(&mut self.recent, self.live);
        if self.peak < I::BURST || most > self.peak / 8 {
            return;
        }
        self.peak = most;
        self.spare.truncate(SPARE);
        self.collect();
    }

    /// Collects the guest's garbage, all of it.
    pub(super) fn collect(&mut self) {
        if let Err(error) = self.serve(&Task::Collect) {
            tracing::error!(target: "sidestack", %error, "collecting garbage failed");
        }
    }

    /// Collects it for the sake of the host's memory that it holds. What waits for it tries again also if no collection is due: no
    /// more than a tenth of the time goes into these.
    pub(super) fn collect_for_host(&mut self) {
        let begun = Instant::now();
        if self.next_collection.is_none_or(|at| begun >= at) {
            self.collect();
            let over = Instant::now();
            self.next_collection = Some(over + (over - begun) * 9);
        }
        self.local.accounts.collected();
    }

    /// A load has ended, well or not: calls of the script go on.
    pub(super) fn loaded(&mut self, script: u32) {
        self.loading.retain(|loading| *loading != script);
        for job in std::mem::take(&mut self.books().held) {
            self.accept(job);
        }
    }

    /// Closes the interpreter; reports, and counts, the host objects that it still held.
    pub(super) fn stop(&mut self) -> usize {
        self.release_slots();
        if let Err(error) = self.serve(&Task::Stop) {
            tracing::error!(target: "sidestack", %error, "closing the interpreter failed");
        }
        let leaks = self.local.handles.borrow().leaks();
        for leak in &leaks {
            tracing::warn!(target: "sidestack", interpreter = self.local.inbox.interpreter, ?leak, "a host object leaked");
        }
        leaks.len()
    }

    /// Tells whoever waits for the end.
    pub(super) fn tell_ended(&mut self) {
        self.local.inbox.set_live(0, self.pool.stats().in_use);
        self.local.inbox.end();
        for done in self.books().ending.iter_mut().flat_map(|ending| ending.done.drain(..)) {
            let _ = done.send(());
        }
    }
}
