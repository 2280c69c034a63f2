//! The C and C++ functions of the suspension matrix (`csrc/ways.c`, `csrc/loaded/ways.cc`).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use sidestack::guest::native::{CallableFunction, Library, sidestack_results};
use sidestack::guest::ss_value;
use sidestack::{Error, Native};

macro_rules! ways { ($($name:ident)*) => {
    unsafe extern "C" {
        $(fn $name(data: *mut c_void, args: *const ss_value, nargs: u32, results: *mut sidestack_results) -> c_int;)*
    }

    const WAYS: &[(&str, CallableFunction)] = &[$((stringify!($name), $name)),*];
}}

ways! {
    ways_plain ways_nested ways_pointer ways_frame ways_callback ways_callback_in_callback ways_callback_of_c ways_after_failure
    ways_qsort ways_qsort_r ways_bsearch ways_lfind ways_tree ways_stream ways_cleanup ways_destroy ways_after_jump
    ways_coroutine ways_coroutine_in_coroutine ways_spawned ways_all ways_signal ways_call_text
}

unsafe extern "C" {
    fn ways_in_host(n: i64, point: *const c_char, key: *const c_char) -> *const c_char;
}

const CPP: [&str; 8] = ["constructor", "destructor", "unwinding", "virtual", "operator", "iterator", "sort", "closure"];

/// `ways_plain` is `plain`; of the C++ library, `ways_cpp_sort` is `cpp_sort`. Each takes (n, point, key) and gives text.
pub fn native() -> Result<Native, Error> {
    // SAFETY: csrc/ways.c and csrc/loaded/ways.cc keep to sidestack.h, and the signatures above are theirs.
    unsafe {
        let name = |symbol: &'static str| symbol.trim_start_matches("ways_");
        let native = WAYS
            .iter()
            .fold(Native::new(), |native, (symbol, way)| native.callable(name(symbol), *way, ptr::null_mut()));
        let path = env!("SIDESTACK_TEST_WAYS");
        if path.is_empty() {
            return Err(Error::System {
                what: "the ways of C++ need a C++ compiler".into(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        }
        let library = Library::open(path)?;
        CPP.iter().try_fold(native, |native, name| {
            let way = library.get::<CallableFunction>(&format!("ways_cpp_{name}"))?;
            Ok(native.callable(format!("cpp_{name}"), way, ptr::null_mut()))
        })
    }
}

/// Host code calls C, which waits for the point: the error's code, or nothing.
pub fn in_host(n: i64, point: &str, key: &str) -> String {
    let (point, key) = (CString::new(point).expect("no NUL"), CString::new(key).expect("no NUL"));
    // SAFETY: terminated texts that live as long as the call; the result is terminated and copied before any other call.
    unsafe { CStr::from_ptr(ways_in_host(n, point.as_ptr(), key.as_ptr())) }.to_string_lossy().into_owned()
}
