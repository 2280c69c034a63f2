//! What AddressSanitizer is told of each switch: which stack the thread is about to be on, and that it is there.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use super::stack::FiberStack;
use crate::sys::Moved;

type Entry = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn __sanitizer_start_switch_fiber(fake: *mut *mut c_void, bottom: *const c_void, size: usize);
    fn __sanitizer_finish_switch_fiber(fake: *mut c_void, from: *mut *const c_void, size: *mut usize);
    fn __asan_unpoison_memory_region(bottom: *const c_void, size: usize);
}

/// The sanitizer's own of a stack that was left.
pub(super) type Told = *mut c_void;

/// A stack: its lowest address and its size.
type Bounds = (*const c_void, usize);

unsafe fn leave(to: Bounds) -> Told {
    let mut fake = ptr::null_mut();
    // SAFETY: the caller goes to that stack next.
    unsafe { __sanitizer_start_switch_fiber(&raw mut fake, to.0, to.1) };
    fake
}

/// Returns the bounds of the stack that was left for this one.
unsafe fn arrive(fake: Told) -> Bounds {
    let mut from = (ptr::null(), 0);
    // SAFETY: the caller has just come to the stack of which `leave` gave this; null on one that is new.
    unsafe { __sanitizer_finish_switch_fiber(fake, &raw mut from.0, &raw mut from.1) };
    from
}

fn bounds(stack: &FiberStack) -> Bounds {
    (ptr::without_provenance(stack.limit()), stack.base() - stack.limit())
}

/// What is kept in a link.
#[derive(Debug)]
pub(super) struct Sanitizer {
    /// The thread's stack.
    host: Cell<Bounds>,
    begins: Cell<Option<(Entry, *mut c_void)>>,
}

impl Sanitizer {
    pub const fn new() -> Sanitizer {
        Sanitizer { host: Cell::new((ptr::null(), 0)), begins: Cell::new(None) }
    }

    /// What a stack begins with instead of `entry(data)`, so that it is told of that too.
    pub fn entry(&self, entry: Entry, data: *mut c_void) -> (Entry, *mut c_void) {
        unsafe extern "C" fn told(link: *mut c_void) {
            // SAFETY: the link outlives the coroutine, whose stack this is; its entry is sound to call (`Coroutine::new`).
            unsafe {
                let this = &*link.cast::<Sanitizer>();
                this.host.set(arrive(ptr::null_mut()));
                let (entry, data) = this.begins.take().expect("it was left there");
                entry(data);
                leave(this.host.get());
            }
        }
        self.begins.set(Some((entry, data)));
        (told, ptr::from_ref(self).cast_mut().cast())
    }

    /// The fiber's stack is next. `on_host` follows.
    pub unsafe fn to_fiber(&self, stack: &FiberStack) -> Told {
        // SAFETY: the caller's promise.
        unsafe { leave(bounds(stack)) }
    }

    pub unsafe fn on_host(&self, told: Told) {
        // SAFETY: the caller's promise.
        unsafe { arrive(told) };
    }

    /// The thread's stack is next. `on_fiber` follows.
    pub unsafe fn to_host(&self) -> Told {
        // SAFETY: the caller's promise.
        unsafe { leave(self.host.get()) }
    }

    pub unsafe fn on_fiber(&self, told: Told) {
        // SAFETY: the caller's promise.
        self.host.set(unsafe { arrive(told) });
    }

    /// What frames left in the stack's shadow is no more.
    pub fn ended(&self, stack: &FiberStack) {
        let (bottom, size) = bounds(stack);
        // SAFETY: nobody uses the stack.
        unsafe { __asan_unpoison_memory_region(bottom, size) };
    }

    /// Has `body(args)` called on the thread's stack, by way of `go`, which gets what to call and its argument.
    pub fn moving(&self, args: [usize; 4], body: Moved, go: impl FnOnce(Moved, usize) -> i64) -> i64 {
        type Call = ([usize; 4], Moved);
        unsafe extern "C" fn moved(place: *mut c_void, call: usize, _: usize, _: usize, _: usize) -> i64 {
            // SAFETY: the call is in the frame below, which waits; it is sound by the promise of who moves.
            unsafe {
                let fiber = arrive(ptr::null_mut());
                let ([a, b, c, d], body) = *ptr::with_exposed_provenance::<Call>(call);
                let result = body(place, a, b, c, d);
                leave(fiber);
                result
            }
        }
        let call: Call = (args, body);
        // SAFETY: `go` moves to the thread's stack and comes back.
        unsafe {
            let told = leave(self.host.get());
            let result = go(moved, (&raw const call).expose_provenance());
            arrive(told);
            result
        }
    }
}
