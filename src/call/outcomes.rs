//! What went wrong in an engine's calls, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnosis::FiberInfo;
use crate::{Error, Limit};

macro_rules! failures { ($($(#[doc = $doc:literal])* $name:ident = $kind:ident,)*) => {
    /// What may go wrong with a run: a call, or a task that a script started.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Failure {
        $($(#[doc = $doc])* $kind,)*
    }

    /// How often each thing went wrong that may go wrong with a run: a call, or a task that a script started. A cancel is counted
    /// when it begins, a host function's panic when it happens, all else when the run ends.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    #[non_exhaustive]
    pub struct Failures {
        $($(#[doc = $doc])* pub $name: u64,)*
    }

    impl Failures {
        /// All of them, by name.
        pub fn list(&self) -> impl Iterator<Item = (&'static str, u64)> {
            [$((stringify!($name), self.$name)),*].into_iter()
        }
    }

    impl Outcomes {
        /// All counts.
        pub fn failures(&self) -> Failures {
            let count = |failure: Failure| self.failures[failure as usize].load(Ordering::Relaxed);
            Failures { $($name: count(Failure::$kind)),* }
        }
    }

    const KINDS: usize = [$(Failure::$kind),*].len();
}}

failures! {
    /// The script raised an error that nobody in it caught.
    script_error = Script,
    /// The deadline passed, while it ran or before.
    deadline = Deadline,
    /// Its memory, or the interpreter's, was used up.
    memory = Memory,
    /// No stack, or no more guards, for a fiber.
    fibers = Fibers,
    /// Its C stack was used up, where the guest checks that.
    stack = Stack,
    /// Processor time.
    cpu = Cpu,
    /// It waited for a fiber for too long.
    queue_timeout = QueueTimeout,
    /// The queue was full.
    queue_full = QueueFull,
    /// Cancelled because its caller, or a group that it was in, gave up.
    cancelled = Cancelled,
    /// Cancelled because the engine shuts down.
    cancelled_by_shutdown = CancelledByShutdown,
    /// Cancelled by hand: [`Engine::cancel`](crate::Engine::cancel).
    cancelled_by_hand = CancelledByHand,
    /// A part of it was cancelled: a nested guest call that its host function gave up (a timeout).
    cancelled_in_part = CancelledInPart,
    /// Cancelled because nothing could wake it any more.
    deadlock = Deadlock,
    /// It did not end within the grace after a cancel, and was killed.
    killed = Killed,
    /// A host function that it called panicked.
    host_panic = HostPanic,
    /// Its guest code caused a SIGSEGV.
    crash_sigsegv = CrashSegv,
    /// Its guest code caused a SIGBUS.
    crash_sigbus = CrashBus,
    /// Its guest code caused a SIGFPE.
    crash_sigfpe = CrashFpe,
    /// Its guest code caused a SIGILL.
    crash_sigill = CrashIll,
    /// Its guest code called `abort()`.
    crash_abort = CrashAbort,
    /// Its interpreter was lost after it had begun.
    lost = Lost,
    /// The same, before it had begun.
    lost_unstarted = LostUnstarted,
    /// A value could not be converted.
    convert = Convert,
    /// A use of the API that cannot work.
    refused = Refused,
    /// The system gave no thread, stack or file.
    system = System,
}

/// See the module. Shared by an engine's interpreters.
#[derive(Debug, Default)]
pub struct Outcomes {
    failures: [AtomicU64; KINDS],
    deadlocks: AtomicU64,
    last_deadlock: Mutex<Option<Arc<[FiberInfo]>>>,
}

impl Outcomes {
    /// One more of these.
    pub fn count(&self, failure: Failure) {
        self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A run has ended with this error.
    #[cold]
    pub fn failed(&self, error: &Error) {
        self.count(match error {
            Error::Script { .. } => Failure::Script,
            Error::Limit { which: Limit::Deadline, .. } => Failure::Deadline,
            Error::Limit { which: Limit::Memory, .. } => Failure::Memory,
            Error::Limit { which: Limit::Stack, .. } => Failure::Stack,
            Error::Limit { which: Limit::Fibers, .. } => Failure::Fibers,
            Error::Limit { which: Limit::Queue, .. } => Failure::QueueTimeout,
            Error::Limit { which: Limit::Cpu, .. } => Failure::Cpu,
            Error::QueueFull { .. } => Failure::QueueFull,
            Error::InterpreterLost { started: true } => Failure::Lost,
            Error::InterpreterLost { started: false } => Failure::LostUnstarted,
            Error::Convert { .. } => Failure::Convert,
            Error::Refused { .. } => Failure::Refused,
            Error::System { .. } => Failure::System,
            // Counted where they begin.
            Error::Cancelled | Error::Deadlock { .. } | Error::Crashed { .. } => return,
            // A server's, of which no run knows.
            Error::Limit { which: Limit::Response, .. } => return,
        });
    }

    /// These fibers waited for each other.
    pub fn deadlock(&self, fibers: &Arc<[FiberInfo]>) {
        self.deadlocks.fetch_add(1, Ordering::Relaxed);
        *self.last_deadlock.lock().unwrap_or_else(PoisonError::into_inner) = Some(fibers.clone());
    }

    /// How many deadlocks there were, and the last of them.
    pub fn deadlocks(&self) -> (u64, Option<Arc<[FiberInfo]>>) {
        let last = self.last_deadlock.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.deadlocks.load(Ordering::Relaxed), last)
    }
}
