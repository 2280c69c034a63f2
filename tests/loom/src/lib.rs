//! The wake state machine (src/call/scheduled.rs) and an interpreter's presence (src/call/presence.rs, in `away`) under every
//! schedule that loom can find.
//!
//! A worker and wakers share the flag, a queue of keys, and "news": what the future looks at when it is polled. Whatever the
//! order, no news is lost: after the last wake there is either a poll that sees it or a key that leads to one. And a flag that
//! is set stands for at most one key in the queue.

#![cfg(all(test, loom))]

mod away;
#[path = "../../../src/call/presence.rs"]
mod presence;
#[path = "../../../src/call/scheduled.rs"]
mod scheduled;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use scheduled::Scheduled;

#[derive(Default)]
struct Shared {
    scheduled: Scheduled,
    keys: Mutex<usize>,
    /// Written without order of its own: only the flag orders it.
    news: AtomicUsize,
}

impl Shared {
    fn wake(&self, news: usize) {
        self.news.fetch_add(news, Ordering::Relaxed);
        if self.scheduled.schedule() {
            *self.keys.lock().expect("not poisoned") += 1;
        }
    }

    /// The worker takes a key if there is one, clears the flag and polls: what the poll sees.
    fn turn(&self) -> Option<usize> {
        {
            let mut keys = self.keys.lock().expect("not poisoned");
            *keys = keys.checked_sub(1)?;
        }
        self.scheduled.clear();
        Some(self.news.load(Ordering::Relaxed))
    }
}

#[test]
fn no_wake_is_lost() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let wakers: Vec<_> = [1, 10]
            .map(|news| {
                let shared = shared.clone();
                thread::spawn(move || shared.wake(news))
            })
            .into();
        let mut seen = 0;
        for _ in 0..2 {
            seen = shared.turn().unwrap_or(seen);
        }
        for waker in wakers {
            waker.join().expect("no panic");
        }
        while let Some(news) = shared.turn() {
            seen = news;
        }
        assert_eq!(seen, 11, "a wake was lost");
    });
}

#[test]
fn many_wakes_cost_one_key() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.wake(1);
                shared.wake(1);
            })
        };
        shared.wake(1);
        other.join().expect("no panic");
        assert_eq!(*shared.keys.lock().expect("not poisoned"), 1);
    });
}
