//! One incarnation of an interpreter, as those see it who cannot ask its thread.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use super::activity::Activity;
use super::ledger::{Ledger, Times};
use super::presence::{Absence, Presence};
use crate::sys::clock::thread_id;

/// Writes a thread's `ss_thread.deadline`, which its tick reads.
///
/// # Safety
///
/// `deadline` is that of a thread that lives.
#[inline]
pub unsafe fn store_deadline(deadline: *mut u64, nanos: u64) {
    // SAFETY: the caller's promise; all of Rust's writes are atomic, and C reads it as a volatile.
    unsafe { AtomicU64::from_ptr(deadline) }.store(nanos, Ordering::Relaxed);
}

/// See the module.
pub struct Tenure {
    /// Whether its thread is away.
    pub presence: Presence,
    /// What it is at.
    pub activity: Activity,
    /// Its thread, by its `gettid()`; 0: it has ended.
    thread: AtomicI32,
    /// Its `ss_thread.deadline`, once it has attached: the tick looks at it.
    deadline: AtomicPtr<u64>,
    ledger: UnsafeCell<Ledger>,
}

// SAFETY: all but the ledger is atomic; the ledger is `Send`, and touched by one thread at a time (`presence`): its own, by `ledger`,
// or another one in `meanwhile`.
unsafe impl Sync for Tenure {}

impl Tenure {
    /// That of the calling thread, whose jobs have to keep to these times.
    pub fn new(times: Times) -> Tenure {
        let mut ledger = Ledger::default();
        ledger.times = times;
        Tenure {
            presence: Presence::new(),
            activity: Activity::default(),
            thread: AtomicI32::new(thread_id()),
            deadline: AtomicPtr::default(),
            ledger: UnsafeCell::new(ledger),
        }
    }

    /// The books.
    ///
    /// # Safety
    ///
    /// What is done with the pointer happens on the tenure's own thread, while that is here and not lost.
    #[inline]
    pub fn ledger(&self) -> *mut Ledger {
        self.ledger.get()
    }

    /// Its thread, as the kernel knows it, if it has not ended.
    pub fn thread(&self) -> Option<i32> {
        Some(self.thread.load(Ordering::Acquire)).filter(|thread| *thread != 0)
    }

    /// Its thread ends: nobody asks it any more.
    pub fn end_thread(&self) {
        self.thread.store(0, Ordering::Release);
    }

    /// The thread has attached: where its tick finds the current deadline, to be written by [`store_deadline`] only.
    pub fn attached(&self, deadline: *mut u64) {
        self.deadline.store(deadline, Ordering::Release);
    }

    /// Makes the fiber that has the thread look up, and cancel itself: its cancel waits in the inbox, and the thread does not come by to
    /// read it (in a finalizer, which has no time slices). To be called in [`Tenure::meanwhile`].
    pub fn cancel_current(&self, fiber: u64) {
        self.activity.gone.store(fiber, Ordering::Relaxed);
        let deadline = self.deadline.load(Ordering::Acquire);
        if !deadline.is_null() {
            // SAFETY: the thread is away, and does not end before it has come back, for which it waits.
            unsafe { store_deadline(deadline, 0) };
        }
    }

    /// Does something with the books while the thread is kept away: see [`Presence::meanwhile`].
    pub fn meanwhile<R>(&self, absence: Absence, act: impl FnOnce(&mut Ledger) -> (R, bool)) -> Option<R> {
        // SAFETY: the thread is away, has left the books as they are to be, and waits when it comes back until this is over.
        self.presence.meanwhile(absence, || act(unsafe { &mut *self.ledger.get() }))
    }
}
