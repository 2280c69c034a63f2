//! The upcall of exported functions: an ordinary host call whose arguments and result are typed.
//!
//! No run of values is made. The function reads its arguments from the frame of its C symbol and writes its result there; of a
//! host call's reply nothing is left but the status, and an error's texts, which csrc/export.c makes the last error.

pub mod foreign;

use super::entry::{current, no_fiber};
use super::fence::fence;
use super::host_call::{self, Step};
use super::reply;
use crate::abi::{SS_OK, ss_call, ss_thread};
use crate::host::args::Args;
use crate::host::exported::Export;
use crate::host::function::Started;
use crate::host::record::FiberRecord;
use crate::value::{Few, Run};

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_export(
    thread: *mut ss_thread,
    export: *const Export,
    args: *const (),
    place: *mut (),
    call: *mut ss_call,
) -> i64 {
    // SAFETY: csrc/export.c passes its own frame, and what the export's symbol gave it: a static and two places in that
    // symbol's frame.
    unsafe {
        let record = current(thread);
        if record.is_null() {
            return no_fiber(call);
        }
        begin(record, &*export, args, place, call).crossed()
    }
}

/// As [`host_call::begin`].
unsafe fn begin(
    record: *mut FiberRecord,
    export: &'static Export,
    args: *const (),
    place: *mut (),
    call: *mut ss_call,
) -> Step {
    // SAFETY: the caller's record and frames; the context outlives the call because the record holds it while its fiber lives.
    unsafe {
        if let Err(step) = host_call::may_start(record, call) {
            return step;
        }
        let context = FiberRecord::context(record);
        let function = export.number();
        let outer = context.local.tenure.activity.enter(function);
        let few = &mut *(&raw mut (*call).few).cast::<Few>();
        let mut extract =
            export.extracts.then(|| Args::new(Run::new(std::ptr::null_mut(), 0), context, export.entry(), few));
        let started = fence(|| export.run(args, place, extract.as_mut()));
        let step = match started {
            Ok(Started::Ready(Ok(None))) => {
                reply::few(call, (&raw const (*call).few).cast(), 0);
                Step::give(SS_OK as i32)
            }
            Ok(Started::Ready(outcome)) => host_call::over(record, call, outcome),
            Ok(Started::Pending(future)) => {
                let shared = extract.and_then(|mut extract| extract.shared.take());
                host_call::pend(record, function, Some(future), shared, call)
            }
            Err(panicked) => host_call::over(record, call, host_call::panic_outcome(record, function, &panicked)),
        };
        context.local.tenure.activity.leave(outer);
        step
    }
}
