//! The bridge through the public API, with Lua as the guest: host calls, nested calls, cancels, panics, wakes, queues. With PHP:
//! tests/bridge_php.

/// A script's text, in the guest's own language.
macro_rules! script {
    (lua: $lua:expr, php: $php:expr $(,)?) => {
        $lua
    };
}

mod bound;
mod cancel;
mod claims;
mod future;
mod lua;
mod nested;
mod panics;
mod queue;
mod runtimes;
mod stage;
mod wakes;

mod guest {
    //! The guest of these tests.

    pub use sidestack::Lua as Guest;

    pub fn guest() -> Guest {
        Guest::new()
    }

    /// A text with `t` and `ss` in scope.
    pub fn chunk(text: &str) -> String {
        format!("local t, ss = require 't', require 'sidestack'; {text}")
    }
}
