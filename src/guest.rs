//! What a guest runtime tells the rest: how an interpreter starts and stops, how a call runs on a fiber, what a switch
//! saves, how running code is interrupted, whether it is in a finalizer. How an error is raised from a host call is its
//! C shim's business (the status codes of `csrc/crossing.h`).

use std::ffi::c_void;
use std::path::Path;
use std::time::Duration;

use crate::Error;
pub use crate::abi::{ss_call, ss_host_desc, ss_value};

#[cfg(feature = "lua")]
pub mod lua;
pub mod native;
#[cfg(feature = "php")]
pub mod php;

/// A kind of guest, with its settings: what [`Engine::builder`](crate::Engine::builder) takes.
pub trait Guest: Send + Sync + 'static {
    /// One running instance; it lives and dies on its interpreter thread.
    type Interpreter: Interpreter;

    /// Name and version, for banners and logs: "Lua 5.4".
    fn name(&self) -> &'static str;

    /// Bytes of a fiber's C stack, virtual, where the builder does not say.
    fn stack(&self) -> usize {
        256 << 10
    }

    /// Makes an interpreter, on its thread. It runs no guest code: that is the work of [`Task::Start`], on a fiber.
    fn create(&self, setup: &Setup) -> Result<Self::Interpreter, Error>;
}

/// What an interpreter is made with.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The host's modules and classes. Outlives the interpreter.
    pub host: *const ss_host_desc,
    /// The most memory that all fibers of the interpreter may hold together, in bytes.
    pub memory: usize,
}

/// One interpreter. Every method runs on its interpreter thread, on the thread's own stack, and must not run guest code,
/// allocate from the guest's heap or raise a guest error: such work is a [`Task`] and happens on a fiber.
///
/// # Safety
///
/// `entry()` must be C code that returns normally on every path (no longjmp, no exception leaves it) after it has called
/// `ss_return` exactly once. `interrupt()` and `place()` must be async-signal-safe.
pub unsafe trait Interpreter: 'static {
    /// The C-side record of one run: what `entry()` gets a pointer to. It stays at its address, and is reused for later
    /// runs.
    type Run: 'static;
    /// What a switch away from a fiber saves, beyond what lies on its C stack; put back before it runs again.
    type Saved: Default + 'static;
    /// Guest code can be made to unwind: once the grace after a cancel is over, nothing of the host works for it any more.
    /// Where it cannot (plain C), it goes on being told, and host functions that are ready at once go on working.
    const KILLS: bool = true;
    /// As many fibers at once count as a burst, after which its garbage is collected. After fewer that would cost more than it
    /// gives back.
    const BURST: usize = 1000;
    /// How long the tops of the stacks that a burst used are kept for the next one: to get them again from the system takes as long
    /// as all else that a short call does.
    const TOPS_KEPT: Duration = Duration::from_secs(5);
    /// As many fibers as this may still be in the cache from their last turn, or from their start (`src/worker/ahead.rs`).
    const MANY: usize = 200;
    /// How many turns ahead a fiber's memory is asked for: the fiber itself, what it points to, and what that points to. What is
    /// asked for much earlier has left the nearest cache again.
    const AHEAD: [usize; 3] = [6, 3, 1];

    /// The function that a fiber starts in, with a pointer to its [`Interpreter::Run`].
    fn entry(&self) -> unsafe extern "C" fn(*mut c_void);

    /// What makes running guest code call `ss_poll` soon. Called from a signal handler on the interpreter thread while
    /// guest code runs.
    fn interrupt(&self) -> Option<unsafe extern "C" fn()>;

    /// What writes the stack of the script that runs, a line each ("app.lua:14: in function 'load'"), innermost first, terminated,
    /// into so many bytes, or nothing. Called from signal handlers, that of a fault of guest code among them, with the
    /// guest's state broken perhaps.
    fn place(&self) -> Option<unsafe extern "C" fn(*mut std::ffi::c_char, usize)> {
        None
    }

    /// Asks for the guest's memory of a fiber that is soon to have the thread: what the run and what a switch saved point to,
    /// and later (`rest`) what that points to.
    fn expect(_run: &Self::Run, _saved: &Self::Saved, _rest: bool) {}

    /// An empty record.
    fn new_run(&mut self) -> Self::Run;

    /// Fills the record for a task. What the task borrows stays valid until the run has ended.
    fn prepare(&mut self, run: &mut Self::Run, fiber: &FiberSetup, task: &Task<'_>);

    /// The run has ended: its fiber's C stack is gone, either because the entry returned or because the fiber was
    /// abandoned (`returned` is false) and none of its C frames will ever run again.
    fn ended(&mut self, run: &mut Self::Run, returned: bool);

    /// The incarnation is lost: no fiber of it ever runs again. What others wait for is told. [`Interpreter::reclaim`] follows.
    fn lost(&mut self) {}

    /// Called after a fiber gave up the thread.
    fn save(&mut self) -> Self::Saved;

    /// Called before a fiber gets the thread (a first time with what `prepare` wants for it).
    fn restore(&mut self, run: &mut Self::Run, saved: &Self::Saved);

    /// Whether the code that runs now is in a finalizer, where nothing may suspend.
    fn in_finalizer(&self) -> bool;

    /// The fiber to cancel because the interpreter's memory cap was reached since the last call: the largest one.
    fn over_memory(&mut self) -> Option<u64>;

    /// Where in its script a suspended fiber is: "app.lua:22". It only reads. `None`: the guest cannot tell, or not there.
    fn position(&self, run: &Self::Run, saved: &Self::Saved) -> Option<String> {
        let _ = (run, saved);
        None
    }

    /// The whole stack of a suspended fiber's script, in lines as [`Interpreter::place`] writes them. It only reads.
    fn stack(&self, run: &Self::Run, saved: &Self::Saved) -> String {
        self.position(run, saved).unwrap_or_default()
    }

    /// Bytes that the guest's heap holds now.
    fn memory_used(&self) -> usize;

    /// The incarnation is lost: gives back all that the guest has, whatever it was in the middle of, and runs nothing of it.
    /// Called once, on the interpreter thread; afterwards the stacks of its fibers are unmapped and this is dropped. False: it
    /// cannot, as C code in general cannot, and all of it is left as it is.
    ///
    /// # Safety
    ///
    /// Control has come back from every fiber, and none of their frames runs again.
    unsafe fn reclaim(&mut self) -> bool {
        false
    }
}

