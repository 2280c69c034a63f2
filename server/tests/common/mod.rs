//! A server as a process, and a client that sends what it is told to.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

/// How long anything may take that is not measured.
pub const LONG: Duration = Duration::from_secs(60);

/// The binary, with nothing in its environment that would set it.
pub fn sidestack() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestack"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SIDESTACK_")) {
        command.env_remove(name);
    }
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    // Where servers have their sockets.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Scripts in a folder of their own.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a script");
        path
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A running `sidestack serve`.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    stderr: Arc<Mutex<String>>,
    folder: Folder,
}

impl Server {
    /// Serves `script` on a free port.
    pub fn start(script: &str, flags: &[&str]) -> Server {
        let folder = Folder::new();
        let path = folder.script("app.lua", script);
        Server::start_at(&path, flags, folder)
    }

    pub fn start_at(path: &Path, flags: &[&str], folder: Folder) -> Server {
        let mut command = sidestack();
        command.arg("serve").arg(path).args(["--listen", "127.0.0.1:0"]).args(flags);
        Server::spawn(command, folder)
    }

    /// Starts what is to be a server.
    pub fn spawn(mut command: Command, folder: Folder) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
        let stderr = Arc::new(Mutex::new(String::new()));
        let pipe = child.stderr.take().expect("piped");
        let all = stderr.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { return };
                let mut all = all.lock().expect("text");
                all.push_str(&line);
                all.push('\n');
            }
        });
        let mut server = Server { child, address: ([127, 0, 0, 1], 0).into(), stderr, folder };
        let text = server.wait_for_text("http://");
        let address = text.split("http://").nth(1).and_then(|rest| rest.lines().next()).expect("an address");
        server.address = address.parse().expect("an address");
        server
    }

    /// Where its scripts are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All of stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("text").clone()
    }

    /// Waits until stderr contains `part`.
    pub fn wait_for_text(&mut self, part: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = self.stderr();
            if text.contains(part) {
                return text;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() || begun.elapsed() < Duration::from_secs(1), "ended with {ended:?}:\n{text}");
            assert!(begun.elapsed() < LONG, "no {part:?} in\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// Where `--admin 127.0.0.1:0` answers.
    pub fn admin(&mut self) -> SocketAddr {
        let text = self.wait_for_text("metrics and fibers at ");
        let rest = text.split("metrics and fibers at ").nth(1).and_then(|rest| rest.lines().next());
        rest.expect("an address").parse().expect("an address")
    }

    /// Waits until as many requests run.
    pub fn wait_for_requests(&mut self, many: usize) {
        let admin = self.admin();
        metric_becomes(admin, "sidestack_fibers", many as f64);
    }

    /// One GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.connect().send("GET", target, &[], b"")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("an id")), signal).expect("a process");
    }

    /// Waits for the end; the status and all of stderr.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child, LONG);
        std::thread::sleep(Duration::from_millis(50));
        (status, self.stderr())
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a process").count()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("a process");
        text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the server's stderr\n{}", self.stderr());
        }
    }
}

/// Waits for a child with a limit.
pub fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if begun.elapsed() > limit {
            let _ = child.kill();
            panic!("still running after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One connection.
pub struct Client(pub BufReader<TcpStream>);

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        Client(BufReader::new(stream))
    }

    /// One whose system takes about so many bytes that it does not read.
    pub fn with_room_for(bytes: usize, address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        // Before it is connected: the window is agreed then.
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
        socket.connect(&address.into()).expect("a connection");
        socket.set_read_timeout(Some(LONG)).expect("a timeout");
        Client(BufReader::new(socket.into()))
    }

    /// Sends one request and reads its response; the connection stays.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.write(method, target, headers, body);
        self.read(method)
    }

    /// The same on a kept connection of a server that is told to end, `idle` since. `None`: the server has closed it, which is
    /// right where it waited long enough for a request.
    pub fn send_before_the_end(&mut self, idle: Instant, target: &str) -> Option<Response> {
        let sent = self.0.get_mut().write_all(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes());
        // Half of what a server waits that ends.
        let late = idle.elapsed() > Duration::from_millis(100);
        let closed = sent.is_err() || self.0.fill_buf().map_or(true, <[u8]>::is_empty);
        if closed && late {
            return None;
        }
        Some(self.read("GET"))
    }

    pub fn write(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.0.get_mut().write_all(&bytes).expect("sent");
    }

    pub fn read(&mut self, method: &str) -> Response {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("a line") > 0, "the connection was lost after {head:?}");
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_string());
        }
        let status = head[0].split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let headers: Vec<(String, String)> = head[1..]
            .iter()
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect();
        let mut response = Response { status, headers, body: String::new() };
        let length: usize = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        if method != "HEAD" {
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("a body");
            response.body = String::from_utf8_lossy(&body).into_owned();
        }
        response
    }
}

/// A sample of `/metrics`; 0 where there is none yet.
pub fn metric(admin: SocketAddr, name: &str) -> f64 {
    let body = Client::to(admin).send("GET", "/metrics", &[], b"").body;
    let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0.0)
}

/// Waits until a sample has this value.
#[track_caller]
pub fn metric_becomes(admin: SocketAddr, name: &str, expected: f64) {
    let begun = Instant::now();
    loop {
        let value = metric(admin, name);
        if value == expected {
            return;
        }
        assert!(begun.elapsed() < LONG, "{name}: {value}, not {expected}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Scenario D5: after its only burst a server of one interpreter has counted what the clients did. `full` and `late`: how many were
/// refused at once, and after the queue's limit.
#[track_caller]
pub fn burst_is_counted(admin: SocketAddr, answered: usize, full: usize, late: usize) {
    for (name, expected) in [
        ("sidestack_requests_total{status=\"200\"}", answered),
        ("sidestack_requests_total{status=\"503\"}", full + late),
        ("sidestack_errors_total{kind=\"queue_full\"}", full),
        ("sidestack_errors_total{kind=\"queue_timeout\"}", late),
        ("sidestack_request_duration_seconds_count", answered + full + late),
        ("sidestack_requests_active", 0),
        ("sidestack_calls_queued", 0),
        ("sidestack_interpreters", 1),
    ] {
        metric_becomes(admin, name, expected as f64);
    }
}

/// A finished `sidestack run`.
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A started `sidestack run`.
pub fn spawn_run(folder: &Folder, script: &str, flags: &[&str], args: &[&str]) -> Child {
    let path = folder.script("job.lua", script);
    sidestack()
        .arg("run")
        .args(flags)
        .arg(path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary")
}

/// Its end.
pub fn ran(mut child: Child) -> Ran {
    let status = wait(&mut child, LONG);
    let mut ran = Ran { status: status.code(), stdout: String::new(), stderr: String::new() };
    child.stdout.take().expect("piped").read_to_string(&mut ran.stdout).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut ran.stderr).expect("text");
    ran
}

/// Runs a script to its end.
pub fn run(script: &str, flags: &[&str], args: &[&str]) -> Ran {
    ran(spawn_run(&Folder::new(), script, flags, args))
}
