//! The upcalls themselves: `extern "C"`, called by csrc/crossing.c with the in-host flag set.
//!
//! Each runs on the stack that guest code runs on, owns nothing that needs a destructor, and moves to the thread's stack at once.
//! Where the place is already the thread's stack (host code called C which calls back) the work is done in place: moving a
//! second time would write over live host frames.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use super::host_call::{self, Step};
use super::{finish, interrupted};
use crate::abi::{SS_ERROR, SS_NO_FIBER, SS_ON_FIBER, SS_ON_THREAD, SS_STRING, ss_call, ss_thread, ss_value};
use crate::fiber;
use crate::host::record::FiberRecord;

unsafe extern "C" {
    /// Where a fiber begins (csrc/crossing.c): takes the worker's start block. [fiber; may suspend; does not raise]
    pub fn ss_fiber_main(start: *mut c_void);
}

/// The entry that every fiber is made with.
pub fn fiber_main() -> unsafe extern "C" fn(*mut c_void) {
    ss_fiber_main
}

/// Runs `work` on the thread's stack: by moving there, or in place if this is it.
#[inline]
pub(super) unsafe fn on_thread<R>(thread: *mut ss_thread, work: impl FnOnce(*mut FiberRecord, bool) -> R) -> R {
    // SAFETY: `thread` is the calling thread's own state; a current fiber's record is alive.
    unsafe {
        let record = (*thread).fiber.cast::<FiberRecord>();
        if (*thread).place == SS_ON_FIBER as c_int {
            fiber::on_thread_stack(&(*record).link, move || {
                ptr::write_volatile(&raw mut (*thread).place, SS_ON_THREAD as c_int);
                let result = work(record, false);
                ptr::write_volatile(&raw mut (*thread).place, SS_ON_FIBER as c_int);
                result
            })
        } else {
            work(record, true)
        }
    }
}

/// Suspends the fiber until the worker has a status for this place.
unsafe fn suspend(record: *mut FiberRecord) -> c_int {
    // SAFETY: the worker resumes only with a status, in the record, and keeps the record while the fiber lives.
    unsafe {
        fiber::suspend(&(*record).link);
        (*record).status
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_call(
    thread: *mut ss_thread,
    function: u32,
    args: *mut ss_value,
    nargs: u32,
    call: *mut ss_call,
) -> c_int {
    // SAFETY: csrc/crossing.c passes the calling thread's state and the shim's own frame and run.
    unsafe {
        if (*thread).place == SS_NO_FIBER as c_int {
            return no_fiber(call);
        }
        let step =
            on_thread(thread, move |record, direct| host_call::begin(record, function, args, nargs, call, direct));
        match step {
            Step::Return(status) => status,
            Step::Suspend => suspend((*thread).fiber.cast()),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_answer(
    thread: *mut ss_thread,
    call: *mut ss_call,
    answer: c_int,
    values: *mut ss_value,
    count: u32,
) -> c_int {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        if (*thread).place == SS_NO_FIBER as c_int {
            return no_fiber(call);
        }
        let step =
            on_thread(thread, move |record, direct| host_call::answer(record, call, answer, values, count, direct));
        match step {
            Step::Return(status) => status,
            Step::Suspend => suspend((*thread).fiber.cast()),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_host_end(thread: *mut ss_thread, call: *mut ss_call) {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        if (*thread).place != SS_NO_FIBER as c_int {
            on_thread(thread, move |record, _| host_call::end(record, call));
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_poll(thread: *mut ss_thread, call: *mut ss_call, finalizer: c_int) -> c_int {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        if (*thread).place != SS_ON_FIBER as c_int {
            return crate::abi::SS_OK as c_int;
        }
        loop {
            match on_thread(thread, move |record, _| interrupted::look(record, call, finalizer != 0)) {
                Step::Return(status) => return status,
                // A turn for the others; then look again: the fiber may have been cancelled meanwhile.
                Step::Suspend => fiber::suspend(&(*(*thread).fiber.cast::<FiberRecord>()).link),
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_object_release(thread: *mut ss_thread, key: u64) {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        if (*thread).place != SS_NO_FIBER as c_int {
            on_thread(thread, move |record, _| finish::release(record, key));
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_function_id(thread: *mut ss_thread, name: *const c_char) -> i64 {
    // SAFETY: as in `ss_cross_host_call`; the name is a terminated string (csrc/crossing.h).
    unsafe {
        if (*thread).place == SS_NO_FIBER as c_int {
            return -1;
        }
        on_thread(thread, |record, _| {
            let registry = &FiberRecord::context(record).local.registry;
            CStr::from_ptr(name).to_str().ok().and_then(|name| registry.id(name)).map_or(-1, i64::from)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_return(thread: *mut ss_thread, status: c_int, values: *mut ss_value, count: u32) {
    // SAFETY: as in `ss_cross_host_call`.
    unsafe {
        if (*thread).place != SS_NO_FIBER as c_int {
            on_thread(thread, move |record, _| finish::returned(record, status, values, count));
        }
    }
}

/// A host call with no fiber current: there is no record to keep an answer in, so it is a constant.
unsafe fn no_fiber(call: *mut ss_call) -> c_int {
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
    SS_ERROR as c_int
}
