//! The interpreter thread: it takes jobs, gives each a fiber, lets ready fibers run in turn, and sleeps when none is.
//!
//! ```text
//! loop
//!   a local wake    → poll that fiber's host futures; resume it if one it waits in is over
//!   a ready fiber   → resume it for a slice; where a timer was due for it, poll its host futures first
//!   every so often, after a whole slice, or when neither is there: intake
//!     timers that are due · limits that have passed · messages (jobs, cancels, wakes, releases, drain, end)
//!   nothing at all  → give slots back, at times trim stacks and collect, park until a message, a timer or a limit; after a moment, see whether
//!                     the fibers wait for each other only
//! ```
//!
//! Everything here runs on one thread, on that thread's own stack. Guest code runs inside `Worker::turn` and nowhere else.
//! A panic that gets this far ends the incarnation: `thread` makes a replacement, which reads on from the same inbox.

mod ahead;
mod deadlock;
mod fault;
mod fiber;
mod jobs;
mod limits;
mod lost;
mod messages;
pub mod quarantine;
mod recycle;
mod report;
mod service;
pub mod thread;
mod turn;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::abi::ss_thread;
use crate::call::inbox::Message;
use crate::call::ledger::Ledger;
use crate::call::tenure::Tenure;
use crate::call::wake::{FiberKey, Serving, Way};
use crate::fiber::{Home, StackPool, Trimmed};
use crate::guest::Interpreter;
use crate::host::local::Local;
use crate::signal::{Attached, Crash};

use deadlock::Quiet;
use fiber::{Fiber, Ids};
use limits::Limits;
use recycle::Recycle;
use thread::Settings;

/// One incarnation of one interpreter. See the module.
pub struct Worker<I: Interpreter> {
    settings: Arc<Settings>,
    interpreter: Rc<std::cell::UnsafeCell<I>>,
    local: Rc<Local>,
    thread: *mut ss_thread,
    attached: Attached,
    serving: Serving,
    home: Home,
    pool: StackPool,
    /// Fibers by index; a free place is `None`.
    fibers: Vec<Option<Box<Fiber<I>>>>,
    free: Vec<u32>,
    /// Ended fibers, kept for their buffers, most of them until a burst is over.
    spare: Vec<Box<Fiber<I>>>,
    live: usize,
    ids: Ids,
    /// The most fibers that were alive at once since the guest's garbage was last collected.
    peak: usize,
    /// The same since it last tidied up.
    recent: usize,
    /// Fibers have ended since then, and when it is to do it again.
    untidy: bool,
    tidy_at: Option<Instant>,
    /// Until when the tops of the stacks that a burst of fibers used are kept for the next one.
    keep_until: Instant,
    /// Before then no garbage is collected for the sake of the host's memory.
    next_collection: Option<Instant>,
    /// The period of ticks, in nanoseconds.
    tick: u64,
    /// When each fiber is next looked at, by index.
    limits: Limits,
    ready: VecDeque<Next>,
    /// Slots of the reference table to give back.
    releases: Vec<u64>,
    /// Scripts that are loading: calls of them are held back until that is done.
    loading: Vec<u32>,
    /// When it is to be replaced.
    recycle: Recycle,
    /// Whether fibers wait for each other only.
    quiet: Quiet,
    /// Units of work left until the next intake.
    units: u32,
    /// Why the incarnation ends, if guest code faulted.
    crash: Option<Crash>,
}

/// Who has the thread next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The fiber in this place, which can go on.
    Ready(u32),
    /// The fiber with this key, if it still waits: a timer that one of its host futures set was due. They are polled first, but
    /// not earlier, so that its memory is needed once.
    Due(FiberKey),
}

/// Units of work between two intakes: long enough to make a message's and a clock's cost small.
const UNITS_PER_INTAKE: u32 = 61;
/// Messages taken in one of them: few, so that calls that do not wait use the same few stacks, which are in the cache, one
/// after the other, and no more than there are units to work off what they bring.
const MESSAGES_PER_INTAKE: u32 = 32;

/// An interpreter with nothing to do tidies up this often: what is given back earlier is only asked for again.
const TIDY_AFTER: Duration = Duration::from_millis(200);

/// Local wakes come first, but not for ever: fibers that wake each other, or themselves, would keep the ready ones from
/// ever running.
const WAKES_PER_READY: u32 = 61;

impl<I: Interpreter> Worker<I> {
    /// Works until told to end, or until it has done its number of calls.
    fn work(&mut self) {
        // Wakes served since a ready fiber last ran.
        let mut wakes = 0;
        loop {
            if self.units == 0 {
                self.intake();
                // After it: a service fiber that it ran may have used up a slice.
                self.units = UNITS_PER_INTAKE;
            }
            self.units -= 1;
            let next = if (wakes < WAKES_PER_READY || self.ready.is_empty())
                && let Some(key) = self.serving.next()
            {
                wakes += 1;
                match self.woken(key, Way::Local) {
                    Some(index) => index,
                    None => continue,
                }
            } else if let Some(next) = self.ready.pop_front() {
                wakes = 0;
                self.expect_others();
                match next {
                    Next::Ready(index) => index,
                    Next::Due(key) if self.due(key) => key.index,
                    Next::Due(_) => continue,
                }
            } else {
                self.units = 0;
                if self.intake() {
                    continue;
                }
                if self.ended() || self.spent() {
                    break;
                }
                self.park();
                continue;
            };
            self.turn(next);
        }
    }

