//! What a switch costs, for whoever changes one:
//!
//! ```text
//! cargo test --release --lib fiber::costs -- --ignored --nocapture
//! ```

use std::ffi::c_void;
use std::hint::black_box;
use std::time::Instant;

use super::*;

unsafe extern "C" fn end(_: *mut c_void) {}

unsafe extern "C" fn wait_for_ever(data: *mut c_void) {
    loop {
        // SAFETY: `data` is the link of the coroutine that runs this.
        unsafe { suspend(&*data.cast::<Link>()) };
    }
}

unsafe extern "C" fn call_host(data: *mut c_void) {
    // SAFETY: `data` is the link of the coroutine that runs this.
    unsafe {
        let link = &*data.cast::<Link>();
        let case = least(|| {
            black_box(on_thread_stack(link, || black_box(1)));
        });
        println!("on_thread_stack:                {case:.1} ns");
    }
}

/// Nanoseconds of one call: the least of 21 samples.
fn least(mut f: impl FnMut()) -> f64 {
    const CALLS: u32 = 100_000;
    let sample = |_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| f());
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..21).map(sample).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "prints numbers; it tests nothing"]
fn costs() {
    let mut pool = StackPool::new(StackConfig::default()).unwrap();
    let link = Link::new();
    let data = (&raw const link).cast_mut().cast();
    // SAFETY: in each case below: pool and link outlive the coroutines, which use the link one after the other.
    let new = |stack: FiberStack, entry| unsafe { Coroutine::new(stack, &raw const link, entry, data) };

    let case = least(|| {
        let stack = black_box(pool.get()).unwrap();
        pool.put(stack);
    });
    println!("get + put:                      {case:.1} ns");
    let case = least(|| {
        let mut fiber = new(pool.get().unwrap(), end);
        assert_eq!(fiber.resume(), Resumed::Done);
        pool.put(fiber.into_stack());
    });
    println!("get + new + run + end + put:    {case:.1} ns");
    let mut fiber = new(pool.get().unwrap(), wait_for_ever);
    let case = least(|| {
        let _ = black_box(fiber.resume());
    });
    println!("resume + suspend:               {case:.1} ns");
    // SAFETY: `wait_for_ever` holds nothing.
    pool.put(unsafe { fiber.abandon() });
    assert_eq!(new(pool.get().unwrap(), call_host).resume(), Resumed::Done);
}
