//! The front: N interpreter threads behind one `Send + Sync + Clone` API.

mod builder;
mod fibers;
#[cfg(feature = "php")]
mod page;
mod script;
mod shutdown;
mod watchdog;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::call::Call;
use crate::call::inbox::{Inbox, Message};
use crate::call::job::{Dispatch, Scripts, Source, Target, Work};
use crate::call::outcomes::{Failures, Outcomes};
use crate::diagnosis::FiberInfo;
use crate::error::refused;
use crate::worker::quarantine::Watched;
use crate::worker::thread::Losses;

pub use builder::Builder;
pub use fibers::Cancelled;
pub use script::Script;

/// Interpreters of one guest, behind one handle. Cloning is cheap; when the last clone and the last [`Script`] are gone,
/// the interpreters are told to end (and not waited for: see [`Engine::shutdown`]).
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    guest: &'static str,
    inboxes: Vec<Arc<Inbox>>,
    /// Its interpreters; their threads hold them.
    watched: Vec<Weak<dyn Watched>>,
    /// What a replacement loads.
    scripts: Arc<Scripts>,
    next_script: AtomicU32,
    next_pick: AtomicUsize,
    losses: Arc<Losses>,
    outcomes: Arc<Outcomes>,
    closing: AtomicBool,
    /// Interpreters that the last shutdown left behind.
    stuck: AtomicUsize,
    /// From a cancel to the kill.
    grace: Duration,
    watchdog: watchdog::Watchdog,
}

/// A script in the list of what a replacement loads; taken off again unless it is kept.
struct Listed<'a> {
    scripts: &'a Scripts,
    number: u32,
}

impl<'a> Listed<'a> {
    fn new(scripts: &'a Scripts, number: u32, source: &Arc<Source>) -> Self {
        scripts.write().unwrap_or_else(PoisonError::into_inner).push((number, source.clone()));
        Listed { scripts, number }
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut scripts = self.scripts.write().unwrap_or_else(PoisonError::into_inner);
        scripts.retain(|(number, _)| *number != self.number);
    }
}

impl Dispatch for Inner {
    /// The least busy interpreter; among equals, in turn.
    fn pick(&self) -> Result<Arc<Inbox>, Error> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::Refused { name: refused::SHUT_DOWN, message: "the engine has been shut down".into() });
        }
        let count = self.inboxes.len();
        let first = self.next_pick.fetch_add(1, Ordering::Relaxed);
        let open = (0..count).map(|i| &self.inboxes[(first + i) % count]).filter(|inbox| !inbox.is_closed());
        // None is left where each was given up.
        open.min_by_key(|inbox| inbox.load()).cloned().ok_or(Error::InterpreterLost { started: false })
    }

    fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.close();
            inbox.send(Message::End);
        }
    }
}

/// Counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Interpreters.
    pub interpreters: usize,
    /// Fibers alive.
    pub fibers: usize,
    /// Stacks in use, those of interpreters' own work included.
    pub stacks: usize,
    /// Calls that wait for a fiber.
    pub queued: usize,
    /// Interpreters that were lost and replaced.
    pub quarantined: u64,
    /// Those of them whose memory was given back: heap, stacks and thread.
    pub reclaimed: u64,
    /// Those of them whose memory was not given back, since code that nobody knows of may still use it.
    pub abandoned: u64,
    /// Faults of guest code that were contained.
    pub crashed: u64,
    /// Interpreters that were replaced after so many calls: [`Builder::max_calls`].
    pub recycled: u64,
    /// Host objects that guests still held when they were closed, after they had dropped everything.
    pub leaked_objects: u64,
    /// Interpreters of which a thread had not come back when the last shutdown was over: it was left behind.
    pub stuck: usize,
    /// Host functions that held their interpreter for too long (50 ms).
    pub slow_host_calls: u64,
    /// The last of them, by name.
    pub last_slow_host_call: Option<String>,
    /// What went wrong with calls and tasks, by kind.
    pub failures: Failures,
    /// How often calls were ended because nothing could wake them any more: [`Call::detect_deadlock`].
    pub deadlocks: u64,
    /// The fibers that waited the last time.
    pub last_deadlock: Option<Arc<[FiberInfo]>>,
}

impl Engine {
    /// Starts the configuration of an engine for a guest, for example `Lua::new()`.
    pub fn builder<G: crate::guest::Guest>(guest: G) -> Builder<G> {
        Builder::new(guest)
    }

