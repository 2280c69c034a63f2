//! Deadlines, cancels, slices.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Error, Limit};

use crate::stage::{app, builder, gives};

#[test]
fn a_deadline_ends_a_loop() {
    let engine = builder().build().expect("an engine");
    let begun = Instant::now();
    let error = block_on(
        engine.eval::<()>("while (true) { try { while (true) {} } finally { } }").deadline(Duration::from_millis(100)),
    )
    .expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
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
    let error = block_on(engine.eval::<()>(&text).deadline(Duration::from_millis(50))).expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(file.path()).expect("text"), "caught deadline finally 3");
}

#[test]
fn loops_take_turns() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    let busy = engine.spawn(engine.eval::<()>("while (true) {}").deadline(Duration::from_secs(2))).expect("queued");
    std::thread::sleep(Duration::from_millis(30));
    let begun = Instant::now();
    assert_eq!(gives::<i64>(&engine, "app\\add(1, 2)"), 3);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    block_on(busy).expect_err("its deadline");
}
