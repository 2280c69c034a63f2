//! Worker scripts: each boots once, on a fiber of its own, and answers one page after the other.
//!
//! All workers of a script take from one queue, the [`Desk`], whichever interpreter they are on. A worker that waits there is a
//! suspended fiber and costs nothing else. Workers come in generations: [`Workers::reload`] boots a new one beside the old
//! one, and when all of it is up tells the old one to end. The supervisor (`supervisor.rs`) boots again who ends without having
//! been told to.

mod supervisor;
mod waiting;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, TrySendError};
use futures_channel::oneshot;
use futures_lite::future;

use super::call::{PageCall, To};
use super::exchange::{Exchange, Seat};
use super::page::Page;
use crate::Error;
use crate::call::job::Dispatch;
use crate::call::stats::Stats;
use crate::error::refused;
use crate::host::{Cx, Done};
use supervisor::{Event, Events, Plan};
use waiting::Waiting;

/// The configuration of worker scripts: [`Engine::workers`](crate::Engine::workers).
#[must_use = "no worker starts before `start`"]
pub struct WorkersBuilder {
    dispatch: Arc<dyn Dispatch>,
    plan: Plan,
    queue: usize,
}

impl WorkersBuilder {
    pub(crate) fn new(dispatch: Arc<dyn Dispatch>, script: PathBuf) -> Self {
        let plan = Plan { script, count: 4, max_requests: u64::MAX, deadline: None, queue_timeout: None, memory: None };
        WorkersBuilder { dispatch, plan, queue: 65_536 }
    }

    /// Workers. More than processors is fine: one that waits lets the others of its thread run. Default: 4.
    pub fn count(mut self, workers: usize) -> Self {
        self.plan.count = workers.max(1);
        self
    }

    /// Requests after which a worker ends and is booted again. Default: never.
    pub fn max_requests(mut self, requests: u64) -> Self {
        self.plan.max_requests = requests.max(1);
        self
    }

    /// Wall time of a request once a worker has it; then its client gets [`Error::Limit`], and the worker is cancelled and booted
    /// again. Default: none.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.plan.deadline = Some(after);
        self
    }

    /// How long a request may wait for a worker; then it is refused as [`Limit::Queue`](crate::Limit::Queue). Default: as long as its
    /// client waits.
    pub fn queue_timeout(mut self, after: Duration) -> Self {
        self.plan.queue_timeout = Some(after);
        self
    }

    /// Bytes that one worker may hold. Default: as for other calls.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.plan.memory = Some(bytes);
        self
    }

    /// Requests that may wait for a worker; the next is [`Error::QueueFull`]. Default: 65,536.
    pub fn queue(mut self, requests: usize) -> Self {
        self.queue = requests.max(1);
        self
    }

    /// Boots the workers, and waits until each has asked for its first request. An error if one ends before that.
    pub async fn start(self) -> Result<Workers, Error> {
        let (pages, receiver) = async_channel::bounded(self.queue);
        let (told, up) = oneshot::channel();
        let count = self.plan.count;
        let waiting = self.plan.queue_timeout.map(|after| Arc::new(Waiting::new(after)));
        let events = supervisor::start(self.dispatch, self.plan, receiver, waiting.clone(), told)
            .map_err(|source| Error::System { what: "cannot start the workers' supervisor".into(), source })?;
        let desk = Arc::new(Desk { pages, waiting, capacity: self.queue });
        let workers = Workers(Arc::new(Handle { desk, count, events }));
        up.await.unwrap_or(Err(Error::InterpreterLost { started: false }))?;
        Ok(workers)
    }
}

impl fmt::Debug for WorkersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkersBuilder({}, {})", self.plan.script.display(), self.plan.count)
    }
}

/// Workers that run. When the last clone is gone they are told to end.
#[derive(Clone)]
pub struct Workers(Arc<Handle>);

struct Handle {
    desk: Arc<Desk>,
    count: usize,
    events: Events,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Stop(None));
    }
}

