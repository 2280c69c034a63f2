//! One PHP file in several copies at once, on one interpreter thread. A process of its own for each: settings of PHP's start
//! differ, and what crashes must not take the other tests with it.

use std::path::Path;

use futures_executor::block_on;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use sidestack::php::{Body, Page};
use sidestack::{Engine, Php};

use crate::probe;

/// What the copies came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Played {
    /// What each wrote.
    pub outputs: Vec<Vec<u8>>,
    /// See [`probe::turns`].
    pub turns: [u64; 2],
    /// See [`probe::bounds`].
    pub bounds: [u64; 2],
}

/// Plays the file.
pub fn play(file: &Path, copies: u32, settings: &[(String, String)]) -> Played {
    probe::install();
    probe::line_up(copies);
    let php = settings.iter().fold(Php::new(), |php, (name, value)| php.ini(name, value));
    let engine = Engine::builder(php).threads(1).memory(8 << 30).build().expect("an engine");
    let pages = (0..copies).map(async |_| {
        let request = http::Request::get("/").body(Body::empty()).expect("a request");
        let response = engine.page(Page::new(file, request)).await.expect("a response");
        response.into_body().collect().await.expect("an output")
    });
    let outputs = block_on(join_all(pages));
    // The interpreter is as good as before.
    let next: i64 = block_on(engine.eval("21 * 2")).expect("the next call");
    assert_eq!(next, 42);
    assert_eq!(engine.metrics().quarantined, 0);
    Played { outputs, turns: probe::turns(), bounds: probe::bounds() }
}
