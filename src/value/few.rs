//! The short way for results that are a number or two: straight into the frame of the guest's call, without a buffer.
//!
//! It writes what [`Flat::push_args`](super::Flat::push_args) would, or says that this is nothing for it.

use std::fmt::{self, Display};
use std::mem::MaybeUninit;

use serde::ser::{Impossible, Serialize, SerializeTuple, Serializer};

use super::attach::{self, Kind};
use crate::abi::{SS_BOOL, SS_FEW, SS_FLOAT, SS_INT, SS_NIL, ss_value, ss_value__bindgen_ty_1 as Payload};

/// Where the entries go.
pub type Few = [MaybeUninit<ss_value>; SS_FEW as usize];

/// Writes a value, or the items of a tuple, if they are few plain numbers, booleans or absent; how many.
#[inline]
pub fn few<T: Serialize + ?Sized>(values: &T, to: &mut Few) -> Option<u32> {
    let mut count = 0;
    values.serialize(Writer { to, count: &mut count, whole: true }).ok()?;
    Some(count)
}

/// Not a few numbers.
#[derive(Debug)]
struct Other;

impl Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a few numbers")
    }
}

impl std::error::Error for Other {}

impl serde::ser::Error for Other {
    fn custom<T: Display>(_: T) -> Self {
        Other
    }
}

struct Writer<'a> {
    to: &'a mut Few,
    count: &'a mut u32,
    /// The value is all results: a tuple is several, `()` none.
    whole: bool,
}

impl Writer<'_> {
    #[inline]
    fn entry(self, tag: u32, as_: Payload) -> Result<(), Other> {
        let entry = self.to.get_mut(*self.count as usize).ok_or(Other)?;
        entry.write(ss_value { tag, len: 0, as_ });
        *self.count += 1;
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident: $integer:ty),*) => {$(
        #[inline]
        fn $method(self, value: $integer) -> Result<(), Other> {
            let integer = i64::try_from(value).map_err(|_| Other)?;
            self.entry(SS_INT, Payload { integer })
        }
    )*};
}

macro_rules! others {
    ($($method:ident($($argument:ty),*) -> $result:ty;)*) => {$(
        #[inline]
        fn $method(self, $(_: $argument),*) -> Result<$result, Other> {
            Err(Other)
        }
    )*};
}

type Never = Impossible<(), Other>;

impl Serializer for Writer<'_> {
    type Ok = ();
    type Error = Other;
    type SerializeSeq = Never;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);
    others! {
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Other> {
        self.entry(SS_BOOL, Payload { integer: value.into() })
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Other> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, number: f64) -> Result<(), Other> {
        self.entry(SS_FLOAT, Payload { number })
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Other> {
        self.entry(SS_NIL, Payload { integer: 0 })
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Other> {
        value.serialize(Writer { whole: false, ..self })
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Other> {
        if self.whole { Ok(()) } else { self.entry(SS_NIL, Payload { integer: 0 }) }
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Other> {
        if Kind::named(name).is_none() {
            return value.serialize(self);
        }
        // What was laid ready for it would be the next one's.
        drop(attach::take());
        Err(Other)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Other> {
        Err(Other)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self, Other> {
        if self.whole && len <= SS_FEW as usize { Ok(self) } else { Err(Other) }
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Other> {
        Err(Other)
    }
}

impl SerializeTuple for Writer<'_> {
    type Ok = ();
    type Error = Other;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Other> {
        value.serialize(Writer { to: self.to, count: self.count, whole: false })
    }

    #[inline]
    fn end(self) -> Result<(), Other> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Flat;

    /// Both ways write the same, or the short one declines.
    fn agree<T: Serialize>(value: &T) -> Option<u32> {
        let mut to: Few = [MaybeUninit::uninit(); SS_FEW as usize];
        let count = few(value, &mut to)?;
        let mut flat = Flat::new();
        flat.push_args(value).expect("it can be encoded");
        assert_eq!(flat.count(), count);
        let entries = flat.numbers().expect("numbers only");
        assert_eq!(entries.len(), count as usize);
        for (short, long) in to.iter().zip(entries) {
            // SAFETY: `few` wrote that many; integers and numbers alike are eight bytes.
            let same = unsafe {
                let short = short.assume_init_ref();
                (short.tag, short.len, short.as_.key) == (long.tag, long.len, long.as_.key)
            };
            assert!(same, "tag {}", long.tag);
        }
        Some(count)
    }

    #[test]
    fn what_is_few_and_what_is_not() {
        assert_eq!(agree(&()), Some(0));
        assert_eq!(agree(&((), 1)), Some(2));
        assert_eq!(agree(&Some(2.5_f32)), Some(1));
        assert_eq!(agree(&(None::<i32>, true)), Some(2));
        assert_eq!(agree(&[1_u8, 2]), Some(2));
        assert_eq!(agree(&u64::MAX), None);
        assert_eq!(agree(&(1, 2, 3)), None);
        assert_eq!(agree(&(1, (2, 3))), None);
        assert_eq!(agree(&Some((1, 2))), None);
        assert_eq!(agree(&"text"), None);
        assert_eq!(agree(&vec![1]), None);
        assert_eq!(agree(&(1, "text")), None);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_ever(a: i64, b: f64, c: Option<bool>, d: u32) {
            prop_assert_eq!(agree(&a), Some(1));
            prop_assert_eq!(agree(&(b, a)), Some(2));
            prop_assert_eq!(agree(&(c, d)), Some(2));
        }
    }
}
