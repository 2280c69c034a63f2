//! Sidestack runs C scripting runtimes on fiber-safe C stacks.

mod abi;
pub mod error;
pub mod value;

pub use error::{Error, HostResult, Limit, Raise};
