//! The supervisor: a thread that boots workers, boots those again that end, and tells them when to end for good.
//!
//! It hears of everything by one channel, and otherwise wakes up when a worker is to be booted again or a page's time is over, and
//! every second, to see whether opcache waits for its workers.
//! A worker that ended after it had served something is booted again at once; one that did not, after a pause that doubles from
//! 100 ms to 5 s.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Waker;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use crossbeam_channel as threads;
use futures_channel::oneshot;

use super::{Exchange, Post, Seat, Waiting, stopped};
use crate::Error;
use crate::call::inbox::{Inbox, Message};
use crate::call::job::{Completion, Dispatch, Over, Settings};
use crate::call::stats::Stats;
use crate::error::{Limit, refused};
use crate::guest::php::opcache_restart;
use crate::php::call::run;
use crate::value::Results;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Plan {
    pub script: PathBuf,
    pub count: usize,
    pub max_requests: u64,
    pub deadline: Option<Duration>,
    pub queue_timeout: Option<Duration>,
    pub memory: Option<usize>,
}

impl Plan {
    /// What the fiber of a worker is called.
    pub fn name(&self, index: usize) -> String {
        format!("worker {index} of {}", self.script.display())
    }
}

/// The way to the supervisor.
pub type Events = threads::Sender<Event>;

/// Whom to tell that a generation is up, or why it is not.
type Told = oneshot::Sender<Result<(), Error>>;

/// What it is told.
pub enum Event {
    /// A worker waits for its first request.
    Booted((u64, usize)),
    /// A worker's script has ended; the error, unless it was its page's.
    Ended((u64, usize), Option<Error>),
    /// Boot a new generation.
    Reload(Told),
    /// Tell all workers to end, and say when they have.
    Stop(Option<oneshot::Sender<()>>),
}

/// Starts the thread and, there, the first generation.
pub fn start(
    dispatch: Arc<dyn Dispatch>,
    plan: Plan,
    pages: Receiver<Arc<Exchange>>,
    waiting: Option<Arc<Waiting>>,
    up: Told,
) -> std::io::Result<Events> {
    let (events, heard) = threads::unbounded();
    let mut supervisor = Supervisor {
        dispatch,
        plan,
        pages,
        waiting,
        events: events.clone(),
        generations: Vec::new(),
        next: 1,
        renewed: 0,
        stopping: None,
    };
    std::thread::Builder::new().name("sidestack-workers".into()).spawn(move || {
        supervisor.new_generation(up);
        supervisor.run(&heard);
    })?;
    Ok(events)
}

struct Supervisor {
    dispatch: Arc<dyn Dispatch>,
    plan: Plan,
    pages: Receiver<Arc<Exchange>>,
    waiting: Option<Arc<Waiting>>,
    events: Events,
    /// The last one is the current one, or the one that boots; the others end.
    generations: Vec<Generation>,
    next: u64,
    /// The last restart of opcache that workers were renewed for.
    renewed: u32,
    /// Whom to tell that all have ended.
    stopping: Option<Vec<oneshot::Sender<()>>>,
}

struct Generation {
    number: u64,
    /// Dropped when its workers are to end.
    stop: Option<Sender<()>>,
    stopped: Receiver<()>,
    workers: Vec<Worker>,
    /// Until all of it is up.
    told: Option<Told>,
}

/// A worker's place.
#[derive(Default)]
struct Worker {
    running: Option<Running>,
    booted: bool,
    /// Ends in a row without a page served.
    failures: u32,
    boot_at: Option<Instant>,
}

struct Running {
    seat: Arc<Seat>,
    end: Arc<End>,
    inbox: Arc<Inbox>,
}

