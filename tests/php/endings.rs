//! However a request ends, the thread goes on.

use futures_executor::block_on;
use sidestack::{Engine, Error, Limit};

use crate::stage::{builder, gives, run};

#[track_caller]
fn fails(engine: &Engine, text: &str) -> (Option<String>, String) {
    let error = run::<()>(engine, text).expect_err("it fails");
    // The thread is well: the next request works.
    assert_eq!(gives::<i64>(engine, "1 + 1"), 2);
    assert_eq!(engine.metrics().quarantined, 0);
    match error {
        Error::Script { message, code, .. } => (code, message),
        Error::Limit { which: Limit::Memory, value, setting, .. } => {
            (Some("memory".into()), format!("{value} {setting}"))
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn exit_ends_the_request() {
    let engine = builder().build().expect("an engine");
    let (code, message) = fails(&engine, "function f() { exit(3); } f();");
    assert_eq!(code.as_deref(), Some("exit"), "{message}");
}

#[test]
fn fatal_errors_end_the_request() {
    let engine = builder().build().expect("an engine");
    let (code, message) = fails(&engine, "abstract class A { abstract function f(); } class B extends A {}");
    assert_eq!(code.as_deref(), Some("fatal"));
    assert!(message.contains("abstract method"), "{message}");
    let (code, message) = fails(&engine, "trigger_error('enough', E_USER_ERROR);");
    assert_eq!((code.as_deref(), message.as_str()), (Some("fatal"), "enough"));
}

#[test]
fn an_exception_that_nobody_catches_ends_the_request() {
    let engine = builder().build().expect("an engine");
    let (code, message) = fails(&engine, "throw new LogicException('no');");
    assert_eq!((code.as_deref(), message.as_str()), (None, "no"));
    let (_, message) = fails(&engine, "undefined_function();");
    assert!(message.contains("undefined_function"), "{message}");
}

#[test]
fn memory_limit_ends_the_request() {
    let engine = builder().build().expect("an engine");
    let memory = |text: &str, limit: &str| {
        assert_eq!(fails(&engine, text), (Some("memory".into()), limit.into()), "{text}");
    };
    // Of php.ini, or the script's.
    memory("$a = []; while (true) $a[] = str_repeat('x', 100_000);", "67108864 memory_limit");
    memory("str_repeat('x', 1 << 40);", "67108864 memory_limit");
    memory("ini_set('memory_limit', '16M'); str_repeat('x', 32 << 20);", "16777216 memory_limit");
    memory(
        "ini_set('memory_limit', '16M'); ini_set('memory_limit', '20M'); str_repeat('x', 32 << 20);",
        "20971520 memory_limit",
    );
    memory(
        "ini_set('memory_limit', '16M'); Sidestack\\spawn(fn () => str_repeat('x', 32 << 20))->join();",
        "16777216 memory_limit",
    );
    // The interpreter's.
    memory("ini_set('memory_limit', '-1'); str_repeat('x', 1 << 40);", "268435456 memory");
}

#[test]
fn a_calls_memory_bounds_memory_limit() {
    let engine = builder().call_memory(8 << 20).build().expect("an engine");
    let call = (Some("memory".into()), "8388608 call_memory".into());
    assert_eq!(fails(&engine, "$a = str_repeat('x', 16 << 20);"), call);
    for limit in ["-1", "32M"] {
        assert_eq!(
            fails(&engine, &format!("ini_set('memory_limit', '{limit}'); $a = str_repeat('x', 16 << 20);")),
            call
        );
    }
    let own = fails(&engine, "ini_set('memory_limit', '4M'); $a = str_repeat('x', 16 << 20);");
    assert_eq!(own, (Some("memory".into()), "4194304 memory_limit".into()));
    let text = "ini_set('memory_limit', '-1'); $a = str_repeat('x', 16 << 20);";
    let error = block_on(engine.eval::<()>(text).memory(12 << 20)).expect_err("its own call's limit");
    assert!(
        matches!(error, Error::Limit { which: Limit::Memory, value: 12_582_912, setting: "call_memory", .. }),
        "{error:?}"
    );
}

#[test]
fn recursion_is_an_error_that_can_be_caught() {
    let engine = builder().call_memory(256 << 20).build().expect("an engine");
    // Through C code: PHP's own frames take none of the C stack.
    let text = "ini_set('memory_limit', '256M');
                function f() { return array_map('f', [1]); }
                try { f(); return 'no'; } catch (Error $e) { return substr($e->getMessage(), 0, 23); }";
    assert_eq!(gives::<String>(&engine, text), "Maximum call stack size");
}

/// Uncaught, each limit is named with its value and its setting, and with the script's line.
#[test]
fn limits_name_their_values_and_settings() {
    let engine = builder().memory(512 << 20).call_memory(256 << 20).stack(1 << 20).build().expect("an engine");
    let deep = "ini_set('memory_limit', '256M');
                function f() { return array_map('f', [1]); } f();";
    for (text, limit) in [
        (deep, "stack limit of 1048576 bytes reached (setting: stack)"),
        (
            "ini_set('memory_limit', '4M');\n$a = str_repeat('x', 16 << 20);",
            "memory limit of 4194304 bytes reached (setting: memory_limit)",
        ),
        (
            "ini_set('memory_limit', '-1');\n$a = str_repeat('x', 300 << 20);",
            "memory limit of 268435456 bytes reached (setting: call_memory)",
        ),
    ] {
        let error = run::<()>(&engine, text).expect_err("it fails");
        assert_eq!(error.to_string(), limit);
        assert!(error.backtrace().to_string().contains(":2"), "{limit}: {}", error.backtrace());
        assert_eq!(gives::<i64>(&engine, "1 + 1"), 2);
    }
    let failures = engine.metrics().failures;
    assert_eq!((failures.stack, failures.memory, failures.script_error), (1, 2, 0));
}

#[test]
fn deep_structures_are_freed() {
    let engine = builder().build().expect("an engine");
    let text = "ini_set('memory_limit', '256M'); $a = null; for ($i = 0; $i < 50_000; $i++) $a = [$a];
                $b = $a; unset($a); $b = null; return 'freed';";
    assert_eq!(gives::<String>(&engine, text), "freed");
}

#[test]
fn shutdown_functions_and_destructors_run_at_the_end() {
    let engine = builder().build().expect("an engine");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(
        "$f = '{}';
         register_shutdown_function(fn () => file_put_contents($f, 's', FILE_APPEND));
         class D {{ function __construct(public $f) {{}} function __destruct() {{ file_put_contents($this->f, 'd', FILE_APPEND); }} }}
         $d = new D($f);
         exit;",
        file.path().display()
    );
    fails(&engine, &text);
    assert_eq!(std::fs::read_to_string(file.path()).expect("text"), "sd");
}
