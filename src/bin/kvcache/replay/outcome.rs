//! What a replay counted, and the figures that follow from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// The tiers in which a replay finds blocks, nearest first.
pub const TIER_NAMES: [&str; 3] = ["cpu", "nvme", "disk"];

/// What one tier did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TierOutcome {
    /// How it moves bytes: `memory`, `io_uring`, `pread`, `mmap`; `none` where there is no such tier.
    pub io: String,
    /// Whether it is offline.
    pub offline: bool,
    /// Blocks of prefixes that lay here, and nowhere nearer, when they were loaded.
    pub hits: u64,
    /// Time in the calls that loaded them, from the call to the last byte.
    pub load_ns: u64,
    /// The distribution of those times.
    pub load_times: Latency,
    /// Bytes of blocks read from it: of the memory tier by loads, of a file tier for whatever reason.
    pub bytes_read: u64,
    /// Bytes written to it; of a file tier headers, tables and padding included.
    pub bytes_written: u64,
    /// Bytes of the blocks written to it.
    pub block_bytes_written: u64,
    /// Blocks in it at the end.
    pub blocks: u64,
}

/// What a replay counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests replayed.
    pub requests: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Blocks of these requests.
    pub blocks_accessed: u64,
    /// Of those, in any tier when their request came, whether or not a block before them was missing.
    pub blocks_found: u64,
    /// Tokens of the blocks.
    pub tokens_accessed: u64,
    /// Tokens of the blocks that were loaded.
    pub tokens_hit: u64,
    /// Blocks not loaded: not there, or a block before them was not.
    pub misses: u64,
    /// Blocks that could not be stored: no room at all.
    pub stores_refused: u64,
    /// Bytes that were not what was stored.
    pub wrong_bytes: u64,
    /// Heap calls of every thread from the end of open to the end of the last flush, the progress bar's left out.
    pub heap_calls_after_open: u64,
    /// Time in which open did all it does: memory, files, recovery.
    pub opened_ns: u64,
    /// Blocks that open found in the files.
    pub recovered_blocks: u64,
    /// Records and tables that open found damaged.
    pub damaged: u64,
    /// Blocks dropped because what a file held did not verify.
    pub checksum_failures: u64,
    /// Requests to a device that failed for good.
    pub io_errors: u64,
    /// Requests to a device that were repeated.
    pub io_retries: u64,
    /// Blocks that memory gave up before they were written.
    pub writes_skipped: u64,
    /// Blocks that no file tier took.
    pub writes_refused: u64,
    /// Blocks that the flush at the end still had to write.
    pub flushed_blocks: u64,
    /// Time of the flush at the end.
    pub flush_ns: u64,
    /// What the flush answered.
    pub flush: String,
    /// Time of everything between open and close.
    pub run_ns: u64,
    /// Time in the calls that write: reserve, commit, tick and flush; filling and checking left out.
    pub store_ns: u64,
    /// Time in which the missing blocks were filled in place.
    pub fill_ns: u64,
    /// Whether the process killed itself after this.
    pub killed: bool,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Memory, NVMe, disk.
    pub tiers: [TierOutcome; 3],
}

impl Outcome {
    /// Adds what a later run counted. Of things that are a state (blocks held, how the flush went) the later one
    /// counts.
    pub fn merge(&mut self, later: &Self) {
        let tiers = core::array::from_fn(|place| self.tiers[place].merged(&later.tiers[place]));
        *self = Self {
            requests: self.requests + later.requests,
            blocks_accessed: self.blocks_accessed + later.blocks_accessed,
            blocks_found: self.blocks_found + later.blocks_found,
            tokens_accessed: self.tokens_accessed + later.tokens_accessed,
            tokens_hit: self.tokens_hit + later.tokens_hit,
            misses: self.misses + later.misses,
            stores_refused: self.stores_refused + later.stores_refused,
            wrong_bytes: self.wrong_bytes + later.wrong_bytes,
            heap_calls_after_open: self.heap_calls_after_open + later.heap_calls_after_open,
            damaged: self.damaged + later.damaged,
            checksum_failures: self.checksum_failures + later.checksum_failures,
            io_errors: self.io_errors + later.io_errors,
            io_retries: self.io_retries + later.io_retries,
            writes_skipped: self.writes_skipped + later.writes_skipped,
            writes_refused: self.writes_refused + later.writes_refused,
            run_ns: self.run_ns + later.run_ns,
            store_ns: self.store_ns + later.store_ns,
            fill_ns: self.fill_ns + later.fill_ns,
            tiers,
            ..later.clone()
        };
    }

