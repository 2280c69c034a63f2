//! Signals under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::common::{LONG, Server};

const SCRIPT: &str = "local ss = require 'sidestack'
return function(request)
  local sum = 0
  for i = 1, 20000 do sum = sum + i end
  ss.sleep(0.002)
  return request.path .. ' ' .. sum
end";

const CLIENTS: usize = 24;

/// Clients that ask without a pause until they are told that their connection closes; how often each was answered, and meanwhile
/// all of them.
fn clients(server: &Server, all: &Arc<AtomicUsize>) -> Vec<JoinHandle<usize>> {
    (0..CLIENTS)
        .map(|number| {
            let (mut client, all, mut idle) = (server.connect(), all.clone(), Instant::now());
            std::thread::spawn(move || {
                let mut count = 0;
                loop {
                    let path = format!("/{number}/{count}");
                    let Some(response) = client.send_before_the_end(idle, &path) else { break };
                    idle = Instant::now();
                    assert_eq!((response.status, response.body), (200, format!("{path} 200010000")));
                    count += 1;
                    all.fetch_add(1, Ordering::Relaxed);
                    let closes = response.headers.iter().any(|(name, value)| name == "connection" && value == "close");
                    if closes {
                        break;
                    }
                }
                count
            })
        })
        .collect()
}

fn told(text: &str) -> usize {
    let answered = text.split(" requests answered").next().and_then(|text| text.rsplit(' ').next());
    answered.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in {text}"))
}

/// Stopped and continued again and again, asked what it does, and told to end while it is stopped: each request has its
/// answer, the counts agree, and it ends well.
#[test]
fn stops_and_an_end_under_load_lose_nothing() {
    let server = Server::start(SCRIPT, &["--threads", "2", "--quiet"]);
    let all = Arc::default();
    let clients = clients(&server, &all);
    for round in 0..12_u64 {
        let (begun, before) = (Instant::now(), all.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(100));
        while all.load(Ordering::Relaxed) < before + CLIENTS {
            assert!(begun.elapsed() < LONG, "round {round}: it does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(20 + round * 10));
        // Handled when it goes on; those that mean nothing to it are not to end it.
        for signal in [Signal::SIGQUIT, Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGURG] {
            server.signal(signal);
        }
        server.signal(Signal::SIGCONT);
    }
    server.signal(Signal::SIGSTOP);
    server.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    server.signal(Signal::SIGCONT);
    let answered: usize = clients.into_iter().map(|client| client.join().expect("no response was lost")).sum();
    let (status, text) = server.wait();
    assert_eq!(status.code(), Some(0), "{text}");
    assert_eq!(told(&text), answered);
}

/// The end comes at any moment of many servers' lives, from their start on.
#[test]
fn an_end_at_any_moment_is_clean() {
    for round in 0..10_u64 {
        let server = Server::start(SCRIPT, &["--threads", "2", "--quiet"]);
        let clients = clients(&server, &Arc::default());
        std::thread::sleep(Duration::from_millis(round * 13));
        server.signal(if round % 2 == 0 { Signal::SIGTERM } else { Signal::SIGINT });
        let answered: usize = clients.into_iter().map(|client| client.join().expect("no response was lost")).sum();
        let (status, text) = server.wait();
        assert_eq!(status.code(), Some(0), "{text}");
        assert_eq!(told(&text), answered);
    }
}
