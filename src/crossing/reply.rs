//! Leaving results and errors where the shim finds them.

use std::ffi::c_void;
use std::ptr;

use crate::Error;
use crate::abi::{SS_ERROR, SS_FEW, SS_OK, ss_call, ss_value};
use crate::diagnosis::HostPanic;
use crate::error::{HostResult, Raise};
use crate::host::local::Local;
use crate::host::record::FiberRecord;
use crate::host::reply::{self, Reply};
use crate::value::Flat;

use super::fence::{Panicked, drop_fenced, fence};

/// Gives a run of values to the frame `call`, which keeps it until `ss_host_end`.
#[inline]
pub unsafe fn values(record: &mut FiberRecord, call: *mut ss_call, mut flat: Box<Flat>) -> Result<(), Error> {
    if let Err(error) = record.context.local.bind(&mut flat) {
        give(&record.context.local, flat);
        return Err(error);
    }
    // SAFETY: `call` is the shim's frame, alive while its fiber is in this host call (csrc/crossing.h).
    unsafe {
        (*call).count = flat.count();
        if let Some(few) = flat.numbers().filter(|entries| entries.len() <= SS_FEW as usize) {
            ptr::copy_nonoverlapping(few.as_ptr(), (&raw mut (*call).few).cast::<ss_value>(), few.len());
            (*call).values = (&raw const (*call).few).cast();
            (*call).reply = ptr::null_mut();
            reply::give(flat);
        } else {
            (*call).values = flat.as_raw().0;
            (*call).reply = ptr::from_mut(&mut *flat).cast::<c_void>();
            record.replies.push((call, flat));
        }
    }
    Ok(())
}

/// Tells the frame `call` that so many results are in its `few`. It has no `reply`: it got none since `ss_call_begin`.
#[inline]
pub unsafe fn few(call: *mut ss_call, values: *const ss_value, count: u32) {
    // SAFETY: as in `values`.
    unsafe {
        debug_assert!((*call).reply.is_null());
        (*call).values = values;
        (*call).count = count;
    }
}

/// The outcome of a host function: a status for the shim.
#[inline]
pub unsafe fn outcome(record: &mut FiberRecord, call: *mut ss_call, outcome: HostResult<Reply>) -> i32 {
    match outcome {
        Ok(None) => {
            // SAFETY: passed on from the caller.
            unsafe {
                // It may have had one: the arguments of a call of the guest's.
                (*call).reply = ptr::null_mut();
                few(call, (&raw const (*call).few).cast(), 0);
            }
            SS_OK as i32
        }
        // SAFETY: passed on from the caller.
        Ok(Some(flat)) => match unsafe { values(record, call, flat) } {
            Ok(()) => SS_OK as i32,
            // SAFETY: passed on from the caller.
            Err(e) => unsafe { error(record, call, e.into()) },
        },
        // SAFETY: passed on from the caller.
        Err(e) => unsafe { error(record, call, e) },
    }
}

/// An error as the shim's four values.
#[cold]
pub unsafe fn error(record: &mut FiberRecord, call: *mut ss_call, error: anyhow::Error) -> i32 {
    let mut flat = reply::take();
    {
        let (code, message) = describe(&error);
        let traceback = match error.downcast_ref::<Error>() {
            Some(Error::Script { traceback, .. }) if !traceback.is_empty() => Some(traceback.as_str()),
            _ => None,
        };
        flat.push_args(&(code, message, traceback)).expect("three strings can be encoded");
    }
    let (id, displaced) = record.keep_error(error);
    drop_fenced(displaced);
    flat.push(&id.cast_signed()).expect("a number can be encoded");
    // SAFETY: passed on from the caller.
    unsafe { values(record, call, flat) }.expect("an error holds no attachments");
    SS_ERROR as i32
}

/// An error's code, where it has one, and its message.
pub fn describe(error: &anyhow::Error) -> (Option<&str>, String) {
    let own = error.downcast_ref::<Error>();
    let raised = || error.downcast_ref::<Raise>().map(Raise::code);
    let panicked = || error.is::<HostPanic>().then_some("panic");
    let code = own.and_then(Error::code).or_else(raised).or_else(panicked);
    match own {
        // Its message is the whole story already; its sources tell parts of it again, once a nested call.
        Some(own) => (code, own.to_string()),
        None => match fence(|| message(error)) {
            Ok(message) => (code, message),
            Err(Panicked(message)) => (Some("panic"), format!("an error's Display panicked: {message}")),
        },
    }
}

/// The error with its causes, down to one of our own: that one's text says what caused it, and repeating the cause would
/// double the message with each crossing that it passes.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&cause.to_string());
        if matches!(cause.downcast_ref(), Some(Error::Script { .. })) {
            break;
        }
    }
    message
}

/// Gives a buffer back that the guest has read; what it holds may have a `Drop` of the host's.
#[inline]
pub fn give(local: &Local, mut flat: Box<Flat>) {
    if flat.has_attachments() {
        local.unbind(&mut flat);
        drop_fenced(flat);
    } else {
        reply::give(flat);
    }
}
