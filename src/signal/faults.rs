//! Faults of guest code that were contained: what is known of them, in words. The rules are in csrc/faults.c.

use std::io;

use super::Attached;
use super::attach::check;
use super::snapshot::{backtrace, script};
use crate::diagnosis::Backtrace;
use crate::sys::valgrind;
use crate::{Error, Limit, abi};

/// One contained fault.
#[derive(Debug, Clone)]
pub(crate) struct Crash {
    /// The signal; SIGABRT: `abort()`.
    pub(crate) signal: i32,
    /// The signal and the address.
    pub(crate) fault: String,
    /// The fiber that is lost.
    pub(crate) fiber: u64,
    /// The label of its call.
    pub(crate) label: Option<String>,
    /// C frames, then the script's.
    pub(crate) backtrace: Backtrace,
}

impl Crash {
    /// What the caller is told.
    pub(crate) fn error(&self) -> Error {
        let Crash { fault, fiber, backtrace, .. } = self.clone();
        Error::Crashed { fault, fiber, backtrace }
    }
}

impl Attached {
    /// Contains faults of guest code on this thread from now on. `Ok(false)`: not under AddressSanitizer or valgrind, which
    /// tell more of a fault.
    pub(crate) fn contain_faults(&self) -> io::Result<bool> {
        if valgrind::running() {
            return Ok(false);
        }
        // SAFETY: `self` is bound to its thread, which is attached.
        match check(unsafe { abi::ss_faults_contain() }) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The fault that ended the fiber that had the thread last, on a stack of so many bytes; for when `faulted` is found set.
    #[cold]
    pub(crate) fn crash(&self, stack: usize) -> Crash {
        // SAFETY: `self` is bound to its thread, which is attached; the handler that wrote it has returned, and none writes
        // again, since no guest code runs here any more.
        let fault = unsafe { &*abi::ss_fault_read() };
        Crash {
            signal: fault.signo,
            fault: describe(fault, stack),
            fiber: fault.at.fiber,
            label: None,
            backtrace: backtrace(&fault.at),
        }
    }
}

fn describe(fault: &abi::ss_fault, stack: usize) -> String {
    let name = match fault.signo {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => return format!("abort() was called{}", place(fault)),
        other => return format!("signal {other}"),
    };
    let at = if matches!(fault.signo, libc::SIGSEGV | libc::SIGBUS) { "at address" } else { "at instruction" };
    let (what, limit) = match fault.overflow {
        0 => ("", String::new()),
        _ => (" (stack overflow)", format!(": {}", Error::limit(Limit::Stack, stack as u64, "stack"))),
    };
    format!("{name}{what} {at} {:#x}{}{limit}", fault.address, place(fault))
}

/// Where the script was, if the guest could tell.
fn place(fault: &abi::ss_fault) -> String {
    let script = script(&fault.at);
    let line = script.lines().next().unwrap_or_default();
    let place = line.split_once(": ").map_or(line, |(place, _)| place);
    if place.is_empty() { String::new() } else { format!(", script at {place}") }
}
