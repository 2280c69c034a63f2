//! Faults of Lua's own code. No script can cause one, so it is forged: the kernel lets a thread send itself a SIGSEGV that
//! looks like one. In processes of their own, since what is not contained ends them.

mod child;
mod events;

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Call, Cx, Engine, Error, Function, HostObject, Lua, Members, Metrics, Module, Object, Script};

/// The front of `ss_thread` (csrc/thread.h).
#[repr(C)]
struct Thread {
    host_stack: usize,
    in_host: i32,
    place: i32,
}

/// `SS_ON_FIBER`.
const ON_FIBER: i32 = 1;

unsafe extern "C" {
    fn ss_current_thread() -> *mut Thread;
}

/// Sends the calling thread what looks like a fault at address 0x1234, if it is in guest code. It arrives when this handler, which
/// blocks it, returns.
extern "C" fn forge(_: i32) {
    // SAFETY: plain data; the fields that matter are set, and the kernel copies it. The thread's own state is read.
    unsafe {
        if (*ss_current_thread()).in_host != 0 || (*ss_current_thread()).place != ON_FIBER {
            return;
        }
        let mut info: libc::siginfo_t = std::mem::zeroed();
        info.si_signo = libc::SIGSEGV;
        info.si_code = 1; // SEGV_MAPERR
        (&raw mut info).cast::<usize>().add(2).write(0x1234);
        let (process, thread) = (libc::getpid(), libc::gettid());
        libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, libc::SIGSEGV, &raw const info);
    }
}

fn install_forger() {
    // SAFETY: the handler makes three system calls and touches nothing else.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = forge as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaddset(&raw mut action.sa_mask, libc::SIGSEGV);
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(failed, 0);
}

const SCRIPT: &str = "local app = require 'app'
local function spin()
  app.here()
  local i = 0
  while true do
    i = i + 1
  end
end
return {
  spin = function() spin() end,
  fine = function(n) return n + 1 end,
  give = function() return function(n) return n * 2 end end,
  beside = function()
    for i = 1, 5 do require 'sidestack'.spawn(app.wait) end
    require 'sidestack'.sleep(0.05)
    spin()
  end,
  full = function()
    local kept, waiting = {}, {}
    for i = 1, 10000 do kept[i] = { i } end
    for i = 1, 5 do kept[i].token = app.token() end
    for i = 1, 5 do waiting[i] = require 'sidestack'.spawn(app.wait) end
    require 'sidestack'.yield()
    spin()
  end,
}";

/// A host object, and what futures hold: counted.
struct Token(Arc<AtomicUsize>);

impl Token {
    fn new(count: &Arc<AtomicUsize>) -> Token {
        count.fetch_add(1, Ordering::Relaxed);
        Token(count.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HostObject for Token {
    const NAME: &'static str = "Token";
    fn members(_: &mut Members<Self>) {}
}

struct Bed {
    engine: Engine,
    script: Script,
    thread: Arc<AtomicI32>,
    tokens: Arc<AtomicUsize>,
}

impl Bed {
    fn new() -> Bed {
        install_forger();
        let (thread, tokens) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicUsize::new(0)));
        let (here, made, held) = (thread.clone(), tokens.clone(), tokens.clone());
        let app = Module::new("app")
            .object::<Token>()
            .function("here", move || {
                // SAFETY: it has no precondition.
                here.store(unsafe { libc::gettid() }, Ordering::Release);
                Ok(())
            })
            .function("token", move || Ok(Object::new(Token::new(&made))))
            .function("wait", async move |_cx: Cx| {
                let _held = Token::new(&held);
                std::future::pending::<()>().await;
                Ok(())
            });
        // No ticks: the loop never looks up, so that it is Lua's code that runs when the signal comes.
        let builder = Engine::builder(Lua::new()).threads(1).module(app).tick(Duration::from_secs(1000));
        let engine = builder.build().expect("an engine");
        let script = block_on(engine.load_text("app.lua", SCRIPT)).expect("a script");
        Bed { engine, script, thread, tokens }
    }

    /// Runs an export that ends up in the loop, and faults there.
    fn crash(&self, export: &str) -> Result<(), Error> {
        let call = self.script.call::<()>(export, ()).label(format!("label {export}"));
        let call = self.engine.spawn(call).expect("started");
        self.fault(call)
    }

    fn fault(&self, call: Call<()>) -> Result<(), Error> {
        let begun = Instant::now();
        while self.thread.load(Ordering::Acquire) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the script does not run");
            std::thread::sleep(Duration::from_micros(200));
        }
        let running = self.thread.swap(0, Ordering::AcqRel);
        let told = std::thread::spawn(move || block_on(call));
        while !told.is_finished() {
            // Until it is back in the script.
            std::thread::sleep(Duration::from_millis(1));
            // SAFETY: it has no precondition; the thread may be gone, which is an error.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), running, libc::SIGUSR1) };
        }
        told.join().expect("a caller")
    }

