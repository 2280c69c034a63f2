//! One reservation of address space, cut into stacks that are used again and again.
//!
//! Free stacks form a LIFO list, so that the one used last, whose top is in the cache, is used next. The list is also what
//! tells which memory can go back to the system:
//!
//! ```text
//! free:   0 ......... cold ......... warm ......... len
//!         all given    top kept       as the fiber
//!         back         (16 KiB)       left it
//! ```
//!
//! Taking a stack moves the marks down with the length, giving one back adds it above them; so no stack needs a state of its
//! own. Giving memory back costs a system call for each stack (0.2 µs, 2 µs with all of it). It is therefore done in batches,
//! by the worker when it idles ([`StackPool::trim`]), and a little in every 1024th `put`, for workers that never idle.

use std::ptr::{self, NonNull};

use super::guard::{GuardKind, Guards};
use super::stack::{FiberStack, Layout, StackConfig};
use crate::sys::{memory, valgrind};
use crate::{Error, Limit};

/// The end of a free stack that stays in memory: most fibers need no more.
const WARM_TOP: usize = 16 << 10;
/// `put` trims once in this many calls,
const PUTS_PER_TRIM: u32 = 1024;
/// and then this many stacks (at most 130 µs).
const PUT_TRIMS: usize = 64;
/// The same for a call of `trim`.
const IDLE_TRIMS: usize = 64;

/// Stacks of one size. Made, used and dropped on one thread.
///
/// Dropping it unmaps every stack, also those that are still in use.
#[derive(Debug)]
pub struct StackPool {
    reservation: Reservation,
    layout: Layout,
    guards: Guards,
    capacity: u32,
    /// Slots below this one have their guard and have been handed out before.
    made: u32,
    free: Vec<u32>,
    /// `free[..cold]` hold no memory.
    cold: usize,
    /// `free[..warm]` hold at most their warm top.
    warm: usize,
    keep_warm: usize,
    puts: u32,
    /// Valgrind's numbers of the slots; `None` on a bare CPU.
    valgrind: Option<Vec<usize>>,
}

/// A pool in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Stacks that are handed out, lost ones included.
    pub in_use: usize,
    /// Stacks that were ever made: they have a guard.
    pub made: usize,
    /// The most there can be.
    pub capacity: usize,
    /// How guards are made now.
    pub guard: GuardKind,
}

/// What [`StackPool::trim`] left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Trimmed {
    /// Nothing.
    All,
    /// There is more: call again when nothing better is to do.
    More,
}

impl StackPool {
    /// Reserves address space for `capacity` stacks and makes the first one, which decides how guards are made.
    pub fn new(config: StackConfig) -> Result<StackPool, Error> {
        let layout = Layout::new(&config)?;
        let mut pool = StackPool {
            reservation: Reservation::new(layout.total)?,
            layout,
            guards: Guards::new(config.guard_kind),
            capacity: config.capacity.try_into().expect("Layout::new checked it"),
            made: 0,
            free: Vec::new(),
            cold: 0,
            warm: 0,
            keep_warm: config.keep_warm,
            puts: 0,
            valgrind: valgrind::running().then(Vec::new),
        };
        let first = pool.make()?;
        pool.free.push(first);
        Ok(pool)
    }

    /// A stack, the one given back last if there is a free one.
    ///
    /// Errors: [`Error::Limit`] with setting `fibers` when all are in use, with setting `vm.max_map_count` when this many
    /// guards are more than the system allows.
    #[inline]
    pub fn get(&mut self) -> Result<FiberStack, Error> {
        let index = match self.free.pop() {
            Some(index) => {
                self.cold = self.cold.min(self.free.len());
                self.warm = self.warm.min(self.free.len());
                index
            }
            None => self.make()?,
        };
        Ok(self.layout.stack(self.reservation.start(), index))
    }

