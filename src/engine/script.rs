//! A loaded script.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Inner;
use crate::Error;
use crate::call::Call;
use crate::call::job::{Source, Target, Work};

/// A script that is loaded on every interpreter of an engine; its exports can be called.
#[derive(Clone)]
pub struct Script {
    engine: Arc<Inner>,
    number: u32,
    source: Arc<Source>,
    exports: Option<Arc<[String]>>,
}

impl Script {
    pub(super) fn new(engine: Arc<Inner>, number: u32, source: Arc<Source>, exports: Option<Vec<String>>) -> Self {
        Script { engine, number, source, exports: exports.map(Arc::from) }
    }

    /// The name that errors show.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The names of its exports, sorted; `None` where the guest cannot tell.
    pub fn exports(&self) -> Option<&[String]> {
        self.exports.as_deref()
    }

    /// Calls an export; a script that returns a function exports it as `default`.
    ///
    /// A tuple is an argument list, anything else one argument. The call starts when it is first polled, on the least busy
    /// interpreter, or the one that a bound value among its arguments belongs to.
    pub fn call<R: DeserializeOwned + Send + 'static>(&self, name: &str, args: impl Serialize) -> Call<R> {
        let (script, export) = (self.number, CompactString::new(name));
        Call::new(Target::Any(self.engine.clone()), name, args, |args| Work::Export { script, name: export, args })
    }

    /// Calls an export and waits on the calling thread: see [`Call::blocking`].
    pub fn call_blocking<R: DeserializeOwned + Send + 'static>(
        &self,
        name: &str,
        args: impl Serialize,
    ) -> Result<R, Error> {
        self.call(name, args).blocking()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({})", self.source.name)
    }
}
