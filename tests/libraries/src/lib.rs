//! C libraries as they are (SQLite, zlib, expat, libc), on fibers: their callbacks wait for async host functions.
//!
//! The code between them and the C API is in `csrc`. Only tests use this crate.

// The libraries are linked only if their crates are named.
use {libsqlite3_sys as _, libz_sys as _};

use std::ffi::{c_int, c_void};
use std::ptr;

use sidestack::Native;
use sidestack::guest::native::{CallableFunction, sidestack_results};
use sidestack::guest::ss_value;

macro_rules! callables { ($($(#[$attribute:meta])? $name:ident)*) => {
    unsafe extern "C" {
        $($(#[$attribute])?
        fn $name(data: *mut c_void, args: *const ss_value, nargs: u32, results: *mut sidestack_results) -> c_int;)*
    }

    /// By name, without the prefix.
    const CALLABLES: &[(&str, CallableFunction)] = &[$($(#[$attribute])? (stringify!($name), $name)),*];
}}

callables! {
    library_sort library_search
    library_query library_query_serialized
    library_inflate
    #[cfg(expat)] library_sax
}

unsafe extern "C" {
    fn library_sqlite_setup() -> c_int;
    fn library_inflate_live() -> i64;
    fn library_gzip(bytes: *const u8, length: usize, to: *mut u8, room: usize) -> usize;
    #[cfg(expat)]
    fn library_sax_state(bytes: *mut i64, late: *mut i64, status: *mut c_int, aborted: *mut c_int);
}

/// Whether expat was there when this was built (Debian's `libexpat1-dev`).
pub const EXPAT: bool = cfg!(expat);

/// All functions: `library_sort` is `sort`.
pub fn native() -> Native {
    CALLABLES.iter().fold(Native::new(), |native, (name, function)| {
        // SAFETY: tests/libraries/csrc keeps to sidestack.h.
        unsafe { native.callable(name.trim_start_matches("library_"), *function, ptr::null_mut()) }
    })
}

/// Configures SQLite for the process; nothing else of it may have been used before.
pub fn set_up_sqlite() {
    // SAFETY: may be called any number of times, from any thread.
    assert_eq!(unsafe { library_sqlite_setup() }, 1, "SQLite was used before it was set up");
}

/// Bytes that SQLite holds.
pub fn sqlite_memory() -> i64 {
    // SAFETY: may be called from any thread.
    unsafe { libsqlite3_sys::sqlite3_memory_used() }
}

/// A gzip stream, with all the optional fields in its header.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0; bytes.len() + bytes.len() / 100 + 1000];
    // SAFETY: it reads and fills no more than these lengths.
    let length = unsafe { library_gzip(bytes.as_ptr(), bytes.len(), stream.as_mut_ptr(), stream.len()) };
    assert_ne!(length, 0, "there is room");
    stream.truncate(length);
    stream
}

/// Allocations that zlib holds for streams being inflated.
pub fn zlib_live() -> i64 {
    // SAFETY: may be called from any thread.
    unsafe { library_inflate_live() }
}

/// What expat's parsers left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsers {
    /// Bytes that expat holds.
    pub bytes: i64,
    /// Callbacks that came after their parser had been told to stop.
    pub late: i64,
    /// The status that the last parser was stopped with.
    pub status: i32,
    /// Whether it ended for that reason.
    pub aborted: bool,
}

/// What expat's parsers left.
#[cfg(expat)]
pub fn parsers() -> Parsers {
    let mut left = Parsers::default();
    let mut aborted = 0;
    // SAFETY: it fills the four of them.
    unsafe { library_sax_state(&raw mut left.bytes, &raw mut left.late, &raw mut left.status, &raw mut aborted) };
    left.aborted = aborted != 0;
    left
}
