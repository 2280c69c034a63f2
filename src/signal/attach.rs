//! The guard that makes a thread an interpreter thread.

use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::abi;

/// The calling thread is an interpreter thread while this lives: in-host, with an alternate signal stack, a queue for
/// deferred signals and a tick timer. It stays on its thread.
pub(crate) struct Attached {
    thread: NonNull<abi::ss_thread>,
    stays_here: PhantomData<*mut ()>,
}

impl Attached {
    /// Attaches the calling thread. Fails where memory or timers run out, if the tick signal has a handler already
    /// (`EBUSY`), and on a thread that is attached (`EALREADY`).
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: any thread may call it; it changes nothing but this thread's own state.
        check(unsafe { abi::ss_signal_attach() })?;
        // SAFETY: any thread may call it; it only takes an address.
        let thread = NonNull::new(unsafe { abi::ss_current_thread() }).expect("a thread has its thread-locals");
        Ok(Self { thread, stays_here: PhantomData })
    }

    /// This thread's state, as C sees it; valid until the thread ends.
    pub(crate) fn thread(&self) -> NonNull<abi::ss_thread> {
        self.thread
    }

    /// To be called after `fiber_id` was set to a fiber's, before `place` says that it runs.
    #[inline]
    pub(crate) fn switch(&self) {
        let thread = self.thread.as_ptr();
        // SAFETY: `self` is bound to its thread, which is attached; the pointer is that thread's own. The order is that of
        // csrc/signals.h: a signal that comes between the two raises `pending` from 0.
        unsafe {
            (&raw mut (*thread).pending).write_volatile(0);
            if (&raw const (*thread).deferred).read_volatile() != 0 {
                abi::ss_signal_switch(thread);
            }
        }
    }

    /// Drops the signals that wait for a fiber that is over and no longer current; returns how many.
    pub(crate) fn fiber_end(&self, fiber_id: u64) -> u64 {
        let thread = self.thread.as_ptr();
        // SAFETY: as in `switch`.
        unsafe {
            if (&raw const (*thread).deferred).read_volatile() == 0 {
                return 0;
            }
            abi::ss_signal_fiber_end(thread, fiber_id)
        }
    }

    /// Ticks from now on, until no fiber was current for two ticks; before each resume that needs ticks. A slice lasts one
    /// to two periods. Costs next to nothing while armed with the same period, in nanoseconds; zero disarms.
    #[inline]
    pub(crate) fn arm(&self, nanoseconds: u64) -> io::Result<()> {
        let thread = self.thread.as_ptr();
        // SAFETY: `self` is bound to its thread, which is attached and so has a timer. What `ss_tick_arm` does first, in its
        // order: a tick in between cannot disarm after it was seen armed.
        unsafe {
            (&raw mut (*thread).idle).write_volatile(0);
            if (&raw const (*thread).armed).read_volatile() == nanoseconds {
                return Ok(());
            }
            check(abi::ss_tick_arm(nanoseconds))
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: `self` is bound to its thread; Rust code runs on the thread's stack, not on the alternate one.
        unsafe { abi::ss_signal_detach() }
    }
}

/// From guest code to host code: as its namesake in csrc/signals.h, for the few crossings that leave the fiber's stack by
/// themselves.
///
/// # Safety
///
/// `thread` is the calling thread's own state.
#[inline(always)]
pub(crate) unsafe fn enter_host(thread: *mut abi::ss_thread) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller's promise.
    unsafe { (&raw mut (*thread).in_host).write_volatile(1) };
    compiler_fence(Ordering::SeqCst);
}

/// From host code to guest code: deferred signals of the current fiber are delivered before it returns.
///
/// # Safety
///
/// As [`enter_host`], on a fiber's stack. No Rust frame on it owns anything: a guest's handler may leave by longjmp.
#[inline(always)]
pub(crate) unsafe fn leave_host(thread: *mut abi::ss_thread) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller's promise; the order is that of csrc/signals.h.
    unsafe {
        (&raw mut (*thread).in_host).write_volatile(0);
        compiler_fence(Ordering::SeqCst);
        if (&raw const (*thread).pending).read_volatile() != 0 {
            abi::ss_signal_drain(thread);
        }
    }
}

/// An errno, or 0.
pub(super) fn check(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attaches_once_and_detaches() {
        let attached = Attached::new().expect("attach");
        // SAFETY: this thread's own state, alive as long as the thread.
        let state = unsafe { attached.thread().as_ptr().read_volatile() };
        assert_eq!((state.attached, state.in_host, state.pending, state.deadline), (1, 1, 0, u64::MAX));
        assert_eq!(Attached::new().err().and_then(|e| e.raw_os_error()), Some(libc::EALREADY));
        attached.arm(1_000_000).expect("arm");
        attached.switch();
        assert_eq!(attached.fiber_end(7), 0);
        let thread = attached.thread();
        drop(attached);
        // SAFETY: as above.
        assert_eq!(unsafe { thread.as_ptr().read_volatile() }.attached, 0);
        Attached::new().expect("attach again");
    }
}
