//! The one file, or block device, of a tier: found or made, locked, given its room on the disk, read and written.
//!
//! Opening changes nothing that exists: a file of somebody else's keeps its bytes and its length until the log has
//! looked at it. Three steps, therefore:
//! 1. [`TierFile::open`] opens or creates, and locks. Reads beyond the end give zeros from here on.
//! 2. The log identifies what is there. A file that holds nothing ([`TierFile::length_bytes`] is 0) does step 3 first.
//! 3. [`TierFile::preallocate`] gives the file its whole length with room on the disk behind it. From then on a read
//!    beyond the end is an error, because somebody has cut the file short.
//!
//! A file that was created and never got to step 3 is removed again when it is dropped.
//!
//! The lock (`flock`) lies on a descriptor of its own, which no request under way keeps open: it is gone with the
//! process, however that ended. It keeps out a second process and a second engine of the same process. A child that was
//! forked and did not `exec` shares it: where the parent dies without having closed the file, it is locked until the
//! child ends, too.
//!
//! # Soundness
//! - **I1** System calls are made on descriptors that a `File` of the same value owns, with the address of a local, or
//!   with a buffer that the caller of an `unsafe` function vouches for.
#![allow(unsafe_code)]

mod place;
mod queue;
#[cfg(test)]
pub(crate) mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, Status};
use crate::sync::atomic::{AtomicU32, Ordering};

pub(crate) use queue::Queue;

/// Alignment where the system does not say which one it needs.
const ALIGNMENT_BYTES: u64 = 4096;

/// How often opening starts over because the file changed under it.
const ATTEMPTS_MAX: u32 = 8;

/// What to open.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'p> {
    /// Where.
    pub path: &'p Path,
    /// Bytes that the tier has.
    pub bytes: u64,
    /// The configuration's name for the path.
    pub path_field: &'static str,
    /// The configuration's name for the bytes.
    pub bytes_field: &'static str,
    /// Past the page cache, where the file system can.
    pub direct: bool,
    /// Whether a file system that can't set room aside will do as well, as long as it has the room now.
    pub sparse_permitted: bool,
}

/// A file of a tier, open and locked.
pub(crate) struct TierFile {
    /// For requests.
    file: File,
    /// For the lock, and for what is asked about the file.
    lock: File,
    path: PathBuf,
    path_field: &'static str,
    bytes_field: &'static str,
    bytes: u64,
    alignment_bytes: u64,
    block_device: bool,
    direct: bool,
    sparse_permitted: bool,
    created: bool,
    /// 1 once the file has its whole length.
    whole: AtomicU32,
    opener: Opener,
}

/// The process that opened something. A forked child has a copy of it that is none of its business.
pub(crate) struct Opener(u32);

impl Opener {
    /// This process.
    pub(crate) fn new() -> Self {
        Self(std::process::id())
    }

    /// Whether this is still the process, and not a child of it.
    pub(crate) fn is_here(&self) -> bool {
        self.0 == std::process::id()
    }
}

/// The last error number of the system.
pub(crate) fn os_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The error number in `error`.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

