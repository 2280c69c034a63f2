//! Sidestack runs C scripting runtimes on fiber-safe C stacks.

mod abi;
pub mod error;
#[allow(dead_code, unused_imports, reason = "used by the worker and the crossing")]
mod signal;

pub use error::{Error, HostResult, Limit, Raise};
