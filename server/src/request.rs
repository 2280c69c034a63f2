//! A request as a script sees it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::SocketAddr;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What a script's function gets.
///
/// | field | |
/// | --- | --- |
/// | `method` | as sent: `"GET"` |
/// | `path` | the path, percent-decoded |
/// | `query` | the query's parameters, decoded; of several with one name the first |
/// | `query_string` | the query as sent, `""` if there is none |
/// | `target` | path and query as sent |
/// | `headers` | by name in lower case; several values are joined by `", "` (cookies by `"; "`) |
/// | `body` | the bytes, `""` if there is none |
/// | `remote` | the client's address: `"127.0.0.1:53412"` |
pub struct Request<'a> {
    /// The request line and headers.
    pub parts: &'a Parts,
    /// The body.
    pub body: &'a [u8],
    /// The client.
    pub remote: SocketAddr,
}

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let uri = &self.parts.uri;
        let query = uri.query().unwrap_or_default();
        let mut map = serializer.serialize_map(Some(8))?;
        map.serialize_entry("method", self.parts.method.as_str())?;
        map.serialize_entry("path", &Text(&Cow::from(percent_decode_str(uri.path()))))?;
        map.serialize_entry("query", &Query(query))?;
        map.serialize_entry("query_string", query)?;
        map.serialize_entry("target", uri.path_and_query().map_or(uri.path(), |target| target.as_str()))?;
        map.serialize_entry("headers", &Headers(&self.parts.headers))?;
        map.serialize_entry("body", &Text(self.body))?;
        map.serialize_entry("remote", &self.remote.to_string())?;
        map.end()
    }
}

/// A string to a script whatever its bytes are.
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.serialize_bytes(self.0),
        }
    }
}

struct Query<'a>(&'a str);

impl Serialize for Query<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seen = HashSet::new();
        serializer.collect_map(form_urlencoded::parse(self.0.as_bytes()).filter(|(name, _)| seen.insert(name.clone())))
    }
}

struct Headers<'a>(&'a HeaderMap<HeaderValue>);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            let mut values = self.0.get_all(name).iter();
            let Some(first) = values.next() else { continue };
            let mut joined = Cow::Borrowed(first.as_bytes());
            for value in values {
                let separator: &[u8] = if name == hyper::header::COOKIE { b"; " } else { b", " };
                joined.to_mut().extend_from_slice(separator);
                joined.to_mut().extend_from_slice(value.as_bytes());
            }
            map.serialize_entry(name.as_str(), &Text(&joined))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_sees_all_of_it() {
        let (parts, ()) = hyper::Request::builder()
            .method("POST")
            .uri("/caf%C3%A9?a=1&a=2&b=x%20y+z")
            .header("Accept", "one")
            .header("accept", "two")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .expect("a request")
            .into_parts();
        let request = Request { parts: &parts, body: b"hello", remote: ([127, 0, 0, 1], 9).into() };
        assert_eq!(
            serde_json::to_value(&request).expect("JSON"),
            serde_json::json!({
                "method": "POST", "path": "/café", "query": { "a": "1", "b": "x y z" },
                "query_string": "a=1&a=2&b=x%20y+z", "target": "/caf%C3%A9?a=1&a=2&b=x%20y+z",
                "headers": { "accept": "one, two", "cookie": "a=1; b=2" }, "body": "hello", "remote": "127.0.0.1:9",
            })
        );
    }
}
