//! An owned run of values, encoded from Rust or copied from a guest.

mod building;

use std::any::Any;
use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use serde::Serialize;

pub(super) use self::building::Mark;
use super::attach::{Attachment, Kind};
use super::encode::{Encoder, Place};
use super::run::{Entry, Resolver, shape_of};
use super::{DecodeError, EncodeError};
use crate::Error;
use crate::abi::{
    SS_BOOL, SS_BYTES, SS_FLOAT, SS_FUNCTION, SS_INT, SS_LIST, SS_MAP, SS_NIL, SS_NULL, SS_OBJECT, SS_REFERENCE,
    SS_STRING, ss_value,
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

impl Flat {
    /// An empty run, without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the run and lets its attachments go; the buffers stay.
    #[inline]
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
        let attempt = self.attempt();
        value.serialize(Encoder { flat: &mut *attempt.flat, place, depth: 0 })?;
        attempt.keep();
        Ok(())
    }

    /// How many values there are, not counting those inside others.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The run, for a guest's shim, and how many values it has: valid until the `Flat` is changed or dropped. The shim may
    /// set `SS_CLAIMED` on objects.
    pub fn as_raw(&mut self) -> (*mut ss_value, u32) {
        (self.values.as_mut_ptr(), self.count)
    }

    /// All entries, if they are plain numbers, booleans, absence, or lists and maps of such: a copy of them needs nothing
    /// of the `Flat`.
    #[inline]
    pub fn numbers(&self) -> Option<&[ss_value]> {
        // An empty string leaves no bytes and its entry a pointer all the same.
        let plain = |entry: &ss_value| !matches!(entry.tag, SS_STRING | SS_BYTES);
        let found = self.bytes.is_empty() && self.attachments.is_empty() && self.values.len() <= 4;
        (found && self.values.iter().all(plain)).then_some(&self.values)
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

    /// Has `release` take back the keys of bound objects that the guest did not claim, each once.
    pub fn unbind(&mut self, mut release: impl FnMut(u64)) {
        for (index, _) in &self.attachments {
            let entry = &mut self.values[*index];
            // SAFETY: the tag says that the payload is a key; it is 0 until it is bound.
            if entry.tag == SS_OBJECT && unsafe { entry.as_.key } != 0 {
                // SAFETY: as above.
                release(unsafe { entry.as_.key });
                entry.as_.key = 0;
            }
        }
    }

    /// How much memory the buffers take.
    #[inline]
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
        let attempt = self.attempt();
        // SAFETY: the caller's promise is the same.
        unsafe { attempt.flat.copy_entries(values, count, resolver) }?;
        attempt.flat.count += count;
        attempt.keep();
        Ok(())
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
