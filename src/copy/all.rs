//! What works on every processor: the ordinary copy, which the compiler or the C library knows best, and the hint
//! that a line is wanted.
//!
//! # Soundness
//! The invariants are those of the parent module.

/// Copies `bytes` bytes through the cache.
///
/// # Safety
/// `source` is valid for reading `bytes` bytes, `target` for writing them, and they do not overlap.
#[inline(always)]
pub(super) unsafe fn copy(source: *const u8, target: *mut u8, bytes: usize) {
    // SAFETY: I2, the contract is this function's own.
    unsafe { core::ptr::copy_nonoverlapping(source, target, bytes) }
}

/// Asks for the cache line of an address ahead of its use, for reading, into the nearest cache.
///
/// Only a hint: any address will do, also one that is not mapped. Does nothing where the processor has no such
/// instruction.
#[inline(always)]
pub fn prefetch<T>(reference_address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    super::x86_64::prefetch(reference_address.cast());
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = reference_address;
}
