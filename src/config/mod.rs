//! What a program asks for. Checked here, turned into bytes by [`crate::budget`].

mod codec;
mod files;
mod prefetch;

use crate::error::{ConfigError, Status};
use crate::geometry::Geometry;
use crate::limits;
use crate::units::Tier;

pub use codec::{CodecChoice, CodecKind, LAYER_CODECS_COUNT_MAX, LayerCodec};
pub(crate) use files::FieldNames;
pub use files::{Admission, Damage, FileTier, IoEngine, WritePolicy};
pub use prefetch::Prefetch;

/// How victims are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum PolicyKind {
    /// Least recently used; the deeper block of a chain first where two were used together.
    Lru = 1,
    /// Three first-in-first-out queues (Yang et al., SOSP 2023).
    S3Fifo = 2,
    /// Least frequently used, where uses count half as much for each turnover of the cache since.
    Lfu = 3,
    /// Recency against frequency, balanced by what was given up too early (Megiddo, Modha, FAST 2003), with clocks.
    Arc = 4,
    /// One queue with a hand that passes over what was used (Zhang et al., NSDI 2024).
    Sieve = 5,
    /// Uses weighed by the cost of computing a block again (Greedy-Dual-Size-Frequency; Cherkasova, 1998).
    Gdsf = 6,
    /// What is worth least to the caller goes first (`importance` of [`crate::PutInfo`],
    /// [`crate::Engine::importance_begin`]).
    Importance = 7,
    /// The leaf of the prefix tree that is worth least, by what was learnt of how long blocks of its kind wait for
    /// their next use.
    #[default]
    Hazard = 8,
    /// Whichever of [`PolicyKind::Hazard`], [`PolicyKind::S3Fifo`] and [`PolicyKind::Lru`] does best on a sample of the
    /// keys.
    Adaptive = 9,
}

impl PolicyKind {
    /// Every policy there is.
    pub const ALL: &'static [Self] = &[
        Self::Lru,
        Self::S3Fifo,
        Self::Lfu,
        Self::Arc,
        Self::Sieve,
        Self::Gdsf,
        Self::Importance,
        Self::Hazard,
        Self::Adaptive,
    ];

    /// The policy of a number from outside; 0 is the default.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::default()),
            _ => Self::ALL.iter().copied().find(|&kind| kind as u64 == code),
        }
    }

    /// The name used by the command line and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::S3Fifo => "s3fifo",
            Self::Lfu => "lfu",
            Self::Arc => "arc",
            Self::Sieve => "sieve",
            Self::Gdsf => "gdsf",
            Self::Importance => "importance",
            Self::Hazard => "hazard",
            Self::Adaptive => "adaptive",
        }
    }
}

/// What is asked of the system's huge pages for the engine's own mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    Off = 0,
    /// Transparent huge pages where the kernel gives them.
    Advise = 1,
    /// Reserved huge pages, or opening fails.
    Require = 2,
}

impl HugePages {
    /// The choice of a number from outside.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Off),
            1 => Some(Self::Advise),
            2 => Some(Self::Require),
            _ => None,
        }
    }
}

/// When the engine's pages are touched for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Prefault {
    /// By the first use of each page: opening is instant, first copies are slow.
    #[default]
    None = 0,
    /// In the background: by the worker, or piece by piece by each tick.
    Lazy = 1,
    /// Before open returns.
    All = 2,
}

impl Prefault {
    /// The choice of a number from outside.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Lazy),
            2 => Some(Self::All),
            _ => None,
        }
    }
}

