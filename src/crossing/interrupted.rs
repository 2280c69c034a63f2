//! Running guest code looks up: time slices, deadlines, cancels.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::cancel;
use super::host_call::{self, Step};
use super::reply;
use crate::abi::{SS_INTERRUPT_CANCEL, SS_INTERRUPT_SLICE, SS_OK, SS_POLL_FINALIZER, SS_POLL_NO_SLICE, ss_call};
use crate::host::record::{Cancel, FiberRecord, Reason, Suspended};

/// Begins a look-up: the flags are read and cleared; a cancel begins, or becomes a kill, if its time has come. True if the time
/// slice is over.
///
/// # Safety
///
/// `record` is the current fiber's.
pub(super) unsafe fn begin(record: *mut FiberRecord) -> bool {
    // SAFETY: the caller's contract; only this thread and its signal handlers write the thread's state.
    unsafe {
        let thread = (*record).thread;
        let slice = (*thread).interrupt & SS_INTERRUPT_SLICE as i32 != 0;
        (*thread).interrupt = 0;
        let now = Instant::now();
        let deadline = FiberRecord::context(record).caller.deadline;
        if deadline.is_some_and(|deadline| now >= deadline) {
            // It runs, so there is nothing to resume; what waits further out has its futures dropped.
            let _ = cancel::whole(record, Reason::Deadline);
        }
        cancel::publish_limit(record);
        let gone = FiberRecord::context(record).local.tenure.activity.gone.load(Ordering::Relaxed);
        if gone == (*record).key.id && (*record).cancel.is_none() {
            let _ = cancel::whole(record, Reason::Cancelled);
            cancel::publish_limit(record);
        }
        if let Some(cpu) = (*record).cpu.filter(|_| (*record).cancel.is_none()) {
            if cpu.left().is_none() {
                let _ = cancel::whole(record, Reason::Cpu);
            }
            cancel::publish_limit(record);
        }
        if (*record).grace_over(now) {
            (*record).kill();
        }
        slice
    }
}

/// Reads the interrupt flags, and decides.
///
/// # Safety
///
/// `record` is the current fiber's, `call` the shim's frame.
pub unsafe fn look(record: *mut FiberRecord, call: *mut ss_call, how: u32) -> Step {
    // SAFETY: the caller's contract; only this thread and its signal handlers write the thread's state.
    unsafe {
        let thread = (*record).thread;
        let no_slice = how & SS_POLL_NO_SLICE != 0;
        // Exported functions and the hooks look up for any guest, and know of no finalizers.
        let finalizer = how & SS_POLL_FINALIZER != 0 || (FiberRecord::context(record).local.in_finalizer)();
        let slice = begin(record);
        if FiberRecord::context(record).local.tenure.presence.lost() {
            (*thread).interrupt = SS_INTERRUPT_CANCEL as i32;
            return host_call::given_up(record, call);
        }
        if let Some(cancel) = &mut (*record).cancel {
            if cancel.kill {
                // Stays set: every later look-up raises again, until the target is reached.
                (*thread).interrupt = SS_INTERRUPT_CANCEL as i32;
                cancel::publish_limit(record);
                return Step::KILL;
            }
            if !cancel.delivered {
                if finalizer {
                    // An error raised here would be swallowed: ask again after it.
                    (*thread).interrupt = SS_INTERRUPT_CANCEL as i32;
                    return Step::give(SS_OK as i32);
                }
                cancel.delivered = true;
                let Cancel { reason, .. } = *cancel;
                let error = cancel::error(record, reason);
                return Step::give(reply::error(&mut *record, call, error.into()));
            }
        }
        if slice && no_slice {
            // Its turn ends at the next instruction.
            (*thread).interrupt |= SS_INTERRUPT_SLICE as i32;
        } else if slice && !finalizer {
            (*record).suspended = Suspended::Turn;
            return Step::SUSPEND;
        }
        Step::give(SS_OK as i32)
    }
}
