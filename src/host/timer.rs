//! The worker's own timers: waiting without an async runtime.
//!
//! Times are rounded up to a tick, a sixteenth of a millisecond, and waits of the same tick share a bucket. The buckets of
//! the next 1,024 ticks are a wheel, so that ten thousand sleeps cost a push each; those of later ones are a map, and a whole
//! millisecond shares one, since a long wait loses little by it. A bucket that is due is taken as a whole. A cancelled wait
//! stays in its bucket as an empty place until then; when such places outnumber the live ones, they are swept out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::local::Local;
use crate::call::wake::FiberKey;

/// Nanoseconds of a tick: a power of two.
const TICK: u64 = 1 << 16;
/// Ticks on the wheel: a power of two.
const WHEEL: u64 = 1024;
/// Ticks that share a bucket beyond it.
const COARSE: u64 = 16;
/// Empty buckets that are kept.
const SPARE: usize = 16;
/// Bits of a word of the map of used ones.
const WORD: u64 = 64;

/// Waits by due time.
pub struct Timers {
    origin: Instant,
    /// The same, or a moment earlier, as `now` tells it: so nobody is woken too early.
    zero: u64,
    /// What was due at this tick, and before, has been taken.
    passed: u64,
    /// The buckets of the `WHEEL` ticks after `passed`, each at its tick's remainder.
    wheel: Vec<Vec<Wait>>,
    /// Which of them hold anything.
    used: [u64; (WHEEL / WORD) as usize],
    /// Later ones, as seen when they were made.
    later: BTreeMap<u64, Vec<Wait>>,
    /// Empty buckets' memory, for the next ones.
    spare: Vec<Vec<Wait>>,
    next: u64,
    live: usize,
    empty: usize,
}

/// One wait of a bucket.
pub struct Wait {
    number: u64,
    /// Who waits; `None`: it was cancelled.
    pub whom: Option<Whom>,
}

