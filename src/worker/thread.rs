//! The life of an interpreter thread, and of the one that takes its place.
//!
//! 1. The thread attaches: in-host, alternate signal stack, tick timer. 2. The guest is made and started, on a fiber.
//! 3. Scripts that the engine has are loaded. 4. It works. 5. It closes the guest and ends.
//!
//! One that has done its number of calls (`recycle`) goes on to step 5, and a new thread starts at step 1.
//!
//! A panic that reaches this file, which is also what a fault of guest code becomes (`fault`), quarantines the incarnation: its
//! fibers are leaked with whatever they hold, its started
//! calls get `InterpreterLost { started: true }`, and a new thread starts at step 1, reading from the same inbox, so that queued
//! calls run there.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::fiber::Ids;
use super::limits::Limits;
use super::{Ending, Worker, fault};
use crate::Error;
use crate::call::inbox::{Inbox, Message};
use crate::call::job::{Extensions, Scripts};
use crate::call::wake;
use crate::crossing::fence::{Panicked, drop_fenced, fence};
use crate::crossing::finish;
use crate::fiber::{Home, StackConfig, StackPool};
use crate::guest::{Guest, Interpreter, Setup, Task};
use crate::handle::Table;
use crate::host::local::{Activity, Clock, Lent, Local};
use crate::host::registry::Registry;
use crate::host::timer::Timers;
use crate::signal::{Attached, Crash};

/// What every interpreter of an engine is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Usable bytes of a fiber's C stack.
    pub stack: usize,
    /// Fibers alive at once.
    pub fibers: usize,
    /// Memory of an interpreter, in bytes.
    pub memory: usize,
    /// Memory that may be charged to one fiber, in bytes.
    pub fiber_memory: usize,
    /// Wall time of a call.
    pub deadline: Option<Duration>,
    /// How long a call may wait for a fiber.
    pub queue_timeout: Option<Duration>,
    /// Calls of exports after which an interpreter is replaced.
    pub max_calls: Option<u64>,
    /// From a cancel to the kill.
    pub grace: Duration,
    /// How often running guest code is looked at; a time slice is one to two ticks.
    pub tick: Duration,
    /// Faults of guest code end the call, not the process.
    pub contain_faults: bool,
    /// Interpreters that may be lost with their memory before the process ends.
    pub abandoned: u64,
}

/// What outlives an incarnation.
pub struct Post<G: Guest> {
    /// The guest.
    pub guest: Arc<G>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// The host functions.
    pub registry: Arc<Registry>,
    /// The builder's values.
    pub states: Arc<Extensions>,
    /// The way in.
    pub inbox: Arc<Inbox>,
    /// Its other end.
    pub receiver: Receiver<Message>,
    /// The scripts that the engine has loaded, by number.
    pub scripts: Arc<Scripts>,
    /// What the watchdog reads.
    pub activity: Arc<Activity>,
    /// What went wrong, counted.
    pub losses: Arc<Losses>,
    /// The async runtime that interpreter threads enter, if there is one: host futures that need tokio find it through this.
    #[cfg(feature = "tokio")]
    pub tokio: Option<tokio::runtime::Handle>,
}

/// Counts of what an engine's interpreters have lost.
#[derive(Debug, Default)]
pub struct Losses {
    /// Incarnations that were quarantined.
    pub quarantined: AtomicU64,
    /// Those of them whose memory could not be given back.
    pub abandoned: AtomicU64,
    /// Faults of guest code that were contained.
    pub crashed: AtomicU64,
    /// Incarnations that were replaced after so many calls.
    pub recycled: AtomicU64,
    /// Host objects that guests still held when they were closed.
    pub leaked: AtomicU64,
}

/// Starts an interpreter thread. Its guest's start, or the error, is reported through `started`.
pub fn spawn<G: Guest>(
    post: Arc<Post<G>>,
    started: Option<Sender<Result<(), Error>>>,
) -> std::io::Result<JoinHandle<()>> {
    let name = format!("sidestack-{}", post.inbox.interpreter);
    std::thread::Builder::new().name(name).spawn(move || run(&post, started))
}

