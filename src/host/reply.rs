//! Buffers for what goes to the guest, kept for reuse: a steady state allocates none.

use std::cell::RefCell;

use crate::value::Flat;

/// More than this many idle buffers, or larger ones than this, are given back to the allocator.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 64 << 10;

thread_local! {
    // Boxed as they are everywhere: a run's address is what the shim keeps.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is reused")]
    static IDLE: RefCell<Vec<Box<Flat>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
#[inline]
pub fn take() -> Box<Flat> {
    IDLE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives a buffer back. Drops the attachments in it, which may run a host object's `Drop`: call it behind the fence if
/// there are any.
#[inline]
pub fn give(mut flat: Box<Flat>) {
    flat.clear();
    if flat.capacity_bytes() <= KEPT_BYTES {
        IDLE.with_borrow_mut(|idle| {
            if idle.len() < KEPT {
                idle.push(flat);
            }
        });
    }
}
