//! C code that only the tests run.

pub mod guests;
pub mod signals;
