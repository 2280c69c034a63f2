//! Faults of guest code end the call; all others end the process. Each test runs in a process of its own.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Builder, Call, Engine, Error, Metrics, Module, Script};
use sidestack_test_native::faults::{Kind, null_write, told};
use sidestack_test_native::guests::{Guests, Numbers};

const CHILD: &str = "SIDESTACK_TEST_CHILD";
/// A hang is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `body` in a child, this binary again with that test only. `None` in the child, and where nothing is contained.
fn in_child(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        body();
        say("the end");
        return None;
    }
    let preloaded = std::env::var("LD_PRELOAD").unwrap_or_default();
    if std::env::var_os("ASAN_OPTIONS").is_some() || preloaded.contains("vgpreload") {
        println!("SKIPPED: {test}: faults are not contained under AddressSanitizer and valgrind");
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, test);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child");
    let begun = Instant::now();
    // The output is short: it fits into the pipes.
    while child.try_wait().expect("a child to wait for").is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().expect("a child to kill");
            panic!("{test} hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(child.wait_with_output().expect("its output"))
}

fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr");
}

/// The child came to its end.
#[track_caller]
fn passes(test: &str, body: impl FnOnce()) {
    let Some(output) = in_child(test, body) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("the end"), "{:?}: {text}", output.status);
}

/// The child died of the signal after it had said `reached`; what it wrote to stderr.
#[track_caller]
fn dies(test: &str, signal: i32, body: impl FnOnce()) -> Option<String> {
    let output = in_child(test, || {
        body();
        panic!("it should have died");
    })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(signal), "{text}");
    assert!(text.contains("reached"), "{text}");
    Some(text)
}

/// Host functions wait at gates.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    at: HashMap<i64, Vec<Waker>>,
    open: bool,
}

impl Gates {
    fn waiting(&self) -> usize {
        self.0.lock().expect("not poisoned").at.values().map(|gate| gate.len().min(1)).sum()
    }

    fn open(&self) {
        let mut inner = self.0.lock().expect("not poisoned");
        inner.open = true;
        inner.at.drain().flat_map(|(_, wakers)| wakers).for_each(Waker::wake);
    }
}

struct Bed {
    engine: Engine,
    script: Script,
    numbers: Numbers,
    gates: Gates,
}

fn bed(threads: usize, configure: impl FnOnce(Builder<Guests>) -> Builder<Guests>) -> Bed {
    let (guests, numbers) = Guests::new();
    let gates = Gates::default();
    let at = gates.clone();
    let module = Module::new("t")
        .function("wait", async move |gate: i64| {
            std::future::poll_fn(|task| {
                let mut inner = at.0.lock().expect("not poisoned");
                if inner.open {
                    return Poll::Ready(());
                }
                inner.at.entry(gate).or_default().push(task.waker().clone());
                Poll::Pending
            })
            .await;
            Ok(gate)
        })
        .function("fault_in_host", |_: i64| {
            say("reached");
            null_write();
            Ok(0)
        })
        .function("trap_in_host", |_: i64| {
            say("reached");
            // SAFETY: a breakpoint; the process is to die of it.
            unsafe { std::arch::asm!("int3") };
            Ok(0)
        })
        .function("abort_in_host", |_: i64| -> anyhow::Result<i64> {
            say("reached");
            std::process::abort()
        });
    let engine = configure(Engine::builder(guests).threads(threads).module(module)).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    Bed { engine, script, numbers, gates }
}

impl Bed {
    fn call(&self, kind: Kind) -> Call<i64> {
        self.script.call("fault", (kind as i64, -1, 0))
    }

    /// Waits in a host function, then does it.
    fn later(&self, kind: Kind, gate: i64) -> Call<i64> {
        let call = self.script.call("fault", (kind as i64, self.numbers.of("t.wait"), gate));
        self.engine.spawn(call).expect("started")
    }

