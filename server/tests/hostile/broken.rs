//! Requests that are none.

use std::io::Write;
use std::net::Shutdown;

use super::watch::{Watched, rest, statuses};

const ECHO: &str = "return function(request) return request.method .. ' ' .. request.path .. ' ' .. request.body end";

/// What the server says to these bytes before it closes.
fn answer(watched: &Watched, bytes: &[u8]) -> String {
    let mut client = watched.server.connect();
    // It may answer and close before it has all of it.
    let _ = client.0.get_mut().write_all(bytes);
    rest(&mut client)
}

#[test]
fn each_is_told_what_is_wrong() {
    let watched = Watched::start(ECHO, &["--max-body", "1KiB"]);
    let head = "GET / HTTP/1.1\r\nhost: x\r\n";
    let long = |name: &str, size| format!("{head}{name}: {}\r\n\r\n", "y".repeat(size));
    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a header of a megabyte", long("x-large", 1 << 20).into_bytes(), 431),
        ("two hundred headers", format!("{head}{many}\r\n").into_bytes(), 431),
        ("a long target", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(100_000)).into_bytes(), 414),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all \r\n\r\n".to_vec(), 400),
        ("NUL in a header", format!("{head}x-nul: a\0b\r\n\r\n").into_bytes(), 400),
        ("no name", format!("{head}: y\r\n\r\n").into_bytes(), 400),
        ("a version that there is not", b"GET / HTTP/7.3\r\nhost: x\r\n\r\n".to_vec(), 400),
        ("a length that is none", format!("{head}content-length: -5\r\n\r\n").into_bytes(), 400),
        ("a length beyond all", format!("{head}content-length: 99999999999999999999999\r\n\r\n").into_bytes(), 400),
        ("two lengths", format!("{head}content-length: 3\r\ncontent-length: 5\r\n\r\nabcde").into_bytes(), 400),
        ("an encoding that is none", format!("{head}transfer-encoding: none\r\n\r\n").into_bytes(), 400),
        ("a chunk that is none", format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(), 400),
        (
            "a chunk beyond all",
            format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n").into_bytes(),
            400,
        ),
        ("a body over the limit", format!("{head}content-length: 2048\r\n\r\n{}", "y".repeat(2048)).into_bytes(), 413),
        (
            "chunks over the limit",
            format!("{head}transfer-encoding: chunked\r\n\r\n800\r\n{}\r\n0\r\n\r\n", "y".repeat(2048)).into_bytes(),
            413,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, status) in cases {
        let text = answer(&watched, &bytes);
        if statuses(&text) != [status] {
            wrong.push(format!("{what}: {text:?} instead of {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    watched.settles();
}

/// Whoever closes its side before its request is whole, or before it is answered, has gone away.
#[test]
fn what_breaks_off_is_not_answered() {
    let watched = Watched::start(ECHO, &[]);
    for bytes in [
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        "GET / HTTP/1.1\r\nhost: x",
    ] {
        let mut client = watched.server.connect();
        client.0.get_mut().write_all(bytes.as_bytes()).expect("sent");
        client.0.get_ref().shutdown(Shutdown::Write).expect("a connection");
        let text = rest(&mut client);
        assert!(text.is_empty() || statuses(&text) == [400], "{bytes:?}: {text:?}");
    }
    watched.settles();
}

/// Unusual, and right.
#[test]
fn what_is_allowed_is_answered() {
    let watched = Watched::start(ECHO, &[]);
    for (request, body) in [
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", "OPTIONS * "),
        ("GET http://other/path?q HTTP/1.1\r\nhost: x\r\n\r\n", "GET /path "),
        ("BREW /pot HTTP/1.1\r\nhost: x\r\n\r\n", "BREW /pot "),
        ("GET / HTTP/1.0\r\n\r\n", "GET / "),
        ("\r\n\r\nGET /late HTTP/1.1\r\nhost: x\r\n\r\n", "GET /late "),
        ("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nok", "POST / ok"),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nx-late: z\r\n\r\n",
            "POST / ok",
        ),
    ] {
        let text = answer(&watched, request.replacen("host: x\r\n", "host: x\r\nconnection: close\r\n", 1).as_bytes());
        assert!(text.ends_with(body) && text.contains(" 200 OK\r\n"), "{request:?}: {text:?}");
    }
    watched.settles();
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let watched = Watched::start(ECHO, &[]);
    let mut client = watched.server.connect();
    client.0.get_mut().write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nho").expect("sent");
    assert_eq!(client.read("GET").body, "GET /a ");
    client.0.get_mut().write_all(b"st: x\r\n\r\n").expect("sent");
    assert_eq!(client.read("GET").body, "GET /b ");
}

#[test]
fn a_pipeline_is_answered_in_order_up_to_what_is_broken() {
    let watched = Watched::start(ECHO, &[]);
    let mut requests: String = (0..300).map(|i| format!("GET /{i} HTTP/1.1\r\nhost: x\r\n\r\n")).collect();
    requests.push_str("not a request\r\n\r\nGET /never HTTP/1.1\r\nhost: x\r\n\r\n");
    let text = answer(&watched, requests.as_bytes());
    let (statuses, bodies) = (statuses(&text), text.matches("GET /").count());
    assert_eq!((statuses.len(), statuses[..300].iter().all(|status| *status == 200), statuses[300]), (301, true, 400));
    assert_eq!(bodies, 300, "{text}");
    let at: Vec<_> = (0..300).map(|i| text.find(&format!("GET /{i} ")).expect("an answer")).collect();
    assert!(at.is_sorted(), "out of order");
    watched.settles();
}
