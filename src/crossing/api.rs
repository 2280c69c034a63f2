//! The host's side of the C API's upcalls (`csrc/api.h`): handles, callbacks, the last error, turns. As those in `entry`, they
//! run on the thread's own stack, where a fiber is current; but for [`ss_cross_yield`].

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::cancel;
use super::entry::current;
use super::fence::{drop_fenced, fence};
use super::foreign::Host;
use super::host_call::Step;
use super::interrupted;
use crate::abi::{
    SIDESTACK_FORGED, SIDESTACK_NO_MEMORY, SIDESTACK_OK, SIDESTACK_STALE, SIDESTACK_WRONG_KIND, SIDESTACK_WRONG_OWNER,
    SS_CROSS_AGAIN, SS_INTERRUPT_CANCEL, SS_OK, SS_STRING, sidestack_host, sidestack_kind, ss_api_look_up, ss_callback,
    ss_taken, ss_thread, ss_value,
};
use crate::fiber;
use crate::handle::{HandleError, Key, Shared, Table};
use crate::host::c_api::{Callback, Kept, LastError, Pointer, RELEASED_CALLBACK};
use crate::host::record::{FiberRecord, Suspended};
use crate::signal::{enter_host, leave_host};

type Record = *mut FiberRecord;

/// Runs `work` with the fiber's record; what it fails with becomes the last error.
unsafe fn handles(thread: *mut ss_thread, work: impl FnOnce(Record) -> Result<(), HandleError>) -> i64 {
    // SAFETY: csrc/api_handles.c calls only while a fiber is current, with its own thread's state.
    unsafe {
        let record = current(thread);
        status(record, work(record)).into()
    }
}

unsafe fn status(record: Record, result: Result<(), HandleError>) -> c_int {
    let Err(error) = result else { return SIDESTACK_OK as c_int };
    // SAFETY: passed on from the caller.
    unsafe { set(record, LastError::new(Some(error.code().as_bytes()), error.to_string().as_bytes(), 0)) };
    let status = match error {
        HandleError::Stale => SIDESTACK_STALE,
        HandleError::Forged => SIDESTACK_FORGED,
        HandleError::WrongType { .. } => SIDESTACK_WRONG_KIND,
        HandleError::WrongOwner { .. } => SIDESTACK_WRONG_OWNER,
        HandleError::Full => SIDESTACK_NO_MEMORY,
    };
    status as c_int
}

unsafe fn set(record: Record, error: LastError) {
    // SAFETY: a current fiber's record.
    unsafe { (*record).last_error = Some(Box::new(error)) };
}

unsafe fn table<R>(record: Record, work: impl FnOnce(&mut Table) -> R) -> R {
    // SAFETY: a current fiber's record holds its context; nothing that `work` does comes back here.
    work(&mut unsafe { &FiberRecord::context(record).local }.handles.borrow_mut())
}

/// Puts what C made into the table, and its key into C's place.
unsafe fn keep(thread: *mut ss_thread, object: Shared, key: *mut u64) -> i64 {
    // SAFETY: passed on from the callers.
    unsafe {
        handles(thread, move |record| {
            *key = table(record, |table| table.insert(object))?.into();
            Ok(())
        })
    }
}

