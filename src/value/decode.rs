//! The deserializer that reads a run of values, entry by entry.

mod compound;
mod deserializer;

use std::any::Any;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Visitor};

pub(super) use self::compound::Items;
use self::compound::Pairs;
use super::attach::{Attachment, Kind};
use super::run::{Entry, Resolver, shape_of};
use super::{DEPTH_LIMIT, DecodeError};
use crate::abi::{
    SS_BOOL, SS_BYTES, SS_FLOAT, SS_FUNCTION, SS_INT, SS_LIST, SS_MAP, SS_NIL, SS_NULL, SS_OBJECT, SS_REFERENCE,
    SS_STRING, ss_value,
};

/// What finds the attachments of a run.
pub(super) enum Source<'r> {
    /// The run is a guest's.
    Guest(&'r mut dyn Resolver),
    /// The run is a [`Flat`](super::Flat) with these entries and attachments.
    Flat(*const ss_value, &'r [(usize, Attachment)]),
    /// There is no run.
    Nothing,
}

/// Reads the value at a place in a run.
///
/// Each of the methods below moves behind the value or, if it fails, perhaps not at all; it never ends up inside. So
/// the reader keeps its place among the values even if a visitor gives up early or ignores an error.
pub(super) struct Decoder<'r> {
    /// At an entry of a well-formed run; or behind the last one, and then it is not read.
    at: *mut ss_value,
    source: Source<'r>,
    depth: u32,
}

impl<'r> Decoder<'r> {
    /// # Safety
    ///
    /// `at` must point to a value of a well-formed run that nobody else changes while this reader lives. It must not be
    /// asked for more values than the run has from there on.
    #[inline]
    pub(super) unsafe fn new(at: *mut ss_value, source: Source<'r>) -> Self {
        Decoder { at, source, depth: 0 }
    }

    /// A reader of a value that is not there: `entry` must be nil.
    pub(super) fn nothing(entry: &'r mut ss_value) -> Self {
        debug_assert_eq!(entry.kind(), SS_NIL);
        Decoder { at: entry, source: Source::Nothing, depth: 0 }
    }

    /// Where it is now.
    #[inline]
    pub(super) fn at(&self) -> *mut ss_value {
        self.at
    }

    #[inline]
    fn entry(&self) -> &ss_value {
        // SAFETY: `at` is at an entry whenever a value is to be read.
        unsafe { &*self.at }
    }

    /// Moves over an entry whose contents have been read, or into a list or a map.
    #[inline]
    fn advance(&mut self) {
        // SAFETY: `at` is at an entry, so that this leads to the next one or one past the end.
        self.at = unsafe { self.at.add(1) };
    }

