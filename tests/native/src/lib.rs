//! C code that only the tests run.

// The C code calls the bridge, which is linked only if the crate is named.
use sidestack as _;

pub mod engine_storm;
pub mod failing;
pub mod faults;
pub mod guests;
pub mod public;
pub mod schedule;
pub mod signals;
pub mod ways;
