//! The life of an interpreter thread, and of the one that takes its place.
//!
//! 1. The thread attaches: in-host, alternate signal stack, tick timer. 2. The guest is made and started, on a fiber.
//! 3. Scripts that the engine has are loaded. 4. It works. 5. It closes the guest and ends.
//!
//! One that has done its number of calls (`recycle`) goes on to step 5, and a new thread starts at step 1.
//!
//! A panic that reaches this file, which is also what a fault of guest code becomes (`fault`), quarantines the incarnation: its
//! started calls get `InterpreterLost { started: true }`, and a new thread starts at step 1, reading from the same inbox, so that
//! queued calls run there. The old thread gives back what can be given back (`lost`).

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::Worker;
use super::fiber::Ids;
use super::limits::Limits;
use super::lost::{self, Thread};
use super::quarantine::{note_lost, tell};
use crate::Error;
use crate::call::inbox::{Inbox, Message};
use crate::call::job::{Extensions, Scripts, Work};
use crate::call::ledger::{Ending, Times};
use crate::call::tenure::Tenure;
use crate::call::wake::Serving;
use crate::crossing::fence::{Panicked, drop_fenced, fence};
use crate::crossing::finish;
use crate::diagnosis::Backtrace;
use crate::fiber::{Home, StackConfig, StackPool};
use crate::guest::{Guest, Interpreter, Setup, Task};
use crate::handle::Table;
use crate::host::account::Accounts;
use crate::host::local::{Clock, Lent, Local};
use crate::host::registry::Registry;
use crate::host::timer::Timers;
use crate::signal::{Attached, Crash};
use crate::sys::clock;

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
    /// Processor time of a call.
    pub cpu: Option<Duration>,
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
    /// From the kill until an interpreter that does not come back is given up.
    pub give_up: Duration,
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
    /// The scripts that the engine has loaded, by number.
    pub scripts: Arc<Scripts>,
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
    /// Those of them whose memory has been given back.
    pub reclaimed: AtomicU64,
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
    std::thread::Builder::new().name(name).spawn(move || run(post, started))
}

fn run<G: Guest>(post: Arc<Post<G>>, started: Option<Sender<Result<(), Error>>>) {
    if live(&post, started) == Thread::Sleeps {
        // Not its reading end: what is sent when nobody reads any more has to be dropped.
        drop(post);
        lost::sleep();
    }
}

fn live<G: Guest>(post: &Arc<Post<G>>, started: Option<Sender<Result<(), Error>>>) -> Thread {
    #[cfg(feature = "tokio")]
    let _entered = post.tokio.as_ref().map(tokio::runtime::Handle::enter);
    let incarnation = post.inbox.incarnation.fetch_add(1, Ordering::AcqRel) + 1;
    let times = Times { deadline: post.settings.deadline, queue: post.settings.queue_timeout };
    let tenure = Arc::new(Tenure::new(times));
    post.inbox.served_by(&tenure);
    // Whatever the way out is: nobody asks a thread that is gone.
    let _over = Over(&tenure);
    let mut worker = match incarnate(post, incarnation, tenure.clone()) {
        // Not dropped by an unwinding that no fence here stops: its fibers are suspended in C.
        Ok(worker) => ManuallyDrop::new(worker),
        Err(error) => {
            give_up(post, started, error);
            return Thread::Ends;
        }
    };
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
    worker.serving.close();
    match outcome {
        Ok(Ok(spent)) => {
            drop_fenced(ManuallyDrop::into_inner(worker));
            if spent {
                tracing::debug!(target: "sidestack", interpreter = post.inbox.interpreter, "an interpreter is replaced after its number of calls");
                replace(post, None);
            }
            Thread::Ends
        }
        Ok(Err(error)) => {
            give_up(post, started, error);
            Thread::Ends
        }
        Err(_) if tenure.presence.lost() => lost::came_back(worker, post),
        // One that cannot even start would be replaced for ever.
        Err(Panicked(fault)) if !up => {
            let crash = worker.crash.take();
            let unknown = || Error::Crashed { fault, fiber: 0, backtrace: Backtrace::default() };
            give_up(post, started, crash.map_or_else(unknown, |crash| crash.error()));
            lost::clear(worker, &post.losses)
        }
        Err(Panicked(message)) => {
            post.losses.quarantined.fetch_add(1, Ordering::Relaxed);
            let interpreter = post.inbox.interpreter;
            match worker.crash.take() {
                Some(Crash { fault, fiber, label, backtrace, .. }) => {
                    post.losses.crashed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        target: "sidestack", interpreter, fiber, label = label.as_deref(), %fault, %backtrace,
                        "guest code crashed; its interpreter is replaced"
                    );
                }
                None => tracing::error!(
                    target: "sidestack", interpreter, %message, "an interpreter thread panicked; it is replaced"
                ),
            }
            let ending = worker.lose();
            if closing {
                // Closing is what failed, and would fail again: it is over.
                end(post, ending);
            } else {
                replace(post, ending);
            }
            lost::clear(worker, &post.losses)
        }
    }
}