    /// Reads exactly one value: moves behind it also after an error, and also if the seed has not looked at it.
    #[inline]
    pub(super) fn one<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let start = self.at;
        let result = seed.deserialize(&mut *self);
        if self.at == start {
            self.skip(1);
        }
        result
    }

    /// Moves over this many values.
    #[inline(never)]
    pub(super) fn skip(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            left = left - 1 + shape_of(self.entry());
            self.advance();
        }
    }

    /// Moves into a list or a map.
    #[inline]
    fn enter(&mut self) -> Result<(), DecodeError> {
        if self.depth == DEPTH_LIMIT {
            return Err(DecodeError::too_deep());
        }
        self.depth += 1;
        self.advance();
        Ok(())
    }

    /// The error of having found something else.
    #[cold]
    fn expected(&self, what: &str) -> DecodeError {
        let found = match self.entry().kind() {
            SS_NIL if matches!(self.source, Source::Nothing) => {
                return DecodeError::new(format_args!("expected {what}, got nothing"));
            }
            SS_NIL => "nil",
            SS_NULL => "null",
            SS_BOOL => "a boolean",
            SS_INT | SS_FLOAT => "a number",
            SS_STRING => "a string",
            SS_BYTES => "bytes",
            SS_LIST => "a list",
            SS_MAP => "a map",
            SS_FUNCTION => "a function",
            SS_REFERENCE => "a reference",
            SS_OBJECT => "a host object",
            _ => "a value of an unknown kind",
        };
        DecodeError::new(format_args!("expected {what}, found {found}"))
    }

    /// Whether there is nil or null, and moves over it then.
    #[inline]
    pub(super) fn absent(&mut self) -> bool {
        let absent = matches!(self.entry().kind(), SS_NIL | SS_NULL);
        if absent {
            self.advance();
        }
        absent
    }

    #[inline]
    fn integer(&mut self) -> Result<i64, DecodeError> {
        let entry = self.entry();
        if entry.kind() != SS_INT {
            return self.integral();
        }
        // SAFETY: the tag says that the payload is an integer.
        let integer = unsafe { entry.as_.integer };
        self.advance();
        Ok(integer)
    }

    /// A float that is an integer: guests without integers have no other.
    fn integral(&mut self) -> Result<i64, DecodeError> {
        const END: f64 = 9_223_372_036_854_775_808.0;
        if self.entry().kind() != SS_FLOAT {
            return Err(self.expected("a number"));
        }
        // SAFETY: the tag says that the payload is a number.
        let number = unsafe { self.entry().as_.number };
        if number.trunc() != number {
            return Err(DecodeError::new(format_args!("expected an integer, found {number}")));
        }
        if !(-END..END).contains(&number) {
            return Err(DecodeError::new(format_args!("{number} is out of range for an integer")));
        }
        self.advance();
        Ok(number as i64)
    }

    #[inline]
    fn number(&mut self) -> Result<f64, DecodeError> {
        let entry = self.entry();
        let number = match entry.kind() {
            // SAFETY: the tag says that the payload is a number.
            SS_FLOAT => unsafe { entry.as_.number },
            // SAFETY: the tag says that the payload is an integer.
            SS_INT => unsafe { entry.as_.integer as f64 },
            _ => return Err(self.expected("a number")),
        };
        self.advance();
        Ok(number)
    }

    /// The data of a string entry.
    #[inline]
    fn data<'a>(&mut self) -> &'a [u8] {
        debug_assert!(matches!(self.entry().kind(), SS_STRING | SS_BYTES));
        // SAFETY: only called at a string or at bytes; the data belongs to the run, which outlives this reader, and is
        // not kept beyond a visit.
        let data = unsafe { self.entry().data() };
        self.advance();
        data
    }

    #[inline]
    fn text<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.entry().kind() != SS_STRING {
            return Err(self.expected("a string"));
        }
        match str::from_utf8(self.data()) {
            Ok(text) => visitor.visit_str(text),
            Err(_) => Err(DecodeError::new("expected a string, found one that is not UTF-8")),
        }
    }

    /// Reads a list; with fewer items than the `wanted` ones the rest is nothing.
    #[inline]
    fn list<'de, V: Visitor<'de>>(&mut self, wanted: usize, visitor: V) -> Result<V::Value, DecodeError> {
        let entry = self.entry();
        let len = match entry.kind() {
            SS_LIST => entry.len,
            // Guests that cannot tell an empty list from an empty map may say either.
            SS_MAP if entry.len == 0 => 0,
            _ => return Err(self.expected("a list")),
        };
        self.enter()?;
        let mut items = Items::new(self, len, wanted);
        let result = visitor.visit_seq(&mut items);
        let read = items.finish();
        self.depth -= 1;
        match result {
            Ok(_) if read < len => Err(surplus(read, len)),
            result => result,
        }
    }

    #[inline]
    fn map<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        let entry = self.entry();
        let len = match entry.kind() {
            SS_MAP => entry.len,
            SS_LIST if entry.len == 0 => 0,
            _ => return Err(self.expected("a map")),
        };
        self.enter()?;
        let mut pairs = Pairs::new(self, len);
        let result = visitor.visit_map(&mut pairs);
        pairs.finish();
        self.depth -= 1;
        result
    }

    /// Reads a value that is not data.
    fn attachment(&mut self, kind: Kind) -> Result<Arc<dyn Any + Send + Sync>, DecodeError> {
        let found = match self.entry().kind() {
            SS_OBJECT => Some(Kind::Object),
            SS_FUNCTION | SS_REFERENCE => Some(Kind::Guest),
            _ => None,
        };
        if found != Some(kind) {
            return Err(self.expected(kind.noun()));
        }
        let shared = match (&mut self.source, kind) {
            (Source::Guest(resolver), Kind::Object) => {
                // SAFETY: `at` is at an entry, and the tag says that its payload is a key.
                let (key, class) = unsafe { ((*self.at).as_.key, (*self.at).len) };
                resolver.object(key, class).map_err(DecodeError::new)?
            }
            (Source::Guest(resolver), Kind::Guest) => {
                // SAFETY: `at` is at an entry of a run that is ours alone.
                resolver.guest(unsafe { &mut *self.at }).map_err(DecodeError::new)?
            }
            (Source::Flat(first, attachments), _) => {
                let index = (self.at.addr() - first.addr()) / size_of::<ss_value>();
                let found = attachments.binary_search_by_key(&index, |(index, _)| *index);
                let found = found.map_err(|_| DecodeError::new("nothing is attached here"))?;
                attachments[found].1.shared()
            }
            (Source::Nothing, _) => return Err(self.expected(kind.noun())),
        };
        self.advance();
        Ok(shared)
    }
}

#[cold]
fn surplus(wanted: u32, found: u32) -> DecodeError {
    DecodeError::new(format_args!("expected a list of {wanted} items, found {found}"))
}
