//! The only symbols that C can call, and what they do (DESIGN: stacks never mix).
//!
//! An upcall arrives on whatever stack guest code runs on. `entry` moves to the thread's own stack, where everything else in this module runs; if
//! the host call has to wait, `entry` suspends the fiber, and returns to C what the worker has left in the record when it
//! resumes it.

mod api;
pub mod cancel;
mod entry;
pub mod export;
pub mod fence;
pub mod finish;
mod foreign;
pub mod host_call;
mod interrupted;
mod reply;

pub use entry::fiber_main;
