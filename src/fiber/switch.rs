//! The switch: coroutines as far as a C stack allows.
//!
//! Two rules make them fit for C. They are never unwound, since C frames do not unwind: one that is suspended is resumed,
//! abandoned or leaked. And a panic never leaves a stack: `entry` is C. No value crosses in a switch; both sides know the [`Link`].
//! Host code leaves the fiber's stack by [`ss_move_to`](crate::sys::ss_move_to), for the place on the thread's stack that `resume` has set.
//!
//! While a coroutine runs, [`Coroutine::resume`] holds it mutably; the code on its stack reaches its [`Link`] only.

use std::cell::Cell;
use std::ffi::c_void;

use super::sanitizer::Sanitizer;
use super::saved::{Home, Saved};
use super::stack::FiberStack;
use crate::sys::{self, prefetch, stack_pointer};

/// More than `resume`'s callees, the switch among them, have on the thread's stack while a coroutine runs.
const SWITCH_FRAMES: usize = 2048;

/// Cache lines of a stack that are prefetched: the frames of the crossing, of a shim, and the guest's innermost ones.
const GOES_ON_WITH: usize = 10;

/// What the code on a coroutine's stack needs for leaving it. The owner keeps it at one address; it can be used for one
/// coroutine after the other.
#[derive(Debug)]
pub struct Link {
    /// Where the coroutine's stack was left; 0: there is none, or it has ended. While it runs, what was there before.
    left_at: Cell<usize>,
    /// Where the thread's stack was left, while the coroutine runs.
    host: Cell<usize>,
    sanitizer: Sanitizer,
}

impl Link {
    /// A link of no coroutine yet.
    pub const fn new() -> Link {
        Link { left_at: Cell::new(0), host: Cell::new(0), sanitizer: Sanitizer::new() }
    }

    /// Asks for the part of the stack that the coroutine, which is suspended, goes on with.
    #[inline]
    pub fn prefetch(&self) {
        prefetch::<GOES_ON_WITH>(self.left_at.get());
    }
}

/// Why [`Coroutine::resume`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Resumed {
    /// It gave up the thread and can be resumed.
    Suspended,
    /// Its entry has returned: take the stack back with [`Coroutine::into_stack`].
    Done,
}

/// C code on a stack of its own. Dropping one loses its stack and does nothing else.
#[must_use = "dropping it loses its stack"]
pub struct Coroutine {
    stack: FiberStack,
    link: *const Link,
    saved: Saved,
}

impl Coroutine {
    /// Prepares `entry(data)` to run on `stack` at the first resume. Allocates nothing.
    ///
    /// # Safety
    ///
    /// - The stack's pool, and `link` at its address, outlive the last use of this coroutine, and until then no other
    ///   coroutine uses the link.
    /// - `entry(data)` is sound to call then. It returns normally, or never: nothing unwinds or jumps out of it.
    #[inline]
    pub unsafe fn new(
        stack: FiberStack,
        link: *const Link,
        entry: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) -> Coroutine {
        // SAFETY: the caller keeps the link, and shares it only. The stack is the token's, whose base is aligned (`Layout`).
        unsafe {
            let Link { left_at, host, sanitizer } = &*link;
            let (entry, data) = sanitizer.entry(entry, data);
            left_at.set(sys::prepare(stack.base(), host.as_ptr(), entry, data));
        }
        Coroutine { stack, link, saved: Saved::FRESH }
    }

    fn link(&self) -> &Link {
        // SAFETY: the caller of `new` keeps it.
        unsafe { &*self.link }
    }

    /// Runs it until it suspends or ends, with its own errno and floating-point environment; the thread's are back
    /// afterwards.
    ///
    /// # Panics
    ///
    /// If it has ended.
    // Always: each return after a switch is one that the CPU predicts wrong.
    #[inline(always)]
    pub fn resume(&mut self, home: &mut Home) -> Resumed {
        assert!(!self.done(), "a coroutine that has ended cannot be resumed");
        let link = self.link();
        // SAFETY: `Home::new`'s caller keeps the place; what runs next, beside the switch, is C code that had this state. It has
        // not ended, so that this is where `prepare` or its last switch left it.
        let (errno, left_at) = unsafe {
            *home.host_stack = (stack_pointer() - SWITCH_FRAMES) & !15;
            let errno = home.leave(self.saved);
            let told = link.sanitizer.to_fiber(&self.stack);
            let left_at = sys::switch(link.left_at.get());
            link.sanitizer.on_host(told);
            (errno, left_at)
        };
        link.left_at.set(left_at);
        self.saved = home.come_back(errno);
        if left_at == 0 { Resumed::Done } else { Resumed::Suspended }
    }

    /// Whether its entry has returned.
    pub fn done(&self) -> bool {
        self.link().left_at.get() == 0
    }

    /// The stack of one that has ended.
    ///
    /// # Panics
    ///
    /// If it has not.
    #[inline]
    pub fn into_stack(self) -> FiberStack {
        assert!(self.done(), "a coroutine that has not ended needs its stack");
        self.link().sanitizer.ended(&self.stack);
        self.stack
    }

    /// Takes the stack from one that is suspended or was never resumed. Nothing on it is unwound.
    ///
    /// # Safety
    ///
    /// No C frame on the stack matters any more: nothing will return to one, points into one, waits for a lock that one
    /// holds or for memory that one was to free.
    pub unsafe fn abandon(self) -> FiberStack {
        self.link().left_at.set(0);
        self.into_stack()
    }
}

impl std::fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coroutine").field("done", &self.done()).finish_non_exhaustive()
    }
}

/// Gives up the thread: `resume` returns, and this returns when it is called again.
///
/// # Safety
///
/// The link's coroutine is current, and this is called on its stack, or on one that its code made and entered itself; not
/// on the thread's stack. No Rust frame between here and the coroutine's entry owns anything: the stack may be abandoned.
#[inline(always)]
pub unsafe fn suspend(link: &Link) {
    // SAFETY: the coroutine is current, so the thread's stack was left in `resume`, which goes on now, and nothing else has
    // gone there.
    unsafe {
        let told = link.sanitizer.to_host();
        let host = sys::switch(link.host.get());
        link.host.set(host);
        link.sanitizer.on_fiber(told);
    }
}

/// [`ss_move_to`](crate::sys::ss_move_to), told to the sanitizer.
///
/// # Safety
///
/// As for `ss_move_to`; `link` is the current coroutine's.
#[cfg(feature = "sanitizer")]
pub unsafe fn move_to(link: &Link, place: *mut c_void, args: [usize; 4], body: sys::Moved) -> i64 {
    link.sanitizer.moving(args, body, |body, call| {
        // SAFETY: the caller's promise; the call lives until this returns.
        unsafe { sys::ss_move_to(place, call, 0, 0, 0, body) }
    })
}

#[cfg(test)]
mod tests;
