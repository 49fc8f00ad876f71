//! What the configuration asks of a file tier, against how its file is cut into segments.

use super::LogLayout;
use super::log::SUPERBLOCK_AREA_BYTES;
use crate::config::{Config, FieldNames, FileTier};
use crate::error::{ConfigError, Status};
use crate::limits;
use crate::units::Tier;

/// Segments' worth of writing that a day's endurance budget allows at least.
const ENDURANCE_SEGMENTS_MIN: u64 = 4;
/// The endurance budget is handed out in so many parts of a day, and a part has room for the largest record.
const ENDURANCE_PARTS: u64 = 24;

/// Checks both file tiers and how many blocks there are of all tiers together. The fields by themselves were checked.
pub(super) fn check(config: &Config, slots_count: u64, nvme: &LogLayout, disk: &LogLayout) -> Result<(), ConfigError> {
    check_tier(config, &config.nvme, nvme, Tier::Nvme)?;
    check_tier(config, &config.disk, disk, Tier::Disk)?;
    // The memory tier alone is within the bound; what is left is for the NVMe tier, then for the disk tier.
    let mut left = limits::BLOCKS_COUNT_MAX - slots_count * config.blocks_per_slot();
    for (layout, tier) in [(nvme, Tier::Nvme), (disk, Tier::Disk)] {
        if layout.blocks_count > left {
            return Err(refusal(
                FieldNames::of(tier).blocks_count,
                layout.blocks_count,
                (0, left),
                "more blocks than can be addressed in all tiers together; make the tier smaller, the blocks larger, or \
                 say how many blocks it shall know",
            ));
        }
        left -= layout.blocks_count;
    }
    Ok(())
}

fn check_tier(config: &Config, file: &FileTier, layout: &LogLayout, tier: Tier) -> Result<(), ConfigError> {
    if file.bytes == 0 {
        return Ok(());
    }
    let names = FieldNames::of(tier);
    let segment_bytes = layout.segment_bytes;
    let record_bytes = LogLayout::segment_bytes_min(config.block_bytes);
    let least = record_bytes.max(
        file.bytes
            .div_ceil(limits::SEGMENTS_COUNT_MAX)
            .next_multiple_of(limits::PAGE_BYTES),
    );
    if segment_bytes < least {
        return Err(refusal(
            names.segment_bytes,
            segment_bytes,
            (least, limits::SEGMENT_BYTES_MAX),
            "a segment has room for the largest block and its table, and a file has at most 2^20 segments",
        ));
    }
    let bytes_min = SUPERBLOCK_AREA_BYTES + limits::SEGMENTS_COUNT_MIN * segment_bytes;
    if file.bytes < bytes_min {
        return Err(refusal(
            names.bytes,
            file.bytes,
            (bytes_min, limits::FILE_BYTES_MAX),
            "a file has room for at least four segments (of two of the largest blocks each, unless said otherwise)",
        ));
    }
    let endurance_min = (ENDURANCE_SEGMENTS_MIN * segment_bytes).max(ENDURANCE_PARTS * record_bytes);
    if file.endurance_bytes_per_day != 0 && file.endurance_bytes_per_day < endurance_min {
        return Err(refusal(
            names.endurance,
            file.endurance_bytes_per_day,
            (endurance_min, u64::MAX),
            "the budget of a day allows at least four segments, and that of an hour the largest block; 0 is no bound",
        ));
    }
    Ok(())
}

/// A refusal of a field that is right by itself.
const fn refusal(
    field: &'static str,
    value: u64,
    (value_min, value_max): (u64, u64),
    reason: &'static str,
) -> ConfigError {
    ConfigError::new(Status::Conflict, field, value, value_min, value_max, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Plan;
    use std::string::ToString;

    fn good() -> Config {
        let mut config = Config {
            block_bytes: 1 << 20,
            cpu_bytes: 64 << 20,
            ..Config::default()
        };
        config.nvme.bytes = 1 << 30;
        config.disk.bytes = 4 << 30;
        config
    }

    fn refused(change: impl FnOnce(&mut Config)) -> ConfigError {
        let mut config = good();
        change(&mut config);
        Plan::compute(&config).unwrap_err()
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_what_would_fit() {
        Plan::compute(&good()).unwrap();
        let few = refused(|config| config.nvme.bytes = 1 << 20);
        assert_eq!((few.field, few.value), ("nvme_bytes", 1 << 20));
        let few = refused(|config| (config.disk.bytes, config.disk.segment_bytes) = (1 << 30, 1 << 30));
        assert_eq!((few.field, few.value_min), ("disk_bytes", (64 << 10) + (4 << 30)));
        let short = refused(|config| config.nvme.segment_bytes = 1 << 20);
        assert_eq!(short.field, "nvme_segment_bytes");
        let many = refused(|config| {
            (config.block_bytes, config.nvme.bytes) = (1, 1 << 46);
            config.nvme.segment_bytes = 1 << 20;
        });
        assert_eq!((many.field, many.value_min), ("nvme_segment_bytes", 64 << 20));
        let idle = refused(|config| config.disk.endurance_bytes_per_day = 1);
        assert_eq!(idle.field, "disk_endurance_bytes_per_day");
        let blocks = refused(|config| (config.block_bytes, config.disk.bytes) = (64, 1 << 46));
        assert_eq!(blocks.field, "disk_blocks_count");
        for refusal in [few, short, many, idle, blocks] {
            assert_eq!(refusal.status, Status::Conflict);
            assert!(
                !(refusal.value_min..=refusal.value_max).contains(&refusal.value),
                "{refusal}"
            );
            assert!(refusal.to_string().len() < 256, "C has room for no more: {refusal}");
        }
    }

    /// What a refusal calls right is right.
    #[test]
    fn the_least_that_a_refusal_permits_is_permitted() {
        let mut config = good();
        config.nvme.bytes = 1 << 20;
        config.nvme.bytes = Plan::compute(&config).unwrap_err().value_min;
        let plan = Plan::compute(&config).unwrap();
        assert_eq!(plan.log(Tier::Nvme).segments_count, limits::SEGMENTS_COUNT_MIN);
        config.disk.segment_bytes = 4096;
        config.disk.segment_bytes = Plan::compute(&config).unwrap_err().value_min;
        config.disk.endurance_bytes_per_day = 1;
        config.disk.endurance_bytes_per_day = Plan::compute(&config).unwrap_err().value_min;
        let plan = Plan::compute(&config).unwrap();
        assert!(plan.log(Tier::Disk).segment_bytes >= config.block_bytes);
    }

    /// The widest values that are let through keep every product within 64 bits: overflow is checked in tests.
    #[test]
    fn the_largest_files_are_planned_and_the_largest_blocks_too() {
        for block_bytes in [1 << 20, limits::BLOCK_BYTES_MAX] {
            let mut config = Config {
                block_bytes,
                cpu_bytes: limits::CPU_BYTES_MAX,
                ..Config::default()
            };
            for file in [&mut config.nvme, &mut config.disk] {
                (file.bytes, file.depth) = (limits::FILE_BYTES_MAX, limits::FILE_DEPTH_MAX);
            }
            let plan = Plan::compute(&config).unwrap();
            assert!(plan.log(Tier::Disk).segments_count <= limits::SEGMENTS_COUNT_MAX);
            assert!(plan.log(Tier::Nvme).segment_bytes <= limits::SEGMENT_BYTES_MAX);
        }
    }
}
