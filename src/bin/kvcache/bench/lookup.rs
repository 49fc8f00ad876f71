//! Look-ups: a million blocks of 64 bytes, beside the floor.
//!
//! Twice: *fresh*, where the million went into an empty engine, and *churned*, where two million more have been put
//! since, each in the place of an evicted one, so that the tables are in the state in which they spend their lives.
//!
//! Where a use is noted, the engine's use clock is moved on before, so that each hit writes its recency: nothing is got
//! for free from an engine that stands still.

use std::error::Error;
use std::hint::black_box;

use kvcache::config::{HugePages, Prefault};
use kvcache::{Cache, Config, Key, PutInfo, Status};
use serde::Serialize;

use super::floor::{self, Floor};
use super::report::rounded;
use super::{machine, median};
use crate::sys::clock;
use crate::sys::memory::Pages;

/// Blocks resident.
const BLOCKS: usize = 1_000_000;
/// Blocks of room beside them, for moving the use clock on without evicting.
const SPARE: usize = 1024;
/// Puts after which the use clock has certainly moved on: it does so every 4096th part of the capacity.
const CLOCK_PUTS: u64 = 512;
/// Bytes of a block.
const BLOCK_BYTES: usize = 64;
/// Keys of a batch in the pass that the wanted ratio is about.
const BATCH: usize = 16;
/// Keys of a batch in the other pass: a prompt of 4096 tokens in blocks of 16.
const BATCH_LONG: usize = 256;
/// Look-ups of each kind in one serialised round.
const SAMPLES: usize = 100_000;

/// Look-ups in both states.
#[derive(Serialize)]
pub struct Lookups {
    /// Blocks that were asked for.
    pub resident_blocks_count: usize,
    /// Bytes of the floor's table.
    pub floor_bytes: usize,
    /// What one timing costs by itself; it is contained in all serialised figures.
    pub timer_ns: f64,
    /// After filling an empty engine.
    #[serde(flatten)]
    pub fresh: State,
    /// After two more fillings.
    pub churned: State,
    /// Bytes on huge pages meanwhile.
    #[serde(skip)]
    pub huge_pages_bytes: u64,
}

/// Look-ups in one state. The ratios are medians of the rounds' ratios.
#[derive(Serialize)]
pub struct State {
    /// Keys of a batch.
    pub match_batch_keys: usize,
    /// The floor, batches of 16.
    pub floor_ns_per_key: f64,
    /// Match, batches of 16.
    pub match_ns_per_key: f64,
    /// Match, batches of 256.
    pub match_256_ns_per_key: f64,
    /// Match, one key a call.
    pub match_1_ns_per_key: f64,
    /// Match, batches of 16, with the uses noted.
    pub match_touch_ns_per_key: f64,
    /// Match over the floor.
    pub match_ratio: f64,
    /// The floor, each look-up after the one before.
    pub floor_serialised_p50_ns: f64,
    /// Of a hundred the slowest but one.
    pub floor_serialised_p99_ns: f64,
    /// Match of one key, with its use noted.
    pub hit_serialised_p50_ns: f64,
    /// As above.
    pub hit_serialised_p99_ns: f64,
    /// The hit over the floor.
    pub hit_p50_ratio: f64,
    /// As above.
    pub hit_p99_ratio: f64,
    /// Acquire, which pins the block and notes the use, and release.
    pub acquire_release_serialised_p50_ns: f64,
    /// As above.
    pub acquire_release_serialised_p99_ns: f64,
    /// Both together over the floor.
    pub acquire_release_p50_ratio: f64,
    /// As above.
    pub acquire_release_p99_ratio: f64,
}

