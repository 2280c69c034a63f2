//! What every fiber is at, also where an interpreter hangs.

use std::time::{Duration, Instant};

use super::{Engine, Inner};
use crate::call::inbox::Message;
use crate::diagnosis::{FiberInfo, FiberState};

/// How long interpreters get to answer.
const PATIENCE: Duration = Duration::from_millis(250);

impl Engine {
    /// Every fiber, and every call that waits for one, oldest first.
    ///
    /// Interpreters answer between two turns of their fibers: at the latest when a time slice ends. One that does not
    /// within 250 ms is in a C function or a host function that does not return, or has more to do than it can. Of such a one
    /// there is what is known without it: the fiber that has the thread, for how long, the host function that it is in, and
    /// those fibers whose calls have labels.
    ///
    /// Needs no async runtime.
    pub async fn fibers(&self) -> Vec<FiberInfo> {
        let until = Instant::now() + PATIENCE;
        let asked: Vec<_> = self
            .0
            .inboxes
            .iter()
            .map(|inbox| {
                let (tell, told) = crossbeam_channel::bounded(1);
                inbox.send(Message::Fibers(tell));
                told
            })
            .collect();
        let engine = self.0.clone();
        // A thread of a pool waits, with a limit that holds whatever the interpreters do.
        blocking::unblock(move || {
            let mut found = Vec::new();
            for (interpreter, told) in asked.into_iter().enumerate() {
                found.extend(told.recv_deadline(until).unwrap_or_else(|_| engine.known(interpreter)));
            }
            found.sort_by_key(|fiber| std::cmp::Reverse(fiber.age));
            found
        })
        .await
    }
}

impl Inner {
    /// What is known of an interpreter's fibers without asking it.
    fn known(&self, interpreter: usize) -> Vec<FiberInfo> {
        let inbox = &self.inboxes[interpreter];
        let running = self.watchdog.running(interpreter);
        let is_running = |id| running.as_ref().is_some_and(|(fiber, ..)| *fiber == id);
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
        let Some((id, held, function)) = &running else { return found };
        if !found.iter().any(|fiber| fiber.id == Some(*id)) {
            found.push(FiberInfo { id: Some(*id), age: *held, ..blank });
        }
        for fiber in found.iter_mut().filter(|fiber| fiber.id.is_some_and(is_running)) {
            fiber.state = FiberState::Running;
            fiber.held = Some(*held);
            fiber.waits_for.clone_from(function);
        }
        found
    }
}
