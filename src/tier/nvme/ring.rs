//! Requests through io_uring: a ring with the file and the buffers registered.
//!
//! The ring is in the mode in which a completion interrupts the thread that submitted the request: it is posted even
//! while that thread computes or sleeps, so that whoever drives the device next finds it.
//!
//! # Soundness
//! - **I1** The ring is touched under its mutex, and by `wait` not at all: that polls the ring's descriptor, which
//!   lives as long as the ring.
//! - **I2** A buffer is valid and nobody else's from `submit` until its request is reported (the caller's promise).
//!   Requests that the kernel has when the ring is dropped are waited for, [`DROP_WAIT_NS`] at most; what is left then
//!   can only be a request that hangs in the kernel. It keeps the pages of a registered buffer and those of direct I/O
//!   that has begun, so that it writes to no memory of somebody else's; for anything else the owner of the memory asks
//!   `quiesce` first and gives no memory back if that says no.
//! - **I3** The registered region is valid until the ring is dropped (the promise of `register`).
#![allow(unsafe_code)]

use std::boxed::Box;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

use io_uring::{IoUring, opcode, squeue, types};

use crate::tier::device::{Io, IoDone, IoKind};
use crate::tier::file::{Opener, Queue, TierFile};

/// Largest buffer that the kernel registers.
const REGISTERED_BYTES_MAX: u64 = 1 << 30;
/// How long dropping waits for requests that the kernel has.
const DROP_WAIT_NS: u64 = 5_000_000_000;

/// A ring and its requests.
pub(super) struct Ring {
    state: Mutex<State>,
    /// The ring's descriptor, for `wait`.
    descriptor: RawFd,
    opener: Opener,
}

struct State {
    ring: IoUring,
    /// The file is known to the ring as number 0; else by its descriptor.
    file_registered: bool,
    descriptor: RawFd,
    region: Region,
    /// By token: the request under way.
    requests: Box<[Option<Io>]>,
    under_way: u32,
    /// In the submission queue, not yet taken by the kernel, in order.
    gathered: Queue,
    /// The kernel refuses the ring's requests, with this error number.
    refused: Option<i32>,
}

// SAFETY: I2, addresses of buffers may go from one thread to the next; everything else may anyway.
unsafe impl Send for State {}

/// The registered memory; none if it has no bytes.
#[derive(Clone, Copy)]
pub(super) struct Region {
    /// Its first address.
    pub(super) base: usize,
    /// Its bytes.
    pub(super) bytes: u64,
}

impl Region {
    /// The number of the registered buffer that the request's memory lies in.
    pub(super) fn buffer_index(self, io: &Io) -> Option<u16> {
        let first = (io.buffer as usize).checked_sub(self.base)? as u64;
        let end = first + u64::from(io.bytes);
        let index = first / REGISTERED_BYTES_MAX;
        let inside = io.bytes != 0 && end <= self.bytes && index == (end - 1) / REGISTERED_BYTES_MAX;
        if inside { u16::try_from(index).ok() } else { None }
    }
}

