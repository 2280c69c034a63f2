//! `sidestack serve` with PHP (feature `php`), seen by its clients.
#![cfg(feature = "php")]

mod browser;
mod capacity;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod cut;
mod diagnosis;
mod dokuwiki;
mod requests;
mod running;
#[path = "../../../tests/hooks/src/server.rs"]
#[allow(dead_code, reason = "some servers are for other tests")]
mod server;
mod sites;
mod storm;
mod wordpress;
mod workers;
