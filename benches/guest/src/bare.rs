//! The yardstick for waits: corosensei alone, suspended by C code through a callback.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, Yielder};

unsafe extern "C" {
    fn bench_suspend(suspend: unsafe extern "C" fn(*mut c_void), data: *mut c_void);
}

unsafe extern "C" fn suspend(yielder: *mut c_void) {
    // SAFETY: `switch` passes its coroutine's yielder, which lives as long as the coroutine.
    unsafe { (*yielder.cast::<Yielder<(), ()>>()).suspend(()) }
}

/// Resumes, and suspends from C, `n` times.
pub fn switch(n: u64) -> Duration {
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        // SAFETY: the callback gets what it wants; the C code never returns and owns nothing.
        unsafe { bench_suspend(suspend, std::ptr::from_ref(yielder).cast_mut().cast()) }
    });
    let _ = coroutine.resume(());
    let begun = Instant::now();
    for _ in 0..n {
        let _ = coroutine.resume(());
    }
    let time = begun.elapsed();
    // SAFETY: of Rust there is only the closure above, which owns nothing; C frames do not unwind.
    unsafe { coroutine.force_reset() };
    time
}
