//! From a file and the command line to an engine.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytesize::ByteSize;
use sidestack::guest::Guest;
use sidestack::{Builder, Engine, Lua};

use crate::cli::{Limits, Serve};
use crate::units::Deadline;

/// Something that scripts may use beyond the safe libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Files and processes.
    Io,
    /// Ending the process.
    Exit,
    /// The process's locale.
    Locale,
    /// The debug library.
    Debug,
    /// Finalizers.
    Gc,
    /// All options of the collector.
    CollectGarbage,
    /// Precompiled chunks.
    Bytecode,
}

const ALLOWED: [(&str, Allowed); 7] = [
    ("io", Allowed::Io),
    ("exit", Allowed::Exit),
    ("locale", Allowed::Locale),
    ("debug", Allowed::Debug),
    ("gc", Allowed::Gc),
    ("collectgarbage", Allowed::CollectGarbage),
    ("bytecode", Allowed::Bytecode),
];

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match ALLOWED.iter().find(|(name, _)| *name == text) {
            Some((_, allowed)) => Ok(*allowed),
            None => Err(format!("unknown permission `{text}`; there are {}", ALLOWED.map(|(name, _)| name).join(", "))),
        }
    }
}

/// Whether PHP is asked for: a PHP file, or the folder of a site.
#[cfg(feature = "php")]
pub fn is_php(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|ending| ending == "php")
}

/// The absolute path of a program to run.
pub fn program_path(path: &Path) -> anyhow::Result<PathBuf> {
    #[cfg(feature = "php")]
    if is_php(path) && path.is_file() {
        return std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()));
    }
    script_path(path)
}

/// The interpreter of a program.
pub fn program_engine(path: &Path, deadline: Option<Duration>, limits: &Limits) -> anyhow::Result<Engine> {
    let capacity = Capacity { threads: Some(1), ..Default::default() };
    #[cfg(feature = "php")]
    if is_php(path) {
        let php = crate::php::settings(&limits.ini)?.command_line();
        return build(Engine::builder(php), crate::php::MEMORY, &capacity, deadline, limits);
    }
    let _ = path;
    engine(&capacity, deadline, limits)
}

/// The absolute path of a script that is there and that some guest understands; a script's modules are found beside it.
pub fn script_path(path: &Path) -> anyhow::Result<PathBuf> {
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let php = "this `sidestack` was built without PHP: README.md tells how to build one with it (feature `php`)";
    if metadata.is_dir() && cfg!(feature = "php") {
        bail!("{0} is a folder, not a script: `sidestack serve {0}` answers requests with it", path.display());
    }
    if metadata.is_dir() {
        bail!("{} is a folder, not a script; folders are sites of PHP, and {php}", path.display());
    }
    match path.extension().and_then(|ending| ending.to_str()) {
        None | Some("lua") => {}
        Some("php") => bail!("{} is a PHP file, and {php}", path.display()),
        Some(other) => {
            let php = if cfg!(feature = "php") { " and PHP (`.php`)" } else { "" };
            bail!("no guest runs `.{other}` files; there is Lua (`.lua`){php}")
        }
    }
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

/// How much a server's engine takes on; none: the engine's own defaults.
#[derive(Debug, Default)]
pub struct Capacity {
    /// Interpreters.
    pub threads: Option<usize>,
    /// Calls that may wait for one.
    pub queue: Option<usize>,
    /// How long they may.
    pub queue_timeout: Option<Duration>,
    /// Calls after which an interpreter is replaced.
    pub max_calls: Option<u64>,
}

impl Capacity {
    /// What a server is asked for.
    pub fn of(options: &Serve) -> Capacity {
        Capacity {
            threads: options.threads,
            queue: Some(options.queue),
            queue_timeout: options.queue_timeout.0,
            max_calls: options.max_requests,
        }
    }
}

/// Starts the interpreters of Lua.
pub fn engine(capacity: &Capacity, deadline: Option<Duration>, limits: &Limits) -> anyhow::Result<Engine> {
    build(Engine::builder(lua(&limits.allow)), LUA_MEMORY, capacity, deadline, limits)
}

/// What the interpreters of a script may hold where nobody says.
pub const LUA_MEMORY: ByteSize = ByteSize::mib(64);

/// Starts interpreters.
pub fn build<G: Guest>(
    builder: Builder<G>,
    memory: ByteSize,
    capacity: &Capacity,
    deadline: Option<Duration>,
    limits: &Limits,
) -> anyhow::Result<Engine> {
    let mut builder = builder.memory(bytes(limits.memory.unwrap_or(memory))?).fibers(limits.fibers).tick(limits.tick);
    if let Some(stack) = limits.stack {
        builder = builder.stack(bytes(stack)?);
    }
    if let Deadline(Some(limit)) = limits.cpu {
        builder = builder.cpu(limit);
    }
    if let Some(threads) = capacity.threads {
        builder = builder.threads(threads);
    }
    if let Some(queue) = capacity.queue {
        builder = builder.queue(queue);
    }
    if let Some(after) = capacity.queue_timeout {
        builder = builder.queue_timeout(after);
    }
    if let Some(calls) = capacity.max_calls {
        builder = builder.max_calls(calls);
    }
    if let Some(deadline) = deadline {
        builder = builder.deadline(deadline);
    }
    Ok(builder.build()?)
}

fn lua(allow: &[Allowed]) -> Lua {
    allow.iter().fold(Lua::new(), |lua, allowed| match allowed {
        Allowed::Io => lua.io(true),
        Allowed::Exit => lua.os_exit(true),
        Allowed::Locale => lua.os_setlocale(true),
        Allowed::Debug => lua.debug(true),
        Allowed::Gc => lua.script_gc(true),
        Allowed::CollectGarbage => lua.unlimited_collectgarbage(true),
        Allowed::Bytecode => lua.binary_chunks(true),
    })
}

/// A size that fits this machine.
pub fn bytes(size: ByteSize) -> anyhow::Result<usize> {
    usize::try_from(size.as_u64()).with_context(|| format!("{size} is more than this machine can address"))
}
