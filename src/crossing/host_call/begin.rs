//! The beginning of a host call: whether it may start, and what its function gave at once.

use std::ffi::c_int;

use super::{Step, end_frames_below, fail, given_up, killed, panic_outcome, pend};
use crate::Error;
use crate::abi::{SS_OK, ss_call, ss_value};
use crate::crossing::fence::{Panicked, drop_fenced, fence};
use crate::crossing::reply;
use crate::error::refused;
use crate::host::args::Args;
use crate::host::exported;
use crate::host::function::{Begun, Started};
use crate::host::record::FiberRecord;
use crate::value::{Few, Run};

/// A host call begins. `extern "C"`: nothing unwinds out of it, so that the entry ends in a jump to it.
///
/// # Safety
///
/// `record` is the current fiber's; `args` is a run of `nargs` values and `call` the shim's frame, both alive until the call
/// returns to C.
pub unsafe extern "C" fn begin(
    record: *mut FiberRecord,
    function: u32,
    args: *mut ss_value,
    nargs: u32,
    call: *mut ss_call,
) -> Step {
    // SAFETY: passed on from the caller.
    unsafe {
        let tally = &FiberRecord::context(record).tally;
        tally.host_calls.set(tally.host_calls.get() + 1);
        if is_plain(record) {
            start(record, function, args, nargs, call)
        } else {
            look(record, function, args, nargs, call)
        }
    }
}

/// Whether there is nothing to look at before a host call starts.
#[inline(always)]
unsafe fn is_plain(record: *mut FiberRecord) -> bool {
    // SAFETY: passed on from `begin`.
    unsafe {
        (*record).calls.is_empty()
            && (*record).replies.is_empty()
            && (*record).cancel.is_none()
            && !FiberRecord::context(record).local.tenure.presence.lost()
            && (*(*record).thread).nested == 0
    }
}

/// Looks whether the call may start, and starts it then.
#[cold]
#[inline(never)]
unsafe extern "C" fn look(
    record: *mut FiberRecord,
    function: u32,
    args: *mut ss_value,
    nargs: u32,
    call: *mut ss_call,
) -> Step {
    // SAFETY: passed on from `begin`.
    unsafe {
        match may_start(record, call) {
            Ok(()) => start(record, function, args, nargs, call),
            Err(step) => step,
        }
    }
}

/// Whether a host call may start; else what becomes of it.
#[inline]
pub(in crate::crossing) unsafe fn may_start(record: *mut FiberRecord, call: *mut ss_call) -> Result<(), Step> {
    // SAFETY: passed on from `begin`.
    unsafe {
        end_frames_below(record, call, true);
        if killed(record) {
            return Err(Step::KILL);
        }
        if FiberRecord::context(record).local.tenure.presence.lost() {
            return Err(given_up(record, call));
        }
        if (*(*record).thread).nested != 0
            && let Some(error) = exported::called_back()
        {
            return Err(fail(record, call, error));
        }
        Ok(())
    }
}

/// Starts it.
#[inline(always)]
unsafe fn start(record: *mut FiberRecord, function: u32, args: *mut ss_value, nargs: u32, call: *mut ss_call) -> Step {
    // SAFETY: the contract of `begin`; the context outlives the call because the record holds it while its fiber lives.
    unsafe {
        let context = FiberRecord::context(record);
        let local = &context.local;
        let Some(entry) = local.registry.function(function) else { return unknown(record, function, call) };
        let outer = local.tenure.activity.enter(function);
        let few = &mut *(&raw mut (*call).few).cast::<Few>();
        let mut args = Args::new(Run::new(args, nargs), context, entry, few);
        let begun = match fence(|| entry.call.start(&mut args)) {
            Ok(begun) => begun,
            Err(panicked) => stopped(record, &mut args, panicked),
        };
        let step = match begun {
            // What is in `args` is read from there: a register that is kept over the call costs a store and a load.
            Begun::Few(count) if args.shared.is_none() => {
                reply::few(call, args.few.as_ptr().cast(), count);
                args.context.local.tenure.activity.leave(outer);
                Step::give(SS_OK as c_int)
            }
            begun => go_on(record, &mut args, call, begun, outer),
        };
        // Nothing is left in it that has a drop to run, which the compiler does not see.
        std::mem::forget(args);
        step
    }
}

#[cold]
unsafe fn unknown(record: *mut FiberRecord, function: u32, call: *mut ss_call) -> Step {
    let message = format!("there is no host function number {function}");
    // SAFETY: passed on from `begin`.
    unsafe { fail(record, call, Error::Refused { name: refused::NOT_FOUND, message }) }
}

/// A host function panicked.
#[cold]
#[inline(never)]
unsafe fn stopped(record: *mut FiberRecord, args: &mut Args<'_>, panicked: Panicked) -> Begun {
    drop_fenced((args.shared.take(), args.started.take()));
    // SAFETY: passed on from `begin`.
    args.start(Started::Ready(unsafe { panic_outcome(record, args.entry.id, &panicked) }))
}

/// A host function gave an outcome that is more than a few numbers, or a future.
#[inline(never)]
unsafe fn go_on(record: *mut FiberRecord, args: &mut Args<'_>, call: *mut ss_call, begun: Begun, outer: u64) -> Step {
    // SAFETY: passed on from `begin`.
    unsafe {
        let step = if let Begun::Few(count) = begun {
            drop(args.shared.take());
            reply::few(call, args.few.as_ptr().cast(), count);
            Step::give(SS_OK as c_int)
        } else {
            match args.started.take() {
                Some(Started::Ready(outcome)) => Step::give(reply::outcome(&mut *record, call, outcome)),
                Some(Started::Pending(future)) => pend(record, args.entry.id, Some(future), args.shared.take(), call),
                None => unreachable!("it says that it left something"),
            }
        };
        args.context.local.tenure.activity.leave(outer);
        step
    }
}