    /// Blocks loaded.
    pub fn hits(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.hits).sum()
    }

    /// Gigabytes (10^9) a second at which a tier's blocks were loaded: bytes of the blocks that lay there, over the
    /// time in the calls that loaded them. 0 where there was none.
    pub fn read_gbps(&self, tier: usize) -> f64 {
        let tier = &self.tiers[tier];
        rate(tier.hits * self.block_bytes, tier.load_ns)
    }

    /// Gigabytes (10^9) a second that went into a tier. For memory, the bytes stored over the time in which the replay
    /// filled them in. For a file tier, the bytes written to the file over the time in all the calls that write (see
    /// [`Outcome::store_ns`]): a lower bound, since some of it goes to the other tiers; with workers, which write
    /// beside those calls, it bounds nothing.
    pub fn write_gbps(&self, tier: usize) -> f64 {
        let ns = if tier == 0 { self.fill_ns } else { self.store_ns };
        rate(self.tiers[tier].bytes_written, ns)
    }

    /// The figures for other programs.
    pub fn report(&self) -> Report {
        let tier = |place: usize| {
            let tier = &self.tiers[place];
            TierReport {
                io: tier.io.clone(),
                offline: tier.offline,
                read_gbps: self.read_gbps(place),
                write_gbps: self.write_gbps(place),
                p50_us: tier.load_times.percentile_us(0.5),
                p99_us: tier.load_times.percentile_us(0.99),
                bytes_read: tier.bytes_read,
                bytes_written: tier.bytes_written,
                block_bytes_written: tier.block_bytes_written,
                blocks: tier.blocks,
            }
        };
        let [cpu, nvme, disk] = self.tiers.each_ref().map(|tier| tier.hits);
        let offline = TIER_NAMES.into_iter().zip(&self.tiers);
        Report {
            requests: self.requests,
            block_bytes: self.block_bytes,
            blocks_accessed: self.blocks_accessed,
            hits: Hits { cpu, nvme, disk },
            misses: self.misses,
            prefix_token_hit_ratio: share(self.tokens_hit, self.tokens_accessed),
            block_hit_ratio: share(self.blocks_found, self.blocks_accessed),
            wrong_bytes: self.wrong_bytes,
            checksum_failures: self.checksum_failures,
            heap_calls_after_open: self.heap_calls_after_open,
            opened_in_ms: self.opened_ns as f64 / 1e6,
            recovered_blocks: self.recovered_blocks,
            damaged: self.damaged,
            io_errors: self.io_errors,
            io_retries: self.io_retries,
            stores_refused: self.stores_refused,
            writes_skipped: self.writes_skipped,
            writes_refused: self.writes_refused,
            flush: self.flush.clone(),
            flush_ms: self.flush_ns as f64 / 1e6,
            flushed_blocks: self.flushed_blocks,
            seconds: Duration::from_nanos(self.run_ns).as_secs_f64(),
            offline: offline.filter(|(_, tier)| tier.offline).map(|(name, _)| name).collect(),
            killed: self.killed,
            interrupted: self.interrupted,
            tiers: Tiers {
                cpu: tier(0),
                nvme: tier(1),
                disk: tier(2),
            },
        }
    }
}

impl TierOutcome {
    fn merged(&self, later: &Self) -> Self {
        let mut load_times = self.load_times.clone();
        load_times.merge(&later.load_times);
        Self {
            offline: self.offline || later.offline,
            hits: self.hits + later.hits,
            load_ns: self.load_ns + later.load_ns,
            load_times,
            bytes_read: self.bytes_read + later.bytes_read,
            bytes_written: self.bytes_written + later.bytes_written,
            block_bytes_written: self.block_bytes_written + later.block_bytes_written,
            ..later.clone()
        }
    }
}

fn rate(bytes: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { bytes as f64 / ns as f64 }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The figures, as `--json` prints them. Rates and times of a tier that nothing was loaded from are 0.
#[derive(Debug, Serialize)]
pub struct Report {
    requests: u64,
    block_bytes: u64,
    blocks_accessed: u64,
    hits: Hits,
    misses: u64,
    prefix_token_hit_ratio: f64,
    block_hit_ratio: f64,
    wrong_bytes: u64,
    checksum_failures: u64,
    heap_calls_after_open: u64,
    opened_in_ms: f64,
    recovered_blocks: u64,
    damaged: u64,
    io_errors: u64,
    io_retries: u64,
    stores_refused: u64,
    writes_skipped: u64,
    writes_refused: u64,
    flush: String,
    flush_ms: f64,
    flushed_blocks: u64,
    seconds: f64,
    offline: Vec<&'static str>,
    killed: bool,
    interrupted: bool,
    tiers: Tiers,
}

#[derive(Debug, Serialize)]
struct Hits {
    cpu: u64,
    nvme: u64,
    disk: u64,
}

#[derive(Debug, Serialize)]
struct Tiers {
    cpu: TierReport,
    nvme: TierReport,
    disk: TierReport,
}

#[derive(Debug, Serialize)]
struct TierReport {
    io: String,
    offline: bool,
    read_gbps: f64,
    write_gbps: f64,
    p50_us: f64,
    p99_us: f64,
    bytes_read: u64,
    bytes_written: u64,
    block_bytes_written: u64,
    blocks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_add_up_and_survive_being_printed() {
        let mut first = Outcome {
            requests: 3,
            block_bytes: 1000,
            misses: 5,
            store_ns: 4000,
            killed: true,
            ..Outcome::default()
        };
        first.tiers[1] = TierOutcome {
            hits: 2,
            load_ns: 1000,
            bytes_written: 2000,
            offline: true,
            ..TierOutcome::default()
        };
        first.tiers[1].load_times.add(500);
        let text = serde_json::to_string(&first).unwrap();
        let mut sum: Outcome = serde_json::from_str(&text).unwrap();
        let second = Outcome {
            killed: false,
            recovered_blocks: 7,
            tiers: first.tiers.clone(),
            ..first
        };
        sum.merge(&second);
        assert_eq!((sum.requests, sum.misses, sum.hits()), (6, 10, 4));
        assert_eq!((sum.killed, sum.recovered_blocks), (false, 7));
        assert_eq!((sum.read_gbps(1), sum.write_gbps(1), sum.read_gbps(2)), (2.0, 0.5, 0.0));
        let report = sum.report();
        assert_eq!(report.offline, ["nvme"]);
        assert!((report.tiers.nvme.p50_us - 0.5).abs() < 0.02);
    }
}
