//! What must be nothing: heap calls and system calls; and what must be little: metadata, the time to open.

use std::error::Error;
use std::time::Instant;

use kvcache::copy::Temperature;
use kvcache::{Cache, Config, Key, Plan, PutInfo, Status};
use serde::Serialize;

use super::median;
use super::report::rounded;
use crate::sys::{allocator, seccomp};

/// Blocks of the engine that the operations are counted on: half of what is put, so that half the puts evict.
const BLOCKS: usize = 1000;
const BLOCK_BYTES: usize = 4096;
/// Operations of each kind.
const OPERATIONS: u64 = 100_000;

/// Heap, kernel, metadata, opening.
#[derive(Serialize)]
pub struct Seals {
    /// Heap calls per operation, after open, over puts that evict, matches, gets, views and removals.
    pub heap_calls_per_op: f64,
    /// Operations that they were counted over.
    pub heap_ops_count: u64,
    /// System calls per hit, over matches, gets and views; counted by the kernel.
    pub syscalls_per_hit: f64,
    /// Hits that they were counted over.
    pub syscalls_hits_count: u64,
    /// Key, index, state, policy of one of a million blocks.
    pub metadata_bytes_per_block: f64,
    /// Opening 16 GiB of blocks of 2 MiB without touching them.
    pub open_16gib_ms: f64,
}

/// Measures.
///
/// # Errors
/// The system's, or an engine that answers wrongly.
pub fn measure() -> Result<Seals, Box<dyn Error>> {
    let (syscalls, hits_count) = syscalls()?;
    let (heap_calls, ops_count) = heap_calls()?;
    let million = Plan::compute(&Config {
        block_bytes: 64,
        cpu_bytes: 64_000_000,
        ..Config::default()
    })?;
    Ok(Seals {
        heap_calls_per_op: heap_calls as f64 / ops_count as f64,
        heap_ops_count: ops_count,
        syscalls_per_hit: syscalls as f64 / hits_count as f64,
        syscalls_hits_count: hits_count,
        metadata_bytes_per_block: rounded(million.metadata_bytes_per_block()),
        open_16gib_ms: open_16gib_ms()?,
    })
}

fn open() -> Result<Cache, kvcache::ConfigError> {
    Cache::open(&Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: (BLOCKS * BLOCK_BYTES) as u64,
        ..Config::default()
    })
}

fn key(number: u64) -> Key {
    Key::from_words([number, 5, 6, 7])
}

/// System calls and the hits that made them.
fn syscalls() -> Result<(u64, u64), Box<dyn Error>> {
    let cache = open()?;
    let mut target = [0; BLOCK_BYTES];
    for number in 0..BLOCKS as u64 {
        cache.put(&key(number), &target, &PutInfo::default())?;
    }
    let mut hits = || -> Result<(), Status> {
        for number in 0..OPERATIONS {
            let key = key(number % BLOCKS as u64);
            if cache.match_prefix(&[key], true) != 1 {
                return Err(Status::Miss);
            }
            cache.get(&key, &mut target, Temperature::Auto)?;
            cache.acquire(&key)?;
        }
        Ok(())
    };
    hits()?;
    Ok((seccomp::count(|| hits().is_ok())?, 3 * OPERATIONS))
}

/// Heap calls and the operations that made them.
fn heap_calls() -> Result<(u64, u64), Box<dyn Error>> {
    let cache = open()?;
    let mut target = [0; BLOCK_BYTES];
    let before = allocator::calls();
    for number in 0..OPERATIONS {
        let key = key(number);
        cache.put(&key, &target, &PutInfo::default())?;
        cache.match_prefix(&[key], true);
        cache.get(&key, &mut target, Temperature::Auto)?;
        cache.acquire(&key)?;
        if number % 4 == 0 {
            cache.remove(&[key]);
        }
    }
    Ok((allocator::calls() - before, 5 * OPERATIONS - OPERATIONS / 4 * 3))
}

fn open_16gib_ms() -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let cache = Cache::open(&Config {
            block_bytes: 2 << 20,
            cpu_bytes: 16 << 30,
            ..Config::default()
        })?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(cache);
    }
    Ok(rounded(median(&mut times)))
}
