//! The end of a run, and the end of the guest's hold on an object.

use std::ffi::c_int;
use std::task::Waker;

use super::fence::{Panicked, drop_fenced, fence};
use crate::abi::{SS_ERROR, SS_KILL, SS_OK, ss_value};
use crate::call::ledger::To;
use crate::call::stats::Stats;
use crate::host::Done;
use crate::host::record::{Cancel, FiberRecord};
use crate::value::{Bytes, Results, Run};
use crate::{Error, Limit};

/// The fiber's entry says how its run ended: the outcome goes to the caller.
///
/// # Safety
///
/// `record` is the current fiber's; `values` is a run of `count`.
pub unsafe fn returned(record: *mut FiberRecord, status: c_int, values: *mut ss_value, count: u32) {
    // SAFETY: the caller's contract.
    unsafe {
        (*record).returned = true;
        if status as u32 == SS_KILL {
            // Modules that it was loading are not loaded.
            FiberRecord::context(record).local.module_done();
        }
        // Host calls that are still in the set were longjmped past.
        end_calls(record);
        let failed = match ((*record).cancel, status as u32) {
            (Some(Cancel { target: None, reason, .. }), _) => Some((*record).cancel_error(reason)),
            (_, SS_OK) => None,
            (_, SS_ERROR) => Some(script_error(record, values, count, false)),
            _ => Some(Error::Cancelled),
        };
        let Some(mut job) = (*record).job.take() else { return };
        tell_stats(record);
        let local = &FiberRecord::context(record).local;
        let to = take_completion(record);
        if let Some(error) = failed.as_ref().filter(|_| !to.is_told()) {
            local.inbox.outcomes.failed(error);
        }
        let completion = match to {
            To::Caller(completion) => completion,
            To::Nobody => {
                local.unbind_args(&mut job);
                if let Some(error) = failed {
                    let (fiber, label) = ((*record).key.id, FiberRecord::context(record).caller.label.as_deref());
                    tracing::error!(target: "sidestack", fiber, label, %error, "a run that nobody waits for failed");
                }
                return;
            }
            To::Told => return local.unbind_args(&mut job),
        };
        let own = job.work.is_task();
        let mut job = Some(job);
        let mut over = || {
            let mut job = job.take()?;
            // Not earlier: results may lie in the arguments.
            local.unbind_args(&mut job);
            job.spend();
            Some(job)
        };
        let completed = fence(|| {
            let mut resolver = local.resolver(own);
            let outcome = match failed {
                Some(error) => Err(error),
                None => Ok(Results::new(values, count, &mut resolver)),
            };
            completion.complete(outcome, &mut over)
        });
        let waker = completed.unwrap_or_else(|Panicked(message)| {
            // The caller's own code, in `Deserialize` or in a drop.
            tracing::error!(target: "sidestack", %message, "taking a call's outcome panicked");
            let message = format!("taking it panicked: {message}");
            let error = Error::Convert { place: "result".into(), message };
            fence(|| completion.complete(Err(error), &mut || None)).ok().flatten()
        });
        drop_fenced(fence(over));
        // Before the wake: the caller's thread, which made them, is to have the last reference.
        drop_fenced(completion);
        wake(waker);
    }
}

/// Its part of what somebody wants to know of the call.
unsafe fn tell_stats(record: *mut FiberRecord) {
    // SAFETY: passed on from `returned`.
    unsafe {
        let context = FiberRecord::context(record);
        let Some(Stats { call, own }) = &context.caller.stats else { return };
        let done = Done::of(context);
        call.add_host_calls(done.host_calls);
        if *own {
            call.set_waits(done.waited, done.last);
        }
    }
}

/// Where the outcome of the current fiber goes. If its interpreter was given up meanwhile its caller was told then.
unsafe fn take_completion(record: *mut FiberRecord) -> To {
    // SAFETY: the caller's contract.
    unsafe {
        let tenure = &FiberRecord::context(record).local.tenure;
        if !tenure.presence.back() {
            return To::Told;
        }
        // SAFETY: the thread is here, and not lost, until it goes away again.
        let to = (*tenure.ledger()).answer((*record).key.index as usize);
        tenure.presence.leave((*record).key.id);
        to
    }
}

/// Ends the host calls of a fiber, innermost first.
///
/// # Safety
///
/// `record` is a fiber's, on its interpreter thread, and nobody polls its futures.
pub unsafe fn end_calls(record: *mut FiberRecord) {
    // SAFETY: the caller's contract; no reference into the record lives while a future is dropped.
    while let Some(call) = unsafe { (*record).calls.pop() } {
        drop_fenced(call);
    }
}

/// Wakes a caller.
pub fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker
        && let Err(Panicked(message)) = fence(|| waker.wake())
    {
        tracing::error!(target: "sidestack", %message, "a caller's waker panicked");
    }
}

/// An error of the guest's, from its four values.
///
/// # Safety
///
/// As [`returned`].
#[cold]
pub unsafe fn script_error(record: *mut FiberRecord, values: *mut ss_value, count: u32, nested: bool) -> Error {
    // SAFETY: the caller's contract.
    unsafe {
        let mut run = Run::new(values, count);
        let mut resolver = FiberRecord::context(record).local.resolver(true);
        let mut text = || -> Option<String> {
            let bytes: Option<Bytes> = run.next(&mut resolver).ok()?;
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (code, message, traceback) = (text(), text(), text());
        let id = run.next::<Option<u64>>(&mut resolver).ok().flatten().unwrap_or(0);
        let traceback = traceback.unwrap_or_default();
        // Another fiber's limit, which this one waited for.
        if code.as_deref() == Some("memory")
            && let Some(Ok(limit)) = (*record).take_error(id).map(|error| error.downcast())
        {
            return limit;
        }
        if let Some((which, value, setting)) = limit(&*record, code.as_deref(), id, nested) {
            return Error::Limit { which, value, setting, traceback };
        }
        Error::Script { message: message.unwrap_or_default(), code, traceback, source: (*record).take_error(id) }
    }
}

/// The limit that an error of the guest's with this code is about. `own`: the limit's value, where it is a setting of the guest's.
fn limit(record: &FiberRecord, code: Option<&str>, own: u64, nested: bool) -> Option<(Limit, u64, &'static str)> {
    match code? {
        "memory" => {
            let (bytes, setting) = record.memory_limit();
            Some((Limit::Memory, bytes as u64, setting))
        }
        "memory_limit" => Some((Limit::Memory, own, "memory_limit")),
        // In a nested call it is an error as others: on its way out through the guest it has to stay what it was.
        "stack" if !nested => Some((Limit::Stack, record.context.local.stack as u64, "stack")),
        _ => None,
    }
}

/// The guest dropped its last reference to a host object.
///
/// # Safety
///
/// `record` is the current fiber's.
pub unsafe fn release(record: *mut FiberRecord, key: u64) {
    // SAFETY: the caller's contract.
    let local = unsafe { &FiberRecord::context(record).local };
    drop_fenced(fence(|| local.release(key)));
}
