//! Each hooked call, in C: one fiber waits, others run meanwhile, and what the call returns is what POSIX says.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, Error, Limit, Module, Script};
use sidestack_test_hooks::cases;

/// One interpreter thread, with the ticker fiber on it.
struct Bed {
    engine: Engine,
    script: Script,
    ticker: Option<sidestack::Call<i64>>,
    // The cases count fibers' turns and use signals, which are the process's.
    _alone: MutexGuard<'static, ()>,
}

fn bed() -> Bed {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let module = Module::new("t").function("read", || Ok(cases::read_in_c()));
    let engine = Engine::builder(cases::native()).threads(1).module(module).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    let ticker = engine.spawn(script.call::<i64>("case_ticker", ())).expect("started");
    Bed { engine, script, ticker: Some(ticker), _alone: alone }
}

impl Bed {
    fn run(&self, name: &str) {
        if let Err(error) = block_on(self.script.call::<i64>(name, ())) {
            panic!("{error}");
        }
    }

    fn start(&self, name: &str, args: impl serde::Serialize) -> sidestack::Call<i64> {
        self.engine.spawn(self.script.call::<i64>(name, args)).expect("started")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = block_on(self.script.call::<i64>("case_ticker_stop", ()));
        let _ = self.ticker.take().map(block_on);
        block_on(self.engine.shutdown(Duration::from_secs(5)));
    }
}

macro_rules! cases {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            bed().run(concat!("case_", stringify!($name)));
        }
    )*};
}

cases! {
    pipe_read pipe_write socket_read socket_write datagrams timeouts nonblocking files other_descriptors broken greedy
    poll select epoll sleep flock
    accept connect connect_local names host_names records
    waitpid pclose
    handler
}

#[test]
fn every_hook_is_in_force() {
    assert_eq!(sidestack::hooks::missing(), [""; 0]);
}

#[test]
fn a_forked_child_passes_through() {
    bed().run("fiber_fork");
}

#[test]
fn threads_of_a_guest_pass_through() {
    bed().run("fiber_thread");
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().expect("a pipe");
    (read.into(), write.into())
}

fn pair() -> (std::os::unix::net::UnixStream, std::os::unix::net::UnixStream) {
    std::os::unix::net::UnixStream::pair().expect("a pair")
}

/// Until the fibers that were started wait: nothing tells when they do.
fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn two_fibers_read_the_same_pipe() {
    let bed = bed();
    let (read, write) = pipe();
    let mut readers: Vec<_> = (0..2).map(|_| Some(bed.start("fiber_read", (read.as_raw_fd(),)))).collect();
    settle();
    let mut write = std::fs::File::from(write);
    std::io::Write::write_all(&mut write, b"a").expect("written");
    settle();
    std::io::Write::write_all(&mut write, b"b").expect("written");
    let mut got: Vec<i64> =
        readers.iter_mut().map(|call| block_on(call.take().expect("one")).expect("a byte")).collect();
    got.sort_unstable();
    assert_eq!(got, [i64::from(b'a'), i64::from(b'b')]);
}

#[test]
fn one_reads_while_another_writes_the_same_socket() {
    const SIZE: usize = 1 << 20;
    let bed = bed();
    let (ours, theirs) = pair();
    let reader = bed.start("fiber_read", (theirs.as_raw_fd(),));
    let writer = bed.start("fiber_write", (theirs.as_raw_fd(), SIZE));
    settle();
    let mut bytes = vec![0; SIZE];
    std::io::Read::read_exact(&mut &ours, &mut bytes).expect("all of it");
    assert_eq!(block_on(writer).expect("written"), SIZE as i64);
    std::io::Write::write_all(&mut &ours, b"z").expect("written");
    assert_eq!(block_on(reader).expect("a byte"), i64::from(b'z'));
}

#[test]
fn a_descriptor_and_its_double() {
    let bed = bed();
    let (read, write) = pipe();
    let double = read.try_clone().expect("a double");
    let first = bed.start("fiber_poll", (read.as_raw_fd(),));
    let second = bed.start("fiber_poll", (double.as_raw_fd(),));
    settle();
    std::io::Write::write_all(&mut std::fs::File::from(write), b"a").expect("written");
    for call in [first, second] {
        assert_eq!(block_on(call).expect("ready") & i64::from(libc::POLLIN), i64::from(libc::POLLIN));
    }
}

