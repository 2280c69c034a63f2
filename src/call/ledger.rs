//! The books of one incarnation of an interpreter: the calls that it has taken on and not answered yet, and what it still has to
//! do. Kept by its thread, apart from the rest of the worker, so that others can answer callers where the thread does not come back.
//!
//! A call whose deadline was answered here runs on, as far as its interpreter knows; where its outcome would go it finds that its
//! caller was told ([`To::Told`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::backlog::Backlog;
use super::inbox::{Inbox, Message};
use super::job::{Completion, Job, Work};
use super::outcomes::Outcomes;
use crate::{Error, Limit};

/// See the module.
#[derive(Default)]
pub struct Ledger {
    /// Calls with a fiber, by its index.
    fibers: Vec<Option<Entry>>,
    /// Jobs that wait for a place, or for the scripts to be loaded.
    pub backlog: Backlog,
    /// Jobs that wait for their script to be loaded.
    #[expect(clippy::vec_box, reason = "jobs travel boxed: it spares moving them")]
    pub held: Vec<Box<Job>>,
    /// Messages that were taken from the inbox by others, in order: to be read first.
    pub unread: VecDeque<Message>,
    /// Jobs that left the queue since the inbox was told.
    pub left: usize,
    /// No new work, and then the end.
    pub ending: Option<Ending>,
    /// What jobs have to keep to.
    pub times: Times,
}

/// No new work.
pub struct Ending {
    /// When everything is cancelled; `None`: it has been.
    pub cancel_at: Option<Instant>,
    /// Who waits for the end.
    pub done: Vec<Sender<()>>,
}

/// A call with a fiber.
struct Entry {
    to: To,
    /// Until the fiber begins.
    job: Option<Box<Job>>,
    /// When its caller is to be answered, and what the deadline was.
    deadline: Option<(Instant, Duration)>,
    /// What it runs lies in the frames of a thread that waits for the outcome: to be told only when nothing uses them any more.
    borrows: bool,
}

impl Entry {
    /// Its fiber's id, while somebody waits for it.
    fn fiber(&self) -> Option<u64> {
        match &self.to {
            To::Caller(completion) => Some(completion.fiber().1.load(Ordering::Relaxed)),
            To::Nobody | To::Told => None,
        }
    }

    /// Takes its caller, who is told by somebody else than its interpreter.
    fn tell(&mut self) -> Option<Arc<dyn Completion>> {
        match std::mem::replace(&mut self.to, To::Told) {
            To::Caller(completion) => Some(completion),
            to => {
                self.to = to;
                None
            }
        }
    }
}

/// Where the outcome of a run goes.
#[derive(Default)]
#[must_use]
pub enum To {
    /// To the one who waits for it.
    Caller(Arc<dyn Completion>),
    /// Nobody waits for it.
    #[default]
    Nobody,
    /// Who waited was told by somebody else: it is not to be counted again.
    Told,
}

impl To {
    fn of(completion: Option<Arc<dyn Completion>>) -> To {
        completion.map_or(To::Nobody, To::Caller)
    }

    /// Whether somebody else has told it.
    pub fn is_told(&self) -> bool {
        matches!(self, To::Told)
    }
}

/// The builder's limits in time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Wall time of a call that says nothing else.
    pub deadline: Option<Duration>,
    /// How long a call may wait for a fiber.
    pub queue: Option<Duration>,
}

impl Times {
    /// How long a job may wait for a fiber, and whether that is the queue's limit rather than its deadline.
    fn of_waiting(self, job: &Job) -> (Option<Duration>, bool) {
        // An interpreter's own loads and tasks do not queue up.
        let queue = self.queue.filter(|_| job.work.is_call());
        match (job.settings.deadline.or(self.deadline), queue) {
            (Some(deadline), Some(queue)) if deadline <= queue => (Some(deadline), false),
            (_, Some(queue)) => (Some(queue), true),
            (deadline, None) => (deadline, false),
        }
    }

