//! A script as a `tower::Service`, mounted beside Rust routes in a router that exists already, under tower's own layers.
//!
//! `cargo run --features tokio --example router`, then `curl 127.0.0.1:8080/script/anything?x=1`

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::{Router, routing::get};
use serde::{Deserialize, Serialize};
use sidestack::{Bytes, Engine, Error, Limit, Lua, Script};
use tower::ServiceBuilder;

const SCRIPT: &str = r#"
local ss = require "sidestack"
return function(request)
  ss.sleep(0.05)
  return { status = 200, headers = { ["content-type"] = "text/plain" }, body = request.method .. " " .. request.path .. "\n" }
end
"#;

/// What the script gets.
#[derive(Serialize)]
struct Asked {
    method: String,
    path: String,
    body: Bytes,
}

/// What it returns.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: HashMap<String, String>,
    body: Bytes,
}

/// A script's `default` export as a service.
fn service(
    script: Script,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
    tower::service_fn(move |request: Request<Body>| {
        let script = script.clone();
        async move { Ok(answer(&script, request).await.unwrap_or_else(|status| plain(status, status.to_string()))) }
    })
}

async fn answer(script: &Script, request: Request<Body>) -> Result<Response<Body>, StatusCode> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let asked =
        Asked { method: parts.method.to_string(), path: parts.uri.path().to_string(), body: Bytes(body.to_vec()) };
    let label = format!("{} {}", asked.method, asked.path);
    let answer: Answer = script.call("default", asked).label(label).await.map_err(|error| match error {
        Error::Limit { which: Limit::Deadline, .. } => StatusCode::GATEWAY_TIMEOUT,
        Error::Limit { .. } | Error::QueueFull { .. } => StatusCode::SERVICE_UNAVAILABLE,
        error => {
            eprintln!("{error}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    })?;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body.0)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::builder(Lua::new()).threads(2).deadline(Duration::from_secs(5)).build()?;
    let script = engine.load_text("router", SCRIPT).await?;
    let scripted = ServiceBuilder::new().concurrency_limit(1000).service(service(script));
    let routes = Router::new().route("/health", get(async || "ok\n")).nest_service("/script", scripted);
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, routes).await?;
    Ok(())
}
