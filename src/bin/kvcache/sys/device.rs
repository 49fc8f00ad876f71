//! A file as a device that is only read, for those who look at tier files from outside.
//!
//! # Soundness
//! - **I1** A request's buffer is valid and nobody else's until the request is reported; `pread` writes at most the
//!   bytes asked for, and is done when `submit` returns, before it is reported.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use kvcache::tier::device::{Device, Io, IoDone, IoKind};

/// A file, or a block device.
pub struct ReadOnly {
    file: File,
    bytes: u64,
    done: Mutex<VecDeque<IoDone>>,
}

impl ReadOnly {
    /// A device over a file that is open for reading.
    ///
    /// # Errors
    /// The system's, when it does not say how long the file is.
    pub fn new(mut file: File) -> io::Result<Self> {
        // A block device has no length but an end.
        let bytes = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self {
            file,
            bytes,
            done: Mutex::new(VecDeque::new()),
        })
    }

    fn perform(&self, io: &Io) -> Result<u32, i32> {
        match io.kind {
            IoKind::Read => {}
            IoKind::Write => return Err(libc::EBADF),
            IoKind::Sync => return Ok(0),
        }
        let offset = i64::try_from(io.offset).map_err(|_| libc::EINVAL)?;
        loop {
            // SAFETY: I1.
            let moved = unsafe { libc::pread(self.file.as_raw_fd(), io.buffer.cast(), io.bytes as usize, offset) };
            if let Ok(moved) = u32::try_from(moved) {
                return Ok(moved);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error.raw_os_error().unwrap_or(libc::EIO));
            }
        }
    }
}

impl Device for ReadOnly {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn alignment_bytes(&self) -> u64 {
        4096
    }

    fn depth(&self) -> u32 {
        16
    }

    fn name(&self) -> &'static str {
        "pread"
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        let done = IoDone {
            token: io.token,
            result: self.perform(io),
        };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push_back(done);
        true
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let mut waiting = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let count = done.len().min(waiting.len());
        for (place, next) in done.iter_mut().zip(waiting.drain(..count)) {
            *place = next;
        }
        count
    }

    fn wait(&self, _timeout_ns: u64) {}
}
