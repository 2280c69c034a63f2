//! The upcall of exported functions: an ordinary host call whose arguments and result are typed.
//!
//! No run of values is made. The function reads its arguments from the frame of its C symbol and writes its result there; of a
//! host call's reply nothing is left but the status, and an error's texts, which csrc/export.c makes the last error.

use std::ffi::c_int;

use super::entry::{no_fiber, on_thread, suspend};
use super::fence::fence;
use super::host_call::{self, Step};
use super::interrupted;
use crate::abi::{SS_NO_FIBER, SS_OK, SS_ON_FIBER, ss_call, ss_thread};
use crate::fiber;
use crate::host::args::Args;
use crate::host::exported::{self, Export};
use crate::host::function::Started;
use crate::host::record::FiberRecord;
use crate::value::Run;

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_export(
    thread: *mut ss_thread,
    export: *const Export,
    args: *const (),
    result: *mut (),
    call: *mut ss_call,
) -> c_int {
    // SAFETY: csrc/export.c passes the calling thread's state, its own frame, and what the export's symbol gave it: a static
    // and two places in that symbol's frame.
    unsafe {
        if (*thread).place == SS_NO_FIBER as c_int {
            return no_fiber(call);
        }
        if (*thread).interrupt != 0 && (*thread).place == SS_ON_FIBER as c_int {
            let status = look_up(thread, call);
            if status != SS_OK as c_int {
                return status;
            }
        }
        let step = on_thread(thread, move |record, direct| begin(record, &*export, args, result, call, direct));
        match step {
            Step::Return(status) => status,
            Step::Suspend => suspend((*thread).fiber.cast()),
        }
    }
}

/// C has no other place to look up: slices, deadlines and kills of code that runs reach it when it calls.
#[cold]
unsafe fn look_up(thread: *mut ss_thread, call: *mut ss_call) -> c_int {
    // SAFETY: as in `ss_cross_export`.
    unsafe {
        loop {
            let step = on_thread(thread, move |record, _| {
                let finalizer = (FiberRecord::context(record).local.in_finalizer)();
                interrupted::look(record, call, finalizer)
            });
            match step {
                Step::Return(status) => return status,
                // A turn for the others; then look again: the fiber may have been cancelled meanwhile.
                Step::Suspend => fiber::suspend(&(*(*thread).fiber.cast::<FiberRecord>()).link),
            }
        }
    }
}

/// As [`host_call::begin`].
unsafe fn begin(
    record: *mut FiberRecord,
    export: &'static Export,
    args: *const (),
    result: *mut (),
    call: *mut ss_call,
    direct: bool,
) -> Step {
    // SAFETY: the caller's record and frames; the context outlives the call because the record holds it while its fiber lives.
    unsafe {
        host_call::end_frames_below(record, call, true);
        if host_call::killed(record) {
            return host_call::KILL;
        }
        if direct && let Some(error) = exported::called_back() {
            return host_call::fail(record, call, error);
        }
        let context = FiberRecord::context(record);
        let function = export.number();
        let outer = context.local.activity.enter(function);
        let started = fence(|| {
            let mut extract =
                Args::new(Run::new(std::ptr::null_mut(), 0), &context.local, &context.caller, export.name);
            let started = export.run(args, result, Some(&mut extract));
            if let (Started::Pending(_), Some(shared)) = (&started, &extract.shared) {
                shared.may_call_guest.set(true);
            }
            (started, extract.shared)
        });
        let step = host_call::follow(record, function, call, started, direct);
        context.local.activity.leave(outer);
        step
    }
}
