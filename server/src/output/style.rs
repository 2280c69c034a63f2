//! Colour on a terminal, none in a pipe or under NO_COLOR.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::stderr;

use anstream::{AutoStream, ColorChoice};

/// The escape sequences to write; all empty where there is no colour.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Errors.
    pub red: &'static str,
    /// Warnings.
    pub yellow: &'static str,
    /// What went well.
    pub green: &'static str,
    /// Addresses.
    pub cyan: &'static str,
    /// What matters most.
    pub bold: &'static str,
    /// What matters least.
    pub dim: &'static str,
    /// The end of each of these.
    pub reset: &'static str,
}

const COLOURED: Style = Style {
    red: "\x1b[31m",
    yellow: "\x1b[33m",
    green: "\x1b[32m",
    cyan: "\x1b[36m",
    bold: "\x1b[1m",
    dim: "\x1b[2m",
    reset: "\x1b[0m",
};

impl Style {
    /// What stderr is to get.
    pub fn of_stderr() -> Self {
        match AutoStream::choice(&stderr()) {
            ColorChoice::Never => Style::default(),
            _ => COLOURED,
        }
    }

    /// The colour of an HTTP status.
    pub fn of_status(&self, status: u16) -> &'static str {
        match status {
            ..300 => self.green,
            300..400 => self.cyan,
            400..500 => self.yellow,
            _ => self.red,
        }
    }
}

/// Text that others chose, without what would steer a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match harmless(c) {
            true => shown.push(c),
            false => _ = write!(shown, "{}", c.escape_default()),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_sent() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}1m\n"), "a\\u{1b}[2Jb\\u{9b}1m\n");
        assert!(matches!(printable("grün"), Cow::Borrowed(_)));
    }
}
