//! What is told of fibers and of failures: plain data, for people.

mod fiber;

pub use fiber::{FiberInfo, FiberState};
