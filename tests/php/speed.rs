//! Measured by hand: `cargo test --release --no-default-features --features php,tokio --test php -- --ignored --nocapture speed`.

use std::time::Instant;

use futures_executor::block_on;
use futures_util::future::join_all;

use crate::stage::{app, builder, resident};

#[test]
#[ignore = "a measurement"]
fn speed() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("s.php");
    std::fs::write(
        &file,
        "<?php return ['inc' => fn ($x) => $x + 1, 'nap' => fn ($s) => app\\nap($s),
        'calls' => function ($n) { for ($i = 0; $i < $n; $i++) app\\add($i, 1); },
        'yields' => function ($n) { for ($i = 0; $i < $n; $i++) Sidestack\\give_way(); }];",
    )
    .expect("written");
    let engine = builder().memory(8 << 30).module(app()).build().expect("an engine");
    let script = block_on(engine.load(&file)).expect("a script");
    for round in 0..3 {
        let begun = Instant::now();
        for i in 0..5_000 {
            assert_eq!(block_on(script.call::<i64>("inc", i)).expect("an answer"), i + 1);
        }
        println!("round {round}: a call of a cached file, one after the other: {:?}", begun.elapsed() / 5_000);
        let begun = Instant::now();
        for _ in 0..10 {
            let calls = (0..500).map(|i| engine.spawn(script.call::<i64>("inc", i)).expect("queued"));
            block_on(join_all(calls.collect::<Vec<_>>()));
        }
        println!("round {round}: 500 calls at once: {:?} each", begun.elapsed() / 5_000);
        let begun = Instant::now();
        block_on(script.call::<()>("calls", 1_000_000)).expect("an answer");
        println!("round {round}: a host call: {:?}", begun.elapsed() / 1_000_000);
        let begun = Instant::now();
        let calls = (0..2).map(|_| engine.spawn(script.call::<()>("yields", 200_000)).expect("queued"));
        block_on(join_all(calls.collect::<Vec<_>>()));
        println!("round {round}: a turn given away between two requests: {:?}", begun.elapsed() / 400_000);
    }
    let before = resident();
    let begun = Instant::now();
    let naps = (0..2_000).map(|_| engine.spawn(script.call::<String>("nap", 5.0)).expect("queued")).collect::<Vec<_>>();
    while engine.metrics().fibers < 2_000 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    println!("2,000 requests are suspended after {:?}; {} KiB each", begun.elapsed(), (resident() - before) / 2_000);
    block_on(join_all(naps));
    for burst in 0..3 {
        let naps = (0..2_000).map(|_| engine.spawn(script.call::<String>("nap", 0.5)).expect("queued"));
        block_on(join_all(naps.collect::<Vec<_>>()));
        std::thread::sleep(std::time::Duration::from_secs(1));
        println!("after burst {burst} has ended: {} KiB more than before", resident() - before);
    }
}