    /// Takes a stack back.
    ///
    /// # Panics
    ///
    /// If it is another pool's.
    #[inline]
    pub fn put(&mut self, stack: FiberStack) {
        let index = stack.index();
        let ours = self.layout.stack(self.reservation.start(), index).limit();
        assert!(index < self.made && stack.limit() == ours, "a stack goes back to the pool that it came from");
        // `make` has reserved the room.
        self.free.push(index);
        self.puts = self.puts.wrapping_add(1);
        if self.puts.is_multiple_of(PUTS_PER_TRIM) {
            let _ = self.give_back(PUT_TRIMS, self.keep_warm);
        }
    }

    /// Gives memory of free stacks back to the system, some 64 stacks a call (up to 130 µs).
    pub fn trim(&mut self) -> Trimmed {
        self.give_back(IDLE_TRIMS, self.keep_warm)
    }

    /// The same, but every stack keeps its warm top: as many fibers as there were may come again.
    pub fn trim_below_tops(&mut self) -> Trimmed {
        self.give_back(IDLE_TRIMS, usize::MAX)
    }

    /// The pool in numbers.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            in_use: self.made as usize - self.free.len(),
            made: self.made as usize,
            capacity: self.capacity as usize,
            guard: self.guards.kind(),
        }
    }

    /// Guards the next slot.
    #[cold]
    fn make(&mut self) -> Result<u32, Error> {
        let index = self.made;
        if index == self.capacity {
            let value = u64::from(self.capacity);
            return Err(Error::limit(Limit::Fibers, value, "fibers"));
        }
        let stack = self.layout.stack(self.reservation.start(), index);
        // SAFETY: the slot lies within the reservation because index < capacity, and nobody was given it before.
        unsafe { self.guards.install(stack.limit(), self.layout.guard)? };
        if let Some(ids) = &mut self.valgrind {
            ids.push(valgrind::register_stack(stack.usable_limit(), stack.limit() + self.layout.slot()));
        }
        self.made += 1;
        self.free.reserve(self.made as usize - self.free.len());
        Ok(index)
    }

    #[cold]
    fn give_back(&mut self, stacks: usize, keep_warm: usize) -> Trimmed {
        let unwanted = self.free.len().saturating_sub(keep_warm);
        for _ in 0..stacks {
            if self.cold < unwanted {
                self.discard(self.free[self.cold], self.layout.size);
                self.cold += 1;
                self.warm = self.warm.max(self.cold);
            } else if self.warm < self.free.len() {
                self.discard(self.free[self.warm], self.layout.size.saturating_sub(WARM_TOP));
                self.warm += 1;
            } else {
                return Trimmed::All;
            }
        }
        Trimmed::More
    }

    /// Gives back the lowest `size` usable bytes of a free stack.
    fn discard(&self, index: u32, size: usize) {
        if size > 0 {
            let lowest = self.layout.stack(self.reservation.start(), index).usable_limit();
            // It fails for locked memory, which then stays: what the one who locked it asked for.
            // SAFETY: the stack is free, so nobody misses its contents; sizes are whole pages (`Layout`).
            let _ = unsafe { memory::discard(lowest, size) };
        }
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        for &id in self.valgrind.iter().flatten() {
            valgrind::deregister_stack(id);
        }
    }
}

/// Mapped address space; memory comes when it is touched.
#[derive(Debug)]
struct Reservation {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: it owns the mapping, and only hands out addresses.
unsafe impl Send for Reservation {}

impl Reservation {
    fn new(size: usize) -> Result<Reservation, Error> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // MAP_STACK keeps huge pages away: with them one touched byte takes 2 MiB.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: a new mapping at an address that the system picks.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            let source = std::io::Error::last_os_error();
            let what = format!(
                "{size} bytes of address space for fibers' stacks (setting: fibers; see also ulimit -v and \
                 vm.overcommit_memory)"
            );
            return Err(Error::System { what, source });
        }
        start.expose_provenance();
        Ok(Reservation { start: NonNull::new(start.cast()).expect("no mapping is at 0"), size })
    }

    #[inline]
    fn start(&self) -> usize {
        self.start.addr().get()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and of this size. Whoever runs on one of its stacks has promised that the pool
        // outlives that (`Coroutine::new`).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests;
