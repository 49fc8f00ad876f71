//! Copies: cold blocks of 2 MiB beside plain copies of the same bytes, and one hot block for one and for two threads.

use std::error::Error;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use kvcache::config::{HugePages, Prefault};
use kvcache::copy::{Copier, Temperature};
use kvcache::{Cache, Config, Key, PutInfo, Status};
use serde::Serialize;

use super::median;
use super::report::rounded;
use crate::sys::memory::Pages;

/// Bytes of a cold block.
const BLOCK_BYTES: usize = 2 << 20;
/// Cold blocks on each side: 512 MiB, several times what any cache holds.
const BLOCKS: usize = 256;
/// Bytes of the hot block: it stays in the second-level cache of each thread.
const HOT_BYTES: usize = 64 << 10;
/// Copies of the hot block by each thread in one round.
const HOT_COPIES: usize = 20_000;

/// Copies.
#[derive(Serialize)]
pub struct Copies {
    /// The library's streaming copy between two regions, GB/s of payload.
    pub stream_copy_2mib_gbps: f64,
    /// The C library's copy between the same.
    pub memcpy_2mib_gbps: f64,
    /// Get into the same targets.
    pub get_cold_2mib_gbps: f64,
    /// Get over the streaming copy.
    pub get_ratio: f64,
    /// Get over the C library's copy.
    pub memcpy_ratio: f64,
    /// Bytes of the hot block.
    pub get_hot_bytes: usize,
    /// Copies of one block a second into a buffer of the thread's own.
    pub get_hot_1thread: f64,
    /// As above, both threads together.
    pub get_hot_2threads: f64,
    /// The second over the first.
    pub hot_ratio: f64,
}

/// Measures.
///
/// # Errors
/// The system's, or an engine that loses what was put.
pub fn measure(rounds: usize) -> Result<Copies, Box<dyn Error>> {
    let [stream, memcpy, get] = cold(rounds)?;
    let (one, two) = hot(rounds)?;
    let ratio = |above: &[f64], below: &[f64]| {
        let mut ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
        rounded(median(&mut ratios))
    };
    let figure = |column: &[f64]| rounded(median(&mut column.to_vec()));
    Ok(Copies {
        stream_copy_2mib_gbps: figure(&stream),
        memcpy_2mib_gbps: figure(&memcpy),
        get_cold_2mib_gbps: figure(&get),
        get_ratio: ratio(&get, &stream),
        memcpy_ratio: ratio(&get, &memcpy),
        get_hot_bytes: HOT_BYTES,
        get_hot_1thread: figure(&one),
        get_hot_2threads: figure(&two),
        hot_ratio: ratio(&two, &one),
    })
}

/// GB/s of each round: streaming copy, the C library's, get. The three take turns block by block.
fn cold(rounds: usize) -> Result<[Vec<f64>; 3], Box<dyn Error>> {
    let cache = open(BLOCK_BYTES, BLOCKS)?;
    let mut source: Pages<u8> = Pages::new(BLOCKS * BLOCK_BYTES)?;
    source.fill(1);
    let mut target: Pages<u8> = Pages::new(BLOCKS * BLOCK_BYTES)?;
    for number in 0..BLOCKS {
        cache.put(&key(number), &source[..BLOCK_BYTES], &PutInfo::default())?;
    }
    let copier = Copier::detect();
    let mut columns: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        let mut seconds = [0.0; 3];
        for step in 0..BLOCKS {
            for (way, seconds) in seconds.iter_mut().enumerate() {
                // Odd steps visit every block once, each way another one, and none soon after the last use.
                let from = (step * 101 + way * 77 + round * 13) % BLOCKS;
                let to = (step * 149 + way * 51 + round * 29) % BLOCKS;
                let target = &mut target[to * BLOCK_BYTES..][..BLOCK_BYTES];
                let source = &source[from * BLOCK_BYTES..][..BLOCK_BYTES];
                let begun = Instant::now();
                match way {
                    0 => copier.copy_slice(source, target, Temperature::Cold),
                    1 => target.copy_from_slice(source),
                    _ => check(cache.get(&key(from), target, Temperature::Cold)? == BLOCK_BYTES as u64)?,
                }
                *seconds += begun.elapsed().as_secs_f64();
            }
        }
        for (column, seconds) in columns.iter_mut().zip(seconds) {
            column.push((BLOCKS * BLOCK_BYTES) as f64 / seconds / 1e9);
        }
    }
    Ok(columns)
}

/// Copies a second of each round: one thread, then two.
fn hot(rounds: usize) -> Result<(Vec<f64>, Vec<f64>), Box<dyn Error>> {
    let cache = open(HOT_BYTES, 4)?;
    cache.put(&key(0), &vec![1; HOT_BYTES], &PutInfo::default())?;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        one.push(copies_per_second(&cache, 1)?);
        two.push(copies_per_second(&cache, 2)?);
    }
    Ok((one, two))
}

fn copies_per_second(cache: &Cache, threads_count: usize) -> Result<f64, Status> {
    let begin = Barrier::new(threads_count);
    // Each thread times itself, from the moment when all are there.
    thread::scope(|scope| {
        let work = || -> Result<f64, Status> {
            let mut target = vec![0; HOT_BYTES];
            cache.get(&key(0), &mut target, Temperature::Hot)?;
            begin.wait();
            let begun = Instant::now();
            for _ in 0..HOT_COPIES {
                cache.get(&key(0), &mut target, Temperature::Hot)?;
            }
            Ok(HOT_COPIES as f64 / begun.elapsed().as_secs_f64())
        };
        let threads: Vec<_> = (0..threads_count).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(Status::Internal)))
            .sum()
    })
}

fn open(block_bytes: usize, blocks_count: usize) -> Result<Cache, kvcache::ConfigError> {
    Cache::open(&Config {
        block_bytes: block_bytes as u64,
        cpu_bytes: (block_bytes * blocks_count) as u64,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    })
}

fn key(number: usize) -> Key {
    Key::from_words([number as u64, 2, 3, 4])
}

fn check(right: bool) -> Result<(), Status> {
    if right { Ok(()) } else { Err(Status::Internal) }
}