impl Ring {
    /// Makes a ring for `depth` requests, or says why the kernel does not.
    pub(super) fn open(file: &TierFile, depth: u32) -> Result<Self, i32> {
        let number = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::ENOSYS);
        let ring = IoUring::builder().build(depth.next_power_of_two()).map_err(number)?;
        let descriptor = file.file().as_raw_fd();
        let file_registered = ring.submitter().register_files(&[descriptor]).is_ok();
        let state = State {
            file_registered,
            descriptor,
            region: Region { base: 0, bytes: 0 },
            requests: (0..depth).map(|_| None).collect(),
            under_way: 0,
            gathered: Queue::new(depth),
            refused: None,
            ring,
        };
        let this = Self {
            descriptor: state.ring.as_raw_fd(),
            state: Mutex::new(state),
            opener: Opener::new(),
        };
        this.probe()?;
        Ok(this)
    }

    /// Sends one empty request around: a sandbox may permit making rings and not using them.
    fn probe(&self) -> Result<(), i32> {
        let mut state = self.lock();
        let entry = opcode::Nop::new().build().user_data(u64::MAX);
        // SAFETY: the entry names no memory.
        let pushed = unsafe { state.ring.submission().push(&entry) };
        pushed.map_err(|_| libc::ENOSYS)?;
        loop {
            match state.ring.submit_and_wait(1) {
                Ok(_) => break,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error.raw_os_error().unwrap_or(libc::ENOSYS)),
            }
        }
        let answer = state.ring.completion().next();
        match answer {
            Some(entry) if entry.result() >= 0 => Ok(()),
            Some(entry) => Err(-entry.result()),
            None => Err(libc::ENOSYS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the buffers are registered.
    pub(super) fn has_registered_buffers(&self) -> bool {
        self.lock().region.bytes != 0
    }

    /// Registers the memory; where the kernel does not want it (the limit of locked memory), goes on without.
    ///
    /// # Safety
    /// The memory is valid for reads and writes until the ring is dropped.
    pub(super) unsafe fn register(&self, base: *mut u8, bytes: u64) {
        let mut state = self.lock();
        if bytes == 0 || state.region.bytes != 0 {
            return;
        }
        let buffers: Vec<libc::iovec> = (0..bytes.div_ceil(REGISTERED_BYTES_MAX))
            .map(|index| libc::iovec {
                iov_base: base.wrapping_add((index * REGISTERED_BYTES_MAX) as usize).cast(),
                iov_len: (bytes - index * REGISTERED_BYTES_MAX).min(REGISTERED_BYTES_MAX) as usize,
            })
            .collect();
        // SAFETY: I3.
        if unsafe { state.ring.submitter().register_buffers(&buffers) }.is_ok() {
            state.region = Region {
                base: base as usize,
                bytes,
            };
        }
    }

    /// Gathers a request.
    ///
    /// # Safety
    /// As [`crate::tier::device::Device::submit`].
    pub(super) unsafe fn submit(&self, io: &Io) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(place) = state.requests.get_mut(io.token as usize) else {
            return false;
        };
        if place.is_some() {
            return false;
        }
        let entry = entry(io, state.file_registered, state.descriptor, state.region);
        // Where the kernel refuses, it never looks at the queue again, and nobody empties it.
        // SAFETY: I2, and the descriptor is open as long as the ring.
        if state.refused.is_none() && unsafe { state.ring.submission().push(&entry) }.is_err() {
            return false;
        }
        *place = Some(*io);
        state.under_way += 1;
        state.gathered.push(io)
    }

    /// Hands over what is gathered and reports what is done.
    pub(super) fn reap(&self, file: &TierFile, done: &mut [IoDone]) -> usize {
        let mut state = self.lock();
        state.hand_over();
        let mut count = 0;
        while count < done.len() {
            let Some((io, result)) = state.next_done() else {
                break;
            };
            let result = match (io.kind, u32::try_from(result)) {
                // The thread that submitted it has ended before it was done: to be repeated, as any interrupted one.
                (_, Err(_)) if result == -libc::ECANCELED => Err(libc::EINTR),
                (_, Err(_)) => Err(result.saturating_neg()),
                // SAFETY: I2, the request is reported only now.
                (IoKind::Read, Ok(moved)) => unsafe { file.read_ended(io.offset, io.buffer, io.bytes, moved) },
                (_, Ok(moved)) => Ok(moved),
            };
            if let Some(place) = done.get_mut(count) {
                *place = IoDone {
                    token: io.token,
                    result,
                };
            }
            count += 1;
        }
        count
    }

    /// Waits for a completion.
    pub(super) fn wait(&self, timeout_ns: u64) {
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000).cast_signed(),
            tv_nsec: (timeout_ns % 1_000_000_000).cast_signed(),
        };
        let mut watched = libc::pollfd {
            fd: self.descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        // Whatever it answers, the caller looks again.
        // SAFETY: I1, and the addresses are those of locals.
        unsafe { libc::ppoll(&raw mut watched, 1, &raw const timeout, core::ptr::null()) };
    }

    /// Waits until the kernel has no request any more; requests that it was never given are dropped.
    pub(super) fn quiesce(&self, timeout_ns: u64) -> bool {
        let begun = Instant::now();
        let timeout = Duration::from_nanos(timeout_ns);
        loop {
            let mut state = self.lock();
            while state.next_done().is_some() {}
            let at_kernel = state.under_way as usize - state.gathered.count();
            drop(state);
            if at_kernel == 0 {
                return true;
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            // Not all at once: a completion may come between the look above and the wait.
            self.wait(left.as_nanos().min(100_000_000) as u64);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // What a forked child took out of the ring, its parent would wait for. And with a request that hangs, older
        // kernels wait for it here.
        if self.opener.is_here() && self.quiesce(DROP_WAIT_NS) {
            // Closing gives both back too, but some time later: the file would be in use and the memory counted as
            // locked for whoever opens next. Nothing to be done where it fails: then there is only that.
            let state = self.lock();
            let _ = state.ring.submitter().unregister_files();
            let _ = state.ring.submitter().unregister_buffers();
        }
    }
}

impl State {
    /// Gives the kernel what is gathered, in one call.
    fn hand_over(&mut self) {
        if self.gathered.count() == 0 || self.refused.is_some() {
            return;
        }
        match self.ring.submit() {
            Ok(taken) => {
                for _ in 0..taken {
                    self.gathered.pop();
                }
            }
            Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                // Short of something at the moment: with the next call.
                libc::EAGAIN | libc::EBUSY | libc::EINTR => {}
                os_error => self.refused = Some(os_error),
            },
        }
    }

    /// The next request that is done, with what the kernel says.
    fn next_done(&mut self) -> Option<(Io, i32)> {
        let next = self.ring.completion().next();
        if let Some(entry) = next {
            let place = usize::try_from(entry.user_data()).ok()?;
            let io = self.requests.get_mut(place)?.take()?;
            self.under_way -= 1;
            return Some((io, entry.result()));
        }
        // The kernel will never look at the queue again.
        let os_error = self.refused?;
        let io = self.gathered.pop()?;
        *self.requests.get_mut(io.token as usize)? = None;
        self.under_way -= 1;
        Some((io, -os_error))
    }
}

/// The ring's form of a request.
fn entry(io: &Io, file_registered: bool, descriptor: RawFd, region: Region) -> squeue::Entry {
    let file = types::Fd(if file_registered { 0 } else { descriptor });
    let entry = match (io.kind, region.buffer_index(io)) {
        (IoKind::Read, Some(index)) => opcode::ReadFixed::new(file, io.buffer, io.bytes, index)
            .offset(io.offset)
            .build(),
        (IoKind::Read, None) => opcode::Read::new(file, io.buffer, io.bytes).offset(io.offset).build(),
        (IoKind::Write, Some(index)) => opcode::WriteFixed::new(file, io.buffer, io.bytes, index)
            .offset(io.offset)
            .build(),
        (IoKind::Write, None) => opcode::Write::new(file, io.buffer, io.bytes).offset(io.offset).build(),
        (IoKind::Sync, _) => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
    };
    let entry = entry.user_data(u64::from(io.token));
    match file_registered {
        true => entry.flags(squeue::Flags::FIXED_FILE),
        false => entry,
    }
}
