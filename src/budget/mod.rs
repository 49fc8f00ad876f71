//! From a configuration to the exact bytes of everything, before anything exists.

mod codec;
mod files;
mod log;
mod policy;
mod prefetch;

pub(crate) use codec::trellis_mean_bytes;
pub use codec::{
    BLOCK_CODE_ENTRY_BYTES, BLOCK_CODE_HEADER_BYTES, LZ_WORKSPACE_BYTES, SCRATCH_ALIGNMENT_BYTES, block_scratch_bytes,
    code_bytes_max, scratch_bytes,
};
pub(crate) use codec::{work_block_bytes, work_scratch_bytes};
pub use log::{
    FRAME_WORDS, LogLayout, PARTS_COUNT_MAX, PENDING_WORDS, READ_WORDS, RECORD_HEADER_BYTES, SEGMENT_WORDS,
    SUPERBLOCK_AREA_BYTES, TABLE_ENTRY_BYTES,
};
pub(crate) use policy::{ADAPTIVE_MEMBERS, AdaptiveSample, Needs};

pub(crate) use prefetch::{
    PREFETCH_CONVERSATION_WORDS, PREFETCH_DESK_WORDS, PREFETCH_NEWS_COUNT, PREFETCH_PLANNER_WORDS,
    PREFETCH_STREAM_WORDS, PREFETCH_SUCCESSOR_WORDS, PrefetchLayout,
};

use crate::config::Config;
use crate::error::ConfigError;
use crate::limits::{PAGE_BYTES, STRIPE_BYTES};
use crate::units::Tier;

/// Words of 8 bytes that one stripe's counters take; the metrics room asserts that its counters fit.
pub const COUNTER_WORDS_PER_STRIPE: u64 = 80;
/// Words of 8 bytes of all latency histograms; asserted by the metrics room.
pub const HISTOGRAM_WORDS: u64 = 16384;
/// Words of 8 bytes of one event; asserted by the metrics room.
pub const EVENT_WORDS: u64 = 10;
/// Bytes of one ticket of a lane; asserted by the engine room.
pub const TICKET_BYTES: u64 = 256;
/// Bytes of one lane's shared words; asserted by the engine room.
pub const LANE_BYTES: u64 = 1280;
/// Entries of an index bucket: as many tags of 16 bits fit into a cache line beside two counters.
pub const BUCKET_ENTRIES: u64 = 28;
/// Blocks per bucket when the engine is full; see the index for how many lie further on than their home then.
const BUCKET_BLOCKS: u64 = 25;

/// Slots that share a cache line of the table of digests: 8 cells, two to a slot; asserted by the memory tier.
pub const DIGEST_LINE_SLOTS: u64 = 4;

/// What a component of the plan is for; its place in [`Plan::components`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Part {
    /// Shared heads of lists and clocks, each on its own lines.
    Control,
    /// Striped counters.
    Counters,
    /// Latency histograms.
    Histograms,
    /// The event ring.
    Events,
    /// Pin words and hints, a run of lines per stripe.
    Pins,
    /// When each pin was taken.
    PinTimes,
    /// Index buckets.
    Index,
    /// Block entries: key, state, recency, location.
    Entries,
    /// What the caller said about each block.
    Facts,
    /// The policy's words for each block.
    PolicyWords,
    /// The policy's half words for each block.
    PolicyLinks,
    /// Fixed part of the policy: heads of its queues.
    PolicyHeads,
    /// Two tables of what keys are worth to the caller.
    ImportanceTable,
    /// Links of the policy's inbox.
    Inbox,
    /// Links of the free slots.
    SlotLinks,
    /// References and digest of each slot, where blocks share slots.
    SlotShares,
    /// By digest, the slots that may be shared.
    SlotDigests,
    /// Shared words of the lanes.
    Lanes,
    /// Rings and free links of the lanes: four half words a ticket.
    LaneRings,
    /// Lane tickets.
    Tickets,
    /// For blocks with something to do in a file tier: two inboxes and two queues.
    LowerQueues,
    /// Where each block lies in the NVMe tier.
    NvmeWords,
    /// The NVMe tier's segments, requests and tables.
    NvmeLog,
    /// As [`Part::NvmeWords`].
    DiskWords,
    /// As [`Part::NvmeLog`].
    DiskLog,
    /// What prefetching remembers.
    Prefetch,
    /// The NVMe tier's buffers for direct memory access: the first part that is no bookkeeping.
    NvmeFrames,
    /// Room for a block on its way from one segment to another, or to the next tier.
    NvmeTransfer,
    /// As [`Part::NvmeFrames`].
    DiskFrames,
    /// As [`Part::NvmeTransfer`].
    DiskTransfer,
    /// What the file tiers' codecs work in.
    CodecWork,
    /// The memory tier's slots.
    Slots,
}

