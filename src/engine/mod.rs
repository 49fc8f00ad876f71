//! The engine: everything between a key and its bytes, without a thread, a clock or an allocation of its own.
//!
//! An [`Engine`] borrows one piece of memory that a [`Plan`] was laid over. Every operation takes `&self` and may be
//! called by any number of threads at once. Time comes from outside: a clock function, or the times given to
//! [`Engine::tick`].
//!
//! **Progress.** Match, get, acquire, release, reserve, commit and abort are lock-free and make no system call; each
//! room's documentation says so of its part. Where a policy has to choose a victim and another thread is just having
//! the policy's turn, the caller does not wait for it but sweeps.

mod control;
mod evict;
mod foresight;
mod importance;
pub(crate) mod lane;
pub(crate) mod lower;
mod observe;
mod read;
mod remove;
mod tick;
mod use_times;
mod write;

use crate::arena::{Arena, Fill};
use crate::block::entry::Entry;
use crate::block::facts::Facts;
use crate::block::pins::PinTable;
use crate::budget::{Part, Plan};
use crate::config::Config;
use crate::copy::Copier;
use crate::error::{ConfigError, Status};
use crate::index::Index;
use crate::metrics::{Counters, EventRing, Histograms};
use crate::policy::{AnyPolicy, Storage};
use crate::sync::atomic::Ordering;
use crate::sync::inbox::Inbox;
use crate::sync::thread;
use crate::tier::cpu::CpuTier;
use crate::tier::cpu::share::Sharing;

use control::Control;
use foresight::Foresight;
use importance::ImportanceTable;
use lane::Lanes;
use lower::Lower;

pub use lane::{Completion, LaneRef, Opcode, Submission, TicketRef};
pub use lower::{CodecState, Devices, FileTierState};
pub use observe::{BlockFacts, Capacity, Latency, PinInfo, Stats};
pub use read::{RawView, View};
pub use write::{RawReservation, Reservation};

/// Where the engine's time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Only from [`Engine::tick`]: time stands still in between. Deterministic.
    Ticks,
    /// From a function that returns nanoseconds and never goes back.
    Function(fn() -> u64),
    /// From two functions over the same time: an exact one, and a cheaper one that may lag by milliseconds and serves
    /// where only ages in milliseconds are asked for.
    Functions {
        /// The exact one.
        now_ns: fn() -> u64,
        /// The cheap one.
        coarse_ns: fn() -> u64,
    },
}

/// A cache engine over borrowed memory.
///
/// Shared freely between threads; every method takes `&self`. Nothing allocates, on no path.
pub struct Engine<'m> {
    config: Config,
    plan: Plan,
    clock: Clock,
    stamp_shift: u32,
    arena: Arena<'m>,
    control: &'m Control,
    entries: &'m [Entry],
    facts: &'m [Facts],
    index: Index<'m>,
    pins: PinTable<'m>,
    inbox: Inbox<'m>,
    policy: AnyPolicy<'m>,
    importance: ImportanceTable<'m>,
    cpu: CpuTier<'m>,
    counters: Counters<'m>,
    histograms: Histograms<'m>,
    events: EventRing<'m>,
    lanes: Lanes<'m>,
    lower: Option<Lower<'m>>,
    foresight: Option<Foresight<'m>>,
}

impl<'m> Engine<'m> {
    /// Opens an engine in `memory`, which must start at a multiple of 4096 bytes and have at least
    /// [`Plan::bytes`] bytes. The metadata part is zeroed, the slots are not touched.
    ///
    /// # Errors
    /// The configuration's or the memory's fault, with field, value and range.
    pub fn new(config: &Config, memory: &'m mut [u8], clock: Clock) -> Result<Self, ConfigError> {
        Self::with_devices(config, memory, clock, Devices::NONE)
    }

    /// As [`Engine::new`], with file tiers over `devices`. Their files are identified and read here.
    ///
    /// # Errors
    /// As [`Engine::new`]; [`Status::FileMismatch`], [`Status::FileForeign`], [`Status::FileDamaged`],
    /// [`Status::File`] for what a device holds.
    pub fn with_devices(
        config: &Config,
        memory: &'m mut [u8],
        clock: Clock,
        devices: Devices<'m>,
    ) -> Result<Self, ConfigError> {
        let bytes = memory.len() as u64;
        open::in_memory(config, memory.as_mut_ptr(), bytes, clock, devices)
    }

