//! Cases in plain C.

use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::guest::native::{NativeFunction, NativeInterpreter};
use sidestack::guest::{Guest, Setup, ss_host_desc, ss_value};
use sidestack::{Engine, Error, HostObject, Members, Module, Object, Script};

use crate::both::wait_once;
use crate::exports::{LOOPS, bench_exports};

unsafe extern "C" {
    fn bench_raw(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn bench_flag(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn bench_mask(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn bench_yield(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn bench_naps(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
    fn bench_host(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;
}

/// What the raw call calls.
extern "C" fn raw(value: u64) -> u64 {
    black_box(value).wrapping_add(1)
}

/// An object that C holds by handle.
pub(crate) struct Thing;

impl HostObject for Thing {
    const NAME: &'static str = "Thing";

    fn members(members: &mut Members<Self>) {
        members.method("method", |this: &Self| {
            black_box(this);
            Ok(())
        });
    }
}

/// Host functions by name: plain C calls them by number.
type Numbers = Arc<Mutex<HashMap<String, u32>>>;

/// [`sidestack::Native`] that also writes down the numbers.
struct Numbering {
    guest: sidestack::Native,
    numbers: Numbers,
}

impl Guest for Numbering {
    type Interpreter = NativeInterpreter;

    fn name(&self) -> &'static str {
        "native"
    }

    fn create(&self, setup: &Setup) -> Result<NativeInterpreter, Error> {
        // SAFETY: the description is valid while the interpreter is made (`Setup`).
        unsafe { number(&*setup.host, &mut self.numbers.lock().expect("never poisoned")) };
        self.guest.create(setup)
    }
}

/// # Safety
///
/// `host` is a whole description.
unsafe fn number(host: &ss_host_desc, numbers: &mut HashMap<String, u32>) {
    // SAFETY: the caller's promise; each array has as many entries as its counter says, names are terminated.
    unsafe {
        let modules = (0..host.nmodules as usize).map(|i| &*host.modules.add(i));
        let classes = (0..host.nclasses as usize).map(|i| &*host.classes.add(i));
        let lists = modules.map(|m| (m.functions, m.nfunctions)).chain(classes.map(|c| (c.methods, c.nmethods)));
        for (functions, count) in lists {
            for i in 0..count as usize {
                let function = &*functions.add(i);
                numbers.insert(CStr::from_ptr(function.name).to_string_lossy().into_owned(), function.id);
            }
        }
    }
}

/// Fibers that sleep at once.
pub(crate) const FIBERS: usize = 10_000;

/// An engine of plain C functions.
pub struct Native {
    script: Script,
    numbers: Numbers,
    _engine: Engine,
}

impl Native {
    pub(crate) fn new(tick: Duration) -> Native {
        let numbers = Numbers::default();
        let loops: [(&str, NativeFunction); 7] = [
            ("raw", Some(bench_raw)),
            ("flag", Some(bench_flag)),
            ("mask", Some(bench_mask)),
            ("host", Some(bench_host)),
            ("exports", Some(bench_exports)),
            ("yield", Some(bench_yield)),
            ("naps", Some(bench_naps)),
        ];
        let mut guest = sidestack::Native::new();
        for (name, function) in loops {
            // SAFETY: loops.c and exports.c keep to native.h.
            guest = unsafe { guest.function(name, function) };
        }
        let module = Module::new("bench")
            .function("nothing", || Ok(()))
            .function("number", |number: i64| {
                black_box(number);
                Ok(())
            })
            .function("wait", async || {
                wait_once().await;
                Ok(())
            })
            .object::<Thing>();
        let guest = Numbering { guest, numbers: numbers.clone() };
        let engine = Engine::builder(guest)
            .threads(1)
            .tick(tick)
            .fibers(FIBERS + 1)
            .module(module)
            .build()
            .expect("an engine of C functions");
        let script = block_on(engine.load_text("native", "")).expect("nothing to load");
        Native { script, numbers, _engine: engine }
    }

    /// A call from C to Rust through a pointer, in one of three ways.
    pub(crate) fn raw(&self, way: &str, n: u64) -> Duration {
        let address = (raw as extern "C" fn(u64) -> u64) as usize;
        nanoseconds(block_on(self.script.call::<i64>(way, (n, address))).expect("a time"))
    }

    /// A loop over an exported function, or over what it stands beside.
    pub(crate) fn exports(&self, which: &str, n: u64) -> Duration {
        let number = LOOPS.iter().position(|name| *name == which).expect("a loop of that name");
        nanoseconds(block_on(self.script.call::<i64>("exports", (n, number))).expect("a time"))
    }

    /// Turns given away, with nobody else ready.
    pub(crate) fn yields(&self, n: u64) -> Duration {
        nanoseconds(block_on(self.script.call::<i64>("yield", n)).expect("a time"))
    }

    /// 10,000 fibers of C, each of which sleeps `n` times for a millisecond, on the interpreter's own timers.
    pub(crate) fn sleeps(&self, n: u64) -> Duration {
        all_at_once(&self.script, n)
    }

    /// Calls of a host function, with the argument that it wants.
    pub(crate) fn host(&self, function: &str, n: u64) -> Duration {
        let number = self.numbers.lock().expect("never poisoned")[function];
        let call = match function {
            "number" => self.script.call::<i64>("host", (n, number, 7)),
            "method" => self.script.call::<i64>("host", (n, number, Object::new(Thing))),
            _ => self.script.call::<i64>("host", (n, number)),
        };
        nanoseconds(block_on(call).expect("a time"))
    }
}

/// The time that [`FIBERS`] calls of the export `naps` take together.
pub(crate) fn all_at_once(script: &Script, n: u64) -> Duration {
    let begun = Instant::now();
    for call in block_on(join_all((0..FIBERS).map(|_| script.call::<()>("naps", n)))) {
        call.expect("sleeps");
    }
    begun.elapsed()
}

pub(crate) fn nanoseconds(time: i64) -> Duration {
    Duration::from_nanos(u64::try_from(time).expect("time does not run backwards"))
}
