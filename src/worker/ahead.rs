//! Memory of fibers that are soon to have the thread.
//!
//! When thousands of fibers wait, none of what belongs to one is in the cache, nor in the TLB, when its turn comes: its
//! record, the future of its host call, its stack, what the guest keeps for it. Where many are ready at once (timers that are due
//! together) the queue tells who comes next, so these places are asked for a few fibers ahead, each when the one that points to it
//! has come.

use std::rc::Rc;

use super::{Next, Worker};
use crate::call::wake::FiberKey;
use crate::guest::Interpreter;
use crate::sys::prefetch;

/// Cache lines of a fiber: what a switch saves and the beginning of the record,
const LINES: usize = 8;
/// and the beginning of the run.
const RUN: usize = 2;

impl<I: Interpreter> Worker<I> {
    /// Asks for the memory of those that have the thread after the next one, where there are many.
    #[inline]
    pub(super) fn expect_others(&self) {
        if self.ready.len() > I::MANY {
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
        let [itself, parts, rest] = I::AHEAD;
        if let Some(fiber) = fiber(itself) {
            prefetch::<LINES>(std::ptr::from_ref(fiber).addr());
            prefetch::<RUN>(std::ptr::from_ref(&fiber.run).addr());
        }
        if let Some(fiber) = fiber(parts) {
            fiber.record.link.prefetch();
            fiber.record.context.prefetch();
            I::expect(&fiber.run, &fiber.saved, false);
        }
        if let Some(fiber) = fiber(rest) {
            I::expect(&fiber.run, &fiber.saved, true);
            if let [.., call] = fiber.record.calls.as_slice() {
                if let Some(future) = &call.future {
                    future.prefetch();
                }
                if let Some(shared) = &call.shared {
                    prefetch::<2>(Rc::as_ptr(shared).addr());
                }
            }
        }
    }
}
