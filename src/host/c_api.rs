//! What C code makes by the C API (`csrc/sidestack.h`): handles for its own pointers, callbacks, and the last error.
//!
//! Handles and callbacks are keys of the interpreter's table, beside those of host objects, so that the four errors of a bad
//! key are the same ones.

use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::abi::{sidestack_kind, ss_callback, ss_taken, ss_value};

/// The export by which a foreign thread's host calls reach an interpreter of C code.
pub const FOREIGN: &str = "sidestack.foreign";

/// The code of the error that a released callback's caller gets.
pub const RELEASED_CALLBACK: &str = "released_callback";

/// What C gave into the table's keeping: it comes out once, taken by C code, which destroys it on a fiber's stack; or it is
/// destroyed here, on the thread's, when the table goes with its interpreter.
pub struct Kept {
    what: ss_taken,
    taken: AtomicBool,
}

impl Kept {
    fn new(pointer: *mut c_void, destroy: Option<unsafe extern "C" fn(*mut c_void)>) -> Kept {
        Kept { what: ss_taken { pointer, destroy }, taken: AtomicBool::new(false) }
    }

    /// For C to destroy.
    pub fn take(&self) -> ss_taken {
        self.taken.store(true, Ordering::Relaxed);
        self.what
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !*self.taken.get_mut()
            && let Some(destroy) = self.what.destroy
        {
            // SAFETY: what C asked for, on its interpreter's thread, which owns the table; where no fiber runs it is refused
            // whatever it would ask of the host.
            unsafe { destroy(self.what.pointer) };
        }
    }
}

/// A C pointer behind a handle.
pub struct Pointer {
    /// What C gave.
    pub pointer: *mut c_void,
    /// Its kind: compared by address.
    pub kind: *const sidestack_kind,
    /// The same, for its end.
    pub kept: Kept,
}

impl Pointer {
    /// A pointer of this kind.
    ///
    /// # Safety
    ///
    /// `kind` is null or a constant of C's (csrc/sidestack.h).
    pub unsafe fn new(pointer: *mut c_void, kind: *const sidestack_kind) -> Pointer {
        // SAFETY: the caller's promise.
        let destroy = unsafe { kind.as_ref() }.and_then(|kind| kind.destroy);
        Pointer { pointer, kind, kept: Kept::new(pointer, destroy) }
    }
}

// SAFETY: nothing but C on the interpreter's own thread follows the pointers; here they are numbers.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// A C function and its data.
pub struct Callback {
    /// What C gave.
    pub callback: ss_callback,
    /// The data, for its end.
    pub kept: Kept,
}

impl Callback {
    /// From C.
    pub fn new(callback: ss_callback) -> Callback {
        Callback { callback, kept: Kept::new(callback.data, callback.destroy) }
    }
}

// SAFETY: as for `Pointer`.
unsafe impl Send for Callback {}
// SAFETY: as for `Pointer`.
unsafe impl Sync for Callback {}

/// An error as C reads it: terminated strings.
pub struct LastError {
    code: Option<CString>,
    message: CString,
    /// Under which the host keeps the original.
    id: i64,
}

impl LastError {
    /// From text; what cannot be in a terminated string is left out.
    pub fn new(code: Option<&[u8]>, message: &[u8], id: i64) -> LastError {
        let clean = |text: &[u8]| {
            CString::new(text.iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>()).unwrap_or_default()
        };
        LastError { code: code.filter(|code| !code.is_empty()).map(clean), message: clean(message), id }
    }

    /// From an error's four values (csrc/crossing.h).
    ///
    /// # Safety
    ///
    /// They are four, and their strings are valid.
    pub unsafe fn read(error: *const ss_value) -> LastError {
        // SAFETY: the caller's promise.
        unsafe {
            let text = |at: usize| {
                let value = &*error.add(at);
                (value.tag == crate::abi::SS_STRING && value.len > 0)
                    .then(|| std::slice::from_raw_parts(value.as_.bytes.cast::<u8>(), value.len as usize))
            };
            LastError::new(text(0), text(1).unwrap_or_default(), (*error.add(3)).as_.integer)
        }
    }

    /// Writes the last error's values, or those of none: no code, and an empty message.
    ///
    /// # Safety
    ///
    /// There is room for four.
    pub unsafe fn write(last: Option<&LastError>, error: *mut ss_value) {
        const NONE: ss_value = ss_value {
            tag: crate::abi::SS_NIL,
            len: 0,
            as_: crate::abi::ss_value__bindgen_ty_1 { bytes: c"".as_ptr() },
        };
        let values = last.map_or([NONE; 4], LastError::values);
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), error, values.len()) };
    }

    /// Code, message, traceback and id; the strings are valid as long as this.
    fn values(&self) -> [ss_value; 4] {
        let text = |text: &CString| ss_value {
            tag: crate::abi::SS_STRING,
            len: u32::try_from(text.as_bytes().len()).unwrap_or(0),
            as_: crate::abi::ss_value__bindgen_ty_1 { bytes: text.as_ptr() },
        };
        let number = |tag, integer| ss_value { tag, len: 0, as_: crate::abi::ss_value__bindgen_ty_1 { integer } };
        let nil = number(crate::abi::SS_NIL, 0);
        [self.code.as_ref().map_or(nil, text), text(&self.message), nil, number(crate::abi::SS_INT, self.id)]
    }
}
