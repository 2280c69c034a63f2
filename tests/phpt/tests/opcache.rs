//! opcache and many requests on one thread: it is emptied while they are suspended, while there are always some, and under
//! workers; it outlives a fault in it; and what it compiles is for those who have the same host functions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::php::{Body, Page};
use sidestack::{Engine, Error, Module, Script};
use sidestack_test_phpt::stage;

#[path = "../../child/mod.rs"]
mod child;

/// A file that is older than opcache wants them to be before it keeps what it compiles.
fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    let old = SystemTime::now() - Duration::from_secs(60);
    std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("an older file");
    path
}

fn load(engine: &Engine, path: &Path) -> Script {
    block_on(engine.load(path)).expect("it loads")
}

/// What its statistics count.
fn count(engine: &Engine, what: &str) -> i64 {
    stage::gives(engine, &format!("opcache_get_status(false)['opcache_statistics']['{what}'] ?? -1"))
}

/// A reset of opcache while requests are suspended in cached code, and others that compile anew.
#[test]
fn opcache_reset_beside_suspended_requests() {
    child::passes("opcache_reset_beside_suspended_requests", || {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = stage::builder().memory(8 << 30).build().expect("an engine");
        let part = file(
            folder.path(),
            "part.php",
            "<?php const TEXTS = ['a' => ['long text of a constant', 2]]; function part($n) { foreach (TEXTS as $k => $v) { Sidestack\\sleep(0.3); $n .= $k . $v[0] . __FUNCTION__; } return $n; } class Part { public $p = ['x' => [1, 2]]; function run() { Sidestack\\sleep(0.3); return implode($this->p['x']); } }",
        );
        let text = format!("<?php require_once '{}'; return ['run' => function ($n) {{ $a = part($n); $o = new Part; return $a . $o->run(); }}, 'other' => function ($n) {{ require \"{}/other$n.php\"; return ('other' . $n)(); }},
            'reset' => fn () => opcache_reset(), 'status' => fn () => opcache_get_status(false)['opcache_statistics']['num_cached_scripts'] ?? -1];", part.display(), folder.path().display());
        let script = load(&engine, &file(folder.path(), "script.php", &text));
        // opcache leaves files alone that have just been written.
        for n in 0..3 {
            assert!(block_on(script.call::<i64>("status", n)).expect("a number") > 0, "opcache is in use");
        }
        let suspended: Vec<_> =
            (0..20).map(|n| engine.spawn(script.call::<String>("run", n)).expect("started")).collect();
        std::thread::sleep(Duration::from_millis(100));
        for n in 0..30 {
            let other = format!("<?php function other{n}() {{ return str_repeat('zz{n}', 3); }}");
            file(folder.path(), &format!("other{n}.php"), &other);
            if n % 5 == 0 {
                block_on(script.call::<bool>("reset", ())).expect("a reset");
            }
            let other = block_on(script.call::<String>("other", n)).expect("a text");
            assert_eq!(other, format!("zz{n}").repeat(3));
        }
        for (n, text) in block_on(join_all(suspended)).into_iter().enumerate() {
            assert_eq!(text.expect("it goes on"), format!("{n}along text of a constantpart12"));
        }
        assert_eq!(engine.metrics().quarantined, 0);
    });
}

/// Requests of which some are always open: each begins before the others have ended.
#[test]
fn it_is_emptied_although_there_are_always_requests() {
    child::passes("it_is_emptied_although_there_are_always_requests", || {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = stage::builder().threads(2).build().expect("an engine");
        let text =
            "<?php return ['nap' => function ($n) { Sidestack\\sleep($n); return opcache_is_script_cached(__FILE__); },
            'reset' => fn () => opcache_reset()];";
        let script = load(&engine, &file(folder.path(), "script.php", text));
        let stop = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..8)
            .map(|n| {
                let (script, stop) = (script.clone(), stop.clone());
                std::thread::spawn(move || {
                    let mut cached = Vec::new();
                    // In the end until it caches again.
                    let begun = Instant::now();
                    let again =
                        |cached: &[bool]| cached.last() == Some(&true) || begun.elapsed() > Duration::from_secs(60);
                    while !stop.load(Ordering::Relaxed) || !again(&cached) {
                        let nap = 0.03 + f64::from(n) / 1000.0;
                        cached.push(block_on(script.call::<bool>("nap", nap)).expect("a request"));
                    }
                    cached
                })
            })
            .collect();
        for round in 1..=3 {
            std::thread::sleep(Duration::from_millis(200));
            assert!(block_on(script.call::<bool>("reset", ())).expect("asked"));
            child::until("it restarts", || count(&engine, "manual_restarts") == round);
        }
        stop.store(true, Ordering::Relaxed);
        for cached in load.into_iter().map(|thread| thread.join().expect("no request failed")) {
            assert_eq!(cached.last(), Some(&true), "it caches again: {cached:?}");
        }
    });
}

