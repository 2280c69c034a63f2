//! What is known of a fiber and of the host calls that it has in flight.
//!
//! Host calls are a set, not a stack: with guests that switch stacks themselves the first entered may be the first to
//! leave. The set is kept in the order of entry, so "further in" means "later in it". A fiber that is suspended is suspended
//! in one place: in one host call or at the end of a slice. Only an event for that place resumes it; an event for another
//! call waits in that call's record until control comes back to its frame.

use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::account::Opened;
use super::c_api::LastError;
use super::cx::CallShared;
use super::future::HostFuture;
use super::local::Local;
use super::reply::Reply;
use crate::Error;
use crate::abi::{ss_call, ss_thread};
use crate::call::job::{Extensions, Job};
use crate::call::outcomes::Failure;
use crate::call::stats::Stats;
use crate::call::wake::{FiberKey, FiberWaker};
use crate::diagnosis::FiberInfo;
use crate::error::HostResult;
use crate::fiber::Link;
use crate::sys::clock::thread_cpu;
use crate::sys::prefetch;
use crate::value::Flat;

/// What host functions reach of their fiber: apart from the record, so that a reference to it lives through code that
/// changes the record (host code that calls C that calls the host again).
#[repr(C)]
pub struct Context {
    /// What the fiber has done.
    pub tally: Tally,
    /// The interpreter.
    pub local: Rc<Local>,
    /// The call.
    pub caller: Caller,
    /// What the last host call that asked for a `Cx` shared with it.
    pub last_cx: RefCell<Option<Rc<CallShared>>>,
}

impl Context {
    /// A fiber's of this interpreter, for this call.
    pub fn new(local: Rc<Local>, caller: Caller) -> Rc<Self> {
        Rc::new(Context { tally: Tally::default(), local, caller, last_cx: RefCell::default() })
    }

    /// Asks for the memory of what every host call needs of it.
    #[inline]
    pub fn prefetch(&self) {
        prefetch::<2>(ptr::from_ref(&self.tally.host_calls).addr());
    }
}

/// What extractors may ask of the fiber that called.
#[derive(Default)]
#[repr(C)]
pub struct Caller {
    /// Somebody wants to know what its call does.
    pub stats: Option<Stats>,
    /// The fiber's id.
    pub id: u64,
    /// When it will be ended.
    pub deadline: Option<Instant>,
    /// The most memory it may hold, where its call says so.
    pub memory: Option<usize>,
    /// The most memory it may hold.
    pub most: usize,
    /// Its account of the host's memory, once it has used any.
    pub account: OnceCell<Opened>,
    /// Its call's label.
    pub label: Option<String>,
    /// Its call's extensions.
    pub extensions: Extensions,
    /// Its call asked to be told of a deadlock.
    pub detect_deadlock: bool,
}

/// What a fiber has done so far.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Tally {
    /// How long it waited in host calls, where somebody wants to know.
    pub waits: Cell<Waits>,
    /// Host calls begun.
    pub host_calls: Cell<u64>,
}

/// How long a fiber waited in host calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waits {
    /// In all.
    pub total: Duration,
    /// The last function, and how long it took.
    pub last: Option<(u32, Duration)>,
    /// It waits in this one since then.
    pub since: Option<(u32, Instant)>,
}

/// Where a fiber is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    /// It is not: it runs, or has not begun.
    No,
    /// At the end of a time slice: it can go on at any time.
    Turn,
    /// It gave way by itself, as above, and may have run for a moment only.
    Yield,
    /// In this host call.
    Call(u64),
}

/// Why a fiber is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its caller gave up, or a group ended.
    Cancelled,
    /// The engine shuts down.
    Shutdown,
    /// Somebody asked for it: [`Engine::cancel`](crate::Engine::cancel).
    Hand,
    /// Its deadline passed.
    Deadline,
    /// It held most of the memory when the interpreter's cap was reached.
    Memory,
    /// It has used its processor time.
    Cpu,
    /// A nested guest call was dropped by the host function that made it.
    Dropped,
    /// Nothing could wake it any more.
    Deadlock,
}

