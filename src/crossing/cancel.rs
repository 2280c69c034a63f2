//! Cancelling (rule 4, phases a and b): futures are dropped at once, then the guest unwinds.
//!
//! A cancel has a target: the whole fiber, or the frame of one host call whose guest call nobody awaits any more. Everything
//! further in is cancelled: its futures are dropped, innermost first, its calls end with a `cancelled` error, which the
//! guest may clean up after; calls that would wait get the same; Ready functions work. When the grace is over, the guest is
//! killed: every look-up raises, and nothing catches it for long. The cancel is over when control reaches the target.
//!
//! All of this happens on the interpreter thread, never during a poll of the fiber's own futures.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::fence::drop_fenced;
use super::host_call;
use crate::Error;
use crate::abi::SS_INTERRUPT_CANCEL;
use crate::call::outcomes::Failure;
use crate::call::tenure::store_deadline;
use crate::error::Raise;
use crate::host::record::{Cancel, Context, FiberRecord, LimitAt, Reason, Suspended};

/// Cancels a whole fiber that has begun. True if it can go on now, with its status left in the record.
///
/// # Safety
///
/// `record` is a live fiber's, on its interpreter thread; none of its futures is being polled.
#[must_use]
pub unsafe fn whole(record: *mut FiberRecord, reason: Reason) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        if matches!((*record).cancel, Some(Cancel { target: None, .. })) {
            return false;
        }
        begin(record, None, reason);
        note(record, reason);
        host_call::resumable(record)
    }
}

/// Cancels what the guest does for the host call `id`, down to that call's frame.
///
/// # Safety
///
/// As [`whole`].
pub unsafe fn down_to(record: *mut FiberRecord, id: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        if let Some(Cancel { target, .. }) = (*record).cancel {
            let outer = target.is_none_or(|target| (*record).find(target) <= (*record).find(id));
            if outer {
                return;
            }
        }
        begin(record, Some(id), Reason::Dropped);
        note(record, Reason::Dropped);
    }
}

unsafe fn begin(record: *mut FiberRecord, target: Option<u64>, reason: Reason) {
    // SAFETY: passed on from the callers.
    unsafe {
        let mut at = (*record).calls.len();
        // Where guest code runs, or is to go on, further in than any call that ends here, it is told when it looks up.
        let waits_in = match (*record).suspended {
            Suspended::Call(id) => Some(id),
            Suspended::No | Suspended::Turn | Suspended::Yield => None,
        };
        let mut delivered = false;
        while at > 0 {
            at -= 1;
            if at >= (*record).calls.len() {
                continue;
            }
            let call = (*record).at_mut(at);
            if Some(call.id) == target {
                break;
            }
            let future = call.future.take();
            if call.outcome.is_none() {
                // A hook tells the C library's caller, not the script: that is told when it looks up.
                let hooked = FiberRecord::context(record).local.registry.name(call.function);
                let hooked = hooked.is_some_and(|name| name.starts_with("sidestack.hooks."));
                delivered |= waits_in == Some(call.id) && !hooked;
                call.outcome = Some(Err(error(record, reason).into()));
            }
            drop_fenced(future);
        }
        let since = Instant::now();
        let kill_at = since.checked_add((*record).grace);
        (*record).cancel = Some(Cancel { target, reason, delivered, since, kill: false, kill_at });
        (*record).renew_limit();
    }
}

/// A cancel has begun: it is counted, and told.
pub fn note(record: *const FiberRecord, reason: Reason) {
    // SAFETY: the callers' record, which is a live fiber's.
    let Context { caller, local, .. } = unsafe { FiberRecord::context(record) };
    let (fiber, label) = (caller.id, caller.label.as_deref());
    // Of one whose interpreter was given up all has been said.
    if local.tenure.presence.lost() {
        return;
    }
    tracing::debug!(target: "sidestack", fiber, label, ?reason, "a fiber is cancelled");
    local.inbox.outcomes.count(match reason {
        Reason::Cancelled => Failure::Cancelled,
        Reason::Shutdown => Failure::CancelledByShutdown,
        Reason::Hand => Failure::CancelledByHand,
        Reason::Dropped => Failure::CancelledInPart,
        Reason::Deadlock => Failure::Deadlock,
        // Counted when it has ended: the error says so.
        Reason::Deadline | Reason::Memory | Reason::Cpu => return,
    });
}

/// The guest's alarm has come: the host call that the fiber waits in, if it does, fails. True if the fiber can go on now, with
/// its status left in the record.
///
/// # Safety
///
/// As [`whole`].
#[must_use]
pub unsafe fn alarm(record: *mut FiberRecord) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        let Suspended::Call(id) = (*record).suspended else { return false };
        let Some(at) = (*record).find(id) else { return false };
        let call = (*record).at_mut(at);
        let future = call.future.take();
        call.outcome.get_or_insert_with(|| Err(Raise::new("alarm", "the guest's alarm has come").into()));
        drop_fenced(future);
        host_call::resumable(record)
    }
}

/// Control has reached the frame of host call `id`, or that frame is gone: a cancel down to it is over.
///
/// # Safety
///
/// As [`whole`].
pub unsafe fn reached(record: *mut FiberRecord, id: u64) {
    // SAFETY: the caller's contract; the thread state is the fiber's own thread's.
    unsafe {
        if matches!((*record).cancel, Some(Cancel { target: Some(target), .. }) if target == id) {
            (*record).cancel = None;
            (*record).renew_limit();
            (*(*record).thread).interrupt &= !(SS_INTERRUPT_CANCEL as i32);
            publish_limit(record);
        }
    }
}

/// Tells the tick when the fiber that runs now has to look up by itself.
///
/// # Safety
///
/// `record` is the current fiber's.
#[inline]
pub unsafe fn publish_limit(record: *mut FiberRecord) {
    // SAFETY: the caller's contract.
    unsafe {
        let local = &FiberRecord::context(record).local;
        let LimitAt { mut nanos, mut due, .. } = (*record).limit;
        if (*record).cpu.is_some() {
            let over = cpu_over(record);
            (nanos, due) = (nanos.min(over), due.min(over));
        }
        store_deadline(&raw mut (*(*record).thread).deadline, nanos);
        local.tenure.activity.due.store(due, Ordering::Relaxed);
    }
}

/// When the fiber will have used its processor time, at the earliest: it may be kept from running meanwhile.
#[cold]
unsafe fn cpu_over(record: *mut FiberRecord) -> u64 {
    // SAFETY: passed on from `publish_limit`.
    unsafe {
        let left = (*record).cpu.filter(|_| (*record).cancel.is_none()).map(|cpu| cpu.left().unwrap_or_default());
        left.map_or(u64::MAX, |left| FiberRecord::context(record).local.clock.nanos(Instant::now() + left))
    }
}

/// The error that the guest gets in phase a.
pub unsafe fn error(record: *mut FiberRecord, reason: Reason) -> Error {
    // SAFETY: passed on from the callers.
    unsafe { (*record).cancel_error(reason) }
}
