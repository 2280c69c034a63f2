//! The PHP guest through the public API. PHP is started once in the process: all tests use the same settings.

mod basics;
mod pages;
mod stage;
