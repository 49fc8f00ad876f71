//! The engine with everything it needs from an operating system: memory, a clock, threads, event descriptors.
//!
//! All of it is obtained by [`Cache::open`]; afterwards nothing here allocates, maps or starts anything.

mod events;
mod fork;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::arena::Fill;
use crate::arena::mapping::Mapping;
use crate::budget::Plan;
use crate::config::Config;
use crate::engine::{Clock, Completion, Engine, LaneRef, Submission, TicketRef, open};
use crate::error::{ConfigError, Status};
use crate::units::Bytes;

use events::{Completions, EventFds};
use fork::ForkMark;
use worker::Workers;

/// Nanoseconds of the system's monotonic clock. No system call where the kernel provides a vDSO.
pub fn now_ns() -> u64 {
    clock::read_ns(libc::CLOCK_MONOTONIC)
}

/// As [`now_ns`], a third of its cost, behind by up to a scheduler's tick (4 ms and less).
fn coarse_ns() -> u64 {
    clock::read_ns(libc::CLOCK_MONOTONIC_COARSE)
}

mod clock {
    //! # Soundness
    //! - **I1** `clock_gettime` writes one `timespec` and keeps no reference to it.
    #![allow(unsafe_code)]

    pub(super) fn read_ns(clock: libc::clockid_t) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: I1.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// What the caller's threads and the workers share.
struct Shared {
    engine: Engine<'static>,
    completions: Completions,
    event_fds: EventFds,
    stop: AtomicBool,
    poisoned: AtomicBool,
    workers_running: AtomicU32,
    workers_asleep: AtomicU32,
    /// The engine's memory where the library mapped it; unmapped after the engine is gone.
    _mapping: Option<Mapping>,
}

impl Shared {
    /// Moves the engine on and tells who waits for a lane.
    fn tick(&self, now_ns: u64) -> u64 {
        self.engine.tick(now_ns, |lane| self.notify(lane))
    }

    fn notify(&self, lane: u32) {
        self.event_fds.signal(lane);
        self.completions.announce();
    }
}

/// An open cache: an [`Engine`] that owns its memory and its threads.
///
/// Derefs to the engine, whose operations any number of threads may call at once. Dropping it stops the workers and
/// gives the memory back.
pub struct Cache {
    shared: Arc<Shared>,
    workers: Workers,
    fork_mark: ForkMark,
}

impl Cache {
    /// Obtains exactly what [`Plan::compute`] says, and opens the engine in it. The last thing that allocates.
    ///
    /// # Errors
    /// The field that is wrong or that the system did not fulfil, with value, range and the system's error number.
    pub fn open(config: &Config) -> Result<Self, ConfigError> {
        let plan = Plan::compute(config)?;
        let mapping = Mapping::new(Bytes(plan.bytes()), config)?;
        let (address, bytes) = (mapping.address(), mapping.bytes() as u64);
        memory::open_mapped(config, address, bytes, Some(mapping))
    }

    /// As [`Cache::open`], in memory that the caller brings: at least [`Plan::bytes`] bytes that start at a multiple of
    /// 4096. `huge_pages`, `memory_lock` and `prefault: All` are the caller's business then and are not applied.
    ///
    /// # Errors
    /// As [`Cache::open`].
    ///
    /// # Safety
    /// The memory must be valid and initialised, and used by nobody else, until the cache is dropped.
    #[allow(unsafe_code)]
    pub unsafe fn open_in(config: &Config, memory: *mut u8, memory_bytes: u64) -> Result<Self, ConfigError> {
        memory::open_mapped(config, memory, memory_bytes, None)
    }

    fn start(config: &Config, engine: Engine<'static>, mapping: Option<Mapping>) -> Result<Self, ConfigError> {
        let shared = Arc::new(Shared {
            engine,
            completions: Completions::default(),
            event_fds: EventFds::open(config.lanes_count)?,
            stop: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            workers_running: AtomicU32::new(0),
            workers_asleep: AtomicU32::new(0),
            _mapping: mapping,
        });
        Ok(Self {
            workers: Workers::start(config.workers_count, &shared)?,
            shared,
            fork_mark: ForkMark::new()?,
        })
    }

    /// Whether the cache can be used by this process.
    ///
    /// # Errors
    /// [`Status::Forked`] in a forked child of the process that opened it; [`Status::Poisoned`] after an internal
    /// failure.
    #[inline]
    pub fn check(&self) -> Result<(), Status> {
        // Relaxed: a flag that is never taken back.
        if self.shared.poisoned.load(Ordering::Relaxed) {
            return Err(Status::Poisoned);
        }
        if self.fork_mark.is_gone() {
            return Err(Status::Forked);
        }
        Ok(())
    }

