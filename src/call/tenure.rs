//! One incarnation of an interpreter, as those see it who cannot ask its thread.

use std::cell::UnsafeCell;

use super::activity::Activity;
use super::ledger::{Ledger, Times};
use super::presence::{Absence, Presence};

/// See the module.
pub struct Tenure {
    /// Whether its thread is away.
    pub presence: Presence,
    /// What it is at.
    pub activity: Activity,
    ledger: UnsafeCell<Ledger>,
}

// SAFETY: all but the ledger is atomic; the ledger is `Send`, and touched by one thread at a time (`presence`): its own, by `ledger`,
// or another one in `meanwhile`.
unsafe impl Sync for Tenure {}

impl Tenure {
    /// A new one, whose jobs have to keep to these times.
    pub fn new(times: Times) -> Tenure {
        let mut ledger = Ledger::default();
        ledger.times = times;
        Tenure { presence: Presence::new(), activity: Activity::default(), ledger: UnsafeCell::new(ledger) }
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

    /// Does something with the books while the thread is kept away: see [`Presence::meanwhile`].
    pub fn meanwhile<R>(&self, absence: Absence, act: impl FnOnce(&mut Ledger) -> (R, bool)) -> Option<R> {
        // SAFETY: the thread is away, has left the books as they are to be, and waits when it comes back until this is over.
        self.presence.meanwhile(absence, || act(unsafe { &mut *self.ledger.get() }))
    }
}
