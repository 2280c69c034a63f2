//! Scenario D1: PHP's own Fibers in each of very many requests, under timers, in classic and in worker mode.
//!
//! Each request starts three Fibers. Each of them echoes, sends a header, suspends, and echoes again, resumed out of order; one
//! throws, one recurses until PHP says that its stack is used up, one is left suspended. Meanwhile the engine's tick comes often,
//! and requests wait inside Fibers. `SIDESTACK_STORM` says how many requests (10,000 for the long form).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{fetch, request, serve};

const PAGE: &str = r#"<?php
// Through a function of PHP's own, so that it takes C stack.
function deeper($n) { return array_map('deeper', [$n + 1]); }
function page() {
    $id = $_GET['id'];
    $begin = function ($name) use ($id) {
        echo "[$name $id begins]";
        header("X-$name: $id");
        if ($id % 3 === 0) usleep(1000);
        $word = Fiber::suspend("$name-$id");
        echo "[$name $id $word]";
        if ($id % 5 === 0) usleep(500);
        return $word;
    };
    $throws = new Fiber(function () use ($begin) { $begin('throws'); throw new RuntimeException('thrown in a fiber'); });
    $deep = new Fiber(function () use ($begin) {
        $begin('deep');
        try { deeper(0); } catch (Error $e) { echo '[', get_class($e), ' ', str_contains($e->getMessage(), 'Maximum call stack size') ? 'stack' : $e->getMessage(), ']'; }
    });
    $left = new Fiber(function () use ($begin) {
        try { $begin('left'); Fiber::suspend(); echo 'never'; } finally { echo '[left is destroyed]'; }
    });
    ob_start();
    echo '(', $throws->start('throws'), ')(', $deep->start('deep'), ')(', $left->start('left'), ')';
    $left->resume('c');
    $deep->resume('b');
    try { $throws->resume('a'); } catch (RuntimeException $e) { echo '[', $e->getMessage(), ']'; }
    unset($throws, $deep);
    echo '[end]';
}
"#;

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
