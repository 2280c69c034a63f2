//! Requests that are suspended together do not see each other.

use std::time::Duration;

use futures_util::future::join_all;

use crate::stage::{Gate, app, builder};

/// What each of many requests does: it makes its own of everything that PHP keeps for a request, waits, and looks again.
const APART: &str = r#"<?php
function own(int $id): string {
    static $calls = 0;
    $calls++;
    $GLOBALS['mine'] = $id;
    $folder = sys_get_temp_dir() . '/sidestack-apart-' . ($id % 7);
    chdir($folder);
    ini_set('precision', (string)(3 + $id % 11));
    spl_autoload_register(function ($class) use ($id) { eval("class $class { const ID = $id; }"); });
    set_error_handler(fn ($n, $message) => throw new ErrorException("$id: $message"));
    ob_start();
    echo "begin $id ";
    $found = preg_replace_callback('/\d+/', function ($m) use ($id) {
        gate\wait();
        app\nap(($id % 10) / 100);
        preg_match('/x/', 'axa');
        return $m[0] * 2;
    }, "a$id b1");
    $text = ob_get_clean();
    $ok = $text === "begin $id "
        && $found === 'a' . ($id * 2) . ' b2'
        && $calls === 1
        && $GLOBALS['mine'] === $id
        && getcwd() === realpath($folder)
        && ini_get('precision') === (string)(3 + $id % 11)
        && count(spl_autoload_functions()) === 1
        && Mine::ID === $id
        && (string)M_PI === rtrim(number_format(M_PI, 2 + $id % 11, '.', ''), '0');
    try { echo $undefined; } catch (ErrorException $e) { $ok = $ok && str_starts_with($e->getMessage(), "$id:"); }
    return $ok ? 'apart' : "mixed up: $text $found " . getcwd() . ' ' . ini_get('precision') . ' ' . M_PI;
}
"#;

#[test]
fn five_thousand_suspended_requests_share_a_thread_and_nothing_else() {
    const MANY: i64 = 5_000;
    for folder in 0..7 {
        std::fs::create_dir_all(std::env::temp_dir().join(format!("sidestack-apart-{folder}"))).expect("a folder");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let gate = Gate::new();
    let engine = builder().memory(8 << 30).module(app()).module(gate.module()).build().expect("an engine");
    runtime.block_on(async {
        let script = engine.load_text("apart.php", APART).await.expect("a script");
        let calls = (0..MANY).map(|id| engine.spawn(script.call::<String>("own", id)).expect("queued"));
        let calls = calls.collect::<Vec<_>>();
        gate.wait_for(MANY as usize);
        gate.open();
        for answer in join_all(calls).await {
            assert_eq!(answer.expect("an answer"), "apart");
        }
    });
}

/// libxml2 keeps errors, and where they go, by thread.
#[test]
fn errors_of_xml_belong_to_their_request() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    let waits = "libxml_use_internal_errors(true);
                 $d = new DOMDocument; $d->loadXML('<a><b></a>');
                 $before = libxml_get_last_error()->message;
                 app\\nap(0.2);
                 $after = libxml_get_last_error() ? libxml_get_last_error()->message : 'gone';
                 $count = count(libxml_get_errors());
                 $d->loadXML('<c>&unknown;</c>');
                 return [$before === $after, $after, count(libxml_get_errors()) - $count];";
    let ends = "$e = []; set_error_handler(function ($n, $m) use (&$e) { $e[] = $m; return true; });
                $d = new DOMDocument; $d->loadXML('<x></y>'); return count($e) > 0;";
    runtime.block_on(async {
        let waiting = (0..3).map(|_| engine.spawn(engine.eval::<(bool, String, i64)>(waits)).expect("queued"));
        let waiting = waiting.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..10 {
            assert!(engine.eval::<bool>(ends).await.expect("an answer"), "its warnings are its own");
        }
        for answer in join_all(waiting).await {
            let (same, message, more) = answer.expect("an answer");
            assert!(same, "{message}");
            assert_eq!(more, 1);
        }
    });
}

/// A context serves one request after the other; what one leaves behind is gone.
#[test]
fn nothing_of_a_request_is_left_for_the_next() {
    let engine = builder().build().expect("an engine");
    let leaves = "ini_set('precision', '5'); set_error_handler(fn () => true); chdir('/'); class Left { static $v = 1; }
                  function left() {} const LEFT = 1; define('ALSO_LEFT', 2); $GLOBALS['left'] = 1; $_SERVER['LEFT'] = 1;
                  spl_autoload_register(fn ($c) => eval(\"class $c {}\")); ob_start(); echo 'left'; date_default_timezone_set('Asia/Tokyo');
                  mb_internal_encoding('EUC-JP'); libxml_use_internal_errors(true); stream_wrapper_unregister('http'); set_time_limit(7);";
    let finds = "return json_encode([ini_get('precision'), set_error_handler(null), getcwd() === '/', class_exists('Left'),
                  function_exists('left'), defined('LEFT'), defined('ALSO_LEFT'), isset($GLOBALS['left']), isset($_SERVER['LEFT']),
                  spl_autoload_functions(), ob_get_level(), date_default_timezone_get(), mb_internal_encoding(),
                  libxml_use_internal_errors(), in_array('http', stream_get_wrappers()), ini_get('max_execution_time')]);";
    let fresh: String = crate::stage::gives(&engine, finds);
    for _ in 0..3 {
        crate::stage::gives::<()>(&engine, leaves);
        assert_eq!(crate::stage::gives::<String>(&engine, finds), fresh);
    }
}
