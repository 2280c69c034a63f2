//! What the server tells people, on stderr: a script's `print` has stdout to itself.
//!
//! Lines go to a thread that writes them. Answering a request never waits for a slow terminal or a full pipe: where lines
//! come faster than they can be written, some are left out, and counted.

mod log;
mod style;

use std::io::{BufWriter, Write, stderr};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::units::show_time;

pub use log::init as init_log;
pub use style::{Style, printable};

/// The way to the writing thread.
#[derive(Clone)]
pub struct Output {
    writer: NonBlocking,
    style: Style,
}

/// Keeps the writing thread; dropping it writes what is left.
pub struct Writing {
    _guard: WorkerGuard,
    left_out: ErrorCounter,
}

impl Writing {
    /// Lines that were left out.
    pub fn left_out(&self) -> usize {
        self.left_out.dropped_lines()
    }
}

impl Output {
    /// Starts the writing thread.
    pub fn start() -> (Output, Writing) {
        let (writer, guard) = NonBlockingBuilder::default()
            .thread_name("sidestack-log")
            .finish(BufWriter::with_capacity(64 << 10, stderr()));
        let left_out = writer.error_counter();
        (Output { writer, style: Style::of_stderr() }, Writing { _guard: guard, left_out })
    }

    /// Where other writers' lines go.
    pub fn writer(&self) -> NonBlocking {
        self.writer.clone()
    }

    /// How to write.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Writes whole lines; `text` ends with a line end.
    pub fn lines(&self, text: &str) {
        // It fails only when the writing thread has gone: there is nobody left to tell.
        let _ = self.writer.clone().write_all(text.as_bytes());
    }

    /// One line about one request.
    pub fn request(&self, method: &str, path: &str, status: u16, took: Duration, note: &str) {
        let (Style { dim, reset, .. }, colour) = (self.style, self.style.of_status(status));
        let (path, time) = (printable(path), show_time(took));
        let (gap, note) = if note.is_empty() { ("", "") } else { ("  ", note) };
        self.lines(&format!("  {method:<6} {path:<24} {colour}{status}{reset} {dim}{time:>7}{gap}{note}{reset}\n"));
    }
}
