//! Whether something that fibers wait for was given to Rust code that is not the engine's, or by way of it to other
//! interpreters: from then on nobody here knows who may use it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::host::parked::Wait;

/// See the module.
#[derive(Debug, Default)]
pub struct GivenOut(AtomicBool);

impl GivenOut {
    /// It was.
    pub fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// A wait for what this belongs to.
    pub fn wait(&self) -> Wait {
        Wait { given_out: self.0.load(Ordering::Acquire), which: None }
    }
}
