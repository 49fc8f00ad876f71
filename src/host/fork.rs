//! A mark that a forked child does not inherit.
//!
//! # Soundness
//! - **I1** The mark owns one private anonymous page, zero until `new` writes to it, unmapped once on drop.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use std::io;

use crate::error::{ConfigError, Status};

const PAGE_BYTES: usize = 4096;

/// A page that reads one in this process and zero in its children.
pub(super) struct ForkMark {
    page: *mut AtomicU64,
}

// SAFETY: I1, an atomic may be used from any thread.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

impl ForkMark {
    /// Maps the page.
    pub(super) fn new() -> Result<Self, ConfigError> {
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let page = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                PAGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(ConfigError {
                status: Status::NoMemory,
                field: "cpu_bytes",
                value: PAGE_BYTES as u64,
                value_min: 0,
                value_max: PAGE_BYTES as u64,
                reason: "the system did not give one more page",
                os_error: io::Error::last_os_error().raw_os_error().unwrap_or(0),
            });
        }
        let mark = Self { page: page.cast() };
        // A kernel that does not know the advice (before 4.14) leaves children unmarked, and they are not told.
        // SAFETY: I1, the page is ours.
        unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) };
        mark.word().store(1, Ordering::Relaxed);
        Ok(mark)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: I1; zero is a valid atomic.
        unsafe { &*self.page }
    }

    /// Whether this process is a forked child of the one that made the mark.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        // Relaxed: only the kernel changes it, and only in a new process.
        self.word().load(Ordering::Relaxed) == 0
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: I1.
        unsafe { libc::munmap(self.page.cast(), PAGE_BYTES) };
    }
}
