//! Memory on huge pages for what the engine is compared with, so that pages of another size are never the difference.
//!
//! # Soundness
//! - **I1** [`Pages`] owns exactly the range that `mmap` returned, readable and writable, zero at first, and unmaps it
//!   once, on drop.
//! - **I2** An [`Element`] is valid for any bits and has no padding, and the range starts at a page, which is more
//!   alignment than any element asks for.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use kvcache::Key;

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What can lie in [`Pages`].
///
/// # Safety
/// Valid for any bits, no padding, no more aligned than a page.
pub unsafe trait Element: Copy {}
// SAFETY: an integer.
unsafe impl Element for u8 {}
// SAFETY: integers.
unsafe impl Element for [u64; 8] {}
// SAFETY: 32 bytes, `repr(C)`, any of them valid.
unsafe impl Element for Key {}

/// A zeroed slice in a mapping of its own, on transparent huge pages where the kernel gives them, every page touched.
pub struct Pages<T: Element> {
    mapping: *mut libc::c_void,
    mapping_bytes: usize,
    first: *mut T,
    count: usize,
    elements: PhantomData<T>,
}

impl<T: Element> Pages<T> {
    /// `count` zeros.
    ///
    /// # Errors
    /// The system's, when there is not so much memory.
    pub fn new(count: usize) -> io::Result<Self> {
        let bytes = (count * size_of::<T>()).next_multiple_of(HUGE_PAGE_BYTES);
        let mapping_bytes = bytes + HUGE_PAGE_BYTES;
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let mapping = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = mapping.map_addr(|address| address.next_multiple_of(HUGE_PAGE_BYTES));
        // Advice only: without it the pages are small, and `machine` reports that.
        // SAFETY: I1, at most the mapping's bytes.
        unsafe { libc::madvise(first, bytes, libc::MADV_HUGEPAGE) };
        let mut pages = Self {
            mapping,
            mapping_bytes,
            first: first.cast(),
            count,
            elements: PhantomData,
        };
        pages.touch();
        Ok(pages)
    }

    fn touch(&mut self) {
        for offset in (0..self.count * size_of::<T>()).step_by(4096) {
            // SAFETY: I1, within the range, and zero is what it holds.
            unsafe { self.first.cast::<u8>().add(offset).write_volatile(0) };
        }
    }
}

// SAFETY: I1, an address range belongs to the process, not to a thread.
unsafe impl<T: Element + Send> Send for Pages<T> {}
// SAFETY: as above; through a shared reference it is only read.
unsafe impl<T: Element + Sync> Sync for Pages<T> {}

impl<T: Element> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: I1, I2.
        unsafe { core::slice::from_raw_parts(self.first, self.count) }
    }
}

impl<T: Element> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: I1, I2, and the reference is the only one.
        unsafe { core::slice::from_raw_parts_mut(self.first, self.count) }
    }
}

impl<T: Element> Drop for Pages<T> {
    fn drop(&mut self) {
        // SAFETY: I1.
        unsafe { libc::munmap(self.mapping, self.mapping_bytes) };
    }
}
