//! An owned run of values, encoded from Rust or copied from a guest.

use std::any::Any;
use std::fmt::{self, Write as _};
use std::mem::size_of;
use std::sync::Arc;

use serde::Serialize;

use super::attach::{Attachment, Kind};
use super::encode::{Encoder, Place};
use super::run::{Entry, KeySegment, Resolver, shape_of};
use super::{DecodeError, EncodeError};
use crate::Error;
use crate::abi::{
    SS_BOOL, SS_BYTES, SS_FLOAT, SS_FUNCTION, SS_INT, SS_LIST, SS_MAP, SS_NIL, SS_NULL, SS_OBJECT, SS_REFERENCE,
    SS_STRING, ss_value, ss_value__bindgen_ty_1 as Payload,
};

/// An owned run of values, in the form that a guest's shim reads.
///
/// What is pushed stays valid where it is when the `Flat` is moved. Cleared, it keeps its buffers, so that encoding into
/// a `Flat` that has been used before does not allocate.
#[derive(Default)]
pub struct Flat {
    /// Complete values, in pre-order. The pointers of string entries lead into `bytes`, and into nothing else.
    values: Vec<ss_value>,
    /// The data of all strings.
    bytes: Vec<u8>,
    /// What is not data, with the index of its entry; in the order of the entries.
    attachments: Vec<(usize, Attachment)>,
    /// How many of the values are not inside another.
    count: u32,
}

// SAFETY: the pointers in `values` lead into the heap buffer that `bytes` owns and that moves along with it; everything
// else in an entry is a plain number, and attachments are `Send + Sync`.
unsafe impl Send for Flat {}

/// How much a [`Flat`] held at some point.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    values: usize,
    bytes: usize,
    attachments: usize,
    count: u32,
}

impl Flat {
    /// An empty run, without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the run and lets its attachments go; the buffers stay.
    pub fn clear(&mut self) {
        self.values.clear();
        self.bytes.clear();
        self.attachments.clear();
        self.count = 0;
    }

