//! Tests of the feature `hooks`: the C guests of csrc, and what the tests need to run them.

// The C code calls the bridge, which is linked only if the crate is named.
use sidestack as _;

pub mod cases;