/// Cells of one importance table: two thirds of them are taken when it is full.
const fn importance_cells(config: &Config) -> u64 {
    config.importance_count + config.importance_count.div_ceil(2)
}

/// How many components a plan has.
pub const PARTS_COUNT: usize = Part::Slots as usize + 1;

/// One line of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// What it is.
    pub name: &'static str,
    /// The tier it belongs to.
    pub tier: Tier,
    /// Whether it is bookkeeping and not payload.
    pub metadata: bool,
    /// Bytes from the start of the arena.
    pub offset: u64,
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub bytes_each: u64,
    /// Bytes of all, rounding included.
    pub bytes: u64,
}

/// The exact bytes of everything an engine will ever hold.
///
/// A pure function of the configuration: no clock, no system call, no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    components: [Component; PARTS_COUNT],
    bytes: u64,
    blocks_count: u64,
    below_count: u64,
    shares_count: u64,
    slots_count: u64,
    slot_bytes: u64,
    nvme: LogLayout,
    disk: LogLayout,
    prefetch: PrefetchLayout,
}

impl Plan {
    /// Lays out everything that `config` asks for.
    ///
    /// # Errors
    /// The field that is out of range, with its value and the permitted range.
    pub fn compute(config: &Config) -> Result<Plan, ConfigError> {
        config.validate()?;
        let slot_bytes = config.slot_bytes();
        let slots_count = config.cpu_bytes / slot_bytes;
        let nvme = LogLayout::compute(config, Tier::Nvme);
        let disk = LogLayout::compute(config, Tier::Disk);
        files::check(config, slots_count, &nvme, &disk)?;
        let below_count = nvme.blocks_count + disk.blocks_count;
        let shares_count = slots_count * (config.blocks_per_slot() - 1);
        let blocks_count = slots_count + shares_count + below_count;
        let buckets_count = blocks_count.div_ceil(BUCKET_BLOCKS);
        let entries_count = buckets_count * BUCKET_ENTRIES;
        let stripes = config.stripes_count;
        let pins_per_stripe = config.pins_per_stripe();
        let needs = Needs::of(config.policy, entries_count);
        let codec_bytes = codec::work_bytes(config);
        let prefetch = PrefetchLayout::of(config, entries_count);
        let parts = [
            ("control", 1, 8192),
            ("counters", stripes, COUNTER_WORDS_PER_STRIPE * 8),
            ("latency histograms", 1, HISTOGRAM_WORDS * 8),
            ("events", config.events_count + 1, EVENT_WORDS * 8),
            ("pins", stripes, pins_per_stripe * 8 + STRIPE_BYTES),
            ("pin times", stripes, pins_per_stripe * 8),
            ("index buckets", buckets_count, 64),
            ("block entries", entries_count, 64),
            ("block facts", entries_count, 32),
            ("policy words", needs.words, 8),
            ("policy links", needs.links, 4),
            ("policy heads", needs.heads, 4),
            ("importance table", importance_cells(config) * 2, 8),
            ("policy inbox", entries_count, 4),
            ("free slot links", slots_count, 4),
            ("slot shares", if config.dedup { slots_count } else { 0 }, 16),
            (
                "slot digests",
                if config.dedup {
                    slots_count.div_ceil(DIGEST_LINE_SLOTS)
                } else {
                    0
                },
                64,
            ),
            ("lanes", config.lanes_count, LANE_BYTES),
            ("lane rings", config.lanes_count * config.lane_depth, 16),
            ("lane tickets", config.lanes_count * config.lane_depth, TICKET_BYTES),
            ("file tier queues", if below_count == 0 { 0 } else { entries_count }, 16),
            ("nvme locations", if nvme.exists() { entries_count } else { 0 }, 16),
            ("nvme log state", nvme.words_count(), 8),
            ("disk locations", if disk.exists() { entries_count } else { 0 }, 16),
            ("disk log state", disk.words_count(), 8),
            ("prefetch", prefetch.words_count(), 8),
            ("nvme frames", nvme.frames_count, nvme.frame_stride_bytes),
            ("nvme transfer", u64::from(nvme.exists()), nvme.transfer_bytes),
            ("disk frames", disk.frames_count, disk.frame_stride_bytes),
            ("disk transfer", u64::from(disk.exists()), disk.transfer_bytes),
            ("codec work", u64::from(codec_bytes != 0), codec_bytes),
            ("slots", slots_count, slot_bytes),
        ];
        let mut components = [Component {
            name: "",
            tier: Tier::Cpu,
            metadata: true,
            offset: 0,
            count: 0,
            bytes_each: 0,
            bytes: 0,
        }; PARTS_COUNT];
        let mut offset = 0;
        for (place, (component, (name, count, bytes_each))) in components.iter_mut().zip(parts).enumerate() {
            // The widest values that `validate` lets through keep every product below 2^63.
            let bytes = (count * bytes_each).div_ceil(PAGE_BYTES) * PAGE_BYTES;
            *component = Component {
                name,
                tier: match name {
                    _ if name.starts_with("nvme") => Tier::Nvme,
                    _ if name.starts_with("disk") => Tier::Disk,
                    _ => Tier::Cpu,
                },
                metadata: place < Part::NvmeFrames as usize,
                offset,
                count,
                bytes_each,
                bytes,
            };
            offset += bytes;
        }
        Ok(Plan {
            components,
            bytes: offset,
            blocks_count,
            below_count,
            shares_count,
            slots_count,
            slot_bytes,
            nvme,
            disk,
            prefetch,
        })
    }

