//! How a run grows, entry by entry.

use std::fmt::{self, Write as _};

use super::Flat;
use crate::abi::{SS_BYTES, SS_FUNCTION, SS_OBJECT, SS_STRING, ss_value, ss_value__bindgen_ty_1 as Payload};
use crate::value::EncodeError;
use crate::value::attach::{Attachment, Kind};
use crate::value::run::KeySegment;

/// How much a [`Flat`] held at some point.
#[derive(Clone, Copy)]
pub(in crate::value) struct Mark {
    values: usize,
    bytes: usize,
    attachments: usize,
    count: u32,
}

/// Something that is being added: unless it is kept, the run is put back as it was, also when a panic passes through.
pub(in crate::value) struct Attempt<'f> {
    pub(in crate::value) flat: &'f mut Flat,
    start: Mark,
}

impl Attempt<'_> {
    #[inline]
    pub(in crate::value) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.flat.rollback(self.start);
    }
}

impl Flat {
    #[inline]
    pub(in crate::value) fn attempt(&mut self) -> Attempt<'_> {
        let start = self.mark();
        self.attempt_since(start)
    }

    /// As if the attempt had begun at `start`.
    #[inline]
    pub(in crate::value) fn attempt_since(&mut self, start: Mark) -> Attempt<'_> {
        Attempt { flat: self, start }
    }

    #[inline]
    pub(in crate::value) fn mark(&self) -> Mark {
        Mark {
            values: self.values.len(),
            bytes: self.bytes.len(),
            attachments: self.attachments.len(),
            count: self.count,
        }
    }

    /// Forgets what was added since.
    pub(in crate::value) fn rollback(&mut self, mark: Mark) {
        self.values.truncate(mark.values);
        self.bytes.truncate(mark.bytes);
        self.attachments.truncate(mark.attachments);
        self.count = mark.count;
    }

    /// Whether nothing was added since.
    #[inline]
    pub(in crate::value) fn unchanged(&self, mark: Mark) -> bool {
        self.values.len() == mark.values
    }

    /// Adds an entry: a scalar, or a head that [`Flat::set_len`] completes. Returns its index.
    #[inline]
    pub(in crate::value) fn entry(&mut self, tag: u32, as_: Payload) -> usize {
        self.values.push(ss_value { tag, len: 0, as_ });
        self.values.len() - 1
    }

    #[inline]
    pub(in crate::value) fn set_len(&mut self, head: usize, len: u32) {
        self.values[head].len = len;
    }

    /// One more value that is not inside another.
    #[inline]
    pub(in crate::value) fn count_one(&mut self) -> Result<(), EncodeError> {
        self.count = self.count.checked_add(1).ok_or_else(|| EncodeError::new("too many values"))?;
        Ok(())
    }

    /// Adds a string or bytes.
    #[inline]
    pub(in crate::value) fn string(&mut self, tag: u32, data: &[u8]) -> Result<(), EncodeError> {
        let len = string_len(data.len())?;
        let payload = self.keep(data);
        self.values.push(ss_value { tag, len, as_: payload });
        Ok(())
    }

    /// Adds the string that a value is displayed as.
    pub(in crate::value) fn display(&mut self, value: &dyn fmt::Display) -> Result<(), EncodeError> {
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
    pub(in crate::value) fn key_at(&self, start: Mark) -> KeySegment<'_> {
        // SAFETY: the pointers of our entries are valid.
        unsafe { KeySegment::new(&self.values[start.values]) }
    }

    /// Adds an entry for an attachment; what the guest sees is set when it is bound.
    pub(in crate::value) fn attach(&mut self, attachment: Attachment) {
        let tag = match attachment.kind() {
            Kind::Object => SS_OBJECT,
            Kind::Guest => SS_FUNCTION,
        };
        let index = self.entry(tag, Payload { key: 0 });
        self.attachments.push((index, attachment));
    }

    /// Copies string data.
    #[inline]
    pub(super) fn keep(&mut self, data: &[u8]) -> Payload {
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

#[cfg(test)]
mod tests {
    use super::string_len;

    #[test]
    fn long_strings() {
        assert_eq!(string_len(u32::MAX as usize).ok(), Some(u32::MAX));
        let error = string_len(1 << 32).expect_err("is refused");
        assert_eq!(error.to_string(), "a string of 4294967296 bytes is too long");
    }
}
