//! Guest code that faults, in the ways of csrc/faults.c.

use std::ffi::c_int;

use sidestack::Native;
use sidestack::guest::ss_value;

unsafe extern "C" {
    fn faults_do(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn faults_told() -> c_int;
    fn faults_null_write();
}

/// What `faults_do` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Kind {
    /// Returns 42.
    Nothing,
    /// Recursion without an end.
    Recurse,
    /// Writes to address 0.
    NullWrite,
    /// Divides by zero.
    Divide,
    /// An illegal instruction.
    Ud2,
    /// `abort()`.
    Abort,
    /// Calls address 0.
    NullCall,
    /// Writes to address 0 on a stack that C made.
    OwnStack,
    /// `strlen(NULL)`.
    InLibc,
    /// Recursion whose frames call the C library.
    LibcOverflow,
    /// `raise(SIGFPE)`: nobody's fault.
    Raised,
    /// Tries to replace the handlers; faults if that was refused.
    ReplaceHandler,
    /// Faults in a handler of its own.
    InHandler,
    /// `abort()` with a handler of its own for SIGABRT, which returns.
    AbortHandled,
    /// `abort()` at the end of the stack.
    DeepAbort,
    /// Faults with signals of its own blocked and pending.
    WhileDeferred,
}

/// The guest with `faults_do` as `fault`.
pub fn native(native: Native) -> Native {
    // SAFETY: csrc/faults.c keeps to native.h, but for what it is there for.
    unsafe { native.function("fault", Some(faults_do)) }
}

/// How often the handler of [`Kind::AbortHandled`] ran.
pub fn told() -> i32 {
    // SAFETY: it reads a number.
    unsafe { faults_told() }
}

/// For host code: C writes to address 0.
pub fn null_write() {
    // SAFETY: it is not sound; the caller's process is to die of it.
    unsafe { faults_null_write() }
}