impl Wanted<'_> {
    /// A refusal that the path is to blame for.
    fn refusal(&self, status: Status, reason: &'static str, os_error: i32) -> ConfigError {
        ConfigError {
            status,
            field: self.path_field,
            value: 0,
            value_min: 0,
            value_max: 0,
            reason,
            os_error,
        }
    }

    /// A refusal by the error of an `open`.
    fn refusal_of(&self, error: &io::Error) -> ConfigError {
        let os_error = number(error);
        let reason = match os_error {
            libc::ENOENT => "the folder does not exist; make it first, or give another path",
            libc::ENOTDIR => "a part of the path is no folder; give another path",
            libc::EISDIR => "it is a folder; give the path of a file in it",
            libc::EACCES | libc::EPERM => "no permission to read and write it; change its owner or mode",
            libc::EROFS => "the file system is read-only; give a path on another one",
            libc::ELOOP => "its symbolic links lead in a circle; give another path",
            libc::ENAMETOOLONG => "the path is too long; give a shorter one",
            libc::ENXIO | libc::ENODEV => "there is nothing behind this device or socket; give the path of a file",
            libc::ENOSPC | libc::EDQUOT => "the file system has no room for another file; make room first",
            libc::EMFILE | libc::ENFILE => "too many files are open; raise the limit (ulimit -n)",
            _ => "the file could not be opened for reading and writing",
        };
        let status = match os_error {
            libc::ENOSPC | libc::EDQUOT => Status::NoSpace,
            _ => Status::File,
        };
        self.refusal(status, reason, os_error)
    }

    /// Opens what is there, or creates an empty file. Says whether it was created.
    fn open_or_create(&self) -> io::Result<(File, bool)> {
        let mut options = OpenOptions::new();
        // Neither flag does anything to a file; they keep other things that a path may lead to from doing harm.
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        match options.open(self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((opened?, false)),
        }
        // What is cached may be as private as what it was computed from: for the owner's eyes only.
        match options.mode(0o600).create_new(true).open(self.path) {
            Ok(file) => Ok((file, true)),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok((OpenOptions::new().read(true).write(true).open(self.path)?, false))
            }
            Err(error) => Err(error),
        }
    }
}

