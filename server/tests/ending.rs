//! How a server ends.

mod common;

use std::time::{Duration, Instant};

use common::{LONG, Server};
use nix::sys::signal::Signal;

const SLEEP: &str = "local ss = require 'sidestack'
return function(request) ss.sleep(tonumber(request.query.s)) return 'slept' end";

/// So that the tests see when a request runs.
const ADMIN: [&str; 4] = ["--admin", "127.0.0.1:0", "--deadline", "none"];

#[test]
fn a_request_that_runs_ends_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(SLEEP, &ADMIN);
        let mut kept = server.connect();
        assert_eq!(kept.send("GET", "/?s=0", &[], b"").body, "slept");
        let mut client = server.connect();
        client.write("GET", "/?s=1", &[], b"");
        server.wait_for_requests(1);
        server.signal(signal);
        server.wait_for_text("no new connections");
        let begun = Instant::now();
        while std::net::TcpStream::connect(server.address).is_ok() {
            assert!(begun.elapsed() < LONG, "it still listens");
        }
        let response = client.read("GET");
        assert_eq!((response.status, response.body.as_str()), (200, "slept"));
        let (status, text) = server.wait();
        assert_eq!(status.code(), Some(0), "{text}");
        assert!(text.contains("2 requests answered"), "{text}");
    }
}

#[test]
fn an_unused_connection_does_not_hold_it_up() {
    let server = Server::start(SLEEP, &["--drain", "1m"]);
    let _unused = server.connect();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[test]
fn what_takes_longer_than_the_drain_is_cancelled_and_answered() {
    let mut server = Server::start(SLEEP, &[&ADMIN[..], &["--drain", "300ms"]].concat());
    let mut client = server.connect();
    client.write("GET", "/?s=600", &[], b"");
    server.wait_for_requests(1);
    server.signal(Signal::SIGTERM);
    assert_eq!(client.read("GET").status, 503);
    let (status, text) = server.wait();
    assert!(status.code() == Some(0) && text.contains("1 request cancelled"), "{text}");
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut server = Server::start(SLEEP, &[&ADMIN[..], &["--drain", "10m"]].concat());
    let mut client = server.connect();
    client.write("GET", "/?s=600", &[], b"");
    server.wait_for_requests(1);
    server.signal(Signal::SIGTERM);
    server.wait_for_text("no new connections");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0.code(), Some(143));
}

#[test]
fn no_request_is_lost_on_kept_connections() {
    let server = Server::start("return function() return 'ok' end", &["--quiet"]);
    let address = server.address;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (mut client, mut idle) = (server.connect(), Instant::now());
            // Each sends until a response says that the connection closes: `read` fails on a lost one.
            std::thread::spawn(move || {
                let mut count = 0;
                loop {
                    let Some(response) = client.send_before_the_end(idle, "/") else { return count };
                    assert_eq!(response.status, 200);
                    count += 1;
                    if response.header("connection") == Some("close") {
                        return count;
                    }
                    idle = Instant::now();
                    // Most connections have no request when the signal comes, and get their next soon after.
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    server.signal(Signal::SIGTERM);
    let sent: usize = clients.into_iter().map(|client| client.join().expect("no request was lost")).sum();
    let (status, text) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(text.contains(&format!("{sent} requests answered")), "{sent} at {address}:\n{text}");
}
