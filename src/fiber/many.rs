//! Very many fibers at once, on one thread of one process with the system's default settings.
//!
//! A million of them (8.1 GB of memory), in release:
//!
//! ```text
//! SIDESTACK_FIBERS=1000000 cargo test --release --lib fiber::many -- --nocapture
//! ```

use std::cell::Cell;
use std::ffi::c_void;
use std::time::Instant;

use super::*;
use crate::sys::{memory, valgrind};
use crate::{Error, Limit};

/// Bytes of its own stack that a fiber fills, and finds again.
const PATTERN: usize = 4096;

struct Run {
    link: Link,
    seed: u64,
    intact: Cell<bool>,
}

unsafe extern "C" fn fill_wait_check(data: *mut c_void) {
    // SAFETY: the test passes a run that outlives the coroutine, whose stack this is.
    unsafe {
        let run = &*data.cast::<Run>();
        let word = |place: u64| (run.seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(place as u32) ^ place;
        let mut pattern = [0_u64; PATTERN / 8];
        for (place, at) in (0..).zip(&mut pattern) {
            *at = word(place);
        }
        std::hint::black_box(&mut pattern);
        suspend(&run.link);
        let found = std::hint::black_box(&pattern);
        run.intact.set((0..).zip(found).all(|(place, at)| *at == word(place)));
    }
}

#[test]
fn a_hundred_thousand_fibers_wait_at_once() {
    let default = if valgrind::running() || cfg!(feature = "sanitizer") { 2_000 } else { 100_000 };
    let wanted = std::env::var("SIDESTACK_FIBERS").map_or(default, |count| count.parse().unwrap());
    let mut pool = StackPool::new(StackConfig { capacity: wanted, ..StackConfig::default() }).unwrap();
    let maps_before = memory::map_count().unwrap();
    // Runs are allocated whole beforehand: coroutines point to them.
    let runs: Vec<_> =
        (0..wanted as u64).map(|seed| Run { link: Link::new(), seed, intact: Cell::new(false) }).collect();
    let mut host_stack = 0;
    // SAFETY: the place lives as long as this test.
    let mut home = unsafe { Home::new(&raw mut host_stack) };
    let mut fibers = Vec::with_capacity(wanted);
    let start = Instant::now();
    for run in &runs {
        let stack = match pool.get() {
            Ok(stack) => stack,
            Err(Error::Limit { which: Limit::Fibers, value, setting: "vm.max_map_count", .. })
                if pool.stats().guard == GuardKind::Protection =>
            {
                println!("this kernel has no MADV_GUARD_INSTALL: the ceiling is {value} fibers (vm.max_map_count)");
                assert!(value >= 20_000);
                break;
            }
            Err(error) => panic!("{error}"),
        };
        let data = std::ptr::from_ref(run).cast_mut().cast();
        // SAFETY: pool and runs outlive the coroutines; each run belongs to one.
        let mut fiber = unsafe { Coroutine::new(stack, &run.link, fill_wait_check, data) };
        assert_eq!(fiber.resume(&mut home), Resumed::Suspended);
        fibers.push(fiber);
    }
    let made = start.elapsed();
    let count = fibers.len();
    let PoolStats { in_use, guard, .. } = pool.stats();
    assert_eq!(in_use, count);
    if guard == GuardKind::Marker {
        assert_eq!(count, wanted);
        // Other tests of this process map too.
        let maps = memory::map_count().unwrap();
        assert!(maps < maps_before + 5_000, "{maps} mappings, {maps_before} before");
    }
    let start = Instant::now();
    // Out of order: from both ends, towards the middle.
    while let Some(mut fiber) = if fibers.len() % 2 == 0 { fibers.pop() } else { Some(fibers.swap_remove(0)) } {
        assert_eq!(fiber.resume(&mut home), Resumed::Done);
        pool.put(fiber.into_stack());
    }
    let ended = start.elapsed();
    assert!(runs[..count].iter().all(|run| run.intact.get()));
    assert_eq!(pool.stats().in_use, 0);
    while pool.trim() == Trimmed::More {}
    println!(
        "{count} fibers with {PATTERN} bytes each ({:?} guards): {:.1} us to make, {:.1} us to end",
        guard,
        made.as_secs_f64() * 1e6 / count as f64,
        ended.as_secs_f64() * 1e6 / count as f64
    );
}
