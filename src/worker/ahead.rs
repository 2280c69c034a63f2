//! Memory of fibers that are woken soon.
//!
//! When thousands of fibers wait, none of what belongs to one is in the cache, nor in the TLB, when its turn comes: its
//! record, the host call with its future, its stack. Where many are woken at once (timers of the same millisecond) the queue
//! tells who comes next, so these places are asked for a few fibers ahead, each when the one that points to it has come.

use super::Worker;
use super::fiber::Fiber;
use crate::guest::Interpreter;
use crate::sys::prefetch;

/// How many fibers ahead: the fiber itself, what it points to, and what that points to.
const FIBER: usize = 9;
const PARTS: usize = 6;
const FUTURE: usize = 3;

impl<I: Interpreter> Worker<I> {
    /// Asks for the memory of those that are woken after the next one, where there are many.
    #[inline]
    pub(super) fn expect_others(&self) {
        if let Some(index) = self.serving.later(FIBER) {
            self.expect(index);
        }
    }

    fn expect(&self, index: u32) {
        let fiber = |index: u32| self.fibers.get(index as usize).and_then(Option::as_deref);
        if let Some(fiber) = fiber(index) {
            prefetch::<Fiber<I>>(fiber, size_of::<Fiber<I>>());
        }
        if let Some(fiber) = self.serving.later(PARTS).and_then(fiber) {
            fiber.record.link.prefetch();
            prefetch(fiber.record.calls.as_ptr(), size_of_val(fiber.record.calls.as_slice()));
        }
        if let Some(fiber) = self.serving.later(FUTURE).and_then(fiber)
            && let [.., call] = fiber.record.calls.as_slice()
        {
            if let Some(future) = &call.future {
                future.prefetch();
            }
            if let Some(shared) = &call.shared {
                prefetch(std::rc::Rc::as_ptr(shared), size_of::<crate::host::cx::CallShared>());
            }
        }
    }
}
