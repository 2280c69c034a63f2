//! A guest's run of values: its entries, what resolves those that are not data, and a cursor over them.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::DecodeError;
use super::decode::{Decoder, Source};
use super::fault::Shortened;
use super::number::number;
use crate::abi::{
    SS_CLAIMED, SS_INT, SS_LIST, SS_MAP, SS_NIL, SS_OBJECT, SS_STRING, ss_value, ss_value__bindgen_ty_1 as Payload,
};

/// Finds what a guest's entries that are not data stand for.
pub trait Resolver {
    /// The host object with this handle.
    fn object(&mut self, key: u64, class: u32) -> Result<Arc<dyn Any + Send + Sync>, String>;

    /// Takes over a function or a reference: sets `SS_CLAIMED` on the entry once the host is to release it.
    fn guest(&mut self, entry: &mut ss_value) -> Result<Arc<dyn Any + Send + Sync>, String>;
}

/// How an entry is read.
pub(super) trait Entry {
    /// Its tag, whether claimed or not.
    fn kind(&self) -> u32;

    /// The data of a string.
    ///
    /// # Safety
    ///
    /// The entry must be a string or bytes, and its data must be valid for `'a`.
    unsafe fn data<'a>(&self) -> &'a [u8];
}

impl Entry for ss_value {
    #[inline]
    fn kind(&self) -> u32 {
        self.tag & !SS_CLAIMED
    }

    #[inline]
    unsafe fn data<'a>(&self) -> &'a [u8] {
        if self.len == 0 {
            // The pointer may be null.
            return &[];
        }
        // SAFETY: the caller promises that the payload is a pointer to `len` bytes.
        unsafe { slice::from_raw_parts(self.as_.bytes.cast(), self.len as usize) }
    }
}

/// How many values follow inside this one.
#[inline]
pub(super) fn shape_of(entry: &ss_value) -> u64 {
    match entry.kind() {
        SS_LIST => u64::from(entry.len),
        SS_MAP => 2 * u64::from(entry.len),
        _ => 0,
    }
}

/// A key in a path: `.name`, `["another name"]`, `[7]`.
pub(super) enum KeySegment<'a> {
    Name(&'a str),
    Integer(i64),
    Other,
}

impl KeySegment<'_> {
    /// # Safety
    ///
    /// The entry must be part of a well-formed run that is valid for as long as the segment.
    pub(super) unsafe fn new(entry: &ss_value) -> Self {
        match entry.kind() {
            // SAFETY: the tag says that this is a string of a well-formed run.
            SS_STRING => str::from_utf8(unsafe { entry.data() }).map_or(KeySegment::Other, KeySegment::Name),
            // SAFETY: the tag says that the payload is an integer.
            SS_INT => KeySegment::Integer(unsafe { entry.as_.integer }),
            _ => KeySegment::Other,
        }
    }
}

impl fmt::Display for KeySegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySegment::Name(name) if is_plain(name) => write!(f, ".{name}"),
            KeySegment::Name(name) => write!(f, "[{:?}]", Shortened(name)),
            KeySegment::Integer(index) => write!(f, "[{index}]"),
            KeySegment::Other => f.write_str("[?]"),
        }
    }
}

/// Whether a name can stand in a path without quotes.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Absence, where there is no entry at all.
pub(super) const NOTHING: ss_value = ss_value { tag: SS_NIL, len: 0, as_: Payload { integer: 0 } };

/// A cursor over a guest's values: the arguments of a host call.
pub struct Run<'a> {
    at: *mut ss_value,
    left: u32,
    values: PhantomData<&'a mut [ss_value]>,
}

impl Run<'_> {
    /// A cursor before the first value.
    ///
    /// # Safety
    ///
    /// `values` must point to a well-formed run of `count` values that nobody else uses for `'a`.
    pub unsafe fn new(values: *mut ss_value, count: u32) -> Self {
        Run { at: values, left: count, values: PhantomData }
    }

    /// How many values are left.
    #[inline]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The handle that the next value is, if it is a host object.
    #[inline]
    pub fn object(&self) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: `left` is not 0, so that `at` is at a value of a well-formed run; the tag says that the payload is a key.
        unsafe { ((*self.at).kind() == SS_OBJECT).then(|| (*self.at).as_.key) }
    }

    /// Moves over a value that has been looked at and has no others inside.
    #[inline]
    pub fn pass_scalar(&mut self) {
        debug_assert!(self.left > 0);
        self.left -= 1;
        // SAFETY: there was a value of one entry.
        self.at = unsafe { self.at.add(1) };
    }

    #[cfg(test)]
    pub(super) fn position(&self) -> *mut ss_value {
        self.at
    }

    /// Decodes the next value and moves over it, if it is a number or a boolean and wanted as one.
    #[inline]
    pub fn number<T: DeserializeOwned>(&mut self) -> Option<T> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: `left` is not 0, so that `at` is at a value of a well-formed run.
        let value = number(unsafe { &*self.at })?;
        self.pass_scalar();
        Some(value)
    }

    /// Decodes the next value; nil if there is none. The cursor moves on in any case.
    #[inline]
    pub fn next<T: DeserializeOwned>(&mut self, resolver: &mut dyn Resolver) -> Result<T, DecodeError> {
        if self.left == 0 {
            return nothing();
        }
        self.left -= 1;
        // SAFETY: `left` was not 0, so that `at` is at a value of a well-formed run that is ours for `'a`.
        let mut decoder = unsafe { Decoder::new(self.at, Source::Guest(resolver)) };
        let result = decoder.one(PhantomData::<T>);
        self.at = decoder.at();
        result
    }
}

/// Decodes what is not there.
#[cold]
pub(super) fn nothing<T: DeserializeOwned>() -> Result<T, DecodeError> {
    let mut nothing = NOTHING;
    T::deserialize(&mut Decoder::nothing(&mut nothing))
}
