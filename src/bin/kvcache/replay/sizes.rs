//! How large the tiers are that nobody gave a size: in proportion to the trace, or as the files are that are there.

use kvcache::Config;
use kvcache::config::{FileTier, HugePages, Prefault};

use super::folder::Folder;
use super::{AdmissionName, ReplayArgs};
use crate::tierfile::{SUPERBLOCK_AREA_BYTES, Superblock};
use crate::trace::Requests;

const BLOCK_BYTES: u64 = 64 << 10;
const MIB: u64 = 1 << 20;

/// Which share of a trace's different blocks a tier holds where nothing else is said: the reciprocal of it, and the
/// most bytes.
struct Share {
    of: u64,
    bytes_max: u64,
}

const CPU: Share = Share {
    of: 32,
    bytes_max: 1 << 30,
};
const NVME: Share = Share {
    of: 8,
    bytes_max: 4 << 30,
};
const DISK: Share = Share {
    of: 2,
    bytes_max: 8 << 30,
};

impl Share {
    /// Whole mebibytes, and room for a few blocks however short the trace is.
    fn bytes(&self, all_bytes: u64, block_bytes: u64) -> u64 {
        let least = (32 * block_bytes).max(8 * MIB);
        (all_bytes / self.of)
            .min(self.bytes_max)
            .max(least)
            .next_multiple_of(MIB)
    }
}

/// The engine's configuration.
///
/// # Errors
/// Two files that contradict each other.
pub fn config(args: &ReplayArgs, requests: &Requests, folder: &Folder) -> Result<Config, String> {
    let there = [folder.nvme(), folder.disk()].map(|path| Superblock::read(&path).ok());
    let block_bytes_there = there.iter().flatten().map(|superblock| superblock.block_bytes).next();
    let block_bytes = args.block_bytes.or(block_bytes_there).unwrap_or(BLOCK_BYTES);
    let all_bytes = requests.blocks_unique().saturating_mul(block_bytes);
    let [nvme_there, disk_there] = &there;
    let tier = |asked: Option<u64>, there: Option<&Superblock>, share: &Share| {
        let (bytes, segment_bytes) = match (asked, there) {
            (Some(bytes), _) => (bytes, 0),
            (None, Some(there)) => (there.file_bytes(), there.segment_bytes),
            (None, None) => (share.bytes(all_bytes, block_bytes) + SUPERBLOCK_AREA_BYTES, 0),
        };
        FileTier {
            bytes,
            segment_bytes,
            admission: args.admission.unwrap_or(AdmissionName::All).into(),
            endurance_bytes_per_day: args.endurance_per_day.unwrap_or(0),
            ..FileTier::NONE
        }
    };
    Ok(Config {
        block_bytes,
        cpu_bytes: args.cpu_bytes.unwrap_or_else(|| CPU.bytes(all_bytes, block_bytes)),
        policy: args.engine_policy()?.into(),
        workers_count: args.workers,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        nvme: tier(args.nvme_bytes, nvme_there.as_ref(), &NVME),
        disk: tier(args.disk_bytes, disk_there.as_ref(), &DISK),
        write_policy: args.write_policy.into(),
        io_engine: args.io.into(),
        file_overwrite: args.overwrite,
        ..Config::default()
    })
}