/// A cancel under way (rule 4, phases a and b).
#[derive(Debug, Clone, Copy)]
pub struct Cancel {
    /// The host call down to whose frame the guest is cancelled; `None`: the whole fiber.
    pub target: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// The guest got its ordinary error (phase a).
    pub delivered: bool,
    /// When it began.
    pub since: Instant,
    /// The grace is over: nothing is caught any more (phase b).
    pub kill: bool,
    /// When it will be; `None`: never.
    pub kill_at: Option<Instant>,
}

/// One host call in flight.
pub struct CallRecord {
    /// Its key in the fiber.
    pub id: u64,
    /// The host function.
    pub function: u32,
    /// The shim's frame: address of its `ss_call`.
    pub frame: *mut ss_call,
    /// The future, unless it is being polled or is gone.
    pub future: Option<HostFuture>,
    /// What the future shares with the crossing, where it asked for a `Cx`.
    pub shared: Option<Rc<CallShared>>,
    /// The outcome, once there is one. It is kept while a guest call below has to leave first.
    pub outcome: Option<HostResult<Reply>>,
    /// The guest is running a function for it.
    pub in_guest: bool,
}

/// A fiber, as the crossing and the worker know it. What a host call that waits, and a turn, touch comes first: thousands of
/// fibers that wait by turns do not fit into the caches.
#[repr(C)]
pub struct FiberRecord {
    /// Its key.
    pub key: FiberKey,
    /// Its interpreter and its call.
    pub context: Rc<Context>,
    /// Its thread's state; valid as long as the fiber: it never leaves its thread.
    pub thread: *mut ss_thread,
    /// How its stack suspends.
    pub link: Link,
    /// Where it is suspended.
    pub suspended: Suspended,
    /// Host calls in flight, outermost first.
    pub calls: SmallVec<[CallRecord; 1]>,
    /// The key of the next host call.
    pub next_call: u64,
    /// Results that the shim has not copied yet, by the frame that they were given to.
    pub replies: Vec<(*mut ss_call, Box<Flat>)>,
    /// The status that the frame it is suspended in will return.
    pub status: i32,
    /// The entry called `ss_return`.
    pub returned: bool,
    /// Where a walk of its C frames begins while it does not run; 0: it has not begun.
    pub frame: usize,
    /// Of its C stack: base and lowest usable address.
    pub bounds: (usize, usize),
    /// When its guest wants to be woken from a host call, on CLOCK_MONOTONIC in nanoseconds; `u64::MAX`: never.
    pub alarm: u64,
    /// When the next thing happens to it by itself.
    pub limit: LimitAt,
    /// A cancel under way.
    pub cancel: Option<Cancel>,
    /// The processor time that it may use, if that is limited.
    pub cpu: Option<Cpu>,
    /// The waker of its host futures.
    pub waker: Arc<FiberWaker>,
    /// The call that it runs, from its beginning until its outcome went to the caller. Where that goes is in the books.
    pub job: Option<Box<Job>>,
    /// How long after a cancel it is killed.
    pub grace: Duration,
    /// Original errors of host functions that are on their way through the guest, newest last.
    pub errors: Vec<(u64, anyhow::Error)>,
    /// The last error that the C API told C code on this fiber of.
    pub last_error: Option<Box<LastError>>,
    /// Who else waited when nothing could wake it any more.
    pub deadlock: Option<Arc<[FiberInfo]>>,
}

/// A fiber's processor time: that of its thread during its turns, the host functions that it calls there included.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// The most.
    pub limit: Duration,
    /// Used in earlier turns.
    used: Duration,
    /// Of the thread, when this turn began.
    since: Duration,
}

impl Cpu {
    /// Nothing is used yet.
    pub fn new(limit: Duration) -> Cpu {
        Cpu { limit, used: Duration::ZERO, since: Duration::ZERO }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.since = thread_cpu();
    }

    /// The turn ends.
    pub fn end(&mut self) {
        self.used += thread_cpu().saturating_sub(self.since);
    }

    /// What is left, in a turn; `None`: nothing.
    pub fn left(&self) -> Option<Duration> {
        let used = self.used + thread_cpu().saturating_sub(self.since);
        self.limit.checked_sub(used).filter(|left| !left.is_zero())
    }

