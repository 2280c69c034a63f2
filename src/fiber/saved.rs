//! What a switch saves beyond the registers that the C ABI preserves in a call.
//!
//! The list is this struct. A fiber is pinned to its thread, so thread-locals other than `errno` are shared knowingly; a
//! guest's own state is saved by its [`crate::guest`] code.

use std::ffi::c_int;

use crate::sys::Float;

/// A fiber's state while it does not run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    errno: c_int,
    float: Float,
}

impl Saved {
    /// What a fiber starts with.
    pub const FRESH: Saved = Saved { errno: 0, float: Float::FRESH };
}

/// The interpreter thread's own, while fibers run on it.
///
/// Rust assumes the control bits that a thread starts with, so they need not be read before a switch. The sticky flags are
/// kept for each fiber against the others; those that host code raises may show in a fiber, as in any C call.
#[derive(Debug)]
pub struct Home {
    errno: *mut c_int,
    /// What the registers held when last looked at.
    float: Float,
    /// Where the thread's stack is free while a fiber runs, for [`ss_move_to`](crate::sys::ss_move_to).
    pub(super) host_stack: *mut usize,
}

impl Home {
    /// The calling thread's; it stays there. At each switch it writes to `host_stack`.
    ///
    /// # Safety
    ///
    /// `host_stack` can be written to whenever this is used.
    pub unsafe fn new(host_stack: *mut usize) -> Home {
        // SAFETY: it has no precondition; the address is valid as long as the thread lives.
        Home { errno: unsafe { libc::__errno_location() }, float: Float::read(), host_stack }
    }

    /// Makes a fiber's state the thread's. Returns what has to come back.
    ///
    /// # Safety
    ///
    /// What runs next, beside the switch, is C code that had this state.
    #[inline]
    pub(super) unsafe fn leave(&mut self, fiber: Saved) -> c_int {
        // SAFETY: the calling thread's errno; the caller's promise on what runs.
        unsafe {
            let errno = self.errno.replace(fiber.errno);
            fiber.float.load(self.float);
            errno
        }
    }

    /// Makes the thread's own state that of the registers, and returns the fiber's.
    #[inline]
    pub(super) fn come_back(&mut self, errno: c_int) -> Saved {
        let float = Float::read();
        self.float = float.fresh_control();
        // SAFETY: the calling thread's errno; Rust runs with this environment.
        unsafe {
            self.float.load(float);
            Saved { errno: self.errno.replace(errno), float }
        }
    }
}
