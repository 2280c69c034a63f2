//! Wakers of host futures (rule 9).
//!
//! A waker holds its interpreter's inbox and a fiber's key. It may outlive both: the key's id is never reused, so a late
//! wake finds nobody and is ignored. On the interpreter's own thread the key goes to a local queue, on any other through the
//! channel, which also unparks the worker. For each way a flag lets any number of wakes before the next poll cost one key. The
//! worker clears it *before* it polls, so a wake during the poll is not lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;
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
    /// What this thread serves; null where it is no interpreter thread.
    static SERVES: Cell<*const Served> = const { Cell::new(ptr::null()) };
}

/// The calling thread is an incarnation's while this lives: wakes of its fibers made on it take the short way. It stays on its
/// thread.
pub struct Serving(Box<Served>);

struct Served {
    /// The incarnation, by the address of its tenure. One that was lost has another inbox reader as its successor, so that the
    /// inbox does not tell.
    home: usize,
    /// Fibers that were woken on this thread and are not taken yet.
    woken: RefCell<VecDeque<FiberKey>>,
}

impl Serving {
    /// Makes the calling thread that of an incarnation.
    pub fn new(tenure: &Arc<Tenure>) -> Self {
        let served = Box::new(Served { home: Arc::as_ptr(tenure).addr(), woken: RefCell::default() });
        SERVES.set(&raw const *served);
        Serving(served)
    }

    /// Wakes take the long way from now on.
    pub fn close(&self) {
        SERVES.set(ptr::null());
    }

    /// The next fiber woken on this thread.
    #[inline]
    pub fn next(&self) -> Option<FiberKey> {
        self.0.woken.borrow_mut().pop_front()
    }

    /// Whether any fiber was woken on this thread and not yet taken.
    #[inline]
    pub fn any(&self) -> bool {
        !self.0.woken.borrow().is_empty()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether the calling thread is an interpreter thread.
pub fn on_interpreter_thread() -> bool {
    !SERVES.get().is_null()
}

/// The waker of all host futures of one fiber. Polling one that was not meant is harmless, and a fiber rarely has two.
pub struct FiberWaker {
    inbox: Arc<Inbox>,
    /// The fiber's incarnation, as in `Served`.
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
        // SAFETY: where it is not null, it is this thread's `Serving`, which lives.
        let served = unsafe { SERVES.get().as_ref() }.filter(|served| served.home == this.home);
        if let Some(served) = served {
            if !this.queued.load(Ordering::Relaxed) {
                this.queued.store(true, Ordering::Relaxed);
                served.woken.borrow_mut().push_back(this.key);
            }
        } else if this.sent.schedule() {
            this.inbox.send(Message::Wake(this.key));
        }
    }
}
