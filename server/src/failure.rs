//! What a client is told when a call fails.

use std::time::Duration;

use sidestack::{Error, Limit};

/// The answer to a request whose call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// What the client reads. It gives nothing away.
    pub message: &'static str,
    /// When it may be worth trying again.
    pub retry_after: Option<Duration>,
    /// Whether someone has to look at it: it gets a report with an id.
    pub reported: bool,
}

const SOON: Option<Duration> = Some(Duration::from_secs(1));

impl Failure {
    /// From the error of a call.
    pub fn of(error: &Error) -> Self {
        let failure = |status, message, retry_after, reported| Failure { status, message, retry_after, reported };
        match error {
            Error::Limit { which: Limit::Deadline | Limit::Cpu, .. } => failure(504, "deadline exceeded", None, true),
            Error::Limit { which: Limit::Memory, .. } => failure(503, "out of memory", SOON, true),
            Error::Limit { which: Limit::Queue, .. } => failure(503, "no interpreter was free in time", SOON, false),
            Error::Limit { which: Limit::Response, .. } => failure(500, "the response is too large", None, true),
            Error::Limit { .. } => failure(503, "out of resources", SOON, true),
            Error::QueueFull { retry_after, .. } => {
                failure(503, "too many requests are waiting", Some(*retry_after), false)
            }
            Error::Cancelled => failure(503, "cancelled", SOON, false),
            Error::Refused { name: sidestack::error::refused::SHUT_DOWN, .. } => {
                failure(503, "shutting down", SOON, false)
            }
            Error::InterpreterLost { .. } | Error::Crashed { .. } => {
                failure(503, "the interpreter was lost", SOON, true)
            }
            _ => failure(500, "internal server error", None, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(which: Limit) -> u16 {
        Failure::of(&Error::Limit { which, value: 1, setting: "x" }).status
    }

    #[test]
    fn limits_are_told_apart() {
        assert_eq!(
            [Limit::Deadline, Limit::Cpu, Limit::Memory, Limit::Stack, Limit::Fibers, Limit::Response].map(limit),
            [504, 504, 503, 503, 503, 500]
        );
        let full = Failure::of(&Error::QueueFull { capacity: 1, retry_after: Duration::from_secs(2) });
        assert_eq!((full.status, full.retry_after), (503, Some(Duration::from_secs(2))));
        assert_eq!(Failure::of(&Error::Cancelled).status, 503);
    }
}
