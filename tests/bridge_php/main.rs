//! The bridge through the public API, with PHP as the guest: the tests of tests/bridge, but for what only Lua has.

/// A script's text, in the guest's own language.
macro_rules! script {
    (lua: $lua:expr, php: $php:expr $(,)?) => {
        $php
    };
}

#[path = "../bridge/bound.rs"]
mod bound;
#[path = "../bridge/cancel.rs"]
mod cancel;
#[path = "../bridge/future.rs"]
mod future;
#[path = "../bridge/nested.rs"]
mod nested;
#[path = "../bridge/panics.rs"]
mod panics;
#[path = "../bridge/queue.rs"]
mod queue;
#[path = "../bridge/runtimes.rs"]
mod runtimes;
#[path = "../bridge/stage.rs"]
mod stage;
#[path = "../bridge/wakes.rs"]
mod wakes;

mod guest {
    //! The guest of these tests.

    pub use sidestack::Php as Guest;

    pub fn guest() -> Guest {
        Guest::new().ini("memory_limit", "64M").ini("log_errors", "0")
    }

    /// A text as a script has it.
    pub fn chunk(text: &str) -> String {
        format!("<?php {text}")
    }
}
