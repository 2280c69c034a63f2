//! Plain C functions as guests.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int};
use std::sync::{Arc, Mutex};

use sidestack::Error;
use sidestack::guest::native::NativeInterpreter;
use sidestack::guest::{Guest, Setup, ss_value};
use sidestack::{Native, guest::native::NativeFunction};

unsafe extern "C" {
    fn guests_call(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_pattern(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_small_stack(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_interleave(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_jump(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_handle(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_keep(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_keep_result(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_use_kept(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_stubborn(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn guests_call_back(id: u32, argument: i64, out: *mut i64) -> *const c_char;
    fn guests_call_back_with_function(id: u32) -> *const c_char;
}

/// All C functions of csrc/guests.c that run on fibers.
fn native() -> Native {
    let all: [(&str, NativeFunction); 10] = [
        ("call", Some(guests_call)),
        ("pattern", Some(guests_pattern)),
        ("small_stack", Some(guests_small_stack)),
        ("interleave", Some(guests_interleave)),
        ("jump", Some(guests_jump)),
        ("handle", Some(guests_handle)),
        ("keep", Some(guests_keep)),
        ("keep_result", Some(guests_keep_result)),
        ("use_kept", Some(guests_use_kept)),
        ("stubborn", Some(guests_stubborn)),
    ];
    let native = crate::faults::native(Native::new());
    all.into_iter().fold(native, |native, (name, function)| {
        // SAFETY: csrc/guests.c keeps to native.h.
        unsafe { native.function(name, function) }
    })
}

/// The numbers of host functions, by module and name: what C calls them by.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<HashMap<String, u32>>>);

impl Numbers {
    /// The number of "module.name".
    pub fn of(&self, name: &str) -> u32 {
        self.0.lock().expect("not poisoned")[name]
    }
}

/// The guest of csrc/guests.c.
pub struct Guests {
    native: Native,
    numbers: Numbers,
}

impl Guests {
    /// The guest, and where the numbers are once its engine is built.
    pub fn new() -> (Guests, Numbers) {
        let numbers = Numbers::default();
        (Guests { native: native(), numbers: numbers.clone() }, numbers)
    }
}

impl Guest for Guests {
    type Interpreter = NativeInterpreter;

    fn name(&self) -> &'static str {
        "guests"
    }

    fn create(&self, setup: &Setup) -> Result<NativeInterpreter, Error> {
        let mut numbers = self.numbers.0.lock().expect("not poisoned");
        // SAFETY: the description is valid as long as the interpreter (`Setup::host`), names are terminated.
        unsafe {
            let host = &*setup.host;
            for module in std::slice::from_raw_parts(host.modules, host.nmodules as usize) {
                for i in 0..module.nfunctions as usize {
                    let function = &*module.functions.add(i);
                    let (module, name) = (CStr::from_ptr(module.name), CStr::from_ptr(function.name));
                    numbers.insert(format!("{}.{}", module.to_string_lossy(), name.to_string_lossy()), function.id);
                }
            }
        }
        self.native.create(setup)
    }
}

unsafe fn code(code: *const c_char) -> Option<String> {
    // SAFETY: null, or a terminated string of the C code's that is valid until its next call on this thread.
    (!code.is_null()).then(|| unsafe { CStr::from_ptr(code) }.to_string_lossy().into_owned())
}

/// C code, called by host code, calls a host function: its result, or the error's code.
pub fn call_back(number: u32, argument: i64) -> Result<i64, String> {
    let mut out = 0;
    // SAFETY: the C function calls the host, which may be done on any thread.
    match unsafe { code(guests_call_back(number, argument, &raw mut out)) } {
        None => Ok(out),
        Some(code) => Err(code),
    }
}

/// As [`call_back`], with a guest's function as the argument.
pub fn call_back_with_function(number: u32) -> Result<(), String> {
    // SAFETY: as in `call_back`.
    unsafe { code(guests_call_back_with_function(number)) }.map_or(Ok(()), Err)
}
