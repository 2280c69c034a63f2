//! Time limits and stacks: PHP's own, and what bounds a request from outside. D2 and D3 of the acceptance scenarios.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::php::{Body, Page};
use sidestack::{Engine, Error, Limit};
use sidestack_test_phpt::{probe, stage};

fn engine() -> Engine {
    stage::builder().grace(Duration::from_millis(100)).memory(8 << 30).build().expect("an engine")
}

/// A page's output, and how long it took.
fn page(engine: &Engine, text: &str) -> (String, Duration) {
    let file = tempfile::Builder::new().suffix(".php").tempfile().expect("a file");
    std::fs::write(file.path(), format!("<?php {text}")).expect("a page");
    let request = http::Request::get("/").body(Body::empty()).expect("a request");
    let begun = Instant::now();
    let body = block_on(async {
        let response = engine.page(Page::new(file.path(), request)).await.expect("a response");
        response.into_body().collect().await.expect("a body")
    });
    (String::from_utf8_lossy(&body).into_owned(), begun.elapsed())
}

const DOWN: &str = "register_shutdown_function(function () { echo 'down'; });";

/// The limit of one second ends it in time, with PHP's own error, and shutdown functions run.
#[track_caller]
fn ends_in_time(body: &str) {
    let engine = engine();
    page(&engine, "echo 1;");
    let (output, took) = page(&engine, &format!("{DOWN} set_time_limit(1); {body}"));
    assert!(output.contains("Maximum execution time of 1 second exceeded"), "{output}");
    assert!(output.ends_with("down"), "{output}");
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!(page(&engine, "echo 'next';").0, "next");
}

#[test]
fn a_busy_loop_ends_at_max_execution_time() {
    ends_in_time("while (true) {}");
}

#[test]
fn a_host_call_ends_at_max_execution_time() {
    ends_in_time("Sidestack\\sleep(30);");
}

#[test]
fn a_wait_of_php_s_own_ends_at_max_execution_time() {
    ends_in_time("sleep(30); while (true) {}");
}

#[test]
fn waiting_counts_so_that_the_rest_is_left() {
    let begun = "$begun = microtime(true); register_shutdown_function(function () { global $begun; printf('after %.2f', microtime(true) - $begun); });";
    let engine = engine();
    page(&engine, "echo 1;");
    let (output, _) = page(&engine, &format!("set_time_limit(3); Sidestack\\sleep(2); {begun} while (true) {{}}"));
    let left: f64 =
        output.rsplit("after ").next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{output}"));
    assert!(left < 2.5, "{left} s were left of three seconds after two of waiting");
}

#[test]
fn a_limit_is_one_request_s_alone() {
    let engine = engine();
    let other = engine
        .spawn(engine.eval::<i64>("for ($i = 0; $i < 30; $i++) Sidestack\\sleep(0.05); return $i;"))
        .expect("started");
    let (output, _) = page(&engine, "set_time_limit(1); $f = new Fiber(function () { while (true) {} }); $f->start();");
    assert!(output.contains("Maximum execution time"), "{output}");
    assert_eq!(block_on(other).expect("it has no limit"), 30);
}

#[test]
fn a_deadline_ends_what_does_not_want_to_end() {
    for text in [
        "while (true) {}",
        "while (true) { try { Sidestack\\sleep(10); } catch (Throwable $e) {} }",
        "while (true) { try { while (true) {} } catch (Throwable $e) { } }",
        "function f() { try { while (true) {} } finally { f(); } } f();",
        "$f = function () use (&$f) { $x = new Fiber($f); try { while (true) usleep(100); } finally { $x->start(); } }; $f();",
        "set_error_handler(function () { while (true) {} }); echo $undefined;",
        "register_shutdown_function(function () { while (true) {} }); exit;",
        "class C { function __destruct() { while (true) {} } } new C;",
        "while (true) preg_replace_callback('/x/', function () { usleep(10); return 'y'; }, str_repeat('x', 1000));",
    ] {
        let engine = engine();
        let begun = Instant::now();
        let error =
            block_on(engine.eval::<()>(text).deadline(Duration::from_millis(300))).expect_err("its deadline passed");
        assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{text}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{text}: {:?}", begun.elapsed());
        let next: i64 = stage::gives(&engine, "6 * 7");
        assert_eq!((next, engine.metrics().quarantined), (42, 0), "{text}");
    }
}

#[test]
fn endless_recursion_is_an_error_that_can_be_caught() {
    let engine = engine();
    for text in [
        "function f() { return array_map('f', [1]); } f();",
        "class C { function __get($n) { return $this->{$n . 'x'}; } } (new C)->a;",
        "class C { function __toString(): string { return \"$this\"; } } (string) new C;",
        "class C { function __destruct() { new C; } } new C;",
        "function f() { return preg_replace_callback('/./', fn () => f(), 'x'); } f();",
        "function r() { return array_map('r', [1]); } $x = new Fiber('r'); $x->start();",
        "function f() { $a = [2, 1]; usort($a, 'f'); } $x = new Fiber('f'); $x->start();",
    ] {
        let text = format!(
            "ini_set('memory_limit', '1G'); try {{ {text} return 'no error'; }} catch (Error $e) {{ return $e->getMessage(); }}"
        );
        let said: String = stage::gives(&engine, &text);
        assert!(said.starts_with("Maximum call stack size of"), "{text}: {said}");
    }
    let [upcalls, outside] = probe::bounds();
    assert_eq!(outside, 0, "of {upcalls}");
    assert_eq!(engine.metrics().quarantined, 0);
}

/// Upcalls from as deep as PHP lets code get, on the fiber's own stack and in PHP's Fibers, side by side.
#[test]
fn the_published_stack_holds_every_upcall() {
    let engine = engine();
    let before = probe::bounds();
    let text = "ini_set('memory_limit', '1G');
        function deep($d) { if ($d % 50 == 0) usleep(100); try { return 1 + max(array_map('deep', [$d + 1])); } catch (Error $e) { usleep(100); echo ''; return 0; } }
        $v = [deep(1)];
        $fibers = [];
        foreach ([1, 2, 3] as $i) { $fibers[$i] = new Fiber(function () { Fiber::suspend(); return deep(1); }); $fibers[$i]->start(); }
        foreach ([2, 3, 1] as $i) { $fibers[$i]->resume(); $v[] = $fibers[$i]->getReturn(); }
        return min($v);";
    let runs: Vec<_> = (0..4).map(|_| engine.spawn(engine.eval::<i64>(text)).expect("started")).collect();
    for run in runs {
        let deep = block_on(run).expect("it comes back");
        assert!(deep > 100, "{deep} calls deep");
    }
    let [upcalls, outside] = probe::bounds();
    assert!(upcalls - before[0] > 100, "{upcalls}");
    assert_eq!(outside, 0);
}
