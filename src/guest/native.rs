//! Plain C functions as guests: each call of one runs on a fiber of its own.
//!
//! There are three kinds of them. [`Native::callable`] takes functions over the C API (`csrc/sidestack.h`); [`Native::entry`]
//! any C function of scalars, which need not know of Sidestack at all; [`Native::function`] those over the shims' own headers.
//! Where they come from is up to the program: linked to it, or from a shared library by [`Library`].
//!
//! A C function that calls the host, or `sidestack_poll()`, ends by itself when its call is cancelled or
//! its deadline passes: it is told `SIDESTACK_CANCELLED`, from then on each time it would wait. One that does neither runs to
//! its end: nothing can stop a C loop from outside, and until it ends its interpreter runs nothing else. If it was cancelled
//! the interpreter is given up in the end ([`Builder::give_up_after`](crate::Builder::give_up_after)), and replaced.

mod entry;
mod interpreter;
mod library;

use std::ffi::{c_int, c_void};

use super::{Guest, Setup};
use crate::Error;
pub use crate::abi::sidestack_results;
use crate::abi::{ss_native_function, ss_value};

pub use entry::{Entry, Scalar, ScalarResult};
pub use interpreter::NativeInterpreter;
pub use library::{FunctionPointer, Library};

/// A C function over the shims' headers: see `ss_native_function` in `csrc/native.h`.
pub type NativeFunction = ss_native_function;

/// A C function over the C API: `sidestack_function` in `csrc/sidestack.h`, with data, arguments, their number, results.
pub type CallableFunction = unsafe extern "C" fn(*mut c_void, *const ss_value, u32, *mut sidestack_results) -> c_int;

/// A table of C functions, callable by name on any script of the engine (`engine.load_text("native", "")`).
///
/// ```
/// use sidestack::{Engine, Native};
///
/// extern "C" fn area(width: i64, height: f64) -> f64 {
///     width as f64 * height
/// }
///
/// # fn main() -> Result<(), sidestack::Error> {
/// // SAFETY: the function does what its signature says.
/// let native = unsafe { Native::new().entry("area", area as extern "C" fn(i64, f64) -> f64) };
/// let engine = Engine::builder(native).threads(1).build()?;
/// let c = futures_executor::block_on(engine.load_text("c", ""))?;
/// assert_eq!(c.call_blocking::<f64>("area", (3, 1.5))?, 4.5);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Native {
    functions: Vec<(String, Kind)>,
}

/// How a function is called.
#[derive(Clone, Copy)]
enum Kind {
    Function(NativeFunction),
    Callable(CallableFunction, *mut c_void),
    Typed(entry::Typed),
}

// SAFETY: functions, and a pointer that the caller of `Native::callable` lets every interpreter thread have.
unsafe impl Send for Kind {}
// SAFETY: as above.
unsafe impl Sync for Kind {}

impl Native {
    /// An empty table.
    pub fn new() -> Self {
        Native::default()
    }

    fn add(mut self, name: impl Into<String>, kind: Kind) -> Self {
        self.functions.push((name.into(), kind));
        self
    }

    /// Adds a C function over the shims' headers.
    ///
    /// # Safety
    ///
    /// It keeps to `csrc/native.h`: it returns normally, nothing unwinds or jumps out of it, and it calls the host only
    /// through `csrc/crossing.h`, from the interpreter thread.
    #[must_use]
    pub unsafe fn function(self, name: impl Into<String>, function: NativeFunction) -> Self {
        self.add(name, Kind::Function(function))
    }

    /// Adds a C function over the C API, which gets `data` with each call.
    ///
    /// Its failure is the call's [`Error::Script`], with the code and message of its last error; if that came from a host
    /// function, with the original error too ([`Error::host`]). A C++ exception that leaves it is its failure, with the
    /// code `cpp_exception`.
    ///
    /// # Safety
    ///
    /// It keeps to `sidestack_function` in `csrc/sidestack.h`, on every interpreter thread, at the same time, for as long as the
    /// engine lives.
    #[must_use]
    pub unsafe fn callable(self, name: impl Into<String>, function: CallableFunction, data: *mut c_void) -> Self {
        self.add(name, Kind::Callable(function, data))
    }

    /// Adds any C function of up to eight scalars: integers, floats, `bool`, and `*const c_char` for text (null for nil).
    ///
    /// Arguments are converted, and text is terminated, before the function starts; the call fails with
    /// [`Error::Script`] and the code `convert` if they do not fit. Text that it returns is copied. Name the type of
    /// the function pointer: `area as extern "C" fn(i64, f64) -> f64`.
    ///
    /// # Safety
    ///
    /// The function may be called with any such arguments on every interpreter thread; text is valid until it returns. What
    /// it returns as text is null or terminated, and valid until it is called again on the same thread. It returns
    /// normally, or throws a C++ exception.
    #[must_use]
    pub unsafe fn entry<M>(self, name: impl Into<String>, function: impl Entry<M>) -> Self {
        self.add(name, Kind::Typed(function.typed()))
    }
}

impl Guest for Native {
    type Interpreter = NativeInterpreter;

    fn name(&self) -> &'static str {
        "native"
    }

    fn create(&self, _setup: &Setup) -> Result<NativeInterpreter, Error> {
        Ok(NativeInterpreter::new(self.functions.clone()))
    }
}
