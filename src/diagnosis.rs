//! What is told of fibers and of failures: plain data, for people.

mod backtrace;
mod fiber;
mod panic;

pub(crate) use backtrace::Parts;
pub use backtrace::{Backtrace, Frame, Language};
pub use fiber::{FiberInfo, FiberState};
pub use panic::HostPanic;