    /// The counts, once that many are reclaimed: callers are told before.
    #[track_caller]
    fn reclaimed(&self, count: u64) -> Metrics {
        let begun = Instant::now();
        while self.engine.metrics().reclaimed < count {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", self.engine.metrics());
            std::thread::sleep(Duration::from_micros(200));
        }
        self.engine.metrics()
    }
}

/// Runs `body` in a child, this binary again with that test only.
fn in_child(test: &str, body: impl FnOnce()) {
    match child::uncontained() {
        Some(why) => println!("SKIPPED: {why}"),
        None => child::passes(test, body),
    }
}

#[test]
fn a_fault_of_lua_names_the_scripts_line() {
    in_child("a_fault_of_lua_names_the_scripts_line", || {
        let bed = Bed::new();
        for round in 1..=5 {
            match bed.crash("spin") {
                Err(Error::Crashed { fault, backtrace, .. }) => {
                    assert!(fault.starts_with("SIGSEGV at address 0x1234, script at app.lua:"), "{fault}");
                    let line: u32 = fault.rsplit(':').next().and_then(|line| line.parse().ok()).expect("a line");
                    assert!((3..=6).contains(&line), "{fault}");
                    assert!(backtrace.to_string().contains("luaV_execute"), "{backtrace}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(block_on(bed.script.call::<i64>("fine", 41)).expect("the replacement has the script"), 42);
            assert_eq!(bed.engine.metrics().crashed, round);
        }
    });
}

#[test]
fn a_fault_and_each_fiber_that_it_costs_are_events() {
    in_child("a_fault_and_each_fiber_that_it_costs_are_events", || {
        let _one = events::events();
        let bed = Bed::new();
        let Err(Error::Crashed { fiber, .. }) = bed.crash("beside") else { panic!("it crashes") };
        let fiber = format!("fiber={fiber} ");
        let crash = ["ERROR", "guest code crashed", &fiber, "label=\"label beside\"", "SIGSEGV at address", "app.lua:"];
        events::event(&crash);
        // It, and the tasks that it had started.
        let lost =
            || events::all(&["WARN", "a fiber is lost with its interpreter", "fiber=", "label=\"label beside\""]);
        child::until("six are told", || lost().len() == 6);
        let lost = lost();
        assert_eq!(lost.iter().filter(|line| format!("{line} ").contains(&fiber)).count(), 1, "{lost:#?}");
    });
}

/// What is half done in the allocator may be shared with other heaps: nothing is contained there. Blocks that the script has given
/// back are overwritten, as by a C library that writes to freed memory, so that the allocator's next steps go astray.
#[test]
fn a_fault_inside_lua_s_allocator_ends_the_process_with_a_report() {
    let test = "a_fault_inside_lua_s_allocator_ends_the_process_with_a_report";
    if let Some(why) = child::uncontained() {
        return println!("SKIPPED: {why}");
    }
    let text = "local app, kept, freed = require 'app', {}, {}
        for i = 1, 400 do kept[i] = ('x'):rep(3000) .. i end
        for i = 1, 400, 2 do freed[#freed + 1] = tonumber(('%p'):format(kept[i])) kept[i] = nil end
        collectgarbage()
        app.overwrite(freed)
        for i = 1, 400 do kept[#kept + 1] = ('y'):rep(3000) .. i end";
    let output = child::in_child(test, || {
        let app = Module::new("app").function("overwrite", |addresses: Vec<usize>| {
            for address in addresses {
                // A link of a free list that leads nowhere, in front of where the string was.
                // SAFETY: Lua's heap is mapped there; that it breaks is what this is for.
                unsafe {
                    std::ptr::with_exposed_provenance_mut::<[usize; 8]>(address - 16).write([0x0041_4141_4141_4140; 8])
                };
            }
            child::say("reached");
            Ok(())
        });
        let lua = Lua::new().unlimited_collectgarbage(true);
        let engine = Engine::builder(lua).threads(1).module(app).build().expect("an engine");
        let outcome = block_on(engine.eval::<()>(text));
        panic!("it should have died: {outcome:?}");
    });
    let Some(output) = output else { return };
    let report = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{report}");
    for part in ["reached", "the process ends: SIGSEGV", "the allocator of guests' heaps", "script: eval:6"] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
}

#[test]
fn what_a_lost_interpreter_held_is_dropped_and_references_to_it_are_lost() {
    in_child("what_a_lost_interpreter_held_is_dropped_and_references_to_it_are_lost", || {
        let bed = Bed::new();
        let function: Function = block_on(bed.script.call("give", ())).expect("a function");
        assert_eq!(block_on(function.call::<i64>(21)).expect("it lives"), 42);
        assert!(matches!(bed.crash("full"), Err(Error::Crashed { .. })));
        let metrics = bed.reclaimed(1);
        assert_eq!((metrics.quarantined, metrics.abandoned, metrics.crashed), (1, 0, 1));
        assert_eq!(bed.tokens.load(Ordering::Relaxed), 0, "objects and futures are dropped");
        let other = function.clone();
        match block_on(function.call::<i64>(21)) {
            Err(Error::InterpreterLost { started: false }) => {}
            other => panic!("{other:?}"),
        }
        // The same slot of the next incarnation is another's: dropping gives nothing back.
        let next: Function = block_on(bed.script.call("give", ())).expect("a function");
        drop((function, other));
        assert_eq!(block_on(bed.script.call::<i64>("fine", 1)).expect("a call"), 2);
        assert_eq!(block_on(next.call::<i64>(4)).expect("it lives"), 8);
    });
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count()
}

/// Each lost interpreter's heap (1 MB and more), stacks and thread come back; its host objects and futures too.
#[test]
fn a_thousand_lost_interpreters_leave_nothing() {
    in_child("a_thousand_lost_interpreters_leave_nothing", || {
        let bed = Bed::new();
        let mut before = (0, 0);
        for round in 1..=1000 {
            assert!(matches!(bed.crash("full"), Err(Error::Crashed { .. })), "round {round}");
            bed.reclaimed(round);
            if round == 100 {
                before = (resident_kib(), mappings());
            }
        }
        let metrics = bed.engine.metrics();
        assert_eq!((metrics.crashed, metrics.quarantined, metrics.reclaimed, metrics.abandoned), (1000, 1000, 1000, 0));
        assert_eq!(bed.tokens.load(Ordering::Relaxed), 0);
        let after = (resident_kib(), mappings());
        println!("resident memory in KiB, and mappings: {before:?} after 100, {after:?} after 1000");
        assert!(after.0 < before.0 + before.0 / 10, "{before:?} became {after:?}");
        assert!(after.1 < before.1 + 20, "{before:?} became {after:?}");
        let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
        assert!(threads < 20, "{threads} threads");
        block_on(bed.engine.shutdown(Duration::from_secs(1)));
    });
}
