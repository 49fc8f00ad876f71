//! The device of the disk tier: one file, mapped, for slow disks and for disks behind a network.
//!
//! Reads go through a mapping of the whole file. A range is read ahead as a whole before its first byte is touched,
//! and so are the next requests that wait; what was copied out leaves the page cache again. Writes are begun to be
//! written back at once, and leave the page cache when they are: the cache keeps little of what this tier does, and
//! never much that is dirty. Everything is done on the thread that drives the device, one request for each
//! [`Device::reap`].
//!
//! The mapping is never touched by the program's own loads. Bytes are copied out of it by the kernel
//! (`process_vm_readv` on the own process), which answers with an error where the program would be sent a signal: for
//! a file cut short at any moment, a disk that fails, a page that is damaged. Where the kernel does not offer that,
//! or not the reading ahead, reads are done by `pread` from then on.
//!
//! # Soundness
//! - **I1** A buffer is used between `submit`, whose caller promises that it is valid and nobody else's, and the report
//!   of the request.
//! - **I2** The mapping covers `bytes` bytes from the file's start and lives as long as the device. Only system calls
//!   get its addresses, and those answer `EFAULT` where there is no file behind a page.
//! - **I3** Other system calls are made on descriptors that a `File` owns, with addresses of locals.
#![allow(unsafe_code)]

mod cache;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use self::cache::PageCache;
use crate::error::{ConfigError, Status};
use crate::limits::PAGE_BYTES;
use crate::tier::device::{Device, Io, IoDone, IoKind};
use crate::tier::file::{Queue, TierFile, Wanted, os_error};

/// How many of the reads that wait are read ahead.
const AHEAD_COUNT: usize = 8;

/// A file driven for the disk tier.
pub struct DiskFile {
    state: Mutex<State>,
    mapping: MmapRaw,
    file: TierFile,
    depth: u32,
}

struct State {
    queue: Queue,
    /// How many of the queue, from the first, the kernel was told of.
    hinted: usize,
    cache: PageCache,
    /// The kernel does not offer what reads through the mapping need.
    mapping_refused: bool,
}

impl DiskFile {
    /// Opens or creates the file at `path`, of which the tier uses the first `bytes` bytes, locks it, and takes up to
    /// `depth` requests at a time. A file that exists is not changed; see [`DiskFile::preallocate`].
    ///
    /// # Errors
    /// [`Status::File`], [`Status::FileBusy`], [`Status::NoSpace`] or [`Status::NoMemory`] with the field `disk_path`
    /// or `disk_bytes`.
    pub fn open(path: &Path, bytes: u64, depth: u32) -> Result<Self, ConfigError> {
        let file = TierFile::open(&Wanted {
            path,
            bytes,
            path_field: "disk_path",
            bytes_field: "disk_bytes",
            direct: false,
            sparse_permitted: true,
        })?;
        let mapped = MmapOptions::new().len(bytes as usize).map_raw_read_only(file.file());
        let mapping = mapped.map_err(|error| ConfigError {
            status: Status::NoMemory,
            field: "disk_bytes",
            value: bytes,
            value_min: 0,
            value_max: bytes,
            reason: "the file could not be mapped; make the tier smaller, or raise the limit of addresses (ulimit -v)",
            os_error: error.raw_os_error().unwrap_or(0),
        })?;
        let depth = depth.max(1);
        Ok(Self {
            state: Mutex::new(State {
                queue: Queue::new(depth),
                hinted: 0,
                cache: PageCache::new(),
                mapping_refused: false,
            }),
            mapping,
            file,
            depth,
        })
    }

    /// Bytes that the file has now: 0 if it is new, fewer than [`Device::bytes`] until it is preallocated.
    ///
    /// # Errors
    /// [`Status::File`] if the system does not say.
    pub fn length_bytes(&self) -> Result<u64, ConfigError> {
        self.file.length()
    }

    /// Gives the file its whole length, with room on the disk behind it, durably. Call it before the log opens where
    /// the file is empty, and after the log has identified it where it is not: until then it is perhaps somebody
    /// else's. Reads beyond the end give zeros before, and fail afterwards.
    ///
    /// A file system that can't set room aside will do if it has the room now.
    ///
    /// # Errors
    /// [`Status::NoSpace`]: a file that was there before has its old length, and one that was not is removed.
    /// [`Status::File`]: the file system can't do it.
    pub fn preallocate(&self) -> Result<(), ConfigError> {
        self.file.preallocate()
    }

    /// Whether reads go through the mapping; if not, the kernel does not offer what that needs.
    pub fn reads_mapping(&self) -> bool {
        !self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .mapping_refused
    }