impl Workers {
    /// Has the next free worker answer a page; the page's own file is not looked at, except as `SCRIPT_FILENAME`.
    pub fn page(&self, page: Page) -> PageCall {
        PageCall::to(To::Desk(self.0.desk.clone()), page)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// Requests in the queue. One that was refused there, or whose client is gone, has its place until a worker passes it.
    pub fn queued(&self) -> usize {
        self.0.desk.pages.len()
    }

    /// Boots new workers from the files as they are now; those that run end once they are idle, when all of the new ones are
    /// up. Requests go on meanwhile, and none is lost. An error if one of the new workers does not come up: the old ones stay.
    pub async fn reload(&self) -> Result<(), Error> {
        let (told, up) = oneshot::channel();
        let _ = self.0.events.send(Event::Reload(told));
        up.await.unwrap_or(Err(Error::InterpreterLost { started: false }))
    }

    /// Tells the workers to end, and waits for that: each ends the request that it has. Requests that no worker has are refused.
    pub async fn stop(&self) {
        let (told, over) = oneshot::channel();
        let _ = self.0.events.send(Event::Stop(Some(told)));
        let _ = over.await;
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({} pages wait)", self.queued())
    }
}

/// Where pages wait for workers.
pub struct Desk {
    pages: Sender<Arc<Exchange>>,
    /// Those that wait, where they may not for ever.
    waiting: Option<Arc<Waiting>>,
    capacity: usize,
}

impl Desk {
    /// Puts a page into the queue, if there is room.
    pub fn put(&self, page: Arc<Exchange>) -> Result<(), Error> {
        if let Some(waiting) = &self.waiting {
            waiting.push(&page);
        }
        self.pages.try_send(page).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::QueueFull { capacity: self.capacity, retry_after: Duration::from_secs(1) },
            TrySendError::Closed(_) => stopped(),
        })
    }
}

fn stopped() -> Error {
    Error::Refused { name: refused::SHUT_DOWN, message: "the workers have been stopped".into() }
}

/// One worker's way to its pages: what `frankenphp_handle_request()` waits for.
pub struct Post {
    pages: Receiver<Arc<Exchange>>,
    /// Closed when the worker is to end.
    stop: Receiver<()>,
    plan: Plan,
    served: AtomicU64,
    /// When the page that it has is to be over.
    due: Mutex<Option<Instant>>,
    events: Events,
    /// What the supervisor calls it.
    worker: (u64, usize),
    /// What its fiber had done when the page that it has began.
    before: Mutex<Done>,
}

impl Post {
    /// Gives the last page up and waits for the next. False: the worker is to end; if it asks to `leave`, once it has had one.
    pub async fn next(&self, seat: &Seat, cx: &Cx, leave: bool) -> bool {
        *self.due() = None;
        let name = self.plan.name(self.worker.1);
        cx.rename(name.clone());
        // The SAPI has ended its response.
        if let Some(page) = seat.put(None) {
            page.end(Ok(()));
        }
        if self.served() == 0 {
            let _ = self.events.send(Event::Booted(self.worker));
        }
        if self.served() >= self.plan.max_requests || leave && self.served() > 0 {
            return false;
        }
        loop {
            let stop = async {
                let _ = self.stop.recv().await;
                None
            };
            let Some(page) = future::or(stop, async { self.pages.recv().await.ok() }).await else { return false };
            if page.unwanted() || !page.take() {
                continue;
            }
            cx.rename(format!("{} ({name})", page.label.as_deref().unwrap_or("a page")));
            self.served.fetch_add(1, Ordering::Relaxed);
            *self.due() = self.plan.deadline.and_then(|after| Instant::now().checked_add(after));
            seat.put(Some(page));
            return true;
        }
    }

    /// The page begins.
    pub fn begin(&self, done: Done) {
        *self.before() = done;
    }

    /// The page's response ends: what its fiber did for it is told to who asked. (Another fiber that ends it knows nothing of that.)
    pub fn tell(&self, page: &Exchange, done: &Done) {
        let Some(Stats { call, .. }) = &page.stats else { return };
        let before = self.before();
        call.begun(before.fiber);
        if done.fiber != before.fiber {
            return;
        }
        let waited = done.waited.saturating_sub(before.waited);
        call.add_host_calls(done.host_calls.saturating_sub(before.host_calls));
        call.set_waits(waited, done.last.clone().filter(|_| !waited.is_zero()));
    }

    /// Pages so far.
    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn before(&self) -> std::sync::MutexGuard<'_, Done> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
