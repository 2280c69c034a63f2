//! What a client is told when a call fails.

use std::time::Duration;

use sidestack::error::refused;
use sidestack::{Error, Limit};

/// The answer to a request whose call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// What the client reads. It gives nothing away but the server's own limits.
    pub message: String,
    /// When it may be worth trying again.
    pub retry_after: Option<Duration>,
    /// Whether someone has to look at it: it gets a report with an id.
    pub reported: bool,
}

const SOON: Option<Duration> = Some(Duration::from_secs(1));

impl Failure {
    /// From the error of a call.
    pub fn of(error: &Error) -> Self {
        let error = overload(error).unwrap_or(error);
        let (status, message, retry_after, reported) = match error {
            Error::Limit { which: Limit::Deadline | Limit::Cpu, .. } => (504, "deadline exceeded", None, true),
            Error::Limit { which: Limit::Memory, .. } => (503, "out of memory", SOON, true),
            Error::Limit { which: Limit::Queue, .. } => (503, "no interpreter was free in time", SOON, false),
            Error::Limit { which: Limit::Response, .. } => (500, "the response is too large", None, true),
            // The same request would recurse as deep again.
            Error::Limit { which: Limit::Stack, .. } => (500, "the script recursed too deep", None, true),
            Error::Limit { .. } => (503, "out of resources", SOON, true),
            Error::QueueFull { retry_after, .. } => (503, "too many requests are waiting", Some(*retry_after), false),
            Error::Cancelled => (503, "cancelled", SOON, false),
            Error::Refused { name: refused::SHUT_DOWN, .. } => (503, "shutting down", SOON, false),
            Error::InterpreterLost { .. } | Error::Crashed { .. } => (503, "the interpreter was lost", SOON, true),
            _ => (500, "internal server error", None, true),
        };
        let limit = matches!(error, Error::Limit { .. } | Error::QueueFull { .. });
        let message = if limit { format!("{message}: {error}") } else { message.into() };
        Failure { status, message, retry_after, reported }
    }
}

/// That there was no room for what the script started (a task is a call too), where that is what ended it.
fn overload(error: &Error) -> Option<&Error> {
    let cause = error.host::<Error>()?;
    match cause {
        Error::QueueFull { .. } | Error::Limit { which: Limit::Queue, .. } => Some(cause),
        _ => overload(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(which: Limit) -> Failure {
        Failure::of(&Error::limit(which, 1, "x"))
    }

    fn full() -> Error {
        Error::QueueFull { capacity: 1, retry_after: Duration::from_secs(2) }
    }

    /// The script did not catch what a host function raised.
    fn uncaught(source: Error) -> Error {
        Error::Script { message: source.to_string(), code: None, traceback: String::new(), source: Some(source.into()) }
    }

    #[test]
    fn limits_are_told_apart_and_named() {
        assert_eq!(
            [Limit::Deadline, Limit::Cpu, Limit::Memory, Limit::Stack, Limit::Fibers, Limit::Response]
                .map(|which| limit(which).status),
            [504, 504, 503, 500, 503, 500]
        );
        assert_eq!(limit(Limit::Memory).message, "out of memory: memory limit of 1 bytes reached (setting: x)");
        let full = Failure::of(&full());
        assert_eq!((full.status, full.retry_after), (503, Some(Duration::from_secs(2))));
        assert!(full.message.ends_with("1 calls are waiting (setting: queue)"), "{}", full.message);
        assert_eq!(Failure::of(&Error::Cancelled).status, 503);
    }

    #[test]
    fn no_room_for_a_task_is_no_fault_of_the_script() {
        for error in [uncaught(full()), uncaught(uncaught(full()))] {
            assert_eq!(Failure::of(&error), Failure::of(&full()));
        }
        let other = Failure::of(&uncaught(Error::limit(Limit::Memory, 1, "memory")));
        assert_eq!((other.status, other.message.as_str()), (500, "internal server error"));
    }
}
