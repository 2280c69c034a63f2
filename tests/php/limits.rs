//! Deadlines, cancels, slices.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::FutureExt;
use sidestack::{Error, Limit};

use crate::stage::{app, builder, gives, run};

#[test]
fn a_deadline_ends_a_loop() {
    let engine = builder().build().expect("an engine");
    let begun = Instant::now();
    let error = block_on(
        engine.eval::<()>("while (true) { try { while (true) {} } finally { } }").deadline(Duration::from_millis(100)),
    )
    .expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let error = block_on(
        engine
            .eval::<()>("while (true) { try { while (true) {} } catch (Throwable $e) {} }")
            .deadline(Duration::from_millis(100)),
    )
    .expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert_eq!(gives::<i64>(&engine, "1 + 1"), 2);
}

#[test]
fn a_deadline_ends_a_host_call_and_clean_up_runs() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(
        "$f = '{}';
         try {{ app\\nap(30); }}
         catch (Sidestack\\TimeoutException $e) {{ file_put_contents($f, 'caught ' . $e->getCode() . ' ', FILE_APPEND); throw $e; }}
         finally {{ file_put_contents($f, 'finally ' . app\\add(1, 2), FILE_APPEND); }}",
        file.path().display()
    );
    // The first request takes longer than others, and the script has to come to its nap.
    gives::<i64>(&engine, "1");
    let error = block_on(engine.eval::<()>(&text).deadline(Duration::from_secs(1))).expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(file.path()).expect("text"), "caught deadline finally 3");
}

#[test]
fn loops_take_turns() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    // It comes before the other one, and is there for longer than that may take.
    let mut busy =
        engine.spawn(engine.eval::<()>("while (true) {}").deadline(Duration::from_secs(60))).expect("queued");
    assert_eq!(gives::<i64>(&engine, "app\\add(1, 2)"), 3);
    assert!((&mut busy).now_or_never().is_none(), "it loops no more");
}

#[test]
fn max_execution_time_counts_running_and_waiting() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let ends = |body: &str| {
        std::fs::write(file.path(), "").expect("written");
        let text = format!(
            "set_time_limit(1);
             register_shutdown_function(fn () => file_put_contents('{}', 'down', FILE_APPEND));
             {body}",
            file.path().display()
        );
        let begun = Instant::now();
        let error = run::<()>(&engine, &text).expect_err("its time is over");
        let took = begun.elapsed();
        assert_eq!(error.code(), Some("fatal"), "{error:?}");
        assert!(error.to_string().contains("Maximum execution time of 1 second exceeded"), "{error}");
        assert_eq!(std::fs::read_to_string(file.path()).expect("text"), "down");
        // What it does would take half a minute.
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(15), "{took:?}");
    };
    ends("while (true) {}");
    ends("try { app\\nap(30); } catch (Throwable $e) { } ");
    // Each wait is short: they count together.
    ends("for ($i = 0; $i < 60; $i++) app\\nap(0.5);");
    ends("$f = new Fiber(function () { app\\nap(30); }); $f->start();");
    ends("sleep(30); while (true) {}");
    let begun = Instant::now();
    gives::<()>(&engine, "set_time_limit(3); app\\nap(1.6); set_time_limit(3); app\\nap(1.6);");
    assert!(begun.elapsed() >= Duration::from_millis(3200));
}

#[test]
fn a_deadline_ends_what_waits_in_the_c_library() {
    let engine = builder().build().expect("an engine");
    let begun = Instant::now();
    let error = block_on(engine.eval::<()>("while (true) { sleep(30); }").deadline(Duration::from_millis(100)))
        .expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn requests_that_wait_for_nothing_are_told() {
    let engine = builder().build().expect("an engine");
    let text = "$ch = new Sidestack\\Channel(1); $t = Sidestack\\spawn(fn () => $ch->recv()); return $t->join();";
    let begun = Instant::now();
    let error = block_on(engine.eval::<()>(text).detect_deadlock().deadline(Duration::from_secs(60)))
        .expect_err("nobody sends");
    assert!(matches!(error, Error::Deadlock { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(gives::<i64>(&engine, "1 + 1"), 2);
}
