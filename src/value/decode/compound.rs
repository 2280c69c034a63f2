//! Lists, maps and variants while they are being read.

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Decoder;
use crate::abi::ss_value;
use crate::value::DecodeError;
use crate::value::run::{KeySegment, NOTHING};

/// The items of a list, or the results of a call.
pub(in crate::value) struct Items<'d, 'r> {
    decoder: &'d mut Decoder<'r>,
    /// How many there are.
    len: u32,
    /// How many of them have been read.
    read: u32,
    /// How many there are at least, if need be as nothing.
    wanted: usize,
    /// How many of those that are not there have been read.
    made_up: usize,
}

impl<'d, 'r> Items<'d, 'r> {
    /// The reader is before the first of `len` values.
    #[inline]
    pub(in crate::value) fn new(decoder: &'d mut Decoder<'r>, len: u32, wanted: usize) -> Self {
        Items { decoder, len, read: 0, wanted: wanted.saturating_sub(len as usize), made_up: 0 }
    }

    /// Moves behind the last one, and says how many have been read.
    #[inline]
    pub(in crate::value) fn finish(self) -> u32 {
        if self.read < self.len {
            self.decoder.skip(u64::from(self.len - self.read));
        }
        self.read
    }

    #[cold]
    fn make_up<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let index = self.len as usize + self.made_up;
        self.made_up += 1;
        let mut nothing = NOTHING;
        seed.deserialize(&mut Decoder::nothing(&mut nothing)).map_err(|error| error.in_item(index))
    }
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        if self.read == self.len {
            return if self.made_up < self.wanted { self.make_up(seed).map(Some) } else { Ok(None) };
        }
        let index = self.read as usize;
        self.read += 1;
        match self.decoder.one(seed) {
            Ok(item) => Ok(Some(item)),
            Err(error) => Err(error.in_item(index)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some((self.len - self.read) as usize + (self.wanted - self.made_up))
    }
}

/// The pairs of a map.
pub(super) struct Pairs<'d, 'r> {
    decoder: &'d mut Decoder<'r>,
    /// How many keys have not been read.
    left: u32,
    /// The last key, while its value has not been read.
    key: Option<*const ss_value>,
}

impl<'d, 'r> Pairs<'d, 'r> {
    /// The reader is before the first key.
    #[inline]
    pub(super) fn new(decoder: &'d mut Decoder<'r>, len: u32) -> Self {
        Pairs { decoder, left: len, key: None }
    }

    /// Moves behind the last pair.
    #[inline]
    pub(super) fn finish(self) {
        let left = 2 * u64::from(self.left) + u64::from(self.key.is_some());
        if left > 0 {
            self.decoder.skip(left);
        }
    }
}

/// How a pair is called in a path.
#[cold]
fn in_pair(error: DecodeError, key: *const ss_value) -> DecodeError {
    // SAFETY: `key` is an entry of the run that is being read, which nobody else changes meanwhile.
    error.within(unsafe { KeySegment::new(&*key) })
}

impl<'de> MapAccess<'de> for Pairs<'_, '_> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        if self.key.take().is_some() {
            // The value of the last pair was of no interest.
            self.decoder.skip(1);
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let key = self.decoder.at().cast_const();
        self.key = Some(key);
        match self.decoder.one(seed) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(in_pair(error.of_key(), key)),
        }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let Some(key) = self.key.take() else { return Err(DecodeError::new("a value was asked for without its key")) };
        self.decoder.one(seed).map_err(|error| in_pair(error, key))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

/// A variant: its name alone, or a map of its name to its contents.
pub(super) struct Variant<'d, 'r> {
    decoder: &'d mut Decoder<'r>,
    contents: bool,
    name: *const ss_value,
}

impl<'d, 'r> Variant<'d, 'r> {
    /// The reader is before the name.
    pub(super) fn alone(decoder: &'d mut Decoder<'r>) -> Self {
        Variant { name: decoder.at(), decoder, contents: false }
    }

    /// The reader is before the name, and the contents follow.
    pub(super) fn with_contents(decoder: &'d mut Decoder<'r>) -> Self {
        Variant { name: decoder.at(), decoder, contents: true }
    }

    /// Reads the contents; of a name alone they are nothing.
    fn contents<T>(self, read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let result = if self.contents {
            read(self.decoder)
        } else {
            let mut nothing = NOTHING;
            read(&mut Decoder::nothing(&mut nothing))
        };
        result.map_err(|error| in_pair(error, self.name))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DecodeError> {
        let variant = self.decoder.one(seed)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        self.contents(|decoder| <()>::deserialize(decoder))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        self.contents(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.contents(|decoder| decoder.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        self.contents(|decoder| decoder.deserialize_map(visitor))
    }
}
