//! Memory of fibers that are soon to have the thread.
//!
//! When thousands of fibers wait, none of what belongs to one is in the cache, nor in the TLB, when its turn comes: its
//! record, the future of its host call, its stack. Where many are ready at once (timers that are due together) the queue
//! tells who comes next, so these places are asked for a few fibers ahead, each when the one that points to it has come.

use std::rc::Rc;

use super::{Next, Worker};
use crate::call::wake::FiberKey;
use crate::guest::Interpreter;
use crate::sys::prefetch;

/// As many fibers as this may still be in the cache from their last turn, or from their start.
const MANY: usize = 200;
/// How many fibers ahead: the fiber itself, what it points to, and what that points to. What is asked for much earlier has left
/// the nearest cache again.
const FIBER: usize = 6;
const PARTS: usize = 3;
const FUTURE: usize = 1;
/// Cache lines of a fiber: the record, the run and what a switch saves.
const LINES: usize = 8;

impl<I: Interpreter> Worker<I> {
    /// Asks for the memory of those that have the thread after the next one, where there are many.
    #[inline]
    pub(super) fn expect_others(&self) {
        if self.ready.len() > MANY {
            self.expect();
        }
    }

    fn expect(&self) {
        let fiber = |ahead: usize| {
            let index = match *self.ready.get(ahead)? {
                Next::Ready(index) | Next::Due(FiberKey { index, .. }) => index,
            };
            self.fibers.get(index as usize)?.as_deref()
        };
        if let Some(fiber) = fiber(FIBER) {
            prefetch::<LINES>(std::ptr::from_ref(fiber).addr());
        }
        if let Some(fiber) = fiber(PARTS) {
            fiber.record.link.prefetch();
            fiber.record.context.prefetch();
        }
        if let Some(fiber) = fiber(FUTURE)
            && let [.., call] = fiber.record.calls.as_slice()
        {
            if let Some(future) = &call.future {
                future.prefetch();
            }
            if let Some(shared) = &call.shared {
                prefetch::<2>(Rc::as_ptr(shared).addr());
            }
        }
    }
}
