//! The switch: corosensei's coroutines, cut down to what a C stack allows.
//!
//! Three rules make them fit for C. They are never dropped, because corosensei would unwind the stack, and C frames do not
//! unwind; one that is suspended is resumed, abandoned or leaked. No value crosses in a switch; both sides know the [`Link`].
//! And a panic never leaves a stack: `entry` is C. Host code leaves the fiber's stack by
//! [`ss_move_to`](crate::sys::ss_move_to), for the place on the thread's stack that `resume` has set.
//!
//! While a coroutine runs, [`Coroutine::resume`] holds it mutably; the code on its stack reaches its [`Link`] only.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::{ManuallyDrop, needs_drop};
use std::num::NonZeroUsize;
use std::ptr;

use super::saved::{Home, Saved};
use super::stack::FiberStack;
#[cfg(feature = "sanitizer")]
use crate::sys::Float;
use crate::sys::{prefetch, stack_pointer};

type Yielder = corosensei::Yielder<(), ()>;

/// More than `resume`'s callees, the switch among them, have on the thread's stack while a coroutine runs.
const SWITCH_FRAMES: usize = 2048;

/// Cache lines of a stack that are prefetched: the frames of the crossing, of a shim, and the guest's innermost ones.
const GOES_ON_WITH: usize = 16;

// SAFETY: base and limit are 16-byte aligned and at least 16 KiB apart, with a guard at the low end; see `Layout` for
// the sizes and `StackPool::make` for the guard.
unsafe impl corosensei::stack::Stack for FiberStack {
    #[inline]
    fn base(&self) -> NonZeroUsize {
        // SAFETY: an address in a mapping, of which none is at 0 (`Reservation::new`).
        unsafe { NonZeroUsize::new_unchecked(FiberStack::base(self)) }
    }

    #[inline]
    fn limit(&self) -> NonZeroUsize {
        // SAFETY: as above.
        unsafe { NonZeroUsize::new_unchecked(FiberStack::limit(self)) }
    }
}

/// What the code on a coroutine's stack needs for leaving it. The owner keeps it at one address; it can be used for one
/// coroutine after the other.
#[derive(Debug)]
pub struct Link {
    /// Lies on the coroutine's stack; null until it is first resumed and after it has ended.
    yielder: Cell<*const Yielder>,
    /// Where its stack ended when it was last suspended.
    suspended_at: Cell<usize>,
}

impl Link {
    /// A link of no coroutine yet.
    pub const fn new() -> Link {
        Link { yielder: Cell::new(ptr::null()), suspended_at: Cell::new(0) }
    }

    /// Asks for the part of the stack that the coroutine, which is suspended, goes on with.
    #[inline]
    pub fn prefetch(&self) {
        prefetch::<GOES_ON_WITH>(self.suspended_at.get());
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
    inner: ManuallyDrop<corosensei::Coroutine<(), (), (), FiberStack>>,
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
        let body = owning_nothing(move |yielder: &Yielder, ()| {
            // SAFETY: the caller of `new` keeps the link; nobody holds a mutable reference, since it is shared.
            let link = unsafe { &*link };
            link.yielder.set(yielder);
            // SAFETY: the caller's promise on `entry`.
            unsafe { entry(data) };
            link.yielder.set(ptr::null());
        });
        let inner = ManuallyDrop::new(corosensei::Coroutine::with_stack(stack, body));
        Coroutine { inner, saved: Saved::FRESH }
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
        assert!(!self.inner.done(), "a coroutine that has ended cannot be resumed");
        // SAFETY: `Home::new`'s caller keeps the place; what runs next, beside the switch, is C code that had this state.
        let errno = unsafe {
            *home.host_stack = (stack_pointer() - SWITCH_FRAMES) & !15;
            home.leave(self.saved)
        };
        let result = self.inner.resume(());
        self.saved = home.come_back(errno);
        match result {
            corosensei::CoroutineResult::Yield(()) => Resumed::Suspended,
            corosensei::CoroutineResult::Return(()) => Resumed::Done,
        }
    }

    /// Whether its entry has returned.
    pub fn done(&self) -> bool {
        self.inner.done()
    }

    /// The stack of one that has ended.
    ///
    /// # Panics
    ///
    /// If it has not.
    #[inline]
    pub fn into_stack(self) -> FiberStack {
        ManuallyDrop::into_inner(self.inner).into_stack()
    }

    /// Takes the stack from one that is suspended or was never resumed. Nothing on it is unwound.
    ///
    /// # Safety
    ///
    /// No C frame on the stack matters any more: nothing will return to one, points into one, waits for a lock that one
    /// holds or for memory that one was to free.
    pub unsafe fn abandon(mut self) -> FiberStack {
        // SAFETY: of Rust there is only the body, which owns nothing to drop (`owning_nothing`); the C frames are the
        // caller's promise.
        unsafe { self.inner.force_reset() };
        self.into_stack()
    }
}

/// Checks when compiled that nothing has to drop what an abandoned stack holds.
fn owning_nothing<F: FnOnce(&Yielder, ())>(body: F) -> F {
    const { assert!(!needs_drop::<F>()) };
    body
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
#[inline]
pub unsafe fn suspend(link: &Link) {
    // SAFETY: the coroutine is current, so its body, whose frame holds the yielder, has begun and not ended.
    unsafe {
        // Below this are the registers that the switch saves.
        link.suspended_at.set(stack_pointer() - 64);
        (*link.yielder.get()).suspend(());
    }
}

/// What [`ss_move_to`](crate::sys::ss_move_to) does, told to the sanitizer by corosensei.
///
/// # Safety
///
/// As for `ss_move_to`; `link` is the current coroutine's.
#[cfg(feature = "sanitizer")]
pub unsafe fn move_to(link: &Link, place: *mut c_void, args: [usize; 4], body: crate::sys::Moved) -> i64 {
    struct Call(*mut c_void, [usize; 4], crate::sys::Moved);
    // SAFETY: the bound of `on_parent_stack` keeps yielders out of the call, which would leave a stack that is not the current
    // one. The caller promises that. The thread stays the same.
    unsafe impl Send for Call {}
    impl Call {
        fn run(self) -> i64 {
            let [a, b, c, d] = self.1;
            // SAFETY: the caller's promise.
            unsafe { (self.2)(self.0, a, b, c, d) }
        }
    }
    let call = Call(place, args, body);
    let guest = Float::read();
    // SAFETY: Rust runs next, with the control bits that it assumes, and then the C code whose own these are; as in `suspend`.
    unsafe {
        guest.fresh_control().load(guest);
        let result = (*link.yielder.get()).on_parent_stack(move || call.run());
        guest.load(Float::read());
        result
    }
}

#[cfg(test)]
mod tests;
