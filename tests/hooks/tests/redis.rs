//! hiredis, unchanged: 1,000 connections wait in BLPOP at once, on one interpreter thread.
#![cfg(has_hiredis)]

use std::time::Instant;

use futures_executor::block_on;
use futures_util::future::try_join;
use sidestack::Engine;
use sidestack_test_hooks::{all, libraries, server};

const OPERATIONS: usize = 1000;

#[test]
fn a_thousand_operations_on_one_thread() {
    server::raise_descriptor_limit(OPERATIONS as u64 + 200);
    let Some(redis) = server::Server::redis(OPERATIONS + 100) else { return };
    let engine = Engine::builder(libraries::redis()).threads(1).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    let begun = Instant::now();
    let operation = |i| script.call::<i64>("redis_operation", (redis.port, i));
    let calls: Vec<_> = (0..OPERATIONS).map(|i| engine.spawn(operation(i)).expect("started")).collect();
    // It lets them go when the server says that all of them wait: one after the other, none would ever end.
    let gate = script.call::<usize>("redis_gate", (redis.port, OPERATIONS));
    // The first failure ends it: the others would wait for that one for ever.
    let (waiting, values) = block_on(try_join(gate, all(calls))).expect("an operation");
    assert_eq!(waiting, OPERATIONS);
    assert!(values.into_iter().eq((0..OPERATIONS as i64).map(|i| 2 * i)));
    libraries::assert_one_thread();
    println!("{OPERATIONS} at once in {:?}", begun.elapsed());
}
