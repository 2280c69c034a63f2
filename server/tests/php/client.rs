//! Sites in folders of their own, and a client that sees every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Folder, LONG, Server};
use crate::server::skip;

/// Files of a site; names may have folders in them.
pub fn site(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    folder
}

/// What is in a folder, with the files behind links, into one that is there.
pub fn copy(from: &str, to: &Path) {
    let status = Command::new("cp").arg("-rL").arg(format!("{from}/.")).arg(to).status().expect("cp");
    assert!(status.success(), "{from}");
}

/// What a script does until there is a file `go` beside it.
pub const WAITS: &str = "while (!file_exists(__DIR__ . '/go')) { clearstatcache(); usleep(10000); }";

/// Lets scripts go on that are at [`WAITS`].
pub fn go(server: &Server) {
    std::fs::write(server.folder().join("go"), "").expect("written");
}

/// Serves a site on one interpreter.
pub fn serve(files: &[(&str, &str)], flags: &[&str]) -> Server {
    serve_folder(site(files), flags)
}

/// The same, of a folder that is there.
pub fn serve_folder(folder: Folder, flags: &[&str]) -> Server {
    let path: PathBuf = folder.path().into();
    let flags: Vec<&str> = ["--threads", "1"].iter().chain(flags).copied().collect();
    Server::start_at(&path, &flags, folder)
}

/// A response with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// It ended as its framing says.
    pub whole: bool,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request as it is sent, without what every one has.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    [(text + "\r\n").as_bytes(), body].concat()
}

/// Sends a request on a connection of its own and reads to its end.
pub fn fetch(address: SocketAddr, request: &[u8]) -> Got {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.write_all(request).expect("sent");
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    parse(&all)
}

/// Opens a connection and sends this much.
pub fn begin(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.write_all(bytes).expect("sent");
    stream
}

/// Reads until these bytes have come.
pub fn until(stream: &mut TcpStream, part: &str) -> String {
    let mut all = Vec::new();
    let mut some = [0; 4096];
    while !String::from_utf8_lossy(&all).contains(part) {
        let read = stream.read(&mut some).expect("bytes");
        assert!(read > 0, "no {part:?} in {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&some[..read]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// A GET.
pub fn get(server: &Server, target: &str) -> Got {
    fetch(server.address, &request("GET", target, &[], b""))
}

pub fn parse(all: &[u8]) -> Got {
    let end = all.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(all)));
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let mut got = Got { status: status.expect("a status"), headers, body: all[end + 4..].to_vec(), whole: true };
    if got.header("transfer-encoding") == Some("chunked") {
        (got.body, got.whole) = dechunked(&got.body);
    } else if let Some(length) = got.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        got.whole = got.body.len() == length;
    }
    got
}

fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| rest.len() >= line + 4 + size) else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
    }
}

/// `php -S` of the machine's own PHP, or `None`, said so.
pub struct Reference {
    child: std::process::Child,
    pub address: SocketAddr,
}

impl Reference {
    pub fn start(root: &Path) -> Option<Reference> {
        let probe = Command::new("php").arg("-v").output();
        if probe.is_err() {
            skip("php (Debian package php-cli)");
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = Command::new("php")
            .args(["-n", "-d", "display_errors=1", "-d", "html_errors=0", "-d", "log_errors=0"])
            .args(["-S", &address.to_string(), "-t"])
            .arg(root)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("php");
        let begun = std::time::Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < LONG, "php -S does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(Reference { child, address })
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
