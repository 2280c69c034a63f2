//! The one public error, and the way a host function raises an error that scripts can match on.

use std::backtrace::BacktraceStatus;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnosis::{Backtrace, FiberInfo, HostPanic, Parts};

/// What a host function returns: any error becomes an error in the script.
pub type HostResult<T> = anyhow::Result<T>;

/// Why a call into a guest, or the building of an engine, failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The script raised an error and nobody in it caught it.
    Script {
        /// The message, without the traceback.
        message: String,
        /// The code that a host function, or the script, gave the error; see [`Raise`].
        code: Option<String>,
        /// The guest's own traceback, with chunk names and lines; empty where the guest has none.
        traceback: String,
        /// The host function's original error where that is what went through the script uncaught.
        source: Option<anyhow::Error>,
    },
    /// A limit ended the call.
    Limit {
        /// Which one.
        which: Limit,
        /// Its value: milliseconds for times, bytes for sizes, a count otherwise.
        value: u64,
        /// The setting that changes it.
        setting: &'static str,
        /// The guest's own traceback, where there is one.
        traceback: String,
    },
    /// The interpreters' queue is full: nothing was started.
    QueueFull {
        /// How many calls may wait.
        capacity: usize,
        /// A guess of when to try again.
        retry_after: Duration,
    },
    /// The call was cancelled, or the engine is shutting down.
    Cancelled,
    /// Guest code faulted in this call: a null pointer, a stack overflow, an illegal instruction, `abort()`. The
    /// interpreter was lost with it and is replaced; the call may have had effects.
    Crashed {
        /// The signal and the address, or what else it was.
        fault: String,
        /// The fiber it happened in.
        fiber: u64,
        /// The C frames, then the script's; empty if it was none of guest code.
        backtrace: Backtrace,
    },
    /// The interpreter that ran the call, or that a bound value belongs to, is gone.
    InterpreterLost {
        /// Whether the call had begun: if so it may have had effects.
        started: bool,
    },
    /// Nothing is left that could wake the call: every fiber of its interpreter waits for another one. See
    /// [`Call::detect_deadlock`](crate::Call::detect_deadlock).
    Deadlock {
        /// Those that wait, oldest first, with what they wait for and where in their scripts.
        fibers: Arc<[FiberInfo]>,
    },
    /// A value could not be turned into what the other side wants.
    Convert {
        /// Which function's which argument or result, and which field of it.
        place: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A use of the API that cannot work, told by a name that a program can match on.
    Refused {
        /// One of the constants in [`refused`].
        name: &'static str,
        /// The explanation.
        message: String,
    },
    /// A stack, a thread or a file could not be had from the system.
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The names of [`Error::Refused`], which are also the `code` that a script sees.
pub mod refused {
    /// A wait where the guest cannot be suspended: in a finalizer.
    pub const IN_FINALIZER: &str = "cannot_suspend_in_finalizer";
    /// A wait or a guest call in a host call made by C that host code called.
    pub const ON_THREAD: &str = "cannot_suspend_on_thread";
    /// A guest call by a plain host function: only async ones can wait for its end.
    pub const FROM_PLAIN: &str = "cannot_call_guest_here";
    /// Blocking on an engine from one of its own interpreter threads.
    pub const OWN_INTERPRETER: &str = "would_block_own_interpreter";
    /// Values bound to two interpreters in one call.
    pub const TWO_OWNERS: &str = "two_owners";
    /// A value, or a handle, that belongs to another interpreter.
    pub const WRONG_OWNER: &str = "wrong_owner";
    /// No script, export or function of this name.
    pub const NOT_FOUND: &str = "not_found";
    /// The engine has been shut down.
    pub const SHUT_DOWN: &str = "shut_down";
    /// A call to the host by C that an exported function called which is marked `no_callback`.
    pub const CALLED_BACK: &str = "called_back";
    /// C called an exported function with NULL for what may not be NULL.
    pub const NULL_ARGUMENT: &str = "null_argument";
    /// C called an exported function with an array that is not aligned.
    pub const MISALIGNED: &str = "misaligned_argument";
    /// C called an exported function with a text that is not UTF-8.
    pub const NOT_UTF8: &str = "not_utf8";
    /// C passed the handle of an object that has been released.
    pub const STALE: &str = "stale";
    /// C passed a handle that was never given out.
    pub const FORGED: &str = "forged";
    /// C passed the handle of an object of another type.
    pub const WRONG_KIND: &str = "wrong_kind";
    /// A call of an exported function from a thread that is no interpreter thread, which the function does not allow.
    pub const FOREIGN_THREAD: &str = "foreign_thread";
    /// The same, where it is allowed, but there is no engine to run the call.
    pub const NO_OWNER: &str = "no_owner";
    /// A setting that makes no sense.
    pub const BAD_SETTING: &str = "bad_setting";
}

/// The limits of [`Error::Limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Wall time from the start of the call, waiting included. Milliseconds.
    Deadline,
    /// Memory charged to the fiber, or the interpreter's cap. Bytes.
    Memory,
    /// The fiber's C stack. Bytes.
    Stack,
    /// Fibers alive in one interpreter. A count.
    Fibers,
    /// Time in the queue, before the call got a fiber. Milliseconds.
    Queue,
    /// Processor time of the call's fiber, in total. Milliseconds.
    Cpu,
    /// The size of a server's response. Bytes.
    Response,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Deadline => "deadline",
            Limit::Memory => "memory",
            Limit::Stack => "stack",
            Limit::Fibers => "fibers",
            Limit::Queue => "queue time",
            Limit::Cpu => "cpu",
            Limit::Response => "response",
        })
    }
}

