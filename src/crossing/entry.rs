//! The host's side of the upcalls: `extern "C"`, called by way of csrc/way_in.h with the in-host flag set.
//!
//! All but [`ss_cross_suspend`] run on the thread's own stack: csrc/way_in.h has moved there, or host code called C which
//! calls back (`nested`). A panic that got this far would abort; the fences below leave none.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use super::host_call;
use super::{finish, interrupted};
use crate::abi::{SS_CROSS_AGAIN, SS_ERROR, SS_OK, SS_ON_FIBER, SS_STRING, ss_call, ss_thread, ss_value};
use crate::fiber;
use crate::host::record::FiberRecord;
use crate::signal::leave_host;

unsafe extern "C" {
    /// Where a fiber begins (csrc/crossing.c): takes the worker's start block. [fiber; may suspend; does not raise]
    pub fn ss_fiber_main(start: *mut c_void);
}

/// The entry that every fiber is made with.
pub fn fiber_main() -> unsafe extern "C" fn(*mut c_void) {
    ss_fiber_main
}

/// The current fiber's record; null if there is none.
pub(super) unsafe fn current(thread: *mut ss_thread) -> *mut FiberRecord {
    // SAFETY: csrc/way_in.h passes the calling thread's own state; the worker keeps `fiber` there.
    unsafe { (*thread).fiber.cast() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_call(
    thread: *mut ss_thread,
    function: usize,
    args: *mut ss_value,
    nargs: usize,
    call: *mut ss_call,
) -> i64 {
    // SAFETY: csrc/way_in.h passes the calling thread's state and the shim's own frame and run.
    unsafe {
        let record = current(thread);
        if record.is_null() {
            return no_fiber(call);
        }
        host_call::begin(record, function as u32, args, nargs as u32, call).crossed()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_answer(
    thread: *mut ss_thread,
    call: *mut ss_call,
    answer: usize,
    values: *mut ss_value,
    count: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        let record = current(thread);
        if record.is_null() {
            return no_fiber(call);
        }
        host_call::answer(record, call, answer as c_int, values, count as u32).crossed()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_end(
    thread: *mut ss_thread,
    call: *mut ss_call,
    _: usize,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        let record = current(thread);
        if !record.is_null() {
            host_call::end(record, call);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_poll(thread: *mut ss_thread, call: *mut ss_call, how: usize, _: usize, _: usize) -> i64 {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        let record = current(thread);
        if record.is_null() || (*thread).nested != 0 {
            return SS_OK.into();
        }
        (*record).status = SS_CROSS_AGAIN;
        interrupted::look(record, call, how as u32).crossed()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_object_release(thread: *mut ss_thread, key: u64, _: usize, _: usize, _: usize) -> i64 {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        let record = current(thread);
        if !record.is_null() {
            finish::release(record, key);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_function_id(
    thread: *mut ss_thread,
    name: *const c_char,
    _: usize,
    _: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_host_call`; the name is a terminated string (csrc/crossing.h).
    unsafe {
        let record = current(thread);
        if record.is_null() {
            return -1;
        }
        let registry = &FiberRecord::context(record).local.registry;
        CStr::from_ptr(name).to_str().ok().and_then(|name| registry.id(name)).map_or(-1, i64::from)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_return(
    thread: *mut ss_thread,
    status: usize,
    values: *mut ss_value,
    count: usize,
    _: usize,
) -> i64 {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        let record = current(thread);
        if !record.is_null() {
            finish::returned(record, status as c_int, values, count as u32);
        }
    }
    0
}

/// Suspends the fiber until the worker has a status for this place; guest code runs on from here. The one upcall that runs
/// on the fiber's stack.
#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_suspend(thread: *mut ss_thread, frame: usize, returns_to: usize) -> i64 {
    // SAFETY: csrc/way_in.h calls this on a fiber, in host code; the worker keeps the record while the fiber lives, and
    // resumes it only with a status in it. This frame owns nothing.
    unsafe {
        let record = current(thread);
        debug_assert_eq!((*thread).place, SS_ON_FIBER as c_int, "suspended while host code was on the thread's stack");
        let frame = [frame, returns_to];
        (*thread).frame = (&raw const frame).addr();
        fiber::suspend(&(*record).link);
        let status = (*record).status;
        leave_host(thread);
        status.into()
    }
}

/// What csrc/way_in.h moves with, where the sanitizer has to be told.
#[cfg(feature = "sanitizer")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ss_move_to(
    thread: *mut ss_thread,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    body: crate::sys::Moved,
) -> i64 {
    // SAFETY: csrc/way_in.h comes from the current fiber's code, on a stack of its own.
    unsafe { fiber::move_to(&(*current(thread)).link, thread.cast(), [a, b, c, d], body) }
}

/// A host call with no fiber current: there is no record to keep an answer in, so it is a constant.
pub(super) unsafe fn no_fiber(call: *mut ss_call) -> i64 {
    const CODE: &str = "no_fiber";
    const MESSAGE: &str = "a host function was called while no fiber runs on this thread";
    struct Answer([ss_value; 4]);
    // SAFETY: it points to constants and is never changed.
    unsafe impl Sync for Answer {}
    const fn text(text: &'static str) -> ss_value {
        ss_value {
            tag: SS_STRING,
            len: text.len() as u32,
            as_: crate::abi::ss_value__bindgen_ty_1 { bytes: text.as_ptr().cast() },
        }
    }
    const NIL: ss_value =
        ss_value { tag: crate::abi::SS_NIL, len: 0, as_: crate::abi::ss_value__bindgen_ty_1 { integer: 0 } };
    static ANSWER: Answer = Answer([text(CODE), text(MESSAGE), NIL, NIL]);
    // SAFETY: the shim's own frame.
    unsafe {
        (*call).values = ANSWER.0.as_ptr();
        (*call).count = 4;
        (*call).reply = ptr::null_mut();
    }
    SS_ERROR.into()
}
