//! Calls of the C library on the thread pool.

use std::ptr::NonNull;

use crate::error::HostResult;
use crate::host::args::Args;

/// `ss_work` of csrc/hooks/hooks.h: its first fields.
#[repr(C)]
struct Raw {
    run: Option<unsafe extern "C" fn(*mut Raw)>,
    forget: Option<unsafe extern "C" fn(*mut Raw)>,
    owed: i32,
}

unsafe extern "C" {
    fn ss_work_hold(work: *mut Raw);
    fn ss_work_end(work: *mut Raw);
    fn ss_work_run(work: *mut Raw);
}

/// A call to be made, held.
pub struct Work(NonNull<Raw>);

// SAFETY: it is run once, by whoever comes first, and freed by whoever holds it last (csrc/hooks/work.c); neither is bound to
// a thread.
unsafe impl Send for Work {}

impl Work {
    /// The one whose address is the argument.
    ///
    /// # Safety
    ///
    /// The caller holds it.
    pub unsafe fn take(args: &mut Args<'_>) -> HostResult<Work> {
        let address = args.take::<i64>()? as usize;
        let work = NonNull::new(address as *mut Raw).ok_or_else(|| anyhow::anyhow!("no work"))?;
        // SAFETY: it lives (the caller's contract), and does so as long as we hold it.
        unsafe { ss_work_hold(work.as_ptr()) };
        Ok(Work(work))
    }

    /// Makes the call on the pool.
    pub async fn done(self) {
        blocking::unblock(move || self.run()).await;
    }

    fn run(&self) {
        // SAFETY: we hold it, and `owed` is ours to write. No fiber is current on a pool's thread, so that what it calls is
        // not caught again.
        unsafe {
            ss_work_run(self.0.as_ptr());
            (*self.0.as_ptr()).owed = 0;
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let raw = self.0.as_ptr();
        // SAFETY: we hold it; C sets the field before we have it.
        let owed = unsafe { std::mem::take(&mut (*raw).owed) } != 0;
        if owed {
            // Its fiber is gone before the pool came to it.
            let again = Work(self.0);
            blocking::unblock(move || again.run()).detach();
        } else {
            // SAFETY: as above; it is not used again.
            unsafe { ss_work_end(raw) }
        }
    }
}
