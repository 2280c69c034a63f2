//! What an interpreter thread is asked to run, and where its outcome goes.

use std::any::TypeId;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use compact_str::CompactString;

use super::inbox::Inbox;
use super::outcomes::Outcomes;
use super::reference::Reference;
use super::stats::Stats;
use crate::Error;
use crate::abi::ss_export_run;
use crate::handle::Shared;
use crate::value::{Flat, Results};

/// Values that a caller attaches to a call: one of a type. One word, because most calls have none.
#[derive(Clone, Default)]
#[expect(clippy::box_collection, reason = "one word instead of three")]
pub struct Extensions(Option<Box<Vec<(TypeId, Shared)>>>);

impl Extensions {
    /// The value of this type.
    pub fn get(&self, type_id: TypeId) -> Option<&Shared> {
        self.0.as_ref()?.iter().find(|(own, _)| *own == type_id).map(|(_, value)| value)
    }

    /// Adds one, or replaces the one of its type.
    pub fn insert(&mut self, type_id: TypeId, value: Shared) {
        let all = self.0.get_or_insert_default();
        match all.iter_mut().find(|(own, _)| *own == type_id) {
            Some((_, old)) => *old = value,
            None => all.push((type_id, value)),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// A text to run.
#[derive(Debug)]
pub struct Source {
    /// The chunk's name as errors show it.
    pub name: String,
    /// The folder its own modules are looked for in.
    pub folder: PathBuf,
    /// The text.
    pub text: Vec<u8>,
}

/// The scripts that an engine has loaded, by number: what a replacement loads.
pub type Scripts = RwLock<Vec<(u32, Arc<Source>)>>;

/// What to run.
pub enum Work {
    /// An export of a loaded script.
    Export { script: u32, name: CompactString, args: Flat },
    /// A function that the guest gave out.
    Function { token: Arc<Reference>, args: Flat, by_reference: bool },
    /// A text, for its results.
    Eval { source: Arc<Source>, args: Flat },
    /// A file, as the main program.
    Main { source: Arc<Source>, args: Flat },
    /// A script, for its exports.
    Load { script: u32, source: Arc<Source> },
    /// An exported function, for a thread that waits and is no interpreter thread. Whatever the guest is: no guest code runs.
    Foreign { run: ForeignRun },
}

/// What such a fiber's entry gets. Points into the frames of the thread that waits.
pub struct ForeignRun(pub ss_export_run);

// SAFETY: the thread that made it waits until the job's outcome is there (`crossing::export::foreign`), and what was started with it
// is not used after that: it was dropped before, or, where the interpreter was given up, never runs again nor is dropped
// (`Ledger::give_up`, `Worker::forget_fibers`). What C's arguments point to is C's responsibility (`foreign = owner`).
unsafe impl Send for ForeignRun {}

impl Work {
    /// The arguments, where there are any.
    pub fn args(&self) -> Option<&Flat> {
        match self {
            Work::Export { args, .. }
            | Work::Function { args, .. }
            | Work::Eval { args, .. }
            | Work::Main { args, .. } => Some(args),
            Work::Load { .. } | Work::Foreign { .. } => None,
        }
    }

    /// Whether it begins something of its own, and so can wait for a turn or another incarnation.
    pub fn is_call(&self) -> bool {
        matches!(self, Work::Export { .. } | Work::Eval { .. } | Work::Main { .. })
    }

    /// Whether it is a task that a script started: its results stay among scripts.
    pub fn is_task(&self) -> bool {
        matches!(self, Work::Function { by_reference: true, .. })
    }

    /// As [`Work::args`].
    pub fn args_mut(&mut self) -> Option<&mut Flat> {
        match self {
            Work::Export { args, .. }
            | Work::Function { args, .. }
            | Work::Eval { args, .. }
            | Work::Main { args, .. } => Some(args),
            Work::Load { .. } | Work::Foreign { .. } => None,
        }
    }
}

/// What a caller may set on one call.
#[derive(Default)]
pub struct Settings {
    /// Wall time from now on, waiting included.
    pub deadline: Option<Duration>,
    /// Processor time of the call.
    pub cpu: Option<Duration>,
    /// Bytes that may be charged to the call's fiber.
    pub memory: Option<usize>,
    /// A name for people.
    pub label: Option<String>,
    /// For [`Ext`](crate::Ext) extractors.
    pub extensions: Extensions,
    /// Who wants to know what it does.
    pub stats: Option<Stats>,
    /// It is told if nothing can wake it any more: see `worker::deadlock`.
    pub detect_deadlock: bool,
}

/// Ends a job whose outcome is decoded, and gives it away; `None`: it is needed still, or gone.
pub type Over<'a> = &'a mut dyn FnMut() -> Option<Box<Job>>;

/// Where a call's outcome goes, and by which the call is known while it runs.
pub trait Completion: Send + Sync {
    /// Takes the outcome; only the first one counts. Runs on the interpreter thread; may run the caller's code
    /// (deserialising), so it is called behind the fence. `over`, to be called once the outcome is decoded, gives the spent job, whose memory
    /// goes back to the thread that it came from, where allocators want it. Returns what to wake, behind the fence too, once
    /// `self` is given up.
    #[must_use]
    fn complete(&self, outcome: Result<Results<'_>, Error>, over: Over<'_>) -> Option<Waker>;

    /// Whether the caller has gone.
    fn abandoned(&self) -> bool;

    /// The key of the fiber that runs it, as (index, id); id 0 until it has one. Written and read by the worker only.
    fn fiber(&self) -> (&AtomicU64, &AtomicU64);
}

/// One call on its way.
pub struct Job {
    /// What to run.
    pub work: Work,
    /// Limits and labels.
    pub settings: Settings,
    /// When the call began: deadlines count from here.
    pub begun: Instant,
    /// Where the outcome goes; `None` once it went there.
    pub completion: Option<Arc<dyn Completion>>,
    /// The fiber got started: what the caller is told if the interpreter is lost.
    pub started: bool,
}

impl Job {
    /// It is over: drops what was the caller's, which may run a host object's `Drop`.
    pub fn spend(&mut self) {
        if let Some(args) = self.work.args_mut() {
            args.clear();
        }
        self.settings = Settings::default();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A job never vanishes silently: whoever loses it (a panic, a closed channel) has lost the interpreter.
        if let Some(completion) = self.completion.take() {
            let waker = completion.complete(Err(Error::InterpreterLost { started: self.started }), &mut || None);
            drop(completion);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Where a call goes.
#[derive(Clone)]
pub enum Target {
    /// The interpreter that a value is bound to.
    Bound(Arc<Inbox>),
    /// Whichever the dispatcher finds best.
    Any(Arc<dyn Dispatch>),
}

impl Target {
    /// What went wrong there, counted.
    pub fn outcomes(&self) -> &Outcomes {
        match self {
            Target::Bound(inbox) => &inbox.outcomes,
            Target::Any(dispatch) => dispatch.outcomes(),
        }
    }
}

/// Picks an interpreter for a call that is bound to none.
pub trait Dispatch: Send + Sync {
    /// The interpreter to run the next call.
    fn pick(&self) -> Result<Arc<Inbox>, Error>;

    /// What went wrong with calls, counted.
    fn outcomes(&self) -> &Outcomes;
}
