//! What is asked of the file tiers.
//!
//! Every field is checked here by itself; what depends on how a file is cut into segments is checked where that is
//! known, in [`crate::budget`].

use super::{CodecChoice, error, range};
use crate::error::ConfigError;
use crate::limits;
use crate::units::Tier;

/// Which blocks a file tier takes when memory gives them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Admission {
    /// All of them.
    #[default]
    All = 1,
    /// Those that were used again after they were stored.
    SecondHit = 2,
    /// Those of a kind that is asked for again: by the time since the last use, the place in the chain, whether it was
    /// used since it came, and whether it is short. What is refused costs about 5 % of the tier's hits at most, which
    /// is learnt from a sample of all blocks that leave memory; until something is known, all are taken.
    Reuse = 3,
}

impl Admission {
    /// The choice of a number from outside; 0 is the default.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 | 1 => Some(Self::All),
            2 => Some(Self::SecondHit),
            3 => Some(Self::Reuse),
            _ => None,
        }
    }

    /// The name used by the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SecondHit => "second-hit",
            Self::Reuse => "reuse",
        }
    }
}

/// When blocks are written to the first file tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum WritePolicy {
    /// When memory is about to give them up.
    #[default]
    Back = 1,
    /// As soon as they are committed.
    Through = 2,
}

impl WritePolicy {
    /// The choice of a number from outside; 0 is the default.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 | 1 => Some(Self::Back),
            2 => Some(Self::Through),
            _ => None,
        }
    }
}

/// What opening does about a file that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Damage {
    /// Drops and counts what can't be verified, and opens.
    #[default]
    Drop = 1,
    /// Refuses to open, and leaves the file as it is.
    Refuse = 2,
}

impl Damage {
    /// The choice of a number from outside; 0 is the default.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 | 1 => Some(Self::Drop),
            2 => Some(Self::Refuse),
            _ => None,
        }
    }
}

/// How the NVMe tier's file is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum IoEngine {
    /// io_uring where it is permitted, else positional reads and writes.
    #[default]
    Auto = 1,
    /// io_uring, or opening fails.
    Uring = 2,
    /// Positional reads and writes (`pread`, `pwrite`) on the thread that drives the tier.
    Positional = 3,
}

impl IoEngine {
    /// The choice of a number from outside; 0 is the default.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 | 1 => Some(Self::Auto),
            2 => Some(Self::Uring),
            3 => Some(Self::Positional),
            _ => None,
        }
    }
}

/// The names that the fields of one file tier have in `kvc_config_t`, for refusals.
pub(crate) struct FieldNames {
    pub(crate) path: &'static str,
    pub(crate) bytes: &'static str,
    pub(crate) segment_bytes: &'static str,
    pub(crate) blocks_count: &'static str,
    pub(crate) depth: &'static str,
    pub(crate) endurance: &'static str,
    pub(crate) promotion_hits: &'static str,
    pub(crate) stall_ms: &'static str,
}

macro_rules! field_names {
    ($prefix:literal) => {
        FieldNames {
            path: concat!($prefix, "_path"),
            bytes: concat!($prefix, "_bytes"),
            segment_bytes: concat!($prefix, "_segment_bytes"),
            blocks_count: concat!($prefix, "_blocks_count"),
            depth: concat!($prefix, "_depth"),
            endurance: concat!($prefix, "_endurance_bytes_per_day"),
            promotion_hits: concat!($prefix, "_promotion_hits"),
            stall_ms: concat!($prefix, "_stall_ms"),
        }
    };
}

impl FieldNames {
    /// The names of `tier`.
    pub(crate) const fn of(tier: Tier) -> &'static Self {
        match tier {
            Tier::Disk => &field_names!("disk"),
            _ => &field_names!("nvme"),
        }
    }
}

/// One file tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTier {
    /// Bytes of the file, everything included; 0 is no such tier.
    pub bytes: u64,
    /// Bytes that are written in order and evicted together; 0 chooses by the file's size, 16 to 64 MiB.
    pub segment_bytes: u64,
    /// Most blocks known in the tier; 0 is as many of `block_bytes` as it has room for. Each costs up to 220 bytes of
    /// memory.
    pub blocks_count: u64,
    /// Most requests to the device under way, 4 to 256; each has a buffer of 264 KiB, or more for blocks above 64 MiB.
    /// There are more buffers where the largest block needs them.
    pub depth: u64,
    /// Which blocks it takes.
    pub admission: Admission,
    /// Most bytes written to the file in any 24 hours; 0 is no bound.
    pub endurance_bytes_per_day: u64,
    /// The hit in this tier, counted from 1, from which on a block stays in memory once it was copied up. Before it, it
    /// is the first to go again.
    pub promotion_hits: u64,
    /// Milliseconds without any progress of the device after which the tier goes offline.
    pub stall_ms: u64,
    /// How it encodes blocks that have a geometry.
    pub codec: CodecChoice,
}