    /// When a job that waits has waited for too long.
    pub fn waits_until(self, job: &Job) -> Option<Instant> {
        self.of_waiting(job).0.and_then(|after| job.begun.checked_add(after))
    }

    /// The error of a job that has.
    pub fn waited(self, job: &Job) -> Error {
        let (limit, queue) = self.of_waiting(job);
        let (which, setting) = if queue { (Limit::Queue, "queue_timeout") } else { (Limit::Deadline, "deadline") };
        Error::time_is_over(which, limit.unwrap_or_default(), setting)
    }
}

impl Ledger {
    /// A job gets the fiber of this index, which has not begun.
    pub fn place(&mut self, index: usize, mut job: Box<Job>, deadline: Option<Instant>) {
        if index >= self.fibers.len() {
            self.fibers.resize_with(index + 1, || None);
        }
        let deadline = deadline.zip(job.settings.deadline);
        let borrows = matches!(job.work, Work::Foreign { .. });
        let to = To::of(job.completion.take());
        self.fibers[index] = Some(Entry { to, job: Some(job), deadline, borrows });
    }

    /// The fiber begins: its job is its own from now on.
    pub fn begin(&mut self, index: usize) -> Option<Box<Job>> {
        let mut job = self.fibers.get_mut(index)?.as_mut()?.job.take()?;
        job.started = true;
        Some(job)
    }

    /// Where the outcome of the fiber goes. It counts as answered from now on.
    pub fn answer(&mut self, index: usize) -> To {
        let entry = self.fibers.get_mut(index).and_then(Option::as_mut);
        entry.map(|entry| std::mem::take(&mut entry.to)).unwrap_or_default()
    }

    /// Takes the fiber out, with its job if it has not begun.
    pub fn leave(&mut self, index: usize) -> (Option<Box<Job>>, To) {
        match self.fibers.get_mut(index).and_then(Option::take) {
            Some(entry) => (entry.job, entry.to),
            None => (None, To::Nobody),
        }
    }

    /// Whether the caller of the fiber of this index was told by somebody else.
    pub fn was_told(&self, index: usize) -> bool {
        self.fibers.get(index).and_then(Option::as_ref).is_some_and(|entry| entry.to.is_told())
    }

    /// Takes all messages there are out of the inbox.
    fn read(&mut self, inbox: &Receiver<Message>) {
        // No more than there are now: others go on sending.
        self.unread.extend(inbox.try_iter().take(inbox.len()));
    }
}

impl Ledger {
    /// After `give_up`, on the incarnation's own thread: no fiber of it runs again, and its host futures are dropped.
    pub fn give_back(&mut self) -> Answers {
        let mut answers = Answers::default();
        self.fibers.iter_mut().flatten().for_each(|entry| answers.lost(entry));
        answers
    }
}

/// What callers are told by someone else than their interpreter, with nothing locked.
#[derive(Default)]
pub struct Answers {
    jobs: Vec<(Box<Job>, Error)>,
    started: Vec<(Arc<dyn Completion>, Error)>,
}

impl Answers {
    fn lost(&mut self, entry: &mut Entry) {
        let lost = |completion| (completion, Error::InterpreterLost { started: true });
        self.started.extend(entry.tell().map(lost));
    }

    /// The fibers of those who are told, by id.
    pub fn fibers(&self) -> impl Iterator<Item = u64> {
        self.started.iter().map(|(completion, _)| completion.fiber().1.load(Ordering::Relaxed))
    }

    /// Tells them, and counts.
    pub fn tell(self, outcomes: &Outcomes) {
        for (mut job, error) in self.jobs {
            outcomes.failed(&error);
            if let Some(completion) = job.completion.take() {
                tell(completion, error);
            }
        }
        for (completion, error) in self.started {
            outcomes.failed(&error);
            tell(completion, error);
        }
    }
}

