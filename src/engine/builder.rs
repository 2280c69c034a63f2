//! Building an engine.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;

use super::watchdog::Watchdog;
use super::{Engine, Inner};
use crate::Error;
use crate::call::inbox::Inbox;
use crate::call::job::Extensions;
use crate::call::outcomes::Outcomes;
use crate::error::refused;
use crate::guest::Guest;
use crate::host::Module;
use crate::host::registry::Registry;
use crate::worker::quarantine::Watched;
use crate::worker::thread::{Losses, Post, Settings, spawn};

/// The configuration of an engine. Every setting has a default; they are listed in ARCHITECTURE.md.
pub struct Builder<G> {
    guest: G,
    threads: usize,
    queue: usize,
    modules: Vec<Module>,
    states: Extensions,
    settings: Settings,
    fiber_memory: Option<usize>,
}

impl<G: Guest> Builder<G> {
    pub(super) fn new(guest: G) -> Self {
        let stack = guest.stack();
        Builder {
            guest,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            queue: 65_536,
            modules: [crate::script::core()].into_iter().chain(crate::hooks::module()).chain(page_module()).collect(),
            states: Extensions::default(),
            settings: Settings {
                stack,
                fibers: 10_000,
                memory: 256 << 20,
                fiber_memory: 0,
                deadline: None,
                cpu: None,
                queue_timeout: None,
                max_calls: None,
                grace: Duration::from_millis(250),
                tick: Duration::from_millis(5),
                contain_faults: true,
                give_up: Duration::from_secs(2),
                abandoned: 256,
            },
            fiber_memory: None,
        }
    }