/// Everything an engine is made from. `block_bytes` and `cpu_bytes` have no default.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most bytes of one block, 1 to 2^31.
    pub block_bytes: u64,
    /// Bytes of the memory tier's slots; at least one slot. Metadata comes on top and stands in the plan.
    pub cpu_bytes: u64,
    /// How victims are chosen.
    pub policy: PolicyKind,
    /// Most views held at once, rounded up to whole stripes.
    pub pins_count: u64,
    /// Sets of own cache lines for readers, a power of two; at least as many as threads that read at once.
    pub stripes_count: u64,
    /// Most lanes open at once; 0 for none.
    pub lanes_count: u64,
    /// Most operations in flight on one lane, a power of two.
    pub lane_depth: u64,
    /// Events remembered for routers, a power of two; 0 for none.
    pub events_count: u64,
    /// Worker threads; 0 is tick mode: the caller drives and the library has no thread.
    pub workers_count: u64,
    /// Whether time comes from ticks alone, so that a run is a function of its calls; only in tick mode.
    pub clock_ticks: bool,
    /// Huge pages for the engine's own mapping.
    pub huge_pages: HugePages,
    /// Whether the mapping is locked in memory.
    pub memory_lock: bool,
    /// When pages are touched for the first time.
    pub prefault: Prefault,
    /// Age in milliseconds at which a forgotten view is taken back; 0 is never.
    pub pin_expiry_ms: u64,
    /// Age in milliseconds at which a forgotten reservation is taken back; 0 is never.
    pub reservation_expiry_ms: u64,
    /// Seed of the index's hash. The same seed gives the same run.
    pub hash_seed: u64,
    /// One memory hit of this many is timed for the latency histograms, a power of two; 0 times none.
    pub latency_sample_count: u64,
    /// The NVMe tier.
    pub nvme: FileTier,
    /// The disk tier, below the NVMe tier where there are both.
    pub disk: FileTier,
    /// When blocks are written to the first file tier.
    pub write_policy: WritePolicy,
    /// What opening does about a damaged file.
    pub damage: Damage,
    /// How the NVMe tier's file is read and written.
    pub io_engine: IoEngine,
    /// Whether files that hold something else (another geometry, another version, no tier at all) are overwritten
    /// instead of refused.
    pub file_overwrite: bool,
    /// Share of the memory tier's slots, in thousandths, below which ticks begin to make room; only with file tiers.
    pub slots_free_low_permille: u64,
    /// Share of the slots, in thousandths, up to which ticks make room then.
    pub slots_free_high_permille: u64,
    /// Milliseconds that a put waits for room while what would have to go is still being written down; after that, or
    /// at once where this is 0, an unwritten block is given up.
    pub write_wait_ms: u64,
    /// Most keys in an importance table, of which there are two; 24 bytes a key. 0 for none.
    pub importance_count: u64,
    /// Whether blocks with different keys that hold the same bytes share a slot of the memory tier. Costs a hash of
    /// each block at its commit, and metadata for up to twice as many blocks as there are slots.
    pub dedup: bool,
    /// The geometries that blocks can name: number 1 is the first. Number 0 is "plain bytes".
    pub geometries: [Option<Geometry>; limits::GEOMETRIES_COUNT_MAX],
    /// What is raised ahead of its use; nothing by default.
    pub prefetch: Prefetch,
    /// Hits in the file tiers that [`Admission::Reuse`] may cost, in thousandths, 1 to 500.
    pub admission_loss_permille: u64,
    /// Whether ticks move thresholds towards what serves better: the confidence of prefetching and what admission may
    /// lose, each only where it is in use and within limits around what is configured.
    pub tuning: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            block_bytes: 0,
            cpu_bytes: 0,
            policy: PolicyKind::default(),
            pins_count: 4096,
            stripes_count: 64,
            lanes_count: 8,
            lane_depth: 256,
            events_count: 1024,
            workers_count: 0,
            clock_ticks: false,
            huge_pages: HugePages::default(),
            memory_lock: false,
            prefault: Prefault::default(),
            pin_expiry_ms: 0,
            reservation_expiry_ms: 0,
            hash_seed: 0,
            latency_sample_count: 64,
            nvme: FileTier::NONE,
            disk: FileTier::NONE,
            write_policy: WritePolicy::default(),
            damage: Damage::default(),
            io_engine: IoEngine::default(),
            file_overwrite: false,
            slots_free_low_permille: 20,
            slots_free_high_permille: 40,
            write_wait_ms: 1000,
            importance_count: 0,
            dedup: false,
            geometries: [None; limits::GEOMETRIES_COUNT_MAX],
            prefetch: Prefetch::OFF,
            admission_loss_permille: 50,
            tuning: false,
        }
    }
}

impl Config {
    /// Bytes between two slots: the block rounded up to a cache line, or to a page where the block is that large.
    pub const fn slot_bytes(&self) -> u64 {
        let unit = if self.block_bytes >= limits::PAGE_BYTES {
            limits::PAGE_BYTES
        } else {
            limits::CACHE_LINE_BYTES
        };
        self.block_bytes.div_ceil(unit) * unit
    }

    /// Whether a file tier that there is admits by reuse.
    pub fn admits_by_reuse(&self) -> bool {
        [self.nvme, self.disk]
            .iter()
            .any(|tier| tier.bytes != 0 && tier.admission == Admission::Reuse)
    }

