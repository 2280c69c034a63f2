//! How requests, interpreters and engines end: B2, B3, C4, C5, D4 and D5 of the acceptance scenarios for PHP.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::{Engine, Error, Module, Script};
use sidestack_test_phpt::stage;

#[path = "../../child/mod.rs"]
mod child;

/// A host function that waits until it is dropped, and one that holds its thread.
fn module(dropped: &Arc<AtomicU64>) -> Module {
    struct Guard(Arc<AtomicU64>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (dropped, waits) = (dropped.clone(), Arc::new(AtomicU64::new(0)));
    let counter = waits.clone();
    Module::new("t")
        .function("forever", async move || {
            let _guard = Guard(dropped.clone());
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
            Ok(())
        })
        .function("waiting", move || Ok(waits.load(Ordering::Relaxed)))
        .function("hold", |seconds: f64| {
            std::thread::sleep(Duration::from_secs_f64(seconds));
            Ok(())
        })
}

fn load(engine: &Engine, folder: &Path, text: &str) -> Script {
    let file = folder.join("script.php");
    std::fs::write(&file, text).expect("a script");
    block_on(engine.load(&file)).expect("it loads")
}

const SCRIPT: &str = "<?php
    class Crash { function run() { $this->deeper(); }
        function deeper() { phpt_fault(); } }
    return ['work' => function ($n) { if ($n == 50) (new Crash)->run(); ob_start(); echo $n; return (int) ob_get_clean() + strlen(ini_get('memory_limit')); },
            'wait' => function () { t\\forever(); },
            'crash' => function () { (new Crash)->run(); }];";

#[test]
fn call_50_of_500_faults_and_the_others_succeed() {
    child::passes("call_50_of_500_faults_and_the_others_succeed", || {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = stage::builder().module(module(&Arc::default())).build().expect("an engine");
        let script = load(&engine, folder.path(), SCRIPT);
        for n in 0..500_i64 {
            match block_on(script.call::<i64>("work", n).deadline(Duration::from_secs(20))) {
                Ok(value) => assert!(n != 50 && value == n + 4, "call {n}: {value}"),
                Err(Error::Crashed { fault, backtrace, .. }) => {
                    assert_eq!(n, 50);
                    let whole = format!("{fault}\n{backtrace}");
                    assert!(fault.contains("SIGSEGV") && whole.contains("zif_phpt_fault"), "{whole}");
                    assert!(whole.contains("script.php:3"), "where? {whole}");
                }
                Err(error) => panic!("call {n}: {error:?}"),
            }
        }
        let metrics = engine.metrics();
        assert_eq!((metrics.crashed, metrics.quarantined, metrics.abandoned), (1, 1, 1));
    });
}

#[test]
fn calls_beside_a_fault_are_lost_and_queued_ones_succeed() {
    child::passes("calls_beside_a_fault_are_lost_and_queued_ones_succeed", || {
        let folder = tempfile::tempdir().expect("a folder");
        let dropped = Arc::default();
        let engine = stage::builder().fibers(5).module(module(&dropped)).build().expect("an engine");
        let script = load(&engine, folder.path(), SCRIPT);
        let waiting: Vec<_> = (0..4).map(|_| engine.spawn(script.call::<()>("wait", ())).expect("started")).collect();
        child::until("four wait", || block_on(engine.eval::<u64>("t\\waiting()")).expect("a number") == 4);
        let crashing = engine.spawn(script.call::<()>("crash", ())).expect("started");
        let queued: Vec<_> =
            (0..20).map(|n| engine.spawn(script.call::<i64>("work", n + 100)).expect("queued")).collect();
        assert!(matches!(block_on(crashing), Err(Error::Crashed { .. })));
        for lost in block_on(join_all(waiting)) {
            assert!(matches!(lost, Err(Error::InterpreterLost { started: true })), "{lost:?}");
        }
        for (n, value) in block_on(join_all(queued)).into_iter().enumerate() {
            assert_eq!(value.expect("it succeeds on the next one"), 104 + i64::try_from(n).expect("few"));
        }
        child::until("the host's futures are dropped", || dropped.load(Ordering::Relaxed) == 4);
    });
}

#[test]
fn recycling_keeps_memory_where_it_was() {
    child::passes("recycling_keeps_memory_where_it_was", || {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = stage::builder().max_calls(400).module(module(&Arc::default())).build().expect("an engine");
        let text =
            "<?php return function ($n) { $a = range(1, 1000); preg_match('/x/', 'x'); return count($a) + $n; };";
        let script = load(&engine, folder.path(), text);
        let mut resident = Vec::new();
        for n in 0..2_400_i64 {
            assert_eq!(block_on(script.call::<i64>("default", n)).expect("a value"), n + 1000);
            if n % 400 == 399 {
                resident.push(child::resident());
            }
        }
        assert!(engine.metrics().recycled >= 5, "{:?}", engine.metrics());
        // The first round fills caches.
        let (first, last) = (resident[1], resident[resident.len() - 1]);
        assert!(last < first + first / 10, "{resident:?}");
    });
}

#[test]
fn a_thousand_cancelled_requests_give_everything_back() {
    child::passes("a_thousand_cancelled_requests_give_everything_back", || {
        let folder = tempfile::tempdir().expect("a folder");
        let dropped: Arc<AtomicU64> = Arc::default();
        let engine = stage::builder().memory(8 << 30).module(module(&dropped)).build().expect("an engine");
        let script = load(&engine, folder.path(), SCRIPT);
        let mut resident = Vec::new();
        for round in 1..=3 {
            let calls: Vec<_> =
                (0..1_000).map(|_| engine.spawn(script.call::<()>("wait", ())).expect("started")).collect();
            child::until("a thousand wait", || {
                block_on(engine.eval::<u64>("t\\waiting()")).expect("a number") == round * 1_000
            });
            drop(calls);
            child::until("all are gone", || engine.metrics().fibers == 0);
            assert_eq!(dropped.load(Ordering::Relaxed), round * 1_000);
            // Idle contexts go when nothing happens for a moment.
            std::thread::sleep(std::time::Duration::from_secs(1));
            resident.push(child::resident());
        }
        assert_eq!(engine.metrics().quarantined, 0);
        assert!(resident[2] < resident[0] + resident[0] / 10, "{resident:?}");
    });
}

#[test]
fn overflows_end_one_call_each() {
    child::passes("overflows_end_one_call_each", || {
        // What PHP checks itself is an error (tests/limits/time.rs); what it does not check is a fault.
        let engine = stage::builder().memory(8 << 30).build().expect("an engine");
        for text in [
            "ini_set('memory_limit', '2G'); $a = null; for ($i = 0; $i < 200000; $i++) { $a = [$a]; } $b = null; for ($i = 0; $i < 200000; $i++) { $b = [$b]; } return $a == $b;",
            "ini_set('memory_limit', '2G'); $a = null; for ($i = 0; $i < 1000000; $i++) { $o = new stdClass; $o->next = $a; $a = $o; } unset($o, $a); return 1;",
        ] {
            match block_on(engine.eval::<i64>(text).deadline(Duration::from_secs(30))) {
                Ok(_) => {}
                Err(Error::Crashed { fault, .. }) => assert!(fault.contains("stack"), "{fault}"),
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(stage::gives::<i64>(&engine, "6 * 7"), 42);
        }
        assert!(engine.metrics().crashed >= 1, "none of them overflows: {:?}", engine.metrics());
    });
}

#[test]
fn shutdown_does_not_wait_for_one_that_is_stuck() {
    child::passes("shutdown_does_not_wait_for_one_that_is_stuck", || {
        let engine = stage::builder().threads(2).module(module(&Arc::default())).build().expect("an engine");
        let stuck = engine.spawn(engine.eval::<()>("t\\hold(60);")).expect("started");
        let busy = engine.spawn(engine.eval::<()>("while (true) {}")).expect("started");
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        let metrics = block_on(engine.shutdown(Duration::from_secs(2)));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(metrics.stuck, 1, "{metrics:?}");
        assert!(block_on(busy).is_err());
        drop(stuck);
    });
}

#[test]
fn a_burst_beyond_capacity_is_refused_and_counted() {
    child::passes("a_burst_beyond_capacity_is_refused_and_counted", || {
        let builder = stage::builder().fibers(2).queue(20).queue_timeout(Duration::from_millis(300));
        let engine = builder.build().expect("an engine");
        stage::gives::<i64>(&engine, "1");
        let calls: Vec<_> =
            (0..60).map(|_| engine.spawn(engine.eval::<i64>("Sidestack\\sleep(0.1); return 1;"))).collect();
        let (mut served, mut full, mut late) = (0, 0, 0);
        for call in calls {
            match call.and_then(block_on) {
                Ok(value) => served += value,
                Err(Error::QueueFull { .. }) => full += 1,
                Err(Error::Limit { .. }) => late += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(served + full + late, 60);
        // 2 run and 20 wait at first; a busy machine takes some more, or has not come to those that wait.
        assert!(served >= 2 && full >= 20 && late >= 1, "{served} served, {full} refused, {late} too late");
        assert_eq!(engine.metrics().queued, 0);
        child::until("all fibers are gone", || engine.metrics().fibers == 0);
    });
}