    /// Whether all of it is used, between two turns.
    pub fn is_over(&self) -> bool {
        self.used >= self.limit
    }
}

/// When a fiber's deadline, the end of its grace or its alarm comes, as [`FiberRecord::renew_limit`] left it.
#[derive(Debug, Clone, Copy)]
pub struct LimitAt {
    /// The time.
    pub at: Option<Instant>,
    /// The same on CLOCK_MONOTONIC in nanoseconds, for the tick; `u64::MAX`: never.
    pub nanos: u64,
    /// When its cancel began, or its deadline comes, in the same way: for the watchdog.
    pub due: u64,
    /// The worker has not written it down yet.
    pub changed: bool,
}

impl LimitAt {
    /// Nothing happens.
    pub const NEVER: LimitAt = LimitAt { at: None, nanos: u64::MAX, due: u64::MAX, changed: false };
}

/// More host errors than this on their way through one fiber are not kept: they were caught long ago.
const KEPT_ERRORS: usize = 8;

impl FiberRecord {
    /// Keeps a host function's error, so that the caller gets the original if nobody catches it. Returns its id, and an
    /// error that is not kept any longer, to be dropped behind the fence.
    pub fn keep_error(&mut self, error: anyhow::Error) -> (u64, Option<anyhow::Error>) {
        let displaced = (self.errors.len() == KEPT_ERRORS).then(|| self.errors.remove(0).1);
        // Never used again on this interpreter: an error value may be kept and raised in another fiber.
        let id = self.context.local.next_error.get() + 1;
        self.context.local.next_error.set(id);
        self.errors.push((id, error));
        (id, displaced)
    }

    /// Takes a kept error.
    pub fn take_error(&mut self, id: u64) -> Option<anyhow::Error> {
        let at = self.errors.iter().position(|(kept, _)| *kept == id)?;
        Some(self.errors.remove(at).1)
    }

    /// It begins, with its job.
    pub fn begin(&mut self, mut job: Box<Job>) {
        if let Some(context) = Rc::get_mut(&mut self.context) {
            context.caller.extensions = std::mem::take(&mut job.settings.extensions);
        }
        self.job = Some(job);
    }

    /// What host functions may borrow of the fiber while the record changes.
    ///
    /// # Safety
    ///
    /// The record must hold its context for as long as the reference is used.
    #[inline]
    pub unsafe fn context<'a>(record: *const FiberRecord) -> &'a Context {
        // SAFETY: the pointer is valid (the caller's record) and what an `Rc` points to does not move; the caller vouches for `'a`.
        unsafe { &*Rc::as_ptr(&(*record).context) }
    }

    /// The place of a call in the set.
    #[inline]
    pub fn find(&self, id: u64) -> Option<usize> {
        self.calls.iter().rposition(|call| call.id == id)
    }

    /// The place of a call that was in this one.
    #[inline]
    pub fn place(&self, last: usize, id: u64) -> Option<usize> {
        if self.calls.get(last).is_some_and(|call| call.id == id) { Some(last) } else { self.find(id) }
    }

    /// The call that was in this place.
    #[inline]
    pub fn in_place(&mut self, last: usize, id: u64) -> Option<&mut CallRecord> {
        let calls = self.calls.as_mut_slice();
        let at = match calls.get(last) {
            Some(call) if call.id == id => last,
            _ => calls.iter().rposition(|call| call.id == id)?,
        };
        Some(&mut calls[at])
    }

    /// Where the next call of the set is to be written before it is counted: `push` would copy it, and a copy waits for what was
    /// just written in smaller parts.
    #[inline]
    pub fn room(&mut self) -> *mut CallRecord {
        let len = self.calls.len();
        if len == self.calls.capacity() {
            self.calls.grow(2 * len);
        }
        // SAFETY: there is room for one more.
        unsafe { self.calls.as_mut_ptr().add(len) }
    }

    /// Takes a call whose future and outcome are taken already out of the set.
    #[inline]
    pub fn leave(&mut self, place: usize) {
        let last = place + 1 == self.calls.len();
        match &mut self.calls[place] {
            // Moving nothing if it is the innermost one, as nearly always.
            CallRecord { future: None, outcome: None, shared, .. } if last => {
                *shared = None;
                // SAFETY: nothing of it has a drop to run any more.
                unsafe { self.calls.set_len(place) };
            }
            _ => drop(self.calls.remove(place)),
        }
    }