/// Measures.
///
/// # Errors
/// The system's, or an engine that loses what was put.
pub fn measure(rounds: usize) -> Result<Lookups, Box<dyn Error>> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let cache = Cache::open(&Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: ((BLOCKS + SPARE) * BLOCK_BYTES) as u64,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    })?;
    let tick_ns = clock::tick_ns();
    let mut measured = Vec::new();
    let (mut resident_blocks_count, mut floor_bytes, mut huge_pages_bytes) = (0, 0, 0);
    for fillings in [1, 2] {
        let mut keys = Vec::new();
        for _ in 0..fillings {
            keys = (0..BLOCKS).map(|_| random.key()).collect();
            for key in &keys {
                cache.put(key, &[1; BLOCK_BYTES], &PutInfo::default())?;
            }
        }
        // The policy evicts the least recently used of a moment, so of the last million a few may be gone.
        keys.retain(|key| cache.match_prefix(core::slice::from_ref(key), false) == 1);
        random.shuffle(&mut keys);
        let mut asked: Pages<Key> = Pages::new(keys.len())?;
        asked.copy_from_slice(&keys);
        let floor = Floor::new(&asked)?;
        (resident_blocks_count, floor_bytes) = (asked.len(), floor.bytes());
        huge_pages_bytes = machine::huge_pages_bytes();
        let mut bench = Bench {
            cache: &cache,
            floor: &floor,
            asked: &asked,
            spare: random.key(),
            cursor: 1,
            tick_ns,
        };
        measured.push(bench.state(rounds)?);
    }
    let churned = measured.pop().ok_or("nothing was measured")?;
    let fresh = measured.pop().ok_or("nothing was measured")?;
    Ok(Lookups {
        resident_blocks_count,
        floor_bytes,
        timer_ns: timer_ns(tick_ns),
        fresh,
        churned,
        huge_pages_bytes,
    })
}

/// What a state is measured with.
struct Bench<'b> {
    cache: &'b Cache,
    floor: &'b Floor,
    asked: &'b [Key],
    /// A key that comes and goes.
    spare: Key,
    /// Where the serialised look-ups have got to.
    cursor: u64,
    tick_ns: f64,
}

