//! What a script answers, and the HTTP response that it becomes.

use std::fmt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sidestack::Value;

/// A script's answer: nothing (204), a string (text), or a table with `status`, `headers`, `body`.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    status: Option<i64>,
    headers: Vec<(String, Vec<String>)>,
    body: Body,
}

#[derive(Debug, Default, PartialEq)]
enum Body {
    /// Nothing.
    #[default]
    None,
    /// Sent as it is.
    Text(Vec<u8>),
    /// A table, encoded as JSON.
    Json(Vec<u8>),
}

/// Why an answer cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Answer {
    /// Bytes of its body.
    pub fn size(&self) -> usize {
        match &self.body {
            Body::None => 0,
            Body::Text(bytes) | Body::Json(bytes) => bytes.len(),
        }
    }

    /// The response. `head`: the answer to a HEAD request, which may name the length of what it does not send.
    pub fn into_response(self, head: bool) -> Result<Response<Full<Bytes>>, Invalid> {
        let (implied, content_type, body) = match self.body {
            Body::None => (StatusCode::NO_CONTENT, None, Vec::new()),
            Body::Text(bytes) => (StatusCode::OK, Some("text/plain; charset=utf-8"), bytes),
            Body::Json(bytes) => (StatusCode::OK, Some("application/json"), bytes),
        };
        let status = match self.status {
            None => implied,
            Some(number) => u16::try_from(number)
                .ok()
                .filter(|number| (200..=599).contains(number))
                .and_then(|number| StatusCode::from_u16(number).ok())
                .ok_or_else(|| Invalid(format!("a response's status is 200 to 599, not {number}")))?,
        };
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers {
            add_header(&mut headers, &name, values)?;
        }
        // How a message ends is the server's business; a script that passes on what it got need not care.
        headers.remove(TRANSFER_ENCODING);
        if !head {
            headers.remove(CONTENT_LENGTH);
        }
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if let Some(content_type) = content_type
            && !bodiless
        {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        let mut response = Response::new(Full::from(if bodiless { Vec::new() } else { body }));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn add_header(headers: &mut HeaderMap, name: &str, values: Vec<String>) -> Result<(), Invalid> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Invalid(format!("{name:?} is no header name")))?;
    for value in values {
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Invalid(format!("the value of header {name:?} has a character that no header may have")))?;
        headers.append(header.clone(), value);
    }
    Ok(())
}

/// A response of the server's own.
pub fn plain(status: u16, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnswerVisitor)
    }
}

struct AnswerVisitor;

fn text<E>(bytes: Vec<u8>) -> Result<Answer, E> {
    Ok(Answer { body: Body::Text(bytes), ..Answer::default() })
}

impl<'de> Visitor<'de> for AnswerVisitor {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a response: a string, or a table with status, headers and body")
    }

    fn visit_unit<E>(self) -> Result<Answer, E> {
        Ok(Answer::default())
    }

    fn visit_none<E>(self) -> Result<Answer, E> {
        Ok(Answer::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Answer, D::Error> {
        Answer::deserialize(deserializer)
    }

    fn visit_str<E>(self, value: &str) -> Result<Answer, E> {
        text(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Answer, E> {
        text(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Answer, E> {
        text(value.into())
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Answer, E> {
        text(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
        let mut answer = Answer::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "status" => answer.status = Some(map.next_value::<Status>()?.0),
                "headers" => answer.headers = map.next_value::<Headers>()?.0,
                "body" => answer.body = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(de::Error::custom(format!(
                        "a response has status, headers and body, not `{name}`; a table is sent as JSON as the body: {{body = …}}"
                    )));
                }
            }
        }
        Ok(answer)
    }

    /// An empty table may come as an empty list.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Answer, A::Error> {
        match items.next_element::<IgnoredAny>()? {
            None => Ok(Answer::default()),
            Some(_) => Err(de::Error::custom("a response is no list; a list is sent as JSON as the body: {body = …}")),
        }
    }
}

/// An integer, also if the script computed it as a float.
struct Status(i64);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let status = Value::deserialize(deserializer)?.as_i64();
        status.map(Status).ok_or_else(|| de::Error::custom("a response's status is an integer"))
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Nil => Body::None,
            Value::String(text) => Body::Text(text.into()),
            Value::Bytes(bytes) => Body::Text(bytes.into()),
            Value::Int(number) => Body::Text(number.to_string().into()),
            Value::Float(number) => Body::Text(number.to_string().into()),
            other => {
                Body::Json(serde_json::to_vec(&other).map_err(|error| {
                    de::Error::custom(format!("a response's body cannot be written as JSON: {error}"))
                })?)
            }
        })
    }
}