fn run<G: Guest>(post: &Arc<Post<G>>, started: Option<Sender<Result<(), Error>>>) {
    #[cfg(feature = "tokio")]
    let _entered = post.tokio.as_ref().map(tokio::runtime::Handle::enter);
    let incarnation = post.inbox.incarnation.fetch_add(1, Ordering::AcqRel) + 1;
    wake::serve(Arc::as_ptr(&post.inbox));
    // Leaked after a panic: fibers in it are suspended in C and can neither be resumed nor unwound.
    let mut worker = std::mem::ManuallyDrop::new(match incarnate(post, incarnation) {
        Ok(worker) => worker,
        Err(error) => {
            wake::serve(std::ptr::null());
            return give_up(post, started, error);
        }
    });
    let (mut up, mut closing) = (false, false);
    let outcome = fence(|| {
        worker.serve(&Task::Start)?;
        worker.reload(&post.scripts);
        report(started.clone(), Ok(()));
        up = true;
        worker.work();
        // One that is replaced is replaced also if its closing fails.
        closing = !worker.spent();
        let leaked = worker.stop();
        post.losses.leaked.fetch_add(leaked as u64, Ordering::Relaxed);
        let spent = worker.spent();
        if spent {
            worker.hand_on(&post.losses);
        } else {
            worker.tell_ended();
        }
        Ok(spent)
    });
    wake::serve(std::ptr::null());
    match outcome {
        Ok(Ok(spent)) => {
            let worker = std::mem::ManuallyDrop::into_inner(worker);
            drop_fenced(worker);
            if spent {
                tracing::debug!(target: "sidestack", interpreter = post.inbox.interpreter, "an interpreter is replaced after its number of calls");
                replace(post, None);
            }
        }
        Ok(Err(error)) => give_up(post, started, error),
        // One that cannot even start would be replaced for ever.
        Err(Panicked(fault)) if !up => {
            let crash = worker.crash.take();
            detach(&mut worker);
            let unknown = || Error::Crashed { fault, fiber: 0, backtrace: String::new() };
            give_up(post, started, crash.map_or_else(unknown, |crash| crash.error()));
        }
        Err(Panicked(message)) => {
            post.losses.quarantined.fetch_add(1, Ordering::Relaxed);
            let interpreter = post.inbox.interpreter;
            match worker.crash.take() {
                Some(Crash { fault, fiber, backtrace }) => {
                    post.losses.crashed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        target: "sidestack", interpreter, fiber, %fault, %backtrace,
                        "guest code crashed; its interpreter is replaced"
                    );
                }
                None => tracing::error!(
                    target: "sidestack", interpreter, %message, "an interpreter thread panicked; it is replaced"
                ),
            }
            let ending = worker.ending.take();
            worker.lose();
            fault::count_abandoned(&post.losses, post.settings.abandoned);
            detach(&mut worker);
            if closing {
                // Closing is what failed, and would fail again: it is over.
                let done = ending.map(|ending| ending.done).unwrap_or_default();
                give_up(post, None, Error::InterpreterLost { started: false });
                done.into_iter().for_each(|done| {
                    let _ = done.send(());
                });
            } else {
                replace(post, ending);
            }
        }
    }
}

/// The thread is no longer that worker's, which is leaked.
fn detach<I: Interpreter>(worker: &mut std::mem::ManuallyDrop<Worker<I>>) {
    // The leaked worker must not keep the channel open when there is no other reader.
    worker.inbox = crossbeam_channel::never();
    // SAFETY: nothing of the guest runs on this thread again, and the rest of the worker is leaked unread.
    unsafe { std::ptr::drop_in_place(&raw mut worker.attached) };
}

/// Starts the next incarnation.
fn replace<G: Guest>(post: &Arc<Post<G>>, ending: Option<Ending>) {
    match ending {
        Some(Ending { cancel_at, done }) if !done.is_empty() => {
            let cancel_at = cancel_at.unwrap_or_else(Instant::now);
            done.into_iter().for_each(|done| post.inbox.send(Message::Drain { cancel_at, done }));
        }
        Some(_) => post.inbox.send(Message::End),
        None => {}
    }
    if let Err(source) = spawn(post.clone(), None) {
        give_up(post, None, Error::System { what: "no thread for the replacement of an interpreter".into(), source });
    }
}

/// There will be no interpreter behind this inbox: nothing gets in any more, and what waits there is lost.
fn give_up<G: Guest>(post: &Post<G>, started: Option<Sender<Result<(), Error>>>, error: Error) {
    post.inbox.close();
    // Dropping a job tells its caller; what comes in even now is dropped with the receiver.
    while let Ok(message) = post.receiver.try_recv() {
        drop_fenced(message);
    }
    post.inbox.end();
    report(started, Err(error));
}

fn report(started: Option<Sender<Result<(), Error>>>, result: Result<(), Error>) {
    match (started, result) {
        (Some(started), result) => drop(started.send(result)),
        (None, Err(error)) => tracing::error!(target: "sidestack", %error, "an interpreter could not be replaced"),
        (None, Ok(())) => {}
    }
}

