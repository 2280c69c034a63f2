//! The border between guest and host code, for the Rust half of a crossing.
//!
//! Signals run on the thread that they interrupt, so that volatile accesses between compiler fences are enough.

use std::io;
use std::ptr::{addr_of, addr_of_mut};
use std::sync::atomic::{Ordering, compiler_fence};

use super::attach::check;
use crate::abi;

/// From guest code to host code: guests' signals are deferred from here on. C: `ss_enter_host`.
///
/// # Safety
/// `thread` is the state of the calling thread, an interpreter thread.
#[inline(always)]
pub(crate) unsafe fn enter_host(thread: *mut abi::ss_thread) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller says that it is this thread's state; only this thread and its handlers touch the field.
    unsafe { addr_of_mut!((*thread).in_host).write_volatile(1) };
    compiler_fence(Ordering::SeqCst);
}

/// From host code to guest code: deferred signals of the current fiber are delivered before it returns. C:
/// `ss_leave_host`.
///
/// # Safety
/// As for [`enter_host`]. A fiber is current, and no frame on this stack owns anything to drop: a guest's handler may
/// leave by `longjmp`.
#[inline(always)]
pub(crate) unsafe fn leave_host(thread: *mut abi::ss_thread) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as in `enter_host`.
    unsafe { addr_of_mut!((*thread).in_host).write_volatile(0) };
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as in `enter_host`.
    if unsafe { addr_of!((*thread).pending).read_volatile() } != 0 {
        // SAFETY: the caller's promise is the one that it needs.
        unsafe { abi::ss_signal_drain(thread) }
    }
}

/// Treats the handler of `signo` that is installed now as one that a guest of this interpreter thread installed: for
/// guests that register before any fiber runs, and for builds in which `sigaction` is not interposed.
pub(crate) fn adopt(signo: i32) -> io::Result<()> {
    // SAFETY: any thread may call it; it refuses a thread that is not attached.
    check(unsafe { abi::ss_signal_adopt(signo) })
}
