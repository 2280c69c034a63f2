//! x86-64: the floating-point environment, and how valgrind is addressed.

use std::arch::asm;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// What a switch saves of the floating-point environment. The x87 status word is not among it: nothing that compilers
/// emit for `float` and `double` sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Float {
    /// SSE: control bits (rounding, masks, flush to zero) and the sticky exception flags.
    mxcsr: u32,
    /// x87 control word: rounding, precision, masks (`long double` uses it).
    x87_control: u16,
}

/// The bits of mxcsr that are sticky flags, set by arithmetic. The others control it.
const MXCSR_FLAGS: u32 = 0x3f;

impl Float {
    /// What a new thread starts with (System V x86-64 ABI, section 3.4.1): round to nearest, all exceptions masked.
    pub const FRESH: Float = Float { mxcsr: 0x1f80, x87_control: 0x37f };

    /// The calling thread's environment now.
    #[inline]
    pub fn read() -> Float {
        let (mut mxcsr, mut x87_control) = (0_u32, 0_u16);
        // SAFETY: both instructions only store to the operand, which is a local of the size that they write.
        unsafe {
            asm!(
                "stmxcsr [{mxcsr}]",
                "fnstcw [{x87}]",
                mxcsr = in(reg) &raw mut mxcsr,
                x87 = in(reg) &raw mut x87_control,
                options(nostack, preserves_flags),
            );
        }
        Float { mxcsr, x87_control }
    }

    /// Makes this the environment, flags included. `now` is what [`Float::read`] would give: where they agree nothing
    /// is written, since a write stalls the pipeline and a comparison does not.
    ///
    /// # Safety
    ///
    /// Rust assumes the default environment: unless `self` has its control bits, no Rust floating-point code may run
    /// before they are back.
    #[inline]
    pub unsafe fn load(self, now: Float) {
        if self.mxcsr != now.mxcsr {
            // SAFETY: the caller's promise; a value that was read, or FRESH, has no reserved bit.
            unsafe { write_mxcsr(self.mxcsr) };
        }
        if self.x87_control != now.x87_control {
            // SAFETY: the caller's promise.
            unsafe { write_x87_control(self.x87_control) };
        }
    }

    /// Like [`Float::load`] for code that never looks at the sticky flags, as Rust's: they stay as they are in `now`. So
    /// a fiber that has rounded once does not cost a write at every switch.
    ///
    /// # Safety
    ///
    /// As for [`Float::load`].
    #[inline]
    pub unsafe fn load_control(self, now: Float) {
        let mxcsr = (self.mxcsr & !MXCSR_FLAGS) | (now.mxcsr & MXCSR_FLAGS);
        // SAFETY: the caller's promise; both halves were read from the register, so no reserved bit is set.
        unsafe { Float { mxcsr, ..self }.load(now) };
    }

    /// Whether the rounding mode and masks that C's fenv.h sets are still these. It looks at the x87 control word, which
    /// those functions always set along with mxcsr: reading that costs nothing, reading mxcsr 4 to 5 ns (AMD EPYC).
    #[inline]
    pub fn same_fenv_now(self) -> bool {
        let mut x87_control = 0_u16;
        // SAFETY: it only stores two bytes to the operand, a local of that size.
        unsafe { asm!("fnstcw [{}]", in(reg) &raw mut x87_control, options(nostack, preserves_flags)) };
        self.x87_control == x87_control
    }
}

#[cold]
unsafe fn write_mxcsr(value: u32) {
    // SAFETY: reads a local; the caller of `load` answers for the new environment.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, readonly, preserves_flags)) };
}

#[cold]
unsafe fn write_x87_control(value: u16) {
    // SAFETY: reads a local; the caller of `load` answers for the new environment. fnclex first: an exception flag that
    // another fiber left behind would raise SIGFPE at the next x87 instruction if this word unmasks it.
    unsafe { asm!("fnclex", "fldcw [{}]", in(reg) &raw const value, options(nostack, readonly, preserves_flags)) };
}

/// Has the cache fetch these bytes, at most 1 KiB of them. Any address will do: nothing is read as far as the program can
/// tell.
#[inline]
pub fn prefetch(address: usize, size: usize) {
    const LINE: usize = 64;
    let mut at = address & !(LINE - 1);
    let end = address.saturating_add(size.min(1024));
    while at < end {
        // SAFETY: a hint that does not fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(at)) };
        at += LINE;
    }
}

/// Sends valgrind a request. On a bare CPU the instructions do nothing (the rotations add up to 128 bits) and `default`
/// comes back. From valgrind.h: arguments at rax, default and result in rdx.
#[inline]
pub fn valgrind_request(default: usize, arguments: &[usize; 6]) -> usize {
    let result;
    // SAFETY: rdi and rbx end as they began, only the flags change; valgrind reads the six words at rax.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            inout("rdx") default => result,
            in("rax") arguments.as_ptr(),
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_UP: Float = Float { mxcsr: 0x5f80, x87_control: 0xb7f };

    #[test]
    fn load_and_read_agree() {
        let before = Float::read();
        // SAFETY: the environment is put back below, with no floating-point code between.
        unsafe { ROUND_UP.load(before) };
        let loaded = Float::read();
        // SAFETY: this is the environment that the thread had.
        unsafe { before.load(loaded) };
        assert_eq!(loaded, ROUND_UP);
        assert_eq!(Float::read(), before);
    }

    #[test]
    fn load_control_leaves_the_flags() {
        let before = Float::read();
        let flagged = Float { mxcsr: 0x5f80 | 0x20, ..ROUND_UP };
        // SAFETY: the environment is put back below, with no floating-point code between.
        unsafe { flagged.load(before) };
        // SAFETY: FRESH has the default control bits.
        unsafe { Float::FRESH.load_control(flagged) };
        let mixed = Float::read();
        // SAFETY: this is the environment that the thread had.
        unsafe { before.load(mixed) };
        assert_eq!(mixed, Float { mxcsr: 0x1fa0, ..Float::FRESH });
        assert!(before.same_fenv_now() && !ROUND_UP.same_fenv_now());
    }
}
