//! libcurl, unchanged: 1,000 transfers through nginx at once, on one interpreter thread.
#![cfg(has_libcurl)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use futures_executor::block_on;
use sidestack::Engine;
use sidestack_test_hooks::{all, libraries, server};

const OPERATIONS: usize = 1000;

/// What nginx asks: it answers when so many requests are there, each with the number in its path, doubled.
fn upstream(listener: &TcpListener) -> usize {
    let mut waiting: Vec<(TcpStream, i64)> = Vec::new();
    while waiting.len() < OPERATIONS {
        let (stream, _) = listener.accept().expect("a connection");
        let mut lines = BufReader::new(&stream).lines().map(|line| line.expect("a line of the request"));
        let request = lines.next().expect("a request");
        let number = request.split(['/', ' ']).nth(2).and_then(|number| number.parse().ok()).expect("a number");
        assert!(lines.any(|line| line.is_empty()));
        waiting.push((stream, number));
    }
    for (stream, number) in &waiting {
        let body = (2 * number).to_string();
        write!(&mut &*stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("nginx reads");
    }
    waiting.len()
}

#[test]
fn a_thousand_operations_on_one_thread() {
    // curl's, and the upstream's.
    server::raise_descriptor_limit(2 * OPERATIONS as u64 + 200);
    let guest = libraries::curl();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let Some(nginx) = server::Server::nginx(port, 4 * OPERATIONS) else { return };
    let slow = std::thread::spawn(move || upstream(&listener));
    let engine = Engine::builder(guest).threads(1).build().expect("an engine");
    let script = block_on(engine.load_text("native", "")).expect("a script");
    let begun = Instant::now();
    let operation = |i| script.call::<i64>("curl_operation", (format!("http://127.0.0.1:{}/{i}", nginx.port),));
    let calls: Vec<_> = (0..OPERATIONS).map(|i| engine.spawn(operation(i)).expect("started")).collect();
    // The first failure ends it: the others would wait for that one for ever.
    let values = block_on(all(calls)).expect("a transfer");
    assert!(values.into_iter().eq((0..OPERATIONS as i64).map(|i| 2 * i)));
    // One after the other, the first would never have been answered.
    assert_eq!(slow.join().expect("the upstream"), OPERATIONS);
    libraries::assert_one_thread();
    println!("{OPERATIONS} at once in {:?}", begun.elapsed());
}
