//! From a request to its response: every request gets one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::{Method, Response};
use sidestack::{Call, CallStats, Engine, Error, Limit, Script};

use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::output::Output;
use crate::report;
use crate::request::Request;
use crate::response::{Answer, plain};
use crate::sources::Sources;
use crate::units::{count, show_time};

/// How long a client may go on sending a body that is refused, so that it reads the refusal.
const LINGER: Duration = Duration::from_secs(2);

/// How long a body may take where requests have no deadline.
const BODY: Duration = Duration::from_secs(60);

/// How much longer than --queue-timeout a request waits for an interpreter that should have refused it by then: it hangs.
const MARGIN: Duration = Duration::from_millis(250);

/// What all requests share.
pub struct App {
    /// The interpreters.
    pub engine: Engine,
    /// What happened so far.
    pub metrics: Metrics,
    /// The script; its `default` export answers.
    pub script: Script,
    /// For error reports.
    pub sources: Sources,
    /// Where lines go.
    pub output: Output,
    /// The largest body.
    pub max_body: usize,
    /// Wall time of a request.
    pub deadline: Option<Duration>,
    /// How long a request may wait for an interpreter.
    pub queue_timeout: Option<Duration>,
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

/// Answers one request. Dropping the future, as when the client goes away, cancels the script's call.
pub async fn answer(app: Arc<App>, request: hyper::Request<Incoming>, remote: SocketAddr) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or(parts.uri.path(), |target| target.as_str());
    let mut line = Line::new(&app, parts.method.as_str(), target);
    let body = match read(&app, body).await {
        Ok(body) => body,
        Err((status, message)) => {
            line.status = status;
            let mut response = plain(status, format!("{message}\n"));
            // The rest of the body may be on its way.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let request = Request { parts: &parts, body: &body, remote };
    let label = format!("{} {}", parts.method, parts.uri.path());
    let mut call = app.script.call::<Answer>("default", request).label(label.as_str());
    let stats = call.stats();
    let outcome = queued(&app, call).await;
    let mut response = match outcome {
        Ok(answer) => answer.into_response(parts.method == Method::HEAD).unwrap_or_else(|invalid| {
            let error = sidestack::Error::Convert { place: "response".into(), message: invalid.to_string() };
            failed(&app, &error, &label, &stats, &mut line)
        }),
        Err(error) => failed(&app, &error, &label, &stats, &mut line),
    };
    line.add_stats(&stats);
    if app.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    line.status = response.status().as_u16();
    response
}

/// The outcome of a call, or a refusal if its interpreter hangs so that not even the queue's limit is looked at there.
async fn queued(app: &App, mut call: Call<Answer>) -> Result<Answer, Error> {
    let Some(limit) = app.queue_timeout else { return call.await };
    match tokio::time::timeout(limit + MARGIN, &mut call).await {
        Ok(outcome) => outcome,
        Err(_) if call.has_fiber() => call.await,
        Err(_) => {
            let value = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            Err(Error::Limit { which: Limit::Queue, value, setting: "queue_timeout" })
        }
    }
}

/// The whole body, or the status and message that refuse it.
async fn read(app: &App, mut body: Incoming) -> Result<Bytes, (u16, &'static str)> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let (too_large, limit) = ((413, "the request's body is too large"), app.max_body);
    if body.size_hint().lower() > limit as u64 {
        linger(body).await;
        return Err(too_large);
    }
    let gather = gather(&mut body, limit);
    match tokio::time::timeout(app.deadline.unwrap_or(BODY), gather).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            linger(body).await;
            Err(too_large)
        }
        Ok(Err(_)) => Err((400, "the request's body broke off")),
        Err(_) => Err((408, "the request's body took too long")),
    }
}

/// All frames of a body; none if they are more than `limit` bytes.
async fn gather(body: &mut Incoming, limit: usize) -> Result<Option<Bytes>, hyper::Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Ok(None);
        }
        // Most bodies are one frame.
        if bytes.is_empty() && body.is_end_stream() {
            return Ok(Some(data));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.freeze()))
}

/// Reads and forgets for a while.
async fn linger(mut body: Incoming) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(LINGER, all).await;
}

/// The answer to a call that failed, and a report where someone has to look at it.
fn failed(app: &App, error: &Error, label: &str, stats: &CallStats, line: &mut Line<'_>) -> Response<Full<Bytes>> {
    let failure = Failure::of(error);
    app.metrics.failed(error);
    let mut text = failure.message.to_string();
    if failure.reported {
        let id = new_id();
        let about = format!("{label}   id {id}");
        app.output.lines(&report::report(error, &about, Some(stats), &app.sources, app.output.style()));
        text = format!("{text} (id {id})");
    }
    if app.dev {
        text = format!("{text}\n\n{}", report::plain(error).trim_end());
    }
    line.note = error.code().unwrap_or_default().to_string();
    let mut response = plain(failure.status, text + "\n");
    if let Some(after) = failure.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What a client can tell, and someone can look for in the log.
fn new_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:08x}", RandomState::new().hash_one(()) & 0xffff_ffff)
}

/// A request's line in the log: written when it is over, however it is over.
struct Line<'a> {
    app: &'a App,
    method: String,
    target: String,
    begun: Instant,
    /// What the client got. 499: it went away before there was anything to get.
    status: u16,
    note: String,
}

impl<'a> Line<'a> {
    fn new(app: &'a App, method: &str, target: &str) -> Self {
        app.active.fetch_add(1, Ordering::Relaxed);
        app.metrics.begun();
        app.count.fetch_add(1, Ordering::Relaxed);
        Line {
            app,
            method: method.into(),
            target: target.into(),
            begun: Instant::now(),
            status: 499,
            note: String::new(),
        }
    }
}

impl Line<'_> {
    /// What its call did, where it did anything.
    fn add_stats(&mut self, stats: &CallStats) {
        let calls = stats.host_calls();
        if calls == 0 {
            return;
        }
        let gap = if self.note.is_empty() { "" } else { "  " };
        let waited = stats.waited();
        let waited = if waited.is_zero() { String::new() } else { format!(", waited {}", show_time(waited)) };
        let calls = count(usize::try_from(calls).unwrap_or(usize::MAX), "host call");
        self.note.push_str(&format!("{gap}{calls}{waited}"));
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.app.active.fetch_sub(1, Ordering::Relaxed);
        self.app.metrics.answered(self.status, self.begun.elapsed());
        if !self.app.quiet {
            let note = if self.status == 499 { "the client went away" } else { &self.note };
            self.app.output.request(&self.method, &self.target, self.status, self.begun.elapsed(), note);
        }
    }
}
