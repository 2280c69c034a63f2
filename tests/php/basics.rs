//! Texts, scripts, host functions, errors.

use futures_executor::block_on;
use sidestack::Value;

use crate::stage::{app, builder, gives, run};

#[test]
fn an_expression_gives_its_value() {
    let engine = builder().build().expect("an engine");
    assert_eq!(gives::<i64>(&engine, "6 * 7"), 42);
    assert_eq!(gives::<String>(&engine, "PHP_VERSION . (PHP_ZTS ? ' zts' : '')").split('.').next(), Some("8"));
    assert_eq!(gives::<Vec<i64>>(&engine, "$a = [1, 2]; $a[] = 3; return $a;"), [1, 2, 3]);
    assert_eq!(gives::<Value>(&engine, "null"), Value::Nil);
}

#[test]
fn a_script_exports_closures_functions_and_a_default() {
    let engine = builder().build().expect("an engine");
    let script = block_on(engine.load_text(
        "hello.php",
        "<?php
         function shout(string $s) { return strtoupper($s) . '!'; }
         return ['greet' => fn ($name) => \"hi $name\", 'sum' => fn (...$n) => array_sum($n)];",
    ))
    .expect("a script");
    assert_eq!(block_on(script.call::<String>("greet", "Ann")).expect("greet"), "hi Ann");
    assert_eq!(block_on(script.call::<i64>("sum", (1, 2, 3))).expect("sum"), 6);
    assert_eq!(block_on(script.call::<String>("shout", "hey")).expect("shout"), "HEY!");
    let error = block_on(script.call::<()>("nothing", ())).expect_err("no such export");
    assert_eq!(error.code(), Some("not_found"));
}

#[test]
fn host_functions_answer_and_suspend() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    assert_eq!(gives::<i64>(&engine, "app\\add(40, 2)"), 42);
    assert_eq!(gives::<String>(&engine, "app\\nap(0.02)"), "slept 0.02 s");
    assert_eq!(gives::<String>(&engine, "APP\\Nap(0)"), "slept 0 s");
}

#[test]
fn exceptions_become_errors_with_code_message_and_trace() {
    let engine = builder().build().expect("an engine");
    let error =
        run::<()>(&engine, "function f() {\n throw new RuntimeException('odd', 7);\n}\n f();").expect_err("thrown");
    let sidestack::Error::Script { message, code, traceback, .. } = &error else { panic!("{error:?}") };
    assert_eq!((message.as_str(), code.as_deref()), ("odd", Some("7")));
    assert!(traceback.contains("RuntimeException at eval:2") && traceback.contains("f()"), "{traceback}");
    let error = run::<()>(&engine, "return 1 +;").expect_err("no PHP");
    assert!(error.to_string().contains("syntax error"), "{error}");
}