    /// The guest's name and version.
    pub fn guest(&self) -> &'static str {
        self.0.guest
    }

    /// Reads a script and loads it on every interpreter. It is loaded again wherever an interpreter is replaced.
    pub async fn load(&self, path: impl AsRef<Path>) -> Result<Script, Error> {
        let path = path.as_ref();
        let text = std::fs::read(path)
            .map_err(|source| Error::System { what: format!("cannot read {}", path.display()), source })?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        self.load_source(Source { name, folder, text }).await
    }

    /// Loads a script from memory; `name` is what errors call it. It finds no modules of its own.
    pub async fn load_text(&self, name: &str, text: impl Into<Vec<u8>>) -> Result<Script, Error> {
        self.load_source(Source { name: name.into(), folder: PathBuf::new(), text: text.into() }).await
    }

    async fn load_source(&self, source: Source) -> Result<Script, Error> {
        let source = Arc::new(source);
        let number = self.0.next_script.fetch_add(1, Ordering::Relaxed);
        // Listed first: an interpreter that is replaced between its load and the last one's loads the script again.
        let listed = Listed::new(&self.0.scripts, number, &source);
        let loads: Vec<Call<Option<Vec<String>>>> =
            self.0.inboxes.iter().map(|inbox| self.load_on(inbox, number, &source)).collect();
        let mut exports = futures_util::future::try_join_all(loads).await?.pop().flatten();
        if let Some(names) = &mut exports {
            names.sort();
        }
        listed.keep();
        Ok(Script::new(self.0.clone(), number, source, exports))
    }

    fn load_on(&self, inbox: &Arc<Inbox>, script: u32, source: &Arc<Source>) -> Call<Option<Vec<String>>> {
        let source = source.clone();
        Call::new(Target::Bound(inbox.clone()), "load", (), |_| Work::Load { script, source })
    }

    /// Runs a text once, on one interpreter, for its results. An expression counts as `return` of it.
    pub fn eval<R: DeserializeOwned + Send + 'static>(&self, text: &str) -> Call<R> {
        self.eval_with(text, ())
    }

    /// As [`Engine::eval`], with arguments.
    pub fn eval_with<R: DeserializeOwned + Send + 'static>(&self, text: &str, args: impl Serialize) -> Call<R> {
        let source = Arc::new(Source { name: "eval".into(), folder: PathBuf::new(), text: text.into() });
        Call::new(Target::Any(self.0.clone()), "eval", args, |args| Work::Eval { source, args })
    }

    /// Runs a file once, on one interpreter, as the main program: its results are the results (Lua), or its exit status is
    /// (PHP).
    pub fn run_file<R: DeserializeOwned + Send + 'static>(
        &self,
        path: impl AsRef<Path>,
        args: impl Serialize,
    ) -> Call<R> {
        let path = path.as_ref();
        match std::fs::read(path) {
            Ok(text) => {
                let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
                let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
                let source = Arc::new(Source { name, folder, text });
                Call::new(Target::Any(self.0.clone()), "main", args, |args| Work::Main { source, args })
            }
            Err(source) => Call::failed(
                Target::Any(self.0.clone()),
                Error::System { what: format!("cannot read {}", path.display()), source },
            ),
        }
    }

    /// Starts a call now instead of at its first poll.
    pub fn spawn<R: DeserializeOwned + Send + 'static>(&self, mut call: Call<R>) -> Result<Call<R>, Error> {
        call.start()?;
        Ok(call)
    }

    /// Makes this engine the one that runs exported functions for threads that are no interpreter threads, where the
    /// function says `foreign = owner` (see [`export`](macro@crate::export)). There is one in a process: the last that asked for
    /// it. Such a call is a call like others: it takes a fiber, and the engine's queue, deadline and shutdown hold for it.
    /// Where its interpreter is given up the thread gets an error ([`Error::InterpreterLost`]), and the function's future is neither
    /// polled nor dropped any more; only a function that holds the interpreter's thread itself keeps the caller until it returns.
    pub fn own_foreign_calls(&self) {
        let engine: Arc<dyn Dispatch> = self.0.clone();
        crate::crossing::export::foreign::own(Arc::downgrade(&engine));
    }

    /// Counts.
    pub fn metrics(&self) -> Metrics {
        let (slow_host_calls, last_slow_host_call) = self.0.watchdog.slow();
        let (deadlocks, last_deadlock) = self.0.outcomes.deadlocks();
        Metrics {
            interpreters: self.0.inboxes.len(),
            fibers: self.0.inboxes.iter().map(|inbox| inbox.live()).sum(),
            stacks: self.0.inboxes.iter().map(|inbox| inbox.stacks()).sum(),
            queued: self.0.inboxes.iter().map(|inbox| inbox.queued()).sum(),
            quarantined: self.0.losses.quarantined.load(Ordering::Relaxed),
            reclaimed: self.0.losses.reclaimed.load(Ordering::Relaxed),
            abandoned: self.0.losses.abandoned.load(Ordering::Relaxed),
            crashed: self.0.losses.crashed.load(Ordering::Relaxed),
            recycled: self.0.losses.recycled.load(Ordering::Relaxed),
            leaked_objects: self.0.losses.leaked.load(Ordering::Relaxed),
            stuck: self.0.stuck.load(Ordering::Relaxed),
            slow_host_calls,
            last_slow_host_call,
            failures: self.0.outcomes.failures(),
            deadlocks,
            last_deadlock,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({}, {} interpreters)", self.0.guest, self.0.inboxes.len())
    }
}