    fn perform(&self, state: &mut State, io: &Io) -> Result<u32, i32> {
        match io.kind {
            // SAFETY: I1.
            IoKind::Read => unsafe { self.read(state, io) },
            IoKind::Write => {
                // SAFETY: I1.
                let moved = unsafe { self.file.write(io.offset, io.buffer, io.bytes) }?;
                state.cache.written(self.file.file(), io.offset, u64::from(moved));
                Ok(moved)
            }
            IoKind::Sync => {
                // The error of a write-back is told once: to the one who waited for it, and then not to the sync.
                let lost = state.cache.take_error();
                self.file.sync()?;
                state.cache.synced(self.file.file());
                lost.map_or(Ok(0), Err)
            }
        }
    }

    /// Reads through the mapping, or past it.
    ///
    /// # Safety
    /// As `submit`, until this returns.
    unsafe fn read(&self, state: &mut State, io: &Io) -> Result<u32, i32> {
        let end = io.offset.checked_add(u64::from(io.bytes)).ok_or(libc::EINVAL)?;
        if end > self.file.bytes() {
            return Err(libc::EINVAL);
        }
        let there = self.file.length_bytes()?.clamp(io.offset, end) - io.offset;
        if there < u64::from(io.bytes) && self.file.is_whole() {
            return Err(libc::EIO);
        }
        let first = io.offset / PAGE_BYTES * PAGE_BYTES;
        let pages = Pages {
            // Within the mapping, or just behind it if nothing is there.
            address: self.mapping.as_mut_ptr().wrapping_add(first as usize),
            bytes: (io.offset + there - first).next_multiple_of(PAGE_BYTES) as usize,
        };
        if !state.mapping_refused {
            // SAFETY: the caller's promise.
            match unsafe { pages.copy_out((io.offset - first) as usize, io.buffer, there as usize) } {
                Err(libc::EINVAL | libc::ENOSYS | libc::EPERM) => state.mapping_refused = true,
                copied => {
                    pages.unmap();
                    state.cache.read(self.file.file(), io.offset, there);
                    let moved = copied?;
                    // SAFETY: the caller's promise.
                    return unsafe { self.file.read_ended(io.offset, io.buffer, io.bytes, moved) };
                }
            }
        }
        // SAFETY: the caller's promise.
        let moved = unsafe { self.file.read(io.offset, io.buffer, io.bytes) };
        state.cache.read(self.file.file(), io.offset, u64::from(io.bytes));
        moved
    }
}

/// A range of whole pages of the mapping.
struct Pages {
    address: *mut u8,
    bytes: usize,
}

impl Pages {
    /// Brings the whole range into memory, and copies `bytes` bytes from `skip` bytes behind its start.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `bytes` bytes.
    unsafe fn copy_out(&self, skip: usize, buffer: *mut u8, bytes: usize) -> Result<u32, i32> {
        if bytes == 0 {
            return Ok(0);
        }
        // SAFETY: I2.
        if unsafe { libc::madvise(self.address.cast(), self.bytes, libc::MADV_POPULATE_READ) } != 0 {
            return Err(match os_error() {
                // No file behind a page, a page that could not be read, or a page of damaged memory.
                libc::EFAULT | libc::EHWPOISON => libc::EIO,
                error => error,
            });
        }
        let to = libc::iovec {
            iov_base: buffer.cast(),
            iov_len: bytes,
        };
        let from = libc::iovec {
            iov_base: self.address.wrapping_add(skip).cast(),
            iov_len: bytes,
        };
        // SAFETY: I2 for what is read; the caller's promise for what is written.
        let moved = unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
        u32::try_from(moved).map_err(|_| match os_error() {
            libc::EFAULT => libc::EIO,
            error => error,
        })
    }

    /// Takes the range out of the address space's tables, so that the page cache can let go of it.
    fn unmap(&self) {
        if self.bytes != 0 {
            // SAFETY: I2; the pages of a file come back when they are needed.
            unsafe { libc::madvise(self.address.cast(), self.bytes, libc::MADV_DONTNEED) };
        }
    }
}

impl Device for DiskFile {
    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    fn alignment_bytes(&self) -> u64 {
        self.file.alignment_bytes()
    }

    fn depth(&self) -> u32 {
        self.depth
    }

    fn name(&self) -> &'static str {
        "mmap"
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).queue.push(io)
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let Some(place) = done.first_mut() else {
            return 0;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.hinted < AHEAD_COUNT
            && let Some(next) = state.queue.get(state.hinted)
        {
            // The one that is read now, too: page by page the kernel would read ahead less.
            if next.kind == IoKind::Read {
                cache::advise(
                    self.file.file(),
                    next.offset,
                    u64::from(next.bytes),
                    libc::POSIX_FADV_WILLNEED,
                );
            }
            state.hinted += 1;
        }
        let Some(io) = state.queue.pop() else {
            return 0;
        };
        state.hinted = state.hinted.saturating_sub(1);
        let result = self.perform(&mut state, &io);
        *place = IoDone {
            token: io.token,
            result,
        };
        1
    }

    /// Whoever reaps does the work: there is nothing to wait for.
    fn wait(&self, _timeout_ns: u64) {}
}
