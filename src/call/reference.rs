//! Tokens for guest values that Rust holds (rule 10): `Send`, bound to one interpreter and one incarnation of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::future::Call;
use super::inbox::{Inbox, Message, Outside};
use super::job::{Target, Work};
use crate::Error;
use crate::value::attach;

/// One slot of an interpreter's reference table, given back when the last clone is dropped.
pub struct Reference {
    /// The interpreter.
    pub inbox: Arc<Inbox>,
    /// Its incarnation when the slot was given out.
    pub incarnation: u32,
    /// The slot.
    pub slot: u64,
    /// Whether the value is a function (or any other guest value, by reference).
    pub function: bool,
    /// Rust code that is not the engine's may hold it, and call it.
    _outside: Option<Outside>,
}

impl Reference {
    /// A token of this slot, which the guest has given up to it; for the engine's `own` use or for others.
    pub fn new(inbox: &Arc<Inbox>, incarnation: u32, slot: u64, function: bool, own: bool) -> Reference {
        let outside = (!own).then(|| Outside::new(inbox));
        Reference { inbox: inbox.clone(), incarnation, slot, function, _outside: outside }
    }

    /// The slot, if the value still exists in the interpreter `inbox`.
    pub fn slot_in(&self, inbox: &Inbox) -> Result<u64, Error> {
        if !std::ptr::eq(&*self.inbox, inbox) {
            return Err(Error::Refused {
                name: crate::error::refused::WRONG_OWNER,
                message: "a function or reference of one interpreter cannot be used in another".into(),
            });
        }
        self.check().map(|()| self.slot)
    }

    /// An error if the incarnation that it belongs to is gone.
    pub fn check(&self) -> Result<(), Error> {
        if self.inbox.incarnation.load(Ordering::Acquire) == self.incarnation {
            Ok(())
        } else {
            Err(Error::InterpreterLost { started: false })
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.inbox.send(Message::Release { incarnation: self.incarnation, slot: self.slot });
    }
}

/// A guest's function, held by Rust.
///
/// It may be kept, cloned and called from any thread; each [`Function::call`] is a new fiber on the function's own
/// interpreter. To call it on the fiber that runs now, use [`Cx::call`](crate::Cx::call). When the interpreter was
/// replaced since, calls give [`Error::InterpreterLost`].
#[derive(Clone)]
pub struct Function(pub(crate) Arc<Reference>);

impl Function {
    /// Calls the function on a fiber of its own. A tuple is an argument list, anything else one argument.
    pub fn call<R: DeserializeOwned + Send + 'static>(&self, args: impl Serialize) -> Call<R> {
        self.start(args, false)
    }

    /// As `call`; with `by_reference` results cross uncopied.
    pub(crate) fn start<R: DeserializeOwned + Send + 'static>(
        &self,
        args: impl Serialize,
        by_reference: bool,
    ) -> Call<R> {
        let inbox = self.0.inbox.clone();
        let token = self.0.clone();
        Call::new(Target::Bound(inbox), "guest function", args, move |args| Work::Function {
            token,
            args,
            by_reference,
        })
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function(interpreter {}, slot {})", self.0.inbox.interpreter, self.0.slot)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach::serialize(serializer, attach::Kind::Guest, self.0.clone())
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let any: Arc<dyn Any + Send + Sync> = attach::deserialize(deserializer, attach::Kind::Guest)?;
        match any.downcast::<Reference>() {
            Ok(reference) if reference.function => Ok(Function(reference)),
            _ => Err(serde::de::Error::custom("expected a function")),
        }
    }
}
