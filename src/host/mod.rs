//! The engine with everything it needs from an operating system: memory, a clock, threads, event descriptors, files.
//!
//! All of it is obtained by [`Cache::open`]; afterwards nothing here allocates, maps or starts anything.

mod events;
mod files;
mod fork;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::arena::Fill;
use crate::arena::mapping::Mapping;
use crate::budget::Plan;
use crate::config::Config;
use crate::engine::{Clock, Completion, Devices, Engine, LaneRef, Submission, TicketRef, open};
use crate::error::{ConfigError, Status};
use crate::key::Key;
use crate::units::Bytes;

use events::{Completions, EventFds};
use files::{Created, Files};
use fork::ForkMark;
use worker::Workers;

pub use files::Paths;

/// Longest wait for a device before the caller looks again whether it has work of its own.
const IO_WAIT: Duration = Duration::from_millis(1);
/// Longest wait for the workers before a caller looks again.
const WORK_WAIT: Duration = Duration::from_millis(10);
/// Longest wait for requests that a stalled device has not answered, when everything is given back.
const DEVICE_WAIT: Duration = Duration::from_secs(60);
/// Longest that a shutdown waits for what is still to be written down.
const SHUTDOWN_FLUSH: Duration = Duration::from_secs(600);

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

/// What the caller's threads and the workers share. The order of the fields is the order in which they go.
struct Shared {
    engine: Engine<'static>,
    completions: Completions,
    event_fds: EventFds,
    stop: AtomicBool,
    poisoned: AtomicBool,
    workers_running: AtomicU32,
    workers_asleep: AtomicU32,
    /// 1 while a worker waits for a device: one is enough, the others wait for submissions.
    io_waiting: AtomicBool,
    ground: Ground,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // In a forked child nothing is under way: what the parent began goes to the parent's memory.
        if !self.ground.fork_mark.is_gone() {
            self.engine.quiesce();
        }
    }
}

/// What the engine stands on. The order of the fields is the order in which they go.
struct Ground {
    fork_mark: ForkMark,
    /// The engine's devices; closed after the engine is gone, and before their buffers are.
    files: Files,
    /// The engine's memory where the library mapped it; unmapped after the engine is gone.
    mapping: Option<Mapping>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // As in `Shared`.
        if self.fork_mark.is_gone() {
            return;
        }
        while !self.files.quiesce(DEVICE_WAIT) {
            // The kernel may write to its buffers at any later time: better that memory is lost than that it is
            // somebody else's. What the caller brought can't be lost, only waited for.
            if let Some(mapping) = self.mapping.take() {
                core::mem::forget(mapping);
                return;
            }
        }
    }
}

impl Shared {
    /// Moves the engine on and tells who waits for a lane.
    fn tick(&self, now_ns: u64) -> u64 {
        self.engine.tick(now_ns, |lane| self.notify(lane))
    }

    /// Whether a worker waits for a device.
    fn io_waiting(&self) -> bool {
        // Relaxed: see `worker::run`.
        self.io_waiting.load(Ordering::Relaxed)
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
}

impl Cache {
    /// Obtains exactly what [`Plan::compute`] says, and opens the engine in it. The last thing that allocates.
    ///
    /// # Errors
    /// The field that is wrong or that the system did not fulfil, with value, range and the system's error number. A
    /// configuration with file tiers needs [`Cache::open_with`], which is told where their files are.
    pub fn open(config: &Config) -> Result<Self, ConfigError> {
        Self::open_with(config, &Paths::default())
    }

    /// As [`Cache::open`], with the files of the file tiers at `paths`: made where there are none, read where they hold
    /// what an engine of the same configuration left. What this opening made is removed again where it fails.
    ///
    /// # Errors
    /// As [`Cache::open`]; [`Status::File`], [`Status::NoSpace`], [`Status::FileBusy`], [`Status::FileMismatch`],
    /// [`Status::FileForeign`], [`Status::FileDamaged`] and [`Status::NoUring`] for the files.
    pub fn open_with(config: &Config, paths: &Paths<'_>) -> Result<Self, ConfigError> {
        memory::open(config, paths, None)
    }

