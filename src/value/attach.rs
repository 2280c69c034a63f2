//! How what is not data gets through serde: a guest's functions and references, and host objects.
//!
//! serde has no place for an `Arc`. A type that stands for one calls [`serialize`] and [`deserialize`], which name a
//! newtype that only our own serializer and deserializer know, and leave the `Arc` in a thread-local for the few
//! instructions until it is taken out again. Any other format runs into an error.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::ser::Error as _;
use serde::{Deserializer, Serialize, Serializer};

/// The names of the newtypes that stand for an attachment.
const OBJECT: &str = "$sidestack::attachment::Object";
const GUEST: &str = "$sidestack::attachment::Guest";

/// The name under which [`Value`](super::Value) asks for data or an attachment, whichever there is.
pub(super) const ANY: &str = "$sidestack::attachment::Any";

/// What an attachment stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A host object.
    Object,
    /// A guest's function, or another of its values passed by reference.
    Guest,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Object => OBJECT,
            Kind::Guest => GUEST,
        }
    }

    /// The kind that a newtype of this name stands for.
    #[inline]
    pub(super) fn named(name: &str) -> Option<Kind> {
        match name {
            OBJECT => Some(Kind::Object),
            GUEST => Some(Kind::Guest),
            _ => None,
        }
    }

    /// For messages.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Kind::Object => "a host object",
            Kind::Guest => "a function",
        }
    }
}

/// Something that is not data, beside the values that it belongs to.
#[derive(Clone)]
pub struct Attachment {
    kind: Kind,
    shared: Arc<dyn Any + Send + Sync>,
}

impl Attachment {
    /// An attachment of this kind.
    pub fn new(kind: Kind, shared: Arc<dyn Any + Send + Sync>) -> Self {
        Attachment { kind, shared }
    }

    /// What it stands for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The thing itself.
    pub fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        self.shared.clone()
    }

    /// The thing itself, if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        (*self.shared).downcast_ref()
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Object => "Attachment(host object)",
            Kind::Guest => "Attachment(guest value)",
        })
    }
}

/// Two attachments are equal if they are the same thing.
impl PartialEq for Attachment {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && Arc::ptr_eq(&self.shared, &other.shared)
    }
}

thread_local! {
    /// The attachment on its way through serde. No other code runs between its being put here and its being taken.
    static STASH: RefCell<Option<Attachment>> = const { RefCell::new(None) };
}

/// What was put into the stash and not yet taken.
pub(super) fn take() -> Option<Attachment> {
    STASH.try_with(|stash| stash.take()).ok().flatten()
}

/// Runs `f`, which may [`take`] the attachment; whether it did or not, it is gone afterwards.
pub(super) fn with_stashed<R>(attachment: Attachment, f: impl FnOnce() -> R) -> R {
    struct Emptied;
    impl Drop for Emptied {
        fn drop(&mut self) {
            drop(take());
        }
    }
    let _emptied = Emptied;
    let displaced = STASH.try_with(|stash| stash.replace(Some(attachment))).ok().flatten();
    drop(displaced);
    f()
}

/// Serializes the `Arc` of a type that is not data. Fails with any serializer but the one that leads to a guest.
pub fn serialize<S: Serializer>(
    serializer: S,
    kind: Kind,
    shared: Arc<dyn Any + Send + Sync>,
) -> Result<S::Ok, S::Error> {
    with_stashed(Attachment::new(kind, shared), || serializer.serialize_newtype_struct(kind.name(), &NotData(kind)))
}

/// What another format gets to see.
struct NotData(Kind);

impl Serialize for NotData {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        let noun = self.0.noun();
        Err(S::Error::custom(format_args!(
            "{noun} is not data: it can be passed to a guest, but not written elsewhere"
        )))
    }
}

/// Deserializes the `Arc` of a type that is not data. Fails with any deserializer but the one that comes from a guest.
pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
) -> Result<Arc<dyn Any + Send + Sync>, D::Error> {
    deserializer.deserialize_newtype_struct(kind.name(), Stashed(kind))
}

struct Stashed(Kind);

impl Stashed {
    fn missing<E: de::Error>(&self) -> E {
        let noun = self.0.noun();
        E::custom(format_args!("{noun} is not data: it can come from a guest, but not be read from elsewhere"))
    }
}

impl<'de> Visitor<'de> for Stashed {
    type Value = Arc<dyn Any + Send + Sync>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.noun())
    }

    /// What our own deserializer calls, with the attachment in the stash.
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        match take() {
            Some(attachment) if attachment.kind == self.0 => Ok(attachment.shared),
            _ => Err(self.missing()),
        }
    }

    /// What any other deserializer calls.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Self::Value, D::Error> {
        Err(self.missing())
    }
}
