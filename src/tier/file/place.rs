//! Room on the disk for a tier's file, and what the system says about it.
//!
//! # Soundness
//! - **I1** As in the module above: descriptors are owned by a `File` that is borrowed, addresses are those of locals.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{ALIGNMENT_BYTES, TierFile, number, os_error};
use crate::error::{ConfigError, Status};

const NO_ROOM: &str = "the file system has not so much room; make the tier smaller, or make room";

/// Bytes of a block device.
pub(super) fn device_bytes(device: &File) -> Result<u64, i32> {
    let mut device = device;
    device.seek(SeekFrom::End(0)).map_err(|error| number(&error))
}

/// Whether direct I/O is possible as far as the system says, and the alignment it needs.
pub(super) fn direct_alignment(file: &File) -> (bool, u64) {
    let mut facts = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: I1; an empty path with this flag means the descriptor itself.
    let answer = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            facts.as_mut_ptr(),
        )
    };
    // SAFETY: all zeros are a valid value of the structure, and it is that or what the system wrote.
    let facts = unsafe { facts.assume_init() };
    if answer != 0 || facts.stx_mask & libc::STATX_DIOALIGN == 0 {
        return (true, ALIGNMENT_BYTES);
    }
    let bytes = u64::from(facts.stx_dio_offset_align.max(facts.stx_dio_mem_align));
    let possible = facts.stx_dio_offset_align != 0 && bytes.is_power_of_two() && bytes <= ALIGNMENT_BYTES;
    (possible, if possible { bytes } else { ALIGNMENT_BYTES })
}

/// Lets requests on the file go through the page cache again.
pub(super) fn direct_off(file: &File) {
    // SAFETY: I1.
    unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        if flags >= 0 {
            libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_DIRECT);
        }
    }
}

/// Bytes that the file system has left for anybody, if it says so.
pub(super) fn room_bytes(file: &File) -> Option<u64> {
    let mut facts = MaybeUninit::<libc::statvfs64>::zeroed();
    // SAFETY: I1.
    if unsafe { libc::fstatvfs64(file.as_raw_fd(), facts.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the system wrote it.
    let facts = unsafe { facts.assume_init() };
    // SAFETY: the call takes nothing.
    let privileged = unsafe { libc::geteuid() } == 0;
    let blocks = if privileged { facts.f_bfree } else { facts.f_bavail };
    Some(blocks.saturating_mul(facts.f_frsize))
}

/// The largest file that this process may make or write to; a write beyond it would be answered with a signal.
pub(super) fn file_bytes_max() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: I1. Where it fails, the structure still says that there is no limit.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    limit.rlim_cur
}

/// Sets room aside for the first `bytes` bytes and makes the file that long.
fn allocate(file: &File, bytes: u64) -> Result<(), i32> {
    loop {
        // SAFETY: I1.
        if unsafe { libc::fallocate64(file.as_raw_fd(), 0, 0, bytes.cast_signed()) } == 0 {
            return Ok(());
        }
        match os_error() {
            libc::EINTR => {}
            error => return Err(error),
        }
    }
}

/// Makes the entry of a new file in its folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder)?.sync_all() {
        // Some file systems have nothing to do there and say it like this.
        Err(error) if matches!(number(&error), libc::EINVAL | libc::ENOTSUP) => Ok(()),
        done => done,
    }
}

/// Gives a regular file its length and its room. What fails is undone.
pub(super) fn preallocate(tier: &TierFile) -> Result<(), ConfigError> {
    let refusal = |reason, os_error| tier.refusal(Status::File, tier.bytes, reason, os_error);
    let looked = "the file could not be looked at";
    let facts = tier.lock.metadata().map_err(|error| refusal(looked, number(&error)))?;
    // Before anything is written: filling a disk up to find that it is too small would be no favour to others on it.
    let held = facts.blocks().saturating_mul(512);
    let room = room_bytes(&tier.lock);
    let possible = room.map(|room| room.saturating_add(held));
    if let Some(possible) = possible
        && possible < tier.bytes
    {
        return Err(tier.refusal(Status::NoSpace, possible, NO_ROOM, libc::ENOSPC));
    }
    let mut allocated = allocate(&tier.lock, tier.bytes);
    if let Err(libc::EOPNOTSUPP | libc::ENOSYS) = allocated
        && tier.sparse_permitted
        && possible.is_some()
    {
        allocated = tier.lock.set_len(tier.bytes).map_err(|error| number(&error));
    }
    let durable = allocated.and_then(|()| {
        tier.lock.sync_all().map_err(|error| number(&error))?;
        if tier.created {
            sync_folder(&tier.path).map_err(|error| number(&error))?;
        }
        Ok(())
    });
    let Err(os_error) = durable else {
        return Ok(());
    };
    // What was set aside is given back. Where that fails too, the file stays longer than it was.
    let _ = tier.lock.set_len(facts.len());
    if tier.created {
        tier.remove();
    }
    Err(match os_error {
        libc::ENOSPC | libc::EDQUOT => tier.refusal(Status::NoSpace, possible.unwrap_or(0), NO_ROOM, os_error),
        libc::EFBIG => {
            let reason = "the file system has no files of that size; make the tier smaller";
            tier.refusal(Status::NoSpace, 0, reason, os_error)
        }
        libc::EOPNOTSUPP | libc::ENOSYS => refusal(
            "the file system can't set room aside (fallocate); put the file on ext4, XFS or another that can",
            os_error,
        ),
        _ => refusal("the file could not be given its length", os_error),
    })
}
