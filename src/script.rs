//! What every script gets: the functions behind `require "sidestack"`.
//!
//! They are host functions like any other, of a module called `sidestack.core`; each guest shapes them after its own
//! language's habits (Lua: csrc/lua/prelude.lua). Guest values pass through them uncopied.

mod channel;
mod given_out;
mod group;
mod json;
mod lock;
mod log;
mod task;
mod time;

#[cfg(feature = "tokio")]
mod http;

use crate::host::Module;

/// The module that guests build `sidestack` from.
pub fn core() -> Module {
    let module = Module::new("sidestack.core");
    let module = time::add(module);
    let module = task::add(module);
    let module = group::add(module);
    let module = channel::add(module);
    let module = lock::add(module);
    let module = json::add(module);
    let module = log::add(module);
    add_http(module.own())
}

#[cfg(feature = "tokio")]
fn add_http(module: Module) -> Module {
    http::add(module)
}

#[cfg(not(feature = "tokio"))]
fn add_http(module: Module) -> Module {
    module
}
