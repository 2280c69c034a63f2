//! Interpreters that are lost or used up, one after the other (scenarios B2, B3 and C4 for plain C; more of B2 in `faults`).

use std::time::Duration;

use futures_executor::block_on;
use sidestack::{Call, Engine, Error, Module};
use sidestack_test_native::faults::Kind;
use sidestack_test_native::guests::Guests;

use super::child::{long, passes, resident, say, uncontained, until};

/// 2,000 calls, a new interpreter every 400: memory stays.
#[test]
fn interpreters_that_are_used_up_give_their_memory_back() {
    passes("incarnations::interpreters_that_are_used_up_give_their_memory_back", || {
        let (guests, numbers) = Guests::new();
        let module = Module::new("t").function("add", |n: i64| Ok(n + 1));
        let engine = Engine::builder(guests).threads(1).max_calls(400).module(module).build().expect("an engine");
        let script = block_on(engine.load_text("native", "")).expect("a script");
        let add = numbers.of("t.add");
        let mut memory = Vec::new();
        for round in 0..5 * long() {
            for i in 0..400_i64 {
                assert_eq!(block_on(script.call::<i64>("call", (add, i))).expect("a call"), i + 1);
            }
            // The last call of an incarnation may be the first of the next.
            until("it is replaced", || engine.metrics().recycled >= u64::from(round));
            memory.push(resident());
        }
        assert!(engine.metrics().recycled >= 4, "{:?}", engine.metrics());
        assert_eq!((engine.metrics().quarantined, engine.metrics().abandoned), (0, 0));
        let (first, last) = (memory[0], *memory.last().expect("rounds"));
        say(&format!("{} KiB after 400 calls, {} KiB after {}", first / 1024, last / 1024, 400 * memory.len()));
        assert!(last <= first + first / 10, "{memory:?}");
    });
}

/// C without checks recurses for ever, again and again: an error each time, and the next call works.
#[test]
fn recursion_without_an_end_is_an_error_each_time() {
    if let Some(why) = uncontained() {
        return println!("SKIPPED: {why}");
    }
    passes("incarnations::recursion_without_an_end_is_an_error_each_time", || {
        for stack in [32 << 10, 64 << 10, 256 << 10, 1 << 20] {
            let (guests, _) = Guests::new();
            let builder = Engine::builder(guests).threads(2).stack(stack).abandoned(1 << 40);
            let engine = builder.build().expect("an engine");
            let script = block_on(engine.load_text("native", "")).expect("a script");
            let call = |kind: Kind| -> Call<i64> { script.call("fault", (kind as i64, -1, 0)) };
            for _ in 0..10 * long() {
                match block_on(call(Kind::Recurse)) {
                    Err(Error::Crashed { fault, .. }) => assert!(fault.contains("stack overflow"), "{fault}"),
                    other => panic!("{other:?}"),
                }
                assert_eq!(block_on(call(Kind::Nothing)).expect("the next call"), 42);
            }
            assert_eq!(block_on(engine.shutdown(Duration::from_secs(5))).stuck, 0);
        }
    });
}