    /// Every component in the order in which they lie in the arena.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// One component.
    pub fn part(&self, part: Part) -> &Component {
        &self.components[part as usize]
    }

    /// Bytes of the whole arena.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of bookkeeping: everything that is neither a buffer of a file tier nor a slot. It lies first, and has to
    /// be zero when an engine is opened; what lies behind it is written before it is read.
    pub fn metadata_bytes(&self) -> u64 {
        self.part(Part::NvmeFrames).offset
    }

    /// Bytes of the buffers through which the file tiers read and write; they lie between metadata and slots.
    pub fn buffers_bytes(&self) -> u64 {
        self.part(Part::Slots).offset - self.metadata_bytes()
    }

    /// Bytes of the memory tier's slots.
    pub fn slots_bytes(&self) -> u64 {
        self.part(Part::Slots).bytes
    }

    /// Bytes of the file of a tier, 0 where there is none: not part of [`Plan::bytes`], which is memory.
    pub fn file_bytes(&self, tier: Tier) -> u64 {
        self.log(tier).file_bytes()
    }

    /// Places in the block table: more than blocks, so that each finds one near its home.
    pub fn entries_count(&self) -> u64 {
        self.part(Part::Entries).count
    }

    /// Most blocks known at once.
    pub fn blocks_count(&self) -> u64 {
        self.blocks_count
    }

    /// Most blocks known that are in no slot but in a file tier only.
    pub fn below_count(&self) -> u64 {
        self.below_count
    }

    /// Most blocks in memory beyond one for each slot: those that share another one's.
    pub fn shares_count(&self) -> u64 {
        self.shares_count
    }

    /// How a file tier is laid out; all zero where there is none.
    pub fn log(&self, tier: Tier) -> LogLayout {
        match tier {
            Tier::Nvme => self.nvme,
            Tier::Disk => self.disk,
            _ => LogLayout::default(),
        }
    }

    /// How what prefetching remembers is laid out; all zero where it is off.
    pub(crate) fn prefetch(&self) -> PrefetchLayout {
        self.prefetch
    }

    /// Slots of the memory tier.
    pub fn slots_count(&self) -> u64 {
        self.slots_count
    }