    /// What the engine was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The memory it lives in.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The engine's time in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        match self.clock {
            // Relaxed: a number.
            Clock::Ticks => self.control.now_ns.load(Ordering::Relaxed),
            Clock::Function(now_ns) | Clock::Functions { now_ns, .. } => now_ns(),
        }
    }

    /// As [`Engine::now_ns`], for ages in milliseconds.
    #[inline]
    fn coarse_ns(&self) -> u64 {
        match self.clock {
            Clock::Functions { coarse_ns, .. } => coarse_ns(),
            _ => self.now_ns(),
        }
    }

    /// [`Status::Shutdown`] once [`Engine::shutdown`] was called.
    #[inline]
    fn check_open(&self) -> Result<(), Status> {
        // Acquire: partner is the release in `shutdown`.
        match self.control.shutdown.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(Status::Shutdown),
        }
    }

    /// The calling thread's stripe.
    #[inline]
    fn stripe(&self) -> usize {
        thread::stripe(self.config.stripes_count)
    }

    /// The use clock as a hit sees it: after the last insertion, before the next.
    #[inline]
    fn stamp_hit(&self) -> u64 {
        // Relaxed: an estimate by design.
        (self.control.commits.load(Ordering::Relaxed) >> self.stamp_shift) << 1 | 1
    }

    /// Moves the use clock on by one insertion.
    fn stamp_insert(&self) -> u64 {
        // Relaxed: only the number matters.
        let commits = self.control.commits.fetch_add(1, Ordering::Relaxed) + 1;
        (commits >> self.stamp_shift) << 1
    }
}

/// Opening, the one place where an engine's parts come together.
///
/// # Soundness
/// - **I1** `Engine::new` holds the caller's memory exclusively for `'m`; [`in_mapping`] passes its own caller's
///   promise on.
/// - **I3** The arena was made just before, for this engine.
/// - **I2** The slab of the tier is the part of the arena that nothing else is laid over.
pub(crate) mod open {
    #![allow(unsafe_code)]
    use super::*;

    /// Opens in a slice's memory.
    pub(super) fn in_memory<'m>(
        config: &Config,
        base: *mut u8,
        bytes: u64,
        clock: Clock,
        devices: Devices<'m>,
    ) -> Result<Engine<'m>, ConfigError> {
        // SAFETY: I1, the slice was given whole, exclusively and for 'm.
        unsafe { in_mapping(config, base, bytes, Fill::Unknown, clock, devices) }
    }

    /// Opens in any memory.
    ///
    /// # Safety
    /// As [`Arena::new`]: valid, initialised, exclusive for `'m`; zero where `fill` says so.
    pub(crate) unsafe fn in_mapping<'m>(
        config: &Config,
        base: *mut u8,
        bytes: u64,
        fill: Fill,
        clock: Clock,
        devices: Devices<'m>,
    ) -> Result<Engine<'m>, ConfigError> {
        let plan = Plan::compute(config)?;
        // SAFETY: the caller's promise is the arena's.
        let arena: Arena<'m> = unsafe { Arena::new(base, bytes, &plan, fill)? };
        let control: &'m Control = &arena.slice(Part::Control)[0];
        let entries: &'m [Entry] = arena.slice(Part::Entries);
        let entries_count = plan.entries_count() as usize;
        let policy = AnyPolicy::new(
            config.policy,
            Storage {
                words: arena.slice(Part::PolicyWords),
                links: arena.slice(Part::PolicyLinks),
                heads: arena.slice(Part::PolicyHeads),
            },
        );
        let slot_links = &arena.slice(Part::SlotLinks)[..plan.slots_count() as usize];
        let sharing = config.dedup.then(|| {
            Sharing::new(
                &arena.slice(Part::SlotShares)[..2 * plan.slots_count() as usize],
                arena.slice(Part::SlotDigests),
                &control.shared,
                plan.shares_count(),
            )
        });
        // SAFETY: I2.
        let cpu = unsafe {
            CpuTier::new(
                arena.slots_base(),
                plan.slot_bytes(),
                &control.slots_free,
                slot_links,
                Copier::detect(),
                sharing,
                config.hash_seed,
            )
        };
        let stripes_count = config.stripes_count as usize;
        let now_ns = match clock {
            Clock::Ticks => 0,
            Clock::Function(now_ns) | Clock::Functions { now_ns, .. } => now_ns(),
        };
        // SAFETY: I3.
        let lower = unsafe { lower::open(config, &plan, &arena, &devices, now_ns)? };
        let engine = Engine {
            config: *config,
            plan,
            clock,
            // A 4096th of the capacity is one step of the use clock, so that a hot block's line is written rarely.
            stamp_shift: (plan.blocks_count() / 4096).max(1).ilog2(),
            arena,
            control,
            entries,
            facts: &arena.slice(Part::Facts)[..entries_count],
            index: Index::new(arena.slice(Part::Index), entries, config.hash_seed),
            pins: PinTable::new(
                arena.slice(Part::Pins),
                arena.slice(Part::PinTimes),
                stripes_count,
                config.pins_per_stripe() as usize,
            ),
            inbox: Inbox::new(&control.inbox_head, &arena.slice(Part::Inbox)[..entries_count]),
            policy,
            importance: ImportanceTable::new(arena.slice(Part::ImportanceTable)),
            cpu,
            counters: Counters::new(arena.slice(Part::Counters)),
            histograms: Histograms::new(arena.slice(Part::Histograms)),
            events: EventRing::new(arena.slice(Part::Events), config.events_count as usize),
            lanes: Lanes::new(config, &arena),
            foresight: Engine::foresight_of(config, &plan, &arena),
            lower,
        };
        engine.recover()?;
        Ok(engine)
    }
}