impl TierFile {
    /// Opens or creates the file and locks it. What exists is not changed.
    ///
    /// # Errors
    /// [`Status::File`] where the path leads to nothing that a tier can lie in, [`Status::FileBusy`] where another
    /// engine has it, [`Status::NoSpace`] where there is no room for another file.
    pub(crate) fn open(wanted: &Wanted<'_>) -> Result<Self, ConfigError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(file) = Self::attempt(wanted)? {
                return Ok(file);
            }
        }
        Err(wanted.refusal(
            Status::FileBusy,
            "the file is being removed and made again all the time",
            0,
        ))
    }

    /// As [`TierFile::open`]; nothing if the path leads to another file at the end than at the beginning.
    fn attempt(wanted: &Wanted<'_>) -> Result<Option<Self>, ConfigError> {
        let (lock, created) = wanted.open_or_create().map_err(|error| wanted.refusal_of(&error))?;
        let made = created.then(|| lock.metadata().map(|facts| (facts.dev(), facts.ino())));
        let opened = Self::lock_and_open(wanted, lock, created);
        if let (Some(Ok(identity)), Err(_)) = (made, &opened) {
            remove(wanted.path, identity);
        }
        opened
    }

    /// Locks the file, opens it for requests, and finds out what it can do.
    fn lock_and_open(wanted: &Wanted<'_>, lock: File, created: bool) -> Result<Option<Self>, ConfigError> {
        let busy = "another process, or another engine of this one, has the file open; close that one first";
        let asked = |error: io::Error| wanted.refusal(Status::File, "the file could not be looked at", number(&error));
        let facts = lock.metadata().map_err(asked)?;
        let block_device = facts.file_type().is_block_device();
        if !block_device && !facts.is_file() {
            let reason = "it is neither a file nor a block device; give the path of one";
            return Err(wanted.refusal(Status::File, reason, 0));
        }
        let limit = place::file_bytes_max();
        if !block_device && wanted.bytes > limit {
            let reason = "this process may not write so large a file; raise the limit (ulimit -f)";
            return Err(ConfigError {
                field: wanted.bytes_field,
                value: wanted.bytes,
                value_max: limit,
                ..wanted.refusal(Status::NoSpace, reason, libc::EFBIG)
            });
        }
        let reopen = |flags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(flags).open(wanted.path)
        };
        let lock = match block_device {
            false => lock,
            // Refused while the device is mounted, too.
            true => reopen(libc::O_EXCL).map_err(|error| match number(&error) {
                libc::EBUSY => {
                    let reason = "the device is mounted, part of another device, or in use by another engine";
                    wanted.refusal(Status::FileBusy, reason, libc::EBUSY)
                }
                _ => wanted.refusal_of(&error),
            })?,
        };
        if let Err(error) = lock.try_lock() {
            let os_error = match error {
                std::fs::TryLockError::WouldBlock => libc::EWOULDBLOCK,
                std::fs::TryLockError::Error(error) => number(&error),
            };
            return Err(match os_error {
                libc::EWOULDBLOCK => wanted.refusal(Status::FileBusy, busy, os_error),
                _ => wanted.refusal(
                    Status::File,
                    "the file could not be locked; use another file system",
                    os_error,
                ),
            });
        }
        let mut direct = wanted.direct;
        let mut opened = reopen(if direct { libc::O_DIRECT } else { 0 });
        if direct && opened.as_ref().is_err_and(|error| number(error) == libc::EINVAL) {
            direct = false;
            opened = reopen(0);
        }
        let file = match opened {
            Ok(file) => file,
            Err(error) if number(&error) == libc::ENOENT => return Ok(None),
            Err(error) => return Err(wanted.refusal_of(&error)),
        };
        // Between opening and locking the file may have been removed by the one who created it.
        let again = file.metadata().map_err(asked)?;
        if (again.dev(), again.ino(), again.rdev()) != (facts.dev(), facts.ino(), facts.rdev()) {
            return Ok(None);
        }
        let (supported, alignment_bytes) = place::direct_alignment(&file);
        if direct && !supported {
            direct = false;
            place::direct_off(&file);
        }
        let this = Self {
            file,
            lock,
            path: wanted.path.to_path_buf(),
            path_field: wanted.path_field,
            bytes_field: wanted.bytes_field,
            bytes: wanted.bytes,
            alignment_bytes: if direct { alignment_bytes } else { ALIGNMENT_BYTES },
            block_device,
            direct,
            sparse_permitted: wanted.sparse_permitted,
            created,
            whole: AtomicU32::new(0),
            opener: Opener::new(),
        };
        let length = this.length_bytes().map_err(|os_error| {
            wanted.refusal(Status::File, "the length of the file could not be found out", os_error)
        })?;
        if block_device && length < wanted.bytes {
            return Err(ConfigError {
                field: wanted.bytes_field,
                value: wanted.bytes,
                value_max: length,
                ..wanted.refusal(
                    Status::File,
                    "the block device is smaller; ask for less, or give a larger one",
                    0,
                )
            });
        }
        if length >= wanted.bytes {
            this.whole_set();
        }
        Ok(Some(this))
    }

    /// Bytes that the tier has.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What offsets, lengths and addresses are multiples of.
    pub(crate) fn alignment_bytes(&self) -> u64 {
        self.alignment_bytes
    }

    /// Whether requests go past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    /// The file, for requests.
    #[cfg(any(feature = "uring", feature = "mmap"))]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that are there now, or the system's error number.
    pub(crate) fn length_bytes(&self) -> Result<u64, i32> {
        if self.block_device {
            return place::device_bytes(&self.lock);
        }
        self.lock
            .metadata()
            .map(|facts| facts.len())
            .map_err(|error| number(&error))
    }

    /// Bytes that are there now, for those who open the tier.
    ///
    /// # Errors
    /// [`Status::File`] if the system does not say.
    pub(crate) fn length(&self) -> Result<u64, ConfigError> {
        self.length_bytes().map_err(|os_error| ConfigError {
            field: self.path_field,
            ..self.refusal(
                Status::File,
                self.bytes,
                "the length of the file could not be found out",
                os_error,
            )
        })
    }

    /// Whether the file has its whole length, or must have it.
    pub(crate) fn is_whole(&self) -> bool {
        // Relaxed: it changes once, while the tier is opened, by the thread that opens it.
        self.whole.load(Ordering::Relaxed) != 0
    }

    fn whole_set(&self) {
        // Relaxed: as above.
        self.whole.store(1, Ordering::Relaxed);
    }

    /// Gives the file its whole length and room on the disk, durably. A longer file stays as long as it is.
    ///
    /// # Errors
    /// [`Status::NoSpace`]: there is no room; a file that existed has its old length again, and one that was created
    /// is removed. [`Status::File`]: the file system can't do it.
    pub(crate) fn preallocate(&self) -> Result<(), ConfigError> {
        if self.is_whole() {
            return Ok(());
        }
        place::preallocate(self)?;
        self.whole_set();
        Ok(())
    }

    /// A refusal that the number of bytes is to blame for.
    fn refusal(&self, status: Status, value_max: u64, reason: &'static str, os_error: i32) -> ConfigError {
        ConfigError {
            status,
            field: self.bytes_field,
            value: self.bytes,
            value_min: 0,
            value_max,
            reason,
            os_error,
        }
    }

    /// Reads at `offset` on the calling thread: how many bytes came, or the error number.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `bytes` bytes.
    pub(crate) unsafe fn read(&self, offset: u64, buffer: *mut u8, bytes: u32) -> Result<u32, i32> {
        // SAFETY: I1.
        let moved = unsafe {
            libc::pread64(
                self.file.as_raw_fd(),
                buffer.cast(),
                bytes as usize,
                offset.cast_signed(),
            )
        };
        let moved = u32::try_from(moved).map_err(|_| os_error())?;
        // SAFETY: the caller's promise.
        unsafe { self.read_ended(offset, buffer, bytes, moved) }
    }

    /// What a read that brought `moved` bytes means: beyond the end of a file that has not its length yet there are
    /// zeros; one that had it and has it no more was cut short.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `bytes` bytes.
    pub(crate) unsafe fn read_ended(&self, offset: u64, buffer: *mut u8, bytes: u32, moved: u32) -> Result<u32, i32> {
        if moved >= bytes {
            return Ok(moved);
        }
        let at_end = self.length_bytes()? <= offset + u64::from(moved);
        match (at_end, self.is_whole()) {
            (true, false) => {
                // SAFETY: I1, the rest of the buffer.
                unsafe { buffer.add(moved as usize).write_bytes(0, (bytes - moved) as usize) };
                Ok(bytes)
            }
            (true, true) => Err(libc::EIO),
            (false, _) if moved == 0 => Err(libc::EIO),
            (false, _) => Ok(moved),
        }
    }

    /// Writes at `offset` on the calling thread: how many bytes went, or the error number.
    ///
    /// # Safety
    /// `buffer` is valid for reads of `bytes` bytes.
    pub(crate) unsafe fn write(&self, offset: u64, buffer: *const u8, bytes: u32) -> Result<u32, i32> {
        // SAFETY: I1.
        let moved = unsafe {
            libc::pwrite64(
                self.file.as_raw_fd(),
                buffer.cast(),
                bytes as usize,
                offset.cast_signed(),
            )
        };
        u32::try_from(moved).map_err(|_| os_error())
    }

    /// `fdatasync`: everything that was written survives a loss of power; or the error number.
    pub(crate) fn sync(&self) -> Result<u32, i32> {
        self.file.sync_data().map(|()| 0).map_err(|error| number(&error))
    }

    /// Removes the file from its folder.
    fn remove(&self) {
        if let Ok(facts) = self.lock.metadata() {
            remove(&self.path, (facts.dev(), facts.ino()));
        }
    }
}

/// Removes what `path` leads to if it still is the file with this device and number.
fn remove(path: &Path, identity: (u64, u64)) {
    if std::fs::symlink_metadata(path).is_ok_and(|facts| (facts.dev(), facts.ino()) == identity) {
        // Where this fails, an empty file remains; nothing else can be done about it.
        let _ = std::fs::remove_file(path);
    }
}

impl Drop for TierFile {
    fn drop(&mut self) {
        if !self.opener.is_here() {
            return;
        }
        if self.created && !self.is_whole() {
            self.remove();
        }
        // Closing would do it too, but not while a forked child has the descriptor.
        let _ = self.lock.unlock();
    }
}
