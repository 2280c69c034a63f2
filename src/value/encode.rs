//! The serializer that writes into a [`Flat`].

mod compound;

use std::fmt::Display;

use serde::{Serialize, Serializer};

use self::compound::{Items, Pairs};
use super::attach::{self, Kind};
use super::flat::Flat;
use super::{DEPTH_LIMIT, EncodeError};
use crate::abi::{
    SS_BOOL, SS_BYTES, SS_FLOAT, SS_INT, SS_LIST, SS_MAP, SS_NIL, SS_NULL, SS_STRING, ss_value__bindgen_ty_1 as Payload,
};

/// Where a value stands; absence looks different from place to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The values of a call: a tuple is several of them, `()` is none.
    Arguments,
    /// One of the values of a call, or a value on its own.
    Top,
    /// An item of a list.
    Item,
    /// The key of a pair.
    Key,
    /// The value of a pair, which is left out if it is absent.
    Paired,
}

/// Writes one value.
pub(super) struct Encoder<'f> {
    pub(super) flat: &'f mut Flat,
    pub(super) place: Place,
    pub(super) depth: u32,
}

impl<'f> Encoder<'f> {
    /// To be called once for each value that is written.
    #[inline]
    fn arrive(&mut self) -> Result<(), EncodeError> {
        match self.place {
            Place::Arguments | Place::Top => self.flat.count_one(),
            _ => Ok(()),
        }
    }

    #[inline]
    fn scalar(mut self, tag: u32, payload: Payload) -> Result<(), EncodeError> {
        self.arrive()?;
        self.flat.entry(tag, payload);
        Ok(())
    }

    #[inline]
    fn string(mut self, tag: u32, data: &[u8]) -> Result<(), EncodeError> {
        self.arrive()?;
        self.flat.string(tag, data)
    }

    /// Starts a list or a map.
    #[inline]
    fn head(mut self, tag: u32) -> Result<(&'f mut Flat, usize, u32), EncodeError> {
        if self.place == Place::Key {
            return Err(not_a_key(if tag == SS_LIST { "a list" } else { "a map" }));
        }
        if self.depth == DEPTH_LIMIT {
            return Err(EncodeError::too_deep());
        }
        self.arrive()?;
        let head = self.flat.entry(tag, Payload { integer: 0 });
        Ok((self.flat, head, self.depth + 1))
    }

    #[inline]
    fn items(self) -> Result<Items<'f>, EncodeError> {
        let (flat, head, depth) = self.head(SS_LIST)?;
        Ok(Items::list(flat, head, depth))
    }

    #[inline]
    fn pairs(self) -> Result<Pairs<'f>, EncodeError> {
        let (flat, head, depth) = self.head(SS_MAP)?;
        Ok(Pairs::new(flat, head, depth))
    }

    /// Starts what follows the name of a variant, in a map of its own.
    #[inline]
    fn variant(self, variant: &'static str) -> Result<Encoder<'f>, EncodeError> {
        let (flat, head, depth) = self.head(SS_MAP)?;
        flat.set_len(head, 1);
        flat.string(SS_STRING, variant.as_bytes())?;
        Ok(Encoder { flat, place: Place::Item, depth })
    }
}

#[cold]
fn not_a_key(what: &str) -> EncodeError {
    EncodeError::new(format_args!("{what} cannot be the key of a map"))
}

#[cold]
fn too_large(number: impl Display) -> EncodeError {
    EncodeError::new(format_args!("{number} does not fit into a signed 64-bit integer"))
}

macro_rules! integers {
    ($($method:ident: $integer:ty),*) => {$(
        #[inline]
        fn $method(self, value: $integer) -> Result<(), EncodeError> {
            self.scalar(SS_INT, Payload { integer: i64::from(value) })
        }
    )*};
}

macro_rules! wide_integers {
    ($($method:ident: $integer:ty),*) => {$(
        #[inline]
        fn $method(self, value: $integer) -> Result<(), EncodeError> {
            match i64::try_from(value) {
                Ok(integer) => self.scalar(SS_INT, Payload { integer }),
                Err(_) => Err(too_large(value)),
            }
        }
    )*};
}

impl<'f> Serializer for Encoder<'f> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Items<'f>;
    type SerializeTuple = Items<'f>;
    type SerializeTupleStruct = Items<'f>;
    type SerializeTupleVariant = Items<'f>;
    type SerializeMap = Pairs<'f>;
    type SerializeStruct = Pairs<'f>;
    type SerializeStructVariant = Pairs<'f>;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32);
    wide_integers!(serialize_u64: u64, serialize_i128: i128, serialize_u128: u128);

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.scalar(SS_BOOL, Payload { integer: value.into() })
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, number: f64) -> Result<(), EncodeError> {
        self.scalar(SS_FLOAT, Payload { number })
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.string(SS_STRING, value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.string(SS_BYTES, value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), EncodeError> {
        match self.place {
            Place::Paired => Ok(()),
            Place::Arguments | Place::Top => self.scalar(SS_NIL, Payload { integer: 0 }),
            Place::Item => self.scalar(SS_NULL, Payload { integer: 0 }),
            Place::Key => Err(not_a_key("None")),
        }
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), EncodeError> {
        if self.place == Place::Arguments {
            self.place = Place::Top;
        }
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), EncodeError> {
        match self.place {
            Place::Arguments => Ok(()),
            Place::Top => self.scalar(SS_NIL, Payload { integer: 0 }),
            Place::Item | Place::Paired => self.scalar(SS_NULL, Payload { integer: 0 }),
            Place::Key => Err(not_a_key("()")),
        }
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        let Some(kind) = Kind::named(name) else { return value.serialize(self) };
        if self.place == Place::Key {
            return Err(not_a_key(kind.noun()));
        }
        let attachment = attach::take().filter(|attachment| attachment.kind() == kind);
        let attachment = attachment.ok_or_else(|| EncodeError::new("an attachment without its contents"))?;
        self.arrive()?;
        self.flat.attach(attachment);
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self.variant(variant)?).map_err(|error| error.within(format_args!(".{variant}")))
    }

    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'f>, EncodeError> {
        self.items()
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Items<'f>, EncodeError> {
        if self.place == Place::Arguments { Ok(Items::arguments(self.flat, self.depth)) } else { self.items() }
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'f>, EncodeError> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'f>, EncodeError> {
        self.variant(variant)?.items()
    }

    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Pairs<'f>, EncodeError> {
        self.pairs()
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Pairs<'f>, EncodeError> {
        self.pairs()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Pairs<'f>, EncodeError> {
        self.variant(variant)?.pairs()
    }

    fn collect_str<T: Display + ?Sized>(mut self, value: &T) -> Result<(), EncodeError> {
        self.arrive()?;
        self.flat.display(&value)
    }
}
