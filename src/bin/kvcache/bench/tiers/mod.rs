//! The NVMe tier beside raw I/O of the same sizes, depth and durability, on files in the same folder, in turns.
//!
//! What "raw" means: requests of the block's size to a file of their own through the same io_uring device, with as many
//! bytes under way as the tier has (its frames), `O_DIRECT`, and a sync at the end of every write pass, as the tier's
//! flush does.

mod cold;
mod hits;
mod passes;
mod raw;

use std::error::Error;
use std::path::{Path, PathBuf};

use kvcache::config::{FileTier, HugePages, Prefault, WritePolicy};
use kvcache::host::Paths;
use kvcache::{Cache, Config, Key};
use serde::Serialize;

use super::machine::{self, Machine};
use super::median;
use super::report::{Wanted, rounded};

/// Bytes of a large block.
pub const BLOCK_BYTES: usize = 2 << 20;
/// Bytes of a small block.
pub const SMALL_BYTES: usize = 64 << 10;
/// Bytes of a tier's file.
pub const FILE_BYTES: u64 = 2 << 30;
/// Bytes written and read in one pass.
pub const PASS_BYTES: usize = 512 << 20;
/// Requests under way: the tier's frames.
pub const DEPTH: u64 = 32;
/// Bytes of one request of the tier.
pub const FRAME_BYTES: usize = 256 << 10;

/// Everything measured.
#[derive(Serialize)]
pub struct Tiers {
    /// What was measured.
    pub section: &'static str,
    /// Rounds that the medians were taken over.
    pub rounds_count: usize,
    /// Where.
    pub machine: Machine,
    /// How the tier's file is read and written.
    pub io: &'static str,
    /// Blocks of 2 MiB, GB/s, written and synced.
    pub nvme_write_gbps: f64,
    /// The same bytes raw.
    pub raw_write_gbps: f64,
    /// Median of the rounds' ratios.
    pub write_ratio: f64,
    /// Blocks of 2 MiB, GB/s, read, verified and copied to the caller.
    pub nvme_read_gbps: f64,
    /// The same bytes raw.
    pub raw_read_gbps: f64,
    /// Median of the rounds' ratios.
    pub read_ratio: f64,
    /// Blocks of 64 KiB a second.
    pub nvme_read_64kib_iops: f64,
    /// The same raw.
    pub raw_read_64kib_iops: f64,
    /// Median of the rounds' ratios.
    pub iops_ratio: f64,
    /// One get of a 2 MiB block that is in the file only, nothing else under way, microseconds.
    pub cold_get_2mib_p50_us: f64,
    /// One raw read of 2 MiB.
    pub raw_read_2mib_p50_us: f64,
    /// The first over the second.
    pub cold_ratio: f64,
    /// Latency of hits in memory, nothing else going on, nanoseconds.
    pub hit_idle_p99_ns: f64,
    /// The same while another thread reads from the tier as fast as it can.
    pub hit_saturated_p99_ns: f64,
    /// The second over the first.
    pub hit_ratio: f64,
    /// Bytes written to the file over bytes of the blocks.
    pub write_amplification: f64,
    /// The bounds.
    pub wanted: Vec<Wanted>,
}

/// A folder of files that goes when the measurement ends.
pub struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> std::io::Result<Self> {
        let path = parent.join(format!("kvcache-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left for the user to see.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A cache with an NVMe tier alone.
pub fn open(
    folder: &Folder,
    name: &str,
    block_bytes: usize,
    write_policy: WritePolicy,
) -> Result<Cache, Box<dyn Error>> {
    let config = Config {
        block_bytes: block_bytes as u64,
        cpu_bytes: 128 << 20,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        slots_free_low_permille: 100,
        slots_free_high_permille: 200,
        write_policy,
        nvme: FileTier {
            bytes: FILE_BYTES,
            // Some of the blocks are small, whatever the largest.
            blocks_count: 1 << 16,
            depth: DEPTH,
            ..FileTier::NONE
        },
        ..Config::default()
    };
    let path = folder.file(name);
    Ok(Cache::open_with(
        &config,
        &Paths {
            nvme: Some(&path),
            disk: None,
            tables: None,
        },
    )?)
}

/// The key of block `number` of pass `pass`.
pub fn key(pass: u64, number: u64) -> Key {
    Key::from_words([number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number, pass, 1])
}

/// Measures.
///
/// # Errors
/// The system's, or an engine that loses what it was given.
pub fn measure(rounds: usize, parent: &Path) -> Result<Tiers, Box<dyn Error>> {
    let folder = Folder::new(parent)?;
    let large = passes::measure(&folder, rounds, BLOCK_BYTES, "large")?;
    let small = passes::measure(&folder, rounds, SMALL_BYTES, "small")?;
    let cold = cold::measure(&folder, rounds)?;
    let hits = hits::measure(&folder, rounds)?;
    let iops = |gbps: f64| rounded(gbps * 1e9 / SMALL_BYTES as f64);
    let mut tiers = Tiers {
        section: "tiers",
        rounds_count: rounds,
        machine: machine::describe(machine::huge_pages_bytes())?,
        io: large.io,
        nvme_write_gbps: large.write_gbps,
        raw_write_gbps: large.raw_write_gbps,
        write_ratio: large.write_ratio,
        nvme_read_gbps: large.read_gbps,
        raw_read_gbps: large.raw_read_gbps,
        read_ratio: large.read_ratio,
        nvme_read_64kib_iops: iops(small.read_gbps),
        raw_read_64kib_iops: iops(small.raw_read_gbps),
        iops_ratio: small.read_ratio,
        cold_get_2mib_p50_us: cold.0,
        raw_read_2mib_p50_us: cold.1,
        cold_ratio: rounded(cold.0 / cold.1),
        hit_idle_p99_ns: hits.0,
        hit_saturated_p99_ns: hits.1,
        hit_ratio: rounded(hits.1 / hits.0),
        write_amplification: large.amplification,
        wanted: Vec::new(),
    };
    tiers.wanted = vec![
        Wanted::at_least("nvme_read_gbps / raw_read_gbps", tiers.read_ratio, 0.95),
        Wanted::at_least("nvme_write_gbps / raw_write_gbps", tiers.write_ratio, 0.90),
        Wanted::at_least("nvme_read_64kib_iops / raw", tiers.iops_ratio, 0.90),
        Wanted::at_most("cold_get_2mib_p50 / raw p50", tiers.cold_ratio, 1.15),
        Wanted::at_most("memory hit p99: saturated / idle", tiers.hit_ratio, 1.5),
        Wanted::at_most("write_amplification", tiers.write_amplification, 1.1),
    ];
    Ok(tiers)
}

/// The median of ratios taken round by round.
pub fn ratio(above: &[f64], below: &[f64]) -> f64 {
    let mut ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    rounded(median(&mut ratios))
}

/// The median of a column.
pub fn middle(column: &[f64]) -> f64 {
    rounded(median(&mut column.to_vec()))
}