const fn wrong(expected: &'static str) -> HandleError {
    HandleError::WrongType { expected }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_handle_make(
    thread: *mut ss_thread,
    pointer: *mut c_void,
    kind: *const sidestack_kind,
    key: *mut u64,
    _: usize,
) -> i64 {
    // SAFETY: csrc/api_handles.c's own places.
    unsafe { keep(thread, Arc::new(Pointer::new(pointer, kind)), key) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_handle_use(
    thread: *mut ss_thread,
    key: u64,
    kind: *const sidestack_kind,
    pointer: *mut *mut c_void,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe {
        handles(thread, move |record| {
            table(record, |table| {
                let found = match table.find::<Pointer>(key.into()) {
                    Some(found) => found,
                    None => {
                        table.get_any(key.into())?;
                        return Err(wrong("a pointer of C's"));
                    }
                };
                if found.kind != kind {
                    return Err(wrong("a pointer of another kind"));
                }
                *pointer = found.pointer;
                Ok(())
            })
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_handle_kind(
    thread: *mut ss_thread,
    key: u64,
    kind: *mut *const sidestack_kind,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe {
        handles(thread, move |record| {
            table(record, |table| {
                let found = table.get_any(key.into())?.downcast_ref::<Pointer>();
                *kind = found.map_or(std::ptr::null(), |found| found.kind);
                Ok(())
            })
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_handle_take(
    thread: *mut ss_thread,
    key: u64,
    callback: usize,
    taken: *mut ss_taken,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe {
        handles(thread, move |record| {
            let found = table(record, |table| match made(table, key.into())? {
                Some((kept, is_callback)) if is_callback == (callback != 0) => {
                    *taken = kept.take();
                    table.remove(key.into()).map(Some)
                }
                None if callback == 0 => Ok(None),
                _ => Err(wrong(if callback != 0 { "a callback" } else { "a handle" })),
            })?;
            if found.is_none() {
                // A host object: its drop is the host's code.
                let local = &FiberRecord::context(record).local;
                drop_fenced(fence(|| local.release(key)));
            }
            Ok(())
        })
    }
}

/// What C gave under this key, and whether it is a callback; `None`: the host made it.
fn made(table: &Table, key: Key) -> Result<Option<(&Kept, bool)>, HandleError> {
    let object = table.get_any(key)?;
    if let Some(callback) = object.downcast_ref::<Callback>() {
        return Ok(Some((&callback.kept, true)));
    }
    Ok(object.downcast_ref::<Pointer>().map(|pointer| (&pointer.kept, false)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_handle_any(
    thread: *mut ss_thread,
    from: *mut u32,
    taken: *mut ss_taken,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe {
        table(current(thread), |table| {
            let key = table.next(*from as usize, |object| object.is::<Pointer>() || object.is::<Callback>());
            let Some(key) = key else { return 0 };
            *from = key.index() as u32 + 1;
            let Ok(Some((kept, _))) = made(table, key) else { return 0 };
            *taken = kept.take();
            table.remove(key).is_ok().into()
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_callback_make(
    thread: *mut ss_thread,
    callback: *const ss_callback,
    key: *mut u64,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe { keep(thread, Arc::new(Callback::new(*callback)), key) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_callback_find(
    thread: *mut ss_thread,
    key: u64,
    callback: *mut ss_callback,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe {
        let record = current(thread);
        let found = table(record, |table| match table.find::<Callback>(key.into()) {
            Some(found) => {
                *callback = found.callback;
                Ok(())
            }
            None => table.get_any(key.into()).and(Err(wrong("a callback"))),
        });
        let result = status(record, found);
        if result == SIDESTACK_STALE as c_int {
            let message = b"the callback has been released";
            set(record, LastError::new(Some(RELEASED_CALLBACK.as_bytes()), message, 0));
        }
        result.into()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_error_set(
    thread: *mut ss_thread,
    error: *const ss_value,
    _: usize,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: four values, as csrc/crossing.h has them.
    unsafe { set(current(thread), LastError::read(error)) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_error_get(
    thread: *mut ss_thread,
    error: *mut ss_value,
    _: usize,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: room for four values; the record keeps the error until the next one.
    unsafe { LastError::write((*current(thread)).last_error.as_deref(), error) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_is_cancel(
    thread: *mut ss_thread,
    code: *const ss_value,
    _: usize,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: the first of an error's values.
    unsafe {
        let code = &*code;
        if (*current(thread)).cancel.is_none() || code.tag != SS_STRING || code.len == 0 {
            return 0;
        }
        let code = std::slice::from_raw_parts(code.as_.bytes.cast::<u8>(), code.len as usize);
        [&b"cancelled"[..], b"deadline", b"deadlock", b"memory", b"cpu"].contains(&code).into()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_turn(thread: *mut ss_thread, _: usize, _: usize, _: usize, _: usize) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe {
        if (*thread).nested != 0 {
            return SS_OK.into();
        }
        let record = current(thread);
        (*record).status = SS_CROSS_AGAIN;
        look(record).crossed()
    }
}

/// Gives the thread away, unless the fiber is cancelled. On the fiber's stack: all that it does is leave, and look up
/// afterwards where there is a reason to.
#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_yield(thread: *mut ss_thread, frame: usize, returns_to: usize) -> c_int {
    // SAFETY: csrc/api.c calls this on a fiber, on a stack of its own, with its own thread's state. The worker looks at clocks
    // now and then, and tells a fiber that is cancelled by `interrupt`.
    unsafe {
        let record = current(thread);
        if (*record).cancel.is_none() {
            enter_host(thread);
            (*record).suspended = Suspended::Yield;
            let frame = [frame, returns_to];
            (*thread).frame = (&raw const frame).addr();
            fiber::suspend(&(*record).link);
            leave_host(thread);
            if (*thread).interrupt == 0 {
                return SIDESTACK_OK as c_int;
            }
        }
        ss_api_look_up()
    }
}

/// As `interrupted::look`, for code that cannot be made to raise: it is told each time.
unsafe fn look(record: Record) -> Step {
    // SAFETY: the current fiber's record; only this thread and its signal handlers write the thread's state.
    unsafe {
        let thread = (*record).thread;
        let slice = interrupted::begin(record);
        if let Some(cancel) = &mut (*record).cancel {
            cancel.delivered = true;
            let reason = cancel.reason;
            (*thread).interrupt = SS_INTERRUPT_CANCEL as c_int;
            let error = cancel::error(record, reason);
            let code = error.code().unwrap_or("cancelled").as_bytes().to_vec();
            set(record, LastError::new(Some(&code), error.to_string().as_bytes(), 0));
            return Step::KILL;
        }
        if slice {
            (*record).suspended = Suspended::Turn;
            return Step::SUSPEND;
        }
        Step::give(SS_OK as c_int)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_here(
    thread: *mut ss_thread,
    host: *mut *mut sidestack_host,
    _: usize,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_handle_make`.
    unsafe { *host = Host::of(&FiberRecord::context(current(thread)).local).into_raw() };
    SIDESTACK_OK.into()
}
