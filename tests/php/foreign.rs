//! A page's closure that the host calls on a fiber of its own, while the page waits: it writes the page's response and reads the
//! page's request as the page does.

use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::join;
use http::Request;
use sidestack::php::{Body, Page};
use sidestack::{Function, Module};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::stage::builder;

struct Answer {
    status: u16,
    header: Option<String>,
    body: String,
}

/// What a page answers whose closure `during` has been called by the host, before the page goes on with `then`.
fn answer(before: &str, during: &str, then: &str) -> Answer {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.php");
    let text = format!("<?php {before} host\\lend(function () {{ {during} return 7; }}); {then}");
    std::fs::write(&file, text).expect("written");

    let (lent, mut closures) = unbounded_channel::<(Function, UnboundedSender<()>)>();
    let host = Module::new("host").function("lend", async move |f: Function| {
        let (called, mut wait) = unbounded_channel();
        lent.send((f, called))?;
        wait.recv().await;
        Ok(())
    });
    let engine = builder().module(host).build().expect("an engine");
    let request = Request::post("/page").header("x-sent", "here").body(Body::from("the body")).expect("a request");
    let page = async {
        let response = engine.page(Page::new(&file, request)).await.expect("a page");
        let status = response.status().as_u16();
        let header = response.headers().get("x-set").map(|value| value.to_str().expect("text").to_owned());
        let body = response.into_body().collect().await.expect("whole");
        Answer { status, header, body: String::from_utf8(body).expect("text") }
    };
    let host = async {
        let (closure, _called) = closures.recv().await.expect("a closure");
        assert_eq!(closure.call::<i64>(()).await.expect("a call"), 7);
    };
    let (answer, ()) = block_on(join(page, host));
    block_on(engine.shutdown(Duration::from_secs(10)));
    assert_eq!((engine.metrics().stuck, engine.metrics().leaked_objects), (0, 0));
    answer
}

#[test]
fn it_may_be_the_first_that_writes() {
    for during in ["echo 'closure,';", "echo 'closure,'; flush();", "flush(); echo 'closure,';"] {
        let got = answer("header('X-Set: 1', true, 201);", during, "echo 'page';");
        assert_eq!(
            (got.status, got.header.as_deref(), got.body.as_str()),
            (201, Some("1"), "closure,page"),
            "{during}"
        );
    }
}

#[test]
fn what_it_writes_has_its_place_between_what_the_page_writes() {
    for (before, during) in [(1, 1), (16_000, 1_000), (10, 100_000), (100_000, 100_000)] {
        let echo = |letter: char, times: usize| format!("echo str_repeat('{letter}', {times});");
        let got = answer(&echo('a', before), &echo('b', during), &echo('c', 5));
        let expected = "a".repeat(before) + &"b".repeat(during) + "ccccc";
        assert!(got.body == expected, "{before} and {during}: {} bytes of {}", got.body.len(), expected.len());
    }
}

#[test]
fn it_reads_the_request() {
    let got = answer("", "echo file_get_contents('php://input'), ' ', getallheaders()['X-Sent'], ' ';", "echo 'end';");
    assert_eq!(got.body, "the body here end");
}

#[test]
fn it_may_end_the_response() {
    let got = answer("echo 'page,';", "echo 'closure'; fastcgi_finish_request(); echo 'lost';", "echo 'lost too';");
    assert_eq!((got.status, got.body.as_str()), (200, "page,closure"));
}
