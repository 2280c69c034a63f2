//! Lists, maps and argument lists while they are being written.
//!
//! An item or a pair that fails is taken back, so that the run keeps its shape even if the failure is ignored.

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant,
};

use super::{Encoder, Place};
use crate::abi::SS_STRING;
use crate::value::EncodeError;
use crate::value::flat::{Flat, Mark};

/// The items of a list, or the values of a call.
pub(in crate::value) struct Items<'f> {
    flat: &'f mut Flat,
    /// The entry of the list; none for the values of a call.
    head: Option<usize>,
    len: u32,
    depth: u32,
}

impl<'f> Items<'f> {
    #[inline]
    pub(super) fn list(flat: &'f mut Flat, head: usize, depth: u32) -> Self {
        Items { flat, head: Some(head), len: 0, depth }
    }

    #[inline]
    pub(super) fn arguments(flat: &'f mut Flat, depth: u32) -> Self {
        Items { flat, head: None, len: 0, depth }
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let attempt = self.flat.attempt();
        let place = if self.head.is_some() { Place::Item } else { Place::Top };
        let len = one_more(self.len)?;
        let result = value.serialize(Encoder { flat: &mut *attempt.flat, place, depth: self.depth });
        if let Err(error) = result {
            return Err(error.in_item(self.len as usize));
        }
        attempt.keep();
        self.len = len;
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<(), EncodeError> {
        if let Some(head) = self.head {
            self.flat.set_len(head, self.len);
        }
        Ok(())
    }
}

/// The pairs of a map.
pub(in crate::value) struct Pairs<'f> {
    flat: &'f mut Flat,
    head: usize,
    len: u32,
    depth: u32,
    /// Where the pair starts whose key is written and whose value is not.
    open: Option<Mark>,
}

impl<'f> Pairs<'f> {
    #[inline]
    pub(super) fn new(flat: &'f mut Flat, head: usize, depth: u32) -> Self {
        Pairs { flat, head, len: 0, depth, open: None }
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), EncodeError> {
        let start = self.flat.mark();
        self.flat.string(SS_STRING, name.as_bytes())?;
        self.value(start, value)
    }

    /// Writes the value of the pair that starts at `start`; without a value there is no pair.
    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, start: Mark, value: &T) -> Result<(), EncodeError> {
        let mark = self.flat.mark();
        let attempt = self.flat.attempt_since(start);
        let len = one_more(self.len)?;
        let encoder = Encoder { flat: &mut *attempt.flat, place: Place::Paired, depth: self.depth };
        if let Err(error) = value.serialize(encoder) {
            return Err(error.within(attempt.flat.key_at(start)));
        }
        if !attempt.flat.unchanged(mark) {
            attempt.keep();
            self.len = len;
        }
        Ok(())
    }

    #[inline]
    fn finish(mut self) -> Result<(), EncodeError> {
        if let Some(start) = self.open.take() {
            self.flat.rollback(start);
            return Err(EncodeError::new("a key without a value"));
        }
        self.flat.set_len(self.head, self.len);
        Ok(())
    }
}

#[inline]
fn one_more(len: u32) -> Result<u32, EncodeError> {
    len.checked_add(1).ok_or_else(|| EncodeError::new("too many items"))
}

macro_rules! items {
    ($($interface:ident::$method:ident),*) => {$(
        impl $interface for Items<'_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.item(value)
            }

            #[inline]
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    )*};
}

items!(SerializeSeq::serialize_element, SerializeTuple::serialize_element);
items!(SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field);

macro_rules! fields {
    ($($interface:ident),*) => {$(
        impl $interface for Pairs<'_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.field(name, value)
            }

            #[inline]
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Pairs<'_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        if let Some(start) = self.open.take() {
            self.flat.rollback(start);
            return Err(EncodeError::new("a key without a value"));
        }
        let start = self.flat.mark();
        let attempt = self.flat.attempt();
        let result = key.serialize(Encoder { flat: &mut *attempt.flat, place: Place::Key, depth: self.depth });
        result.map_err(EncodeError::of_key)?;
        attempt.keep();
        self.open = Some(start);
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let start = self.open.take().ok_or_else(|| EncodeError::new("a value without a key"))?;
        self.value(start, value)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}
