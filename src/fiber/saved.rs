//! What a switch saves beyond the registers that the C ABI preserves in a call.
//!
//! The list is this struct. A fiber is pinned to its thread, so thread-locals other than `errno` are shared knowingly; a
//! guest's own state is saved by its [`crate::guest`] code.

use std::ffi::c_int;

use crate::sys::Float;

/// One side's state while the other side runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    errno: c_int,
    pub float: Float,
}

impl Saved {
    /// What a fiber starts with.
    pub const FRESH: Saved = Saved { errno: 0, float: Float::FRESH };

    /// The state now.
    #[inline]
    pub fn read(errno: Errno) -> Saved {
        // SAFETY: `Errno` points to the calling thread's errno.
        Saved { errno: unsafe { *errno.0 }, float: Float::read() }
    }

    /// Makes this the state, for code that may look at all of it. `now` is the state as it was just read.
    ///
    /// # Safety
    ///
    /// As for [`Float::load`]: what runs next is C, or had this state before.
    #[inline]
    pub unsafe fn load(self, errno: Errno, now: Saved) {
        // SAFETY: `Errno` points to the calling thread's errno.
        unsafe { *errno.0 = self.errno };
        // SAFETY: the caller's promise.
        unsafe { self.float.load(now.float) };
    }

    /// The same for Rust code, which does not look at the sticky floating-point flags.
    ///
    /// # Safety
    ///
    /// As for [`Saved::load`].
    #[inline]
    pub unsafe fn load_for_rust(self, errno: Errno, now: Saved) {
        // SAFETY: `Errno` points to the calling thread's errno.
        unsafe { *errno.0 = self.errno };
        // SAFETY: the caller's promise.
        unsafe { self.float.load_control(now.float) };
    }
}

/// Where the calling thread has its errno. Not Send: it is of use on that thread only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errno(*mut c_int);

impl Errno {
    #[inline]
    pub fn here() -> Errno {
        // SAFETY: it has no precondition; the address is valid as long as the thread lives.
        Errno(unsafe { libc::__errno_location() })
    }
}
