//! Without the sanitizer nobody is told of anything: see `sanitizer.rs`.

use std::ffi::c_void;

use super::stack::FiberStack;

type Entry = unsafe extern "C" fn(*mut c_void);

/// Nothing.
#[derive(Clone, Copy)]
pub(super) struct Told;

/// What is kept in a link.
#[derive(Debug)]
pub(super) struct Sanitizer;

impl Sanitizer {
    pub const fn new() -> Sanitizer {
        Sanitizer
    }

    pub fn entry(&self, entry: Entry, data: *mut c_void) -> (Entry, *mut c_void) {
        (entry, data)
    }

    /// The fiber's stack is next. `on_host` follows.
    pub unsafe fn to_fiber(&self, _: &FiberStack) -> Told {
        Told
    }

    pub unsafe fn on_host(&self, _: Told) {}

    /// The thread's stack is next. `on_fiber` follows.
    pub unsafe fn to_host(&self) -> Told {
        Told
    }

    pub unsafe fn on_fiber(&self, _: Told) {}

    pub fn ended(&self, _: &FiberStack) {}
}
