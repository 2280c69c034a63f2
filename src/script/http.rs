//! HTTP requests, on tokio and reqwest.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::time::duration;
use crate::error::{HostResult, Raise};
use crate::host::Module;
use crate::host::account::Account;
use crate::value::Bytes;

/// What a script asks for.
#[derive(Deserialize)]
struct Request {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Bytes>,
    timeout: Option<f64>,
    redirects: Option<bool>,
}

/// What it gets. Header names are in lower case; the values of one name are joined by ", ".
#[derive(Serialize)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

pub fn add(module: Module) -> Module {
    module.function("http_request", request)
}

async fn request(account: Account, request: Request) -> HostResult<Response> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Raise::new("no_runtime", "http needs the engine to be built inside a tokio runtime").into());
    }
    let client = client(request.redirects.unwrap_or(true))?;
    let method = request.method.as_deref().unwrap_or("GET");
    let method = reqwest::Method::from_bytes(method.as_bytes())
        .map_err(|_| Raise::new("bad_argument", format!("no HTTP method {method:?}")))?;
    let mut builder = client.request(method, &request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    // Both bodies, until the script has its copy.
    let mut bodies = account.charge(request.body.as_ref().map_or(0, |body| body.0.capacity())).await?;
    if let Some(body) = request.body {
        builder = builder.body(body.0);
    }
    if let Some(seconds) = request.timeout {
        builder = builder.timeout(duration(seconds)?);
    }
    let mut response = builder.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_string())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bodies.grow(chunk.len()).await?;
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body: Bytes(body) })
}

/// The process's clients: connections are kept and shared by all interpreters.
fn client(redirects: bool) -> HostResult<&'static reqwest::Client> {
    static FOLLOWING: OnceLock<reqwest::Client> = OnceLock::new();
    static PLAIN: OnceLock<reqwest::Client> = OnceLock::new();
    let (cell, policy) = if redirects {
        (&FOLLOWING, reqwest::redirect::Policy::limited(10))
    } else {
        (&PLAIN, reqwest::redirect::Policy::none())
    };
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let client = reqwest::Client::builder().redirect(policy).build().map_err(failed)?;
    Ok(cell.get_or_init(|| client))
}

fn failed(error: reqwest::Error) -> anyhow::Error {
    let code = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if error.is_builder() {
        "bad_argument"
    } else {
        "http"
    };
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Raise::new(code, message).into()
}
