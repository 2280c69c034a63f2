//! The way into an interpreter thread, for every other thread.
//!
//! One unbounded channel carries everything, so that wakes, cancels and releases never fail and never block. Only jobs are
//! bounded: by a count of those that wait, checked before one is sent. The inbox outlives its interpreter's
//! incarnations: a replacement goes on reading where the last one stopped, which is how queued jobs move to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::job::{Completion, Job};
use super::outcomes::{Failure, Outcomes};
use super::roster::Roster;
use super::tenure::Tenure;
use super::wake::FiberKey;
use crate::Error;
use crate::diagnosis::FiberInfo;
use crate::error::refused;
use crate::sys::barrier::{heavy, light};

/// What an interpreter thread is told.
pub enum Message {
    /// Start a call. In a box: messages are moved several times, and most are a few words.
    Job(Box<Job>),
    /// The caller gave up.
    Cancel(Arc<dyn Completion>),
    /// A host future of this fiber can go on.
    Wake(FiberKey),
    /// Rust dropped its last token of a guest value.
    Release { incarnation: u32, slot: u64 },
    /// Take no new work; cancel what still runs at `cancel_at`; then end.
    Drain { cancel_at: Instant, done: Sender<()> },
    /// One who could have called is gone: fibers may wait in vain now.
    Look,
    /// Tell what your fibers are at, and with `stacks` their frames.
    Fibers { stacks: bool, tell: Sender<Vec<FiberInfo>> },
    /// Cancel the fiber of this id, and tell whether there was one.
    CancelFiber { id: u64, tell: Sender<bool> },
    /// The engine is gone: cancel everything and end.
    End,
}

/// One interpreter's way in.
pub struct Inbox {
    /// The interpreter's number in its engine: the owner in its handles.
    pub interpreter: u32,
    /// Which incarnation serves it now; bound values of another one are lost.
    pub incarnation: AtomicU32,
    /// Its labelled fibers.
    pub roster: Roster,
    /// Read by the incarnation that serves it, and by who has its books.
    pub receiver: Receiver<Message>,
    /// Its engine's counts.
    pub outcomes: Arc<Outcomes>,
    sender: Sender<Message>,
    /// That incarnation; `None`: it has not begun.
    tenure: Mutex<Option<Arc<Tenure>>>,
    /// It does not answer: one fiber has had the thread for too long.
    hung: AtomicBool,
    /// Threads of lost incarnations that have not come back.
    left_behind: AtomicUsize,
    /// Jobs sent and not yet on a fiber.
    queued: AtomicUsize,
    /// Fibers alive.
    live: AtomicUsize,
    stacks: AtomicUsize,
    capacity: usize,
    closed: AtomicBool,
    ended: AtomicBool,
    /// How many tokens others hold that let them call: see [`Outside`].
    outside: AtomicUsize,
}

impl Inbox {
    /// An inbox where at most `capacity` jobs may wait.
    pub fn new(interpreter: u32, capacity: usize, outcomes: &Arc<Outcomes>) -> Arc<Inbox> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Arc::new(Inbox {
            interpreter,
            incarnation: AtomicU32::new(0),
            roster: Roster::default(),
            receiver,
            outcomes: outcomes.clone(),
            sender,
            tenure: Mutex::default(),
            hung: AtomicBool::new(false),
            left_behind: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            stacks: AtomicUsize::new(0),
            capacity,
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            outside: AtomicUsize::new(0),
        })
    }

    /// An incarnation begins to serve it.
    pub fn served_by(&self, tenure: &Arc<Tenure>) {
        *self.tenure.lock().unwrap_or_else(PoisonError::into_inner) = Some(tenure.clone());
        self.hung.store(false, Ordering::Relaxed);
    }

    /// The incarnation that serves it.
    pub fn tenure(&self) -> Option<Arc<Tenure>> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether it answers, for who picks an interpreter.
    pub fn set_hung(&self, hung: bool) {
        self.hung.store(hung, Ordering::Relaxed);
    }

    /// Threads of lost incarnations that have not come back.
    pub fn left_behind(&self) -> &AtomicUsize {
        &self.left_behind
    }

    /// Queues a job, or says at once why not; its completion hears nothing of that.
    pub fn submit(&self, mut job: Box<Job>) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            self.outcomes.count(Failure::Refused);
            job.completion = None;
            return Err(shut_down());
        }
        if self.queued.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.outcomes.count(Failure::QueueFull);
            tracing::debug!(target: "sidestack", label = job.settings.label.as_deref(), capacity = self.capacity, "a call is refused: the queue is full");
            job.completion = None;
            return Err(Error::QueueFull { capacity: self.capacity, retry_after: Duration::from_secs(1) });
        }
        self.send(Message::Job(job));
        Ok(())
    }

    /// Sends a job again that its incarnation could not begin. `counted`: it still counts as queued.
    pub fn requeue(&self, mut job: Box<Job>, counted: bool) {
        job.started = false;
        if !counted {
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
        self.send(Message::Job(job));
    }

    /// Sends what may never be refused. After the interpreter's end it is dropped, which tells the callers of jobs.
    #[inline]
    pub fn send(&self, message: Message) {
        // It has a receiver itself.
        let _ = self.sender.send(message);
        light();
        if self.ended() {
            self.drop_unread();
        }
    }

    #[cold]
    fn drop_unread(&self) {
        while let Ok(message) = self.receiver.try_recv() {
            if let Message::Job(_) = &message {
                self.outcomes.count(Failure::LostUnstarted);
            }
            // What it holds may panic in its drop; who sends is not to be told so.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(message))) {
                std::mem::forget(payload);
            }
        }
    }

    /// No more jobs.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The interpreter has closed, and nobody reads any more. What waits is dropped.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // Either who sends sees that it has ended, or what was sent is seen here. Where the barrier fails nothing is lost but time: see
        // `sys::barrier`.
        let _ = heavy();
        self.drop_unread();
    }

    /// Whether it has.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether there is nobody to take jobs.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Jobs left the queue and got fibers (or were refused them).
    pub fn started(&self, jobs: usize) {
        if jobs > 0 {
            self.queued.fetch_sub(jobs, Ordering::Relaxed);
        }
    }

    /// Publishes how many fibers are alive, and how many stacks are in use.
    pub fn set_live(&self, fibers: usize, stacks: usize) {
        self.live.store(fibers, Ordering::Relaxed);
        self.stacks.store(stacks, Ordering::Relaxed);
    }

    /// Stacks in use, as last published.
    pub fn stacks(&self) -> usize {
        self.stacks.load(Ordering::Relaxed)
    }

    /// Jobs that wait.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Fibers alive, as last published.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether anybody outside of the interpreter holds what calls into it.
    pub fn has_outside(&self) -> bool {
        self.outside.load(Ordering::Acquire) > 0
    }

    /// How busy the interpreter is: what a new call is routed by. One that does not answer comes after all that do.
    pub fn load(&self) -> (bool, usize) {
        (self.hung.load(Ordering::Relaxed), self.queued() + self.live())
    }
}

/// Counts one that is outside of the interpreter and may call into it at any time: fibers that wait for each other may be woken
/// by what it calls.
pub struct Outside(Arc<Inbox>);

impl Outside {
    /// One more.
    pub fn new(inbox: &Arc<Inbox>) -> Outside {
        inbox.outside.fetch_add(1, Ordering::AcqRel);
        Outside(inbox.clone())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if self.0.outside.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.send(Message::Look);
        }
    }
}

fn shut_down() -> Error {
    Error::Refused { name: refused::SHUT_DOWN, message: "the engine has been shut down".into() }
}