    /// Bytes between two slots.
    pub fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// Bytes per block of key, index, state, facts, policy, lists and place in the file tiers, rounding left out.
    pub fn metadata_bytes_per_block(&self) -> f64 {
        let parts = [
            Part::Index,
            Part::Entries,
            Part::Facts,
            Part::PolicyWords,
            Part::PolicyLinks,
            Part::PolicyHeads,
            Part::Inbox,
            Part::SlotLinks,
            Part::SlotShares,
            Part::SlotDigests,
            Part::LowerQueues,
            Part::NvmeWords,
            Part::DiskWords,
        ];
        let bytes: u64 = parts
            .iter()
            .map(|&part| self.part(part).count * self.part(part).bytes_each)
            .sum();
        bytes as f64 / self.blocks_count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PolicyKind;

    #[test]
    fn parts_lie_side_by_side_and_add_up() {
        for (block_bytes, cpu_bytes) in [(1, 64), (64 << 10, 1 << 30), (2 << 20, 1 << 34), (4097, 1 << 20)] {
            let config = Config {
                block_bytes,
                cpu_bytes,
                ..Config::default()
            };
            let plan = Plan::compute(&config).unwrap();
            let mut offset = 0;
            for component in plan.components() {
                assert_eq!(component.offset, offset, "{}", component.name);
                assert_eq!(component.offset % PAGE_BYTES, 0);
                assert!(component.bytes >= component.count * component.bytes_each);
                offset += component.bytes;
            }
            assert_eq!(offset, plan.bytes());
            assert!(plan.slots_count() * plan.slot_bytes() <= cpu_bytes);
        }
    }

    #[test]
    fn file_tiers_lie_between_metadata_and_slots_and_their_files_are_no_memory() {
        let memory_only = Config {
            block_bytes: 64 << 10,
            cpu_bytes: 1 << 30,
            ..Config::default()
        };
        let mut config = memory_only;
        config.nvme.bytes = 100 << 30;
        config.disk.bytes = 1 << 40;
        let (without, plan) = (Plan::compute(&memory_only).unwrap(), Plan::compute(&config).unwrap());
        assert_eq!((without.buffers_bytes(), without.file_bytes(Tier::Nvme)), (0, 0));
        assert_eq!(without.metadata_bytes() + without.slots_bytes(), without.bytes());
        assert!(
            without
                .components()
                .iter()
                .all(|part| part.tier == Tier::Cpu || part.bytes == 0)
        );

        assert!(plan.file_bytes(Tier::Nvme) <= config.nvme.bytes);
        assert!(plan.file_bytes(Tier::Nvme) + plan.log(Tier::Nvme).segment_bytes > config.nvme.bytes);
        assert_eq!(
            (plan.file_bytes(Tier::Cpu), plan.slots_bytes()),
            (0, without.slots_bytes())
        );
        assert_eq!(
            plan.metadata_bytes() + plan.buffers_bytes() + plan.slots_bytes(),
            plan.bytes()
        );
        let metadata: u64 = plan
            .components()
            .iter()
            .filter(|part| part.metadata)
            .map(|part| part.bytes)
            .sum();
        assert_eq!(metadata, plan.metadata_bytes(), "bookkeeping lies first, in one piece");
        assert_eq!(plan.components().last(), Some(plan.part(Part::Slots)));
        assert_eq!(plan.blocks_count(), plan.slots_count() + plan.below_count());
    }

    #[test]
    fn slots_that_are_shared_have_blocks_and_metadata_for_two_each_and_others_nothing() {
        let mut config = Config {
            block_bytes: 64,
            cpu_bytes: 64 * 1001,
            ..Config::default()
        };
        let without = Plan::compute(&config).unwrap();
        assert_eq!((without.blocks_count(), without.shares_count()), (1001, 0));
        assert_eq!(
            without.part(Part::SlotShares).bytes + without.part(Part::SlotDigests).bytes,
            0
        );
        config.dedup = true;
        let with = Plan::compute(&config).unwrap();
        assert_eq!((with.slots_count(), with.slots_bytes()), (1001, without.slots_bytes()));
        assert_eq!((with.blocks_count(), with.shares_count()), (2002, 1001));
        assert!(with.entries_count() >= 2002);
        assert_eq!(with.part(Part::SlotShares).count, 1001);
        assert_eq!(with.part(Part::SlotDigests).count, 251);
    }

    #[test]
    fn metadata_of_a_million_blocks_is_within_120_bytes_each_and_64_for_the_policy() {
        for &policy in PolicyKind::ALL {
            let config = Config {
                block_bytes: 64,
                cpu_bytes: 64 << 20,
                policy,
                ..Config::default()
            };
            let plan = Plan::compute(&config).unwrap();
            let parts = [Part::PolicyWords, Part::PolicyLinks, Part::PolicyHeads];
            let bytes: u64 = parts.map(|part| plan.part(part).bytes).iter().sum();
            let policy_bytes = bytes as f64 / plan.blocks_count() as f64;
            assert!(policy_bytes <= 64.0, "{policy:?}: {policy_bytes}");
            let others_bytes = plan.metadata_bytes_per_block() - policy_bytes;
            assert!(others_bytes <= 120.0, "{policy:?}: {others_bytes}");
        }
    }
}
