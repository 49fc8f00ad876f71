//! Keeps the page cache clear of what the disk tier reads and writes.
//!
//! # Soundness
//! - **I1** System calls are made on the descriptor of a `File` that is borrowed, with numbers only.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::tier::file::os_error;

/// Most writes that are being written back and were not waited for.
const RECENT_COUNT: usize = 16;

/// Bytes of a file.
#[derive(Clone, Copy, Default)]
struct Range {
    offset: u64,
    bytes: u64,
}

/// What was read and written last.
pub(super) struct PageCache {
    /// Writes that are being written back, the oldest at `first`.
    recent: [Range; RECENT_COUNT],
    first: usize,
    count: usize,
    /// The last read: its pages go with the next one, which may begin on the same page.
    last_read: Range,
    /// What the kernel said when a write-back failed, until somebody is told.
    error: Option<i32>,
}

/// Tells the kernel what will be, or is done, with a range. It may do as it likes.
pub(super) fn advise(file: &File, offset: u64, bytes: u64, advice: i32) {
    if bytes != 0 {
        // SAFETY: I1.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset.cast_signed(), bytes.cast_signed(), advice) };
    }
}

/// Begins, or waits for, the write-back of a range.
fn write_back(file: &File, range: Range, flags: u32) -> Result<(), i32> {
    // SAFETY: I1.
    let answer = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            range.offset.cast_signed(),
            range.bytes.cast_signed(),
            flags,
        )
    };
    if answer == 0 { Ok(()) } else { Err(os_error()) }
}

impl PageCache {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            recent: [Range::default(); RECENT_COUNT],
            first: 0,
            count: 0,
            last_read: Range::default(),
            error: None,
        }
    }

    /// A range was read.
    pub(super) fn read(&mut self, file: &File, offset: u64, bytes: u64) {
        let last = std::mem::replace(&mut self.last_read, Range { offset, bytes });
        let end = match last.offset < offset {
            true => offset.min(last.offset + last.bytes),
            false => last.offset + last.bytes,
        };
        advise(file, last.offset, end - last.offset, libc::POSIX_FADV_DONTNEED);
    }

    /// A range was written: it begins to go to the disk, and the oldest that did has to be there.
    pub(super) fn written(&mut self, file: &File, offset: u64, bytes: u64) {
        let range = Range { offset, bytes };
        let begun = write_back(file, range, libc::SYNC_FILE_RANGE_WRITE);
        self.note(begun);
        if self.count == RECENT_COUNT {
            self.finish_oldest(file);
        }
        if let Some(place) = self.recent.get_mut((self.first + self.count) % RECENT_COUNT) {
            *place = range;
            self.count += 1;
        }
    }

    /// Everything written before is on the disk.
    pub(super) fn synced(&mut self, file: &File) {
        while self.count != 0 {
            let oldest = self.pop();
            advise(file, oldest.offset, oldest.bytes, libc::POSIX_FADV_DONTNEED);
        }
    }

    /// The error of a write-back that nobody was told of yet.
    pub(super) fn take_error(&mut self) -> Option<i32> {
        self.error.take()
    }

    fn finish_oldest(&mut self, file: &File) {
        let oldest = self.pop();
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let done = write_back(file, oldest, flags);
        self.note(done);
        advise(file, oldest.offset, oldest.bytes, libc::POSIX_FADV_DONTNEED);
    }

    fn pop(&mut self) -> Range {
        let oldest = self.recent.get(self.first).copied().unwrap_or_default();
        self.first = (self.first + 1) % RECENT_COUNT;
        self.count = self.count.saturating_sub(1);
        oldest
    }

    /// Keeps the error of a write-back for the next sync: the kernel tells each only once. That the call is not known
    /// to the file system or not permitted says nothing about the data.
    fn note(&mut self, outcome: Result<(), i32>) {
        if let Err(error @ (libc::EIO | libc::ENOSPC | libc::EDQUOT | libc::ESTALE | libc::EROFS)) = outcome {
            self.error = Some(error);
        }
    }
}
