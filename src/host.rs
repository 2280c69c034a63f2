//! Host functions: how they are declared, what they get, and what is known of a host call while it lasts.

pub mod account;
pub mod args;
pub mod c_api;
pub mod cx;
pub mod exported;
pub mod function;
pub mod future;
pub mod leaf;
pub mod local;
pub mod module;
pub mod object;
pub mod parked;
pub mod record;
pub mod registry;
pub mod reply;
pub mod timer;

pub(crate) use args::Done;
pub use args::{Ext, FromCall, Rest, State};
pub use cx::Cx;
pub use function::HostFn;
pub use leaf::LeafFn;
pub use module::Module;
pub use object::{HostObject, Members, Object};
