//! One universe and its runs, as the worker handles them.

use std::ffi::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};

use super::bindings::{self as c, sslua, sslua_run, sslua_saved};
use crate::guest::{FiberSetup, Interpreter, Setup, Task, Values};
use crate::{Error, abi};

/// The Lua text that builds the module `sidestack`.
const PRELUDE: &str = include_str!("../../../csrc/lua/prelude.lua");

/// One Lua state with all its threads.
#[derive(Debug)]
pub struct Universe {
    raw: NonNull<sslua>,
    left: Left,
}

/// What there is of a universe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Lua's heap and the rest.
    All,
    /// The last run was `Task::Stop` and returned: Lua's heap is gone and the rest may go too.
    Record,
    /// It was reclaimed.
    Nothing,
}

/// What a switch saves for a fiber: see `sslua_saved`.
#[derive(Debug, Clone, Copy)]
pub struct Saved(sslua_saved);

impl Default for Saved {
    fn default() -> Self {
        Saved(sslua_saved { current: ptr::null_mut() })
    }
}

impl Universe {
    pub(super) fn new(setup: &Setup, settings: u32) -> Result<Self, Error> {
        // SAFETY: `setup.host` outlives the interpreter (`Setup`), the prelude is static.
        let raw = unsafe {
            c::sslua_new(setup.host, setup.memory, settings, PRELUDE.as_ptr().cast::<c_char>(), PRELUDE.len())
        };
        match NonNull::new(raw) {
            Some(raw) => Ok(Universe { raw, left: Left::All }),
            None => Err(Error::System {
                what: "making a Lua universe".to_owned(),
                source: std::io::ErrorKind::OutOfMemory.into(),
            }),
        }
    }
}

impl Drop for Universe {
    fn drop(&mut self) {
        if self.left == Left::Record {
            // SAFETY: STOP has returned, so no C frame and no Lua heap refers to the record; `raw` is dropped with us.
            unsafe { c::sslua_free(self.raw.as_ptr()) }
        }
        // Not stopped: it was abandoned in the middle of something, as the worker counts.
    }
}

fn set_text(run_text: &mut *const c_char, run_len: &mut usize, text: &[u8]) {
    *run_text = text.as_ptr().cast::<c_char>();
    *run_len = text.len();
}

fn set_folder(run: &mut sslua_run, folder: &Path) {
    set_text(&mut run.folder, &mut run.folder_len, folder.as_os_str().as_bytes());
}

fn set_args(run: &mut sslua_run, args: Values) {
    run.args = args.first;
    run.nargs = args.count;
}

// SAFETY: `sslua_entry` raises nothing (its callees run under lua_resume and lua_pcall) and calls `ss_return` once on
// every path (`sslua_run.returned`); `sslua_interrupt` writes what `lua_sethook` does, which Lua documents for use in
// signal handlers.
unsafe impl Interpreter for Universe {
    type Run = sslua_run;
    type Saved = Saved;

    fn entry(&self) -> unsafe extern "C" fn(*mut c_void) {
        c::sslua_entry
    }

    fn interrupt(&self) -> Option<unsafe extern "C" fn()> {
        Some(c::sslua_interrupt)
    }

    fn place(&self) -> Option<unsafe extern "C" fn(*mut c_char, usize)> {
        Some(c::sslua_where)
    }

    #[inline]
    fn expect(_: &sslua_run, Saved(saved): &Saved, rest: bool) {
        // SAFETY: `leave` filled it in, or it names no Lua thread; one that it names lives at least until its fiber goes on.
        unsafe { c::sslua_expect(saved, c_int::from(rest)) }
    }

    fn new_run(&mut self) -> sslua_run {
        sslua_run {
            universe: ptr::null_mut(),
            globals: ptr::null_mut(),
            outer: ptr::null_mut(),
            account: 0,
            task: 0,
            by_reference: 0,
            script: 0,
            nargs: 0,
            args: ptr::null(),
            name: ptr::null(),
            name_len: 0,
            folder: ptr::null(),
            folder_len: 0,
            source: ptr::null(),
            source_len: 0,
            slot: 0,
            slots: ptr::null(),
            nslots: 0,
            fiber: 0,
            returned: 0,
            thread: ptr::null_mut(),
            home: ptr::null_mut(),
            waits: 0,
            random: [0; 4],
        }
    }

