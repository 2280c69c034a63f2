//! Jobs that wait for a fiber: first in, first out, except that one can leave from the middle when its caller gives up or
//! its deadline passes.
//!
//! A job that waits has a ticket, which its completion keeps where a running one keeps its fiber (id 0 tells them apart).
//! A place whose job has left stays, empty, until those before it are gone: leaving costs no search.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::call::job::{Completion, Job};

/// See the module.
#[derive(Default)]
pub struct Backlog {
    places: VecDeque<Option<Box<Job>>>,
    /// The ticket of the first place. Tickets begin with 1.
    first: u64,
    jobs: usize,
    /// Deadlines, with tickets; those of jobs that have left stay until they are due.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Backlog {
    /// Puts a job at the end; it leaves at `deadline` at the latest.
    pub fn push(&mut self, job: Box<Job>, deadline: Option<Instant>) {
        if self.places.is_empty() {
            self.first += 1;
        }
        let ticket = self.first + self.places.len() as u64;
        if let Some(completion) = &job.completion {
            let (index, id) = completion.fiber();
            index.store(ticket, Ordering::Relaxed);
            id.store(0, Ordering::Relaxed);
        }
        if let Some(deadline) = deadline {
            self.due.push(Reverse((deadline, ticket)));
        }
        self.places.push_back(Some(job));
        self.jobs += 1;
    }

    /// Takes the first job.
    pub fn pop(&mut self) -> Option<Box<Job>> {
        loop {
            let place = self.places.pop_front()?;
            // An empty queue's next ticket is one further: `push` counts on.
            if !self.places.is_empty() {
                self.first += 1;
            }
            if let Some(job) = place {
                self.jobs -= 1;
                if self.jobs == 0 {
                    self.due.clear();
                }
                return Some(job);
            }
        }
    }

    /// Takes the job of a caller that gave up, if it is here.
    pub fn remove(&mut self, completion: &Arc<dyn Completion>) -> Option<Box<Job>> {
        let ticket = completion.fiber().0.load(Ordering::Relaxed);
        let own = |job: &Job| job.completion.as_ref().is_some_and(|own| Arc::ptr_eq(own, completion));
        self.take(ticket, own)
    }

    /// Takes a job whose deadline has passed.
    pub fn due(&mut self, now: Instant) -> Option<Box<Job>> {
        while let Some(&Reverse((deadline, ticket))) = self.due.peek() {
            if now < deadline {
                return None;
            }
            self.due.pop();
            if let Some(job) = self.take(ticket, |_| true) {
                return Some(job);
            }
        }
        None
    }

    /// When the next deadline passes; its job may have left.
    pub fn earliest(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// All that wait, in order.
    pub fn jobs(&self) -> impl Iterator<Item = &Box<Job>> {
        self.places.iter().flatten()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    fn take(&mut self, ticket: u64, is_it: impl FnOnce(&Job) -> bool) -> Option<Box<Job>> {
        let at = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let place = self.places.get_mut(at)?;
        let job = place.take_if(|job| is_it(job))?;
        self.jobs -= 1;
        Some(job)
    }
}
