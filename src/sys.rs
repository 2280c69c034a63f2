//! The few Linux calls that libc lacks, and all that is specific to a CPU. A leaf: it knows nothing of fibers.
//!
//! Another CPU is another file with the same items beside `x86_64.rs`.

pub mod barrier;
pub mod clock;
pub mod memory;
pub mod valgrind;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
#[cfg(feature = "sanitizer")]
pub use x86_64::Moved;
#[cfg(any(test, feature = "sanitizer"))]
pub use x86_64::ss_move_to;
#[cfg(target_arch = "x86_64")]
use x86_64::valgrind_request;
pub use x86_64::{Float, prefetch, prepare, stack_pointer, switch};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("sidestack supports x86-64 Linux; src/sys holds what another CPU needs");