    fn prepare(&mut self, run: &mut sslua_run, fiber: &FiberSetup, task: &Task<'_>) {
        // SAFETY: the universe lives as long as `self`; the run is ours to overwrite (its last fiber has ended).
        unsafe { c::sslua_run_begin(self.raw.as_ptr(), run, fiber.id, fiber.memory) };
        let kind = match *task {
            Task::Start => c::SSLUA_START,
            Task::Load { script, name, folder, source } => {
                run.script = script;
                set_text(&mut run.name, &mut run.name_len, name.as_bytes());
                set_folder(run, folder);
                set_text(&mut run.source, &mut run.source_len, source);
                c::SSLUA_LOAD
            }
            Task::Call { script, export, args } => {
                run.script = script;
                set_text(&mut run.name, &mut run.name_len, export.as_bytes());
                set_args(run, args);
                c::SSLUA_CALL
            }
            Task::CallFunction { slot, args, by_reference } => {
                run.slot = slot;
                set_args(run, args);
                run.by_reference = c_int::from(by_reference);
                c::SSLUA_CALL_FUNCTION
            }
            Task::Eval { name, folder, source, args } | Task::Main { name, folder, source, args } => {
                set_text(&mut run.name, &mut run.name_len, name.as_bytes());
                set_folder(run, folder);
                set_text(&mut run.source, &mut run.source_len, source);
                set_args(run, args);
                c::SSLUA_EVAL
            }
            Task::Release { slots } => {
                run.slots = slots.as_ptr();
                run.nslots = slots.len();
                c::SSLUA_RELEASE
            }
            Task::Collect => c::SSLUA_COLLECT,
            Task::Stop => c::SSLUA_STOP,
        };
        run.task = kind as c_int;
    }

    fn ended(&mut self, run: &mut sslua_run, returned: bool) {
        if returned && run.task == c::SSLUA_STOP as c_int {
            self.left = Left::Record;
        }
        // SAFETY: `run` was begun by `prepare` (a null universe is accepted), and its C frames are gone.
        unsafe { c::sslua_run_end(run, c_int::from(returned)) }
    }

    #[inline]
    fn save(&mut self) -> Saved {
        let mut saved = Saved::default();
        // SAFETY: the universe lives; it only reads and writes this thread's state.
        unsafe { c::sslua_leave(self.raw.as_ptr(), &mut saved.0) };
        saved
    }

    #[inline]
    fn restore(&mut self, run: &mut sslua_run, saved: &Saved) {
        // SAFETY: `run` was begun by `prepare` and has not ended; `saved` is empty or what `save` gave for its fiber.
        unsafe { c::sslua_enter(run, &saved.0) }
    }

    #[inline]
    fn in_finalizer(&self) -> bool {
        // SAFETY: the universe lives; two fields are read.
        unsafe { c::sslua_in_finalizer(self.raw.as_ptr()) != 0 }
    }

    #[inline]
    fn over_memory(&mut self) -> Option<u64> {
        // SAFETY: the universe lives; a field is read and reset.
        match unsafe { c::sslua_over_memory(self.raw.as_ptr()) } {
            0 => None,
            fiber => Some(fiber),
        }
    }

    fn position(&self, run: &sslua_run, saved: &Saved) -> Option<String> {
        let text = stack(run, saved, &mut [0; 128], false);
        (!text.is_empty()).then_some(text)
    }

    fn stack(&self, run: &sslua_run, saved: &Saved) -> String {
        stack(run, saved, &mut [0; abi::SS_SCRIPT as usize], true)
    }

    fn memory_used(&self) -> usize {
        // SAFETY: the universe lives; a field is read.
        unsafe { c::sslua_memory_used(self.raw.as_ptr()) }
    }

    unsafe fn reclaim(&mut self) -> bool {
        // SAFETY: nothing refers to it any more: no C frame (the caller's promise), and of Rust only `self`, by which nothing
        // is asked again.
        if self.left == Left::All && unsafe { c::sslua_reclaim(self.raw.as_ptr()) } != 0 {
            self.left = Left::Nothing;
        }
        self.left != Left::All
    }
}

/// Where a suspended run is: all of its frames, or the innermost one's place.
fn stack(run: &sslua_run, saved: &Saved, text: &mut [u8], whole: bool) -> String {
    // SAFETY: `run` was begun by `prepare` and has not ended, its fiber is suspended and `saved` is what `save` gave for
    // it: the Lua threads that they name live, and nobody changes them meanwhile.
    let length =
        unsafe { c::sslua_stack(run, &raw const saved.0, c_int::from(whole), text.as_mut_ptr().cast(), text.len()) };
    String::from_utf8_lossy(&text[..length]).into_owned()
}
