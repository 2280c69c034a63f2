//! The bridge through the public API, with Lua as the guest: host calls, nested calls, cancels, panics, wakes, queues.

mod bound;
mod cancel;
mod claims;
mod future;
mod nested;
mod panics;
mod queue;
mod runtimes;
mod stage;
mod wakes;
