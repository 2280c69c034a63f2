//! Interpreters that end, are lost, or are replaced.

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::Error;

use crate::stage::{app, builder, gives};

#[path = "../child/mod.rs"]
mod child;

/// Overflows the C stack where PHP does not look: comparing deep arrays.
const OVERFLOWS: &str = "$a = $b = null; for ($i = 0; $i < 100_000; $i++) { $a = [$a]; $b = [$b]; } return $a == $b;";

#[test]
fn a_fault_of_php_ends_its_call_and_the_interpreter_is_replaced() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    let script = block_on(engine.load_text("s.php", "<?php return fn ($x) => $x + 1;")).expect("a script");
    let waits = engine.spawn(engine.eval::<String>("app\\nap(30)")).expect("queued");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let error = block_on(engine.eval::<bool>(OVERFLOWS)).expect_err("it overflows");
    let Error::Crashed { fault, .. } = &error else { panic!("{error:?}") };
    assert!(fault.contains("stack"), "{fault}");
    let error = block_on(waits).expect_err("it was there");
    assert!(matches!(error, Error::InterpreterLost { started: true }), "{error:?}");
    assert_eq!(block_on(script.call::<i64>("default", 1)).expect("the next incarnation"), 2);
    // Counted by the thread that is lost, when its replacement is on its way.
    let begun = std::time::Instant::now();
    while engine.metrics().abandoned == 0 && begun.elapsed().as_secs() < 10 {
        std::thread::yield_now();
    }
    let metrics = engine.metrics();
    assert_eq!((metrics.crashed, metrics.quarantined, metrics.abandoned), (1, 1, 1));
}

#[test]
fn a_fault_on_a_stack_that_php_made_is_contained_too() {
    let engine = builder().build().expect("an engine");
    let text = format!("$f = new Fiber(function () {{ {OVERFLOWS} }}); $f->start(); return $f->getReturn();");
    let error = block_on(engine.eval::<bool>(&text)).expect_err("it overflows");
    assert!(matches!(error, Error::Crashed { .. }), "{error:?}");
    assert_eq!(gives::<i64>(&engine, "1 + 1"), 2);
}

#[test]
fn interpreters_are_replaced_after_their_number_of_calls() {
    let engine = builder().threads(2).max_calls(10).build().expect("an engine");
    let script = block_on(engine.load_text("s.php", "<?php return fn ($x) => $x + 1;")).expect("a script");
    for round in 0..20 {
        let calls = (0..10).map(|i| engine.spawn(script.call::<i64>("default", round * 10 + i)).expect("queued"));
        for (i, answer) in block_on(join_all(calls.collect::<Vec<_>>())).into_iter().enumerate() {
            assert_eq!(answer.expect("an answer"), round * 10 + i as i64 + 1);
        }
    }
    assert!(engine.metrics().recycled >= 10, "{:?}", engine.metrics());
    let metrics = block_on(engine.shutdown(std::time::Duration::from_secs(5)));
    assert_eq!((metrics.quarantined, metrics.leaked_objects, metrics.stuck), (0, 0, 0));
}

/// In a process of its own: there is one opcache, for engines with the same functions, which caches nothing while it waits to be
/// emptied.
#[test]
fn opcache() {
    child::passes("incarnations::opcache", || {
        a_file_runs_from_opcache_and_as_the_main_program();
        it_restarts_when_nobody_uses_what_is_in_it();
    });
}

fn a_file_runs_from_opcache_and_as_the_main_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let part = folder.path().join("part.php");
    std::fs::write(&part, "<?php function part() { return basename(__FILE__); }").expect("written");
    let file = folder.path().join("main.php");
    std::fs::write(
        &file,
        "<?php require_once 'part.php'; if (isset($argv)) exit((int)$argv[1]);
         return ['part' => fn () => part() . ' ' . getcwd() . ' ' . __DIR__,
                 'cached' => fn () => opcache_is_script_cached(__FILE__)];",
    )
    .expect("written");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for path in [&part, &file] {
        std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(old)).expect("an older file");
    }
    let engine = builder().build().expect("an engine");
    let script = block_on(engine.load(&file)).expect("a script");
    let here = std::fs::canonicalize(folder.path()).expect("a path");
    for _ in 0..3 {
        let got = block_on(script.call::<String>("part", ())).expect("an answer");
        assert_eq!(got, format!("part.php {0} {0}", here.display()));
    }
    assert!(block_on(script.call::<bool>("cached", ())).expect("an answer"));
    assert_eq!(block_on(engine.run_file::<i64>(&file, "7")).expect("a status"), 7);
}

fn it_restarts_when_nobody_uses_what_is_in_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        let path = folder.path().join(name);
        let code = "<?php class X { const NAME = 'x'; } return fn ($s) => [app\\nap($s), X::NAME, str_repeat('-', 3) . __LINE__][2];";
        std::fs::write(&path, code).expect("written");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(old))
            .expect("an older file");
        path
    };
    let engine = builder().threads(2).module(app()).build().expect("an engine");
    for round in 0..20 {
        let script = block_on(engine.load(path(&format!("s{round}.php")))).expect("a script");
        // Suspended in code that is in the cache, while it is emptied, and while others fill it.
        let waiting = (0..20).map(|_| engine.spawn(script.call::<String>("default", 0.02)).expect("queued"));
        let waiting = waiting.collect::<Vec<_>>();
        gives::<bool>(&engine, "opcache_reset()");
        for answer in block_on(join_all(waiting)) {
            assert_eq!(answer.expect("an answer"), "---1");
        }
    }
    let restarts = "opcache_get_status(false)['opcache_statistics']['manual_restarts']";
    let begun = std::time::Instant::now();
    while gives::<i64>(&engine, restarts) == 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it does not restart");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
