//! Look-ups in other caches beside `kvcache`'s, one million keys of 32 bytes, in one run.
//!
//! Prints one JSON object. All caches are filled with the same keys and have room for twice as many, so that nothing is
//! evicted; then, round by round, each is asked for all of them in the same random order. Where a cache takes a hasher
//! it gets foldhash, the fastest of those in use; the allocator is asked for huge pages, as the engine is. What counts
//! is the ratio of each round; the medians are shown.
//!
//! With the argument `tiers` and a folder: the file tier beside another disk cache, see [`tiers`].
//!
//! With the argument `tiers` and a folder: the file tier beside another disk cache, see [`tiers`].
#![deny(unsafe_code)]

mod allocator;
mod rivals;
mod tiers;

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use kvcache::config::{HugePages, Prefault};
use kvcache::{Cache, Config, Key, PutInfo};
use serde_json::{Value, json};

use rivals::Rival;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// Blocks resident.
const BLOCKS: usize = 1_000_000;
/// Room beside them, for moving the use clock on without evicting.
const SPARE: usize = 1024;
/// Puts after which the engine's use clock has certainly moved on.
const CLOCK_PUTS: usize = 512;
/// Keys of a batch.
const BATCH: usize = 16;
/// Rounds.
const ROUNDS: usize = 5;
/// Ways in which the engine itself is asked: batches, batches with the uses noted, one by one.
const OWN: usize = 3;
/// What each ratio shall be at most.
const RATIO_MAX: f64 = 0.25;

/// The C library's setting that puts its heap on huge pages.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(TUNABLES.0).is_none() {
        // Read when a program begins, so it begins again.
        let program = std::env::current_exe()?;
        return Err(Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(TUNABLES.0, TUNABLES.1)
            .exec()
            .into());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let report = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure()?,
        ["tiers"] => tiers::measure(".".as_ref())?,
        ["tiers", folder] => tiers::measure(folder.as_ref())?,
        _ => return Err("nothing for look-ups, or 'tiers' and a folder for file tiers".into()),
    };
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn measure() -> Result<Value, Box<dyn Error>> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut keys: Vec<Key> = (0..BLOCKS).map(|_| random.key()).collect();
    let spare = random.key();

    let cache = Cache::open(&Config {
        block_bytes: 64,
        cpu_bytes: 64 * (BLOCKS + SPARE) as u64,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    })?;
    let mut refused = 0;
    let inserts = |insert: &mut dyn FnMut(&Key, u64)| {
        let before = allocator::calls();
        keys.iter().zip(0..).for_each(|(key, value)| insert(key, value));
        (allocator::calls() - before) as f64 / BLOCKS as f64
    };
    let own_heap_calls = inserts(&mut |key, value| {
        let block = [value as u8; 64];
        refused += u64::from(cache.put(key, &block, &PutInfo::default()).is_err());
    });
    let rivals: Vec<Box<dyn Rival>> = rivals::all(2 * BLOCKS);
    let heap_calls: Vec<f64> = rivals
        .iter()
        .map(|rival| inserts(&mut |key, value| rival.insert(key, value)))
        .collect();
    rivals.iter().for_each(|rival| rival.settle());

    random.shuffle(&mut keys);
    let mut times = vec![Vec::new(); OWN + rivals.len()];
    let mut hits = vec![0; OWN + rivals.len()];
    for _ in 0..ROUNDS {
        let mut note = |column: usize, ask: &dyn Fn() -> u64| {
            // So that each hit that notes its use has to write it, as the others' have.
            for _ in 0..CLOCK_PUTS {
                refused += u64::from(cache.put(&spare, &[0; 64], &PutInfo::default()).is_err());
                cache.remove(&[spare]);
            }
            let begun = Instant::now();
            hits[column] = ask();
            times[column].push(begun.elapsed().as_nanos() as f64 / BLOCKS as f64);
        };
        note(0, &|| {
            keys.chunks(BATCH).map(|keys| cache.match_prefix(keys, false)).sum()
        });
        note(1, &|| {
            keys.chunks(BATCH).map(|keys| cache.match_prefix(keys, true)).sum()
        });
        note(2, &|| keys.chunks(1).map(|keys| cache.match_prefix(keys, false)).sum());
        for (column, rival) in rivals.iter().enumerate() {
            note(OWN + column, &|| rival.hits(&keys));
        }
    }
    if refused != 0 || hits[0] != BLOCKS as u64 {
        return Err("the engine lost blocks".into());
    }

    let reports: Vec<Value> = rivals
        .iter()
        .zip(heap_calls)
        .enumerate()
        .map(|(column, (rival, heap_calls))| {
            let theirs = &times[OWN + column];
            let ratio = |own: usize| rounded(median(times[own].iter().zip(theirs).map(|(own, theirs)| own / theirs)));
            json!({
                "name": rival.name(),
                "ns_per_key": median_of(theirs),
                "hits": hits[OWN + column],
                "heap_calls_per_insert": rounded(heap_calls),
                "ratio": ratio(0),
                "ratio_touch": ratio(1),
                "ratio_single": ratio(2),
                "ratio_wanted": RATIO_MAX,
                "met": ratio(0) <= RATIO_MAX,
            })
        })
        .collect();
    Ok(json!({
        "section": "rivals",
        "resident_blocks_count": BLOCKS,
        "rounds_count": ROUNDS,
        "match_batch_keys": BATCH,
        "match_ns_per_key": median_of(&times[0]),
        "match_touch_ns_per_key": median_of(&times[1]),
        "match_1_ns_per_key": median_of(&times[2]),
        "heap_calls_per_insert": rounded(own_heap_calls),
        "rivals": reports,
    }))
}

fn median_of(values: &[f64]) -> f64 {
    rounded(median(values.iter().copied()))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
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
