//! Guard markers in page tables, and the numbers that bound address space.

use std::ffi::c_int;
use std::io;

/// Linux 6.13; in `asm-generic/mman-common.h`, not yet in libc.
const MADV_GUARD_INSTALL: c_int = 102;

/// Makes every access to these pages fault, without a mapping of their own: a marker in each page table entry. EINVAL
/// from a kernel before 6.13 and for locked memory.
///
/// # Safety
///
/// The pages belong to the caller, who gives up what they hold; `address` and `size` are page-aligned.
pub unsafe fn guard_install(address: usize, size: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { advise(address, size, MADV_GUARD_INSTALL) }
}

/// Gives the memory of these pages back to the system; they read as zero afterwards. Markers stay.
///
/// # Safety
///
/// As for [`guard_install`].
pub unsafe fn discard(address: usize, size: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { advise(address, size, libc::MADV_DONTNEED) }
}

unsafe fn advise(address: usize, size: usize, advice: c_int) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(address), size, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes in a page.
pub fn page_size() -> usize {
    // SAFETY: sysconf has no precondition.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("every Linux knows its page size")
}

/// How many mappings a process may have (`vm.max_map_count`; its default where /proc cannot be read).
pub fn max_map_count() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65_530)
}

/// How many mappings this process has now; `None` where /proc cannot be read.
pub fn map_count() -> Option<usize> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    Some(maps.iter().filter(|&&byte| byte == b'\n').count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discarded_pages_read_as_zero() {
        let size = page_size();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, only used here.
        unsafe {
            let page = libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            page.cast::<u8>().write(1);
            discard(page.addr(), size).unwrap();
            assert_eq!(page.cast::<u8>().read(), 0);
            libc::munmap(page, size);
        }
    }
}
