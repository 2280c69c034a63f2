//! Exported functions for the tests, and a guest that runs any C function `int64_t f(int64_t)` on a fiber.

pub mod functions;
pub mod stage;

use std::ffi::{CStr, c_char, c_int};
use std::time::Duration;

use sidestack::guest::ss_value;
use sidestack::{Call, Cx, Engine, Function, Module, Native, Script};

/// A C function of the tests'.
pub type Case = unsafe extern "C" fn(i64) -> i64;

unsafe extern "C" {
    fn glue_run(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn sidestack_error_code() -> *const c_char;
    fn sidestack_error_message() -> *const c_char;
}

/// One interpreter that runs C functions.
pub struct Bed {
    /// The engine.
    pub engine: Engine,
    script: Script,
}

impl Bed {
    /// An engine with one interpreter.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[expect(clippy::new_without_default, reason = "starting an engine is no default")]
    pub fn new() -> Bed {
        // SAFETY: csrc/glue.c keeps to native.h.
        let guest = unsafe { Native::new().function("run", Some(glue_run)) };
        // Calls the guest's function; its note tells when it is over.
        let module = Module::new("t").function("call", async |mut cx: Cx, function: Function| {
            let _noted = Noted;
            cx.call::<()>(&function, ()).await.map_err(Into::into)
        });
        let module = module.function("keep", |function: Function| {
            functions::keep(function);
            Ok(())
        });
        let builder =
            Engine::builder(guest).threads(1).module(module).state(Hundred(100)).grace(Duration::from_millis(50));
        let engine = builder.build().expect("an engine");
        let script = wait(engine.load_text("native", "")).expect("a script");
        Bed { engine, script }
    }

    /// A call of a C function.
    pub fn call(&self, case: Case, argument: i64) -> Call<i64> {
        self.script.call::<i64>("run", (case as usize as i64, argument))
    }

    /// Its result.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn run(&self, case: Case, argument: i64) -> i64 {
        wait(self.call(case, argument)).expect("the C function returns")
    }

    /// A C case that returns 0, or the line that failed.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn check(&self, case: Case) {
        let line = self.run(case, 0);
        assert_eq!(line, 0, "failed at this line of the C file (see stderr)");
    }
}

struct Noted;

impl Drop for Noted {
    fn drop(&mut self) {
        stage::note("t.call is over");
    }
}

/// The engine's state, for an extractor.
#[derive(Debug)]
pub struct Hundred(pub i32);

/// Waits for a future.
pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// The calling thread's last error.
pub fn last_error() -> (String, String) {
    let text = |text: *const c_char| {
        // SAFETY: it is never null, and stays until the next failure on this thread.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    // SAFETY: any thread may ask.
    unsafe { (text(sidestack_error_code()), text(sidestack_error_message())) }
}
