//! An engine of PHP serves web pages.

use std::path::PathBuf;

use super::Engine;
use crate::php::{Page, PageCall, WorkersBuilder};

impl Engine {
    /// Answers a request with a PHP file: on a fiber of its own, in a request context of its own. The engine's guest is
    /// [`Php`](crate::Php); another one says that it runs no main programs.
    pub fn page(&self, page: Page) -> PageCall {
        PageCall::new(self.0.clone(), page)
    }

    /// Worker scripts: see [`php`](crate::php).
    pub fn workers(&self, script: impl Into<PathBuf>) -> WorkersBuilder {
        WorkersBuilder::new(self.0.clone(), script.into())
    }
}
