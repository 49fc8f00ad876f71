//! What an engine says about itself: statistics, latencies, events, who holds what.

use core::fmt;

use super::{Clock, Engine};
use crate::block::{BlockRef, PinRef};
use crate::key::Key;
use crate::metrics::{
    Counter, Event, EventKind, EventRead, Gauges, HistogramSnapshot, Operation, Snapshot, TierGauges,
};
use crate::sync::atomic::Ordering;
use crate::units::{BlockIndex, Tier};

/// Counters and gauges at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    counters: [u64; Counter::COUNT],
    /// Blocks in memory that can be read.
    pub blocks_resident: u64,
    /// Blocks that are in file tiers only.
    pub blocks_below: u64,
    /// Blocks being filled.
    pub blocks_reserved: u64,
    /// Slots of the memory tier that are free.
    pub slots_free: u64,
    /// Views held.
    pub pins_held: u64,
    /// Age of the oldest view in nanoseconds.
    pub pins_age_ns_max: u64,
    /// Lanes open.
    pub lanes_open: u64,
    /// The number that the next event will have.
    pub event_sequence_next: u64,
    /// Bytes of blocks in memory that share another block's slot instead of taking one of their own.
    pub dedup_bytes_saved: u64,
    /// Least probability at which something is raised ahead of its use, in thousandths; 0 where prefetching is off.
    pub tuning_confidence_permille: u64,
    /// Hits that admission by reuse may cost, in thousandths; 0 where no file tier admits by reuse.
    pub tuning_admission_loss_permille: u64,
}

impl Stats {
    /// How often something happened since open.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }
}

/// What fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Most blocks resident at once.
    pub blocks_count: u64,
    /// Most bytes of one block.
    pub block_bytes: u64,
    /// Bytes of all slots.
    pub bytes: u64,
    /// Most views held at once.
    pub pins_count: u64,
    /// Most lanes open at once.
    pub lanes_count: u64,
    /// Most operations in flight on one lane.
    pub lane_depth: u64,
    /// Bytes of the whole arena.
    pub arena_bytes: u64,
}

/// A latency distribution.
pub type Latency = HistogramSnapshot;

/// A view that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinInfo {
    /// The block held.
    pub block: BlockRef,
    /// The pin.
    pub pin: PinRef,
    /// The block's key.
    pub key: Key,
    /// How long it has been held, in nanoseconds.
    pub age_ns: u64,
}

/// What is known of a resident block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    /// The block.
    pub block: BlockRef,
    /// Its length.
    pub bytes: u64,
    /// Place in the chain; 65535 stands for that and more.
    pub chain_index: u64,
    /// Tokens in the block; 65535 stands for that and more.
    pub tokens_count: u64,
    /// Cost of computing it again in microseconds, rounded down by at most an eighth.
    pub recompute_cost_us: u64,
    /// The conversation, folded to 32 bits; 0 for none.
    pub conversation_id: u32,
    /// The namespace.
    pub namespace_id: u64,
    /// Retention priority at present.
    pub priority: u8,
    /// Whether it is protected at present.
    pub protected: bool,
    /// The geometry's number; 0 is plain bytes.
    pub geometry_id: u8,
}