impl Supervisor {
    fn run(&mut self, heard: &threads::Receiver<Event>) {
        loop {
            match heard.recv_deadline(self.wake_at()) {
                Ok(event) => self.hear(event),
                Err(threads::RecvTimeoutError::Timeout) => {}
                Err(threads::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            self.end_overdue(now);
            if let Some(waiting) = &self.waiting {
                waiting.refuse_overdue(now);
            }
            self.boot_due(now);
            self.renew();
            self.generations.retain(|generation| generation.stop.is_some() || generation.runs());
            if self.generations.is_empty()
                && let Some(told) = self.stopping.take()
            {
                self.pages.close();
                while let Ok(page) = self.pages.try_recv() {
                    page.end(Err(stopped()));
                }
                for told in told {
                    let _ = told.send(());
                }
                return;
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Booted((number, index)) => {
                let Some(worker) = self.worker(number, index) else { return };
                worker.booted = true;
                self.up(number);
            }
            Event::Ended((number, index), error) => self.ended(number, index, error),
            Event::Reload(told) if self.stopping.is_some() => drop(told.send(Err(stopped()))),
            Event::Reload(told) => self.new_generation(told),
            Event::Stop(told) => {
                self.stopping.get_or_insert_default().extend(told);
                for generation in &mut self.generations {
                    generation.retire(stopped());
                }
            }
        }
    }

    fn new_generation(&mut self, told: Told) {
        let (stop, stopped) = async_channel::bounded(1);
        let number = self.next;
        self.next += 1;
        let workers = (0..self.plan.count).map(|_| Worker::default()).collect();
        self.generations.push(Generation { number, stop: Some(stop), stopped, workers, told: Some(told) });
        for index in 0..self.plan.count {
            self.boot(number, index);
        }
    }

    /// Workers hold what opcache has in its memory: while it waits to empty that, new ones take their place.
    fn renew(&mut self) {
        let wanted = opcache_restart();
        if wanted != 0 && wanted != self.renewed && self.stopping.is_none() {
            self.renewed = wanted;
            self.new_generation(oneshot::channel().0);
        }
    }

    /// If all of a generation has booted: whoever waits is told, and the older ones end.
    fn up(&mut self, number: u64) {
        let Some(at) = self.generations.iter().position(|generation| generation.number == number) else { return };
        let generation = &mut self.generations[at];
        if !generation.workers.iter().all(|worker| worker.booted) {
            return;
        }
        let Some(told) = generation.told.take() else { return };
        for older in &mut self.generations[..at] {
            older.retire(Error::Cancelled);
        }
        let _ = told.send(Ok(()));
    }

    fn ended(&mut self, number: u64, index: usize, error: Option<Error>) {
        let Some(generation) = self.generations.iter_mut().find(|generation| generation.number == number) else {
            return;
        };
        let worker = &mut generation.workers[index];
        let served = worker.running.take().and_then(|running| running.seat.post.as_ref().map(Post::served));
        if generation.stop.is_none() {
            return;
        }
        let gone = matches!(&error, Some(Error::Refused { name, .. }) if *name == refused::SHUT_DOWN);
        if generation.told.is_some() && !worker.booted || gone {
            // It does not come up, or there is nobody to run it any more.
            let script = self.plan.script.display();
            let error = error.unwrap_or_else(|| Error::Script {
                message: format!("{script} ended before it asked for a request"),
                code: Some("worker_ended".into()),
                traceback: String::new(),
                source: None,
            });
            generation.retire(error);
            return;
        }
        worker.failures = if served.unwrap_or(0) > 0 { 0 } else { worker.failures + 1 };
        let pause = match worker.failures {
            0 => Duration::ZERO,
            failures => FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LAST_PAUSE),
        };
        if let Some(error) = error {
            tracing::warn!(target: "sidestack", "a worker of {} ended: {error}", self.plan.script.display());
        }
        worker.boot_at = Some(Instant::now() + pause);
    }

    fn boot(&mut self, number: u64, index: usize) {
        let Some(generation) = self.generations.iter_mut().find(|generation| generation.number == number) else {
            return;
        };
        generation.workers[index].boot_at = None;
        let post = Post {
            pages: self.pages.clone(),
            stop: generation.stopped.clone(),
            plan: self.plan.clone(),
            served: AtomicU64::new(0),
            due: std::sync::Mutex::default(),
            events: self.events.clone(),
            worker: (number, index),
            before: std::sync::Mutex::default(),
        };
        let seat = Arc::new(Seat::worker(post));
        let end = Arc::new(End {
            seat: seat.clone(),
            events: self.events.clone(),
            worker: (number, index),
            index: AtomicU64::new(0),
            id: AtomicU64::new(0),
        });
        let settings = Settings {
            // A worker's time is not limited, only that of its requests.
            deadline: Some(Duration::MAX),
            memory: self.plan.memory,
            label: Some(self.plan.name(index)),
            // So that its waits are measured: it tells pages of theirs.
            stats: Some(Stats { call: Arc::default(), own: true }),
            ..Settings::default()
        };
        match run(self.dispatch.clone(), &self.plan.script, seat.clone(), settings, end.clone()) {
            Ok(inbox) => generation.workers[index].running = Some(Running { seat, end, inbox }),
            Err(error) => self.ended(number, index, Some(error)),
        }
    }

    fn boot_due(&mut self, now: Instant) {
        let due: Vec<(u64, usize)> = self
            .generations
            .iter()
            .filter(|generation| generation.stop.is_some())
            .flat_map(|generation| generation.workers.iter().enumerate().map(|worker| (generation.number, worker)))
            .filter(|(_, (_, worker))| worker.boot_at.is_some_and(|at| at <= now))
            .map(|(number, (index, _))| (number, index))
            .collect();
        for (number, index) in due {
            self.boot(number, index);
        }
    }

    /// Pages whose time is over: their clients are told, their workers cancelled.
    fn end_overdue(&mut self, now: Instant) {
        let Some(deadline) = self.plan.deadline else { return };
        for running in self.running() {
            let Some(post) = &running.seat.post else { continue };
            let mut due = post.due();
            if due.is_none_or(|due| now < due) {
                continue;
            }
            *due = None;
            drop(due);
            if let Some(page) = running.seat.page() {
                page.end(Err(Error::time_is_over(Limit::Deadline, deadline, "deadline")));
            }
            running.inbox.send(Message::Cancel(running.end.clone()));
        }
    }

    /// When there is something to do, whatever it hears. A page that begins, or comes, after now is due no earlier.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let limits = [self.plan.deadline, self.plan.queue_timeout].into_iter().flatten();
        let far = now + limits.fold(LOOK, Duration::min);
        let boots = self.generations.iter().flat_map(|generation| &generation.workers).filter_map(|w| w.boot_at);
        let dues = self.running().filter_map(|running| *running.seat.post.as_ref()?.due());
        let waiting = self.waiting.as_ref().and_then(|waiting| waiting.earliest());
        boots.chain(dues).chain(waiting).fold(far, Instant::min)
    }

    fn running(&self) -> impl Iterator<Item = &Running> {
        self.generations.iter().flat_map(|generation| &generation.workers).filter_map(|worker| worker.running.as_ref())
    }

    fn worker(&mut self, number: u64, index: usize) -> Option<&mut Worker> {
        let generation = self.generations.iter_mut().find(|generation| generation.number == number)?;
        generation.workers.get_mut(index)
    }
}

/// How often it looks whether opcache waits.
const LOOK: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

impl Generation {
    /// Its workers end when they have no page; who waited for it to be up is told why it will not be.
    fn retire(&mut self, why: Error) {
        self.stop = None;
        for worker in &mut self.workers {
            worker.boot_at = None;
        }
        if let Some(told) = self.told.take() {
            let _ = told.send(Err(why));
        }
    }

    fn runs(&self) -> bool {
        self.workers.iter().any(|worker| worker.running.is_some())
    }
}

/// The end of a worker's script.
struct End {
    seat: Arc<Seat>,
    events: Events,
    worker: (u64, usize),
    index: AtomicU64,
    id: AtomicU64,
}

impl Completion for End {
    fn complete(&self, outcome: Result<Results<'_>, Error>, over: Over<'_>) -> Option<Waker> {
        let outcome = outcome.map(|_| ());
        drop(over());
        // A page that it leaves behind is answered by what ended it.
        let error = match self.seat.put(None) {
            Some(page) => {
                page.end(outcome);
                None
            }
            None => outcome.err(),
        };
        let _ = self.events.send(Event::Ended(self.worker, error));
        None
    }

    fn abandoned(&self) -> bool {
        false
    }

    fn fiber(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.index, &self.id)
    }
}