/// The interpreter thread ends.
struct Over<'a>(&'a Tenure);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end_thread();
    }
}

/// There will be no interpreter behind this inbox, as whoever waits for that is told.
pub(super) fn end<G: Guest>(post: &Post<G>, ending: Option<Ending>) {
    give_up(post, None, Error::InterpreterLost { started: false });
    ending.into_iter().flat_map(|ending| ending.done).for_each(|done| {
        let _ = done.send(());
    });
}

/// Starts the next incarnation.
pub(super) fn replace<G: Guest>(post: &Arc<Post<G>>, ending: Option<Ending>) {
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
    // Jobs that wait are dropped, which tells their callers.
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
fn incarnate<G: Guest>(post: &Post<G>, incarnation: u32, tenure: Arc<Tenure>) -> Result<Worker<G::Interpreter>, Error> {
    let serving = Serving::new(&tenure);
    let settings = post.settings.clone();
    // Service fibers come on top of those that calls may have.
    let stacks = StackConfig { size: settings.stack, capacity: settings.fibers + 2, ..StackConfig::default() };
    let guard = stacks.guard;
    let pool = StackPool::new(stacks)?;
    tracing::debug!(target: "sidestack", interpreter = post.inbox.interpreter, stacks = ?pool.stats(), "stacks are reserved");
    let setup = Setup { host: post.registry.desc(), memory: settings.memory };
    let interpreter = Rc::new(UnsafeCell::new(post.guest.create(&setup)?));
    let tick = u64::try_from(settings.tick.as_nanos()).unwrap_or(u64::MAX);
    let attached = Attached::new()
        .map_err(|source| Error::System { what: "cannot attach the interpreter thread".into(), source })?;
    let thread = attached.thread().as_ptr();
    // Its fibers' timers have ticks of their own.
    clock::be_punctual();
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
        (*thread).host = setup.host.cast();
        // Always: others may come while a fiber runs, and only the loop sees them.
        (*thread).others_ready = 1;
        tenure.attached(&raw mut (*thread).deadline);
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
        polling: Cell::new(std::ptr::null()),
        loading: RefCell::default(),
        tenure,
        clock: Clock::new(),
        memory: settings.memory,
        accounts: Accounts::new(settings.memory),
        stack: settings.stack,
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
        serving,
        pool,
        fibers: Vec::new(),
        free: Vec::new(),
        spare: Vec::new(),
        live: 0,
        ids: Ids::default(),
        peak: 0,
        recent: 0,
        untidy: false,
        tidy_at: None,
        keep_until: Instant::now(),
        next_collection: None,
        limits: Limits::default(),
        tick,
        ready: VecDeque::new(),
        releases: Vec::new(),
        loading: Vec::new(),
        recycle: super::Recycle::default(),
        quiet: super::Quiet::default(),
        units: 0,
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
    fn lose(&mut self) -> Option<Ending> {
        // SAFETY: the loop of this thread has been left: nobody else uses the interpreter.
        unsafe { (*self.interpreter.get()).lost() };
        self.local.inbox.roster.clear();
        self.forget_fibers();
        let inbox = self.local.inbox.clone();
        let (answers, ending) = self.books().give_up(&inbox, None);
        tell(answers, &inbox);
        tell(self.books().give_back(), &inbox);
        ending
    }

    /// None of its fibers goes on: their host calls are over.
    pub(super) fn forget_fibers(&mut self) {
        let given_up = self.local.tenure.presence.lost();
        for fiber in self.fibers.iter_mut().flatten() {
            let foreign = fiber.record.job.as_ref().is_some_and(|job| matches!(job.work, Work::Foreign { .. }));
            // SAFETY: nobody else uses the books of one that is lost, and else this is their thread.
            let told = unsafe { (*self.local.tenure.ledger()).was_told(fiber.record.key.index as usize) };
            if foreign && told {
                // What the caller lent is gone since it was told: nothing that may use it runs again, a drop neither.
                fiber.record.calls.iter_mut().for_each(|call| std::mem::forget(call.future.take()));
            }
            // Before the caller is told: futures may hold what it lent.
            // SAFETY: the loop of this thread has been left, in whatever it was.
            unsafe { finish::end_calls(&raw mut fiber.record) };
            if fiber.begun && !given_up {
                let caller = &fiber.record.context.caller;
                note_lost(caller.id, caller.label.as_deref());
            }
            drop_fenced(fiber.record.job.take());
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
