//! A fiber as its worker keeps it.

use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::abi::ss_thread;
use crate::call::wake::{FiberKey, FiberWaker};
use crate::fiber::{Coroutine, FiberStack, Link};
use crate::guest::Interpreter;
use crate::host::local::Local;
use crate::host::record::{Caller, Context, FiberRecord, LimitAt, Suspended, Tally};

/// See the module. Boxed, and reused for later calls: the record, the link and the run stay at their addresses. What a turn
/// touches stands together, with the first part of the record.
#[repr(C)]
pub struct Fiber<I: Interpreter> {
    /// Where it is on its way.
    pub state: State,
    /// It had the thread once.
    pub begun: bool,
    /// What the last switch away from it saved.
    pub saved: I::Saved,
    /// Its C stack with its frames; `None` once it has ended.
    pub coroutine: Option<Coroutine>,
    /// What the crossing knows of it.
    pub record: FiberRecord,
    /// The guest's record of the run.
    pub run: I::Run,
    /// The script that it loads.
    pub loads: Option<u32>,
    /// When its call began.
    pub asked: Instant,
    /// It is in the inbox's roster.
    pub listed: bool,
    start: Start,
    /// The guest's entry.
    entry: unsafe extern "C" fn(*mut c_void),
}

/// A fiber's way. `Queued` is a [`Job`](crate::call::job::Job) without a fiber yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In the ready queue.
    Ready,
    /// It has the thread.
    Running,
    /// In a host call.
    Waiting,
    /// Its entry has returned.
    Done,
}

/// What [`State::ready`] found.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueue {
    /// Put it into the ready queue.
    Now,
    /// It is there already, or runs, or is over.
    No,
}

impl State {
    /// The fiber can go on.
    pub fn ready(&mut self) -> Enqueue {
        match self {
            State::Waiting => {
                *self = State::Ready;
                Enqueue::Now
            }
            State::Ready | State::Running | State::Done => Enqueue::No,
        }
    }
}

/// What csrc/crossing.c starts a fiber with (`struct ss_start`).
#[repr(C)]
struct Start {
    entry: unsafe extern "C" fn(*mut c_void),
    run: *mut c_void,
}

/// Ids that no other fiber of the process has: an interpreter takes many at once, since all share the counter.
#[derive(Debug, Default)]
pub struct Ids {
    next: u64,
    end: u64,
}

impl Ids {
    /// Taken at once.
    const BLOCK: u64 = 1024;

    /// One more.
    #[inline]
    pub fn take(&mut self) -> u64 {
        if self.next == self.end {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            self.next = NEXT.fetch_add(Self::BLOCK, Ordering::Relaxed);
            self.end = self.next + Self::BLOCK;
        }
        self.next += 1;
        self.next - 1
    }
}

impl<I: Interpreter> Fiber<I> {
    /// A fiber of no call yet.
    pub fn new(
        run: I::Run,
        entry: unsafe extern "C" fn(*mut c_void),
        local: &Rc<Local>,
        thread: *mut ss_thread,
    ) -> Self {
        Fiber {
            record: FiberRecord {
                key: FiberKey::default(),
                link: Link::new(),
                thread,
                context: Context::new(local.clone(), Caller::default()),
                waker: Arc::new(FiberWaker::new(local.inbox.clone(), &local.tenure, FiberKey::default())),
                job: None,
                calls: SmallVec::new(),
                replies: Vec::new(),
                next_call: 0,
                suspended: Suspended::No,
                status: 0,
                cancel: None,
                grace: Duration::ZERO,
                errors: Vec::new(),
                last_error: None,
                returned: false,
                bounds: (0, 0),
                frame: 0,
                alarm: u64::MAX,
                deadlock: None,
                limit: LimitAt::NEVER,
                cpu: None,
            },
            run,
            saved: I::Saved::default(),
            coroutine: None,
            state: State::Ready,
            loads: None,
            begun: false,
            asked: Instant::now(),
            listed: false,
            start: Start { entry, run: ptr::null_mut() },
            entry,
        }
    }

    /// Has it start in `entry(run)` instead of the guest's entry, before it is first resumed. `entry` keeps to what
    /// [`Interpreter`] demands of the guest's.
    pub fn enter(&mut self, entry: unsafe extern "C" fn(*mut c_void), run: *mut c_void) {
        self.start = Start { entry, run };
    }

    /// Makes it the fiber `key`, on `stack`, with a run that is prepared.
    pub fn begin(&mut self, key: FiberKey, stack: FiberStack, caller: Caller, local: &Rc<Local>) {
        self.record.key = key;
        match Rc::get_mut(&mut self.record.context) {
            Some(context) => {
                context.caller = caller;
                context.tally = Tally::default();
            }
            None => self.record.context = Context::new(local.clone(), caller),
        }
        // A waker that somebody still holds keeps naming the fiber that it was made for.
        match Arc::get_mut(&mut self.record.waker) {
            Some(waker) => waker.renew(key),
            None => self.record.waker = Arc::new(FiberWaker::new(local.inbox.clone(), &local.tenure, key)),
        }
        self.record.next_call = 0;
        self.record.suspended = Suspended::No;
        self.record.cancel = None;
        self.record.errors.clear();
        self.record.last_error = None;
        self.record.returned = false;
        self.record.alarm = u64::MAX;
        self.record.deadlock = None;
        self.record.renew_limit();
        self.saved = I::Saved::default();
        self.state = State::Ready;
        self.begun = false;
        self.record.bounds = (stack.base(), stack.usable_limit());
        self.record.frame = 0;
        self.start = Start { entry: self.entry, run: ptr::from_mut(&mut self.run).cast() };
        // SAFETY: the link and the start block live in this box, which the worker keeps until the coroutine has ended;
        // `ss_fiber_main` returns normally because the guest's entry does (the contract of `Interpreter`).
        self.coroutine = Some(unsafe {
            Coroutine::new(
                stack,
                &raw const self.record.link,
                crate::crossing::fiber_main(),
                ptr::from_mut(&mut self.start).cast(),
            )
        });
    }
}
