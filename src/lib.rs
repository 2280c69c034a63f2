//! Sidestack runs C scripting runtimes on fiber-safe C stacks.

mod abi;
pub mod error;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the worker, which uses it, is not there yet"))]
mod fiber;
#[cfg_attr(not(test), expect(dead_code, reason = "serves the fibers and faults to come"))]
mod sys;

pub use error::{Error, HostResult, Limit, Raise};
