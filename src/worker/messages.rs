//! What an interpreter thread is told.

use std::sync::atomic::Ordering;

use super::Worker;
use crate::call::inbox::Message;
use crate::call::ledger::Ending;
use crate::call::wake::{FiberKey, Way};
use crate::crossing::fence::drop_fenced;
use crate::guest::Interpreter;
use crate::host::record::Reason;

impl<I: Interpreter> Worker<I> {
    /// Acts on one message.
    pub(super) fn take(&mut self, message: Message) {
        self.quiet.looked = false;
        match message {
            Message::Job(job) => self.accept(job),
            Message::Wake(key) => {
                // At once: a cancel that comes later in the channel is later.
                if let Some(index) = self.woken(key, Way::Channel) {
                    self.resume(index);
                }
            }
            Message::Cancel(completion) => {
                let (index, id) = completion.fiber();
                let (index, id) = (index.load(Ordering::Relaxed), id.load(Ordering::Relaxed));
                if id == 0 {
                    self.forget(&completion);
                } else {
                    let key = FiberKey { index: u32::try_from(index).expect("written from a u32"), id };
                    self.pass_on_completion(key);
                    self.cancel(key, Reason::Cancelled);
                }
                drop_fenced(completion);
            }
            Message::Release { incarnation, slot } => {
                if incarnation == self.local.incarnation {
                    self.releases.push(slot);
                    if self.releases.len() >= 256 {
                        self.release_slots();
                    }
                }
            }
            Message::Drain { cancel_at, done } => self.books().drain(cancel_at, done),
            // To be woken by it was all.
            Message::Look => {}
            // Whoever asked may have stopped waiting.
            Message::Fibers { stacks, tell } => drop(tell.send(self.describe(stacks))),
            Message::CancelFiber { id, tell } => drop(tell.send(self.cancel_by_id(id))),
            Message::End => {
                let books = self.books();
                let done = books.ending.take().map_or_else(Vec::new, |ending| ending.done);
                books.ending = Some(Ending { cancel_at: None, done });
                self.cancel_all();
            }
        }
    }
}