    /// As [`Cache::open_with`], in memory that the caller brings: at least [`Plan::bytes`] bytes that start at a
    /// multiple of 4096. `huge_pages`, `memory_lock` and `prefault: All` are the caller's business then and are not
    /// applied.
    ///
    /// # Errors
    /// As [`Cache::open_with`].
    ///
    /// # Safety
    /// The memory must be valid and initialised, and used by nobody else, until the cache is dropped.
    #[allow(unsafe_code)]
    pub unsafe fn open_in(
        config: &Config,
        paths: &Paths<'_>,
        memory: *mut u8,
        memory_bytes: u64,
    ) -> Result<Self, ConfigError> {
        memory::open(config, paths, Some((memory, memory_bytes)))
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
        if self.shared.ground.fork_mark.is_gone() {
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

    /// As [`Engine::prefetch`]; wakes a worker.
    pub fn prefetch(&self, keys: &[Key]) -> u64 {
        let begun = self.shared.engine.prefetch(keys);
        if begun != 0 {
            self.workers.wake(&self.shared);
        }
        begun
    }

    /// Makes every block durable that was committed before, and every removal: writes down what no file tier holds,
    /// then has the files synced. Returns how many blocks were written.
    ///
    /// # Errors
    /// As [`Engine::flush`]: [`Status::Timeout`], [`Status::Endurance`], [`Status::Offline`], and
    /// [`Status::Unsupported`] without a file tier.
    pub fn flush(&self, timeout: Duration) -> Result<u64, Status> {
        self.shared.engine.flush(nanoseconds(timeout))
    }

    /// Waits until the operation is done and takes its completion. In tick mode it does the lane's work itself, and
    /// moves the file tiers on.
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
            let tick_mode = self.shared.engine.config().workers_count == 0;
            if tick_mode && self.shared.engine.io_under_way() {
                self.shared.engine.io_wait(nanoseconds(left.min(IO_WAIT)));
            } else {
                self.shared.completions.wait(seen, left.min(WORK_WAIT));
            }
        }
    }

    /// A descriptor that becomes readable when the lane gets completions; made when the cache opened, and closed with
    /// it. Read eight bytes from it, then reap.
    ///
    /// # Errors
    /// [`Status::Stale`] if the lane is not open.
    pub fn lane_event_fd(&self, lane: LaneRef) -> Result<i32, Status> {
        self.shared.engine.lane_check(lane)?;
        let shared = &*self.shared;
        let has_completions = || shared.engine.lane_has_completions(lane.index);
        shared.event_fds.arm(lane.index, has_completions).ok_or(Status::Stale)
    }

    /// Refuses new blocks and operations from now on, completes what lanes have queued, and flushes, for as long as
    /// that goes on within ten minutes. Resident blocks stay readable.
    pub fn shutdown(&self) {
        self.shared.engine.shutdown(|lane| self.shared.notify(lane));
        // Best effort: what can't be made durable is no longer in the files when they are opened again.
        let _ = self.flush(SHUTDOWN_FLUSH);
    }

    /// Closes the cache and gives everything back. Does not flush: what no file holds is gone then.
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
        self.workers.stop(self.shared.ground.fork_mark.is_gone());
    }
}

/// A duration as the engine counts: all that is longer than 584 years is that long.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

mod memory {
    //! # Soundness
    //! - **I1** An engine opened here lives in memory that outlives it: its own mapping, which `Shared` drops last, or
    //!   the caller's, who promised so to `Cache::open_in`.
    //! - **I2** A fresh anonymous mapping is zero.
    //! - **I3** The engine borrows its devices for longer than the compiler can see. They lie in boxes of their own, so
    //!   that they stay in place while `Files` moves; `Files` has no way to take one out; and wherever both are
    //!   dropped, the engine is first: in `open` it is declared last, in `Shared` it is the first field.
    //! - **I4** A device may still write to the engine's memory after a call returned. The memory goes with `Ground`,
    //!   which waits for that before, or lets go of neither: whatever way out is taken once the devices know of it. New
    //!   requests are made by callers and workers only, and none is left then.
    #![allow(unsafe_code)]
    use super::*;

    /// Opens everything: what is cheap to refuse first, the memory and what is in the files last.
    pub(super) fn open(
        config: &Config,
        paths: &Paths<'_>,
        memory: Option<(*mut u8, u64)>,
    ) -> Result<Cache, ConfigError> {
        let plan = Plan::compute(config)?;
        let event_fds = EventFds::open(config.lanes_count)?;
        // Before the files, so that they are closed when those that were made go.
        let mut created = Created::default();
        let mut ground = Ground {
            fork_mark: ForkMark::new()?,
            files: Files::open(config, &plan, paths, &mut created)?,
            mapping: None,
        };
        let (address, bytes) = match memory {
            Some(memory) => memory,
            None => {
                let mapping = ground.mapping.insert(Mapping::new(Bytes(plan.bytes()), config)?);
                (mapping.address(), mapping.bytes() as u64)
            }
        };
        let clock = match config.clock_ticks {
            true => Clock::Ticks,
            false => Clock::Functions { now_ns, coarse_ns },
        };
        let fill = match ground.mapping {
            Some(_) => Fill::Zero,
            None => Fill::Unknown,
        };
        // SAFETY: I3.
        let devices = unsafe { core::mem::transmute::<Devices<'_>, Devices<'static>>(ground.files.devices()) };
        // SAFETY: I1 for the memory, I2 for the fill.
        let engine = unsafe { open::in_mapping(config, address, bytes, fill, clock, devices)? };
        if let Err(refusal) = ground.files.complete() {
            engine.quiesce();
            return Err(refusal);
        }
        let shared = Arc::new(Shared {
            engine,
            completions: Completions::default(),
            event_fds,
            stop: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            workers_running: AtomicU32::new(0),
            workers_asleep: AtomicU32::new(0),
            io_waiting: AtomicBool::new(false),
            ground,
        });
        let workers = Workers::start(config.workers_count, &shared)?;
        created.keep();
        Ok(Cache { shared, workers })
    }
}
