//! A panic of a host function, as an error.

use std::fmt;

use super::Backtrace;

/// What a script's error has as its source ([`Error::host`](crate::Error::host)) when a host function panicked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostPanic {
    /// The host function: "app.load".
    pub function: String,
    /// What it panicked with.
    pub message: String,
    /// From the panic to the host function, then the C frames of the fiber that called it. The Rust part is known where the panic
    /// hook that the first engine installs is still in place.
    pub backtrace: Backtrace,
}

impl fmt::Display for HostPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host function {} panicked: {}", self.function, self.message)
    }
}

impl std::error::Error for HostPanic {}
