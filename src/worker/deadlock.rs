//! Fibers that wait for each other, and for nothing else.
//!
//! It is looked for where somebody wants to know: a call that said so ([`Call::detect_deadlock`](crate::Call::detect_deadlock)),
//! with its tasks, or an engine that takes no new calls. After a quiet moment each of these has to hold:
//!
//! 1. no fiber is ready, no message is there, no timer runs, and no call that waits in the backlog is going to be refused;
//! 2. each fiber is in host calls that are the engine's own (`FunctionSpec::own`): no host function is at work outside;
//! 3. no alarm of its guest's wakes a fiber, no deadline ends one that did not ask, and no token that lets others call is held outside (`Outside`); where the
//!    inbox is closed such a token calls nobody;
//! 4. the guest's garbage holds nothing that somebody waits for (a lost guard of a lock): it is collected;
//! 5. each future is polled once more, and goes on waiting, for something that never was given to Rust (`parked`).
//!
//! Then those that asked, or all where nobody can call any more, are cancelled. Each is told of all that wait. Whoever did not
//! ask waits on: perhaps for what they hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use super::fiber::State;
use crate::call::wake::FiberKey;
use crate::crossing::host_call;
use crate::diagnosis::FiberInfo;
use crate::guest::Interpreter;
use crate::host::parked;
use crate::host::record::{FiberRecord, Reason};

/// How long nothing happens before it is looked for.
const QUIET: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug, Default)]
pub struct Quiet {
    /// Fibers that asked to be told.
    pub asking: usize,
    /// It was looked for since a fiber last ran, or a message came.
    pub looked: bool,
}

impl<I: Interpreter> Worker<I> {
    /// When to look, if at all.
    pub(super) fn looks_for_deadlock(&self) -> Option<Instant> {
        let wanted = self.live > 0 && (self.quiet.asking > 0 || self.read_books().ending.is_some());
        (wanted && !self.quiet.looked).then(|| Instant::now() + QUIET)
    }

    /// Nothing has happened for a while: if nothing can any more, those that want to know are told.
    #[cold]
    pub(super) fn look_for_deadlock(&mut self) {
        self.quiet.looked = true;
        let nobody_calls = self.books().ending.is_some();
        if self.something_comes(nobody_calls) {
            return;
        }
        self.collect();
        if !self.ready.is_empty() || self.serving.any() {
            return;
        }
        // Collecting ran a fiber of the interpreter's own.
        self.quiet.looked = true;
        let Some(fibers) = self.parked() else { return };
        let fibers: Arc<[FiberInfo]> = fibers.into();
        let told: Vec<FiberKey> = self
            .fibers
            .iter()
            .flatten()
            .map(|fiber| &fiber.record)
            .filter(|record| nobody_calls || record.context.caller.detect_deadlock)
            .map(|record| record.key)
            .collect();
        let error = crate::Error::Deadlock { fibers: fibers.clone() };
        tracing::warn!(target: "sidestack", interpreter = self.local.inbox.interpreter, cancelled = told.len(), "{error}");
        self.local.inbox.outcomes.deadlock(&fibers);
        for key in told {
            if let Some(fiber) = self.fibers[key.index as usize].as_deref_mut() {
                fiber.record.deadlock = Some(fibers.clone());
            }
            self.cancel(key, Reason::Deadlock);
        }
        self.quiet.looked = false;
    }

    /// Rules 1 to 3.
    fn something_comes(&self, nobody_calls: bool) -> bool {
        let later = self.local.timers.borrow().len() > 0
            || self.read_books().backlog.earliest().is_some()
            || self.recycle.until().is_some()
            || (!nobody_calls && self.local.inbox.has_outside());
        later
            || self.fibers.iter().flatten().any(|fiber| {
                let FiberRecord { calls, cancel, context, alarm, .. } = &fiber.record;
                let own = |function: u32| self.local.registry.function(function).is_some_and(|entry| entry.own);
                let asks = nobody_calls || context.caller.detect_deadlock;
                fiber.state != State::Waiting
                    || cancel.is_some()
                    || *alarm != u64::MAX
                    || !calls.iter().all(|call| own(call.function))
                    || (!asks && context.caller.deadline.is_some())
            })
    }

    /// Rule 5: all that wait, if none of them goes on or waits for what others may have.
    fn parked(&mut self) -> Option<Vec<FiberInfo>> {
        let tenure = self.local.tenure.clone();
        let mut which = HashMap::new();
        let mut given_out = false;
        let keys: Vec<FiberKey> = self.fibers.iter().flatten().map(|fiber| fiber.record.key).collect();
        for key in keys {
            let Some(fiber) = self.fibers[key.index as usize].as_deref_mut() else { continue };
            let record = &raw mut fiber.record;
            let mut goes_on = false;
            let told = parked::asked(|| {
                // SAFETY: a live fiber's record; no fiber runs: this is the worker loop.
                goes_on =
                    unsafe { Self::away(&tenure, key.id, Some((*record).limit.due), || host_call::woken(record)) };
            });
            if goes_on {
                self.enqueue(key.index);
            }
            given_out |= told.iter().any(|wait| wait.given_out);
            let names: Vec<String> = told.into_iter().filter_map(|wait| wait.which).collect();
            which.insert(key.id, names.join(", "));
        }
        if given_out || !self.ready.is_empty() || self.serving.any() {
            return None;
        }
        let mut found = self.describe(false);
        for fiber in &mut found {
            fiber.which = fiber.id.and_then(|id| which.remove(&id)).filter(|which| !which.is_empty());
        }
        found.sort_by_key(|fiber| std::cmp::Reverse(fiber.age));
        Some(found)
    }
}
