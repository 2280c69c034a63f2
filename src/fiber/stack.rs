//! What a stack is, and how stacks are asked for.
//!
//! ```text
//! limit            usable_limit                                       base      slot end
//!   │  guard: faults  │   usable, grows downwards ◄────────────────────│ colour  │
//! ```

use super::guard::GuardKind;
use crate::Error;
use crate::error::refused;
use crate::sys::memory::page_size;

/// Tops differ by this much from slot to slot, so that the hot ends of many stacks do not share cache sets: at 1,000
/// fibers it halves the cost of a resume.
const COLOUR_STEP: usize = 128;
const COLOURS: usize = 16;

/// The smallest stack: one that can run a C library's own functions (printf takes about 8 KiB).
const MIN_SIZE: usize = 16 << 10;

/// What a [`super::StackPool`] is made of.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Bytes that a fiber can use, less up to 1,920 by which tops are staggered. Rounded up to pages; at least 16 KiB.
    pub size: usize,
    /// How many stacks there can be.
    pub capacity: usize,
    /// Bytes below each stack that fault when touched. Rounded up to pages. 64 KiB leaves room for stepping out of a
    /// libc function that overflowed.
    pub guard: usize,
    /// How guards are made; `None`: the best that works here.
    pub guard_kind: Option<GuardKind>,
    /// How many free stacks keep the memory at their top; those beyond give all of it back.
    pub keep_warm: usize,
}

impl Default for StackConfig {
    fn default() -> Self {
        StackConfig { size: 256 << 10, capacity: 10_000, guard: 64 << 10, guard_kind: None, keep_warm: 256 }
    }
}

/// A stack of a pool: a plain token, given back by [`super::StackPool::put`]. One that is dropped is lost to its pool,
/// which is what happens to the stacks of fibers that can never end.
#[derive(Debug)]
#[must_use = "dropping it loses it to its pool"]
pub struct FiberStack {
    base: usize,
    limit: usize,
    usable_limit: usize,
    index: u32,
}

impl FiberStack {
    /// The highest address: the stack grows down from here. Aligned to 128 bytes.
    pub fn base(&self) -> usize {
        self.base
    }

    /// The lowest address, guard included.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The lowest address that can be used: the end of the guard.
    pub fn usable_limit(&self) -> usize {
        self.usable_limit
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }
}

/// The same for every slot of a pool, in whole pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub guard: usize,
    pub size: usize,
    /// All slots together.
    pub total: usize,
}

impl Layout {
    pub fn new(config: &StackConfig) -> Result<Layout, Error> {
        let page = page_size();
        if config.size < MIN_SIZE {
            return Err(refuse(format!("a fiber's stack of {} bytes: the least is {MIN_SIZE}", config.size)));
        }
        if config.guard == 0 {
            return Err(refuse("a fiber's stack needs a guard of at least one byte".into()));
        }
        if config.capacity == 0 || u32::try_from(config.capacity).is_err() {
            return Err(refuse(format!("{} fibers: it must be 1 to {}", config.capacity, u32::MAX)));
        }
        let pages = |bytes: usize| bytes.checked_next_multiple_of(page);
        let sizes = || {
            let (guard, size) = (pages(config.guard)?, pages(config.size)?);
            let total = guard.checked_add(size)?.checked_mul(config.capacity)?;
            isize::try_from(total).ok().map(|_| Layout { guard, size, total })
        };
        sizes().ok_or_else(|| refuse(format!("{} stacks of {} bytes: too large", config.capacity, config.size)))
    }

    /// Bytes of a slot.
    #[inline]
    pub fn slot(&self) -> usize {
        self.guard + self.size
    }

    /// The stack in slot `index` of a reservation at `start`.
    #[inline]
    pub fn stack(&self, start: usize, index: u32) -> FiberStack {
        let limit = start + index as usize * self.slot();
        let base = limit + self.slot() - COLOUR_STEP * (index as usize % COLOURS);
        FiberStack { base, limit, usable_limit: limit + self.guard, index }
    }
}

fn refuse(message: String) -> Error {
    Error::Refused { name: refused::BAD_SETTING, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_pages() {
        let layout = Layout::new(&StackConfig { size: 16_385, guard: 1, ..StackConfig::default() }).unwrap();
        assert_eq!((layout.size, layout.guard), (16_384 + page_size(), page_size()));
        assert_eq!(layout.total, layout.slot() * 10_000);
    }

    #[test]
    fn tops_are_staggered_within_the_slot() {
        let layout = Layout::new(&StackConfig::default()).unwrap();
        for index in 0..40 {
            let stack = layout.stack(1 << 30, index);
            let end = (1 << 30) + (index as usize + 1) * layout.slot();
            assert_eq!(stack.base(), end - 128 * (index as usize % 16));
            assert_eq!(stack.base() % 16, 0);
            assert_eq!(stack.usable_limit() - stack.limit(), 64 << 10);
        }
    }

    #[test]
    fn senseless_settings_are_refused_by_name() {
        let bad = [
            StackConfig { size: 8 << 10, ..StackConfig::default() },
            StackConfig { guard: 0, ..StackConfig::default() },
            StackConfig { capacity: 0, ..StackConfig::default() },
            StackConfig { size: usize::MAX, ..StackConfig::default() },
            StackConfig { size: usize::MAX / 8, ..StackConfig::default() },
        ];
        for config in bad {
            assert_eq!(Layout::new(&config).unwrap_err().code(), Some(refused::BAD_SETTING), "{config:?}");
        }
    }
}