/// What a run is told of its fiber.
#[derive(Debug, Clone, Copy)]
pub struct FiberSetup {
    /// The fiber's id.
    pub id: u64,
    /// The most memory that may be charged to this fiber, in bytes.
    pub memory: usize,
}

/// A run of plain values: a pointer to the first entry and the number of top-level values.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    /// The first entry; null if there is none.
    pub first: *const ss_value,
    /// Top-level values (a list of ten is one).
    pub count: u32,
}

/// What a fiber is to do.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Task<'a> {
    /// Bring the interpreter up: libraries, host modules. Runs first, alone.
    Start,
    /// Compile and run a script, keep its exports under the number `script`. No results.
    Load {
        /// The number it will be called by.
        script: u32,
        /// The chunk's name as errors show it.
        name: &'a str,
        /// The folder that its own modules are looked for in.
        folder: &'a Path,
        /// The text.
        source: &'a [u8],
    },
    /// Call an export of a loaded script.
    Call {
        /// The script's number.
        script: u32,
        /// The export's name.
        export: &'a str,
        /// The arguments.
        args: Values,
    },
    /// Call a function that the guest gave out.
    CallFunction {
        /// Its slot in the interpreter's reference table.
        slot: u64,
        /// The arguments.
        args: Values,
        /// Results cross by reference (see `SS_BY_REFERENCE`).
        by_reference: bool,
    },
    /// Compile and run a text; its results are the results. A plain expression counts as `return` of it.
    Eval {
        /// The chunk's name as errors show it.
        name: &'a str,
        /// The folder that its own modules are looked for in.
        folder: &'a Path,
        /// The text.
        source: &'a [u8],
        /// What the chunk gets as its arguments.
        args: Values,
    },
    /// Run a file as the main program. Its result is the program's exit status, or what the guest gives for one.
    Main {
        /// The file's name.
        name: &'a str,
        /// The folder that it is in.
        folder: &'a Path,
        /// Its text.
        source: &'a [u8],
        /// The program's arguments.
        args: Values,
    },
    /// Forget these slots of the reference table.
    Release {
        /// The slots.
        slots: &'a [u64],
    },
    /// Collect garbage, all of it.
    Collect,
    /// Close the interpreter: run finalizers, give the heap back. Runs last, alone.
    Stop,
}
