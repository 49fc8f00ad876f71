//! An allocator that counts, so that the program can show how often the heap is called.
//!
//! # Soundness
//! - **I1** Every call goes to the system's allocator unchanged, so its contract is kept exactly if the caller keeps
//!   it; counting is one atomic addition and a look at a flag of the thread, which is a constant at first and has no
//!   destructor, so neither ever allocates.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, counted.
pub struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

/// Calls of the heap since the program began, by any thread: allocations, reallocations and releases; those within
/// [`left_out`] are not among them.
pub fn calls() -> u64 {
    // Relaxed: a number; who compares two of them has joined the threads in between, or does not care for the last one.
    CALLS.load(Ordering::Relaxed)
}

/// Does something that is no part of what is measured, drawing a progress bar for one. Only this thread's calls are
/// left out, and only meanwhile.
pub fn left_out<R>(work: impl FnOnce() -> R) -> R {
    let before = LEFT_OUT.replace(true);
    let result = work();
    LEFT_OUT.set(before);
    result
}

fn count() {
    if !LEFT_OUT.get() {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: I1.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: I1.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: I1.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: I1.
        unsafe { System.realloc(address, layout, bytes) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        count();
        // SAFETY: I1.
        unsafe { System.dealloc(address, layout) }
    }
}
