//! One interpreter and its runs, as the worker handles them.

use std::ffi::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use super::bindings::{self as c, ssphp, ssphp_run};
use crate::guest::{FiberSetup, Interpreter, Setup, Task, Values};
use crate::{Error, abi};

/// What one interpreter thread has of PHP: its contexts.
#[derive(Debug)]
pub struct PhpInterpreter {
    raw: NonNull<ssphp>,
    /// The last run was `Task::Stop` and returned: no context is left.
    stopped: bool,
}

impl PhpInterpreter {
    pub(super) fn new(setup: &Setup) -> Result<Self, Error> {
        // SAFETY: `setup.host` outlives the interpreter (`Setup`); PHP has been started (`process::start`).
        let raw = unsafe { c::ssphp_new(setup.host, setup.memory) };
        match NonNull::new(raw) {
            Some(raw) => Ok(PhpInterpreter { raw, stopped: false }),
            None => Err(Error::System {
                what: "making a PHP interpreter".to_owned(),
                source: std::io::ErrorKind::OutOfMemory.into(),
            }),
        }
    }
}

impl Drop for PhpInterpreter {
    fn drop(&mut self) {
        if self.stopped {
            // SAFETY: STOP has returned, so no C frame and no context refers to the record; `raw` is dropped with us.
            unsafe { c::ssphp_free(self.raw.as_ptr()) }
        }
        // Not stopped: fibers may have been abandoned in the middle of it. Leaked, as the worker counts.
    }
}

fn set_text(run_text: &mut *const c_char, run_len: &mut usize, text: &[u8]) {
    *run_text = text.as_ptr().cast::<c_char>();
    *run_len = text.len();
}

fn set_folder(run: &mut ssphp_run, folder: &Path) {
    set_text(&mut run.folder, &mut run.folder_len, folder.as_os_str().as_bytes());
}

fn set_args(run: &mut ssphp_run, args: Values) {
    run.args = args.first;
    run.nargs = args.count;
}

// SAFETY: `ssphp_entry` raises nothing (each call of PHP is in a protected region of its own) and calls `ss_return` once on
// every path; `ssphp_interrupt` stores one atomic flag, and `ssphp_where` only reads.
unsafe impl Interpreter for PhpInterpreter {
    type Run = ssphp_run;
    /// Nothing: a run keeps what is its own, a context what is its.
    type Saved = ();
    /// Idle contexts are large.
    const BURST: usize = 32;
    const TOPS_KEPT: Duration = Duration::ZERO;
    /// A turn takes long, and is all over its context's memory.
    const MANY: usize = 3;
    const AHEAD: [usize; 3] = [2, 1, 0];

    fn entry(&self) -> unsafe extern "C" fn(*mut c_void) {
        c::ssphp_entry
    }

    fn interrupt(&self) -> Option<unsafe extern "C" fn()> {
        Some(c::ssphp_interrupt)
    }

    fn place(&self) -> Option<unsafe extern "C" fn(*mut c_char, usize)> {
        Some(c::ssphp_where)
    }

    fn new_run(&mut self) -> ssphp_run {
        // SAFETY: plain integers and pointers, for which zeros are values.
        unsafe { std::mem::zeroed() }
    }

    fn prepare(&mut self, run: &mut ssphp_run, fiber: &FiberSetup, task: &Task<'_>) {
        // SAFETY: the interpreter lives as long as `self`; the run is ours to overwrite (its last fiber has ended).
        unsafe { c::ssphp_run_begin(self.raw.as_ptr(), run, fiber.id, fiber.memory) };
        let kind = match *task {
            Task::Start => c::SSPHP_START,
            Task::Load { script, name, folder, source } => {
                run.script = script;
                set_text(&mut run.name, &mut run.name_len, name.as_bytes());
                set_folder(run, folder);
                set_text(&mut run.source, &mut run.source_len, source);
                c::SSPHP_LOAD
            }
            Task::Call { script, export, args } => {
                run.script = script;
                set_text(&mut run.name, &mut run.name_len, export.as_bytes());
                set_args(run, args);
                c::SSPHP_CALL
            }
            Task::CallFunction { slot, args, by_reference } => {
                run.slot = slot;
                set_args(run, args);
                run.by_reference = c_int::from(by_reference);
                c::SSPHP_CALL_FUNCTION
            }
            Task::Eval { name, folder, source, args } | Task::Main { name, folder, source, args } => {
                set_text(&mut run.name, &mut run.name_len, name.as_bytes());
                set_folder(run, folder);
                set_text(&mut run.source, &mut run.source_len, source);
                set_args(run, args);
                if matches!(task, Task::Main { .. }) { c::SSPHP_MAIN } else { c::SSPHP_EVAL }
            }
            Task::Release { slots } => {
                run.slots = slots.as_ptr();
                run.nslots = slots.len();
                c::SSPHP_RELEASE
            }
            Task::Collect => c::SSPHP_COLLECT,
            Task::Stop => c::SSPHP_STOP,
        };
        run.task = kind as c_int;
    }

    fn ended(&mut self, run: &mut ssphp_run, returned: bool) {
        if returned && run.task == c::SSPHP_STOP as c_int {
            self.stopped = true;
        }
        // SAFETY: `run` was begun by `prepare` or is all zeros, and its C frames are gone.
        unsafe { c::ssphp_run_end(run, c_int::from(returned)) }
    }

    fn lost(&mut self) {
        // SAFETY: the interpreter lives; its contexts are counted.
        unsafe { c::ssphp_lost(self.raw.as_ptr()) }
    }

    fn save(&mut self) {
        // SAFETY: the interpreter lives; it only reads this thread's state, and counts.
        unsafe { c::ssphp_leave(self.raw.as_ptr()) }
    }

    fn restore(&mut self, run: &mut ssphp_run, _saved: &()) {
        // SAFETY: `run` was begun by `prepare` and has not ended.
        unsafe { c::ssphp_enter(run) }
    }

    fn expect(run: &ssphp_run, _: &Self::Saved, rest: bool) {
        // SAFETY: `run` is all zeros or was begun by `prepare`; it has a context only while it is that one's, which lives then.
        unsafe { c::ssphp_expect(run, c_int::from(rest)) }
    }

    fn in_finalizer(&self) -> bool {
        // A destructor may wait: it has a C stack like everything else.
        false
    }

    fn over_memory(&mut self) -> Option<u64> {
        // SAFETY: the interpreter lives; counts are read, and a mark reset.
        match unsafe { c::ssphp_over_memory(self.raw.as_ptr()) } {
            0 => None,
            fiber => Some(fiber),
        }
    }

    fn position(&self, run: &ssphp_run, _saved: &()) -> Option<String> {
        let text = stack(run, &mut [0; 128], false);
        (!text.is_empty()).then_some(text)
    }

    fn stack(&self, run: &ssphp_run, _saved: &()) -> String {
        stack(run, &mut [0; abi::SS_SCRIPT as usize], true)
    }

    fn memory_used(&self) -> usize {
        // SAFETY: the interpreter lives; a field is read.
        unsafe { c::ssphp_memory_used(self.raw.as_ptr()) }
    }
}

/// Where a suspended run is: all of its frames, or the innermost one's place.
fn stack(run: &ssphp_run, text: &mut [u8], whole: bool) -> String {
    // SAFETY: `run` was begun by `prepare` and has not ended; its fiber is suspended, so nobody changes what is read.
    let length = unsafe { c::ssphp_stack(run, c_int::from(whole), text.as_mut_ptr().cast(), text.len()) };
    String::from_utf8_lossy(&text[..length]).into_owned()
}
