//! libpq, unchanged: 1,000 connections wait for a lock at the server at once, on one interpreter thread.
#![cfg(has_libpq)]

use std::time::Instant;

use futures_executor::block_on;
use futures_util::future::try_join;
use sidestack::Engine;
use sidestack_test_hooks::{all, libraries, server};

const OPERATIONS: usize = 1000;

#[test]
fn a_thousand_operations_on_one_thread() {
    server::raise_descriptor_limit(OPERATIONS as u64 + 200);
    let Some((_postgres, place)) = server::Server::postgres(OPERATIONS + 20) else { return };
    let engine = Engine::builder(libraries::postgres()).threads(1).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    let begun = Instant::now();
    // The gate holds the lock from before anyone asks for it until the server says that all of them do.
    let gate = engine.spawn(script.call::<usize>("pq_gate", (place.as_str(), OPERATIONS))).expect("started");
    let operation = |i| script.call::<i64>("pq_operation", (place.as_str(), i));
    let calls: Vec<_> = (0..OPERATIONS).map(|i| engine.spawn(operation(i)).expect("started")).collect();
    // The first failure ends it: the others would wait for that one for ever.
    let (waiting, values) = block_on(try_join(gate, all(calls))).expect("an operation");
    assert_eq!(waiting, OPERATIONS);
    assert!(values.into_iter().eq((0..OPERATIONS as i64).map(|i| 2 * i)));
    libraries::assert_one_thread();
    println!("{OPERATIONS} at once in {:?}", begun.elapsed());
}
