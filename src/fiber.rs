//! C stacks, and the switch between them.
//!
//! ```text
//! StackPool ── get ──► FiberStack ── Coroutine::new ──► Coroutine ── resume ──► Suspended | Done
//!     ▲                                                     │
//!     └──────── put ◄── FiberStack ◄── into_stack (done) ◄──┤
//!                                  ◄── abandon (suspended) ◄┘      dropped while suspended: the stack is lost
//! ```
//!
//! A fiber's stack holds C frames only, so it can be abandoned at any time as far as Rust is concerned; whether its C frames
//! can be is for the caller to know.
//!
//! Everything here belongs to one interpreter thread.

mod guard;
mod pool;
#[cfg_attr(not(feature = "sanitizer"), path = "fiber/unsanitized.rs")]
mod sanitizer;
mod saved;
mod stack;
mod switch;

#[cfg(test)]
mod child;
#[cfg(test)]
mod many;

#[cfg(test)]
pub use guard::GuardKind;
#[cfg(test)]
pub use pool::PoolStats;
pub use pool::{StackPool, Trimmed};
pub use saved::Home;
pub use stack::{FiberStack, StackConfig};
#[cfg(feature = "sanitizer")]
pub use switch::move_to;
pub use switch::{Coroutine, Link, Resumed, suspend};