    /// The call in this place of the set.
    #[inline]
    pub fn at(&self, place: usize) -> &CallRecord {
        &self.calls[place]
    }

    /// The call in this place of the set, to change.
    #[inline]
    pub fn at_mut(&mut self, place: usize) -> &mut CallRecord {
        &mut self.calls[place]
    }

    /// The caller's error for a fiber that was cancelled as a whole.
    pub fn cancel_error(&self, reason: Reason) -> Error {
        match reason {
            Reason::Cancelled | Reason::Shutdown | Reason::Hand | Reason::Dropped => Error::Cancelled,
            Reason::Deadline => {
                let deadline = self.job.as_ref().and_then(|job| job.settings.deadline);
                Error::time_is_over(crate::Limit::Deadline, deadline.unwrap_or_default(), "deadline")
            }
            Reason::Deadlock => Error::Deadlock { fibers: self.deadlock.clone().unwrap_or_default() },
            Reason::Cpu => {
                let limit = self.cpu.map_or(Duration::ZERO, |cpu| cpu.limit);
                Error::time_is_over(crate::Limit::Cpu, limit, "cpu")
            }
            Reason::Memory => Error::limit(crate::Limit::Memory, self.context.local.memory as u64, "memory"),
        }
    }

    /// The most memory that may be charged to it, in bytes, and the setting that says so.
    pub fn memory_limit(&self) -> (usize, &'static str) {
        self.context.local.memory_limit(self.context.caller.most)
    }

    /// Whether it is to be killed now.
    pub fn grace_over(&self, now: Instant) -> bool {
        self.cancel.is_some_and(|cancel| !cancel.kill && cancel.kill_at.is_some_and(|at| now >= at))
    }

    /// Its guest has set another alarm, or none.
    pub fn set_alarm(&mut self, nanos: u64) {
        if self.alarm != nanos {
            self.alarm = nanos;
            self.renew_limit();
        }
    }

    /// Whether its guest's alarm has come; it is over then.
    pub fn take_alarm(&mut self, now: Instant) -> bool {
        let due = self.alarm != u64::MAX && now >= self.context.local.clock.instant(self.alarm);
        if due {
            self.set_alarm(u64::MAX);
        }
        due
    }

    /// Phase b of its cancel begins.
    pub fn kill(&mut self) {
        if let Some(cancel) = &mut self.cancel {
            cancel.kill = true;
            let (Caller { id, label, .. }, reason) = (&self.context.caller, cancel.reason);
            let (label, local) = (label.as_deref(), &self.context.local);
            // Of one whose interpreter was given up all has been said.
            if !local.tenure.presence.lost() {
                tracing::warn!(target: "sidestack", fiber = id, label, ?reason, "a fiber that was cancelled does not end; it is killed");
                local.inbox.outcomes.count(Failure::Killed);
            }
        }
        self.renew_limit();
    }

    /// To be called when the deadline or the cancel has changed.
    pub fn renew_limit(&mut self) {
        let at = self.next_limit();
        let nanos = |at: Option<Instant>| at.map_or(u64::MAX, |at| self.context.local.clock.nanos(at));
        let due = self.cancel.map_or(self.context.caller.deadline, |cancel| Some(cancel.since));
        self.limit = LimitAt { at, nanos: nanos(at), due: nanos(due), changed: true };
    }

    /// The time of the next thing that happens to the fiber by itself: its deadline, its kill, or its guest's alarm.
    fn next_limit(&self) -> Option<Instant> {
        let whole = match self.cancel {
            Some(Cancel { target: None, .. }) => None,
            _ => self.context.caller.deadline,
        };
        let kill = self.cancel.filter(|cancel| !cancel.kill).and_then(|cancel| cancel.kill_at);
        let alarm = (self.alarm != u64::MAX).then(|| self.context.local.clock.instant(self.alarm));
        [whole, kill, alarm].into_iter().flatten().min()
    }
}