    /// Most blocks in memory for each slot.
    pub const fn blocks_per_slot(&self) -> u64 {
        if self.dedup { 2 } else { 1 }
    }

    /// Pin records of one stripe, those for copies in progress included: whole cache lines of 8-byte words.
    pub const fn pins_per_stripe(&self) -> u64 {
        let wanted = self.pins_count.div_ceil(self.stripes_count) + limits::PINS_TRANSIENT_PER_STRIPE;
        wanted.div_ceil(16) * 16
    }

    /// Checks every field and the relations between them. What depends on how a file tier is cut into segments is
    /// checked by [`crate::Plan::compute`].
    ///
    /// # Errors
    /// The first field that is outside its range, with the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        range(
            "block_bytes",
            self.block_bytes,
            limits::BLOCK_BYTES_MIN,
            limits::BLOCK_BYTES_MAX,
        )?;
        range("cpu_bytes", self.cpu_bytes, self.slot_bytes(), limits::CPU_BYTES_MAX)?;
        let slots_count_max = limits::BLOCKS_COUNT_MAX / self.blocks_per_slot();
        if self.cpu_bytes / self.slot_bytes() > slots_count_max {
            return Err(ConfigError {
                status: Status::Conflict,
                reason: "more blocks than can be addressed; make the tier smaller or the blocks larger",
                ..error(
                    "cpu_bytes",
                    self.cpu_bytes,
                    self.slot_bytes(),
                    slots_count_max
                        .saturating_mul(self.slot_bytes())
                        .min(limits::CPU_BYTES_MAX),
                )
            });
        }
        range(
            "stripes_count",
            self.stripes_count,
            limits::STRIPES_COUNT_MIN,
            limits::STRIPES_COUNT_MAX,
        )?;
        power_of_two(
            "stripes_count",
            self.stripes_count,
            limits::STRIPES_COUNT_MIN,
            limits::STRIPES_COUNT_MAX,
        )?;
        range("pins_count", self.pins_count, 1, limits::PINS_COUNT_MAX)?;
        range("lanes_count", self.lanes_count, 0, limits::LANES_COUNT_MAX)?;
        range("lane_depth", self.lane_depth, 1, limits::LANE_DEPTH_MAX)?;
        power_of_two("lane_depth", self.lane_depth, 1, limits::LANE_DEPTH_MAX)?;
        range("events_count", self.events_count, 0, limits::EVENTS_COUNT_MAX)?;
        if self.events_count != 0 {
            power_of_two("events_count", self.events_count, 0, limits::EVENTS_COUNT_MAX)?;
        }
        range("workers_count", self.workers_count, 0, limits::WORKERS_COUNT_MAX)?;
        if self.clock_ticks && self.workers_count != 0 {
            return Err(ConfigError {
                status: Status::Conflict,
                reason: "workers run by the system's clock; take time from ticks in tick mode only (workers_count 0)",
                ..error("workers_count", self.workers_count, 0, 0)
            });
        }
        range("pin_expiry_ms", self.pin_expiry_ms, 0, limits::EXPIRY_MS_MAX)?;
        range(
            "reservation_expiry_ms",
            self.reservation_expiry_ms,
            0,
            limits::EXPIRY_MS_MAX,
        )?;
        range("latency_sample_count", self.latency_sample_count, 0, 1 << 20)?;
        if self.latency_sample_count != 0 {
            power_of_two("latency_sample_count", self.latency_sample_count, 0, 1 << 20)?;
        }
        self.nvme.validate(Tier::Nvme)?;
        self.disk.validate(Tier::Disk)?;
        range(
            "slots_free_high_permille",
            self.slots_free_high_permille,
            0,
            limits::SLOTS_FREE_PERMILLE_MAX,
        )?;
        if self.slots_free_low_permille > self.slots_free_high_permille {
            return Err(ConfigError {
                status: Status::Conflict,
                reason: "making room begins at the low mark and ends at the high one, which is not below it",
                ..error(
                    "slots_free_low_permille",
                    self.slots_free_low_permille,
                    0,
                    self.slots_free_high_permille,
                )
            });
        }
        range("write_wait_ms", self.write_wait_ms, 0, limits::WRITE_WAIT_MS_MAX)?;
        range("importance_count", self.importance_count, 0, limits::BLOCKS_COUNT_MAX)?;
        range(
            "admission_loss_permille",
            self.admission_loss_permille,
            1,
            limits::ADMISSION_LOSS_PERMILLE_MAX,
        )?;
        self.prefetch
            .validate(self.cpu_bytes, self.nvme.bytes != 0 || self.disk.bytes != 0)?;
        for geometry in self.geometries.iter().flatten() {
            let bytes = geometry.block_bytes() as u64;
            if bytes > self.block_bytes {
                return Err(ConfigError {
                    status: Status::Conflict,
                    reason: "a block of one of the geometries is larger than block_bytes",
                    ..error("block_bytes", self.block_bytes, bytes, limits::BLOCK_BYTES_MAX)
                });
            }
        }
        Ok(())
    }
}

