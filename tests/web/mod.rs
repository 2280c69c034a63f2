//! A small HTTP server on a thread of its own, for tests of what scripts ask for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Starts it; it lives as long as the process. It answers:
///
/// | path | answer |
/// | --- | --- |
/// | `/echo?TEXT` | TEXT, after 5 ms |
/// | `/json` | `{"a":[1,2],"none":null}` |
/// | `/mirror` | method, content type, the header `x-test` and the body, a line each |
/// | `/slow` | nothing, for a minute |
/// | `/endless` | a body without an end |
/// | `/moved` | a redirect to `/echo?moved` |
/// | others | 404 |
pub fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    address
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or("").to_string(), words.next().unwrap_or("").to_string());
    let (mut length, mut kind, mut test) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "content-type" => kind = value.into(),
            "x-test" => test = value.into(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, extra, text) = match path.as_str() {
        "/json" => ("200 OK", "content-type: application/json\r\n", r#"{"a":[1,2],"none":null}"#.to_string()),
        "/mirror" => ("200 OK", "", format!("{method}\n{kind}\n{test}\n{}", String::from_utf8_lossy(&body))),
        "/slow" => {
            std::thread::sleep(Duration::from_secs(60));
            ("200 OK", "", String::new())
        }
        "/endless" => {
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 1 << 16])?;
            }
        }
        "/moved" => ("302 Found", "location: /echo?moved\r\n", String::new()),
        other => match other.strip_prefix("/echo?") {
            Some(text) => {
                std::thread::sleep(Duration::from_millis(5));
                ("200 OK", "", text.to_string())
            }
            None => ("404 Not Found", "", "nothing here".to_string()),
        },
    };
    let head = format!("HTTP/1.1 {status}\r\n{extra}connection: close\r\ncontent-length: {}\r\n\r\n", text.len());
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(text.as_bytes())
}
