//! Whether an interpreter's thread is away, and who may touch its books meanwhile.
//!
//! A thread that runs guest code, or a host function, may never come back. What others have to know of its calls then lies in its
//! [`Ledger`](super::ledger::Ledger), which belongs to
//!
//! - the thread, while it is here;
//! - whoever holds the lock and has found it away, until the lock is free again.
//!
//! ```text
//! the thread            fiber = id ───── away ─────► fiber = 0; light barrier; asked?  no: goes on
//!                                                                                     yes: waits for the lock; lost? it stops
//! whoever asks          lock; asked = 1; heavy barrier; fiber, number unchanged? then it is away, and waits when it comes
//!                       back: looks at the books, may give it up; asked = 0, unless it is lost; unlock
//! ```
//!
//! The barriers are those of `sys::barrier`: either the thread sees that somebody asks, or who asks sees that it is here. One
//! that is lost finds so when it comes back, whenever that is, and touches nothing of its successor's. Built with
//! `--cfg loom` the same code runs on loom's primitives (tests/loom).

#[cfg(loom)]
use loom::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// See the module.
#[derive(Debug)]
pub struct Presence {
    /// The fiber that the thread is away with; 0: it is here.
    fiber: AtomicU64,
    /// Counts absences.
    number: AtomicU64,
    /// Somebody asks, or it is lost.
    asked: AtomicBool,
    /// It was given up.
    lost: AtomicBool,
    lock: Mutex<()>,
}

/// One absence of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// The fiber that has the thread.
    pub fiber: u64,
    /// No other absence of this thread has it.
    pub number: u64,
}

impl Presence {
    /// It is here.
    pub fn new() -> Presence {
        Presence {
            fiber: AtomicU64::new(0),
            number: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            lock: Mutex::new(()),
        }
    }

    /// The thread goes away with a fiber. It touches its books no more.
    #[inline]
    pub fn leave(&self, fiber: u64) {
        // One writer, its own thread: a plain increment is enough.
        self.number.store(self.number.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        // Release: who finds it away finds the books as it left them, and the number.
        self.fiber.store(fiber, Ordering::Release);
    }

    /// The thread comes back. False: it was given up meanwhile, and has no books any more.
    #[inline]
    #[must_use]
    pub fn back(&self) -> bool {
        self.fiber.store(0, Ordering::Relaxed);
        light();
        // Acquire: what was done to the books by who asked before and is done.
        !self.asked.load(Ordering::Acquire) || self.back_late()
    }

    #[cold]
    fn back_late(&self) -> bool {
        let _done = lock(&self.lock);
        !self.lost()
    }

    /// Whether it was given up. Known for certain only to a thread that comes back.
    #[inline]
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The absence that the thread is in, if it is away.
    pub fn absence(&self) -> Option<Absence> {
        let fiber = self.fiber.load(Ordering::Acquire);
        (fiber != 0).then(|| Absence { fiber, number: self.number.load(Ordering::Relaxed) })
    }

    /// Does something while the thread is kept away, if it still is in that absence and not given up. With true in its second part the
    /// result gives the thread up.
    pub fn meanwhile<R>(&self, absence: Absence, act: impl FnOnce() -> (R, bool)) -> Option<R> {
        let _only = lock(&self.lock);
        if self.lost() {
            return None;
        }
        self.asked.store(true, Ordering::Relaxed);
        let mut given_up = false;
        let result = (heavy() && self.absence() == Some(absence)).then(|| {
            let (result, give_up) = act();
            given_up = give_up;
            result
        });
        if given_up {
            self.lost.store(true, Ordering::Relaxed);
        } else {
            // Release: see `back`.
            self.asked.store(false, Ordering::Release);
        }
        result
    }
}

#[cfg(not(loom))]
pub use crate::sys::barrier::prepare;
#[cfg(not(loom))]
use crate::sys::barrier::{heavy, light};

#[cfg(loom)]
fn light() {
    fence(Ordering::SeqCst);
}

#[cfg(loom)]
fn heavy() -> bool {
    fence(Ordering::SeqCst);
    true
}

#[cfg(not(loom))]
fn lock(lock: &Mutex<()>) -> std::sync::MutexGuard<'_, ()> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(loom)]
fn lock(lock: &Mutex<()>) -> loom::sync::MutexGuard<'_, ()> {
    lock.lock().expect("never poisoned")
}
