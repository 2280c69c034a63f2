//! Clients and signals that mean no good: each gets its answer or its end, and nothing of it is left.

#[path = "../common/mod.rs"]
mod common;

mod broken;
mod flood;
mod signals;
mod slow;
mod watch;
