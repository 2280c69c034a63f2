//! The Lua 5.4 guest: one universe an interpreter, each call a Lua thread in it.
//!
//! Lua's API is used in C only (`csrc/lua`): everything here fills in plain records and calls functions that neither
//! allocate from Lua's heap nor raise. `lua/bindings.rs` is generated from `csrc/lua/sslua.h` (build.rs).

// For the linker: the shim calls it (csrc/lua/heap.c).
use libmimalloc_sys as _;

use crate::Error;
use crate::guest::{Guest, Setup};

#[allow(
    missing_docs,
    non_camel_case_types,
    dead_code,
    clippy::all,
    reason = "generated from a C header, which documents each item"
)]
#[rustfmt::skip]
#[cfg_attr(feature = "bindgen", path = "lua/generated.rs")]
mod bindings;
mod universe;

pub use universe::Universe;

/// Lua 5.4, with what its scripts may use beyond the safe set.
///
/// ```
/// let guest = sidestack::Lua::new().io(true);
/// ```
///
/// By default a script can neither stop nor crash the process, nor reach files, nor leave anything behind for the next
/// call but what its own modules keep in their tables and upvalues.
#[derive(Debug, Clone, Default)]
pub struct Lua {
    settings: u32,
}

impl Lua {
    /// Lua with the safe set of libraries: all of `string`, `table`, `utf8`, `math`, `coroutine`; `os` without
    /// what reaches files or the process; of `debug` only `traceback`.
    pub fn new() -> Self {
        Lua::default()
    }

    /// Everything but precompiled chunks, for trusted scripts.
    #[must_use]
    pub fn with_all_libraries(self) -> Self {
        self.debug(true).os_exit(true).os_setlocale(true).io(true).script_gc(true).unlimited_collectgarbage(true)
    }

    /// The whole `debug` library. With it a script reaches other calls' values and can undo the sandbox.
    #[must_use]
    pub fn debug(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_DEBUG, allowed)
    }

    /// `os.exit`, which ends the process.
    #[must_use]
    pub fn os_exit(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_OS_EXIT, allowed)
    }

    /// `os.setlocale`, which acts on the whole process.
    #[must_use]
    pub fn os_setlocale(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_OS_SETLOCALE, allowed)
    }

    /// Files and processes: `io`, `os.execute`, `remove`, `rename`, `tmpname`, `dofile`, `loadfile`. These block the
    /// interpreter's thread.
    #[must_use]
    pub fn io(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_IO, allowed)
    }

    /// Finalizers (`__gc`) in scripts' own metatables. They run in whichever call happens to collect the garbage, and
    /// may not wait; `__close` is the alternative.
    #[must_use]
    pub fn script_gc(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_SCRIPT_GC, allowed)
    }

    /// All options of `collectgarbage`, which act on all calls of the interpreter. Otherwise "count" and "isrunning"
    /// tell, and "collect" and "step" do one bounded step.
    #[must_use]
    pub fn unlimited_collectgarbage(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_COLLECTGARBAGE, allowed)
    }

    /// Precompiled chunks in `load`. A made-up one can crash the process.
    #[must_use]
    pub fn binary_chunks(self, allowed: bool) -> Self {
        self.set(bindings::SSLUA_BINARY_CHUNKS, allowed)
    }

    fn set(mut self, setting: u32, on: bool) -> Self {
        if on {
            self.settings |= setting;
        } else {
            self.settings &= !setting;
        }
        self
    }
}

impl Guest for Lua {
    type Interpreter = Universe;

    fn name(&self) -> &'static str {
        "Lua 5.4"
    }

    fn create(&self, setup: &Setup) -> Result<Universe, Error> {
        Universe::new(setup, self.settings)
    }
}
