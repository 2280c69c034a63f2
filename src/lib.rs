//! Sidestack runs C scripting runtimes on fiber-safe C stacks.
//!
//! Each script call is a fiber on a C stack of its own, on an interpreter thread; the host functions that it calls are
//! async Rust and look blocking to the script.

mod abi;
mod call;
mod crossing;
mod diagnosis;
mod engine;
pub mod error;
pub mod export;
mod fiber;
pub mod guest;
mod handle;
#[cfg_attr(not(feature = "hooks"), path = "hooks/off.rs")]
pub mod hooks;
mod host;
#[cfg(feature = "php")]
pub mod php;
mod script;
mod signal;
mod sys;
pub mod value;
mod worker;

pub use call::{Call, CallStats, Failures, Function};
pub use diagnosis::{Backtrace, FiberInfo, FiberState, Frame, HostPanic, Language};
pub use engine::{Builder, Cancelled, Engine, Metrics, Script};
pub use error::{Error, HostResult, Limit, Raise};
#[doc(inline)]
pub use export::export;
#[cfg(feature = "lua")]
pub use guest::lua::Lua;
pub use guest::native::Native;
#[cfg(feature = "php")]
pub use guest::php::Php;
pub use host::{Cx, Ext, FromCall, HostFn, HostObject, LeafFn, Members, Module, Object, Rest, State};
pub use value::{Bytes, Value};

/// The README's code, compiled.
#[cfg(all(doctest, feature = "tokio", feature = "lua"))]
#[doc = include_str!("../README.md")]
struct Readme;
