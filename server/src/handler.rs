//! From a request to its response: every request gets one.

pub mod script;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use sidestack::CallStats;

use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::output::Output;
use crate::report;
use crate::response::plain;
use crate::site::{Live, Site};
use crate::units::{count, show_time};

/// What a response fails with when it breaks off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response, whoever made it.
pub type Reply = Response<UnsyncBoxBody<Bytes, BodyError>>;

/// What all requests share.
pub struct App {
    /// What answers.
    pub live: Arc<Live>,
    /// What happened so far.
    pub metrics: Metrics,
    /// Where lines go.
    pub output: Output,
    /// The largest body.
    pub max_body: usize,
    /// The largest body of an answer.
    pub max_response: usize,
    /// Wall time of a request.
    pub deadline: Option<Duration>,
    /// How long a client may take to send a request's head, how long a connection is kept without one or while the client takes
    /// nothing of what is sent to it, and how long it may go on sending what nobody wants.
    pub patience: Duration,
    /// Clients see errors.
    pub dev: bool,
    /// No line per request.
    pub quiet: bool,
    /// No connection is kept any more.
    pub draining: AtomicBool,
    /// Requests that run.
    pub active: AtomicUsize,
    /// Requests so far.
    pub count: AtomicUsize,
}

/// A request that came in, with its place in the log.
pub struct Asked {
    /// Its head.
    pub parts: hyper::http::request::Parts,
    /// Its body.
    pub body: Incoming,
    /// The client.
    pub remote: SocketAddr,
    /// Where the client came to.
    #[cfg_attr(not(feature = "php"), expect(dead_code, reason = "only pages are told"))]
    pub local: SocketAddr,
}

impl App {
    /// What a client is told whose request has a larger body than it may have.
    pub fn body_too_large(&self) -> String {
        format!("the request's body is too large: the limit is {} bytes (setting: max_body)", self.max_body)
    }
}

/// Answers one request. Dropping the future, as when the client goes away, cancels a script's call.
pub async fn answer(app: Arc<App>, request: Asked) -> Reply {
    let target = request.parts.uri.path_and_query().map_or(request.parts.uri.path(), |target| target.as_str());
    let mut line = Line::new(&app, request.parts.method.as_str(), target);
    let site = app.live.site();
    let mut reply = match &*site {
        Site::Script { script, .. } => script::answer(&app, &site, script, request, &mut line).await,
        #[cfg(feature = "php")]
        Site::Pages(pages) => crate::php::answer(&app, &site, pages, request, &mut line).await,
    };
    if app.draining.load(Ordering::Relaxed) {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    line.status = reply.status().as_u16();
    // The request is over when its response has been sent.
    reply.map(|body| if body.is_end_stream() { body } else { Sent { body, site, line: Some(line) }.boxed_unsync() })
}

/// A body of one type for all.
pub fn boxed<B>(body: B) -> UnsyncBoxBody<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A response's body, with what ends when it has been sent.
struct Sent {
    body: UnsyncBoxBody<Bytes, BodyError>,
    site: Arc<Site>,
    line: Option<Line>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(task));
        if let Some(Err(error)) = &frame
            && let Some(mut line) = self.line.take()
        {
            line.note = match error.downcast_ref::<sidestack::Error>() {
                // The client sees that the response broke off; it has a status already.
                Some(error) => note_failure(&line.app.clone(), &self.site, error, None, &mut line).1,
                None => error.to_string(),
            };
        }
        if frame.is_none() {
            self.line = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer to a call that failed, and a report where someone has to look at it.
pub fn failed(app: &App, site: &Site, error: &sidestack::Error, stats: Option<&CallStats>, line: &mut Line) -> Reply {
    let (failure, mut text) = note_failure(app, site, error, stats, line);
    if app.dev {
        text = format!("{text}\n\n{}", report::plain(error).trim_end());
    }
    let mut response = plain(failure.status, text + "\n").map(boxed);
    if let Some(after) = failure.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Counts a failure and reports it; returns what a client is told.
fn note_failure(
    app: &App,
    site: &Site,
    error: &sidestack::Error,
    stats: Option<&CallStats>,
    line: &mut Line,
) -> (Failure, String) {
    let failure = Failure::of(error);
    app.metrics.failed(error);
    let mut text = failure.message.clone();
    if failure.reported {
        let id = new_id();
        let about = format!("{}   id {id}", line.label());
        app.output.lines(&report::report(error, &about, stats, site.sources(), app.output.style()));
        text = format!("{text} (id {id})");
    }
    line.note = error.code().unwrap_or_default().to_string();
    (failure, text)
}

/// What a client can tell, and someone can look for in the log.
fn new_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:08x}", RandomState::new().hash_one(()) & 0xffff_ffff)
}

/// A request's line in the log: written when it is over, however it is over.
pub struct Line {
    app: Arc<App>,
    method: String,
    target: String,
    begun: Instant,
    /// What the client got. 499: it went away before there was anything to get.
    pub status: u16,
    /// What more there is to say.
    pub note: String,
    /// What its call did, for the end of the line.
    pub stats: Option<Did>,
}

/// What a request's call did.
pub struct Did {
    /// It is filled in when the call ends.
    pub stats: Arc<CallStats>,
    /// Whether the number of host calls is worth telling.
    pub calls: bool,
}

impl Line {
    fn new(app: &Arc<App>, method: &str, target: &str) -> Self {
        app.active.fetch_add(1, Ordering::Relaxed);
        app.metrics.begun();
        app.count.fetch_add(1, Ordering::Relaxed);
        Line {
            app: app.clone(),
            method: method.into(),
            target: target.into(),
            begun: Instant::now(),
            status: 499,
            note: String::new(),
            stats: None,
        }
    }

    /// How fibers and reports call the request: `GET /notes/7`.
    pub fn label(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap_or_default())
    }
}

impl Did {
    /// In words, as far as it did anything.
    fn say(&self) -> String {
        let (calls, waited) = (self.stats.host_calls(), self.stats.waited());
        let calls = (self.calls && calls > 0).then(|| count(usize::try_from(calls).unwrap_or(usize::MAX), "host call"));
        let waited = (!waited.is_zero()).then(|| format!("waited {}", show_time(waited)));
        calls.into_iter().chain(waited).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.app.active.fetch_sub(1, Ordering::Relaxed);
        self.app.metrics.answered(self.status, self.begun.elapsed());
        if !self.app.quiet {
            let note = if self.status == 499 { "the client went away" } else { &self.note };
            let did = self.stats.as_ref().filter(|_| self.status != 499).map(Did::say).unwrap_or_default();
            let gap = if note.is_empty() || did.is_empty() { "" } else { "  " };
            let note = format!("{note}{gap}{did}");
            self.app.output.request(&self.method, &self.target, self.status, self.begun.elapsed(), &note);
        }
    }
}
