//! The guide's code is what is compiled here, and does what the guide says.

#[cfg(has_hiredis)]
#[path = "../guide/lookup.rs"]
mod lookup;

const GUIDE: &str = include_str!("../../../docs/guide-c-async-io.md");

/// The fenced block after the comment that names its file.
fn block(file: &str) -> &str {
    let after = GUIDE.split_once(&format!("<!-- {file} -->\n```")).expect("the file is named in the guide").1;
    let code = after.split_once('\n').expect("a line with the language").1;
    code.split_once("\n```").expect("the end of the block").0
}

#[test]
fn the_guide_shows_the_files() {
    assert_eq!(block("tests/hooks/guide/lookup.c"), include_str!("../guide/lookup.c").trim_end());
    assert_eq!(block("tests/hooks/guide/lookup.rs"), include_str!("../guide/lookup.rs").trim_end());
}

#[cfg(has_hiredis)]
#[test]
fn a_thousand_keys_at_once() {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;

    use sidestack_test_hooks::server;

    const KEYS: usize = 1000;
    server::raise_descriptor_limit(KEYS as u64 + 200);
    let Some(redis) = server::Server::redis(KEYS + 100) else { return };
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).expect("Redis listens");
    let mut answers = BufReader::new(stream.try_clone().expect("a double")).lines();
    for i in 0..KEYS {
        write!(stream, "SET key:{i} value:{i}\r\n").expect("sent");
    }
    for _ in 0..KEYS {
        assert_eq!(answers.next().expect("an answer").expect("a line"), "+OK");
    }
    let keys: Vec<String> = (0..KEYS).map(|i| format!("key:{i}")).collect();
    let values = futures_executor::block_on(lookup::look_up(redis.port, &keys)).expect("all are there");
    assert!(values.into_iter().eq((0..KEYS).map(|i| format!("value:{i}"))));
    let missing = futures_executor::block_on(lookup::look_up(redis.port, &["none".into()]));
    assert_eq!(missing.expect_err("there is no such key").to_string(), "no such key");
}
