//! How large the tiers are that nobody gave a size: in proportion to the trace, or as the files are that are there.

use kvcache::config::{Admission, FileTier, HugePages, IoEngine, PolicyKind, Prefault, WritePolicy};
use kvcache::units::Tier;
use kvcache::{Config, ConfigError, Plan};

use super::ReplayArgs;
use super::folder::Folder;
use crate::configfile::ConfigFile;
use crate::simulate::Defaults;
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

/// The engine's configuration: what the arguments say, else what the file says, else what suits the trace.
///
/// # Errors
/// Arguments that contradict each other; a clock that stands still.
pub fn config(args: &ReplayArgs, file: &ConfigFile, requests: &Requests, folder: &Folder) -> Result<Config, String> {
    let there = [folder.nvme(), folder.disk()].map(|path| Superblock::read(&path).ok());
    let block_bytes_there = there.iter().flatten().map(|superblock| superblock.block_bytes).next();
    let mut config = Config {
        block_bytes: block_bytes_there.unwrap_or(BLOCK_BYTES),
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    };
    file.apply(&mut config);
    if config.clock_ticks {
        return Err("clock: a replay goes by the system's clock; leave it out, or say \"system\"".into());
    }
    config.block_bytes = args.block_bytes.unwrap_or(config.block_bytes);
    let all_bytes = requests.blocks_unique().saturating_mul(config.block_bytes);
    if !file.has("cpu_bytes") {
        config.cpu_bytes = CPU.bytes(all_bytes, config.block_bytes);
    }
    config.cpu_bytes = args.cpu_bytes.unwrap_or(config.cpu_bytes);
    let [nvme_there, disk_there] = &there;
    let block_bytes = config.block_bytes;
    let tier = |tier: &mut FileTier, asked: Option<u64>, in_file: bool, there: Option<&Superblock>, share: &Share| {
        match (asked, there) {
            (Some(bytes), _) => tier.bytes = bytes,
            (None, _) if in_file => {}
            (None, Some(there)) => (tier.bytes, tier.segment_bytes) = (there.file_bytes(), there.segment_bytes),
            (None, None) => tier.bytes = share.bytes(all_bytes, block_bytes) + SUPERBLOCK_AREA_BYTES,
        }
        tier.admission = args.admission.map_or(tier.admission, Admission::from);
        tier.endurance_bytes_per_day = args.endurance_per_day.unwrap_or(tier.endurance_bytes_per_day);
    };
    let (nvme, disk) = (&mut config.nvme, &mut config.disk);
    tier(
        nvme,
        args.nvme_bytes,
        file.has("nvme_bytes"),
        nvme_there.as_ref(),
        &NVME,
    );
    // A file that says where blocks go and names no disk has none.
    let disk_in_file = file.has("disk_bytes") || file.has("nvme_bytes");
    tier(disk, args.disk_bytes, disk_in_file, disk_there.as_ref(), &DISK);
    config.policy = args.engine_policy()?.map_or(config.policy, PolicyKind::from);
    config.workers_count = args.workers.unwrap_or(config.workers_count);
    config.write_policy = args.write_policy.map_or(config.write_policy, WritePolicy::from);
    config.io_engine = args.io.map_or(config.io_engine, IoEngine::from);
    config.file_overwrite |= args.overwrite;
    Ok(config)
}

/// What a file says for a replay without payload: the memory tier and the first file tier in blocks.
///
/// # Errors
/// A configuration that is refused.
pub fn defaults(file: &ConfigFile) -> Result<Defaults, ConfigError> {
    let mut config = Config {
        block_bytes: BLOCK_BYTES,
        ..Config::default()
    };
    file.apply(&mut config);
    let mut defaults = Defaults {
        policy: file.has("policy").then_some(config.policy),
        loss_permille: config.admission_loss_permille,
        ..Defaults::default()
    };
    if file.has("cpu_bytes") {
        let plan = Plan::compute(&config)?;
        defaults.capacity_blocks = u32::try_from(plan.slots_count()).ok();
        let tiers = [(Tier::Nvme, &config.nvme), (Tier::Disk, &config.disk)];
        if let Some((tier, below)) = tiers.into_iter().find(|(_, below)| below.bytes != 0) {
            defaults.below_blocks = u32::try_from(plan.log(tier).blocks_count).ok();
            defaults.admission = Some(below.admission.into());
        }
    }
    Ok(defaults)
}
