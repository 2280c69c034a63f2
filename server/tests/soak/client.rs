//! The clients of a soak.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::common::Client;

/// What a client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a path, and reads the answer.
    Asks(&'static str),
    /// Asks for a path and goes away, with or without a reset.
    Leaves(&'static str),
    /// Sends so much of a request and goes away.
    Breaks(usize),
    /// Asks for guest code that faults.
    Crash,
}

impl Kind {
    /// Two thirds good, one third bad.
    pub const ALL: &'static [Kind] = &[
        Kind::Asks("ok"),
        Kind::Asks("ok"),
        Kind::Asks("ok"),
        Kind::Asks("sleep"),
        Kind::Asks("sleep"),
        Kind::Asks("echo"),
        Kind::Asks("large"),
        Kind::Asks("tasks"),
        Kind::Asks("own"),
        Kind::Asks("background"),
        Kind::Asks("error"),
        Kind::Asks("recurse"),
        Kind::Asks("deep"),
        Kind::Asks("host"),
        Kind::Asks("refused"),
        Kind::Asks("wrong"),
        Kind::Leaves("sleep"),
        Kind::Breaks(20),
    ];
    /// All that costs others something.
    pub const STORM: &'static [Kind] = &[
        Kind::Asks("ok"),
        Kind::Asks("loop"),
        Kind::Asks("stubborn"),
        Kind::Asks("hungry"),
        Kind::Asks("bomb"),
        Kind::Asks("stuck"),
        Kind::Asks("recurse"),
        Kind::Leaves("loop"),
        Kind::Leaves("hungry"),
        Kind::Leaves("stuck"),
        Kind::Leaves("large"),
        Kind::Breaks(3),
        Kind::Breaks(45),
    ];

    /// The statuses that may be the answer. 503: the server is at its limits, or the interpreter was lost.
    fn allowed(path: &str) -> &'static [u16] {
        match path {
            // On a busy machine its body may take longer than a request may.
            "echo" => &[200, 408, 503, 504],
            "ok" | "sleep" | "large" | "own" | "tasks" | "background" => &[200, 503, 504],
            "loop" | "stubborn" | "stuck" => &[503, 504],
            "hungry" | "bomb" => &[500, 503, 504],
            "crash" => &[200, 503, 504],
            _ => &[500, 503, 504],
        }
    }
}

/// What the clients got.
#[derive(Debug, Default)]
pub struct Answers {
    /// Responses, whatever their status.
    pub answered: AtomicU64,
    /// Requests that were left alone on purpose.
    left: AtomicU64,
    by_status: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// What should not be.
    pub lost: Mutex<Vec<String>>,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answered, left) = (self.answered.load(Ordering::Relaxed), self.left.load(Ordering::Relaxed));
        write!(f, "{answered} answers, {left} clients went away:")?;
        let by_status = self.by_status.lock().expect("not poisoned");
        by_status.iter().try_for_each(|((path, status), count)| write!(f, " {path} {status}: {count},"))
    }
}

/// Clients, each a thread and a connection that it keeps as long as it can.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub fn start(server: SocketAddr, answers: &Arc<Answers>, seed: u64, clients: u64, kinds: &'static [Kind]) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|number| {
                let (stop, answers) = (stop.clone(), answers.clone());
                let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number + 1));
                let run = move || run(server, &answers, random, kinds, &stop);
                std::thread::Builder::new().stack_size(128 << 10).spawn(run).expect("a thread")
            })
            .collect();
        Crowd { stop, clients }
    }

    /// Each ends after its answer.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("a client"));
    }
}

/// Half of --client-timeout: whoever has not sent its request by then may find its connection closed.
const LATE: Duration = Duration::from_secs(1);

struct Random(u64);

