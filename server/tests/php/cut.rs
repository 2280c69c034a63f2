//! Pages that are cut off after their response has begun: what they had begun arrives, or an error instead.

use std::io::{Read, Write};
use std::time::Duration;

use crate::client::{get, parse, serve};
use crate::common::Client;

/// The first piece of such a page and its failure may reach the connection together.
#[test]
fn a_page_that_is_cut_off_at_once_has_an_answer() {
    let page = "<?php header('X-Own: 1'); echo str_repeat('x', 1 << 20);";
    let server = serve(&[("page.php", page)], &["--max-response", "100KiB"]);
    std::thread::scope(|threads| {
        for _ in 0..20 {
            threads.spawn(|| {
                for _ in 0..20 {
                    let got = get(&server, "/page.php");
                    match got.status {
                        200 => assert!(!got.whole && got.body.len() <= 100 << 10, "{} bytes", got.body.len()),
                        500 => assert!(got.whole && got.header("x-own").is_none(), "{got:?}"),
                        other => panic!("{other}"),
                    }
                }
            });
        }
    });
}

/// A client that has something to send yet is slow to read; closing the connection under it would lose what is on its way.
#[test]
fn a_whole_answer_arrives_though_the_request_never_ends() {
    let server = serve(&[("early.php", "<?php echo str_repeat('x', 1 << 20);")], &[]);
    // Much of the answer waits on the server's side.
    let mut client = Client::with_room_for(16 << 10, server.address);
    let head = "PUT /early.php HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n";
    client.0.get_mut().write_all(head.as_bytes()).expect("sent");
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        client.0.get_mut().write_all(b"more").expect("sent");
    }
    let mut all = Vec::new();
    let _ = client.0.read_to_end(&mut all);
    let got = parse(&all);
    assert_eq!((got.status, got.whole, got.body.len()), (200, true, 1 << 20));
}
