//! Why the last call into the host failed: one for each fiber, and one for each thread (`csrc/last_error.h`).

use std::cell::RefCell;
use std::ffi::{CString, c_char};

/// As C reads it: two terminated texts.
#[repr(C)]
#[derive(Debug)]
pub struct Raw {
    code: *const c_char,
    message: *const c_char,
}

// SAFETY: it points to texts that never change while C may read them.
unsafe impl Sync for Raw {}

/// There was none.
pub static NONE: Raw = Raw { code: c"".as_ptr(), message: c"".as_ptr() };

/// A failure, kept until the next one. Boxed: C reads `raw` at its address.
#[derive(Debug)]
pub struct LastError {
    raw: Raw,
    // What `raw` points into.
    _code: CString,
    _message: CString,
}

impl LastError {
    /// A failure with these texts, each up to its first NUL.
    pub fn new(code: &[u8], message: &[u8]) -> Box<LastError> {
        let (code, message) = (terminated(code), terminated(message));
        Box::new(LastError {
            raw: Raw { code: code.as_ptr(), message: message.as_ptr() },
            _code: code,
            _message: message,
        })
    }

    /// For C.
    pub fn raw(&self) -> *const Raw {
        &raw const self.raw
    }
}

fn terminated(text: &[u8]) -> CString {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    CString::new(text).expect("it has no NUL")
}

thread_local! {
    /// The thread's own, where no fiber is current.
    static OWN: RefCell<Option<Box<LastError>>> = const { RefCell::new(None) };
}

/// The calling thread's own. Drops nothing and allocates nothing.
pub fn own() -> *const Raw {
    let read = |own: &RefCell<Option<Box<LastError>>>| own.borrow().as_ref().map_or(&raw const NONE, |last| last.raw());
    // The thread's destructors may run C that asks.
    OWN.try_with(read).unwrap_or(&raw const NONE)
}

/// Writes the calling thread's own.
pub fn set_own(last: Box<LastError>) {
    let _ = OWN.try_with(|own| own.replace(Some(last)));
}