impl Bench<'_> {
    fn state(&mut self, rounds: usize) -> Result<State, Status> {
        let mut columns: [Vec<f64>; 11] = Default::default();
        for _ in 0..rounds {
            let batches = [
                self.pass(floor::BATCH, |bench, keys| bench.floor.find_batch(keys))?,
                self.pass(BATCH, |bench, keys| bench.cache.match_prefix(keys, false))?,
                self.pass(BATCH_LONG, |bench, keys| bench.cache.match_prefix(keys, false))?,
                self.pass(1, |bench, keys| bench.cache.match_prefix(keys, false))?,
                self.pass(BATCH, |bench, keys| bench.cache.match_prefix(keys, true))?,
            ];
            let serialised = self.serialised()?;
            for (column, figure) in columns.iter_mut().zip(batches.into_iter().chain(serialised)) {
                column.push(figure);
            }
        }
        let figure = |column: usize| rounded(median(&mut columns[column].clone()));
        let ratio = |column: usize, floor: usize| {
            let mut ratios: Vec<f64> = columns[column]
                .iter()
                .zip(&columns[floor])
                .map(|(a, b)| a / b)
                .collect();
            rounded(median(&mut ratios))
        };
        Ok(State {
            match_batch_keys: BATCH,
            floor_ns_per_key: figure(0),
            match_ns_per_key: figure(1),
            match_256_ns_per_key: figure(2),
            match_1_ns_per_key: figure(3),
            match_touch_ns_per_key: figure(4),
            match_ratio: ratio(1, 0),
            floor_serialised_p50_ns: figure(5),
            floor_serialised_p99_ns: figure(6),
            hit_serialised_p50_ns: figure(7),
            hit_serialised_p99_ns: figure(8),
            hit_p50_ratio: ratio(7, 5),
            hit_p99_ratio: ratio(8, 6),
            acquire_release_serialised_p50_ns: figure(9),
            acquire_release_serialised_p99_ns: figure(10),
            acquire_release_p50_ratio: ratio(9, 5),
            acquire_release_p99_ratio: ratio(10, 6),
        })
    }

    /// One pass over all keys in their random order; nanoseconds a key.
    fn pass(&self, batch: usize, ask: impl Fn(&Self, &[Key]) -> u64) -> Result<f64, Status> {
        self.move_use_clock()?;
        let begun = clock::ticks_begin();
        let hits: u64 = self.asked.chunks(batch).map(|keys| ask(self, keys)).sum();
        let ticks = clock::ticks_end() - begun;
        if hits != self.asked.len() as u64 {
            return Err(Status::Miss);
        }
        Ok(ticks as f64 * self.tick_ns / self.asked.len() as f64)
    }

    /// Puts and removes a block until the engine's use clock has moved on.
    fn move_use_clock(&self) -> Result<(), Status> {
        for _ in 0..CLOCK_PUTS {
            self.cache.put(&self.spare, &[2; BLOCK_BYTES], &PutInfo::default())?;
            self.cache.remove(core::slice::from_ref(&self.spare));
        }
        Ok(())
    }

    /// One by one, each key following from the answer before: floor, match, acquire and release in turn, so that all
    /// three find the caches in the same state. Median and 99th percentile of each.
    fn serialised(&mut self) -> Result<[f64; 6], Status> {
        self.move_use_clock()?;
        let mut samples: [Vec<u64>; 3] = core::array::from_fn(|_| Vec::with_capacity(SAMPLES));
        let (cache, floor) = (self.cache, self.floor);
        let [floor_samples, hit_samples, acquire_samples] = &mut samples;
        for _ in 0..SAMPLES {
            floor_samples.push(self.sample(|key| Ok(floor.find(key.words()[0]).is_some()))?);
            hit_samples.push(self.sample(|key| Ok(cache.match_prefix(core::slice::from_ref(key), true) == 1))?);
            acquire_samples.push(self.sample(|key| {
                let view = cache.acquire_raw(key)?;
                cache.release_raw(&view)?;
                Ok(true)
            })?);
        }
        let mut figures = [0.0; 6];
        for (figures, samples) in figures.chunks_mut(2).zip(&mut samples) {
            samples.sort_unstable();
            figures[0] = samples[SAMPLES / 2] as f64 * self.tick_ns;
            figures[1] = samples[SAMPLES * 99 / 100] as f64 * self.tick_ns;
        }
        Ok(figures)
    }

    /// Ticks of one look-up.
    #[inline(always)]
    fn sample(&mut self, ask: impl FnOnce(&Key) -> Result<bool, Status>) -> Result<u64, Status> {
        // The key comes from memory too, but before the clock is read: the caller has it at hand.
        let key = black_box(self.asked[(((self.cursor >> 32) * self.asked.len() as u64) >> 32) as usize]);
        let begun = clock::ticks_begin();
        let found = ask(&key)?;
        let ticks = clock::ticks_end() - begun;
        if !found {
            return Err(Status::Miss);
        }
        // Odd, and not known before the answer is.
        let step = u64::from(found) | 2;
        self.cursor = self.cursor.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
        Ok(ticks)
    }
}

/// What reading the clock twice costs.
fn timer_ns(tick_ns: f64) -> f64 {
    let mut samples: Vec<f64> = (0..10_001)
        .map(|_| {
            let begun = clock::ticks_begin();
            (clock::ticks_end() - begun) as f64 * tick_ns
        })
        .collect();
    rounded(median(&mut samples))
}

/// Marsaglia's xorshift: the same keys in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn key(&mut self) -> Key {
        Key::from_words(core::array::from_fn(|_| self.next()))
    }

    /// Fisher and Yates.
    fn shuffle(&mut self, keys: &mut [Key]) {
        for place in (1..keys.len()).rev() {
            keys.swap(place, (self.next() % (place as u64 + 1)) as usize);
        }
    }
}
