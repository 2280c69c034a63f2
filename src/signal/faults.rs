//! Faults of guest code that were contained: what is known of them, in words. The rules are in csrc/faults.c.

use std::fmt::Write as _;
use std::io;

use super::Attached;
use super::attach::check;
use crate::sys::valgrind;
use crate::{Error, abi};

/// One contained fault.
#[derive(Debug, Clone)]
pub(crate) struct Crash {
    /// The signal and the address.
    pub(crate) fault: String,
    /// The fiber that is lost.
    pub(crate) fiber: u64,
    /// C frames, innermost first, a line each.
    pub(crate) backtrace: String,
}

impl Crash {
    /// What the caller is told.
    pub(crate) fn error(&self) -> Error {
        let Crash { fault, fiber, backtrace } = self.clone();
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

    /// The fault that ended the fiber that had the thread last; for when `faulted` is found set.
    #[cold]
    pub(crate) fn crash(&self) -> Crash {
        // SAFETY: `self` is bound to its thread, which is attached; the handler that wrote it has returned, and none writes
        // again, since no guest code runs here any more.
        let fault = unsafe { &*abi::ss_fault_read() };
        Crash { fault: describe(fault), fiber: fault.fiber, backtrace: backtrace(fault) }
    }
}

fn describe(fault: &abi::ss_fault) -> String {
    let name = match fault.signo {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => return format!("abort() was called{}", place(fault)),
        other => return format!("signal {other}"),
    };
    let at = if matches!(fault.signo, libc::SIGSEGV | libc::SIGBUS) { "at address" } else { "at instruction" };
    let what = if fault.overflow != 0 { " (stack overflow)" } else { "" };
    format!("{name}{what} {at} {:#x}{}", fault.address, place(fault))
}

/// Where the script was, if the guest could tell.
fn place(fault: &abi::ss_fault) -> String {
    let bytes: Vec<u8> = fault.place.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    if bytes.is_empty() { String::new() } else { format!(", script at {}", String::from_utf8_lossy(&bytes)) }
}

/// Frames with their symbols, where the program has them.
fn backtrace(fault: &abi::ss_fault) -> String {
    let frames = fault.frames.get(..fault.depth as usize).unwrap_or(&fault.frames);
    let mut text = String::new();
    for (depth, &frame) in frames.iter().enumerate() {
        // A return address is after the call, perhaps in the next function.
        let address = frame - usize::from(depth > 0 && frame > 0);
        let mut found = false;
        backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
            found = true;
            let _ = write!(text, "{depth}: ");
            let _ = match symbol.name() {
                Some(name) => write!(text, "{name:#}"),
                None => write!(text, "{frame:#x}"),
            };
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                let _ = write!(text, " at {}:{line}", file.display());
            }
            text.push('\n');
        });
        if !found {
            let _ = writeln!(text, "{depth}: {frame:#x}");
        }
    }
    text
}