/// Who waits.
pub enum Whom {
    /// A fiber of this interpreter: its host call's own future, or a part of it.
    Fiber(FiberKey),
    /// Somebody with a waker of their own.
    Other(Waker),
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
        Timers {
            zero: now(),
            origin: Instant::now(),
            passed: 0,
            wheel: (0..WHEEL).map(|_| Vec::new()).collect(),
            used: [0; (WHEEL / WORD) as usize],
            later: BTreeMap::new(),
            spare: Vec::new(),
            next: 0,
            live: 0,
            empty: 0,
        }
    }

    /// Wakes them at `when`, in nanoseconds of [`now`], or up to a tick later, if it is soon. `None`: that is past already.
    pub fn add(&mut self, when: u64, whom: Whom) -> Option<TimerKey> {
        let mut tick = when.saturating_sub(self.zero).div_ceil(TICK);
        if tick <= self.passed {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.live += 1;
        let wait = Wait { number, whom: Some(whom) };
        if tick - self.passed <= WHEEL {
            let place = tick % WHEEL;
            let bucket = &mut self.wheel[place as usize];
            if bucket.is_empty() {
                self.used[(place / WORD) as usize] |= 1 << (place % WORD);
                if let Some(spare) = self.spare.pop() {
                    *bucket = spare;
                }
            }
            bucket.push(wait);
        } else {
            tick = tick.next_multiple_of(COARSE);
            self.later.entry(tick).or_default().push(wait);
        }
        Some(TimerKey { tick, number })
    }

    /// Whether a wait was taken because its time had come.
    #[inline]
    pub fn passed(&self, key: TimerKey) -> bool {
        key.tick <= self.passed
    }

    /// Changes who waits, if the wait is still there. What is returned is to be dropped, or used, with the timers free again.
    #[must_use]
    pub fn replace(&mut self, key: TimerKey, whom: Option<Whom>) -> Option<Whom> {
        if self.passed(key) {
            return whom;
        }
        let wheel = (key.tick - self.passed <= WHEEL).then(|| &mut self.wheel[(key.tick % WHEEL) as usize]);
        let found = wheel
            .and_then(|bucket| find(bucket, key.number))
            .or_else(|| self.later.get_mut(&key.tick).and_then(|bucket| find(bucket, key.number)));
        let Some(found) = found else { return whom };
        let cancelled = whom.is_none();
        let former = std::mem::replace(found, whom);
        if cancelled && former.is_some() {
            self.live -= 1;
            self.empty += 1;
            if self.empty > 1024 && self.empty > self.live {
                self.sweep();
            }
        }
        former
    }

    fn sweep(&mut self) {
        self.empty = 0;
        for (place, bucket) in (0..).zip(&mut self.wheel) {
            bucket.retain(|wait| wait.whom.is_some());
            if bucket.is_empty() {
                self.used[(place / WORD) as usize] &= !(1 << (place % WORD));
            }
        }
        self.later.retain(|_, bucket| {
            bucket.retain(|wait| wait.whom.is_some());
            !bucket.is_empty()
        });
    }

    /// The first tick of the wheel with anything in its bucket.
    fn first_on_wheel(&self) -> Option<u64> {
        let start = (self.passed + 1) % WHEEL;
        let words = self.used.len();
        // The first word twice: its low bits, below the start, come last.
        (0..=words).find_map(|i| {
            let word = (start / WORD) as usize + i;
            let mut bits = self.used[word % words];
            if i == 0 {
                bits &= u64::MAX << (start % WORD);
            }
            let place = (word % words) as u64 * WORD + u64::from(bits.trailing_zeros());
            (bits != 0).then(|| self.passed + 1 + (place + WHEEL - start) % WHEEL)
        })
    }

    /// When the next bucket is due.
    pub fn next_due(&self) -> Option<Instant> {
        let later = self.later.keys().next().copied();
        let next = self.first_on_wheel().into_iter().chain(later).min();
        next.map(|tick| self.origin + Duration::from_nanos(tick.saturating_mul(TICK)))
    }

    /// Takes one bucket that is due. [`Timers::give_back`] has it when it is worked off.
    pub fn due(&mut self, now: Instant) -> Option<Vec<Wait>> {
        let elapsed = nanoseconds(now.saturating_duration_since(self.origin)) / TICK;
        let wheel = self.first_on_wheel().filter(|tick| *tick <= elapsed);
        let later = self.later.first_key_value().map(|(tick, _)| *tick).filter(|tick| *tick <= elapsed);
        let bucket = match (wheel, later) {
            (None, None) => {
                self.passed = self.passed.max(elapsed);
                return None;
            }
            (wheel, Some(tick)) if wheel.is_none_or(|wheel| tick <= wheel) => {
                // The wheel may have one of the same tick.
                self.passed = tick - 1;
                self.later.remove(&tick)?
            }
            (wheel, _) => {
                let tick = wheel?;
                let place = tick % WHEEL;
                self.passed = tick;
                self.used[(place / WORD) as usize] &= !(1 << (place % WORD));
                std::mem::take(&mut self.wheel[place as usize])
            }
        };
        let full = bucket.iter().filter(|wait| wait.whom.is_some()).count();
        self.live -= full;
        self.empty = self.empty.saturating_sub(bucket.len() - full);
        Some(bucket)
    }

    /// A bucket whose waits are gone: its memory is used again.
    pub fn give_back(&mut self, bucket: Vec<Wait>) {
        debug_assert!(bucket.is_empty(), "waits are never lost");
        if self.spare.len() < SPARE {
            self.spare.push(bucket);
        }
    }

    /// Waits that are still to come.
    pub fn len(&self) -> usize {
        self.live
    }
}

/// Nanoseconds of CLOCK_MONOTONIC: one number is quicker to reckon with than an `Instant`.
#[inline]
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place to write to; the call does not fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// A duration as one number: centuries are as good as for ever.
#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

/// The wait with this number; numbers grow within a bucket.
fn find(bucket: &mut [Wait], number: u64) -> Option<&mut Option<Whom>> {
    let place = bucket.binary_search_by_key(&number, |wait| wait.number).ok()?;
    Some(&mut bucket[place].whom)
}

/// A wait on the interpreter thread's timers.
pub struct Sleep {
    local: Rc<Local>,
    stage: Stage,
}

/// How far a sleep is.
enum Stage {
    /// Nobody has asked yet. The time is [`now`]'s.
    New(u64),
    /// It has a timer.
    Waits(TimerKey),
    Over,
}

impl Sleep {
    /// Done after `duration`, never earlier.
    pub fn new(local: Rc<Local>, duration: Duration) -> Self {
        let nanos = nanoseconds(duration);
        let stage = if nanos > 0 { Stage::New(now().saturating_add(nanos)) } else { Stage::Over };
        Sleep { local, stage }
    }

    /// Whether its timer was due.
    #[inline]
    pub fn has_passed(&mut self) -> bool {
        if let Stage::Waits(key) = self.stage
            && self.local.timers.borrow().passed(key)
        {
            self.stage = Stage::Over;
        }
        matches!(self.stage, Stage::Over)
    }