impl Engine<'_> {
    /// The time at which an operation that is to be timed begins. Memory hits are sampled; see
    /// `Config::latency_sample_count`.
    #[inline]
    pub(super) fn timer(&self, stripe: usize) -> Option<(usize, u64)> {
        let sample_count = self.config.latency_sample_count;
        if sample_count == 0
            || matches!(self.clock, Clock::Ticks)
            || self.pins.sequence(stripe) & (sample_count - 1) != 0
        {
            return None;
        }
        Some((stripe, self.now_ns()))
    }

    /// Records how long an operation took that [`Engine::timer`] chose.
    #[inline]
    pub(super) fn time(&self, started: Option<(usize, u64)>, operation: Operation) {
        if let Some((stripe, started_ns)) = started {
            let latency_ns = self.now_ns().saturating_sub(started_ns);
            self.histograms.record(stripe, operation, Tier::Cpu, latency_ns);
        }
    }

    /// Tells the routers.
    pub(super) fn event(&self, kind: EventKind, key: Key, block: BlockRef, tier: Tier) {
        if self.events.capacity() == 0 {
            return;
        }
        let written = self.events.write(&Event {
            sequence: 0,
            time_ns: self.now_ns(),
            key,
            block_index: BlockIndex(block.index),
            block_generation: block.generation,
            kind,
            tier,
        });
        if !written {
            self.counters.add(self.stripe(), Counter::EventsLost, 1);
        }
    }

    /// Counters and gauges. Each is current; together they are no cut through one instant.
    pub fn stats(&self) -> Stats {
        let mut counters = [0; Counter::COUNT];
        for &counter in Counter::ALL {
            counters[counter as usize] = self.counters.total(counter);
        }
        let total = |counter: Counter| counters[counter as usize];
        let gone = total(Counter::Evictions) + total(Counter::EvictionsSwept) + total(Counter::Removes);
        let come = total(Counter::Commits) + total(Counter::NvmeHits) + total(Counter::DiskHits);
        let (mut pins_held, mut pins_age_ns_max) = (0, 0);
        let now_ns = self.coarse_ns();
        self.pins.each(|_, _, since_ns, _| {
            pins_held += 1;
            pins_age_ns_max = pins_age_ns_max.max(age_ns(now_ns, since_ns));
        });
        Stats {
            counters,
            blocks_resident: (come + total(Counter::RemovesBelow)).saturating_sub(gone),
            // Relaxed: a figure.
            blocks_below: self.control.below_count.load(Ordering::Relaxed),
            blocks_reserved: self.reservations_count(),
            slots_free: self.slots_free(),
            pins_held,
            pins_age_ns_max,
            lanes_open: self.lanes.open_count(),
            event_sequence_next: self.events.next_sequence(),
            dedup_bytes_saved: self.cpu.bytes_saved(),
            tuning_confidence_permille: if self.config.prefetch.is_on() {
                self.confidence_permille()
            } else {
                0
            },
            tuning_admission_loss_permille: if self.config.admits_by_reuse() {
                self.admission_loss_permille()
            } else {
                0
            },
        }
    }

    /// Slots of the memory tier that nobody has.
    pub(super) fn slots_free(&self) -> u64 {
        let taken = self.counters.total(Counter::Reserves) + self.counters.total(Counter::Raises);
        let used = taken.saturating_sub(self.counters.total(Counter::Frees));
        self.plan.slots_count().saturating_sub(used)
    }

    /// What fits.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            blocks_count: self.plan.blocks_count(),
            block_bytes: self.config.block_bytes,
            bytes: self.plan.slots_count() * self.plan.slot_bytes(),
            pins_count: self.config.pins_count,
            lanes_count: self.config.lanes_count,
            lane_depth: self.config.lane_depth,
            arena_bytes: self.plan.bytes(),
        }
    }

    /// How long the timed operations of one kind took.
    pub fn latency(&self, operation: Operation, tier: Tier) -> Latency {
        self.histograms.snapshot(operation, tier)
    }

    /// Writes everything as Prometheus text.
    ///
    /// # Errors
    /// Only the target's.
    pub fn metrics_write(&self, mut target: &mut dyn fmt::Write) -> fmt::Result {
        let stats = self.stats();
        let capacity = self.capacity();
        let mut tiers = [None; Tier::ALL.len()];
        tiers[Tier::Cpu as usize] = Some(TierGauges {
            bytes_capacity: capacity.bytes,
            bytes_used: (self.plan.slots_count() - stats.slots_free) * self.plan.slot_bytes(),
            slots_capacity: self.plan.slots_count(),
            slots_free: stats.slots_free,
            blocks_resident: stats.blocks_resident,
        });
        Snapshot {
            counters: self.counters,
            histograms: self.histograms,
            gauges: Gauges {
                blocks_capacity: capacity.blocks_count,
                blocks_resident: stats.blocks_resident,
                reservations_open: stats.blocks_reserved,
                pins_capacity: capacity.pins_count,
                pins_held: stats.pins_held,
                pin_age_ns_max: stats.pins_age_ns_max,
                lanes_capacity: capacity.lanes_count,
                lanes_open: stats.lanes_open,
                operations_in_flight: stats
                    .counter(Counter::OperationsSubmitted)
                    .saturating_sub(stats.counter(Counter::OperationsCompleted)),
                events_capacity: self.events.capacity() as u64,
                event_sequence_next: stats.event_sequence_next,
                dedup_bytes_saved: stats.dedup_bytes_saved,
                ..Gauges::default()
            },
            tiers,
        }
        .write_prometheus(&mut target)
    }

    /// Reads events from `next_sequence` on into `events` and moves `next_sequence` behind the last.
    pub fn events_read(&self, next_sequence: &mut u64, events: &mut [Event]) -> EventRead {
        self.events.read(next_sequence, events)
    }

    /// Lists the views that are held, as many as `pins` has room for, and returns how many there are.
    pub fn pins(&self, pins: &mut [PinInfo]) -> u64 {
        let now_ns = self.coarse_ns();
        let mut places = pins.iter_mut();
        let mut count = 0;
        self.pins.each(|pin, index, since_ns, _| {
            let entry = &self.entries[index as usize];
            let info = PinInfo {
                block: BlockRef {
                    index,
                    generation: entry.state().generation(),
                },
                pin,
                key: entry.key(),
                age_ns: age_ns(now_ns, since_ns),
            };
            if let Some(place) = places.next() {
                *place = info;
            }
            count += 1;
        });
        count
    }

    /// What is known of the block under `key`, if it is resident.
    pub fn describe(&self, key: &Key) -> Option<BlockFacts> {
        let found = self.index.find(key)?;
        let entry = &self.entries[found.index as usize];
        let facts = &self.facts[found.index as usize];
        let retention = facts.retention();
        let lapsed = retention.lapsed(self.now_ns());
        let description = BlockFacts {
            block: BlockRef {
                index: found.index,
                generation: found.state.generation(),
            },
            bytes: u64::from(entry.bytes()),
            chain_index: u64::from(facts.depth()),
            tokens_count: u64::from(facts.tokens_count()),
            recompute_cost_us: facts.recompute_cost_us(),
            conversation_id: facts.conversation(),
            namespace_id: facts.namespace(),
            priority: if lapsed { 0 } else { retention.priority },
            protected: retention.protected && !lapsed,
            geometry_id: retention.geometry_id,
        };
        entry.unchanged_since(found.state).then_some(description)
    }
}

/// How long ago `since_ns` was; 0 for a pin that is not dated yet.
fn age_ns(now_ns: u64, since_ns: u64) -> u64 {
    match since_ns {
        0 => 0,
        _ => now_ns.saturating_sub(since_ns),
    }
}
