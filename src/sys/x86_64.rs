//! x86-64: the floating-point environment, the switch between stacks and the move to another one, and how valgrind is addressed.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::arch::{asm, naked_asm};
use std::ffi::c_void;
use std::ptr;

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

const MXCSR_FRESH: u32 = 0x1f80;
const X87_FRESH: u16 = 0x37f;

impl Float {
    /// What a new thread starts with (System V x86-64 ABI, section 3.4.1): round to nearest, all exceptions masked.
    pub const FRESH: Float = Float { mxcsr: MXCSR_FRESH, x87_control: X87_FRESH };

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

    /// This with the control bits that a new thread has; the sticky flags are what they are.
    #[inline]
    pub fn fresh_control(self) -> Float {
        Float { mxcsr: MXCSR_FRESH | (self.mxcsr & MXCSR_FLAGS), x87_control: X87_FRESH }
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

/// What [`ss_move_to`] calls: the first argument is its own.
pub type Moved = unsafe extern "C" fn(*mut c_void, usize, usize, usize, usize) -> i64;

/// Calls `body(place, a, b, c, d)` on the stack whose free end `*place` is, with fenv.h's rounding mode and masks as a new
/// thread has them, and comes back with what it returns. C calls it (csrc/way_in.h).
///
/// The frame pointer leads back, so debuggers and unwinders walk from `body` into the caller. Guest code that changed its
/// rounding mode is known by the x87 control word, which fenv.h always sets along with mxcsr: reading that costs nothing,
/// reading mxcsr 4 to 5 ns (AMD EPYC).
///
/// # Safety
///
/// `*place` is 16-byte aligned and below it lies a stack that nobody uses, with room for `body`. The call is sound, and
/// returns normally: nothing unwinds or jumps out of it.
#[unsafe(naked)]
// With the sanitizer C calls one that tells it of the move, and then calls this: src/fiber/switch.rs.
#[cfg_attr(not(feature = "sanitizer"), unsafe(no_mangle))]
pub unsafe extern "C" fn ss_move_to(place: *mut c_void, a: usize, b: usize, c: usize, d: usize, body: Moved) -> i64 {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "sub rsp, 16",
        "fnstcw [rsp]",
        "cmp word ptr [rsp], {control}",
        "jne 2f",
        "mov rsp, [rdi]",
        // For valgrind: it notes the stack pointer at accesses to memory only, and takes what lies below another stack's for
        // unused until the pointer moves over it, the red zone too.
        "mov rax, [rdi]",
        "sub rsp, 128",
        "call r9",
        "leave",
        ".cfi_remember_state",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_restore_state",
        // The guest's own mode: put aside, and back afterwards. fnclex: see `write_x87_control`.
        "2:",
        "stmxcsr [rsp + 4]",
        "mov word ptr [rsp + 8], {control}",
        "mov dword ptr [rsp + 12], {mxcsr}",
        "fnclex",
        "fldcw [rsp + 8]",
        "ldmxcsr [rsp + 12]",
        "mov rsp, [rdi]",
        "mov rax, [rdi]",
        "sub rsp, 128",
        "call r9",
        "fnclex",
        "fldcw [rbp - 16]",
        "ldmxcsr [rbp - 12]",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        control = const X87_FRESH,
        mxcsr = const MXCSR_FRESH,
    )
}

/// Leaves this stack and goes on where another one was left, at `to`. Returns when somebody comes back, with the place
/// where he left his own; 0 from a stack that has ended.
///
/// The two words at such a place are a frame, which leads debuggers on. Both ways are jumps. A call and a return would be two that the CPU
/// predicts wrong, some 7 ns each: it predicts returns by the calls before them, and here those are of the other stack.
///
/// # Safety
///
/// `to` was returned by this, or made by [`prepare`], and has not been gone to since. What the thread does there, until somebody
/// comes back here, may be done in the middle of the caller.
#[inline(always)]
pub unsafe fn switch(to: usize) -> usize {
    let from;
    // SAFETY: of the registers that code may use, rbx and rbp are kept on the stack, all others are told. What else happens is
    // the caller's promise.
    unsafe {
        asm!(
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            "push rbp",
            "mov rax, rsp",
            "mov rsp, rdx",
            "pop rbp",
            "pop rdx",
            "jmp rdx",
            "2:",
            "pop rbx",
            inout("rdx") to => _,
            out("rax") from,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            clobber_abi("sysv64"),
        );
    }
    from
}

/// Makes a place for [`switch`] to go to, at the top of a stack: there `entry(data)` runs, and when it returns the stack has
/// ended. `*host` is where the other stack was left, which the stack's code goes back to; the first switch to it sets that.
///
/// # Safety
///
/// The stack, whose `base` is 16-byte aligned, is nobody's; `host` outlives it.
#[inline]
pub unsafe fn prepare(
    base: usize,
    host: *mut usize,
    entry: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
) -> usize {
    let place: *mut [usize; 4] = ptr::with_exposed_provenance_mut(base - 32);
    // SAFETY: the caller's promise.
    unsafe {
        place.write([host.expose_provenance(), begin as *const () as usize, data.expose_provenance(), entry as usize])
    };
    place.addr()
}

/// Where a stack begins: `switch` comes here with `host` in rbp, which is then the frame that leads to the other stack, and what
/// [`prepare`] has written on the stack.
#[unsafe(naked)]
unsafe extern "C" fn begin() {
    naked_asm!(
        ".cfi_startproc",
        // So that debuggers take it that the next frame may be anywhere.
        ".cfi_signal_frame",
        // The caller's frame is where the other stack was left: *rbp, and above it the three words that `switch` pushed.
        ".cfi_escape 0x0f, 5, 0x76, 0, 0x06, 0x23, 24",
        ".cfi_offset rbx, -8",
        ".cfi_offset rip, -16",
        ".cfi_offset rbp, -24",
        "mov [rbp], rax",
        "pop rdi",
        "pop rax",
        "call rax",
        "xor eax, eax",
        "mov rsp, [rbp]",
        "pop rbp",
        "pop rdx",
        "jmp rdx",
        ".cfi_endproc",
    )
}

/// The stack pointer of the function that this is inlined into.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: it only reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Asks for so many cache lines, from that of `address` on. They need not be anybody's.
#[inline(always)]
pub fn prefetch<const LINES: usize>(address: usize) {
    for line in 0..LINES {
        // SAFETY: a prefetch of any address is allowed: it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr::without_provenance(address + 64 * line)) };
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
    fn fresh_control_leaves_the_flags() {
        let flagged = Float { mxcsr: 0x5f80 | 0x20, ..ROUND_UP };
        assert_eq!(flagged.fresh_control(), Float { mxcsr: 0x1fa0, ..Float::FRESH });
    }
}
