//! The signal that the tick uses.

use std::io;

use super::attach::check;
use crate::abi;

/// Chooses the tick's signal, a real-time one; the default is `SIGRTMIN + 3`. Once a thread has attached it cannot change
/// (`EBUSY`). Guests cannot install a handler for it.
pub(crate) fn set_signal(signo: i32) -> io::Result<()> {
    // SAFETY: any thread may call it; it only sets a number, under a lock.
    check(unsafe { abi::ss_tick_set_signal(signo) })
}
