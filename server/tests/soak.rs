//! Good and bad requests mixed for as long as it is told, on a server at its limits: every request has its answer, and neither
//! memory nor descriptors grow.
//!
//! `SIDESTACK_SOAK=SECONDS` says for how long (default 60, warming up not counted). They are ignored unless asked for:
//! `SIDESTACK_SOAK=1800 ./test.sh soak` for half an hour of Lua; `./test.sh php` has the same with PHP.

#[path = "soak/client.rs"]
mod client;
#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::{Answers, Crowd, Kind};
use common::{Client, LONG, Server};
use nix::sys::signal::Signal;

/// Between two looks at what the server holds.
const STEPS: u32 = 6;

/// The limits of a server that is to be at them.
#[rustfmt::skip]
const LIMITS: &[&str] = &[
    "--threads", "2", "--fibers", "60", "--queue", "60", "--queue-timeout", "500ms", "--deadline", "700ms",
    "--memory", "48MiB", "--max-requests", "20000", "--client-timeout", "2s", "--drain", "5s",
    "--log", "error", "--quiet", "--dev", "--admin", "127.0.0.1:0",
];

struct Soak {
    server: Server,
    admin: std::net::SocketAddr,
    answers: Arc<Answers>,
    /// Whether there is a request whose guest code faults, and the memory of an interpreter that is lost comes back.
    crashes: bool,
    /// The most memory that idle guests may keep, where they keep some; else it may not grow by more than a tenth.
    keeps: Option<usize>,
}

impl Soak {
    fn new(mut server: Server, crashes: bool, keeps: Option<usize>) -> Soak {
        let admin = server.admin();
        Soak { server, admin, answers: Arc::default(), crashes, keeps }
    }

    fn metric(&self, name: &str) -> i64 {
        let text = Client::to(self.admin).send("GET", "/metrics", &[("connection", "close")], b"").body;
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.trim().parse().expect("a number")
    }

    /// A crowd at the server's limits for some time, with a storm in its middle.
    fn step(&self, seed: u64, time: Duration) {
        let crowd = Crowd::start(self.server.address, &self.answers, seed, 40, Kind::ALL);
        std::thread::sleep(time / 2);
        // A storm: far more than fits, all that a client can do wrong, and signals.
        let storm = Crowd::start(self.server.address, &self.answers, seed ^ 0xaaaa, 200, Kind::STORM);
        for _ in 0..5 {
            std::thread::sleep(time / 40);
            self.server.signal(Signal::SIGQUIT);
            self.server.signal(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_millis(30));
            self.server.signal(Signal::SIGCONT);
        }
        storm.stop();
        if self.crashes {
            // And the worst of it: guest code that faults.
            Crowd::start(self.server.address, &self.answers, seed ^ 0x5555, 1, &[Kind::Crash]).stop();
        }
        std::thread::sleep(time / 4);
        crowd.stop();
    }

    /// Waits until nothing runs, and for a while until there are no more than so many descriptors; then memory and descriptors.
    fn rest(&self, most: usize) -> (usize, usize) {
        let begun = Instant::now();
        // One look is the admin's own connection.
        while self.metric("sidestack_requests_active ") + self.metric("sidestack_fibers ") > 0 {
            assert!(begun.elapsed() < LONG, "requests do not end: {}", self.server.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
        // What the clients left open is closed after --client-timeout.
        std::thread::sleep(Duration::from_millis(2500));
        let begun = Instant::now();
        while self.server.descriptors() > most && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
        }
        (self.server.resident(), self.server.descriptors())
    }
}

#[test]
#[ignore = "takes its time: ./test.sh soak"]
fn lua_loses_nothing_and_nothing_grows() {
    let allow = ["--allow", "bytecode"];
    soak(Soak::new(Server::start(include_str!("soak/app.lua"), &[LIMITS, &allow].concat()), true, None));
}

#[test]
#[cfg(feature = "php")]
#[ignore = "takes its time: ./test.sh php"]
fn php_loses_nothing_and_nothing_grows() {
    let site = common::Folder::new();
    let index = site.script("index.php", include_str!("soak/index.php"));
    let root = index.parent().expect("a folder").to_owned();
    // What a PHP interpreter held that is lost stays lost, by design. Each of the 120 fibers' contexts may keep 2 MiB, a few 8.
    soak(Soak::new(Server::start_at(&root, LIMITS, site), false, Some(512 << 20)));
}

fn soak(soak: Soak) {
    let seconds = std::env::var("SIDESTACK_SOAK").map_or(60, |text| text.parse().expect("seconds"));
    let step = Duration::from_secs(seconds) / STEPS;
    soak.step(1, step.min(Duration::from_secs(20)));
    let mut held = vec![soak.rest(usize::MAX)];
    let most = held[0].1 + 2;
    println!("soak: warm: {} KiB, {} descriptors", held[0].0 / 1024, held[0].1);
    for number in 0..STEPS {
        soak.step(u64::from(number) + 2, step);
        let (memory, descriptors) = soak.rest(most);
        let crashes = soak.metric("sidestack_interpreters_quarantined_total ");
        println!("soak: step {number}: {} KiB, {descriptors} descriptors, {crashes} lost interpreters", memory / 1024);
        held.push((memory, descriptors));
    }
    let answers = &soak.answers;
    println!("soak: {answers}");
    let lost = answers.lost.lock().expect("not poisoned").clone();
    assert!(lost.is_empty(), "{} requests without their answer: {:?}", lost.len(), &lost[..lost.len().min(10)]);
    let descriptors: Vec<_> = held.iter().map(|held| held.1).collect();
    assert!(descriptors.iter().all(|count| *count <= most), "descriptors grow: {descriptors:?}");
    let memory: Vec<_> = held.iter().map(|held| held.0).collect();
    let half = memory.len() / 2;
    let (early, late) = (memory[1..=half].iter().max(), memory[half + 1..].iter().min());
    let (early, late) = (*early.expect("steps"), *late.expect("steps"));
    assert!(late <= soak.keeps.unwrap_or(early + early / 10), "memory grows: {memory:?}");
    let quarantined = soak.metric("sidestack_interpreters_quarantined_total ");
    assert_eq!(quarantined > 0, soak.crashes, "{quarantined} interpreters were lost");
    let answered = answers.answered.load(Ordering::Relaxed);
    soak.server.signal(Signal::SIGTERM);
    let (status, text) = soak.server.wait();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    // Some were sent by clients that went away.
    let told = text.split(" requests answered").next().and_then(|text| text.rsplit(' ').next());
    let told: u64 = told.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in {text}"));
    assert!(told >= answered, "{told} answered, {answered} seen");
    println!("soak: {seconds} s passed");
}
