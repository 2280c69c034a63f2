//! A fault of Lua's own code. No script can cause one, so it is forged: the kernel lets a thread send itself a SIGSEGV that
//! looks like one. In a process of its own, since what is not contained ends it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, Error, Lua, Module};

const CHILD: &str = "SIDESTACK_TEST_CHILD";

/// Sends the calling thread what looks like a fault at address 0x1234. It arrives when this handler, which blocks it, returns.
extern "C" fn forge(_: i32) {
    // SAFETY: plain data; the fields that matter are set, and the kernel copies it.
    unsafe {
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
return { spin = function() spin() end, fine = function(n) return n + 1 end }";

fn crash() {
    install_forger();
    let thread = Arc::new(AtomicI32::new(0));
    let here = thread.clone();
    let app = Module::new("app").function("here", move || {
        // SAFETY: it has no precondition.
        here.store(unsafe { libc::gettid() }, Ordering::Release);
        Ok(())
    });
    // No ticks: the loop never looks up, so that it is Lua's code that runs when the signal comes.
    let builder = Engine::builder(Lua::new()).threads(1).module(app).tick(Duration::from_secs(1000));
    let engine = builder.build().expect("an engine");
    let script = block_on(engine.load_text("app.lua", SCRIPT)).expect("a script");
    for round in 1..=5 {
        let call = engine.spawn(script.call::<()>("spin", ())).expect("started");
        let begun = Instant::now();
        while thread.load(Ordering::Acquire) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the script does not run");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Until it is back in the script.
        std::thread::sleep(Duration::from_millis(50));
        let running = thread.swap(0, Ordering::AcqRel);
        // SAFETY: it has no precondition.
        let failed = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), running, libc::SIGUSR1) };
        assert_eq!(failed, 0);
        match block_on(call) {
            Err(Error::Crashed { fault, backtrace, .. }) => {
                assert!(fault.starts_with("SIGSEGV at address 0x1234, script at app.lua:"), "{fault}");
                let line: u32 = fault.rsplit(':').next().and_then(|line| line.parse().ok()).expect("a line");
                assert!((3..=6).contains(&line), "{fault}");
                assert!(backtrace.to_string().contains("luaV_execute"), "{backtrace}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(block_on(script.call::<i64>("fine", 41)).expect("the replacement has the script"), 42);
        assert_eq!(engine.metrics().crashed, round);
    }
}

#[test]
fn a_fault_of_lua_names_the_scripts_line() {
    const NAME: &str = "a_fault_of_lua_names_the_scripts_line";
    if std::env::var_os(CHILD).is_some() {
        return crash();
    }
    let preloaded = std::env::var("LD_PRELOAD").unwrap_or_default();
    if std::env::var_os("ASAN_OPTIONS").is_some() || preloaded.contains("vgpreload") {
        println!("SKIPPED: faults are not contained under AddressSanitizer and valgrind");
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let output = command.args(["--exact", NAME, "--nocapture"]).env(CHILD, NAME).output().expect("a child");
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}
