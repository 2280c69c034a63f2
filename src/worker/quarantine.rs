//! Phase c of a cancel: a thread that does not come back is given up.
//!
//! The engine's watchdog decides when ([`Watched`]); here is what happens then, on its thread:
//!
//! 1. The thread is kept away (`call::presence`), and found to be in the same absence still; from then on it is lost. When it comes back,
//!    if ever, it finds so before it touches anything (`lost::came_back`).
//! 2. Its books are closed: calls that have begun are told, with nothing locked; the others go back to the inbox.
//! 3. It is counted as abandoned, and past the bound the process ends.
//! 4. A replacement starts on a thread of its own, and reads on from the same inbox; or, when it was to end, the inbox is ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::thread::{Post, end, replace};
use crate::call::inbox::Inbox;
use crate::call::ledger::Answers;
use crate::call::presence::Absence;
use crate::crossing::fence::{Panicked, fence};
use crate::guest::Guest;

/// An interpreter as its engine watches over it. The threads of its incarnations hold it; the engine does not.
pub trait Watched: Send + Sync {
    /// Its way in.
    fn inbox(&self) -> &Arc<Inbox>;

    /// How long a fiber that was cancelled has before its interpreter is given up.
    fn patience(&self) -> Duration;

    /// Its thread is away: answers calls whose time is over. True: the caller of the fiber that has the thread has gone, or all are to
    /// end.
    fn answer_overdue(&self, absence: Absence) -> bool;

    /// Gives the thread up; `last`: without a replacement. False: it has come back.
    fn give_up(self: Arc<Self>, absence: Absence, last: bool) -> bool;
}

impl<G: Guest> Watched for Post<G> {
    fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    fn patience(&self) -> Duration {
        self.settings.grace.saturating_add(self.settings.give_up)
    }

    fn answer_overdue(&self, absence: Absence) -> bool {
        let Some(tenure) = self.inbox.tenure() else { return false };
        let look = tenure.meanwhile(absence, |books| {
            let look = books.look(&self.inbox, absence.fiber, Instant::now());
            if look.gone {
                tenure.cancel_current(absence.fiber);
            }
            (look, false)
        });
        look.is_some_and(|look| {
            tell(look.answers, &self.inbox);
            look.gone
        })
    }

    fn give_up(self: Arc<Self>, absence: Absence, last: bool) -> bool {
        let Some(tenure) = self.inbox.tenure() else { return false };
        let closed = tenure.meanwhile(absence, |books| (books.give_up(&self.inbox, Some(absence.fiber)), true));
        let Some((answers, ending)) = closed else { return false };
        let function = tenure.activity.running().0;
        let function = function.and_then(|id| self.registry.name(id)).unwrap_or("none");
        let listed = self.inbox.roster.list();
        let label = |fiber| listed.iter().find(|(id, _)| *id == fiber).map(|(_, listed)| listed.label.as_str());
        tracing::error!(
            target: "sidestack", interpreter = self.inbox.interpreter, fiber = absence.fiber, label = label(absence.fiber),
            host_function = function,
            "an interpreter's thread does not come back; it is left behind"
        );
        answers.fibers().for_each(|fiber| note_lost(fiber, label(fiber)));
        self.inbox.roster.clear();
        self.inbox.set_live(0, 0);
        self.inbox.left_behind().fetch_add(1, Ordering::AcqRel);
        self.losses.quarantined.fetch_add(1, Ordering::Relaxed);
        self.losses.count_abandoned(self.settings.abandoned);
        tell(answers, &self.inbox);
        let over = |at: Instant| at <= Instant::now();
        if last || ending.as_ref().is_some_and(|ending| ending.cancel_at.is_none_or(over)) {
            end(&self, ending);
        } else {
            replace(&self, ending);
        }
        true
    }
}

/// A fiber's call is over, because there is no interpreter for it any more.
pub(super) fn note_lost(fiber: u64, label: Option<&str>) {
    tracing::warn!(target: "sidestack", fiber, label, "a fiber is lost with its interpreter");
}

/// Tells callers, whose wakers and drops may panic.
pub(super) fn tell(answers: Answers, inbox: &Inbox) {
    if let Err(Panicked(message)) = fence(|| answers.tell(&inbox.outcomes)) {
        tracing::error!(target: "sidestack", %message, "telling callers panicked");
    }
}
