//! The 64 bits that C keeps.

use std::fmt;

const INDEX_BITS: u32 = 22;
const GENERATION_BITS: u32 = 32;

/// The most slots a table can have.
pub const MAX_SLOTS: usize = 1 << INDEX_BITS;
/// The most owners there can be.
pub const MAX_OWNERS: u32 = 1 << 10;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// Puts the parts together.
    #[inline]
    pub fn new(owner: u32, index: u32, generation: u32) -> Key {
        debug_assert!(owner < MAX_OWNERS && (index as usize) < MAX_SLOTS);
        Key(u64::from(owner) << (INDEX_BITS + GENERATION_BITS)
            | u64::from(index) << GENERATION_BITS
            | u64::from(generation))
    }

    /// The interpreter it belongs to.
    #[inline]
    pub fn owner(self) -> u32 {
        (self.0 >> (INDEX_BITS + GENERATION_BITS)) as u32
    }

    /// The slot.
    #[inline]
    pub fn index(self) -> usize {
        (self.0 >> GENERATION_BITS) as usize & (MAX_SLOTS - 1)
    }

    /// Which of the slot's successive objects.
    #[inline]
    pub fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl From<u64> for Key {
    fn from(bits: u64) -> Key {
        Key(bits)
    }
}

impl From<Key> for u64 {
    fn from(key: Key) -> u64 {
        key.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}:{}.{})", self.owner(), self.index(), self.generation())
    }
}
