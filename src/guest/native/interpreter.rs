//! The functions, on one thread.

use std::ffi::{CString, c_void};
use std::ptr;

use super::{Kind, entry};
use crate::abi::{
    SS_NATIVE_FAIL, SS_NATIVE_FOREIGN, SS_NATIVE_FUNCTION, SS_NATIVE_NOTHING, SS_NATIVE_PUBLIC, SS_NATIVE_RELEASE,
    SS_NATIVE_SLOT, SS_NATIVE_STOP, SS_NATIVE_TYPED, SS_NIL, SS_STRING, sidestack_payload, ss_current_thread,
    ss_native_anchor, ss_native_cxx_state, ss_native_entry, ss_native_run, ss_native_task, ss_value,
    ss_value__bindgen_ty_1 as Payload,
};
use crate::error::refused;
use crate::guest::{FiberSetup, Interpreter, Task, Values};
use crate::host::c_api::FOREIGN;

/// The functions of a [`Native`](super::Native), on one interpreter thread.
pub struct NativeInterpreter {
    functions: Vec<(String, Kind)>,
    /// The C++ runtime's state of this thread, two words, or null.
    cxx: *mut [usize; 2],
}

/// One run, and what its C side points to.
#[repr(C)]
pub struct Run {
    c: ss_native_run,
    scalars: Vec<sidestack_payload>,
    strings: Vec<CString>,
    message: String,
}

/// What each fiber has of its own in the C++ runtime: the exceptions that it handles, and how many it throws.
#[derive(Default)]
pub struct Saved([usize; 2]);

impl NativeInterpreter {
    pub(super) fn new(functions: Vec<(String, Kind)>) -> Self {
        // SAFETY: asks the loader for a function of no arguments, and calls it.
        let cxx = unsafe { ss_native_cxx_state() }.cast();
        NativeInterpreter { functions, cxx }
    }

    fn call(&self, run: &mut Run, export: &str, args: &Values) -> ss_native_task {
        if export == FOREIGN {
            return SS_NATIVE_FOREIGN;
        }
        let Some((_, kind)) = self.functions.iter().find(|(name, _)| name == export) else {
            return fail(run, refused::NOT_FOUND, format!("there is no C function `{export}`"));
        };
        match kind {
            Kind::Function(function) => {
                run.c.function = *function;
                SS_NATIVE_FUNCTION
            }
            Kind::Callable(function, data) => {
                run.c.callable = Some(*function);
                run.c.data = *data;
                SS_NATIVE_PUBLIC
            }
            Kind::Typed(typed) => {
                let mut taken = entry::Arguments::new(args, &mut run.scalars, &mut run.strings);
                match (typed.convert)(&mut taken).and_then(|()| taken.none_left()) {
                    Ok(()) => {
                        run.c.thunk = Some(typed.thunk);
                        run.c.typed = typed.function;
                        run.c.scalars = run.scalars.as_ptr();
                        SS_NATIVE_TYPED
                    }
                    Err(message) => fail(run, "convert", format!("{export}, {message}")),
                }
            }
        }
    }
}

fn fail(run: &mut Run, code: &'static str, message: String) -> ss_native_task {
    run.message = message;
    run.c.error = [text(code), text(&run.message)];
    SS_NATIVE_FAIL
}

fn text(text: &str) -> ss_value {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    ss_value { tag: SS_STRING, len, as_: Payload { bytes: text.as_ptr().cast() } }
}

const NIL: ss_value = ss_value { tag: SS_NIL, len: 0, as_: Payload { integer: 0 } };

/// A run of nothing.
fn nothing() -> ss_native_run {
    ss_native_run {
        task: SS_NATIVE_NOTHING,
        nargs: 0,
        args: ptr::null_mut(),
        function: None,
        callable: None,
        data: ptr::null_mut(),
        thunk: None,
        typed: ptr::null(),
        scalars: ptr::null(),
        slot: 0,
        slots: ptr::null(),
        nslots: 0,
        error: [NIL; 2],
    }
}

// SAFETY: `ss_native_entry` calls `ss_return` once and returns if the functions keep to their contracts, which those who add
// them to a `Native` vouch for; there is nothing to interrupt.
unsafe impl Interpreter for NativeInterpreter {
    type Run = Run;
    type Saved = Saved;
    const KILLS: bool = false;

    fn entry(&self) -> unsafe extern "C" fn(*mut c_void) {
        // It takes the first field of a `Run`, which is where the run is.
        ss_native_entry
    }

    fn interrupt(&self) -> Option<unsafe extern "C" fn()> {
        None
    }

    fn new_run(&mut self) -> Run {
        Run { c: nothing(), scalars: Vec::new(), strings: Vec::new(), message: String::new() }
    }

    fn prepare(&mut self, run: &mut Run, _fiber: &FiberSetup, task: &Task<'_>) {
        run.c = nothing();
        run.c.task = match task {
            Task::Call { export, args, .. } => {
                run.c.args = args.first.cast_mut();
                run.c.nargs = args.count;
                self.call(run, export, args)
            }
            Task::CallFunction { slot, args, .. } => {
                run.c.args = args.first.cast_mut();
                run.c.nargs = args.count;
                run.c.slot = *slot;
                SS_NATIVE_SLOT
            }
            Task::Release { slots } => {
                run.c.slots = slots.as_ptr();
                run.c.nslots = slots.len();
                SS_NATIVE_RELEASE
            }
            Task::Stop => SS_NATIVE_STOP,
            Task::Start => {
                // SAFETY: the thread's own state; the anchor is never read, only compared.
                unsafe { (*ss_current_thread()).guest = (&raw mut ss_native_anchor).cast() };
                SS_NATIVE_NOTHING
            }
            Task::Load { .. } | Task::Eval { .. } | Task::Main { .. } | Task::Collect => SS_NATIVE_NOTHING,
        };
    }

    fn ended(&mut self, run: &mut Run, _returned: bool) {
        run.scalars.clear();
        run.strings.clear();
    }

    #[inline]
    fn save(&mut self) -> Saved {
        if self.cxx.is_null() {
            return Saved::default();
        }
        // SAFETY: two words of this thread's own (csrc/native.h), which only code on this thread uses.
        Saved(unsafe { self.cxx.replace([0; 2]) })
    }

    #[inline]
    fn restore(&mut self, _run: &mut Run, saved: &Saved) {
        if !self.cxx.is_null() {
            // SAFETY: as in `save`.
            unsafe { self.cxx.write(saved.0) };
        }
    }

    fn in_finalizer(&self) -> bool {
        false
    }

    #[inline]
    fn over_memory(&mut self) -> Option<u64> {
        None
    }

    fn memory_used(&self) -> usize {
        0
    }
}
