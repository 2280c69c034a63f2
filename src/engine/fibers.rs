//! What every fiber is at, also where an interpreter hangs; and ending one of them.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::{Engine, Inner};
use crate::call::inbox::Message;
use crate::diagnosis::{Backtrace, FiberInfo, FiberState};
use crate::signal::snapshot;

/// How long interpreters get to answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the thread of one that does not gets to say where it is.
const SNAPSHOT: Duration = Duration::from_millis(100);

/// What [`Engine::cancel`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Cancelled {
    /// The fiber is being ended.
    Now,
    /// The fiber has an interpreter that does not answer, or may have: it is ended as soon as the interpreter does.
    Later,
    /// There is no such fiber.
    NotFound,
}

impl Engine {
    /// Every fiber, and every call that waits for one, oldest first.
    ///
    /// Interpreters answer between two turns of their fibers: at the latest when a time slice ends. One that does not
    /// within 250 ms is in a C function or a host function that does not return, or has more to do than it can. Of such a one
    /// there is what is known without it: the fiber that has the thread, for how long, the host function that it is in, its script's
    /// line (a signal to the thread asks for that), and those fibers whose calls have labels.
    ///
    /// Needs no async runtime.
    pub async fn fibers(&self) -> Vec<FiberInfo> {
        self.ask_fibers(false).await
    }

    /// The same, with the stack of each fiber, of C and of its script, in [`FiberInfo::backtrace`]; also of the one that has the
    /// thread of an interpreter that does not answer, whatever it runs.
    ///
    /// It reads up to 64 frames of each fiber, about 30 µs, while its interpreter does nothing else.
    pub async fn fibers_with_stacks(&self) -> Vec<FiberInfo> {
        self.ask_fibers(true).await
    }

    async fn ask_fibers(&self, stacks: bool) -> Vec<FiberInfo> {
        let (asked, until) = self.ask(|tell| Message::Fibers { stacks, tell });
        let engine = self.0.clone();
        // A thread of a pool waits, with a limit that holds whatever the interpreters do.
        blocking::unblock(move || {
            let mut found = Vec::new();
            for (interpreter, told) in asked.into_iter().enumerate() {
                found.extend(told.recv_deadline(until).unwrap_or_else(|_| engine.known(interpreter, stacks)));
            }
            found.sort_by_key(|fiber| std::cmp::Reverse(fiber.age));
            found
        })
        .await
    }

    /// Cancels the fiber of this id, as dropping its call does: its host future goes, its script cleans up, and after the grace
    /// it is killed. Its caller gets [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// Needs no async runtime.
    pub async fn cancel(&self, fiber: u64) -> Cancelled {
        let (asked, until) = self.ask(|tell| Message::CancelFiber { id: fiber, tell });
        blocking::unblock(move || {
            let answers: Vec<_> = asked.iter().map(|told| told.recv_deadline(until)).collect();
            if answers.contains(&Ok(true)) {
                Cancelled::Now
            } else if answers.iter().any(Result::is_err) {
                Cancelled::Later
            } else {
                Cancelled::NotFound
            }
        })
        .await
    }

    /// Sends each interpreter a question; until when to wait for the answers.
    fn ask<A>(&self, question: impl Fn(Sender<A>) -> Message) -> (Vec<Receiver<A>>, Instant) {
        let asked = self.0.inboxes.iter().map(|inbox| {
            let (tell, told) = crossbeam_channel::bounded(1);
            inbox.send(question(tell));
            told
        });
        (asked.collect(), Instant::now() + PATIENCE)
    }
}

impl Inner {
    /// What is known of an interpreter's fibers without asking it.
    fn known(&self, interpreter: usize, stacks: bool) -> Vec<FiberInfo> {
        let inbox = &self.inboxes[interpreter];
        let running = self.watchdog.running(interpreter);
        let is_running = |id| running.as_ref().is_some_and(|running| running.fiber == id);
        let blank = FiberInfo::blank(self.guest, inbox.interpreter, FiberState::Unknown);
        let mut found: Vec<FiberInfo> = inbox
            .roster
            .list()
            .into_iter()
            .map(|(id, listed)| FiberInfo {
                id: Some(id),
                label: Some(listed.label),
                age: listed.begun.elapsed(),
                ..blank.clone()
            })
            .collect();
        let Some(running) = &running else { return found };
        if !found.iter().any(|fiber| fiber.id == Some(running.fiber)) {
            found.push(FiberInfo { id: Some(running.fiber), age: running.held, ..blank });
        }
        let snapshot = running.thread.and_then(|thread| snapshot::of_thread(thread, SNAPSHOT));
        for fiber in found.iter_mut().filter(|fiber| fiber.id.is_some_and(is_running)) {
            fiber.state = FiberState::Running;
            fiber.held = Some(running.held);
            fiber.waits_for.clone_from(&running.function);
            // It may be another one's by now.
            if let Some((_, backtrace)) = snapshot.clone().filter(|(id, _)| *id == running.fiber) {
                fiber.at = backtrace.script_place();
                fiber.backtrace = if stacks { backtrace } else { Backtrace::default() };
            }
        }
        found
    }
}
