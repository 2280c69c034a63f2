//! The library's `tracing` events, caught.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// How long an event may take.
const LONG: Duration = Duration::from_secs(20);

/// The library's events so far, a line each: level, message, fields.
static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sidestack"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let _ = write!(self.0, " {}={value:?}", field.name());
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        EVENTS.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// One test at a time: events are the process's.
pub fn events() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The first one sets it.
    let _ = tracing::subscriber::set_global_default(Lines);
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    one
}

/// The event that has all of these parts.
#[track_caller]
pub fn event(parts: &[&str]) -> String {
    let begun = Instant::now();
    loop {
        if let Some(found) = all(parts).pop() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "no event with {parts:?} in {:#?}", all(&[]));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All events so far that have all of these parts.
pub fn all(parts: &[&str]) -> Vec<String> {
    let all = EVENTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    all.into_iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
}
