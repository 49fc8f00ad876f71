//! Two simulated devices, and everything that must be known about the blocks put so far.

use std::collections::BTreeSet;

use kvcache::config::{Admission, CodecChoice, CodecKind, FileTier, PolicyKind, Prefetch, WritePolicy};
use kvcache::layout::{Dtype, Geometry, Shape};
use kvcache::tier::fault::{FaultPlace, FaultRates, Faults};
use kvcache::tier::sim::{SimDisk, SimMemory, SimOptions, SimRequest};
use kvcache::tier::trace::{TraceEntry, Traced};
use kvcache::{Config, Key};

use crate::common::contents::mix;

/// A seeded source of numbers.
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A device as the engine sees it.
pub type Simulated<'m> = Traced<'m, Faults<'m, SimDisk<'m>>>;

/// What a device lies in.
pub struct Storage {
    data: Vec<u8>,
    journal: Vec<u8>,
    requests: Vec<SimRequest>,
    places: Vec<FaultPlace>,
    entries: Vec<TraceEntry>,
}

impl Storage {
    pub fn new(bytes: u64, depth: usize) -> Self {
        Self {
            data: vec![0; bytes as usize],
            journal: vec![0; 8 << 20],
            requests: vec![SimRequest::EMPTY; depth],
            places: vec![FaultPlace::EMPTY; depth],
            entries: Vec::new(),
        }
    }

    pub fn device(&mut self, seed: u64, rates: FaultRates) -> Simulated<'_> {
        let memory = SimMemory {
            data: &mut self.data,
            journal: &mut self.journal,
            requests: &mut self.requests,
        };
        let options = SimOptions {
            seed,
            alignment_bytes: if seed.is_multiple_of(2) { 512 } else { 4096 },
            delay_reaps: (seed % 7) as u32,
            reorder: !seed.is_multiple_of(3),
        };
        let disk = SimDisk::new(memory, options);
        Traced::new(Faults::new(disk, seed, rates, &[], &mut self.places), &mut self.entries)
    }
}

/// A configuration that follows from the seed: small, so that everything overflows soon.
pub fn config(dice: &mut Dice) -> Config {
    // Large blocks, of several parts, cost as much as all others together.
    let block_bytes = [700, 700, 4096, 4096, 20_000, 20_000, 20_000, 150_000][dice.below(8) as usize];
    let record = block_bytes + 4096;
    let segment_bytes = (record * (2 + dice.below(6)) + 16384).next_multiple_of(4096);
    let mut tier = |segments_count: u64| FileTier {
        bytes: (64 << 10) + segment_bytes * segments_count,
        segment_bytes,
        blocks_count: 64 + dice.below(64),
        depth: 4 + dice.below(6),
        admission: [Admission::All, Admission::All, Admission::SecondHit, Admission::Reuse][dice.below(4) as usize],
        endurance_bytes_per_day: 0,
        promotion_hits: 1 + dice.below(2),
        stall_ms: 500,
        // Whatever a tier holds, what comes back is compared byte by byte.
        codec: CodecChoice::all([CodecKind::Raw, CodecKind::Lz][dice.below(2) as usize]),
    };
    let nvme = tier(4 + 2);
    let disk = if nvme.depth.is_multiple_of(2) {
        tier(12)
    } else {
        FileTier::NONE
    };
    let geometry = Geometry::new(&Shape {
        layers_count: 1,
        planes_count: 2,
        kv_heads_count: 1,
        head_dim: 16,
        tokens_per_block: block_bytes / 64,
        dtype: Dtype::Bf16,
    });
    let below = nvme.bytes != 0 || disk.bytes != 0;
    let mut geometries = [None; 16];
    geometries[0] = Some(geometry.expect("it is in range"));
    Config {
        geometries,
        block_bytes,
        cpu_bytes: block_bytes.next_multiple_of(4096) * (4 + dice.below(12)),
        policy: PolicyKind::ALL[dice.below(PolicyKind::ALL.len() as u64) as usize],
        pins_count: 16,
        stripes_count: 1,
        lanes_count: 1,
        lane_depth: 8,
        events_count: 4096,
        clock_ticks: true,
        nvme,
        disk,
        write_policy: [WritePolicy::Back, WritePolicy::Through][dice.below(2) as usize],
        write_wait_ms: [0, 50][dice.below(2) as usize],
        slots_free_low_permille: 200,
        slots_free_high_permille: 400,
        dedup: dice.below(2) == 1,
        prefetch: Prefetch {
            turns: below && dice.below(2) != 0,
            sequences: below && dice.below(2) != 0,
            successors: below && dice.below(2) != 0,
            conversations_count: 8,
            successors_count: 16,
            confidence_permille: 1,
            ..Prefetch::OFF
        },
        tuning: below,
        ..Config::default()
    }
}

/// How many keys there are.
pub const KEYS_COUNT: u64 = 40;

/// The key of a number.
pub fn key(number: u64) -> Key {
    Key::from_words([mix(number), number, 7, 7])
}

/// What the contents of the block under a key follow from: where blocks share slots, two keys each have the same.
pub fn contents(number: u64, config: &Config) -> u64 {
    if config.dedup { number & !1 } else { number }
}

/// The geometry of the block under a key, where there is one; blocks whose contents can be compressed have it.
pub fn geometry_id(number: u64, config: &Config) -> u8 {
    u8::from(contents(number, config).is_multiple_of(4) && config.geometries[0].is_some())
}

/// The length of the block under a key: the same whenever it is put.
pub fn bytes(number: u64, config: &Config) -> u64 {
    if contents(number, config).is_multiple_of(4) {
        return config.block_bytes / 64 * 64;
    }
    1 + mix(contents(number, config) ^ 0x5eed) % config.block_bytes
}

/// What must be true after a loss of power.
#[derive(Default)]
pub struct Durable {
    /// Flushed, and in a file tier ever since.
    pub there: BTreeSet<u64>,
    /// Removed, flushed, and not put since.
    pub gone: BTreeSet<u64>,
    /// What happened to which key, for who looks into a failure; `u64::MAX` is all of them.
    pub history: Vec<(u64, String)>,
    /// Removed and not flushed since.
    pub removed: BTreeSet<u64>,
    /// Whether the power was ever lost: the death of a process alone leaves nothing that is found and does not verify.
    pub power_lost: bool,
}
