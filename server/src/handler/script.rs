//! A script's answer: the whole request goes in, the whole response comes out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use sidestack::{Error, Limit, Script};

use super::{App, Asked, Did, Line, Reply, boxed, failed};
use crate::request::Request;
use crate::response::{Answer, plain};
use crate::site::Site;

/// How long a body may take where requests have no deadline.
const BODY: Duration = Duration::from_secs(60);

/// Answers a request with a call of the script's `default`.
pub async fn answer(app: &App, site: &Site, script: &Script, asked: Asked, line: &mut Line) -> Reply {
    let Asked { parts, body, remote, .. } = asked;
    let body = match read(app, body).await {
        Ok(body) => body,
        Err((status, message)) => {
            let mut response = plain(status, format!("{message}\n")).map(boxed);
            // The rest of the body may be on its way.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let request = Request { parts: &parts, body: &body, remote };
    let mut call = script.call::<Answer>("default", request).label(line.label());
    let stats = call.stats();
    line.stats = Some(Did { stats: stats.clone(), calls: true });
    let fits = |answer: Answer| {
        let limit = Error::limit(Limit::Response, app.max_response as u64, "max_response");
        if answer.size() > app.max_response { Err(limit) } else { Ok(answer) }
    };
    match call.await.and_then(fits) {
        Ok(answer) => match answer.into_response(parts.method == Method::HEAD) {
            Ok(response) => response.map(boxed),
            Err(invalid) => {
                let error = Error::Convert { place: "response".into(), message: invalid.to_string() };
                failed(app, site, &error, Some(&stats), line)
            }
        },
        Err(error) => failed(app, site, &error, Some(&stats), line),
    }
}

/// The whole body, or the status and message that refuse it.
async fn read(app: &App, mut body: Incoming) -> Result<Bytes, (u16, String)> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let limit = app.max_body;
    let too_large = (413, app.body_too_large());
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large);
    }
    let gather = gather(&mut body, limit);
    match tokio::time::timeout(app.deadline.unwrap_or(BODY), gather).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large),
        Ok(Err(_)) => Err((400, "the request's body broke off".into())),
        Err(_) => Err((408, "the request's body took too long".into())),
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