    /// Refuses all work from now on; for callers that caught a panic of this library.
    pub fn poison(&self) {
        self.shared.poisoned.store(true, Ordering::Relaxed);
    }

    /// Moves the engine on; see [`Engine::tick`]. In worker mode the workers do this. `now_ns` is the time where the
    /// configuration says that time comes from ticks alone, and not used otherwise.
    pub fn tick(&self, now_ns: u64) -> u64 {
        self.shared.tick(now_ns)
    }

    /// As [`Engine::submit`]; wakes a worker.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    ///
    /// # Safety
    /// As [`Engine::submit`].
    #[allow(unsafe_code)]
    pub unsafe fn submit(
        &self,
        lane: LaneRef,
        operations: &[Submission],
        tickets: Option<&mut [TicketRef]>,
    ) -> Result<u64, Status> {
        // SAFETY: the caller's promise is the engine's.
        let taken = unsafe { self.shared.engine.submit(lane, operations, tickets) }?;
        self.workers.wake(&self.shared);
        Ok(taken)
    }

    /// Waits until the operation is done and takes its completion. In tick mode it does the lane's work itself.
    ///
    /// # Errors
    /// [`Status::Timeout`] after `timeout` (the operation goes on), [`Status::Poisoned`], and those of
    /// [`Engine::poll`].
    pub fn wait(&self, lane: LaneRef, ticket: TicketRef, timeout: Duration) -> Result<Completion, Status> {
        let started = Instant::now();
        let _waiter = self.shared.completions.waiter();
        loop {
            self.check()?;
            let seen = self.shared.completions.seen();
            match self.shared.engine.poll(lane, ticket) {
                Err(Status::Pending) => {}
                answer => return answer,
            }
            let Some(left) = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
                return Err(Status::Timeout);
            };
            self.shared.completions.wait(seen, left);
        }
    }

    /// A descriptor that becomes readable when the lane gets completions; made when the cache opened, and closed with
    /// it. Read eight bytes from it, then reap.
    ///
    /// # Errors
    /// [`Status::Stale`] if the lane is not open.
    pub fn lane_event_fd(&self, lane: LaneRef) -> Result<i32, Status> {
        self.shared.engine.lane_check(lane)?;
        self.shared.event_fds.arm(lane.index).ok_or(Status::Stale)
    }

    /// Refuses new blocks and operations from now on and completes what lanes have queued. Resident blocks stay
    /// readable.
    pub fn shutdown(&self) {
        self.shared.engine.shutdown(|lane| self.shared.notify(lane));
    }

    /// Closes the cache and gives everything back.
    ///
    /// # Errors
    /// The cache itself and [`Status::Busy`] while views, reservations or lanes are open.
    pub fn close(self) -> Result<(), (Self, Status)> {
        if self.check() == Ok(()) && !self.shared.engine.is_idle() {
            return Err((self, Status::Busy));
        }
        Ok(())
    }
}

impl core::ops::Deref for Cache {
    type Target = Engine<'static>;

    fn deref(&self) -> &Engine<'static> {
        &self.shared.engine
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Relaxed: the wake-up and the join order it.
        self.shared.stop.store(true, Ordering::Relaxed);
        self.workers.stop(self.fork_mark.is_gone());
    }
}

mod memory {
    //! # Soundness
    //! - **I1** An engine opened here lives in memory that outlives it: its own mapping, which `Shared` drops last, or
    //!   the caller's, who promised so to `Cache::open_in`.
    //! - **I2** A fresh anonymous mapping is zero.
    #![allow(unsafe_code)]
    use super::*;

    pub(super) fn open_mapped(
        config: &Config,
        address: *mut u8,
        bytes: u64,
        mapping: Option<Mapping>,
    ) -> Result<Cache, ConfigError> {
        let clock = match config.clock_ticks {
            true => Clock::Ticks,
            false => Clock::Functions { now_ns, coarse_ns },
        };
        let fill = if mapping.is_some() { Fill::Zero } else { Fill::Unknown };
        // SAFETY: I1 for the memory, I2 for the fill.
        let engine = unsafe { open::in_mapping(config, address, bytes, fill, clock)? };
        Cache::start(config, engine, mapping)
    }
}
