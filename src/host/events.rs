//! How those who wait for completions hear of them: event descriptors for event loops, a condition for `wait`.
//!
//! # Soundness
//! - **I1** Each descriptor is owned by an `OwnedFd`; `write` reads eight bytes of a local and keeps nothing.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use crate::error::{ConfigError, Status};

/// One event descriptor per lane.
pub(super) struct EventFds {
    /// The descriptor, and whether anybody ever asked for it.
    lanes: Vec<(OwnedFd, AtomicBool)>,
}

impl EventFds {
    /// Makes all descriptors.
    pub(super) fn open(lanes_count: u64) -> Result<Self, ConfigError> {
        let mut lanes = Vec::with_capacity(lanes_count as usize);
        for _ in 0..lanes_count {
            // SAFETY: the call takes two numbers.
            let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
            if fd < 0 {
                return Err(ConfigError {
                    status: Status::EventFd,
                    field: "lanes_count",
                    value: lanes_count,
                    value_min: 0,
                    value_max: lanes.len() as u64,
                    reason: "each lane needs an event descriptor; have fewer lanes or raise the limit (ulimit -n)",
                    os_error: io::Error::last_os_error().raw_os_error().unwrap_or(0),
                });
            }
            // SAFETY: I1, the descriptor is new and nobody else's.
            lanes.push((unsafe { OwnedFd::from_raw_fd(fd) }, AtomicBool::new(false)));
        }
        Ok(Self { lanes })
    }

    /// The lane's descriptor; signals are sent from now on. The first who asks is signalled at once if there are
    /// completions from before.
    pub(super) fn arm(&self, lane: u32, has_completions: impl FnOnce() -> bool) -> Option<i32> {
        let (fd, armed) = self.lanes.get(lane as usize)?;
        // SeqCst, with the fence: partner is the fence in `signal`. Either whoever completes sees that somebody
        // listens, or the completion is seen here.
        let is_first = !armed.swap(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if is_first && has_completions() {
            self.signal(lane);
        }
        Some(fd.as_raw_fd())
    }

    /// Makes the lane's descriptor readable if anybody asked for it.
    pub(super) fn signal(&self, lane: u32) {
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence; see `arm`.
        if let Some((fd, armed)) = self.lanes.get(lane as usize)
            && armed.load(Ordering::Relaxed)
        {
            let one = 1_u64;
            // A full counter refuses to grow, and then the descriptor is readable already.
            // SAFETY: I1.
            unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        }
    }
}

/// Counts completions for those that wait for one.
#[derive(Default)]
pub(super) struct Completions {
    waiters: AtomicU32,
    announced: Mutex<u64>,
    changed: Condvar,
}

/// A thread in `wait`.
pub(super) struct Waiter<'c>(&'c AtomicU32);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // Relaxed: one announcement too many does no harm.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Completions {
    /// Says that somebody is about to look for a completion and to wait if there is none.
    pub(super) fn waiter(&self) -> Waiter<'_> {
        // SeqCst, with the fence: partner is the fence in `announce`. Either the announcer sees the waiter or the
        // waiter's look at its ticket sees the completion.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Waiter(&self.waiters)
    }

    /// How many announcements there were: to be read before looking.
    pub(super) fn seen(&self) -> u64 {
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells waiters to look again. No system call where nobody waits.
    pub(super) fn announce(&self) {
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence; see `waiter`.
        if self.waiters.load(Ordering::Relaxed) != 0 {
            *self.announced.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.changed.notify_all();
        }
    }

    /// Waits for an announcement after `seen`, at most for `timeout`.
    pub(super) fn wait(&self, seen: u64, timeout: Duration) {
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        // Either it was announced, or the time is up: the caller looks again in both cases.
        drop(
            self.changed
                .wait_timeout_while(announced, timeout, |announced| *announced == seen),
        );
    }
}
