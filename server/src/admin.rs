//! The admin address: questions about the server itself, answered also while its scripts hang.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::fibers::Report;
use crate::handler::App;
use crate::metrics;
use crate::response::plain;

/// How long a client may take to ask.
const HEAD: Duration = Duration::from_secs(10);

/// Answers whoever asks.
pub async fn serve(listener: TcpListener, app: Arc<App>) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
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
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(405, "GET only\n".into());
    }
    match request.uri().path() {
        "/healthz" if app.draining.load(Ordering::Relaxed) => plain(503, "ending\n".into()),
        "/healthz" => plain(200, "ok\n".into()),
        "/metrics" => match app.metrics.text() {
            Ok(text) => typed(metrics::CONTENT_TYPE, text),
            Err(error) => plain(500, format!("{error}\n")),
        },
        "/fibers" => match serde_json::to_string(&Report::of(&app.live.engine()).await) {
            Ok(text) => typed("application/json", text + "\n"),
            Err(error) => plain(500, format!("{error}\n")),
        },
        _ => plain(404, "there are /metrics, /fibers and /healthz\n".into()),
    }
}

fn typed(content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = plain(200, text);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