impl Limit {
    fn unit(self) -> &'static str {
        match self {
            Limit::Deadline | Limit::Queue | Limit::Cpu => " ms",
            Limit::Memory | Limit::Stack | Limit::Response => " bytes",
            Limit::Fibers => "",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Script { message, .. } => f.write_str(message),
            Error::Limit { which, value, setting, .. } => {
                write!(f, "{which} limit of {value}{} reached (setting: {setting})", which.unit())
            }
            Error::QueueFull { capacity, .. } => write!(f, "queue full: {capacity} calls are waiting (setting: queue)"),
            Error::Cancelled => f.write_str("cancelled"),
            Error::Crashed { fault, fiber, .. } => write!(f, "the guest crashed in fiber {fiber}: {fault}"),
            Error::InterpreterLost { started: true } => f.write_str("the interpreter was lost while it ran this call"),
            Error::InterpreterLost { started: false } => f.write_str("the interpreter was lost"),
            Error::Deadlock { fibers } => deadlock(f, fibers),
            Error::Convert { place, message } => write!(f, "{place}: {message}"),
            Error::Refused { message, .. } => f.write_str(message),
            Error::System { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

/// The first few of those that wait; a report of all is for who asks.
fn deadlock(f: &mut fmt::Formatter<'_>, fibers: &[FiberInfo]) -> fmt::Result {
    const SHOWN: usize = 4;
    let count = fibers.len();
    write!(
        f,
        "deadlock: {count} fiber{} wait{}",
        if count == 1 { "" } else { "s" },
        if count == 1 { "s" } else { "" }
    )?;
    f.write_str(" and nothing is left that could wake one")?;
    for (at, fiber) in fibers.iter().take(SHOWN).enumerate() {
        write!(f, "{} {}", if at == 0 { ":" } else { ";" }, fiber.parked())?;
    }
    if count > SHOWN { write!(f, "; and {} more", count - SHOWN) } else { Ok(()) }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Script { source: Some(source), .. } => Some(source.as_ref()),
            Error::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Error {
    /// A limit was reached: `value` of it in the unit of [`Limit`], and the setting that changes it.
    pub fn limit(which: Limit, value: u64, setting: &'static str) -> Error {
        Error::Limit { which, value, setting, traceback: String::new() }
    }

    /// A limit in time has passed.
    pub(crate) fn time_is_over(which: Limit, limit: std::time::Duration, setting: &'static str) -> Error {
        Error::limit(which, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), setting)
    }

    /// Whether the same call may be tried again without the risk of doing something twice.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::QueueFull { .. }
                | Error::Limit { which: Limit::Queue, .. }
                | Error::InterpreterLost { started: false }
        )
    }

    /// The host function's original error, if it is an `E` and went through the script uncaught.
    pub fn host<E: std::error::Error + Send + Sync + 'static>(&self) -> Option<&E> {
        match self {
            // Through nested calls, each guest call adds an error of its own.
            Error::Script { source: Some(source), .. } => {
                source.downcast_ref().or_else(|| source.downcast_ref::<Error>().and_then(Error::host))
            }
            _ => None,
        }
    }

    /// How it came to this, in one list, innermost first: frames of Rust (of a host function that panicked, or of a host error
    /// that was made with a backtrace, see `anyhow`), then of C (of a crash or a panic), then of the script. Empty where nothing
    /// is known.
    pub fn backtrace(&self) -> Backtrace {
        match self {
            Error::Crashed { backtrace, .. } => backtrace.clone(),
            Error::Limit { traceback, .. } => Backtrace::new(Parts { script: traceback.clone(), ..Parts::default() }),
            Error::Script { traceback, source, .. } => {
                let mut parts = Parts { script: traceback.clone(), ..Parts::default() };
                if let Some(source) = source {
                    within(source, &mut parts);
                }
                Backtrace::new(parts)
            }
            _ => Backtrace::default(),
        }
    }

    /// The code a script or a program can match on, where the error has one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Script { code, .. } => code.as_deref(),
            Error::Limit { which: Limit::Deadline, .. } => Some("deadline"),
            Error::Limit { which: Limit::Memory, .. } => Some("memory"),
            Error::Limit { which: Limit::Stack, .. } => Some("stack"),
            Error::Limit { which: Limit::Queue, .. } => Some("queue_timeout"),
            Error::Limit { which: Limit::Cpu, .. } => Some("cpu"),
            Error::Limit { .. } => Some("limit"),
            Error::QueueFull { .. } => Some("queue_full"),
            Error::Cancelled => Some("cancelled"),
            Error::Crashed { .. } => Some("crashed"),
            Error::InterpreterLost { .. } => Some("interpreter_lost"),
            Error::Deadlock { .. } => Some("deadlock"),
            Error::Convert { .. } => Some("convert"),
            Error::Refused { name, .. } => Some(name),
            Error::System { .. } => Some("system"),
        }
    }
}

/// What a host error knows of how it came about.
fn within(source: &anyhow::Error, parts: &mut Parts) {
    if let Some(panic) = source.downcast_ref::<HostPanic>() {
        parts.inner = panic.backtrace.clone();
    } else if let Some(error) = source.downcast_ref::<Error>() {
        parts.inner = error.backtrace();
        // An error of a nested call keeps its traceback on its way out.
        if matches!(error, Error::Script { traceback, .. } if *traceback == parts.script) {
            parts.script.clear();
        }
    } else if source.backtrace().status() == BacktraceStatus::Captured {
        parts.captured = source.backtrace().to_string();
    }
}

/// An error with a code, for a host function to return: `Err(Raise::new("not_found", "no user 7").into())`.
///
/// The script sees `code` and `message` on the error value that it catches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    code: String,
    message: String,
}

impl Raise {
    /// An error with this code and message.
    pub fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Raise { code: code.into(), message: message.to_string() }
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl fmt::Display for Raise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Raise {}
