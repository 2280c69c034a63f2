//! The Sidestack script server.
fn main() {}
