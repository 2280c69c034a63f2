//! `sidestack serve` with PHP (feature `php`), seen by its clients.
#![cfg(feature = "php")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod debian;
mod requests;
mod running;
mod sites;
mod storm;
mod workers;
