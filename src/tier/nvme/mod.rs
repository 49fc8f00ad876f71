//! The device of the NVMe tier: one file or block device, past the page cache, through io_uring.
//!
//! Where io_uring is not there or not permitted, requests are done by `pread` and `pwrite` on the thread that drives
//! the device, one for each [`Device::reap`], so that no call takes longer than one request. Where the file system
//! has no direct I/O, requests go through the page cache. [`Device::name`] says which it is.
//!
//! # Soundness
//! - **I1** A buffer is used between `submit`, whose caller promises that it is valid and nobody else's, and the report
//!   of the request.
#![allow(unsafe_code)]

#[cfg(feature = "uring")]
mod ring;
#[cfg(test)]
mod tests;

#[cfg(feature = "uring")]
use std::boxed::Box;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::IoEngine;
use crate::error::{ConfigError, Status};
use crate::tier::device::{Device, Io, IoDone, IoKind};
use crate::tier::file::{Queue, TierFile, Wanted};

/// A file driven for the NVMe tier.
pub struct NvmeFile {
    // Before the file: it has to be closed first.
    driver: Driver,
    file: TierFile,
    depth: u32,
}

/// How requests are done.
enum Driver {
    /// By the kernel.
    #[cfg(feature = "uring")]
    Ring(Box<ring::Ring>),
    /// By whoever reaps.
    Positional(Mutex<Queue>),
}

/// The queue; what a panic left of it is still a queue.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NvmeFile {
    /// Opens or creates the file at `path`, of which the tier uses the first `bytes` bytes, locks it, and takes up to
    /// `depth` requests at a time. A file that exists is not changed; see [`NvmeFile::preallocate`].
    ///
    /// # Errors
    /// [`Status::File`], [`Status::FileBusy`] or [`Status::NoSpace`] with the field `nvme_path` or `nvme_bytes`, and
    /// [`Status::NoUring`] where io_uring is asked for and not to be had.
    pub fn open(path: &Path, bytes: u64, depth: u32, engine: IoEngine) -> Result<Self, ConfigError> {
        let file = TierFile::open(&Wanted {
            path,
            bytes,
            path_field: "nvme_path",
            bytes_field: "nvme_bytes",
            direct: true,
            sparse_permitted: false,
        })?;
        let depth = depth.max(1);
        let driver = match engine {
            IoEngine::Positional => None,
            IoEngine::Auto | IoEngine::Uring => match open_ring(&file, depth) {
                Ok(driver) => Some(driver),
                Err(_) if engine == IoEngine::Auto => None,
                Err(os_error) => {
                    return Err(ConfigError {
                        status: Status::NoUring,
                        field: "io_engine",
                        value: IoEngine::Uring as u64,
                        value_min: 0,
                        value_max: IoEngine::Positional as u64,
                        reason: "io_uring is not permitted, or not known to this kernel or build; permit it \
                                 (kernel.io_uring_disabled, seccomp) or ask for 'auto'",
                        os_error,
                    });
                }
            },
        };
        Ok(Self {
            driver: driver.unwrap_or_else(|| Driver::Positional(Mutex::new(Queue::new(depth)))),
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
    /// # Errors
    /// [`Status::NoSpace`]: a file that was there before has its old length, and one that was not is removed.
    /// [`Status::File`]: the file system can't do it.
    pub fn preallocate(&self) -> Result<(), ConfigError> {
        self.file.preallocate()
    }

    /// Whether the kernel has the buffers registered, which spares it work with every request.
    pub fn has_registered_buffers(&self) -> bool {
        match &self.driver {
            #[cfg(feature = "uring")]
            Driver::Ring(ring) => ring.has_registered_buffers(),
            Driver::Positional(_) => false,
        }
    }

    /// Waits until the kernel uses no buffer any more, at most `timeout_ns`. False if it still does: then the memory
    /// must outlive the process. Reports of what was under way are lost.
    pub fn quiesce(&self, timeout_ns: u64) -> bool {
        match &self.driver {
            #[cfg(feature = "uring")]
            Driver::Ring(ring) => ring.quiesce(timeout_ns),
            Driver::Positional(_) => {
                let _ = timeout_ns;
                true
            }
        }
    }

    /// Does a request on this thread.
    fn perform(&self, io: &Io) -> Result<u32, i32> {
        match io.kind {
            // SAFETY: I1.
            IoKind::Read => unsafe { self.file.read(io.offset, io.buffer, io.bytes) },
            // SAFETY: I1.
            IoKind::Write => unsafe { self.file.write(io.offset, io.buffer, io.bytes) },
            IoKind::Sync => self.file.sync(),
        }
    }
}

#[cfg(feature = "uring")]
fn open_ring(file: &TierFile, depth: u32) -> Result<Driver, i32> {
    ring::Ring::open(file, depth).map(|ring| Driver::Ring(Box::new(ring)))
}

#[cfg(not(feature = "uring"))]
fn open_ring(_file: &TierFile, _depth: u32) -> Result<Driver, i32> {
    Err(libc::ENOSYS)
}

impl Device for NvmeFile {
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
        match (&self.driver, self.file.is_direct()) {
            #[cfg(feature = "uring")]
            (Driver::Ring(_), true) => "io_uring",
            #[cfg(feature = "uring")]
            (Driver::Ring(_), false) => "io_uring, buffered",
            (Driver::Positional(_), true) => "pread",
            (Driver::Positional(_), false) => "pread, buffered",
        }
    }

    unsafe fn register(&self, base: *mut u8, bytes: u64) {
        match &self.driver {
            // SAFETY: the caller's promise is the one asked for.
            #[cfg(feature = "uring")]
            Driver::Ring(ring) => unsafe { ring.register(base, bytes) },
            Driver::Positional(_) => {
                let _ = (base, bytes);
            }
        }
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        match &self.driver {
            // SAFETY: the caller's promise is the one asked for.
            #[cfg(feature = "uring")]
            Driver::Ring(ring) => unsafe { ring.submit(io) },
            Driver::Positional(queue) => lock(queue).push(io),
        }
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        match &self.driver {
            #[cfg(feature = "uring")]
            Driver::Ring(ring) => ring.reap(&self.file, done),
            Driver::Positional(queue) => {
                let Some(place) = done.first_mut() else {
                    return 0;
                };
                let Some(io) = lock(queue).pop() else {
                    return 0;
                };
                *place = IoDone {
                    token: io.token,
                    result: self.perform(&io),
                };
                1
            }
        }
    }

    fn wait(&self, timeout_ns: u64) {
        match &self.driver {
            #[cfg(feature = "uring")]
            Driver::Ring(ring) => ring.wait(timeout_ns),
            // Whoever reaps does the work: there is nothing to wait for.
            Driver::Positional(_) => {
                let _ = timeout_ns;
            }
        }
    }
}
