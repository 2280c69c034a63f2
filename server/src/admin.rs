//! The admin address and the admin socket: questions about the server itself, answered also while its scripts hang, and the
//! end of a fiber.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use sidestack::Cancelled;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::fibers::Report;
use crate::handler::App;
use crate::metrics;
use crate::response::plain;

/// How long a client may take to ask.
const HEAD: Duration = Duration::from_secs(10);

/// Answers whoever asks; connections come from a listener's `poll_accept`.
pub async fn serve<S>(app: Arc<App>, mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let Ok(stream) = poll_fn(&mut poll_accept).await else {
            // Most likely there are too many open files.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let app = app.clone();
        let service = service_fn(move |request| {
            let app = app.clone();
            async move { Ok::<_, Infallible>(answer(&app, &request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(app: &App, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if *request.method() == Method::POST {
        return act(app, request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(405, "GET, or POST for what changes something\n".into());
    }
    match request.uri().path() {
        "/healthz" if app.draining.load(Ordering::Relaxed) => plain(503, "ending\n".into()),
        "/healthz" => plain(200, "ok\n".into()),
        "/metrics" => match app.metrics.text() {
            Ok(text) => typed(metrics::CONTENT_TYPE, text),
            Err(error) => plain(500, format!("{error}\n")),
        },
        "/fibers" => {
            match serde_json::to_string(&Report::of(&app.live.site(), request.uri().query() == Some("stacks")).await) {
                Ok(text) => typed("application/json", text + "\n"),
                Err(error) => plain(500, format!("{error}\n")),
            }
        }
        _ => plain(404, "there are /metrics, /fibers and /healthz\n".into()),
    }
}

/// `POST /fibers/ID/cancel`.
async fn act(app: &App, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    // A page that somebody has open in a browser on this machine may send a POST here, but not without this.
    if request.headers().contains_key(ORIGIN) {
        return plain(403, "not from a browser\n".into());
    }
    let path = request.uri().path();
    let fiber = path.strip_prefix("/fibers/").and_then(|rest| rest.strip_suffix("/cancel")?.parse().ok());
    let Some(fiber) = fiber else { return plain(404, "there is /fibers/ID/cancel\n".into()) };
    match app.live.engine().cancel(fiber).await {
        Cancelled::Now => plain(200, "it is being ended\n".into()),
        Cancelled::NotFound => plain(404, "there is no such fiber\n".into()),
        _ => plain(202, "it ends as soon as its interpreter answers\n".into()),
    }
}

fn typed(content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = plain(200, text);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
