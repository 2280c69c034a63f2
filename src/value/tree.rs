//! Any value, for when its type is not known beforehand.

mod serial;

use super::{Attachment, Bytes};

/// Any value that crosses between the host and a guest.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Absence, and JSON's null.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    String(String),
    /// Bytes that are not text.
    Bytes(Bytes),
    /// A list.
    List(Vec<Value>),
    /// A map, in the guest's order.
    Map(Vec<(Value, Value)>),
    /// A guest's function, or a reference to another of its values.
    Guest(Attachment),
    /// A host object.
    Object(Attachment),
}

impl Value {
    /// Whether it is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// The boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer. A float that is one counts, as it does for decoding.
    pub fn as_i64(&self) -> Option<i64> {
        const END: f64 = 9_223_372_036_854_775_808.0;
        match self {
            Value::Int(value) => Some(*value),
            Value::Float(value) if value.trunc() == *value && (-END..END).contains(value) => Some(*value as i64),
            _ => None,
        }
    }

    /// The number, whether it is an integer or a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, also those of text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(text) => Some(text.as_bytes()),
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items of a list; of an empty map too, as not every guest can tell the two.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            Value::Map(pairs) if pairs.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The pairs of a map; of an empty list too, as not every guest can tell the two.
    pub fn as_map(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Map(pairs) => Some(pairs),
            Value::List(items) if items.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// The function, reference or host object.
    pub fn as_attachment(&self) -> Option<&Attachment> {
        match self {
            Value::Guest(attachment) | Value::Object(attachment) => Some(attachment),
            _ => None,
        }
    }

    /// Bytes of memory that it takes; what it only refers to is not counted.
    pub(crate) fn size(&self) -> usize {
        let within = match self {
            Value::String(text) => text.capacity(),
            Value::Bytes(bytes) => bytes.0.capacity(),
            Value::List(items) => items.iter().map(Value::size).sum(),
            Value::Map(pairs) => pairs.iter().map(|(key, value)| key.size() + value.size()).sum(),
            _ => 0,
        };
        size_of::<Value>() + within
    }

    /// The value of this key in a map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.iter().find(|(found, _)| found.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// The item at this place in a list, counted from 0.
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.as_list()?.get(index)
    }
}

macro_rules! from {
    ($($variant:ident: $($from:ty),*;)*) => {$($(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Value::$variant(value.into())
            }
        }
    )*)*};
}

from! {
    Bool: bool;
    Int: i8, i16, i32, i64, u8, u16, u32;
    Float: f32, f64;
    String: &str, String, Box<str>, char;
    Bytes: Bytes;
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Value::Nil
    }
}

impl From<Attachment> for Value {
    fn from(attachment: Attachment) -> Self {
        match attachment.kind() {
            super::attach::Kind::Object => Value::Object(attachment),
            super::attach::Kind::Guest => Value::Guest(attachment),
        }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Nil, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        items.into_iter().collect()
    }
}

impl<K: Into<Value>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Value {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}