/// Header values: a string, a number, or a list of these.
struct Headers(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a response's headers: a table of names and values")
            }

            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let values = match map.next_value()? {
                        Value::List(values) => values.into_iter().map(header_value).collect(),
                        value => header_value(value).map(|value| vec![value]),
                    };
                    let Some(values) = values else {
                        return Err(de::Error::custom(format!(
                            "the value of header `{name}` is a string, a number, or a list of these"
                        )));
                    };
                    headers.push((name, values));
                }
                Ok(Headers(headers))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Headers, A::Error> {
                match items.next_element::<IgnoredAny>()? {
                    None => Ok(Headers(Vec::new())),
                    Some(_) => {
                        Err(de::Error::custom("a response's headers are a table of names and values, not a list"))
                    }
                }
            }
        }
        deserializer.deserialize_any(HeadersVisitor)
    }
}

fn header_value(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bytes(bytes) => String::from_utf8(bytes.0).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use serde_json::json;

    fn answer(value: serde_json::Value) -> Answer {
        serde_json::from_value(value).expect("an answer")
    }

    fn sent(value: serde_json::Value) -> (u16, HeaderMap, String) {
        let (parts, body) = answer(value).into_response(false).expect("valid").into_parts();
        let body = futures_body(body);
        (parts.status.as_u16(), parts.headers, body)
    }

    fn futures_body(body: Full<Bytes>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let bytes = runtime.block_on(body.collect()).expect("a whole body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn each_form_has_its_status_and_type() {
        let (status, headers, body) = sent(json!("hi"));
        assert_eq!(
            (status, headers[CONTENT_TYPE].to_str().ok(), body.as_str()),
            (200, Some("text/plain; charset=utf-8"), "hi")
        );
        let (status, headers, body) = sent(json!({ "status": 201, "body": { "a": [1, 2] } }));
        assert_eq!(
            (status, headers[CONTENT_TYPE].to_str().ok(), body.as_str()),
            (201, Some("application/json"), r#"{"a":[1,2]}"#)
        );
        let (status, headers, body) = sent(json!(null));
        assert_eq!((status, headers.get(CONTENT_TYPE), body.as_str()), (204, None, ""));
        assert_eq!(sent(json!({ "status": 404.0, "body": "no" })).0, 404);
    }

    #[test]
    fn headers_may_have_several_values_and_do_not_rule_the_framing() {
        let (_, headers, _) = sent(json!({ "body": "x", "headers": {
            "Set-Cookie": ["a=1", "b=2"], "X-Count": 3, "Content-Length": 99, "Transfer-Encoding": "chunked", "content-type": "text/html"
        } }));
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(headers["x-count"], "3");
        assert_eq!(headers[CONTENT_TYPE], "text/html");
        assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        for status in [99, 101, 600, -1, 1_i64 << 40] {
            let error = answer(json!({ "status": status })).into_response(false).expect_err("no status");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
        for (name, value) in [("a b", "c"), ("x", "a\r\nSet-Cookie: evil")] {
            let error = answer(json!({ "headers": { name: value } })).into_response(false).expect_err("no header");
            assert!(error.to_string().contains(name), "{error}");
        }
        for wrong in [
            json!({ "satus": 200 }),
            json!([1]),
            json!(true),
            json!({ "status": "x" }),
            json!({ "headers": { "x": true } }),
        ] {
            assert!(serde_json::from_value::<Answer>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