    /// Whether it is over. If not, `whom` is told when it is.
    #[inline]
    pub fn over(&mut self, whom: impl FnOnce(&Local) -> Whom) -> bool {
        if self.has_passed() {
            return true;
        }
        let whom = whom(&self.local);
        let mut timers = self.local.timers.borrow_mut();
        match self.stage {
            Stage::New(until) => self.stage = timers.add(until, whom).map_or(Stage::Over, Stage::Waits),
            Stage::Waits(key) => {
                // A combinator may have moved it to another waker of its own.
                let former = timers.replace(key, Some(whom));
                drop(timers);
                drop(former);
            }
            Stage::Over => {}
        }
        matches!(self.stage, Stage::Over)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.over(|local| local.whom(cx.waker())) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Waits(key) = self.stage {
            let whom = self.local.timers.borrow_mut().replace(key, None);
            drop(whom);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noop() -> Whom {
        Whom::Other(Waker::noop().clone())
    }

    fn count(bucket: Option<Vec<Wait>>) -> usize {
        bucket.expect("due").into_iter().filter(|wait| wait.whom.is_some()).count()
    }

    #[test]
    fn buckets_come_due_in_order_and_removed_waits_do_not() {
        let mut timers = Timers::new();
        let (start, zero) = (timers.origin, timers.zero);
        let late = timers.add(zero + 5 * TICK, noop()).expect("to come");
        timers.add(zero + TICK + 1, noop());
        timers.add(zero + 2 * TICK, noop());
        assert_eq!(timers.next_due(), Some(start + Duration::from_nanos(2 * TICK)));
        assert!(timers.due(start + Duration::from_nanos(2 * TICK - 1)).is_none());
        assert_eq!(count(timers.due(start + Duration::from_nanos(2 * TICK))), 2);
        assert!(timers.replace(late, None).is_some() && timers.replace(late, None).is_none());
        assert_eq!(count(timers.due(start + Duration::from_nanos(9 * TICK))), 0);
        assert_eq!(timers.len(), 0);
        assert!(timers.due(start + Duration::from_nanos(9 * TICK)).is_none());
        assert!(timers.passed(late) && timers.add(zero + 9 * TICK, noop()).is_none());
    }

    #[test]
    fn the_wheel_and_what_lies_beyond_it_agree() {
        use std::collections::BTreeSet;
        let mut timers = Timers::new();
        let (start, zero) = (timers.origin, timers.zero);
        let at = |tick| start + Duration::from_nanos(TICK * tick);
        let (mut open, mut now, mut state) = (BTreeSet::new(), 0_u64, 1_u64);
        for round in 0..20_000_u32 {
            // Some generator of numbers.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = state >> 40;
            if round % 3 != 0 {
                let tick = now + 1 + number % [3, 1100, 9000][(number % 7 % 3) as usize];
                let key = timers.add(zero + TICK * tick, noop()).expect("to come");
                // Never earlier; later by a coarse tick, where that is far away.
                assert!((tick..tick + COARSE).contains(&key.tick) && (key.tick == tick || tick > now + WHEEL));
                let tick = key.tick;
                open.insert((tick, key.number));
                if number % 5 == 0 {
                    assert!(timers.replace(key, None).is_some());
                    open.remove(&(tick, key.number));
                }
                continue;
            }
            now += number % 160;
            let mut taken = BTreeSet::new();
            while let Some(bucket) = timers.due(at(now)) {
                taken.extend(bucket.iter().filter(|wait| wait.whom.is_some()).map(|wait| wait.number));
            }
            let due: BTreeSet<u64> = open.iter().filter(|(tick, _)| *tick <= now).map(|(_, number)| *number).collect();
            open.retain(|(tick, _)| *tick > now);
            assert_eq!(taken, due);
            assert_eq!(timers.len(), open.len());
            // A cancelled wait may keep its bucket: never later than the first that is left.
            let first = open.first().map(|(tick, _)| at(*tick));
            assert!(first.is_none() || timers.next_due() <= first);
        }
    }

    #[test]
    fn cancelled_waits_do_not_pile_up() {
        let mut timers = Timers::new();
        for base in [1, 3_600_000] {
            for i in 0..100_000u64 {
                let key = timers.add(timers.zero + TICK * (base + i % 7), noop()).expect("to come");
                assert!(timers.replace(key, None).is_some());
            }
        }
        let places: usize = timers.later.values().chain(&timers.wheel).map(Vec::len).sum();
        assert!(places < 3000, "{places} places are left of 200000 cancelled waits");
    }
}
