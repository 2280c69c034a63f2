//! The PHP guest: PHP is started once in a process, and a request is a context of its own, many of them on one thread.
//!
//! PHP's API is used in C only (`csrc/php`): everything here fills in plain records and calls functions that neither allocate
//! from PHP's heap nor raise. `php/bindings.rs` is generated from `csrc/php/ssphp.h` (build.rs).

use std::path::{Path, PathBuf};

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
#[cfg_attr(feature = "bindgen", path = "php/generated.rs")]
mod bindings;
mod interpreter;
mod process;

pub use interpreter::PhpInterpreter;

/// PHP 8.4.
///
/// ```
/// let guest = sidestack::Php::new().ini("memory_limit", "64M");
/// ```
///
/// Each call is a request as PHP knows it: the script runs from its top, in a context that no other call sees, and what it
/// exports is called. Several engines in one process share one PHP, which is started with the first one's settings.
///
/// Unless php.ini or [`Php::ini`] say otherwise, `display_errors`, `html_errors` and `implicit_flush` are off, `log_errors` is on,
/// `max_execution_time` is 0 and `opcache.jit` is `disable` (it can be `function`; the tracing JIT is refused).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Php {
    file: Option<PathBuf>,
    ini: Vec<(String, String)>,
    command_line: bool,
}

impl Php {
    /// PHP with its own defaults; errors are logged and not shown.
    pub fn new() -> Self {
        Php::default()
    }

    /// Reads this `php.ini`. Without one, none is read.
    #[must_use]
    pub fn ini_file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some(path.as_ref().to_path_buf());
        self
    }

    /// As PHP's own command line: `PHP_SAPI` is `cli`, errors are shown, output leaves at once, and
    /// [`Engine::run_file`](crate::Engine::run_file) gives a program `$argv`, `STDIN`, `STDOUT` and `STDERR`. Not for web pages.
    #[must_use]
    pub fn command_line(mut self) -> Self {
        self.command_line = true;
        self
    }

    /// A setting, as php.ini has it. It wins over php.ini.
    #[must_use]
    pub fn ini(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.ini.push((name.into(), value.into()));
        self
    }
}

/// The number of the restart that opcache waits for, of all that there ever were; 0: for none.
pub(crate) fn opcache_restart() -> u32 {
    // SAFETY: two counts are read, whether PHP has been started or not.
    unsafe { bindings::ssphp_opcache_wants() }
}

impl Guest for Php {
    type Interpreter = PhpInterpreter;

    fn name(&self) -> &'static str {
        "PHP 8.4"
    }

    fn stack(&self) -> usize {
        // What PHP does without a check (freeing deep structures, `==`, print_r) takes as much as elsewhere: pages that
        // are not touched cost nothing.
        8 << 20
    }

    fn create(&self, setup: &Setup) -> Result<PhpInterpreter, Error> {
        process::start(self)?;
        PhpInterpreter::new(setup)
    }
}
