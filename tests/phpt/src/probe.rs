//! What csrc puts into PHP, and what it has counted.

use std::sync::Once;

mod c {
    use std::ffi::c_uint;

    unsafe extern "C" {
        pub safe fn phpt_install();
        pub safe fn phpt_copies(count: c_uint);
        pub fn phpt_turns(out: *mut u64);
        pub fn phpt_bounds(out: *mut u64);
    }
}

/// Puts the sink and the tests' functions into PHP: before the process's first engine is built.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| c::phpt_install());
}

/// So many fibers begin to write together: before they start.
pub fn line_up(copies: u32) {
    c::phpt_copies(copies);
}

/// Writes to the sink, and those that came from another fiber than the one before.
pub fn turns() -> [u64; 2] {
    let mut out = [0; 2];
    // SAFETY: room for both.
    unsafe { c::phpt_turns(out.as_mut_ptr()) };
    out
}

/// Upcalls made in requests, and those whose stack pointer lay outside of what the executor takes for its stack.
pub fn bounds() -> [u64; 2] {
    let mut out = [0; 2];
    // SAFETY: room for both.
    unsafe { c::phpt_bounds(out.as_mut_ptr()) };
    out
}
