//! Scenario D1: PHP's own Fibers in each of very many requests, under timers, in classic and in worker mode.
//!
//! Each request starts three Fibers. Each of them echoes, sends a header, suspends, and echoes again, resumed out of order; one
//! throws, one recurses until PHP says that its stack is used up, one is left suspended. Requests wait inside Fibers. (With a tick
//! every millisecond: tests/php/pages.rs.) `SIDESTACK_STORM` says how many requests (10,000 for the long form).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{fetch, request, serve};

const PAGE: &str = include_str!("../../../tests/php/storm.php");

/// What one request is answered, to the byte.
fn expected(id: usize) -> String {
    format!(
        "([throws {id} begins]throws-{id})([deep {id} begins]deep-{id})([left {id} begins]left-{id})[left {id} c][deep {id} b][Error stack]\
         [throws {id} a][thrown in a fiber][end][left is destroyed]"
    )
}

fn storm(server: &crate::common::Server, seen: &mut HashSet<String>) {
    let requests: usize = std::env::var("SIDESTACK_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let (next, address) = (Arc::new(AtomicUsize::new(0)), server.address);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let next = next.clone();
            std::thread::spawn(move || {
                let mut wrong = Vec::new();
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    if id >= requests {
                        return wrong;
                    }
                    let got = fetch(address, &request("GET", &format!("/?id={id}"), &[], b""));
                    let headers = ["x-throws", "x-deep", "x-left"].map(|name| got.header(name).map(str::to_string));
                    if got.status != 200
                        || got.text() != expected(id)
                        || headers != [(); 3].map(|()| Some(id.to_string()))
                    {
                        wrong.push(format!("{} {headers:?} {}", got.status, got.text()));
                    }
                }
            })
        })
        .collect();
    for client in clients {
        seen.extend(client.join().expect("a thread"));
    }
}

#[test]
fn classic() {
    let server = serve(&[("index.php", &format!("{PAGE} page();"))], &["--quiet", "-d", "log_errors=0"]);
    let mut wrong = HashSet::new();
    storm(&server, &mut wrong);
    assert!(
        wrong.is_empty(),
        "{} differ, for example {:?}\nexpected {}",
        wrong.len(),
        wrong.iter().next(),
        expected(1)
    );
}

#[test]
fn workers() {
    let loops = "while (frankenphp_handle_request(function () { page(); })) { gc_collect_cycles(); }";
    let server =
        serve(&[("index.php", &format!("{PAGE} {loops}"))], &["--quiet", "--workers", "8", "-d", "log_errors=0"]);
    let mut wrong = HashSet::new();
    storm(&server, &mut wrong);
    assert!(
        wrong.is_empty(),
        "{} differ, for example {:?}\nexpected {}",
        wrong.len(),
        wrong.iter().next(),
        expected(1)
    );
}
