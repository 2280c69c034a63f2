//! Engines for programs in C: `sidestack_engine_*` in csrc/sidestack.h. Everything here runs on threads of the program's own.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use futures_executor::block_on;
use host::guest::native::{CallableFunction, sidestack_results};
use host::guest::ss_value;
use host::value::{Flat, Many, Run};
use host::{Engine, Error, Limit, Native, Rest, Script, Value};

const OK: c_int = 0;
const ERROR: c_int = 1;
const CANCELLED: c_int = 2;
const REFUSED: c_int = 3;

unsafe extern "C" {
    /// csrc/api.h: sets the last error and returns the status.
    fn ss_api_error(status: c_int, code: *const c_char, message: *const c_char) -> c_int;
    /// csrc/sidestack.h, by its second name.
    fn ss_api_results_set(results: *mut sidestack_results, run: *const ss_value, count: u32) -> c_int;
    /// csrc/sidestack.h, by its second name.
    fn ss_api_fiber() -> u64;
}

/// `sidestack_engine`.
pub struct Interpreters {
    engine: Engine,
    functions: Script,
}

/// `sidestack_export`.
#[repr(C)]
pub struct Export {
    name: *const c_char,
    function: CallableFunction,
    data: *mut c_void,
}

/// `sidestack_options`.
#[repr(C)]
pub struct Options {
    threads: u32,
    fibers: u32,
    stack: u64,
    deadline_ms: u64,
}

/// A status with the last error's code and message.
struct Failed(c_int, String, String);

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        let status = match error {
            Error::Cancelled | Error::Limit { which: Limit::Deadline, .. } => CANCELLED,
            Error::Refused { .. } => REFUSED,
            _ => ERROR,
        };
        Failed(status, error.code().unwrap_or_default().into(), error.to_string())
    }
}

fn told(work: impl FnOnce() -> Result<(), Failed>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        Err(Failed(ERROR, "panic".into(), "the library panicked; its message is on the standard error".into()))
    });
    let Err(Failed(status, code, message)) = result else { return OK };
    let text = |text: String| CString::new(text.replace('\0', "")).unwrap_or_default();
    let (code, message) = (text(code), text(message));
    // SAFETY: two terminated strings, which it copies.
    unsafe { ss_api_error(status, code.as_ptr(), message.as_ptr()) }
}

/// Waiting on an interpreter's thread would keep its fibers from running.
fn may_block() -> Result<(), Failed> {
    // SAFETY: reads the thread's state.
    match unsafe { ss_api_fiber() } {
        0 => Ok(()),
        _ => Err(Failed(REFUSED, "would_block_own_interpreter".into(), "a fiber would block its own thread".into())),
    }
}

unsafe fn name(name: *const c_char) -> Result<String, Failed> {
    // SAFETY: a terminated string (csrc/sidestack.h).
    let name = unsafe { CStr::from_ptr(name) };
    let text = name.to_str().map_err(|_| Failed(ERROR, "bad_setting".into(), "a name is not UTF-8".into()))?;
    Ok(text.to_owned())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sidestack_engine_new(
    options: *const Options,
    functions: *const Export,
    nfunctions: usize,
    engine: *mut *mut Interpreters,
) -> c_int {
    told(|| {
        // SAFETY: csrc/sidestack.h: `nfunctions` exports, options or null, and a place for the engine.
        unsafe {
            *engine = ptr::null_mut();
            may_block()?;
            let mut native = Native::new();
            for i in 0..nfunctions {
                let Export { name: given, function, data } = functions.add(i).read();
                native = native.callable(name(given)?, function, data);
            }
            let mut builder = Engine::builder(native);
            if let Some(options) = options.as_ref() {
                if options.threads > 0 {
                    builder = builder.threads(options.threads as usize);
                }
                if options.fibers > 0 {
                    builder = builder.fibers(options.fibers as usize);
                }
                if options.stack > 0 {
                    builder = builder.stack(usize::try_from(options.stack).unwrap_or(usize::MAX));
                }
                if options.deadline_ms > 0 {
                    builder = builder.deadline(Duration::from_millis(options.deadline_ms));
                }
            }
            let built = builder.build()?;
            let functions = block_on(built.load_text("c", ""))?;
            *engine = Box::into_raw(Box::new(Interpreters { engine: built, functions }));
            Ok(())
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sidestack_engine_call(
    engine: *mut Interpreters,
    function: *const c_char,
    args: *mut ss_value,
    nargs: u32,
    deadline_ms: u64,
    results: *mut sidestack_results,
) -> c_int {
    told(|| {
        // SAFETY: csrc/sidestack.h: an engine that is not freed, a run of arguments, results or null.
        unsafe {
            let function = name(function)?;
            let mut run = Run::new(args, nargs);
            let mut given = Vec::with_capacity(nargs as usize);
            while run.left() > 0 {
                let value: Value = run.next(&mut ()).map_err(|e| {
                    Failed(REFUSED, "not_for_threads".into(), format!("argument {}: {e}", given.len() + 1))
                })?;
                given.push(value);
            }
            let mut call = (*engine).functions.call::<Many<Value>>(&function, Rest(given));
            if deadline_ms > 0 {
                call = call.deadline(Duration::from_millis(deadline_ms));
            }
            let Many(values) = call.blocking()?;
            let mut flat = Flat::new();
            flat.push_args(&Rest(values)).map_err(|e| Failed(ERROR, "convert".into(), e.to_string()))?;
            if flat.has_attachments() {
                let message = "the result holds a function or an object of an interpreter's";
                return Err(Failed(REFUSED, "not_for_threads".into(), message.into()));
            }
            if results.is_null() {
                return Ok(());
            }
            let (values, count) = flat.as_raw();
            match ss_api_results_set(results, values, count) {
                OK => Ok(()),
                status => Err(Failed(status, "memory".into(), "not enough memory for results".into())),
            }
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sidestack_engine_free(engine: *mut Interpreters, patience_ms: u64) -> c_int {
    told(|| {
        if engine.is_null() {
            return Ok(());
        }
        may_block()?;
        // SAFETY: what `sidestack_engine_new` gave, once (csrc/sidestack.h).
        let Interpreters { engine, functions } = *unsafe { Box::from_raw(engine) };
        drop(functions);
        match block_on(engine.shutdown(Duration::from_millis(patience_ms))).stuck {
            0 => Ok(()),
            stuck => Err(Failed(ERROR, "stuck".into(), format!("{stuck} interpreters did not end"))),
        }
    })
}