    /// Adds one value. After an error the run is as before.
    #[inline]
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.encode(value, Place::Top)
    }

    /// Adds a list of arguments or results: the items of a tuple (or of a fixed-size array, which serde takes for one),
    /// nothing for `()`, one value for anything else. After an error the run is as before.
    #[inline]
    pub fn push_args<T: Serialize + ?Sized>(&mut self, values: &T) -> Result<(), EncodeError> {
        self.encode(values, Place::Arguments)
    }

    #[inline]
    fn encode<T: Serialize + ?Sized>(&mut self, value: &T, place: Place) -> Result<(), EncodeError> {
        let mark = self.mark();
        let result = value.serialize(Encoder { flat: self, place, depth: 0 });
        if result.is_err() {
            self.rollback(mark);
        }
        result
    }

    /// How many values there are, not counting those inside others.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The run, for a guest's shim, and how many values it has: valid until the `Flat` is changed or dropped.
    pub fn as_raw(&self) -> (*const ss_value, u32) {
        (self.values.as_ptr(), self.count)
    }

    /// The entries, and what is attached to which of them.
    pub(super) fn parts(&self) -> (&[ss_value], &[(usize, Attachment)]) {
        (&self.values, &self.attachments)
    }

    /// Whether there is anything that is not data.
    pub fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// What is not data, in order.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().map(|(_, attachment)| attachment)
    }

    /// Has `fill` set what the entry of each attachment says to the guest: nil, or a function, reference or object with
    /// its key.
    pub fn bind(&mut self, mut fill: impl FnMut(&Attachment, &mut ss_value) -> Result<(), Error>) -> Result<(), Error> {
        for (index, attachment) in &self.attachments {
            // Filled in as a copy: an entry that said something else would break the shape of the run.
            let mut entry = self.values[*index];
            fill(attachment, &mut entry)?;
            match entry.kind() {
                SS_NIL | SS_FUNCTION | SS_REFERENCE | SS_OBJECT => self.values[*index] = entry,
                tag => {
                    let message = format!("an attachment was bound as a value with tag {tag}");
                    return Err(Error::Convert { place: "a bound value".into(), message });
                }
            }
        }
        Ok(())
    }

    /// How much memory the buffers take.
    pub fn capacity_bytes(&self) -> usize {
        self.values.capacity() * size_of::<ss_value>()
            + self.bytes.capacity()
            + self.attachments.capacity() * size_of::<(usize, Attachment)>()
    }

    /// Adds a copy of a guest's run; its functions, references and host objects become attachments. After an error the
    /// run is as before.
    ///
    /// # Safety
    ///
    /// `values` must point to a well-formed run of `count` values that nobody else uses during the call.
    pub unsafe fn copy_run(
        &mut self,
        values: *mut ss_value,
        count: u32,
        resolver: &mut dyn Resolver,
    ) -> Result<(), DecodeError> {
        let mark = self.mark();
        // SAFETY: the caller's promise is the same.
        let result = unsafe { self.copy_entries(values, count, resolver) };
        match result {
            Ok(()) => self.count += count,
            Err(_) => self.rollback(mark),
        }
        result
    }

    /// # Safety
    ///
    /// As for [`Flat::copy_run`].
    unsafe fn copy_entries(
        &mut self,
        mut at: *mut ss_value,
        count: u32,
        resolver: &mut dyn Resolver,
    ) -> Result<(), DecodeError> {
        if self.count.checked_add(count).is_none() {
            return Err(DecodeError::new("too many values"));
        }
        let mut left = u64::from(count);
        while left > 0 {
            // SAFETY: `left` counts the values that the heads so far have announced, so that `at` is within the run.
            let entry = unsafe { &mut *at };
            // SAFETY: that was not the last one, or `at` is one past the end now.
            at = unsafe { at.add(1) };
            left -= 1;
            match entry.kind() {
                tag @ (SS_STRING | SS_BYTES) => {
                    // SAFETY: a string entry of a well-formed run.
                    let (data, len) = (unsafe { entry.data() }, entry.len);
                    let payload = self.keep(data);
                    self.values.push(ss_value { tag, len, as_: payload });
                }
                SS_FUNCTION | SS_REFERENCE => {
                    let shared = resolver.guest(entry).map_err(DecodeError::new)?;
                    self.attach(Attachment::new(Kind::Guest, shared));
                }
                SS_OBJECT => {
                    // SAFETY: the tag says that the payload is a key.
                    let shared = resolver.object(unsafe { entry.as_.key }, entry.len).map_err(DecodeError::new)?;
                    self.attach(Attachment::new(Kind::Object, shared));
                }
                tag @ (SS_LIST | SS_MAP) => {
                    left += shape_of(entry);
                    self.values.push(ss_value { tag, ..*entry });
                }
                tag @ (SS_NIL | SS_NULL | SS_BOOL | SS_INT | SS_FLOAT) => {
                    self.values.push(ss_value { tag, ..*entry });
                }
                tag => return Err(DecodeError::new(format_args!("a value with the unknown tag {tag}"))),
            }
        }
        Ok(())
    }
}