#[test]
fn closing_a_descriptor_ends_the_waits_for_it() {
    let bed = bed();
    let (read, write) = pipe();
    let (ours, theirs) = pair();
    let double = read.try_clone().expect("a double");
    let reading = bed.start("fiber_read", (read.as_raw_fd(),));
    let polling = bed.start("fiber_poll", (read.as_raw_fd(),));
    let through_double = bed.start("fiber_read", (double.as_raw_fd(),));
    let receiving = bed.start("fiber_read", (theirs.as_raw_fd(),));
    settle();
    use std::os::fd::IntoRawFd;
    assert_eq!(block_on(bed.start("fiber_close", (read.into_raw_fd(),))).expect("closed"), 0);
    assert_eq!(block_on(reading).expect("an errno"), 1000 + i64::from(libc::EBADF));
    assert_eq!(block_on(polling).expect("revents"), i64::from(libc::POLLNVAL));
    // Replaced by another file: the wait was for the one before.
    let (other, _keep) = pipe();
    let replaced = theirs.as_raw_fd();
    let outcome = block_on(bed.start("fiber_dup2", (other.as_raw_fd(), replaced))).expect("replaced");
    assert_eq!(outcome, i64::from(replaced));
    assert_eq!(block_on(receiving).expect("an errno"), 1000 + i64::from(libc::EBADF));
    // The double is open, and waits on.
    std::io::Write::write_all(&mut std::fs::File::from(write), b"d").expect("written");
    assert_eq!(block_on(through_double).expect("a byte"), i64::from(b'd'));
    drop(ours);
}

#[test]
fn a_number_that_is_used_again_is_another_file() {
    let bed = bed();
    for _ in 0..3 {
        let (read, write) = pipe();
        // Keeps the first file, and what epoll knows of it, alive under its old number.
        let _double = read.try_clone().expect("a double");
        let reading = bed.start("fiber_read", (read.as_raw_fd(),));
        settle();
        std::io::Write::write_all(&mut std::fs::File::from(write), b"n").expect("written");
        assert_eq!(block_on(reading).expect("a byte"), i64::from(b'n'));
    }
}

#[test]
fn a_cancelled_fiber_gets_ecanceled() {
    let bed = bed();
    let (read, _write) = pipe();
    let (drain, ready) = pipe();
    for which in 0..4 {
        let begun = Instant::now();
        let args = (read.as_raw_fd(), ready.as_raw_fd(), which);
        let call = bed.script.call::<i64>("fiber_cancelled", args).deadline(Duration::from_millis(500));
        match block_on(call) {
            Err(Error::Limit { which: Limit::Deadline, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        const E: i32 = libc::ECANCELED;
        assert_eq!(cases::seen_by_cancelled(), [E, E, E, E, E, 0, 0, 0], "call {which}");
    }
    // Dropping the call is a cancel too.
    let call = bed.start("fiber_cancelled", (read.as_raw_fd(), ready.as_raw_fd(), 0));
    settle();
    drop(call);
    settle();
    assert_eq!(cases::seen_by_cancelled()[0], libc::ECANCELED);
    drop(drain);
}

#[test]
fn what_a_cancelled_fiber_closes_is_closed_all_the_same() {
    let bed = bed();
    let call = bed.script.call::<i64>("fiber_pclose", ()).deadline(Duration::from_millis(50));
    assert!(matches!(block_on(call), Err(Error::Limit { which: Limit::Deadline, .. })));
    // No child is left, not even one that has ended.
    let begun = Instant::now();
    loop {
        // SAFETY: looks at the process's children, and takes none away.
        let left = unsafe {
            let mut info = std::mem::zeroed();
            libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
        };
        if left == -1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody has waited for the process");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn host_code_and_its_threads_pass_through() {
    let bed = bed();
    let ticks = |name| block_on(bed.script.call::<i64>(name, ())).expect("ticks");
    assert!(ticks("fiber_blocking_read") >= 2, "a guest's read waits");
    // Host code on the interpreter thread blocks it.
    assert_eq!(ticks("fiber_host_read"), 0);
    // This thread has no fibers.
    assert!(cases::read_in_c() >= 30);
}

#[test]
fn a_guests_timers_never_hit_host_code() {
    const ROUNDS: i64 = 20_000;
    let bed = bed();
    let (a, b) = pair();
    let first = bed.start("fiber_timers", (a.as_raw_fd(), 1, ROUNDS));
    let second = bed.start("fiber_timers", (b.as_raw_fd(), 0, ROUNDS));
    block_on(first).expect("a storm");
    block_on(second).expect("a storm");
    let [runs, violations] = cases::timer_counts();
    println!("{runs} handler runs in {ROUNDS} rounds");
    assert!(runs > 100, "the timers hardly fired: {runs}");
    assert_eq!(violations, 0);
}