/// Makes the worker, with a guest that has not started.
fn incarnate<G: Guest>(post: &Post<G>, incarnation: u32) -> Result<Worker<G::Interpreter>, Error> {
    let settings = post.settings.clone();
    // Service fibers come on top of those that calls may have.
    let stacks = StackConfig { size: settings.stack, capacity: settings.fibers + 2, ..StackConfig::default() };
    let guard = stacks.guard;
    let pool = StackPool::new(stacks)?;
    tracing::debug!(target: "sidestack", interpreter = post.inbox.interpreter, stacks = ?pool.stats(), "stacks are reserved");
    let setup = Setup { host: post.registry.desc(), memory: settings.memory };
    let interpreter = Rc::new(UnsafeCell::new(post.guest.create(&setup)?));
    let attached = Attached::new()
        .map_err(|source| Error::System { what: "cannot attach the interpreter thread".into(), source })?;
    let thread = attached.thread().as_ptr();
    if settings.contain_faults {
        let source = |source| Error::System { what: "cannot contain faults".into(), source };
        attached.contain_faults().map_err(source)?;
    }
    // SAFETY: the thread's own state; the interpreter is shared with this thread only, and nobody holds a reference to it
    // across a call.
    unsafe {
        (*thread).guest_interrupt = (*interpreter.get()).interrupt();
        (*thread).guest_where = (*interpreter.get()).place();
        (*thread).stack_guard = guard;
    };
    let asked = interpreter.clone();
    let local = Rc::new(Local {
        guest: post.guest.name(),
        registry: post.registry.clone(),
        states: post.states.clone(),
        inbox: post.inbox.clone(),
        incarnation,
        // Far enough apart that keys of one incarnation are not those of the next.
        handles: RefCell::new(Table::new(post.inbox.interpreter, incarnation.wrapping_shl(20) | 1)),
        lent: Lent::default(),
        next_error: Cell::new(0),
        timers: RefCell::new(Timers::new()),
        loading: RefCell::default(),
        activity: post.activity.clone(),
        clock: Clock::new(),
        // SAFETY: as above; asked from upcalls on this thread, while no method of it runs.
        in_finalizer: Box::new(move || unsafe { (*asked.get()).in_finalizer() }),
    });
    Ok(Worker {
        settings,
        interpreter,
        local,
        thread,
        // SAFETY: the thread's own state lives as long as the thread, to which the worker is bound.
        home: unsafe { Home::new(&raw mut (*thread).host_stack) },
        attached,
        inbox: post.receiver.clone(),
        pool,
        fibers: Vec::new(),
        free: Vec::new(),
        spare: Vec::new(),
        live: 0,
        started: 0,
        ids: Ids::default(),
        peak: 0,
        limits: Limits::default(),
        ready: VecDeque::new(),
        backlog: super::Backlog::default(),
        releases: Vec::new(),
        loading: Vec::new(),
        held: Vec::new(),
        recycle: super::Recycle::default(),
        quiet: super::Quiet::default(),
        units: 0,
        ending: None,
        crash: None,
    })
}

impl<I: Interpreter> Worker<I> {
    /// Loads what the engine has loaded before this incarnation.
    fn reload(&mut self, scripts: &Scripts) {
        let scripts = scripts.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        for (script, source) in scripts {
            self.reload_script(script, source);
        }
    }

    /// The incarnation is lost: calls that have begun are told, the others go back to the inbox.
    fn lose(&mut self) {
        // SAFETY: the loop of this thread has been left: nobody else uses the interpreter.
        unsafe { (*self.interpreter.get()).lost() };
        self.count_started();
        self.local.activity.end_turn();
        self.local.inbox.roster.clear();
        for fiber in self.fibers.iter_mut().flatten() {
            let record = &mut fiber.record;
            // Before the caller is told: futures may hold what it lent.
            // SAFETY: the loop of this thread has been left, in whatever it was.
            unsafe { finish::end_calls(record) };
            match record.job.take() {
                // The next incarnation loads its scripts itself.
                Some(mut job) if !fiber.begun && job.completion.is_some() => {
                    // `place` moved them to the fiber.
                    let caller = &record.context.caller;
                    job.settings.label.clone_from(&caller.label);
                    job.settings.extensions.clone_from(&caller.extensions);
                    self.local.inbox.requeue(job, false);
                }
                job => drop_fenced(job),
            }
        }
        while let Some(job) = self.held.pop().or_else(|| self.backlog.pop()) {
            self.local.inbox.requeue(job, true);
        }
        // SAFETY: the thread's own state; no fiber is current any more.
        unsafe {
            (*self.thread).fiber = std::ptr::null_mut();
            (*self.thread).fiber_id = 0;
            (*self.thread).stack_limit = 0;
            (*self.thread).place = crate::abi::SS_NO_FIBER as i32;
        }
    }
}
