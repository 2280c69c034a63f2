//! The last error's upcalls: csrc/last_error.c.

use std::ffi::c_char;

use super::entry::current;
use super::fence::{Panicked, fence};
use crate::abi::ss_thread;
use crate::host::last_error::{self, LastError, Raw};
use crate::host::record::FiberRecord;

/// A leaf, on any stack: it reads two pointers.
#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_last_error(thread: *mut ss_thread) -> *const Raw {
    // SAFETY: `thread` is the calling thread's own state; a current fiber's record is alive.
    unsafe {
        let record = current(thread);
        if record.is_null() {
            return last_error::own();
        }
        let last = &raw const (*record).last_error;
        (*last).as_ref().map_or(&raw const last_error::NONE, |last| last.raw())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_last_error_set(
    thread: *mut ss_thread,
    code: *const c_char,
    code_len: usize,
    message: *const c_char,
    message_len: usize,
) -> i64 {
    // SAFETY: the texts are as long as csrc/last_error.h says; the rest as above.
    unsafe {
        let record = current(thread);
        let record = (!record.is_null()).then_some(record);
        set(record, bytes(code, code_len), bytes(message, message_len));
    }
    0
}

/// Writes down a failure: a fiber's, or the calling thread's own. On the thread's stack.
pub unsafe fn set(record: Option<*mut FiberRecord>, code: &[u8], message: &[u8]) {
    let written = fence(|| {
        let last = LastError::new(code, message);
        match record {
            // SAFETY: a live fiber's, the caller vouches; nobody holds a reference into this field.
            Some(record) => unsafe { (*record).last_error = Some(last) },
            None => last_error::set_own(last),
        }
    });
    if let Err(Panicked(message)) = written {
        tracing::error!(target: "sidestack", %message, "a failure could not be written down");
    }
}

unsafe fn bytes<'a>(text: *const c_char, len: usize) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(text.cast(), len) }
}
