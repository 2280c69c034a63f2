//! What serde asks of the reader.

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

use super::Decoder;
use super::compound::Variant;
use crate::abi::{
    SS_BOOL, SS_BYTES, SS_FLOAT, SS_FUNCTION, SS_INT, SS_LIST, SS_MAP, SS_NIL, SS_NULL, SS_OBJECT, SS_REFERENCE,
    SS_STRING,
};
use crate::value::DecodeError;
use crate::value::attach::{self, Attachment, Kind};
use crate::value::results::MANY;
use crate::value::run::Entry;

macro_rules! integers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.visit_i64(self.integer()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'_> {
    type Error = DecodeError;

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    integers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.entry().kind() {
            SS_NIL | SS_NULL => self.deserialize_unit(visitor),
            SS_BOOL => self.deserialize_bool(visitor),
            SS_INT => self.deserialize_i64(visitor),
            SS_FLOAT => self.deserialize_f64(visitor),
            SS_STRING => {
                let data = self.data();
                match str::from_utf8(data) {
                    Ok(text) => visitor.visit_str(text),
                    Err(_) => visitor.visit_bytes(data),
                }
            }
            SS_BYTES => visitor.visit_bytes(self.data()),
            SS_LIST => self.list(0, visitor),
            SS_MAP => self.map(visitor),
            SS_FUNCTION => Err(DecodeError::invalid_type(Unexpected::Other("a function"), &visitor)),
            SS_REFERENCE => Err(DecodeError::invalid_type(Unexpected::Other("a reference"), &visitor)),
            SS_OBJECT => Err(DecodeError::invalid_type(Unexpected::Other("a host object"), &visitor)),
            tag => Err(DecodeError::new(format_args!("a value with the unknown tag {tag}"))),
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entry = self.entry();
        if entry.kind() != SS_BOOL {
            return Err(self.expected("a boolean"));
        }
        // SAFETY: the tag says that the payload is an integer.
        let value = unsafe { entry.as_.integer } != 0;
        self.advance();
        visitor.visit_bool(value)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f64(self.number()?)
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(visitor)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.entry().kind() {
            SS_STRING | SS_BYTES => visitor.visit_bytes(self.data()),
            SS_LIST => self.list(0, visitor),
            _ => Err(self.expected("bytes")),
        }
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.absent() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.absent() { visitor.visit_unit() } else { Err(self.expected("nil")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let kind = match Kind::named(name) {
            Some(kind) => kind,
            None if name == attach::ANY => match self.entry().kind() {
                SS_OBJECT => Kind::Object,
                SS_FUNCTION | SS_REFERENCE => Kind::Guest,
                _ => return self.deserialize_any(visitor),
            },
            None => return visitor.visit_newtype_struct(self),
        };
        let attachment = Attachment::new(kind, self.attachment(kind)?);
        attach::with_stashed(attachment, || visitor.visit_unit())
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.list(0, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.list(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.list(if name == MANY { 0 } else { len }, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.map(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let entry = self.entry();
        match (entry.kind(), entry.len) {
            (SS_STRING, _) => visitor.visit_enum(Variant::alone(self)),
            (SS_MAP, 1) => {
                self.enter()?;
                let name = self.at;
                self.skip(1);
                let contents = std::mem::replace(&mut self.at, name);
                let result = visitor.visit_enum(Variant::with_contents(self));
                self.depth -= 1;
                if self.at == name {
                    self.skip(2);
                } else if self.at == contents {
                    self.skip(1);
                }
                result
            }
            (SS_MAP, len) => Err(DecodeError::new(format_args!("expected a map with one variant, found {len} pairs"))),
            _ => Err(self.expected("the name of a variant")),
        }
    }

    /// The name of a field or of a variant. A key that is no string is the name of nothing: it must not be taken for an
    /// index.
    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.entry().kind() {
            SS_STRING => {
                let data = self.data();
                match str::from_utf8(data) {
                    Ok(name) => visitor.visit_str(name),
                    Err(_) => visitor.visit_bytes(data),
                }
            }
            SS_INT | SS_FLOAT => {
                let number = self.number()?;
                visitor.visit_string(number.to_string())
            }
            SS_BOOL => {
                self.advance();
                visitor.visit_str("a boolean")
            }
            _ => Err(self.expected("a name")),
        }
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.skip(1);
        visitor.visit_unit()
    }
}
