//! The README's example: a script answers requests, and calls async Rust that looks blocking.
//!
//! `cargo run --features tokio --example hello`, then `curl 127.0.0.1:8080/ada`

use std::time::Duration;

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use sidestack::{Engine, Lua, Module};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = Module::new("app").function("nap", async |seconds: f64| {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        Ok(format!("slept {seconds} s"))
    });
    let engine = Engine::builder(Lua::new()).threads(2).module(app).build()?;
    let script = engine.load("examples/hello.lua").await?;

    let greet = async move |Path(name): Path<String>| {
        script.call::<String>("greet", name).await.map_err(|e| (StatusCode::BAD_GATEWAY, e.to_string()))
    };
    let routes = Router::new().route("/{name}", get(greet));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, routes).await?;
    Ok(())
}
