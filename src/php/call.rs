//! A page on its way, and how it comes to a fiber.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use http::Response;

use super::body::Body;
use super::exchange::{Answer, Exchange, Seat};
use super::page::Page;
use super::workers::Desk;
use crate::Error;
use crate::call::CallStats;
use crate::call::future::submit;
use crate::call::inbox::Inbox;
use crate::call::job::{Completion, Dispatch, Job, Over, Settings, Source, Target, Work};
use crate::call::stats::Stats;
use crate::value::{Flat, Results};

/// A page: a future of its response, whose body comes while the script runs.
///
/// It starts when it is first polled. Dropping it, or the response, does not cancel the script: as under other servers it goes on
/// until its next output, and then it ends, or not (`ignore_user_abort`). One that has not begun by then never begins.
#[must_use = "a page starts when it is first polled"]
pub struct PageCall(State);

enum State {
    New { to: To, page: Box<Page>, settings: Box<Settings> },
    Waiting(oneshot::Receiver<Answer>),
    Over,
}

/// Who answers.
pub(super) enum To {
    /// A fiber of its own.
    Engine(Arc<dyn Dispatch>),
    /// Workers.
    Desk(Arc<Desk>),
}

impl PageCall {
    pub(super) fn to(to: To, page: Page) -> Self {
        PageCall(State::New { to, page: Box::new(page), settings: Box::default() })
    }

    /// On a fiber and in a request context of its own.
    pub(crate) fn new(dispatch: Arc<dyn Dispatch>, page: Page) -> Self {
        PageCall::to(To::Engine(dispatch), page)
    }

    fn settings(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        if let State::New { settings, .. } = &mut self.0 {
            set(settings);
        }
        self
    }

    /// As [`Call::deadline`](crate::Call::deadline): the whole script's, also after its response has begun. Not for workers,
    /// which have [their own](super::WorkersBuilder::deadline).
    pub fn deadline(self, after: Duration) -> Self {
        self.settings(|settings| settings.deadline = Some(after))
    }

    /// As [`Call::memory`](crate::Call::memory). Not for workers.
    pub fn memory(self, bytes: usize) -> Self {
        self.settings(|settings| settings.memory = Some(bytes))
    }

    /// As [`Call::label`](crate::Call::label). A worker's fiber has it for as long as it has the page.
    pub fn label(self, label: impl Into<String>) -> Self {
        self.settings(|settings| settings.label = Some(label.into()))
    }

    /// As [`Call::stats`](crate::Call::stats); what a page reads and writes are host calls too. A worker's are filled in when it
    /// ends the response, without its tasks.
    pub fn stats(&mut self) -> Arc<CallStats> {
        let stats = Arc::<CallStats>::default();
        if let State::New { settings, .. } = &mut self.0 {
            settings.stats = Some(Stats { call: stats.clone(), own: true });
        }
        stats
    }
}

impl Future for PageCall {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::New { .. } = &self.0 {
            let State::New { to, page, settings } = std::mem::replace(&mut self.0, State::Over) else {
                unreachable!("just seen")
            };
            match start(to, *page, *settings) {
                Ok(answer) => self.0 = State::Waiting(answer),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let State::Waiting(answer) = &mut self.0 else { panic!("polled after it was ready") };
        let answer = std::task::ready!(Pin::new(answer).poll(task));
        self.0 = State::Over;
        // Who drops an exchange without an answer has lost the interpreter.
        let response = answer.unwrap_or(Err(Error::InterpreterLost { started: true }))?;
        // Nothing of it has been seen: one that has been broken off already need not begin.
        Poll::Ready(response.body().take_failure().map_or(Ok(response), Err))
    }
}

fn start(to: To, page: Page, settings: Settings) -> Result<oneshot::Receiver<Answer>, Error> {
    let script = page.script.clone();
    let (exchange, answer) = Exchange::new(page, &settings);
    match to {
        To::Engine(dispatch) => {
            let end = Arc::new(PageEnd { exchange: exchange.clone(), index: AtomicU64::new(0), id: AtomicU64::new(0) });
            run(dispatch, &script, Arc::new(Seat::of(exchange)), settings, end)?;
        }
        To::Desk(desk) => desk.put(exchange)?,
    }
    Ok(answer)
}

/// Runs a file as a main program, in a seat for pages.
pub(super) fn run(
    dispatch: Arc<dyn Dispatch>,
    script: &Path,
    seat: Arc<Seat>,
    mut settings: Settings,
    completion: Arc<dyn Completion>,
) -> Result<Arc<Inbox>, Error> {
    settings.extensions.insert(TypeId::of::<Seat>(), seat as Arc<dyn Any + Send + Sync>);
    let name = script.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let folder = script.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    // PHP reads the file itself, through opcache.
    let source = Arc::new(Source { name, folder, text: Vec::new() });
    let work = Work::Main { source, args: Flat::new() };
    let job = Job { work, settings, begun: Instant::now(), completion: None, started: false };
    submit(&Target::Any(dispatch), Box::new(job), completion)
}

/// The end of a page's call.
struct PageEnd {
    exchange: Arc<Exchange>,
    index: AtomicU64,
    id: AtomicU64,
}

impl Completion for PageEnd {
    fn complete(&self, outcome: Result<Results<'_>, Error>, over: Over<'_>) -> Option<Waker> {
        self.exchange.end(outcome.map(|_| ()));
        drop(over());
        None
    }

    fn abandoned(&self) -> bool {
        self.exchange.unwanted()
    }

    fn fiber(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.index, &self.id)
    }
}

impl fmt::Debug for PageCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::New { .. } => "PageCall(not started)",
            State::Waiting(_) => "PageCall(started)",
            State::Over => "PageCall(over)",
        })
    }
}
