//! In a finalizer nothing may be suspended: hooked calls are the C library's own, and block.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::guest::native::NativeInterpreter;
use sidestack::guest::{FiberSetup, Guest, Interpreter, Setup, Task};
use sidestack::{Engine, Error, Native};
use sidestack_test_hooks::cases;

/// Plain C functions that say of themselves that they are finalizers, all the time.
struct Finalizers(Native);

struct InFinalizer(NativeInterpreter);

impl Guest for Finalizers {
    type Interpreter = InFinalizer;

    fn name(&self) -> &'static str {
        "finalizers"
    }

    fn create(&self, setup: &Setup) -> Result<InFinalizer, Error> {
        self.0.create(setup).map(InFinalizer)
    }
}

// SAFETY: all of it is the native guest's, but for `in_finalizer`, of which nothing is demanded.
unsafe impl Interpreter for InFinalizer {
    type Run = <NativeInterpreter as Interpreter>::Run;
    type Saved = <NativeInterpreter as Interpreter>::Saved;

    fn entry(&self) -> unsafe extern "C" fn(*mut c_void) {
        self.0.entry()
    }

    fn interrupt(&self) -> Option<unsafe extern "C" fn()> {
        self.0.interrupt()
    }

    fn new_run(&mut self) -> Self::Run {
        self.0.new_run()
    }

    fn prepare(&mut self, run: &mut Self::Run, fiber: &FiberSetup, task: &Task<'_>) {
        self.0.prepare(run, fiber, task);
    }

    fn ended(&mut self, run: &mut Self::Run, returned: bool) {
        self.0.ended(run, returned);
    }

    fn save(&mut self) -> Self::Saved {
        self.0.save()
    }

    fn restore(&mut self, run: &mut Self::Run, saved: &Self::Saved) {
        self.0.restore(run, saved);
    }

    fn in_finalizer(&self) -> bool {
        true
    }

    fn over_memory(&mut self) -> Option<u64> {
        self.0.over_memory()
    }

    fn memory_used(&self) -> usize {
        self.0.memory_used()
    }
}

#[test]
fn calls_in_a_finalizer_block() {
    let engine = Engine::builder(Finalizers(cases::native())).threads(1).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    for case in ["fiber_blocking_read", "case_blocking"] {
        let begun = Instant::now();
        block_on(script.call::<i64>(case, ())).unwrap_or_else(|error| panic!("{error}"));
        assert!(begun.elapsed() >= Duration::from_millis(30), "{:?}", begun.elapsed());
    }
}
