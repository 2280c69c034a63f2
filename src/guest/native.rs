//! Plain C functions as guests: each call of one runs on a fiber of its own.

use std::ffi::c_void;

use super::{FiberSetup, Guest, Interpreter, Setup, Task};
use crate::Error;
use crate::abi::{ss_native_entry, ss_native_function, ss_native_run};
use crate::error::refused;

/// A plain C function that runs on a fiber: see `ss_native_function` in `csrc/native.h`.
pub type NativeFunction = ss_native_function;

/// A table of C functions, callable by name on any script of the engine (`engine.load_text("native", "")`).
#[derive(Default)]
pub struct Native {
    functions: Vec<(String, NativeFunction)>,
}

impl Native {
    /// An empty table.
    pub fn new() -> Self {
        Native::default()
    }

    /// Adds a C function.
    ///
    /// # Safety
    ///
    /// It keeps to `csrc/native.h`: it returns normally, nothing unwinds or jumps out of it, and it calls the host only
    /// through `csrc/crossing.h`, from the interpreter thread.
    pub unsafe fn function(mut self, name: impl Into<String>, function: NativeFunction) -> Self {
        self.functions.push((name.into(), function));
        self
    }
}

impl Guest for Native {
    type Interpreter = NativeInterpreter;

    fn name(&self) -> &'static str {
        "native"
    }

    fn create(&self, _setup: &Setup) -> Result<NativeInterpreter, Error> {
        let functions = self.functions.iter().map(|(name, function)| (name.clone(), *function)).collect();
        Ok(NativeInterpreter { functions })
    }
}

/// The functions, on one thread.
pub struct NativeInterpreter {
    functions: Vec<(String, NativeFunction)>,
}

unsafe extern "C" fn not_found(
    _args: *mut crate::abi::ss_value,
    _nargs: u32,
    result: *mut crate::abi::ss_value,
) -> std::ffi::c_int {
    const MESSAGE: &str = "there is no C function of this name";
    const { assert!(!refused::NOT_FOUND.is_empty()) };
    // SAFETY: the entry gives a valid place for the result.
    unsafe {
        (*result).tag = crate::abi::SS_STRING;
        (*result).len = MESSAGE.len() as u32;
        (*result).as_.bytes = MESSAGE.as_ptr().cast();
    }
    crate::abi::SS_ERROR as std::ffi::c_int
}

// SAFETY: `ss_native_entry` calls `ss_return` once and returns if the functions keep to their contract, which
// `Native::function` demands; there is nothing to interrupt.
unsafe impl Interpreter for NativeInterpreter {
    type Run = ss_native_run;
    type Saved = ();

    fn entry(&self) -> unsafe extern "C" fn(*mut c_void) {
        ss_native_entry
    }

    fn interrupt(&self) -> Option<unsafe extern "C" fn()> {
        None
    }

    fn new_run(&mut self) -> ss_native_run {
        ss_native_run { function: None, args: std::ptr::null_mut(), nargs: 0 }
    }

    fn prepare(&mut self, run: &mut ss_native_run, _fiber: &FiberSetup, task: &Task<'_>) {
        let (function, args) = match task {
            Task::Call { export, args, .. } => {
                let found = self.functions.iter().find(|(name, _)| name == export);
                (found.map_or(Some(not_found as _), |(_, function)| *function), Some(args))
            }
            _ => (None, None),
        };
        run.function = function;
        run.args = args.map_or(std::ptr::null_mut(), |args| args.first.cast_mut());
        run.nargs = args.map_or(0, |args| args.count);
    }

    fn ended(&mut self, _run: &mut ss_native_run, _returned: bool) {}

    fn save(&mut self) {}

    fn restore(&mut self, _run: &mut ss_native_run, _saved: &()) {}

    fn in_finalizer(&self) -> bool {
        false
    }

    fn over_memory(&mut self) -> Option<u64> {
        None
    }

    fn memory_used(&self) -> usize {
        0
    }
}
