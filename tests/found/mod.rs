//! A fiber as `Engine::fibers_with_stacks` tells it.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Engine, FiberInfo};

/// The only fiber, with its stacks, once `good` is true of it.
pub fn only(engine: &Engine, good: impl Fn(&FiberInfo) -> bool) -> FiberInfo {
    let begun = Instant::now();
    loop {
        let mut found = block_on(engine.fibers_with_stacks());
        if found.len() == 1 && good(&found[0]) {
            return found.remove(0);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
    }
}
