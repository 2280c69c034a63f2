//! The command line. Flags win over the environment.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use crate::guest::Allowed;
use crate::units::{Deadline, duration, size};

/// Runs scripts as fibers: each blocks as it likes, none keeps the others waiting.
#[derive(Debug, Parser)]
#[command(name = "sidestack", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer HTTP requests with a script
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// Run one script, with the functions that a server's scripts have
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Show what every fiber of a server is at
    #[command(after_help = FIBERS_HELP)]
    Fibers(Fibers),
}

/// Text that is true with PHP only.
#[cfg(feature = "php")]
macro_rules! php_help {
    ($text:literal) => {
        $text
    };
}

#[cfg(not(feature = "php"))]
macro_rules! php_help {
    ($text:literal) => {
        ""
    };
}

const SERVE_HELP: &str = concat!(
    "\
Lua: the script returns a function. It gets a request (method, path, query, query_string, target, headers, body, remote) and \
returns a string, or a table with status, headers and body; a body that is a table is sent as JSON.

",
    php_help!(
        "\
PHP: a path that names a PHP file of the folder runs it, another file is sent as it is, and the rest goes to index.php. With \
--workers, index.php boots once in each worker and answers with frankenphp_handle_request(). What PHP logs is in the server's log.

"
    ),
    "\
Answers without the script: 413 body too large, 408 body too slow, 500 error in the script or its answer too large, 504 deadline \
or processor time, 503 out of memory, the queue is full, or no interpreter was free within --queue-timeout, with Retry-After.

With --admin, that address answers GET /metrics (OpenMetrics, for Prometheus), /fibers (JSON, what `sidestack fibers` shows; \
?stacks adds stacks) and /healthz (200, or 503 while the server ends); POST /fibers/ID/cancel ends a fiber. It has no password: \
keep it to this machine or a private network.

SIGTERM and SIGINT let the requests that run end, for as long as --drain says; a second signal does not wait. SIGQUIT prints \
what every fiber is at, also while a script hangs.

Examples:
  sidestack serve app.lua
  sidestack serve app.lua --listen 0.0.0.0:80 --threads 4 --deadline 10s --memory 256MiB
",
    php_help!(
        "  \
  sidestack serve public/
  sidestack serve public/ --workers 8 --watch
  sidestack serve public/ --php-ini php.ini -d memory_limit=256M
"
    ),
    "  \
  sidestack serve app.lua --listen 127.0.0.1:0 --dev
  sidestack serve app.lua --admin 127.0.0.1:8081 --queue 1000 --queue-timeout 2s --max-requests 100000
  SIDESTACK_LISTEN=:3000 sidestack serve app.lua --quiet"
);

const FIBERS_HELP: &str = "\
STATE is queued (no fiber yet), ready, running, waiting (in the host function under WAITS FOR), cancelling (it cleans up), or
unknown: its interpreter does not answer, because the fiber that is running there does not give it back. For that one
WAITS FOR says which host function it is in, if any, and for how long it has held the interpreter.

A server on this machine is found by its socket, in $XDG_RUNTIME_DIR/sidestack (root: /run/sidestack, else
/tmp/sidestack-UID). Another one has to be started with --admin. SIGQUIT makes a server print the same, with stacks.

Examples:
  sidestack fibers
  sidestack fibers --stacks
  sidestack fibers --kill 312
  sidestack fibers --admin 127.0.0.1:9000 --watch
  sidestack fibers --json";

const RUN_HELP: &str = "\
The exit status is the script's own: the integer that it returns, 0 for true or nothing, 1 for false.
An error is 1, also that nothing is left which could wake the script or its tasks; the deadline 124, SIGINT 130, SIGTERM 143 where the script had to be stopped.

When the script has returned, the tasks that it started are waited for. SIGTERM gives all of it the time of --drain.

Examples:
  sidestack run job.lua
  sidestack run job.lua first second
  sidestack run --deadline 1m --allow io job.lua --an-option-of-the-script";

/// `sidestack serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The script: it returns a function that answers a request. PHP: a file, or the folder of a site
    #[arg(value_name = "APP")]
    pub app: PathBuf,

    /// Where to listen: ADDRESS:PORT, :PORT or PORT; port 0 takes a free one
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "SIDESTACK_LISTEN")]
    pub listen: String,

    /// Interpreters, each on a thread of its own [default: the processors of the machine]
    #[arg(short, long, value_name = "N", env = "SIDESTACK_THREADS")]
    pub threads: Option<usize>,

    /// Wall time of a request, waiting included; `none` for no limit
    #[arg(long, value_name = "TIME", default_value = "30s", env = "SIDESTACK_DEADLINE")]
    pub deadline: Deadline,

    /// Limits and permissions.
    #[command(flatten)]
    pub limits: Limits,

    /// Requests that may wait for an interpreter; the next is answered with 503
    #[arg(long, value_name = "N", default_value_t = 65_536, env = "SIDESTACK_QUEUE")]
    pub queue: usize,

    /// How long a request may wait for an interpreter, before 503; `none` for as long as its deadline lets it
    #[arg(long, value_name = "TIME", default_value = "4s", env = "SIDESTACK_QUEUE_TIMEOUT")]
    pub queue_timeout: Deadline,

    /// Requests after which an interpreter is replaced by a new one; none is lost [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), env = "SIDESTACK_MAX_REQUESTS")]
    pub max_requests: Option<u64>,

    /// Where to answer questions about the server itself: see below [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "SIDESTACK_ADMIN")]
    pub admin: Option<String>,

    /// Load changed files: look at APP's folder (PHP: and the worker's), and reload without losing a request
    #[arg(long, env = "SIDESTACK_WATCH")]
    pub watch: bool,

    /// Look at this folder too (implies --watch)
    #[arg(long, value_name = "FOLDER")]
    pub watch_path: Vec<PathBuf>,

    /// What is PHP's.
    #[cfg(feature = "php")]
    #[command(flatten)]
    pub workers: Workers,

    /// The largest request body
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = size, env = "SIDESTACK_MAX_BODY")]
    pub max_body: ByteSize,

    /// The largest response body; the script's answer is an error beyond it, 500 for the client
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, env = "SIDESTACK_MAX_RESPONSE")]
    pub max_response: ByteSize,

    /// How long a client may keep its connection waiting: for a request's head, to take some of an answer, or while it sends what is not wanted
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, env = "SIDESTACK_CLIENT_TIMEOUT")]
    pub client_timeout: Duration,

    /// How long requests may take to end after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, env = "SIDESTACK_DRAIN")]
    pub drain: Duration,

    /// Show error messages and tracebacks to clients
    #[arg(long, env = "SIDESTACK_DEV")]
    pub dev: bool,

    /// No line per request
    #[arg(short, long, env = "SIDESTACK_QUIET")]
    pub quiet: bool,
}