fn tell(completion: Arc<dyn Completion>, error: Error) {
    let waker = completion.complete(Err(error), &mut || None);
    drop(completion);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What a look into the books of a thread that is away has found.
pub struct Look {
    /// Whom to tell.
    pub answers: Answers,
    /// The caller of the fiber that has the thread has gone, or all are to end.
    pub gone: bool,
}

impl Ledger {
    /// The end has begun: what runs and waits has until `cancel_at`.
    pub fn drain(&mut self, cancel_at: Instant, done: Sender<()>) {
        match &mut self.ending {
            // The least patient decides; everybody is told.
            Some(ending) => {
                ending.cancel_at = ending.cancel_at.map(|earlier| earlier.min(cancel_at));
                ending.done.push(done);
            }
            None => self.ending = Some(Ending { cancel_at: Some(cancel_at), done: vec![done] }),
        }
    }

    /// Whether nothing is to begin any more: all is cancelled, or about to be.
    pub fn is_over(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.cancel_at.is_none_or(|at| at <= Instant::now()))
    }

    /// The thread is away with `fiber`: finds the calls whose time is over.
    pub fn look(&mut self, inbox: &Inbox, fiber: u64, now: Instant) -> Look {
        let mut answers = Answers::default();
        self.read(&inbox.receiver);
        let times = self.times;
        // A load that nobody waits for has to happen all the same.
        let over = |job: &Job| job.completion.is_some() && times.waits_until(job).is_some_and(|until| now >= until);
        let mut gone = false;
        let mut refused = 0;
        for message in std::mem::take(&mut self.unread) {
            match message {
                Message::Job(job) if over(&job) => {
                    refused += 1;
                    let error = times.waited(&job);
                    answers.jobs.push((job, error));
                }
                // What begins after the fiber has gone has to know of it.
                Message::Drain { cancel_at, done } => self.drain(cancel_at, done),
                message => {
                    gone |= match &message {
                        Message::Cancel(call) => call.fiber().1.load(Ordering::Relaxed) == fiber,
                        Message::End => true,
                        _ => false,
                    };
                    self.unread.push_back(message);
                }
            }
        }
        while let Some(job) = self.backlog.due(now) {
            refused += 1;
            let error = times.waited(&job);
            answers.jobs.push((job, error));
        }
        inbox.started(refused);
        gone |= self.is_over();
        for entry in self.fibers.iter_mut().flatten().filter(|entry| !entry.borrows) {
            if let Some((_, limit)) = entry.deadline.take_if(|(at, _)| now >= *at)
                && let Some(completion) = entry.tell()
            {
                answers.started.push((completion, Error::time_is_over(Limit::Deadline, limit, "deadline")));
            }
        }
        Look { answers, gone }
    }

    /// The incarnation is given up: calls that have begun are lost, all else goes back to the inbox in the order that it came in.
    /// One whose own fiber has the thread, `away`, uses what its caller lent it: that one is told by [`Ledger::give_back`].
    pub fn give_up(&mut self, inbox: &Inbox, away: Option<u64>) -> (Answers, Option<Ending>) {
        let mut answers = Answers::default();
        inbox.started(std::mem::take(&mut self.left));
        self.read(&inbox.receiver);
        for entry in self.fibers.iter_mut().flatten() {
            match entry.job.take() {
                // The next incarnation loads its scripts itself.
                Some(mut job) => {
                    if let To::Caller(completion) = std::mem::take(&mut entry.to) {
                        job.completion = Some(completion);
                        inbox.requeue(job, false);
                    }
                }
                None if entry.borrows && entry.fiber() == away => {}
                None => answers.lost(entry),
            }
        }
        let held = std::mem::take(&mut self.held).into_iter();
        let waiting = std::iter::from_fn(|| self.backlog.pop());
        let unread = std::mem::take(&mut self.unread);
        for message in held.chain(waiting).map(Message::Job).chain(unread) {
            match message {
                // As above.
                Message::Job(job) if job.completion.is_none() => inbox.started(1),
                message => inbox.send(message),
            }
        }
        (answers, self.ending.take())
    }
}