#[test]
fn it_is_emptied_although_workers_wait() {
    child::passes("it_is_emptied_although_workers_wait", || {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = stage::builder().threads(2).build().expect("an engine");
        let text = "<?php $boot = uniqid(); $n = 0;
            while (frankenphp_handle_request(function () use ($boot, &$n) {
                $n++; echo opcache_is_script_cached(__FILE__) ? 'cached' : 'not', \" $boot $n\";
            }));";
        let path = file(folder.path(), "worker.php", text);
        let workers = block_on(engine.workers(&path).count(3).start()).expect("workers");
        let ask = || {
            let request = http::Request::get("/").body(Body::empty()).expect("a request");
            let body = block_on(async {
                let response = workers.page(Page::new(&path, request)).await.expect("a response");
                response.into_body().collect().await.expect("a body")
            });
            String::from_utf8_lossy(&body).into_owned()
        };
        let before = ask();
        assert!(before.starts_with("cached "), "{before}");
        stage::gives::<bool>(&engine, "opcache_reset()");
        child::until("it restarts", || {
            // Workers answer all the time.
            ask();
            count(&engine, "manual_restarts") == 1
        });
        // Those that have begun meanwhile make way for others, which use it again.
        child::until("all workers use it", || (0..12).map(|_| ask()).all(|page| page.starts_with("cached ")));
    });
}

#[test]
fn a_fault_while_it_writes_costs_one_interpreter() {
    child::passes("a_fault_while_it_writes_costs_one_interpreter", || {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = stage::builder().threads(2).build().expect("an engine");
        let text = |n| format!("<?php return ['f' => fn () => {n} + (int) opcache_is_script_cached(__FILE__) * 1000];");
        let script = load(&engine, &file(folder.path(), "0.php", &text(0)));
        assert_eq!(block_on(script.call::<i64>("f", ())).expect("a number"), 1000);
        let suspended = engine.spawn(engine.eval::<i64>("Sidestack\\sleep(1); return 7;")).expect("started");
        let error = block_on(engine.eval::<i64>("phpt_fault_in_opcache()")).expect_err("it faults");
        assert!(matches!(&error, Error::Crashed { fault, .. } if fault.contains("SIGSEGV")), "{error:?}");
        // Nobody hangs at its lock, and nobody writes to what is half written.
        for n in 1..=20 {
            let script = load(&engine, &file(folder.path(), &format!("{n}.php"), &text(n)));
            let got = block_on(script.call::<i64>("f", ()).deadline(Duration::from_secs(20))).expect("a number");
            assert_eq!(got % 1000, n);
        }
        match block_on(suspended) {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => assert!(matches!(error, Error::InterpreterLost { started: true }), "{error:?}"),
        }
        child::until("it is emptied", || count(&engine, "oom_restarts") == 1);
        child::until("it caches again", || block_on(script.call::<i64>("f", ())).expect("a number") == 1000);
        let metrics = engine.metrics();
        assert_eq!((metrics.crashed, metrics.quarantined), (1, 1));
    });
}

/// A call of a function that was there when it was compiled does not ask again whether it is.
#[test]
fn engines_with_other_functions_do_not_share_it() {
    child::passes("engines_with_other_functions_do_not_share_it", || {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "<?php return ['one' => fn () => one\\f(), 'two' => fn () => two\\f(),
            'cached' => fn () => opcache_is_script_cached(__FILE__)];";
        let path = file(folder.path(), "script.php", text);
        let engine = |name: &'static str| {
            let module = Module::new(name).function("f", move || Ok(name));
            stage::builder().module(module).build().expect("an engine")
        };
        let calls = |engine: &Engine, own: &str, other: &str| {
            let script = load(engine, &path);
            for _ in 0..3 {
                assert_eq!(block_on(script.call::<String>(own, ())).expect("its own"), own);
                let error = block_on(script.call::<String>(other, ())).expect_err("it has no such function");
                assert!(error.to_string().contains(&format!("Call to undefined function {other}\\f()")), "{error:?}");
            }
            block_on(script.call::<bool>("cached", ())).expect("an answer")
        };
        let (one, two) = (engine("one"), engine("two"));
        assert!(calls(&one, "one", "two"), "the first one's is kept");
        assert!(!calls(&two, "two", "one"));
        // The same functions: the same code.
        let again = engine("one");
        assert!(calls(&again, "one", "two"));
        for gone in [one, two, again] {
            block_on(gone.shutdown(Duration::from_secs(5)));
        }
        // Nobody is left who has them: it is for the next.
        let two = engine("two");
        child::until("it is the next one's", || calls(&two, "two", "one"));
        let one = engine("one");
        assert!(!calls(&one, "one", "two"));
    });
}
