//! What the tests of PHP share: how PHP's own tests are read and judged, how one is run, and the C between PHP and the bridge.

pub mod expect;
pub mod file;
#[cfg(feature = "php")]
pub mod play;
#[cfg(feature = "php")]
pub mod probe;
#[cfg(feature = "php")]
pub mod stage;

/// A library to load before the C library: names take half a second (csrc/slow).
#[cfg(feature = "php")]
pub const SLOW_NAMES: &str = env!("SIDESTACK_SLOW_NAMES");
