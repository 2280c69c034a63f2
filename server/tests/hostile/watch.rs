//! What a server holds while it is attacked.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::common::{Client, LONG, Server};

/// A server with an admin address, and what it held before anybody came.
pub struct Watched {
    pub server: Server,
    admin: SocketAddr,
    descriptors: usize,
}

impl Watched {
    pub fn start(script: &str, flags: &[&str]) -> Watched {
        let all: Vec<&str> = flags.iter().copied().chain(["--admin", "127.0.0.1:0", "--quiet"]).collect();
        Watched::of(Server::start(script, &all))
    }

    /// A server that was started with `--admin`.
    pub fn of(mut server: Server) -> Watched {
        let admin = server.admin();
        // What it opens at its first request, it keeps.
        server.get("/");
        let mut watched = Watched { server, admin, descriptors: 0 };
        watched.settle("at first", |held| held.is_idle());
        // One of ours that it is about to close does not count: it would stand for one that is never closed.
        let looks = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(20));
            watched.held().descriptors
        });
        watched.descriptors = looks.take(10).min().unwrap_or_default();
        watched
    }

    /// A line of its metrics.
    pub fn metric(&self, name: &str) -> i64 {
        let text = Client::to(self.admin).send("GET", "/metrics", &[("connection", "close")], b"").body;
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.trim().parse().expect("a number")
    }

    fn held(&self) -> Held {
        Held {
            descriptors: self.server.descriptors(),
            requests: self.metric("sidestack_requests_active "),
            fibers: self.metric("sidestack_fibers "),
            queued: self.metric("sidestack_calls_queued "),
        }
    }

    fn settle(&self, when: &str, good: impl Fn(&Held) -> bool) {
        let begun = Instant::now();
        loop {
            let held = self.held();
            if good(&held) {
                return;
            }
            assert!(begun.elapsed() < LONG, "{when}: {held:?}, {} descriptors before", self.descriptors);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it holds what it held before: no fiber, no request, no descriptor more; and it still answers.
    pub fn settles(&self) {
        assert!(self.server.get("/").status < 500, "it does not answer any more");
        self.settle("afterwards", |held| held.is_idle() && held.descriptors <= self.descriptors);
    }
}

#[derive(Debug)]
struct Held {
    descriptors: usize,
    requests: i64,
    fibers: i64,
    queued: i64,
}

impl Held {
    fn is_idle(&self) -> bool {
        (self.requests, self.fibers, self.queued) == (0, 0, 0)
    }
}

/// All that comes until the server closes, as text.
pub fn rest(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end too.
    let _ = client.0.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status codes of all responses in a text.
pub fn statuses(text: &str) -> Vec<u16> {
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line.get(..3).and_then(|status| status.parse().ok()).expect("a status")).collect()
}
