//! The worker's own timers: waiting without an async runtime.
//!
//! Times are rounded up to a millisecond and waits of the same millisecond share a bucket, so that ten thousand sleeps cost a
//! push each. A cancelled wait stays in its bucket as an empty place until the bucket is due; when such places outnumber
//! the live ones, they are swept out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::local::Local;

/// Waits by due time.
pub struct Timers {
    origin: Instant,
    buckets: BTreeMap<u64, Vec<(u64, Option<Waker>)>>,
    next: u64,
    live: usize,
    empty: usize,
}

/// One wait: its bucket and its number.
#[derive(Debug, Clone, Copy)]
pub struct TimerKey {
    tick: u64,
    number: u64,
}

impl Timers {
    /// No timers; ticks count from now.
    pub fn new() -> Self {
        Timers { origin: Instant::now(), buckets: BTreeMap::new(), next: 0, live: 0, empty: 0 }
    }

    fn tick_after(&self, when: Instant) -> u64 {
        let nanos = when.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Wakes `waker` at `when` or up to a millisecond later.
    pub fn add(&mut self, when: Instant, waker: Waker) -> TimerKey {
        let tick = self.tick_after(when);
        let number = self.next;
        self.next += 1;
        self.live += 1;
        self.buckets.entry(tick).or_default().push((number, Some(waker)));
        TimerKey { tick, number }
    }

    /// Forgets a wait, if it is still there.
    pub fn remove(&mut self, key: TimerKey) {
        let Some(bucket) = self.buckets.get_mut(&key.tick) else { return };
        // Numbers grow within a bucket.
        let Ok(place) = bucket.binary_search_by_key(&key.number, |(number, _)| *number) else { return };
        if bucket[place].1.take().is_some() {
            self.live -= 1;
            self.empty += 1;
        }
        if self.empty > 1024 && self.empty > self.live {
            self.empty = 0;
            self.buckets.retain(|_, bucket| {
                bucket.retain(|(_, waker)| waker.is_some());
                !bucket.is_empty()
            });
        }
    }

    /// When the next bucket is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.buckets.keys().next().map(|tick| self.origin + Duration::from_millis(*tick))
    }

    /// Takes one bucket that is due.
    pub fn due(&mut self, now: Instant) -> Option<impl Iterator<Item = Waker> + use<>> {
        let entry = self.buckets.first_entry()?;
        let elapsed = now.saturating_duration_since(self.origin).as_millis();
        if u128::from(*entry.key()) > elapsed {
            return None;
        }
        let bucket = entry.remove();
        let full = bucket.iter().filter(|(_, waker)| waker.is_some()).count();
        self.live -= full;
        self.empty = self.empty.saturating_sub(bucket.len() - full);
        Some(bucket.into_iter().filter_map(|(_, waker)| waker))
    }

    /// Waits that are still to come.
    pub fn len(&self) -> usize {
        self.live
    }
}

/// A wait on the interpreter thread's timers.
pub struct Sleep {
    local: Rc<Local>,
    begun: Instant,
    until: Instant,
    polled: bool,
    key: Option<TimerKey>,
}

impl Sleep {
    /// Done after `duration`, to the millisecond.
    pub fn new(local: Rc<Local>, duration: Duration) -> Self {
        let begun = Instant::now();
        Sleep {
            local,
            begun,
            until: begun + duration.min(Duration::from_secs(100 * 365 * 86_400)),
            polled: false,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The first poll follows `new` at once, as a rule, and need not look; if not, the timer is due at once.
        if (self.polled || self.until <= self.begun) && Instant::now() >= self.until {
            return Poll::Ready(());
        }
        self.polled = true;
        // A spurious poll finds its wait in place; the waker of one fiber's futures is always the same one, but a
        // combinator may have moved the future to another of its own.
        if let Some(key) = self.key.take() {
            self.local.timers.borrow_mut().remove(key);
        }
        let key = self.local.timers.borrow_mut().add(self.until, cx.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.local.timers.borrow_mut().remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_come_due_in_order_and_removed_waits_do_not() {
        let mut timers = Timers::new();
        let start = timers.origin;
        let waker = Waker::noop();
        let late = timers.add(start + Duration::from_millis(5), waker.clone());
        timers.add(start + Duration::from_micros(1500), waker.clone());
        timers.add(start + Duration::from_millis(2), waker.clone());
        assert_eq!(timers.next_due(), Some(start + Duration::from_millis(2)));
        assert!(timers.due(start + Duration::from_millis(1)).is_none());
        assert_eq!(timers.due(start + Duration::from_millis(2)).expect("due").count(), 2);
        timers.remove(late);
        assert_eq!(timers.due(start + Duration::from_millis(9)).expect("an empty bucket").count(), 0);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn cancelled_waits_do_not_pile_up() {
        let mut timers = Timers::new();
        let far = timers.origin + Duration::from_secs(3600);
        for i in 0..100_000u64 {
            let key = timers.add(far + Duration::from_millis(i % 7), Waker::noop().clone());
            timers.remove(key);
        }
        let places: usize = timers.buckets.values().map(Vec::len).sum();
        assert!(places < 3000, "{places} places are left of 100000 cancelled waits");
    }
}
