//! The future of a call.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::inbox::{Inbox, Message};
use super::job::{Completion, Job, Over, Settings, Target, Work};
use super::reference::Reference;
use super::stats::{CallStats, Stats};
use super::wake;
use crate::Error;
use crate::error::refused;
use crate::value::{Flat, Results};

/// A time in the past, for calls that have not begun: taken once, because a clock is not free.
static NOT_BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A call into a guest: a future of its result.
///
/// It starts when it is first polled ([`Engine::spawn`](crate::Engine::spawn) starts it at once). Dropping it cancels the
/// call: host futures are dropped, the script gets an error that it can clean up after, but not catch for good.
#[must_use = "a call starts when it is first polled"]
pub struct Call<R> {
    state: State<R>,
}

enum State<R> {
    New { target: Target, job: Result<Box<Job>, Box<Error>> },
    Running { slot: Arc<Slot<R>>, inbox: Arc<Inbox> },
    Over,
}

impl<R: DeserializeOwned + Send + 'static> Call<R> {
    pub(crate) fn new(target: Target, what: &str, args: impl Serialize, work: impl FnOnce(Flat) -> Work) -> Self {
        let mut flat = Flat::new();
        let job = match flat.push_args(&args) {
            // `begun` is set when it is.
            Ok(()) => Ok(Box::new(Job {
                work: work(flat),
                settings: Settings::default(),
                begun: *NOT_BEGUN,
                completion: None,
                started: false,
            })),
            Err(e) => Err(Box::new(Error::Convert { place: format!("arguments of {what}"), message: e.to_string() })),
        };
        Call { state: State::New { target, job } }
    }

    /// A call that fails.
    pub(crate) fn failed(target: Target, error: Error) -> Self {
        Call { state: State::New { target, job: Err(Box::new(error)) } }
    }

    fn settings(&mut self, set: impl FnOnce(&mut Settings)) {
        if let State::New { job: Ok(job), .. } = &mut self.state {
            set(&mut job.settings);
        }
    }

    /// Ends the call with [`Error::Limit`] after this much wall time, waiting and queueing included.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.settings(|s| s.deadline = Some(after));
        self
    }

    /// Ends the call with [`Error::Limit`] ([`Limit::Cpu`](crate::Limit::Cpu)) after this much processor time of its fiber: of guest code,
    /// and of host functions until they first wait. Tasks that it starts count for themselves.
    pub fn cpu(mut self, limit: Duration) -> Self {
        self.settings(|s| s.cpu = Some(limit));
        self
    }

    /// The most memory, in bytes, that may be charged to this call's fiber.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.settings(|s| s.memory = Some(bytes));
        self
    }

    /// A value that host functions of this call can ask for as [`Ext<T>`](crate::Ext).
    pub fn ext<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.settings(|s| {
            s.extensions.insert(TypeId::of::<T>(), Arc::new(value) as Arc<dyn Any + Send + Sync>);
        });
        self
    }

    /// A name for people: it appears in logs.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.settings(|s| s.label = Some(label.into()));
        self
    }

    /// What the call does, filled in as its fibers end: host functions called, time waited. To be asked for before the call starts;
    /// it costs two looks at the clock for each wait.
    pub fn stats(&mut self) -> Arc<CallStats> {
        let stats = Arc::<CallStats>::default();
        self.settings(|s| s.stats = Some(Stats { call: stats.clone(), own: true }));
        stats
    }

    /// Ends the call, and the tasks that it starts, with [`Error::Deadlock`] as soon as nothing is left that could wake them: each
    /// fiber of the interpreter waits for another one (a channel, a lock, a task), no timer runs, no host function is
    /// at work outside, and Rust holds no [`Function`](crate::Function) of the interpreter. Who asks so says that no *new*
    /// call is going to help. Without it, that is told only of an engine that shuts down; else a deadline bounds the wait.
    pub fn detect_deadlock(mut self) -> Self {
        self.settings(|s| s.detect_deadlock = true);
        self
    }

    /// Waits on the calling thread.
    ///
    /// On an interpreter thread that is refused as [`refused::OWN_INTERPRETER`]: it would keep the fibers there, and
    /// perhaps the very call, from running.
    pub fn blocking(self) -> Result<R, Error> {
        if wake::on_interpreter_thread() {
            return Err(Error::Refused {
                name: refused::OWN_INTERPRETER,
                message: "a blocking call on an interpreter thread would stop the fibers there; await the call instead"
                    .into(),
            });
        }
        futures_executor::block_on(self)
    }

    /// Starts the call now, if it has not started.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        let State::New { .. } = &self.state else { return Ok(()) };
        let State::New { target, job } = std::mem::replace(&mut self.state, State::Over) else {
            unreachable!("just seen")
        };
        let job = job.map_err(|error| not_begun(&target, *error))?;
        let slot = Arc::new(Slot::new());
        let inbox = submit(&target, job, slot.clone())?;
        self.state = State::Running { slot, inbox };
        Ok(())
    }
}