    /// Interpreters, each with a thread of its own. Default: the processors of the machine.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Bytes that one interpreter's guest may hold. Default: 256 MiB.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.settings.memory = bytes;
        self
    }

    /// Bytes that may be charged to one call. Default: as much as the interpreter may hold.
    pub fn call_memory(mut self, bytes: usize) -> Self {
        self.fiber_memory = Some(bytes);
        self
    }

    /// Wall time of a call, waiting and queueing included. Default: none.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.settings.deadline = Some(after);
        self
    }

    /// Processor time of a call, in total: see [`Call::cpu`](crate::Call::cpu). Default: no limit.
    pub fn cpu(mut self, limit: Duration) -> Self {
        self.settings.cpu = Some(limit);
        self
    }

    /// From a cancel, which the script can clean up after, to the kill, which it cannot. Default: 250 ms.
    pub fn grace(mut self, grace: Duration) -> Self {
        // A century is as good as for ever, and adds up without overflow.
        self.settings.grace = grace.min(Duration::from_secs(100 * 365 * 86_400));
        self
    }

    /// How often running scripts are looked at; a time slice is one to two of these. Default: 5 ms.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.settings.tick = tick;
        self
    }

    /// The real-time signal that ticks use, one for the process. Default: `SIGRTMIN + 3`. Guests cannot take it.
    ///
    /// An error once any engine of the process has started.
    pub fn tick_signal(self, signal: i32) -> Result<Self, Error> {
        crate::signal::tick::set_signal(signal)
            .map_err(|source| Error::System { what: format!("signal {signal} cannot be the tick's"), source })?;
        Ok(self)
    }

    /// Usable bytes of a fiber's C stack; virtual, used as touched. Default: 256 KiB, at least 32 KiB.
    pub fn stack(mut self, bytes: usize) -> Self {
        self.settings.stack = bytes;
        self
    }

    /// Fibers alive at once in one interpreter; further calls wait. Default: 10,000.
    pub fn fibers(mut self, fibers: usize) -> Self {
        self.settings.fibers = fibers;
        self
    }

    /// Calls that may wait for one interpreter; the next is [`Error::QueueFull`]. Default: 65,536.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// Whether a fault of guest code (SIGSEGV, SIGBUS, SIGFPE, SIGILL, `abort()`) ends its call with [`Error::Crashed`]
    /// instead of the process. Default: true. The interpreter is replaced then, and its other started calls are
    /// [`Error::InterpreterLost`]. A fault in host code, or where the C library may hold a lock, ends the process still.
    ///
    /// The first engine that contains faults installs handlers for those signals and SIGTRAP, for the process; whoever had
    /// one gets what is not a guest's. Under AddressSanitizer and valgrind nothing is contained.
    pub fn contain_faults(mut self, contain: bool) -> Self {
        self.settings.contain_faults = contain;
        self
    }

    /// How long an interpreter has after the kill of a call, before it is given up because the call's code does not come
    /// back: a C loop, a host function that blocks. Default: 2 s.
    ///
    /// Then its thread is left behind and counted as abandoned, until it comes back. Calls that had started there get
    /// [`Error::InterpreterLost`], the others start on its replacement. Only a fiber that was cancelled (its caller went away, its
    /// deadline passed, the engine shuts down) costs an interpreter; one without a deadline may take as long as it likes.
    pub fn give_up_after(mut self, after: Duration) -> Self {
        self.settings.give_up = after.min(Duration::from_secs(100 * 365 * 86_400));
        self
    }

    /// How many interpreters may be lost together with their memory, by faults, by panics of an interpreter thread, or by
    /// threads that do not come back, before the process ends with a report. Default: 256.
    pub fn abandoned(mut self, interpreters: u64) -> Self {
        self.settings.abandoned = interpreters;
        self
    }

    /// How long a call may wait for a fiber; then it is refused as [`Limit::Queue`](crate::Limit::Queue), and nothing of it
    /// was started. Default: as long as its deadline lets it.
    ///
    /// The interpreter that it waits for refuses it, or, where that hangs, the engine's watchdog does.
    pub fn queue_timeout(mut self, after: Duration) -> Self {
        self.settings.queue_timeout = Some(after);
        self
    }

    /// Replaces an interpreter by a new incarnation, with the same scripts, once it has started this many calls of exports, programs and
    /// pages.
    /// Default: never.
    ///
    /// No call is lost: new ones wait up to a second for those that run, and tasks of scripts, to end. Where these take
    /// longer (or wait for a call that waits), the calls go on, and it is tried again five seconds later. What Rust still holds
    /// of the old incarnation ([`Function`](crate::Function)) is lost with it.
    pub fn max_calls(mut self, calls: u64) -> Self {
        self.settings.max_calls = Some(calls);
        self
    }

    /// Adds host functions. Two modules of one name are merged.
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// A value for [`State<T>`](crate::State) extractors: one of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(value) as Arc<dyn Any + Send + Sync>);
        self
    }

    /// Starts the interpreters and waits until each is up.
    ///
    /// With the `tokio` feature, inside a tokio runtime, host functions may use it.
    pub fn build(self) -> Result<Engine, Error> {
        let settings = self.checked()?;
        crate::crossing::fence::watch_panics();
        let registry = Arc::new(Registry::new(&self.modules)?);
        let states = Arc::new(self.states);
        let guest = Arc::new(self.guest);
        let scripts = Arc::new(RwLock::new(Vec::new()));
        let losses = Arc::new(Losses::default());
        let outcomes = Arc::<Outcomes>::default();
        crate::call::presence::prepare();
        let posts: Vec<Arc<Post<G>>> = (0..self.threads)
            .map(|interpreter| {
                Arc::new(Post {
                    guest: guest.clone(),
                    settings: settings.clone(),
                    registry: registry.clone(),
                    states: states.clone(),
                    inbox: Inbox::new(u32::try_from(interpreter).expect("checked"), self.queue, &outcomes),
                    scripts: scripts.clone(),
                    losses: losses.clone(),
                    #[cfg(feature = "tokio")]
                    tokio: tokio::runtime::Handle::try_current().ok(),
                })
            })
            .collect();
        let inboxes: Vec<Arc<Inbox>> = posts.iter().map(|post| post.inbox.clone()).collect();
        let watched: Vec<Weak<dyn Watched>> =
            posts.iter().map(|post| Arc::downgrade(post) as Weak<dyn Watched>).collect();
        let watchdog = Watchdog::start(inboxes.clone(), watched.clone(), registry)
            .map_err(|source| Error::System { what: "cannot start the watchdog thread".into(), source })?;
        let inner = Arc::new(Inner {
            guest: guest.name(),
            inboxes,
            watched,
            scripts: scripts.clone(),
            next_script: AtomicU32::new(1),
            next_pick: AtomicUsize::new(0),
            losses: losses.clone(),
            outcomes,
            closing: AtomicBool::new(false),
            stuck: AtomicUsize::new(0),
            grace: settings.grace,
            watchdog,
        });
        let (started, up) = crossbeam_channel::unbounded();
        for post in posts {
            spawn(post, Some(started.clone()))
                .map_err(|source| Error::System { what: "cannot start an interpreter thread".into(), source })?;
        }
        drop(started);
        for _ in 0..self.threads {
            up.recv().unwrap_or(Err(Error::InterpreterLost { started: false }))?;
        }
        Ok(Engine(inner))
    }

    fn checked(&self) -> Result<Arc<Settings>, Error> {
        let bad = |message: String| Err(Error::Refused { name: refused::BAD_SETTING, message });
        if self.threads == 0 || self.threads > 1024 {
            return bad(format!("threads must be 1 to 1024, not {}", self.threads));
        }
        if self.settings.stack < 32 << 10 {
            return bad(format!("stack must be at least {} bytes, not {}", 32 << 10, self.settings.stack));
        }
        if self.settings.fibers == 0 {
            return bad("fibers must be at least 1".into());
        }
        if self.settings.max_calls == Some(0) {
            return bad("max_calls must be at least 1".into());
        }
        if self.settings.tick < Duration::from_micros(100) {
            return bad("tick must be at least 100 µs".into());
        }
        let mut settings = self.settings.clone();
        settings.fiber_memory = self.fiber_memory.unwrap_or(settings.memory);
        Ok(Arc::new(settings))
    }
}

#[cfg(feature = "php")]
fn page_module() -> Option<Module> {
    Some(crate::php::module())
}

#[cfg(not(feature = "php"))]
fn page_module() -> Option<Module> {
    None
}