    fn arrived(&self, number: usize) {
        let begun = Instant::now();
        while self.gates.waiting() < number {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {number} wait", self.gates.waiting());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[track_caller]
    fn works(&self) {
        assert_eq!(block_on(self.call(Kind::Nothing)).expect("a call after a fault"), 42);
    }

    /// The counts once the worker has written them down: the caller is told before.
    fn metrics(&self, crashed: u64) -> Metrics {
        let begun = Instant::now();
        while self.engine.metrics().crashed < crashed && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.engine.metrics()
    }
}

/// The call fails with a fault whose text has `fault`, and whose backtrace has `function`; the next call works.
#[track_caller]
fn contained(test: &str, kind: Kind, fault: &str, function: &str) {
    passes(test, || {
        let bed = bed(1, |builder| builder);
        bed.works();
        match block_on(bed.call(kind)) {
            Err(Error::Crashed { fault: text, fiber, backtrace }) => {
                assert!(text.contains(fault), "{text}");
                assert!(fiber > 0);
                assert!(backtrace.to_string().contains(function), "{backtrace}");
            }
            other => panic!("{other:?}"),
        }
        bed.works();
        let metrics = bed.metrics(1);
        assert_eq!((metrics.crashed, metrics.abandoned, metrics.quarantined), (1, 1, 1));
        let failures: Vec<_> = metrics.failures.list().filter(|(_, count)| *count > 0).collect();
        let counter = match fault.split([' ', '(']).next() {
            Some("abort") => "crash_abort",
            Some("SIGSEGV") => "crash_sigsegv",
            Some("SIGBUS") => "crash_sigbus",
            Some("SIGFPE") => "crash_sigfpe",
            _ => "crash_sigill",
        };
        assert_eq!(failures, [(counter, 1)], "{fault}");
        assert_eq!(block_on(bed.engine.shutdown(Duration::from_secs(1))).stuck, 0);
    });
}

macro_rules! contained {
    ($($name:ident: $kind:ident, $fault:expr, $function:expr;)*) => {$(
        #[test]
        fn $name() {
            contained(stringify!($name), Kind::$kind, $fault, $function);
        }
    )*};
}

contained! {
    recursion_without_an_end: Recurse, "SIGSEGV (stack overflow)", "recurse";
    a_write_to_null: NullWrite, "SIGSEGV at address 0x0", "write_null";
    a_division_by_zero: Divide, "SIGFPE", "faults_do";
    an_illegal_instruction: Ud2, "SIGILL", "faults_do";
    an_abort: Abort, "abort()", "faults_do";
    an_abort_on_the_last_bytes_of_a_stack: DeepAbort, "abort()", "abort_deep";
    a_call_of_null: NullCall, "SIGSEGV at address 0x0", "faults_do";
    a_fault_on_a_stack_that_c_made: OwnStack, "SIGSEGV at address 0x0", "run_on_own_stack";
    the_handlers_cannot_be_replaced: ReplaceHandler, "SIGSEGV at address 0x0", "write_null";
    a_fault_with_signals_pending: WhileDeferred, "SIGSEGV at address 0x0", "write_null";
}

#[test]
fn an_abort_runs_the_guests_own_handler_first() {
    passes("an_abort_runs_the_guests_own_handler_first", || {
        let bed = bed(1, |builder| builder);
        let error = block_on(bed.call(Kind::AbortHandled)).expect_err("an abort");
        assert!(matches!(error, Error::Crashed { .. }), "{error:?}");
        assert_eq!(told(), 1);
        bed.works();
    });
}

#[test]
fn an_overflow_in_the_c_library_is_stepped_out_of() {
    passes("an_overflow_in_the_c_library_is_stepped_out_of", || {
        let bed = bed(1, |builder| builder.stack(64 << 10));
        let mut inside = 0;
        for depth in 0..20 {
            let call: Call<i64> = bed.script.call("fault", (Kind::LibcOverflow as i64, -1, depth * 7));
            match block_on(call) {
                Err(Error::Crashed { fault, backtrace, .. }) => {
                    assert!(fault.contains("(stack overflow)"), "{fault}");
                    assert!(fault.ends_with(": stack limit of 65536 bytes reached (setting: stack)"), "{fault}");
                    inside += u32::from(!backtrace.frames()[0].function.contains("recurse_in_libc"));
                }
                other => panic!("{other:?}"),
            }
            // The allocator's locks are free, on every thread.
            let threads: Vec<_> = (0..4).map(|i| std::thread::spawn(move || vec![i; 100_000].len())).collect();
            threads.into_iter().for_each(|thread| assert_eq!(thread.join().expect("a thread"), 100_000));
            bed.works();
        }
        assert!(inside > 0, "none overflowed in the C library");
    });
}

#[test]
fn a_fault_in_the_c_library_ends_the_process_with_a_report() {
    let name = "a_fault_in_the_c_library_ends_the_process_with_a_report";
    let text = dies(name, libc::SIGSEGV, || {
        let bed = bed(1, |builder| builder);
        say("reached");
        drop(block_on(bed.call(Kind::InLibc)));
    });
    let Some(text) = text else { return };
    assert!(text.contains("sidestack: the process ends: SIGSEGV at address 0x0 in fiber"), "{text}");
    assert!(text.contains("a lock may be held in libc"), "{text}");
    assert!(text.contains("  0: libc"), "{text}");
}

#[test]
fn a_fault_in_a_guests_signal_handler_ends_the_process_with_a_report() {
    let name = "a_fault_in_a_guests_signal_handler_ends_the_process_with_a_report";
    let text = dies(name, libc::SIGSEGV, || {
        let bed = bed(1, |builder| builder);
        say("reached");
        drop(block_on(bed.call(Kind::InHandler)));
    });
    let Some(text) = text else { return };
    assert!(text.contains("in a signal handler of the guest's"), "{text}");
}

#[test]
fn a_signal_that_was_sent_is_no_fault() {
    dies("a_signal_that_was_sent_is_no_fault", libc::SIGFPE, || {
        let bed = bed(1, |builder| builder);
        say("reached");
        drop(block_on(bed.call(Kind::Raised)));
    });
}

fn call_host(bed: &Bed, function: &str) {
    drop(block_on(bed.script.call::<i64>("call", (bed.numbers.of(function), 1))));
}

#[test]
fn a_fault_in_host_code_ends_the_process() {
    let text = dies("a_fault_in_host_code_ends_the_process", libc::SIGSEGV, || {
        call_host(&bed(1, |builder| builder), "t.fault_in_host");
    });
    let Some(text) = text else { return };
    assert!(!text.contains("sidestack: "), "it is not a guest's: {text}");
}

#[test]
fn a_breakpoint_in_host_code_ends_the_process() {
    dies("a_breakpoint_in_host_code_ends_the_process", libc::SIGTRAP, || {
        call_host(&bed(1, |builder| builder), "t.trap_in_host");
    });
}

#[test]
fn an_abort_in_host_code_ends_the_process() {
    dies("an_abort_in_host_code_ends_the_process", libc::SIGABRT, || {
        call_host(&bed(1, |builder| builder), "t.abort_in_host");
    });
}

#[test]
fn containment_can_be_turned_off() {
    dies("containment_can_be_turned_off", libc::SIGSEGV, || {
        let bed = bed(1, |builder| builder.contain_faults(false));
        say("reached");
        drop(block_on(bed.call(Kind::NullWrite)));
    });
}

#[test]
fn too_many_abandoned_end_the_process_with_a_report() {
    let text = dies("too_many_abandoned_end_the_process_with_a_report", libc::SIGABRT, || {
        let bed = bed(1, |builder| builder.abandoned(3));
        for _ in 0..3 {
            assert!(block_on(bed.call(Kind::NullWrite)).is_err());
            bed.works();
        }
        say("reached");
        assert!(block_on(bed.call(Kind::NullWrite)).is_err());
        std::thread::sleep(PATIENCE);
    });
    let Some(text) = text else { return };
    assert!(text.contains("sidestack: the process ends: 4 interpreters were lost"), "{text}");
}

/// Scenario B2: 500 calls one after another, the 50th traps.
#[test]
fn one_of_five_hundred_traps() {
    passes("one_of_five_hundred_traps", || {
        let bed = bed(1, |builder| builder);
        for i in 1..=500 {
            let kind = if i == 50 { Kind::NullWrite } else { Kind::Nothing };
            match block_on(bed.call(kind)) {
                Ok(value) => assert!(i != 50 && value == 42, "call {i}"),
                Err(error) => assert!(i == 50 && matches!(error, Error::Crashed { .. }), "call {i}: {error:?}"),
            }
        }
        assert_eq!(bed.metrics(1).crashed, 1);
    });
}

/// Lets the call that waits at this gate go on, and no other, into its fault.
fn crash_at(bed: &Bed, gate: i64) {
    let mut inner = bed.gates.0.lock().expect("not poisoned");
    // Open for whoever is polled; only this one is.
    inner.open = true;
    inner.at.remove(&gate).expect("it waits").into_iter().for_each(Waker::wake);
}

#[test]
fn neighbours_are_lost_and_other_interpreters_go_on() {
    passes("neighbours_are_lost_and_other_interpreters_go_on", || {
        let bed = bed(2, |builder| builder);
        let crashing = bed.later(Kind::Recurse, 1000);
        let calls: Vec<_> = (0..40).map(|i| bed.later(Kind::Nothing, i)).collect();
        bed.arrived(41);
        crash_at(&bed, 1000);
        assert!(matches!(block_on(crashing), Err(Error::Crashed { .. })));
        bed.gates.open();
        let (mut lost, mut fine) = (0, 0);
        for (i, call) in calls.into_iter().enumerate() {
            match block_on(call) {
                Ok(42) => fine += 1,
                Err(error @ Error::InterpreterLost { started: true }) => {
                    assert!(!error.is_retryable());
                    lost += 1;
                }
                other => panic!("call {i}: {other:?}"),
            }
        }
        // Calls go to the less busy of the two: about half of them each.
        assert!(lost >= 5 && fine >= 5, "{lost} lost, {fine} fine");
        assert_eq!(bed.metrics(1).crashed, 1);
    });
}

#[test]
fn queued_calls_move_to_the_replacement() {
    passes("queued_calls_move_to_the_replacement", || {
        let bed = bed(1, |builder| builder.fibers(4));
        let crashing = bed.later(Kind::Recurse, 1000);
        let started: Vec<_> = (0..3).map(|i| bed.later(Kind::Nothing, i)).collect();
        bed.arrived(4);
        let queued: Vec<_> = (0..20).map(|_| bed.engine.spawn(bed.call(Kind::Nothing)).expect("queued")).collect();
        crash_at(&bed, 1000);
        assert!(matches!(block_on(crashing), Err(Error::Crashed { .. })));
        for call in started {
            assert!(matches!(block_on(call), Err(Error::InterpreterLost { started: true })));
        }
        for call in queued {
            assert_eq!(block_on(call).expect("a queued call"), 42);
        }
        let metrics = bed.metrics(1);
        assert_eq!((metrics.crashed, metrics.failures.lost, metrics.failures.lost_unstarted), (1, 3, 0));
    });
}

#[test]
fn a_hundred_faults() {
    passes("a_hundred_faults", || {
        let bed = bed(1, |builder| builder);
        let kinds = [Kind::NullWrite, Kind::Recurse, Kind::Abort, Kind::Divide, Kind::WhileDeferred];
        for i in 0..100 {
            let error = block_on(bed.call(kinds[i % kinds.len()])).expect_err("a fault");
            assert!(matches!(error, Error::Crashed { .. }), "{error:?}");
            bed.works();
        }
        assert_eq!(bed.metrics(100).crashed, 100);
        assert_eq!(block_on(bed.engine.shutdown(Duration::from_secs(5))).stuck, 0);
    });
}
