//! Replacing an interpreter that has done its number of calls, without losing one.
//!
//! ```text
//! counting ── enough calls ──► holding: new calls wait in the backlog; tasks and loads still start
//!                                 │ no fiber left, no message unread   │ HOLD is over (fibers that run on, or that wait
//!                                 ▼                                    ▼ for a call that waits)
//!                              the worker ends; calls go back to    calls go on; counting again after RETRY
//!                              the inbox, the next incarnation
//!                              starts them
//! ```

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Worker;
use super::thread::Losses;
use crate::call::job::{Job, Work};
use crate::guest::Interpreter;
use crate::value::Flat;

/// How long new calls wait for those that run.
const HOLD: Duration = Duration::from_secs(1);
/// How long after that it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub struct Recycle {
    calls: u64,
    /// Calls wait until then.
    until: Option<Instant>,
    /// Not before.
    again: Option<Instant>,
}

impl Recycle {
    /// A job starts.
    #[inline]
    pub fn count(&mut self, job: &Job, max: Option<u64>) {
        let Some(max) = max else { return };
        if matches!(job.work, Work::Export { .. } | Work::Main { .. }) {
            self.calls += 1;
        }
        if self.calls >= max && self.until.is_none() {
            let now = Instant::now();
            if self.again.is_none_or(|again| now >= again) {
                self.until = Some(now + HOLD);
            }
        }
    }

    /// Whether this job has to wait: any that is not bound to this incarnation.
    pub fn holds(&self, job: &Job) -> bool {
        self.holding() && job.work.is_call() && !job.work.args().is_some_and(Flat::has_attachments)
    }

    /// Whether calls wait.
    pub fn holding(&self) -> bool {
        self.until.is_some()
    }

    /// When they go on.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// They have waited for long enough.
    fn give_up(&mut self, now: Instant) -> bool {
        let over = self.until.is_some_and(|until| now >= until);
        if over {
            self.until = None;
            self.again = Some(now + RETRY);
        }
        over
    }
}

impl<I: Interpreter> Worker<I> {
    /// Lets calls go on that have waited for long enough.
    pub(super) fn run_hold(&mut self, now: Instant) {
        if self.recycle.give_up(now) {
            tracing::warn!(
                target: "sidestack", interpreter = self.local.inbox.interpreter, fibers = self.live,
                "an interpreter is not replaced yet: fibers there did not end within a second"
            );
            self.accept_backlog();
        }
    }

    /// Whether the next incarnation is to take over: nothing is left here that it could not do.
    pub(super) fn spent(&mut self) -> bool {
        let idle = self.recycle.holding() && self.live == 0;
        let books = self.books();
        idle && books.ending.is_none() && books.held.is_empty()
    }

    /// Leaves what waits to the next incarnation.
    pub(super) fn hand_on(&mut self, losses: &Losses) {
        losses.recycled.fetch_add(1, Ordering::Relaxed);
        self.count_started();
        let unread = std::mem::take(&mut self.books().unread);
        while let Some(job) = self.books().backlog.pop() {
            self.local.inbox.requeue(job, true);
        }
        unread.into_iter().for_each(|message| self.local.inbox.send(message));
        self.local.inbox.set_live(0, 0);
    }
}
