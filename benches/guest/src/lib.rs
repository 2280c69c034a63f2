//! What the benchmarks run: guests that time their own loops, inside real engines.
//!
//! A [`Suite`] has a case for every figure. `benches/*.rs` show them to Criterion, and the binary `ours` to the comparison
//! with other projects (`benches/peers`), so that both mean the same thing by the same name.

mod bare;
pub mod both;
mod exports;
mod lua;
mod native;

use std::time::Duration;

pub use lua::Lua;
pub use native::Native;

/// Runs one case this many times; the time of all of them.
pub type Case = fn(&Suite, u64) -> Duration;

/// The cases, by name.
pub const CASES: &[(&str, Case)] = &[
    ("raw", |suite, n| suite.native.raw("raw", n)),
    ("raw, flag", |suite, n| suite.native.raw("flag", n)),
    ("raw, kernel mask", |suite, n| suite.native.raw("mask", n)),
    ("crossing", |suite, n| suite.native.host("nothing", n)),
    ("crossing, number", |suite, n| suite.native.host("number", n)),
    ("crossing, handle", |suite, n| suite.native.host("method", n)),
    ("export, ready", |suite, n| suite.native.exports("ready", n)),
    ("export, async and ready", |suite, n| suite.native.exports("async, ready", n)),
    ("export, awaited", |suite, n| suite.native.exports("awaited", n)),
    ("export, handle", |suite, n| suite.native.exports("handle", n)),
    ("export, leaf", |suite, n| suite.native.exports("leaf", n)),
    ("swapcontext", |suite, n| suite.native.exports("swapcontext", n)),
    ("thread hand-off", |suite, n| suite.native.exports("thread hand-off", n)),
    ("bare switch", |_, n| bare::switch(n)),
    ("yield", |suite, n| suite.native.yields(n)),
    ("wait", |suite, n| suite.native.host("wait", n)),
    ("lua host call", |suite, n| suite.lua.inside("nothing", n)),
    ("lua host call, arguments", |suite, n| suite.lua.inside("add", n)),
    ("lua leaf", |suite, n| suite.lua.inside("leaf", n)),
    ("lua leaf, arguments", |suite, n| suite.lua.inside("leaf_add", n)),
    ("lua awaited call", |suite, n| suite.lua.inside("wait", n)),
    ("lua new call", |suite, n| suite.lua.new_calls(n)),
    ("sleeps", |suite, n| suite.native.sleeps(n)),
    ("lua sleeps", |suite, n| suite.lua.sleeps(n)),
];

/// The engines that the cases run in.
pub struct Suite {
    /// Plain C.
    pub native: Native,
    /// Lua.
    pub lua: Lua,
}

impl Suite {
    /// Starts the engines, each with one interpreter, as their defaults are.
    ///
    /// # Panics
    ///
    /// If one does not start.
    #[expect(clippy::new_without_default, reason = "starting engines is no default")]
    pub fn new() -> Suite {
        Suite::with_tick(Duration::from_millis(5))
    }

    /// The same without ticks, in effect: callgrind 3.19 does not survive a signal on a fiber.
    ///
    /// # Panics
    ///
    /// If one does not start.
    pub fn unticked() -> Suite {
        Suite::with_tick(Duration::from_secs(3600))
    }

    fn with_tick(tick: Duration) -> Suite {
        Suite { native: Native::new(tick), lua: Lua::new(tick) }
    }

    /// The time that `n` runs of a case take together.
    ///
    /// # Panics
    ///
    /// If there is no such case, or it fails.
    pub fn run(&self, name: &str, n: u64) -> Duration {
        let (_, case) = CASES.iter().find(|(case, _)| *case == name).unwrap_or_else(|| panic!("no case {name:?}"));
        case(self, n)
    }
}