const fn error(field: &'static str, value: u64, value_min: u64, value_max: u64) -> ConfigError {
    ConfigError::new(
        Status::Config,
        field,
        value,
        value_min,
        value_max,
        "the value is outside the permitted range",
    )
}

fn range(field: &'static str, value: u64, value_min: u64, value_max: u64) -> Result<(), ConfigError> {
    if (value_min..=value_max).contains(&value) {
        Ok(())
    } else {
        Err(error(field, value, value_min, value_max))
    }
}

fn power_of_two(field: &'static str, value: u64, value_min: u64, value_max: u64) -> Result<(), ConfigError> {
    if value.is_power_of_two() {
        Ok(())
    } else {
        Err(ConfigError {
            reason: "the value must be a power of two",
            ..error(field, value, value_min, value_max)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config {
            block_bytes: 64 << 10,
            cpu_bytes: 64 << 20,
            ..Config::default()
        }
    }

    #[test]
    fn every_refusal_names_the_field_the_value_and_the_range() {
        assert_eq!(good().validate(), Ok(()));
        type Change = fn(&mut Config);
        let bad: [(&str, Change); 31] = [
            ("block_bytes", |c| c.block_bytes = 0),
            ("block_bytes", |c| c.block_bytes = limits::BLOCK_BYTES_MAX + 1),
            ("cpu_bytes", |c| c.cpu_bytes = 0),
            ("cpu_bytes", |c| c.cpu_bytes = c.block_bytes - 1),
            ("cpu_bytes", |c| c.cpu_bytes = u64::MAX),
            ("cpu_bytes", |c| {
                (c.block_bytes, c.cpu_bytes) = (1, limits::CPU_BYTES_MAX)
            }),
            ("cpu_bytes", |c| {
                (c.block_bytes, c.cpu_bytes, c.dedup) = (64, limits::BLOCKS_COUNT_MAX * 64, true)
            }),
            ("stripes_count", |c| c.stripes_count = 3),
            ("stripes_count", |c| c.stripes_count = 0),
            ("pins_count", |c| c.pins_count = 0),
            ("pins_count", |c| c.pins_count = u64::MAX),
            ("lane_depth", |c| c.lane_depth = 100),
            ("events_count", |c| c.events_count = 1000),
            ("workers_count", |c| c.workers_count = 65),
            ("workers_count", |c| (c.workers_count, c.clock_ticks) = (1, true)),
            ("pin_expiry_ms", |c| c.pin_expiry_ms = u64::MAX),
            ("latency_sample_count", |c| c.latency_sample_count = 3),
            ("nvme_depth", |c| c.nvme.depth = 1),
            ("disk_bytes", |c| c.disk.bytes = u64::MAX),
            ("slots_free_high_permille", |c| c.slots_free_high_permille = 501),
            ("slots_free_low_permille", |c| c.slots_free_low_permille = 41),
            ("write_wait_ms", |c| c.write_wait_ms = u64::MAX),
            ("importance_count", |c| c.importance_count = u64::MAX),
            ("admission_loss_permille", |c| c.admission_loss_permille = 0),
            ("admission_loss_permille", |c| c.admission_loss_permille = 501),
            ("prefetch", |c| c.prefetch.turns = true),
            ("prefetch_conversations_count", |c| c.prefetch.conversations_count = 0),
            ("prefetch_successors_count", |c| {
                c.prefetch.successors_count = (1 << 16) + 1
            }),
            ("prefetch_confidence_permille", |c| {
                c.prefetch.confidence_permille = 1001
            }),
            ("prefetch_bytes", |c| c.prefetch.bytes = c.cpu_bytes + 1),
            ("prefetch_bytes_per_second", |c| c.prefetch.bytes_per_second = u64::MAX),
        ];
        for (field, change) in bad {
            let mut config = good();
            change(&mut config);
            let refusal = config.validate().unwrap_err();
            assert_eq!(refusal.field, field, "{refusal}");
            assert!(refusal.value_min <= refusal.value_max);
        }
    }
}
