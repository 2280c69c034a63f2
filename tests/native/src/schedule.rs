//! A fiber that does what a list says, and its signals (`csrc/schedule.c`).

use std::ffi::{c_int, c_void};
use std::ptr;

use sidestack::Native;
use sidestack::guest::native::sidestack_results;
use sidestack::guest::ss_value;

unsafe extern "C" {
    fn schedule_run(data: *mut c_void, args: *const ss_value, nargs: u32, results: *mut sidestack_results) -> c_int;
    fn schedule_send(number: c_int, count: c_int);
    fn schedule_storm(thread: c_int) -> c_int;
    fn schedule_counts(number: c_int, out: *mut c_int);
}

/// What a fiber does next; the ends are last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
#[allow(missing_docs, reason = "told in csrc/schedule.c")]
pub enum Operation {
    Ready,
    Gate,
    Nap,
    Turn,
    Raise,
    HostRaise,
    Object,
    Callback,
    OwnStack,
    Fail = 20,
    NullWrite,
    Recurse,
    Abort,
    Divide,
}

impl Operation {
    /// It ends the interpreter.
    pub fn faults(self) -> bool {
        matches!(self, Operation::NullWrite | Operation::Recurse | Operation::Abort | Operation::Divide)
    }
}

/// How many fibers there may be in one process.
pub const NUMBERS: usize = 1 << 16;

/// The guest, with `run`: (number, operations).
pub fn native() -> Native {
    // SAFETY: csrc/schedule.c keeps to sidestack.h, but for what it is there for.
    unsafe { Native::new().callable("run", schedule_run, ptr::null_mut()) }
}

/// For host code on an interpreter thread: signals for the fiber with this number, or for nobody.
pub fn send(number: Option<usize>, count: i32) {
    assert!(number.is_none_or(|number| number < NUMBERS), "a fiber's number");
    // SAFETY: the number is within the table; the fiber that called the host has installed the handler.
    unsafe { schedule_send(number.map_or(-1, |number| number as c_int), count) }
}

/// Sends a signal that is nobody's to a thread; whether it was there.
pub fn storm(thread: i32) -> bool {
    // SAFETY: it has no precondition; the handler is installed by the first fiber, before its thread's id is known.
    unsafe { schedule_storm(thread) == 0 }
}

/// Signals sent to a fiber, and those that arrived.
pub fn signals(number: usize) -> (i32, i32) {
    let [sent, arrived, ..] = counts(number);
    (sent, arrived)
}

/// Handlers that ran while host code did, and that ran for a fiber that was not current.
pub fn misdelivered() -> (i32, i32) {
    let [.., violations, strangers] = counts(0);
    (violations, strangers)
}

fn counts(number: usize) -> [c_int; 4] {
    assert!(number < NUMBERS, "a fiber's number");
    let mut out = [0; 4];
    // SAFETY: the number is within the table, and there is room for the four counts.
    unsafe { schedule_counts(number as c_int, out.as_mut_ptr()) };
    out
}