/// What the encoder builds with.
impl Flat {
    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark {
            values: self.values.len(),
            bytes: self.bytes.len(),
            attachments: self.attachments.len(),
            count: self.count,
        }
    }

    /// Forgets what was added since.
    pub(super) fn rollback(&mut self, mark: Mark) {
        self.values.truncate(mark.values);
        self.bytes.truncate(mark.bytes);
        self.attachments.truncate(mark.attachments);
        self.count = mark.count;
    }

    /// Whether nothing was added since.
    #[inline]
    pub(super) fn unchanged(&self, mark: Mark) -> bool {
        self.values.len() == mark.values
    }

    /// Adds an entry: a scalar, or a head that [`Flat::set_len`] completes. Returns its index.
    #[inline]
    pub(super) fn entry(&mut self, tag: u32, as_: Payload) -> usize {
        self.values.push(ss_value { tag, len: 0, as_ });
        self.values.len() - 1
    }

    #[inline]
    pub(super) fn set_len(&mut self, head: usize, len: u32) {
        self.values[head].len = len;
    }

    /// One more value that is not inside another.
    #[inline]
    pub(super) fn count_one(&mut self) -> Result<(), EncodeError> {
        self.count = self.count.checked_add(1).ok_or_else(|| EncodeError::new("too many values"))?;
        Ok(())
    }

    /// Adds a string or bytes.
    #[inline]
    pub(super) fn string(&mut self, tag: u32, data: &[u8]) -> Result<(), EncodeError> {
        let len = string_len(data.len())?;
        let payload = self.keep(data);
        self.values.push(ss_value { tag, len, as_: payload });
        Ok(())
    }

    /// Adds the string that a value is displayed as.
    pub(super) fn display(&mut self, value: &dyn fmt::Display) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        let written = write!(Text(self), "{value}");
        written.map_err(|_| EncodeError::new("the value cannot be displayed"))?;
        let len = string_len(self.bytes.len() - start)?;
        // SAFETY: `start` is within the buffer, or at its end.
        let payload = Payload { bytes: unsafe { self.bytes.as_ptr().add(start) }.cast() };
        self.values.push(ss_value { tag: SS_STRING, len, as_: payload });
        Ok(())
    }

    /// How the key that starts here is called in a path.
    pub(super) fn key_at(&self, start: Mark) -> KeySegment<'_> {
        // SAFETY: the pointers of our entries are valid.
        unsafe { KeySegment::new(&self.values[start.values]) }
    }

    /// Adds an entry for an attachment; what the guest sees is set when it is bound.
    pub(super) fn attach(&mut self, attachment: Attachment) {
        let tag = match attachment.kind() {
            Kind::Object => SS_OBJECT,
            Kind::Guest => SS_FUNCTION,
        };
        let index = self.entry(tag, Payload { key: 0 });
        self.attachments.push((index, attachment));
    }

    /// Copies string data.
    #[inline]
    fn keep(&mut self, data: &[u8]) -> Payload {
        if data.len() > self.bytes.capacity() - self.bytes.len() {
            self.grow(data.len());
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        // SAFETY: `start` is within the buffer, or at its end.
        Payload { bytes: unsafe { self.bytes.as_ptr().add(start) }.cast() }
    }

    /// Makes room for more string data and leads all pointers into the new buffer.
    #[cold]
    fn grow(&mut self, additional: usize) {
        let old = self.bytes.as_ptr().addr();
        self.bytes.reserve(additional);
        let new = self.bytes.as_ptr();
        for entry in &mut self.values {
            if matches!(entry.tag, SS_STRING | SS_BYTES) {
                // SAFETY: the tag says that the payload is a pointer; all of ours led into the old buffer, whose
                // contents are at the same offset in the new one.
                entry.as_.bytes = unsafe { new.add(entry.as_.bytes.addr() - old) }.cast();
            }
        }
    }
}

/// Appends to the string data.
struct Text<'f>(&'f mut Flat);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.keep(text.as_bytes());
        Ok(())
    }
}

#[inline]
fn string_len(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len).map_err(|_| EncodeError::new(format_args!("a string of {len} bytes is too long")))
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flat")
            .field("count", &self.count)
            .field("entries", &self.values.len())
            .field("bytes", &self.bytes.len())
            .field("attachments", &self.attachments.len())
            .finish()
    }
}

/// Resolves nothing: for runs that cannot contain anything but data.
impl Resolver for () {
    fn object(&mut self, _: u64, _: u32) -> Result<Arc<dyn Any + Send + Sync>, String> {
        Err("a host object is not allowed here".into())
    }

    fn guest(&mut self, _: &mut ss_value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        Err("a function is not allowed here".into())
    }
}
