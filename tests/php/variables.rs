//! What `$_SERVER` is when the first to look at it is a closure that the host calls, on a fiber of its own.

use std::sync::{Arc, Mutex, PoisonError};

use futures_executor::block_on;
use http::Request;
use serde_json::{Value, json};
use sidestack::php::{Body, Page};
use sidestack::{Engine, Function, Module};

use crate::stage::{builder, gives};

/// What the closure looks at: compiled when it is called, so that PHP makes the variables then.
const LOOK: &str = "set_error_handler(function ($n, $message) { throw new ErrorException($message); });
    function looks() { return function () { return eval('return [$_SERVER[\"REQUEST_URI\"] ?? null, $_SERVER[\"HTTP_X_A\"] ?? null,
        getenv(\"QUERY_STRING\"), getallheaders()[\"X-A\"] ?? null];'); }; }";

type Kept = Arc<Mutex<Option<Function>>>;
type Said = Arc<Mutex<Option<sidestack::Value>>>;

fn kept(kept: &Kept) -> Option<Function> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// An engine whose scripts can leave a closure with the host, and have it called on another fiber.
fn engine() -> (Engine, Kept, Said) {
    let kept: Kept = Arc::default();
    let keep = kept.clone();
    let said: Said = Arc::default();
    let say = said.clone();
    let module = Module::new("box")
        .function("keep", move |f: Function| {
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(f);
            Ok(())
        })
        .function("say", move |value: sidestack::Value| {
            *say.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        })
        .function("call", async |f: Function| Ok(f.call::<sidestack::Value>(()).await?));
    (builder().module(module).build().expect("an engine"), kept, said)
}

fn request(n: i64) -> Request<Body> {
    Request::get(format!("/page?n={n}")).header("x-a", n.to_string()).body(Body::empty()).expect("a request")
}

/// What a closure that looks at all of it says in this request.
fn all_of(n: i64) -> Value {
    json!([format!("/page?n={n}"), n.to_string(), format!("n={n}"), n.to_string()])
}

fn body(page: sidestack::php::PageCall) -> Value {
    let text = block_on(async { page.await.expect("a page").into_body().collect().await.expect("whole") });
    serde_json::from_slice(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&text)))
}

#[test]
fn a_page_s_closure_sees_the_page_s_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("<?php {LOOK} {text}")).expect("written");
        path
    };
    let (engine, left, _) = engine();

    // While the page waits for it; and the page sees the same then.
    let waits = file("waits.php", "echo json_encode([box\\call(looks()), looks()()]);");
    assert_eq!(body(engine.page(Page::new(waits, request(1)))), json!([all_of(1), all_of(1)]));

    // When the page has been answered.
    let leaves = file("leaves.php", "box\\keep(looks()); echo 'null';");
    assert_eq!(body(engine.page(Page::new(leaves, request(2)))), Value::Null);
    let function = kept(&left).expect("it was kept");
    for _ in 0..2 {
        assert_eq!(block_on(function.call::<Value>(())).expect("a call"), all_of(2));
    }
    drop((function, left.lock().expect("a lock").take()));

    // In a later request of a worker's.
    let worker = file(
        "worker.php",
        "$looks = looks(); while (frankenphp_handle_request(function () use ($looks) { echo json_encode(box\\call($looks)); }));",
    );
    let workers = block_on(engine.workers(&worker).count(1).start()).expect("workers");
    for n in 3..6 {
        assert_eq!(body(workers.page(Page::new(&worker, request(n)))), all_of(n));
    }
}

/// As on PHP's command line, whoever looks first.
#[test]
fn a_script_s_closure_sees_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = |then: &str| {
        format!(
            "<?php {LOOK} function names() {{ return eval('return [$_SERVER[\"argv\"] ?? null, getenv(\"PATH\") === $_SERVER[\"PATH\"],
            is_int($_SERVER[\"REQUEST_TIME\"]), is_float($_SERVER[\"REQUEST_TIME_FLOAT\"]), array_keys($_SERVER)];'); }} {then}"
        )
    };
    let (engine, left, said) = engine();
    let function = || kept(&left).expect("it was kept");
    let main = |name: &str, then: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text(then)).expect("written");
        block_on(engine.run_file::<i64>(&file, ("one", "two"))).expect("it runs")
    };
    let arguments = |name: &str| json!([folder.path().join(name).display().to_string(), "one", "two"]);
    assert_eq!(main("says.php", "box\\say(names());"), 0);
    let own = said.lock().expect("a lock").take().expect("it was said");
    let own = serde_json::to_value(&own).expect("JSON");
    assert_eq!(own[0], arguments("says.php"));
    main("keeps.php", "box\\keep(names(...));");
    for _ in 0..2 {
        let seen = block_on(function().call::<Value>(())).expect("a call");
        assert_eq!(
            (&seen[0], &seen[1], &seen[2], &seen[3]),
            (&arguments("keeps.php"), &json!(true), &json!(true), &json!(true))
        );
        assert_eq!(seen[4], own[4]);
    }
    // A text has no arguments; the rest is the same.
    let own: Value = gives(&engine, &format!("{} return names();", &text("")[5..]));
    gives::<()>(&engine, &format!("{} box\\keep(names(...));", &text("")[5..]));
    for _ in 0..2 {
        assert_eq!(block_on(function().call::<Value>(())).expect("a call"), own);
    }
    // And it has no request.
    gives::<()>(&engine, &format!("{LOOK} box\\keep(looks());"));
    assert_eq!(block_on(function().call::<Value>(())).expect("a call"), json!([null, null, false, null]));
}