impl FileTier {
    /// No such tier.
    pub const NONE: Self = Self {
        bytes: 0,
        segment_bytes: 0,
        blocks_count: 0,
        depth: 32,
        admission: Admission::All,
        endurance_bytes_per_day: 0,
        promotion_hits: 1,
        stall_ms: 10_000,
        codec: CodecChoice::RAW,
    };
}

impl FileTier {
    /// Checks every field by itself, under the names that `kvc_config_t` has for `tier`.
    pub(super) fn validate(&self, tier: Tier) -> Result<(), ConfigError> {
        let names = FieldNames::of(tier);
        range(names.bytes, self.bytes, 0, limits::FILE_BYTES_MAX)?;
        if self.segment_bytes != 0 {
            let (least, most) = (limits::PAGE_BYTES, limits::SEGMENT_BYTES_MAX);
            range(names.segment_bytes, self.segment_bytes, least, most)?;
            if !self.segment_bytes.is_multiple_of(limits::PAGE_BYTES) {
                return Err(ConfigError {
                    reason: "the value must be a multiple of 4096",
                    ..error(names.segment_bytes, self.segment_bytes, least, most)
                });
            }
        }
        range(names.blocks_count, self.blocks_count, 0, limits::BLOCKS_COUNT_MAX)?;
        range(names.depth, self.depth, limits::FILE_DEPTH_MIN, limits::FILE_DEPTH_MAX)?;
        range(names.promotion_hits, self.promotion_hits, 1, limits::PROMOTION_HITS_MAX)?;
        range(names.stall_ms, self.stall_ms, 1, limits::STALL_MS_MAX)?;
        self.codec.validate()
    }
}

impl Default for FileTier {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn choices_are_found_by_their_numbers_and_zero_is_the_default() {
        for choice in [Admission::All, Admission::SecondHit, Admission::Reuse] {
            assert_eq!(Admission::from_code(choice as u64), Some(choice));
        }
        for choice in [WritePolicy::Back, WritePolicy::Through] {
            assert_eq!(WritePolicy::from_code(choice as u64), Some(choice));
        }
        for choice in [Damage::Drop, Damage::Refuse] {
            assert_eq!(Damage::from_code(choice as u64), Some(choice));
        }
        for choice in [IoEngine::Auto, IoEngine::Uring, IoEngine::Positional] {
            assert_eq!(IoEngine::from_code(choice as u64), Some(choice));
        }
        assert_eq!(Admission::from_code(0), Some(Admission::default()));
        assert_eq!(WritePolicy::from_code(0), Some(WritePolicy::default()));
        assert_eq!(Damage::from_code(0), Some(Damage::default()));
        assert_eq!(IoEngine::from_code(0), Some(IoEngine::default()));
        assert_eq!((Admission::from_code(4), WritePolicy::from_code(3)), (None, None));
        assert_eq!((Damage::from_code(3), IoEngine::from_code(4)), (None, None));
    }

    #[test]
    fn every_refusal_names_the_field_of_its_tier() {
        type Change = fn(&mut FileTier);
        let bad: [(&str, Change); 11] = [
            ("bytes", |file| file.bytes = limits::FILE_BYTES_MAX + 1),
            ("segment_bytes", |file| file.segment_bytes = 1),
            ("segment_bytes", |file| file.segment_bytes = 4097),
            ("segment_bytes", |file| {
                file.segment_bytes = limits::SEGMENT_BYTES_MAX + 4096
            }),
            ("blocks_count", |file| file.blocks_count = limits::BLOCKS_COUNT_MAX + 1),
            ("depth", |file| file.depth = 3),
            ("depth", |file| file.depth = 257),
            ("promotion_hits", |file| file.promotion_hits = 0),
            ("promotion_hits", |file| file.promotion_hits = 256),
            ("stall_ms", |file| file.stall_ms = 0),
            ("stall_ms", |file| file.stall_ms = limits::STALL_MS_MAX + 1),
        ];
        for (tier, prefix) in [(Tier::Nvme, "nvme_"), (Tier::Disk, "disk_")] {
            assert_eq!(FileTier::NONE.validate(tier), Ok(()));
            for (field, change) in bad {
                let mut file = FileTier::NONE;
                change(&mut file);
                let refusal = file.validate(tier).unwrap_err();
                assert_eq!(refusal.field, prefix.to_string() + field, "{refusal}");
                let outside = !(refusal.value_min..=refusal.value_max).contains(&refusal.value);
                assert!(outside || refusal.reason.contains("multiple of 4096"), "{refusal}");
            }
        }
    }
}
