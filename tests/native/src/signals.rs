//! Signal storms and single cases of deferral and of the tick (`csrc/storm.c`, `deferral.c`, `ticks.c`).

use std::ffi::{CString, c_int, c_void};

/// What one thread's storm came to; `csrc/storm.c` says what each count means.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "told in csrc/storm.c")]
pub struct StormResult {
    pub crossings: u64,
    pub runs: u64,
    pub second_runs: u64,
    pub violations: u64,
    pub wrong_fiber: u64,
    pub wrong_info: u64,
    pub dropped: u64,
    pub accounted: u64,
    pub sent_least: u64,
    pub sent_most: u64,
}

/// What a stream of signals from another thread came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamResult {
    /// Made while the stream lasted.
    pub crossings: u64,
    /// Signals whose value did not follow the one before.
    pub out_of_order: c_int,
    /// Handlers that ran while host code did.
    pub violations: c_int,
}

type Handler = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void);
type Register = unsafe extern "C" fn(c_int, Handler) -> c_int;

unsafe extern "C" {
    fn storm_run(crossings: u64, period_ns: u64, protect: c_int, out: *mut StormResult) -> c_int;
    fn case_stream(
        count: c_int,
        protect: c_int,
        crossings: *mut u64,
        out_of_order: *mut c_int,
        violated: *mut c_int,
    ) -> c_int;
    fn case_loaded(load: Register) -> c_int;
}

/// Runs a storm on the calling thread, unprotected as a control.
pub fn storm(crossings: u64, period_ns: u64, protect: bool) -> StormResult {
    let mut result = StormResult::default();
    // SAFETY: the thread is attached and detached within; `result` outlives the call.
    let line = unsafe { storm_run(crossings, period_ns, c_int::from(protect), &mut result) };
    assert_eq!(line, 0, "storm.c, line {line}");
    result
}

/// Receives `count` signals from another thread while crossing.
pub fn stream(count: c_int, protect: bool) -> StreamResult {
    let mut result = StreamResult::default();
    // SAFETY: as in `storm`.
    let line = unsafe {
        case_stream(
            count,
            c_int::from(protect),
            &mut result.crossings,
            &mut result.out_of_order,
            &mut result.violations,
        )
    };
    assert_eq!(line, 0, "deferral.c, line {line}");
    result
}

/// A library opened at run time registers a handler.
pub fn loaded() {
    let path = CString::new(env!("SIDESTACK_TEST_REGISTERS")).expect("no NUL in a path");
    // SAFETY: our own library, built beside this crate; it has no constructors.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "cannot open {path:?}");
    // SAFETY: the library is open, and stays so.
    let symbol = unsafe { libc::dlsym(library, c"loaded_registers".as_ptr()) };
    assert!(!symbol.is_null());
    // SAFETY: the symbol is a function of this type (csrc/loaded/registers.c); siginfo_t is opaque here.
    let line = unsafe { case_loaded(std::mem::transmute::<*mut c_void, Register>(symbol)) };
    assert_eq!(line, 0, "deferral.c, line {line}");
}

macro_rules! cases {
    ($($name:ident: $file:literal, $what:literal;)*) => {$(
        #[doc = $what]
        pub fn $name() {
            unsafe extern "C" {
                fn $name() -> c_int;
            }
            // SAFETY: the case attaches the calling thread and detaches it again.
            let line = unsafe { $name() };
            assert_eq!(line, 0, concat!($file, ", line {}"), line);
        }
    )*};
}

cases! {
    case_overflow: "deferral.c", "More signals than the queue holds.";
    case_overflow_of_two_fibers: "deferral.c", "The same, of two fibers.";
    case_fibers: "deferral.c", "A signal belongs to the fiber that was current.";
    case_standard: "deferral.c", "Standard signals coalesce.";
    case_mask_and_flags: "deferral.c", "The guest's flags and mask hold.";
    case_registrations: "deferral.c", "Who sees which handler.";
    case_handler_gone: "deferral.c", "A handler is removed while signals wait for it.";
    case_forward: "deferral.c", "A signal lands on another thread.";
    case_slice: "ticks.c", "A slice ends only if somebody else is ready.";
    case_stale: "ticks.c", "A tick of another epoch is ignored.";
    case_deadline: "ticks.c", "A deadline passes.";
    case_cancel: "ticks.c", "A cancel is told again and again.";
    case_in_host: "ticks.c", "A tick in host code.";
    case_idle: "ticks.c", "The timer stops by itself.";
}