    /// Looks at everything that comes from outside. True if it brought something to do.
    fn intake(&mut self) -> bool {
        let now = Instant::now();
        self.run_timers(now);
        self.run_limits(now);
        self.run_hold(now);
        let mut taken = 0;
        while taken < MESSAGES_PER_INTAKE {
            let Some(message) = self.next_message() else { break };
            self.take(message);
            taken += 1;
        }
        self.count_started();
        self.relieve_memory();
        self.local.inbox.set_live(self.live, self.pool.stats().in_use);
        taken > 0 || !self.ready.is_empty() || self.serving.any()
    }

    /// Nothing is ready: tidies up, then sleeps until something comes.
    fn park(&mut self) {
        self.release_slots();
        if self.untidy && !self.tidy() {
            // A batch at a time, so that what comes meanwhile is not kept waiting.
            if let Some(message) = self.next_message() {
                self.take(message);
                self.count_started();
            }
            return;
        }
        if !self.books().unread.is_empty() {
            return;
        }
        if !self.ready.is_empty() || self.serving.any() {
            // A finalizer, or an object that was dropped, woke somebody.
            return;
        }
        let timer = self.local.timers.borrow().next_due();
        let books = self.books();
        let (ending, waiting) = (books.ending.as_ref().and_then(|ending| ending.cancel_at), books.backlog.earliest());
        let limits = [timer, self.limits.earliest(), waiting, self.recycle.until(), ending, self.tidy_at];
        let until = limits.into_iter().flatten().min();
        let look = self.looks_for_deadlock();
        let inbox = &self.local.inbox.receiver;
        let message = match [until, look].into_iter().flatten().min() {
            Some(until) => inbox.recv_deadline(until).ok(),
            None => inbox.recv_timeout(Duration::from_secs(3600)).ok(),
        };
        match message {
            Some(message) => {
                self.take(message);
                self.count_started();
            }
            None if look.is_some() && until.is_none_or(|until| look < Some(until)) => self.look_for_deadlock(),
            None => self.quiet.looked = false,
        }
    }

    /// Gives memory back that is not used any more, if it is time to. False: there is more to do.
    fn tidy(&mut self) -> bool {
        let now = Instant::now();
        if now < *self.tidy_at.get_or_insert(now + TIDY_AFTER) {
            return true;
        }
        if self.peak >= I::BURST && self.recent > self.peak / 8 {
            self.keep_until = now + I::TOPS_KEPT;
        }
        let keep = now < self.keep_until;
        let trimmed = if keep { self.pool.trim_below_tops() } else { self.pool.trim() };
        if trimmed == Trimmed::More {
            return false;
        }
        self.collect_after_burst();
        // The collection of a burst is still to come, or what is kept.
        self.untidy = self.peak >= I::BURST && self.live <= self.peak / 8 || keep;
        self.tidy_at = self.untidy.then(|| now + TIDY_AFTER);
        true
    }

    fn ended(&mut self) -> bool {
        let live = self.live;
        let books = self.books();
        books.ending.is_some() && live == 0 && books.backlog.is_empty() && books.held.is_empty()
    }

    /// The next message; first those that others have read meanwhile.
    fn next_message(&mut self) -> Option<Message> {
        match self.books().unread.pop_front() {
            Some(message) => Some(message),
            None => self.local.inbox.receiver.try_recv().ok(),
        }
    }

    /// The books of this incarnation.
    #[inline]
    fn books(&mut self) -> &mut Ledger {
        // SAFETY: this is the tenure's thread, and it is here: `away` and `turn` are the only ways to leave, and
        // do not return where it is lost.
        unsafe { &mut *self.local.tenure.ledger() }
    }

    /// The same, to read.
    fn read_books(&self) -> &Ledger {
        // SAFETY: as in `books`.
        unsafe { &*self.local.tenure.ledger() }
    }

    /// Runs what may not come back: host code on behalf of a fiber. Nothing of the books is touched meanwhile, nor of other
    /// fibers. `due`: when the fiber was or will be cancelled, unless that is told already.
    #[inline]
    fn away<R>(tenure: &Tenure, fiber: u64, due: Option<u64>, what: impl FnOnce() -> R) -> R {
        if let Some(due) = due {
            tenure.activity.due.store(due, Ordering::Relaxed);
        }
        tenure.presence.leave(fiber);
        let result = what();
        if !tenure.presence.back() {
            lost::leave();
        }
        result
    }
}
