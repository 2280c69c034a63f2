//! Pages that no worker has taken yet, by the time that they came, for the one who refuses those that have waited for too long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Exchange;
use crate::{Error, Limit};

/// See the module.
pub struct Waiting {
    after: Duration,
    /// The oldest first. Those that have been taken stay until they are at the front.
    pages: Mutex<VecDeque<Weak<Exchange>>>,
}

impl Waiting {
    /// None yet; each may wait for so long.
    pub fn new(after: Duration) -> Waiting {
        Waiting { after, pages: Mutex::default() }
    }

    /// One more waits.
    pub fn push(&self, page: &Arc<Exchange>) {
        let mut pages = self.lock();
        front(&mut pages);
        pages.push_back(Arc::downgrade(page));
    }

    /// When the first one has waited for too long.
    pub fn earliest(&self) -> Option<Instant> {
        front(&mut self.lock()).and_then(|page| page.asked().checked_add(self.after))
    }

    /// Tells those that have that nobody takes them.
    pub fn refuse_overdue(&self, now: Instant) {
        loop {
            let mut pages = self.lock();
            let over = |page: &Arc<Exchange>| now.saturating_duration_since(page.asked()) >= self.after;
            let Some(page) = front(&mut pages).filter(over) else { return };
            pages.pop_front();
            drop(pages);
            if page.take() {
                page.end(Err(Error::time_is_over(Limit::Queue, self.after, "queue_timeout")));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Weak<Exchange>>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest page that still waits.
fn front(pages: &mut VecDeque<Weak<Exchange>>) -> Option<Arc<Exchange>> {
    while let Some(first) = pages.front() {
        match first.upgrade().filter(|page| !page.taken()) {
            Some(page) => return Some(page),
            None => drop(pages.pop_front()),
        }
    }
    None
}