impl Random {
    /// Less than `below`.
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

fn run(server: SocketAddr, answers: &Answers, mut random: Random, kinds: &[Kind], stop: &AtomicBool) {
    let mut kept: Option<Client> = None;
    // When the connection's time to send a request began.
    let mut since = Instant::now();
    while {
        let kind = kinds[random.next(kinds.len())];
        // One that was not used for long may be closed by now, by right.
        let client = match kept.take() {
            Some(client) if since.elapsed() < LATE => client,
            _ => {
                since = Instant::now();
                Client::to(server)
            }
        };
        let number = random.next(1 << 30);
        match kind {
            Kind::Asks(path) => kept = ask(client, since, server, answers, path, number),
            Kind::Crash => kept = ask(client, since, server, answers, "crash", number),
            Kind::Leaves(path) => leave(client, answers, path, number),
            Kind::Breaks(length) => breaks(client, answers, length, number),
        }
        since = Instant::now();
        !stop.load(Ordering::Relaxed)
    } {}
}

fn request(path: &str, number: usize) -> Vec<u8> {
    let body = "y".repeat(if path == "echo" { number % 100_000 } else { 0 });
    let head = format!("POST /{path}?n={number} HTTP/1.1\r\nhost: HOST\r\ncontent-length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
}

/// The connection, if it is kept.
fn ask(
    mut client: Client,
    since: Instant,
    server: SocketAddr,
    answers: &Answers,
    path: &'static str,
    number: usize,
) -> Option<Client> {
    let text = String::from_utf8(request(path, number)).expect("text").replacen("HOST", &server.to_string(), 1);
    let sent = client.0.get_mut().write_all(text.as_bytes());
    let late = since.elapsed() > LATE;
    match sent.and_then(|()| read(&mut client)) {
        // On a busy machine a client may have no time for so long that it is closed by right.
        Ok(Answer { status: 408, .. }) | Err(_) if late => {
            answers.left.fetch_add(1, Ordering::Relaxed);
            None
        }
        Ok(Answer { status, closes, whole, length, text }) => {
            answers.answered.fetch_add(1, Ordering::Relaxed);
            *answers.by_status.lock().expect("not poisoned").entry((path, status)).or_default() += 1;
            let right = Kind::allowed(path).contains(&status)
                && (whole || ["echo", "large"].contains(&path))
                && (status != 200 || path != "echo" || length == number % 100_000 || !whole)
                && (status != 200 || path != "large" || length == 1 << 20 || !whole);
            if !right {
                answers.lost.lock().expect("not poisoned").push(format!("{path}: {status}, {length} bytes, {text}"));
            }
            (!closes).then_some(client)
        }
        Err(error) => {
            answers.lost.lock().expect("not poisoned").push(format!("{path}: {error}"));
            None
        }
    }
}

/// A response.
struct Answer {
    status: u16,
    /// So does its connection.
    closes: bool,
    /// One that is sent while it is made may be cut off, where the client can see it.
    whole: bool,
    length: usize,
    /// The beginning of the body.
    text: String,
}

fn read(client: &mut Client) -> std::io::Result<Answer> {
    let (mut status, mut closes, mut length) = (0, false, Some(0));
    loop {
        let line = line(client)?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().map_err(std::io::Error::other)?;
        }
        closes |= line == "connection: close";
        if line == "transfer-encoding: chunked" {
            length = None;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = Some(value.parse().map_err(std::io::Error::other)?);
        }
    }
    let mut body = vec![0; length.unwrap_or(0)];
    client.0.read_exact(&mut body)?;
    let mut whole = true;
    while length.is_none() {
        match chunk(client, &mut body) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                (whole, closes) = (false, true);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    Ok(Answer { status, closes, whole, length: body.len(), text })
}

/// The next piece of a body, which is added to it; its size.
fn chunk(client: &mut Client, body: &mut Vec<u8>) -> std::io::Result<usize> {
    let size = usize::from_str_radix(&line(client)?, 16).map_err(std::io::Error::other)?;
    let begun = body.len();
    body.resize(begun + size, 0);
    client.0.read_exact(&mut body[begun..])?;
    line(client)?;
    Ok(size)
}

/// The next line, without its end.
fn line(client: &mut Client) -> std::io::Result<String> {
    let mut line = String::new();
    if client.0.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Goes away after a moment, every other time with a reset.
fn leave(mut client: Client, answers: &Answers, path: &str, number: usize) {
    answers.left.fetch_add(1, Ordering::Relaxed);
    let _ = client.0.get_mut().write_all(&request(path, number));
    std::thread::sleep(Duration::from_millis(number as u64 % 30));
    if number.is_multiple_of(2) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = nix::sys::socket::setsockopt(client.0.get_ref(), nix::sys::socket::sockopt::Linger, &linger);
    }
}

fn breaks(mut client: Client, answers: &Answers, length: usize, number: usize) {
    answers.left.fetch_add(1, Ordering::Relaxed);
    let bytes = request("echo", number);
    let _ = client.0.get_mut().write_all(&bytes[..length.min(bytes.len())]);
    std::thread::sleep(Duration::from_millis(number as u64 % 10));
}