/// A call ends before anybody has taken it on.
#[cold]
fn not_begun(target: &Target, error: Error) -> Error {
    target.outcomes().failed(&error);
    error
}

/// Sends a job on its way; its outcome goes to `completion`, unless it is refused here.
pub fn submit(target: &Target, mut job: Box<Job>, completion: Arc<dyn Completion>) -> Result<Arc<Inbox>, Error> {
    let inbox = route(target, &job.work).map_err(|error| not_begun(target, error))?;
    job.begun = Instant::now();
    job.completion = Some(completion);
    inbox.submit(job)?;
    Ok(inbox)
}

/// Bound values among the arguments decide where a call runs; two owners are an error before anything is queued.
fn route(target: &Target, work: &Work) -> Result<Arc<Inbox>, Error> {
    let mut bound = match target {
        Target::Bound(inbox) => Some(inbox.clone()),
        _ => None,
    };
    if let Work::Function { token, .. } = work {
        token.check()?;
    }
    for attachment in work.args().into_iter().flat_map(Flat::attachments) {
        let Some(reference) = attachment.downcast_ref::<Reference>() else { continue };
        reference.check()?;
        match &bound {
            Some(inbox) if !Arc::ptr_eq(inbox, &reference.inbox) => {
                return Err(Error::Refused {
                    name: refused::TWO_OWNERS,
                    message: "the call carries values that are bound to two interpreters".into(),
                });
            }
            Some(_) => {}
            None => bound = Some(reference.inbox.clone()),
        }
    }
    match (bound, target) {
        (Some(inbox), _) => Ok(inbox),
        (None, Target::Any(dispatch)) => dispatch.pick(),
        (None, Target::Bound(_)) => unreachable!("a bound target has an inbox"),
    }
}

impl<R: DeserializeOwned + Send + 'static> Future for Call<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.start() {
            return Poll::Ready(Err(error));
        }
        let State::Running { slot, inbox } = &self.state else { panic!("polled after it was ready") };
        match slot.poll(cx) {
            Poll::Ready(outcome) => {
                // What the caller makes of a result is not seen before.
                if let Err(error @ Error::Convert { .. }) = &outcome {
                    inbox.outcomes.failed(error);
                }
                self.state = State::Over;
                Poll::Ready(outcome)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<R> Unpin for Call<R> {}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::New { .. } => "Call(not started)",
            State::Running { .. } => "Call(started)",
            State::Over => "Call(over)",
        })
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if let State::Running { slot, inbox } = std::mem::replace(&mut self.state, State::Over)
            && slot.abandon()
        {
            inbox.send(Message::Cancel((slot.erase)(slot)));
        }
    }
}

/// Where the outcome is left for the future.
struct Slot<R> {
    cell: Mutex<Cell<R>>,
    abandoned: AtomicBool,
    index: AtomicU64,
    id: AtomicU64,
    /// For the cancel, which has no bounds on `R`.
    erase: fn(Arc<Slot<R>>) -> Arc<dyn Completion>,
}

enum Cell<R> {
    Empty(Option<Waker>),
    Full(Result<R, Error>, Option<Box<Job>>),
    Taken,
}

impl<R: DeserializeOwned + Send + 'static> Slot<R> {
    fn new() -> Self {
        Slot {
            cell: Mutex::new(Cell::Empty(None)),
            abandoned: AtomicBool::new(false),
            index: AtomicU64::new(0),
            id: AtomicU64::new(0),
            erase: |slot| slot,
        }
    }
}

impl<R> Slot<R> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Cell<R>> {
        // A caller's waker may panic in `clone` under this lock; the cell is whole all the same.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<R, Error>> {
        let mut cell = self.lock();
        match &mut *cell {
            Cell::Empty(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            Cell::Full(..) => match std::mem::replace(&mut *cell, Cell::Taken) {
                Cell::Full(outcome, spent) => {
                    drop(cell);
                    drop(spent);
                    Poll::Ready(outcome)
                }
                _ => unreachable!("just seen"),
            },
            Cell::Taken => panic!("polled after it was ready"),
        }
    }

    /// The caller is gone: true if the call may still be running.
    fn abandon(&self) -> bool {
        self.abandoned.store(true, Ordering::Release);
        matches!(&*self.lock(), Cell::Empty(_))
    }
}

impl<R: DeserializeOwned + Send + 'static> Completion for Slot<R> {
    fn complete(&self, outcome: Result<Results<'_>, Error>, over: Over<'_>) -> Option<Waker> {
        let outcome = outcome.and_then(|mut results| {
            results.decode().map_err(|e| Error::Convert { place: "result".into(), message: e.to_string() })
        });
        let spent = over();
        let mut cell = self.lock();
        match &mut *cell {
            Cell::Empty(waker) => {
                let waker = waker.take();
                *cell = Cell::Full(outcome, spent);
                waker
            }
            Cell::Full(..) | Cell::Taken => None,
        }
    }

    fn abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    fn fiber(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.index, &self.id)
    }
}