/// Worker scripts.
#[cfg(feature = "php")]
#[derive(Debug, Args)]
pub struct Workers {
    /// PHP: the worker script, which boots once and answers in a loop; it stands in the front controller's place
    #[arg(long, value_name = "FILE", env = "SIDESTACK_WORKER")]
    pub worker: Option<PathBuf>,

    /// PHP: workers, each a fiber; without --worker, APP (or its index.php) is the worker script [default: 4 per interpreter]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), env = "SIDESTACK_WORKERS")]
    pub workers: Option<u16>,
}

/// Settings of PHP.
#[cfg(feature = "php")]
#[derive(Debug, Args)]
pub struct Ini {
    /// PHP: the php.ini to read [default: none]
    #[arg(long, value_name = "FILE", env = "SIDESTACK_PHP_INI")]
    pub php_ini: Option<PathBuf>,

    /// PHP: one setting; it wins over php.ini
    #[arg(short, value_name = "NAME=VALUE")]
    pub define: Vec<String>,
}

/// `sidestack run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The script, and what it gets as its arguments (`...`); options of `sidestack` come before the script
    #[arg(value_names = ["FILE", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub file_and_args: Vec<OsString>,

    /// Wall time of the script and the tasks that it starts; `none` for no limit
    #[arg(long, value_name = "TIME", default_value = "none", env = "SIDESTACK_DEADLINE")]
    pub deadline: Deadline,

    /// Limits and permissions.
    #[command(flatten)]
    pub limits: Limits,

    /// How long the script may take to end after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, env = "SIDESTACK_DRAIN")]
    pub drain: Duration,
}

/// `sidestack fibers`.
#[derive(Debug, Args)]
pub struct Fibers {
    /// The server's --admin address [default: the socket of the one server that this user runs here]
    #[arg(long, value_name = "ADDRESS", env = "SIDESTACK_ADMIN")]
    pub admin: Option<String>,

    /// Of several servers, the one that is this process
    #[arg(long, value_name = "PID", conflicts_with = "admin")]
    pub pid: Option<u32>,

    /// Each fiber's stack too, of C and of its script, also of one that hangs
    #[arg(long)]
    pub stacks: bool,

    /// End this fiber: it cleans up, and is killed if that takes long
    #[arg(long, value_name = "ID", conflicts_with_all = ["json", "watch", "stacks"])]
    pub kill: Option<u64>,

    /// As JSON
    #[arg(long)]
    pub json: bool,

    /// Again every second
    #[arg(long)]
    pub watch: bool,
}

/// What both commands give to their engine.
#[derive(Debug, Args)]
pub struct Limits {
    /// Memory that one interpreter's scripts may hold together [default: 64MiB; PHP: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, env = "SIDESTACK_MEMORY")]
    pub memory: Option<ByteSize>,

    /// The C stack of a fiber; used as touched [default: 256KiB; PHP: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, env = "SIDESTACK_STACK")]
    pub stack: Option<ByteSize>,

    /// Fibers alive at once in one interpreter
    #[arg(long, value_name = "N", default_value_t = 10_000, env = "SIDESTACK_FIBERS")]
    pub fibers: usize,

    /// Processor time of a request or script in total, its waits not counted; `none` for no limit
    #[arg(long, value_name = "TIME", default_value = "none", env = "SIDESTACK_CPU")]
    pub cpu: Deadline,

    /// How often a running script is looked at; it runs for one to two of these while others wait
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = duration, env = "SIDESTACK_TICK")]
    pub tick: Duration,

    /// What scripts may use beyond the safe libraries: any of io, exit, locale, debug, gc, collectgarbage, bytecode
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "SIDESTACK_ALLOW")]
    pub allow: Vec<Allowed>,

    /// What is PHP's.
    #[cfg(feature = "php")]
    #[command(flatten)]
    pub ini: Ini,

    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "SIDESTACK_LOG")]
    pub log: tracing::Level,
}

/// The address with the next port, for messages.
pub fn next_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_file_is_the_scripts_own() {
        let cli = Cli::try_parse_from(["sidestack", "run", "job.lua", "--deadline", "x", "-v"]).expect("parses");
        let Command::Run(run) = cli.command else { panic!("run was asked for") };
        assert_eq!(run.file_and_args, ["job.lua", "--deadline", "x", "-v"]);
        assert_eq!(run.deadline, Deadline(None));
    }

    #[test]
    fn an_unknown_permission_is_named() {
        let error = Cli::try_parse_from(["sidestack", "run", "--allow", "io,network", "job.lua"]).expect_err("unknown");
        assert!(error.to_string().contains("network"), "{error}");
    }
}
