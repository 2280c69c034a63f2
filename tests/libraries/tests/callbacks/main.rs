//! Callbacks of zlib, expat and libc that wait for async host functions. SQLite has a binary of its own: its settings
//! are the process's.

#[path = "../stage/mod.rs"]
mod stage;

mod inflate;
mod order;
mod sax;
