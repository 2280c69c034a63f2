//! Guards below stacks, of two kinds.
//!
//! A **marker** (`MADV_GUARD_INSTALL`, Linux 6.13) lives in the page table: a million of them need no mapping. The
//! **protection** (`mprotect`) is for older kernels, locked memory and valgrind: each splits the reservation and takes two of
//! the process's mappings, so `vm.max_map_count` bounds it, at some 31,700 stacks by default. A process at that bound cannot
//! map anything any more, malloc included; so installation stops well before it, with an error that names the setting.
//! Pools of all threads share the bound, hence the process-wide count.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::{memory, valgrind};
use crate::{Error, Limit};

/// How a guard is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardKind {
    /// A marker in the page table.
    Marker,
    /// Pages without access rights.
    Protection,
}

/// Mappings left to the rest of the process, beyond those that it had when they were last counted.
const MAPS_LEFT: usize = 2_000;

/// A protected guard is a mapping, and cuts off another.
const MAPS_PER_GUARD: usize = 2;

/// Mappings that all protected guards of the process take.
static GUARD_MAPS: AtomicUsize = AtomicUsize::new(0);

/// The guards of one pool.
#[derive(Debug)]
pub(super) struct Guards {
    kind: GuardKind,
    protected: usize,
    /// The most that `GUARD_MAPS` may become, counted anew at every 1,024th guard of the pool.
    ceiling: usize,
}

impl Guards {
    /// With no kind asked for it is markers until the kernel refuses one.
    pub fn new(kind: Option<GuardKind>) -> Guards {
        // Valgrind does not know the markers' advice, and dies of the fault.
        let best = if valgrind::running() { GuardKind::Protection } else { GuardKind::Marker };
        Guards { kind: kind.unwrap_or(best), protected: 0, ceiling: 0 }
    }

    pub fn kind(&self) -> GuardKind {
        self.kind
    }

    /// Makes a guard.
    ///
    /// # Safety
    ///
    /// The range is part of the pool's reservation, in whole pages, and no stack uses it.
    pub unsafe fn install(&mut self, address: usize, size: usize) -> Result<(), Error> {
        if self.kind == GuardKind::Marker {
            // SAFETY: the caller's promise.
            match unsafe { memory::guard_install(address, size) } {
                Ok(()) => return Ok(()),
                // An old kernel, or somebody locked the process's memory: markers will not work from now on.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.kind = GuardKind::Protection,
                Err(source) => return Err(Error::System { what: "guard below a fiber's stack".into(), source }),
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.protect(address, size) }
    }

    unsafe fn protect(&mut self, address: usize, size: usize) -> Result<(), Error> {
        if self.protected.is_multiple_of(1_024) {
            self.ceiling = ceiling();
        }
        let taken = GUARD_MAPS.fetch_add(MAPS_PER_GUARD, Ordering::Relaxed);
        if taken + MAPS_PER_GUARD > self.ceiling {
            GUARD_MAPS.fetch_sub(MAPS_PER_GUARD, Ordering::Relaxed);
            return Err(too_many(taken));
        }
        // SAFETY: the caller's promise.
        if let Err(source) = unsafe { set_access(address, size, libc::PROT_NONE) } {
            GUARD_MAPS.fetch_sub(MAPS_PER_GUARD, Ordering::Relaxed);
            // Half of the split may have been made; with equal rights the parts become one mapping again. If even this
            // fails there is nothing left to undo.
            // SAFETY: the caller's promise; these are the rights that the reservation has.
            let _ = unsafe { set_access(address, size, libc::PROT_READ | libc::PROT_WRITE) };
            return Err(match source.raw_os_error() {
                Some(libc::ENOMEM) => too_many(taken),
                _ => Error::System { what: "guard below a fiber's stack".into(), source },
            });
        }
        self.protected += 1;
        Ok(())
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        GUARD_MAPS.fetch_sub(self.protected * MAPS_PER_GUARD, Ordering::Relaxed);
    }
}

fn ceiling() -> usize {
    let most = memory::max_map_count();
    let guards = GUARD_MAPS.load(Ordering::Relaxed);
    let others = memory::map_count().unwrap_or(0).saturating_sub(guards);
    most.saturating_sub(others).saturating_sub(MAPS_LEFT.min(most / 4))
}

/// `maps` are taken by guards already.
fn too_many(maps: usize) -> Error {
    Error::limit(Limit::Fibers, (maps / MAPS_PER_GUARD) as u64, "vm.max_map_count")
}

unsafe fn set_access(address: usize, size: usize, access: i32) -> io::Result<()> {
    // SAFETY: the callers' promise: the range is theirs.
    match unsafe { libc::mprotect(std::ptr::with_exposed_provenance_mut(address), size, access) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
