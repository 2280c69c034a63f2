//! Values on their way between the host and a guest.
//!
//! Data crosses as a run of plain tagged entries (`csrc/value.h`). [`Flat`] encodes anything that implements
//! `Serialize` into such a run, with buffers that it reuses; [`Run`] and [`Results`] decode anything that implements
//! `Deserialize` straight from one. What is not data (a guest's function, a host object) is carried beside the run as an
//! [`Attachment`], and gets through serde by way of [`attach`].

pub mod attach;
mod bytes;
mod decode;
mod encode;
mod fault;
mod few;
mod flat;
mod number;
mod results;
mod run;
#[cfg(test)]
mod tests;
mod tree;

pub use attach::Attachment;
pub use bytes::Bytes;
pub use fault::{DecodeError, EncodeError};
pub use few::{Few, few};
pub use flat::Flat;
pub use results::{Many, Results};
pub use run::{Resolver, Run};
pub use tree::Value;

/// How deep lists and maps may be nested. Encoding and decoding recurse, on stacks that may be small.
const DEPTH_LIMIT: u32 = 128;
