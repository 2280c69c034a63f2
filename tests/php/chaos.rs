//! Requests that do everything at once, and are cut off anywhere.

use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use sidestack::{Error, Limit};

use crate::stage::{app, builder};

const SCRIPT: &str = r"<?php
class Guard { function __construct(public $id) {} function __destruct() { try { app\nap(0.001); } catch (Throwable $e) {} } }
function churn(int $seed): int {
    mt_srand($seed);
    $guard = new Guard($seed);
    register_shutdown_function(fn () => app\add(1, 2));
    $total = 0;
    for ($i = 0; $i < 20; $i++) {
        switch (mt_rand(0, 7)) {
            case 0: app\nap(mt_rand(0, 5) / 1000); break;
            case 1: usleep(mt_rand(0, 3000)); break;
            case 2: $f = new Fiber(function () use ($seed) { try { Fiber::suspend(app\add($seed, 1)); } finally { app\nap(0.001); } }); $f->start(); $f->resume(); break;
            case 3: $f = new Fiber(function () { app\nap(0.002); Fiber::suspend(); }); $f->start(); break;
            case 4: try { Sidestack\timeout(0.003, function () { app\nap(mt_rand(0, 6) / 1000); }); } catch (Sidestack\TimeoutException $e) { $total++; } break;
            case 5: $t = Sidestack\spawn(function ($n) { $g = new Guard($n); app\nap(mt_rand(0, 3) / 1000); return [$n]; }, $i); if (mt_rand(0, 1)) $total += $t->join()[0]; break;
            case 6: try { host\each(function ($n) { if ($n === 2) throw new OutOfRangeException; app\nap(0.0005); return $n; }, 3); } catch (OutOfRangeException $e) { $total++; } break;
            case 7: if (mt_rand(0, 30) === 0) exit(1); $a = []; $a['self'] = &$a; unset($a); gc_collect_cycles(); break;
        }
    }
    return $total;
}
";

#[test]
fn requests_are_cut_off_anywhere() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder()
        .threads(2)
        .grace(Duration::from_millis(5))
        .memory(4 << 30)
        .module(app())
        .module(crate::functions::host())
        .build()
        .expect("an engine");
    let (mut ended, mut exited, mut late) = (0, 0, 0);
    runtime.block_on(async {
        let script = engine.load_text("churn.php", SCRIPT).await.expect("a script");
        for round in 0..20_i64 {
            let calls = (0..100_i64).map(|n| {
                let seed = round * 100 + n;
                let after = Duration::from_millis(u64::try_from(seed % 29).expect("positive"));
                let call = script.call::<i64>("churn", seed);
                // A third is dropped at some time, a third has a deadline, and a third as long as it takes.
                let call = if seed % 3 == 1 { call.deadline(after) } else { call };
                let call = engine.spawn(call).expect("queued");
                async move {
                    let patience = if seed % 3 == 0 { after } else { Duration::from_secs(300) };
                    match select(call, Box::pin(tokio::time::sleep(patience))).await {
                        Either::Left((outcome, _)) => Some((seed, outcome)).filter(|_| seed % 3 != 0),
                        Either::Right(_) => {
                            assert!(seed % 3 == 0, "request {seed} hangs");
                            None
                        }
                    }
                }
            });
            for (seed, outcome) in join_all(calls.collect::<Vec<_>>()).await.into_iter().flatten() {
                match outcome {
                    Ok(_) => ended += 1,
                    Err(Error::Limit { which: Limit::Deadline, .. }) => late += 1,
                    Err(error) => {
                        assert_eq!(error.code(), Some("exit"), "request {seed}: {error:?}");
                        exited += 1;
                    }
                }
            }
        }
        let metrics = engine.shutdown(Duration::from_secs(10)).await;
        assert_eq!(
            (metrics.quarantined, metrics.crashed, metrics.stuck, metrics.leaked_objects),
            (0, 0, 0, 0),
            "{metrics:?}"
        );
    });
    println!("{ended} ended, {exited} exited, {late} were late");
    // Who has time comes to an end of its own, and about one in twelve by exit().
    assert!(late <= 667 && ended + exited + late == 667 + 666, "{ended} ended, {exited} exited, {late} were late");
    assert!(ended > 400 && exited > 10, "{ended} ended, {exited} exited, {late} were late");
}
