//! Web pages: requests in, responses out.

use std::path::PathBuf;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::FutureExt;
use http::{HeaderMap, Request};
use sidestack::php::{Body, Page};
use sidestack::{Error, Limit};

use crate::stage::{Gate, builder};

/// PHP files in a folder of their own.
struct Site(tempfile::TempDir);

impl Site {
    fn new(files: &[(&str, &str)]) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        Site(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

fn serve(engine: &sidestack::Engine, page: Page) -> Result<Got, Error> {
    let call = engine.page(page).deadline(Duration::from_secs(20));
    block_on(async {
        let (parts, body) = call.await?.into_parts();
        let body = String::from_utf8(body.collect().await.expect("a whole body")).expect("text");
        Ok(Got { status: parts.status.as_u16(), headers: parts.headers, body })
    })
}

fn page(script: &str, request: http::request::Builder, body: impl Into<Body>) -> Got {
    let site = Site::new(&[("a.php", script)]);
    let engine = builder().build().expect("an engine");
    serve(&engine, Page::new(site.file("a.php"), request.body(body.into()).expect("a request"))).expect("a page")
}

#[test]
fn a_page_says_hello() {
    let got = page("<?php header('X-A: 1'); echo 'hello ', $_GET['name'];", Request::get("/a.php?name=you"), "");
    assert_eq!((got.status, got.body.as_str(), got.header("x-a")), (200, "hello you", Some("1")));
    assert_eq!(got.header("content-type"), Some("text/html; charset=UTF-8"));
}

#[test]
fn superglobals_are_those_of_the_request() {
    let script = r#"<?php
        echo json_encode([$_SERVER['REQUEST_METHOD'], $_SERVER['SCRIPT_NAME'], $_SERVER['QUERY_STRING'], $_SERVER['HTTP_X_B'],
            $_SERVER['PHP_AUTH_USER'], $_SERVER['PHP_AUTH_PW'], $_GET, $_POST, $_COOKIE, $_REQUEST, getenv('REQUEST_URI'),
            getallheaders()['X-B'], is_float($_SERVER['REQUEST_TIME_FLOAT']), PHP_SAPI]);"#;
    let request = Request::post("/a.php?a[]=1&a[]=2")
        .header("cookie", "c=3")
        .header("x-b", "b")
        .header("authorization", "Basic dTpw")
        .header("content-type", "application/x-www-form-urlencoded");
    let got = page(script, request, "p=4&q%5Bx%5D=5");
    assert_eq!(
        got.body,
        r#"["POST","\/a.php","a[]=1&a[]=2","b","u","p",{"a":["1","2"]},{"p":"4","q":{"x":"5"}},{"c":"3"},"#.to_string()
            + r#"{"a":["1","2"],"p":"4","q":{"x":"5"},"c":"3"},"\/a.php?a[]=1&a[]=2","b",true,"fpm-fcgi"]"#
    );
}

#[test]
fn status_redirects_and_cookies() {
    let got = page(
        "<?php setcookie('a', 'b'); setcookie('c', 'd'); header('Location: /x', true, 303);",
        Request::get("/"),
        "",
    );
    assert_eq!((got.status, got.header("location")), (303, Some("/x")));
    assert_eq!(got.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(page("<?php http_response_code(418); echo 'tea';", Request::get("/"), "").status, 418);
    assert_eq!(page("<?php header('HTTP/1.1 451 No');", Request::get("/"), "").status, 451);
    assert_eq!(page("<?php nope();", Request::get("/"), "").status, 500);
    assert_eq!(page("<?php throw new Exception('x');", Request::get("/"), "").status, 500);
    assert_eq!(page("<?php ((", Request::get("/"), "").status, 500);
    assert_eq!(page("<?php echo 'a'; exit('b');", Request::get("/"), "").body, "ab");
}

#[test]
fn output_streams_while_the_script_waits() {
    let site = Site::new(&[("a.php", "<?php echo 'one'; flush(); gate\\wait(); echo 'two'; flush(); echo 'three';")]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let gate = Gate::new();
        let engine = builder().module(gate.module()).build().expect("an engine");
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let response = engine.page(Page::new(site.file("a.php"), request)).await.expect("a page");
        let mut body = response.into_body();
        let first = body.chunk().await.expect("more").expect("whole");
        gate.open();
        assert_eq!((first.as_ref(), body.collect().await.expect("whole").as_slice()), (&b"one"[..], &b"twothree"[..]));
    });
}

/// Of a page that is cut off before the host has looked at its response there is none.
#[test]
fn what_nobody_has_seen_yet_of_a_response_makes_way_for_the_error() {
    let site = Site::new(&[("a.php", "<?php echo str_repeat('x', 1000000); flush(); echo str_repeat('y', 1000);")]);
    // One fiber: pages run one after the other.
    let engine = builder().fibers(1).build().expect("an engine");
    let page = |most| {
        let request = Request::get("/").body(Body::empty()).expect("a request");
        engine.page(Page::new(site.file("a.php"), request).max_response(most))
    };
    let whole = |response: http::Response<Body>| block_on(response.into_body().collect()).expect("whole").len();
    // It waits for its reader, and so the next ones for it.
    let first = block_on(page(2_000_000)).expect("a response");
    let mut cut = page(70_000);
    assert!((&mut cut).now_or_never().is_none(), "it has begun");
    let last = page(2_000_000);
    assert_eq!(whole(first), 1_001_000);
    // When the last one has begun the one before it is over.
    let last = block_on(last).expect("a response");
    let error = block_on(cut).expect_err("it was cut off");
    assert!(matches!(error, Error::Limit { which: Limit::Response, .. }), "{error:?}");
    assert_eq!(whole(last), 1_001_000);
}

#[test]
fn a_page_tells_what_it_did_and_a_worker_for_each_page() {
    let page = "usleep((int) $_GET['us']); for ($i = 0; $i < $_GET['calls']; $i++) App\\add(1, 2); echo 'done';";
    let site = Site::new(&[
        ("page.php", &format!("<?php {page}")),
        ("worker.php", &format!("<?php while (frankenphp_handle_request(function () {{ {page} }}));")),
    ]);
    let engine = builder().module(crate::stage::app()).build().expect("an engine");
    let workers = block_on(engine.workers(site.file("worker.php")).count(1).start()).expect("workers");
    let ask = |worker: bool, us: u64, calls: u64| {
        let request = Request::get(format!("/?us={us}&calls={calls}")).body(Body::empty()).expect("a request");
        let page = Page::new(site.file("page.php"), request);
        let mut call = if worker { workers.page(page) } else { engine.page(page) };
        let stats = call.stats();
        assert_eq!((stats.fiber(), stats.host_calls(), stats.waited()), (None, 0, Duration::ZERO));
        block_on(async { call.await.expect("a page").into_body().collect().await.expect("whole") });
        stats
    };
    for worker in [false, true] {
        // Its own input and output are calls too.
        let own = ask(worker, 0, 0).host_calls();
        let quick = ask(worker, 0, 100);
        assert_eq!(
            (quick.host_calls(), quick.waited(), quick.last_wait()),
            (own + 100, Duration::ZERO, None),
            "{worker}"
        );
        let slow = ask(worker, 30_000, 0);
        let (_, last) = slow.last_wait().expect("it waited");
        assert!(slow.waited() >= Duration::from_millis(30) && last == slow.waited(), "{worker}: {slow:?}");
        assert!(slow.fiber().is_some());
    }
    block_on(workers.stop());
}

/// Scenario D1 with a tick every millisecond: 40 requests at once on one thread, each with three Fibers that are resumed out of order
/// (one throws, one recurses to its stack's end, one is left suspended), and that wait inside Fibers.
#[test]
fn fibers_in_pages_under_a_fast_tick() {
    let site = Site::new(&[("a.php", &format!("{} page();", include_str!("storm.php")))]);
    let engine = builder().tick(Duration::from_millis(1)).build().expect("an engine");
    let ask = |id: usize| {
        let request = Request::get(format!("/?id={id}")).body(Body::empty()).expect("a request");
        let call = engine.page(Page::new(site.file("a.php"), request));
        async move {
            let (parts, body) = call.await.expect("a page").into_parts();
            (id, parts.headers, String::from_utf8(body.collect().await.expect("whole")).expect("text"))
        }
    };
    for first in (0..200).step_by(40) {
        for (id, headers, body) in block_on(futures_util::future::join_all((first..first + 40).map(ask))) {
            assert_eq!(body, include_str!("storm.txt").trim_end().replace("{id}", &id.to_string()));
            for name in ["x-throws", "x-deep", "x-left"] {
                assert_eq!(headers[name], id.to_string().as_str(), "{name}");
            }
        }
    }
}

#[test]
fn a_page_that_is_killed_while_php_tells_of_its_exception() {
    // The engine makes that text with no frame of a script left: it takes longer than the page has.
    let script = "<?php
        try { while (true) {} } catch (Throwable) {}
        for ($e = null, $i = 0; $i < 10000; $i++) $e = new Exception(str_repeat('x', 100), 0, $e);
        throw $e;";
    let site = Site::new(&[("a.php", script), ("b.php", "<?php echo 'goes on';")]);
    let engine = builder().build().expect("an engine");
    let page = |name| Page::new(site.file(name), Request::get(format!("/{name}")).body("".into()).expect("a request"));
    let error =
        block_on(engine.page(page("a.php")).deadline(Duration::from_millis(100))).expect_err("its time is over");
    assert!(matches!(error, Error::Limit { which: sidestack::Limit::Deadline, .. }), "{error:?}");
    assert_eq!(serve(&engine, page("b.php")).expect("a page").body, "goes on");
    assert_eq!(engine.metrics().quarantined, 0);
}
