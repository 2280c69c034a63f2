//! The C functions of csrc/*.c.

use std::ffi::{c_int, c_ulong};

use sidestack::Native;
use sidestack::guest::native::NativeFunction;
use sidestack::guest::ss_value;

macro_rules! guests {
    ($($name:ident)*) => {
        unsafe extern "C" {
            $(fn $name(args: *mut ss_value, nargs: u32, result: *mut ss_value) -> c_int;)*
        }

        /// All of them, by their C names.
        pub fn native() -> Native {
            let all: &[(&str, NativeFunction)] = &[$((stringify!($name), Some($name))),*];
            all.iter().fold(Native::new(), |native, (name, function)| {
                // SAFETY: they keep to csrc/native.h.
                unsafe { native.function(*name, *function) }
            })
        }
    };
}

guests! {
    case_ticker case_ticker_stop
    case_pipe_read case_pipe_write case_socket_read case_socket_write case_datagrams case_timeouts case_nonblocking
    case_files case_other_descriptors case_broken case_greedy
    case_poll case_select case_epoll case_sleep case_flock
    case_accept case_connect case_connect_local case_names case_host_names case_records
    case_waitpid case_pclose
    fiber_read fiber_poll fiber_write fiber_close fiber_dup2 fiber_cancelled fiber_fork case_blocking fiber_blocking_read fiber_host_read
    fiber_thread fiber_pclose
    fiber_timers case_handler
}

unsafe extern "C" {
    safe fn case_ticks() -> c_ulong;
    safe fn blocking_read() -> i64;
    fn cancelled_seen(out: *mut c_int);
    fn timers_counts(out: *mut c_ulong);
}

/// How often the ticker fiber ran.
pub fn ticks() -> u64 {
    case_ticks()
}

/// Reads, in C, a byte that comes after 40 ms; returns how many milliseconds that took.
pub fn read_in_c() -> i64 {
    blocking_read()
}

/// The errno values that the last `fiber_cancelled` saw.
pub fn seen_by_cancelled() -> [i32; 8] {
    let mut out = [0; 8];
    // SAFETY: room for all of them.
    unsafe { cancelled_seen(out.as_mut_ptr()) };
    out
}

/// Runs of the guest's handler, and those while host code ran.
pub fn timer_counts() -> [u64; 2] {
    let mut out = [0; 2];
    // SAFETY: room for both.
    unsafe { timers_counts(out.as_mut_ptr()) };
    out
}
