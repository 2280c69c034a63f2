//! Why a value could not be encoded or decoded, and where in it.

use std::fmt;

use serde::de::{Expected, Unexpected};

/// Why a Rust value could not be turned into a guest's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EncodeError(Box<Fault>);

/// Why a guest's value could not be turned into the Rust type that was asked for.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DecodeError(Box<Fault>);

/// Boxed, so that a result stays small; the path is put together on the way out of the nested value.
#[derive(Debug)]
struct Fault {
    path: String,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

macro_rules! faults {
    ($($error:ident)*) => {$(
        impl $error {
            #[cold]
            pub(super) fn new(message: impl fmt::Display) -> Self {
                $error(Box::new(Fault { path: String::new(), message: message.to_string() }))
            }

            /// Where in the value, like `.items[3].qty`; empty for the value itself.
            pub fn path(&self) -> &str {
                &self.0.path
            }

            /// What was expected and what was found.
            pub fn message(&self) -> &str {
                &self.0.message
            }

            #[cold]
            pub(super) fn within(mut self, segment: impl fmt::Display) -> Self {
                self.0.path.insert_str(0, &segment.to_string());
                self
            }

            #[cold]
            pub(super) fn in_item(self, index: usize) -> Self {
                self.within(format_args!("[{index}]"))
            }

            #[cold]
            pub(super) fn of_key(mut self) -> Self {
                self.0.message.insert_str(0, "as a key: ");
                self
            }

            #[cold]
            pub(super) fn too_deep() -> Self {
                Self::new(format_args!("nested deeper than {} levels", super::DEPTH_LIMIT))
            }
        }
    )*};
}

faults!(EncodeError DecodeError);

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format_args!("expected {}, found {}", words(expected), TypeFound(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = expected.to_string();
        match found {
            Unexpected::Signed(value) if is_integer_type(&wanted) => out_of_range(value, &wanted),
            Unexpected::Unsigned(value) if is_integer_type(&wanted) => out_of_range(value, &wanted),
            Unexpected::Signed(value) => Self::new(format_args!("expected {wanted}, found {value}")),
            Unexpected::Unsigned(value) => Self::new(format_args!("expected {wanted}, found {value}")),
            Unexpected::Float(value) => Self::new(format_args!("expected {wanted}, found {value}")),
            Unexpected::Str(value) => Self::new(format_args!("expected {wanted}, found {:?}", Shortened(value))),
            found => Self::new(format_args!("expected {wanted}, found {}", TypeFound(found))),
        }
    }
}

fn out_of_range(value: impl fmt::Display, wanted: &str) -> DecodeError {
    DecodeError::new(format_args!("{value} is out of range for {wanted}"))
}

fn is_integer_type(name: &str) -> bool {
    name.strip_prefix(['i', 'u']).is_some_and(|width| width == "size" || width.bytes().all(|b| b.is_ascii_digit()))
}

/// Our words for what serde's own visitors expect.
fn words(expected: &dyn Expected) -> String {
    let wanted = expected.to_string();
    match wanted.as_str() {
        "a sequence" => "a list".into(),
        "f32" | "f64" => "a number".into(),
        name if is_integer_type(name) => "a number".into(),
        _ => wanted,
    }
}

/// What was found, in the words that are used for a guest's values.
struct TypeFound<'a>(Unexpected<'a>);

impl fmt::Display for TypeFound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Char(_) | Unexpected::Str(_) => "a string",
            Unexpected::Bytes(_) => "bytes",
            Unexpected::Unit | Unexpected::Option => "nil",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            found => return fmt::Display::fmt(&found, f),
        })
    }
}

/// A guest's string in a message: quoted, and not all of it when it is long.
pub(super) struct Shortened<'a>(pub(super) &'a str);

impl fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(60) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "\"{}…\"", self.0[..end].escape_debug()),
        }
    }
}
