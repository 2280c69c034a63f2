//! The processor time of threads, and how punctual their timeouts are.

use std::time::Duration;

/// The kernel's number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: it has no precondition.
    unsafe { libc::gettid() }
}

/// What the calling thread has used so far. A system call: a quarter of a microsecond.
pub fn thread_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// What a thread of this process has used so far; zero once it has ended.
pub fn thread_cpu_of(thread: i32) -> Duration {
    // The clock of a thread, as `clock_getcpuclockid` makes that of a process: per thread (4), scheduled time (2).
    read((!thread << 3) | 6)
}

/// Whether a thread of this process runs, or would if it were let: it does not sleep or wait for anything.
pub fn is_runnable(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

/// The calling thread's timeouts end when they should. By itself the kernel lets them wait for 50 µs, to serve several at once.
pub fn be_punctual() {
    let nanoseconds: libc::c_ulong = 1000;
    // SAFETY: it changes a number that the kernel keeps of this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `used` is a valid place to write to, and stays zero where there is no such clock.
    unsafe { libc::clock_gettime(clock, &raw mut used) };
    Duration::new(used.tv_sec.cast_unsigned(), u32::try_from(used.tv_nsec).unwrap_or(0))
}
