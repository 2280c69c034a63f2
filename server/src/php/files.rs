//! Static files: ranges, validators and content types by `tower-http`.

use std::io::ErrorKind;
use std::path::Path;
use std::time::UNIX_EPOCH;

use hyper::header::{ALLOW, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tower_http::services::ServeFile;

use crate::handler::{Reply, boxed};
use crate::response::plain;

/// Answers a request with a file.
pub async fn answer(file: &Path, parts: Parts) -> Reply {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let mut reply = plain(405, "a file can only be read\n".into()).map(boxed);
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let tag = tokio::fs::metadata(file).await.ok().and_then(|metadata| tag(&metadata));
    if let Some(tag) = &tag
        && parts.headers.get_all(IF_NONE_MATCH).iter().any(|tags| has(tags, tag))
    {
        let mut reply = Response::new(boxed(http_body_util::Empty::new()));
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply.headers_mut().insert(ETAG, tag.clone());
        return reply;
    }
    match ServeFile::new(file).try_call(Request::from_parts(parts, ())).await {
        // It was there, and is a file.
        Ok(response) if response.status() == StatusCode::NOT_FOUND => match tokio::fs::File::open(file).await {
            Err(error) => unreadable(file, &error),
            Ok(_) => plain(404, "not found\n".into()).map(boxed),
        },
        Ok(response) => {
            let mut reply = response.map(boxed);
            if let Some(tag) = tag.filter(|_| reply.status().is_success()) {
                reply.headers_mut().insert(ETAG, tag);
            }
            reply
        }
        Err(error) => unreadable(file, &error),
    }
}

/// A file that cannot be opened, as whoever runs the server has to know.
fn unreadable(file: &Path, error: &std::io::Error) -> Reply {
    tracing::warn!(target: "sidestack", "cannot read {}: {error}", file.display());
    match error.kind() {
        ErrorKind::PermissionDenied => plain(403, "the server may not read this file\n".into()).map(boxed),
        _ => plain(404, "not found\n".into()).map(boxed),
    }
}

/// Time and size, as nginx makes it; weak, because a file may change twice in a second and keep both.
fn tag(metadata: &std::fs::Metadata) -> Option<HeaderValue> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    HeaderValue::from_str(&format!("W/\"{:x}-{:x}\"", modified.as_nanos(), metadata.len())).ok()
}

fn has(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(tag)) = (tags.to_str(), tag.to_str()) else { return false };
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_string();
    tags.split(',').any(|one| one.trim() == "*" || strong(one) == strong(tag))
}
