//! A memory barrier of two sides, of which one costs nothing: what is done often calls [`light`], what is done seldom
//! [`heavy`]. A store before the one and a load after it are ordered against a store before the other and a load after it, as by two
//! `SeqCst` fences: of the two loads at least one sees the other side's store.
//!
//! By `membarrier(2)`: it makes every thread of the process that runs now pass a barrier. Where it is not allowed both sides are
//! fences.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

/// In `linux/membarrier.h`.
const PRIVATE_EXPEDITED: i32 = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;

/// Set once, before the first use.
static BY_THE_KERNEL: AtomicBool = AtomicBool::new(false);

/// To be called before any of the two is used.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| BY_THE_KERNEL.store(membarrier(REGISTER_PRIVATE_EXPEDITED), Ordering::SeqCst));
}

/// The side that costs nothing.
#[inline]
pub fn light() {
    if BY_THE_KERNEL.load(Ordering::Relaxed) { compiler_fence(Ordering::SeqCst) } else { fence(Ordering::SeqCst) }
}

/// The other side: a few microseconds. False: it failed, and orders nothing.
#[must_use]
pub fn heavy() -> bool {
    fence(Ordering::SeqCst);
    !BY_THE_KERNEL.load(Ordering::Relaxed) || membarrier(PRIVATE_EXPEDITED)
}

fn membarrier(command: i32) -> bool {
    // SAFETY: the call takes two numbers, and a third that is not read with these flags.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
