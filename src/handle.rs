//! Handles: how C holds a Rust object (rule 2).
//!
//! A [`Key`] is owner (10 bits), index (22) and generation (32). The table belongs to one interpreter thread, so a look-up
//! takes no lock and no atomic. Four things can be wrong with a key, and each is an error of its own.

mod key;
mod table;

pub use key::Key;
pub use table::{HandleError, Shared, Table};
