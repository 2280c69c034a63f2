//! C functions over the public C API, as guests.

mod calls;
#[path = "../../../child/mod.rs"]
mod child;
mod fibers;
mod handles;
mod in_host;
mod libraries;
mod stage;
