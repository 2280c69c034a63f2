//! What a call has returned.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::ser::SerializeTupleStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::attach::{self, Kind};
use super::decode::{Decoder, Items, Source};
use super::run::{Entry, NOTHING, Resolver};
use super::{DecodeError, Flat};
use crate::abi::{SS_LIST, ss_value};

/// The name under which [`Many`] asks for all results.
pub(super) const MANY: &str = "$sidestack::Many";

/// The results of a call: as many values as the guest returned.
pub struct Results<'a> {
    values: *mut ss_value,
    count: u32,
    source: Source<'a>,
}

impl<'a> Results<'a> {
    /// The results that a guest holds.
    ///
    /// # Safety
    ///
    /// `values` must point to a well-formed run of `count` values that nobody else uses for `'a`.
    pub unsafe fn new(values: *mut ss_value, count: u32, resolver: &'a mut dyn Resolver) -> Self {
        Results { values, count, source: Source::Guest(resolver) }
    }

    /// The results that were copied into, or encoded into, a [`Flat`].
    pub fn of(flat: &'a Flat) -> Self {
        let (entries, attachments) = flat.parts();
        // Only a guest's run is ever written to.
        let values = entries.as_ptr().cast_mut();
        Results { values, count: flat.count(), source: Source::Flat(values, attachments) }
    }

    /// Decodes the results: into a tuple all of them (or the list that is the only one), into anything else the first
    /// one, and into `()` none. Missing ones are nil, further ones are ignored.
    #[inline]
    pub fn decode<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        T::deserialize(self)
    }

    #[inline]
    fn decoder(&mut self) -> Decoder<'_> {
        let source = match &mut self.source {
            Source::Guest(resolver) => Source::Guest(&mut **resolver),
            Source::Flat(first, attachments) => Source::Flat(*first, attachments),
            Source::Nothing => Source::Nothing,
        };
        // SAFETY: the run was promised to be well-formed, or is a `Flat`'s and is not written to; the methods below ask
        // for no more than `count` values.
        unsafe { Decoder::new(self.values, source) }
    }

    /// Hands the first result over, or nothing if there is none.
    #[inline]
    fn first<T>(&mut self, read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        if self.count == 0 {
            let mut nothing = NOTHING;
            return read(&mut Decoder::nothing(&mut nothing));
        }
        read(&mut self.decoder())
    }

    /// The kind of the only result.
    fn only(&self) -> Option<u32> {
        // SAFETY: there is a first entry.
        (self.count == 1).then(|| unsafe { (*self.values).kind() })
    }

    fn all<'de, V: Visitor<'de>>(&mut self, wanted: usize, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.count;
        visitor.visit_seq(Items::new(&mut self.decoder(), count, wanted))
    }
}

macro_rules! of_the_first {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.first(|decoder| decoder.$method(visitor))
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Results<'_> {
    type Error = DecodeError;

    of_the_first!(deserialize_any deserialize_bool deserialize_f32 deserialize_f64 deserialize_char);
    of_the_first!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    of_the_first!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    of_the_first!(deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf);
    of_the_first!(deserialize_seq deserialize_map deserialize_identifier);

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        // An optional tuple is absent if the first result is: the `nil, reason` of many functions.
        if self.first(|decoder| Ok(decoder.absent()))? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == attach::ANY || Kind::named(name).is_some() {
            return self.first(|decoder| decoder.deserialize_newtype_struct(name, visitor));
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        if len > 1 && self.only() == Some(SS_LIST) {
            return self.first(|decoder| decoder.deserialize_tuple(len, visitor));
        }
        self.all(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == MANY { self.all(0, visitor) } else { self.deserialize_tuple(len, visitor) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.first(|decoder| decoder.deserialize_struct(name, fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.first(|decoder| decoder.deserialize_enum(name, variants, visitor))
    }
}

/// Any number of values: all the results of a call, or the arguments of one.
///
/// Inside other values it is a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl<T: Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = serializer.serialize_tuple_struct(MANY, self.0.len())?;
        for value in &self.0 {
            values.serialize_field(value)?;
        }
        values.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Many<T>, A::Error> {
                let mut values = Vec::with_capacity(items.size_hint().unwrap_or(0).min(1024));
                while let Some(value) = items.next_element()? {
                    values.push(value);
                }
                Ok(Many(values))
            }
        }

        deserializer.deserialize_tuple_struct(MANY, 0, All(PhantomData))
    }
}
