//! A program whose allocator is mimalloc, of which the heaps of Lua are too: what it holds is its own.

use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Engine, Lua};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCRIPT: &str = "return { fill = function()
  local kept = {}
  for i = 1, 600000 do kept[i] = { tostring(i) } end
  return #kept
end }";

/// What a thread leaves behind that has ended: blocks of many sizes that are full of `content`, and room between them.
fn left_behind(content: u8) -> Vec<Vec<u8>> {
    let run = move || {
        let all: Vec<_> = (0..200_000).map(|number| vec![content; 16 + number % 500]).collect();
        all.into_iter().step_by(3).collect()
    };
    std::thread::spawn(run).join().expect("a thread that ends")
}

/// The heap of an interpreter takes pages of threads that have ended, and is destroyed whole when the interpreter goes.
#[test]
fn what_threads_left_behind_outlives_an_interpreter() {
    let engine = Engine::builder(Lua::new()).threads(2).build().expect("an engine");
    let script = block_on(engine.load_text("app.lua", SCRIPT)).expect("a script");
    let left: Vec<_> = (0..4).map(left_behind).collect();
    let filled: Vec<i64> = (0..4).map(|_| block_on(script.call("fill", ())).expect("a call")).collect();
    assert_eq!(filled, [600_000; 4]);
    block_on(engine.shutdown(Duration::from_secs(10)));
    // Were the pages free now, these would have them.
    let _others: Vec<_> = (4..8).map(left_behind).collect();
    for (content, blocks) in (0..).zip(&left) {
        assert!(blocks.iter().flatten().all(|byte| *byte == content), "a block was overwritten");
    }
}
