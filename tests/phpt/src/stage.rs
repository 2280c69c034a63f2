//! What the tests that run scripts share. PHP is started once in a process: all tests of one binary use the same settings.

use std::time::Duration;

use futures_executor::block_on;
use serde::de::DeserializeOwned;
use sidestack::{Builder, Engine, Error, Php};

use crate::probe;

/// An engine of one interpreter thread, to be changed.
pub fn builder() -> Builder<Php> {
    probe::install();
    let php = Php::new().ini("memory_limit", "128M").ini("display_errors", "1").ini("log_errors", "0");
    Engine::builder(php.ini("opcache.revalidate_freq", "0")).threads(1)
}

/// Runs a text.
pub fn run<R: DeserializeOwned + Send + 'static>(engine: &Engine, text: &str) -> Result<R, Error> {
    block_on(engine.eval(text).deadline(Duration::from_secs(60)))
}

/// Runs a text for its value.
#[track_caller]
pub fn gives<R: DeserializeOwned + Send + 'static>(engine: &Engine, text: &str) -> R {
    run(engine, text).unwrap_or_else(|error| panic!("{error}\n{error:?}"))
}
