//! Wakers of host futures (rule 9).
//!
//! A waker holds its interpreter's inbox and a fiber's key. It may outlive both: the key's id is never reused, so a late
//! wake finds nobody and is ignored. On the interpreter's own thread the key goes to a local queue, on any other through the
//! channel, which also unparks the worker. For each way a flag lets any number of wakes before the next poll cost one key. The
//! worker clears it *before* it polls, so a wake during the poll is not lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::task::ArcWake;

use super::inbox::{Inbox, Message};
use super::scheduled::Scheduled;
use super::tenure::Tenure;

/// Names a fiber: its place in the worker's table, and the id that tells whether it is still the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FiberKey {
    /// Index in the worker's table.
    pub index: u32,
    /// Never reused in a process.
    pub id: u64,
}

thread_local! {
    /// The incarnation that this thread is, by the address of its tenure; 0 where it is no interpreter thread.
    static SERVES: Cell<usize> = const { Cell::new(0) };
    static LOCAL: RefCell<VecDeque<FiberKey>> = const { RefCell::new(VecDeque::new()) };
}

/// Makes the calling thread that of an incarnation (`None`: of none any more): wakes of its fibers made on it take the short way.
/// One that was lost has another inbox reader as its successor, so that the inbox does not tell.
pub fn serve(tenure: Option<&Arc<Tenure>>) {
    SERVES.set(tenure.map_or(0, |tenure| Arc::as_ptr(tenure).addr()));
    LOCAL.with_borrow_mut(VecDeque::clear);
}

/// Whether the calling thread is an interpreter thread.
pub fn on_interpreter_thread() -> bool {
    SERVES.get() != 0
}

/// The next fiber woken on this thread.
#[inline]
pub fn next_local() -> Option<FiberKey> {
    LOCAL.with_borrow_mut(VecDeque::pop_front)
}

/// Whether any fiber was woken on this thread and not yet taken.
pub fn any_local() -> bool {
    LOCAL.with_borrow(|queue| !queue.is_empty())
}

/// The waker of all host futures of one fiber. Polling one that was not meant is harmless, and a fiber rarely has two.
pub struct FiberWaker {
    inbox: Arc<Inbox>,
    /// The fiber's incarnation, as in `SERVES`.
    home: usize,
    /// The fiber.
    pub key: FiberKey,
    /// The key is in the channel.
    sent: Scheduled,
    /// The key is in the local queue: only the interpreter's own thread looks at it, so that it needs no order.
    queued: AtomicBool,
}

/// How a key came to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the local queue.
    Local,
    /// By the channel.
    Channel,
}

impl FiberWaker {
    /// A waker for a fiber of the interpreter behind `inbox`.
    pub fn new(inbox: Arc<Inbox>, tenure: &Arc<Tenure>, key: FiberKey) -> Self {
        let home = Arc::as_ptr(tenure).addr();
        FiberWaker { inbox, home, key, sent: Scheduled::default(), queued: AtomicBool::new(false) }
    }

    /// Makes it the waker of another fiber. Nobody else holds it.
    pub fn renew(&mut self, key: FiberKey) {
        self.key = key;
        self.sent = Scheduled::default();
        self.queued = AtomicBool::new(false);
    }

    /// The worker took the key: later wakes have to be delivered again.
    #[inline]
    pub fn taken(&self, way: Way) {
        match way {
            Way::Local => self.queued.store(false, Ordering::Relaxed),
            Way::Channel => self.sent.clear(),
        }
    }
}

// `ArcWake` rather than std's `Wake`: `waker_ref` lends a waker for a poll without counting.
impl ArcWake for FiberWaker {
    #[inline]
    fn wake_by_ref(this: &Arc<Self>) {
        if SERVES.get() == this.home {
            if !this.queued.load(Ordering::Relaxed) {
                this.queued.store(true, Ordering::Relaxed);
                LOCAL.with_borrow_mut(|queue| queue.push_back(this.key));
            }
        } else if this.sent.schedule() {
            this.inbox.send(Message::Wake(this.key));
        }
    }
}
