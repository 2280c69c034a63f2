//! Allocations of guest code that fail (`csrc/failing.c`).

use std::ffi::c_long;
use std::ops::Range;

unsafe extern "C" {
    fn failing_set(from: c_long, to: c_long);
    fn failing_count() -> c_long;
    fn failing_failed() -> c_long;
}

/// Those of these numbers fail from now on, counted from 1. Nothing of a guest may run meanwhile.
pub fn set(numbers: Range<i64>) {
    // SAFETY: it sets numbers that only guest code reads, and none runs.
    unsafe { failing_set(numbers.start, numbers.end) }
}

/// None fails any more; how many there were since [`set`], and how many failed.
pub fn end() -> (i64, i64) {
    // SAFETY: as above.
    unsafe {
        let counts = (failing_count(), failing_failed());
        failing_set(0, 0);
        counts
    }
}
