//! Scenario D1: PHP's own Fibers in each of 10,000 requests, under ticks of a millisecond, in classic and in worker mode.
//!
//! Each request starts three Fibers. Each of them echoes, sends a header, suspends, and echoes again, resumed out of order; one
//! throws, one recurses until PHP says that its stack is used up, one is left suspended. Requests wait inside Fibers. (Most of
//! the time goes into the recursion, so these Fibers have short stacks; those of tests/php/pages.rs have PHP's usual ones.)

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{fetch, request, serve};

const PAGE: &str = include_str!("../../../tests/php/storm.php");

/// What one request is answered, to the byte.
const EXPECTED: &str = include_str!("../../../tests/php/storm.txt");

const REQUESTS: usize = 10_000;

/// Has a site's `index.php` answer all requests, and compares each answer.
fn storm(index: &str, flags: &[&str]) {
    let always = ["--quiet", "--tick", "1ms", "-d", "log_errors=0", "-d", "fiber.stack_size=256K"];
    let server = serve(&[("index.php", &format!("{PAGE} {index}"))], &[&always, flags].concat());
    let next = AtomicUsize::new(0);
    let differs = |id: usize| {
        let got = fetch(server.address, &request("GET", &format!("/?id={id}"), &[], b""));
        let headers = ["x-throws", "x-deep", "x-left"].map(|name| got.header(name).unwrap_or_default());
        let id = id.to_string();
        let same = (got.status, headers, got.text()) == (200, [&*id; 3], EXPECTED.trim_end().replace("{id}", &id));
        (!same).then(|| format!("{} {headers:?} {}", got.status, got.text()))
    };
    let client = || {
        let ids = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        ids.take_while(|id| *id < REQUESTS).filter_map(differs).collect::<BTreeSet<_>>()
    };
    let wrong: BTreeSet<String> = std::thread::scope(|scope| {
        let clients = [(); 8].map(|()| scope.spawn(client));
        clients.into_iter().flat_map(|client| client.join().expect("a thread")).collect()
    });
    assert!(wrong.is_empty(), "{} differ, for example {:?}\nexpected {EXPECTED}", wrong.len(), wrong.first());
}

#[test]
fn classic() {
    storm("page();", &[]);
}

#[test]
fn workers() {
    storm("while (frankenphp_handle_request(page(...))) { gc_collect_cycles(); }", &["--workers", "8"]);
}
