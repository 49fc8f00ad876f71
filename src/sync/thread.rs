//! A number that differs between threads, for choosing a stripe of cache lines.
//!
//! # Soundness
//! - **I1** Under Linux every thread of a process with a C library has its thread pointer in `fs:0` (x86-64 ELF TLS
//!   ABI, variant II: the word at the thread pointer holds the thread pointer) or in `tpidr_el0` (AArch64); reading it
//!   has no effect.
#![allow(unsafe_code)]

/// A number of the calling thread: the same for its whole life, different from that of every other living thread where
/// the platform has a thread pointer. Costs one load; no system call, nothing is allocated.
#[inline]
pub(crate) fn number() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        let pointer: u64;
        // SAFETY: I1.
        unsafe {
            core::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly, pure));
        }
        pointer
    }
    #[cfg(all(target_arch = "aarch64", target_os = "linux"))]
    {
        let pointer: u64;
        // SAFETY: I1.
        unsafe {
            core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem, pure));
        }
        pointer
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_os = "linux")))]
    {
        // Stacks lie apart, so an address on the stack tells threads from each other well enough to spread them.
        let local = 0u8;
        (&raw const local as usize as u64) >> 16
    }
}

/// The calling thread's stripe among `count`, a power of two.
#[inline]
pub(crate) fn stripe(count: u64) -> usize {
    // Fibonacci hashing: thread pointers are multiples of a page or so apart, their low bits say nothing.
    let mixed = (number() >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 32) & (count - 1)) as usize
}
