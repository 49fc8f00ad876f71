//! The NVMe tier beside the disk cache of foyer: blocks of 2 MiB, written and read cold, in turns.
//!
//! Both get 128 MiB of memory, a file of 2 GiB with direct I/O through io_uring, and as much to do ahead. foyer is
//! given what is best for it: values that it owns and need not copy, room enough that it drops none, and no sync,
//! because it has none; the engine's passes end with `flush`, which is durable.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
    IoEngineConfig, UringIoEngineConfig,
};
use kvcache::config::{FileTier, HugePages, Prefault, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::host::Paths;
use kvcache::{Cache, Config, Key, PutInfo, Status};
use serde_json::{Value, json};

use crate::{median, median_of, rounded};

/// Bytes of a block.
const BLOCK_BYTES: usize = 2 << 20;
/// Blocks of one pass.
const BLOCKS: u64 = 256;
/// Blocks asked for ahead.
const AHEAD: usize = 8;
/// Rounds that count.
const ROUNDS: u64 = 5;
/// Rounds before them: until both files were written all over, since a file system is slow where they were not.
const ROUNDS_BEFORE: u64 = 5;
/// Bytes of memory.
const MEMORY_BYTES: usize = 128 << 20;
/// Bytes of the file.
const FILE_BYTES: usize = 2 << 30;

/// Bytes of foyer's write buffers: with fewer than a pass has it drops blocks.
const BUFFER_BYTES: usize = 1 << 30;

/// Measures in a folder of its own below `parent`.
///
/// # Errors
/// The system's, or a cache that gives back something else.
pub fn measure(parent: &Path) -> Result<Value, Box<dyn Error>> {
    let folder = parent.join(format!("kvcache-rivals-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let report = measure_in(&folder);
    std::fs::remove_dir_all(&folder)?;
    report
}

fn measure_in(folder: &Path) -> Result<Value, Box<dyn Error>> {
    let path = folder.join("kvcache");
    let cache = Cache::open_with(
        &Config {
            block_bytes: BLOCK_BYTES as u64,
            cpu_bytes: MEMORY_BYTES as u64,
            huge_pages: HugePages::Advise,
            prefault: Prefault::All,
            slots_free_low_permille: 100,
            slots_free_high_permille: 200,
            write_policy: WritePolicy::Through,
            nvme: FileTier {
                bytes: FILE_BYTES as u64,
                blocks_count: 1 << 16,
                depth: 32,
                ..FileTier::NONE
            },
            ..Config::default()
        },
        &Paths {
            nvme: Some(&path),
            disk: None,
            tables: None,
        },
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let foyer = runtime.block_on(open_foyer(&folder.join("foyer")))?;

    let gbps_of = |blocks: u64, seconds: f64| blocks as f64 * BLOCK_BYTES as f64 / seconds / 1e9;
    let gbps = |seconds: f64| gbps_of(BLOCKS, seconds);
    let mut columns: [Vec<f64>; 4] = Default::default();
    let mut found_least = BLOCKS;
    for round in 0..ROUNDS_BEFORE + ROUNDS {
        let order: Vec<u64> = (0..BLOCKS).map(|step| round << 32 | step * 101 % BLOCKS).collect();
        let written = write(&cache, round)?;
        let theirs_written = runtime.block_on(write_foyer(&foyer, round))?;
        forget(&cache, round)?;
        let read = read(&cache, &order)?;
        foyer.memory().clear();
        let (theirs_read, found) = runtime.block_on(read_foyer(&foyer, &order))?;
        found_least = found_least.min(found);
        if round >= ROUNDS_BEFORE {
            // What it dropped was neither written nor read.
            let rates = [
                gbps(written),
                gbps_of(found, theirs_written),
                gbps(read),
                gbps_of(found, theirs_read),
            ];
            columns
                .iter_mut()
                .zip(rates)
                .for_each(|(column, rate)| column.push(rate));
        }
    }
    runtime.block_on(foyer.close())?;
    let [write, theirs_write, read, theirs_read] = &columns;
    let ratio = |own: &[f64], theirs: &[f64]| rounded(median(own.iter().zip(theirs).map(|(own, theirs)| own / theirs)));
    let (write_ratio, read_ratio) = (ratio(write, theirs_write), ratio(read, theirs_read));
    Ok(json!({
        "section": "rivals, tiers",
        "block_bytes": BLOCK_BYTES,
        "blocks_count": BLOCKS,
        "rounds_count": ROUNDS,
        "write_gbps": median_of(write),
        "read_gbps": median_of(read),
        "rivals": [{
            "name": "foyer",
            "write_gbps": median_of(theirs_write),
            "read_gbps": median_of(theirs_read),
            "blocks_found_least": found_least,
            "write_ratio": write_ratio,
            "read_ratio": read_ratio,
            "met": write_ratio > 1.0 && read_ratio > 1.0,
        }],
    }))
}

fn key(number: u64) -> Key {
    Key::from_words([number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number, 0, 1])
}

/// A block that says which it is.
fn block(number: u64) -> Vec<u8> {
    let mut block = vec![0x33; BLOCK_BYTES];
    block[..8].copy_from_slice(&number.to_le_bytes());
    block
}

fn write(cache: &Cache, round: u64) -> Result<f64, Box<dyn Error>> {
    let blocks: Vec<(u64, Vec<u8>)> = (0..BLOCKS)
        .map(|step| (round << 32 | step, block(round << 32 | step)))
        .collect();
    let started = Instant::now();
    for (number, block) in &blocks {
        cache.put(&key(*number), block, &PutInfo::default())?;
        cache.tick(0);
    }
    cache.flush(Duration::from_secs(60))?;
    Ok(started.elapsed().as_secs_f64())
}

/// Fills memory with other blocks.
fn forget(cache: &Cache, round: u64) -> Result<(), Box<dyn Error>> {
    for number in 0..cache.plan().slots_count() {
        match cache.put(&key(1 << 50 | round << 32 | number), &[1; 64], &PutInfo::default()) {
            Ok(_) | Err(Status::Exists) => {}
            Err(status) => return Err(status.into()),
        }
        cache.tick(0);
    }
    cache.flush(Duration::from_secs(60))?;
    Ok(())
}

fn read(cache: &Cache, order: &[u64]) -> Result<f64, Box<dyn Error>> {
    let keys: Vec<Key> = order.iter().map(|&number| key(number)).collect();
    let mut target = vec![0; BLOCK_BYTES];
    let started = Instant::now();
    cache.prefetch(&keys[..AHEAD]);
    for (at, key) in keys.iter().enumerate() {
        cache.prefetch(keys.get(at + AHEAD..at + AHEAD + 1).unwrap_or_default());
        cache.get(key, &mut target, Temperature::Auto)?;
        if target[..8] != order[at].to_le_bytes() {
            return Err("the engine gave back another block".into());
        }
    }
    Ok(started.elapsed().as_secs_f64())
}

async fn open_foyer(folder: &Path) -> Result<HybridCache<u64, Vec<u8>>, Box<dyn Error>> {
    let device = FsDeviceBuilder::new(folder)
        .with_capacity(FILE_BYTES)
        .with_direct(true)
        .build()?;
    let cache = HybridCacheBuilder::new()
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .memory(MEMORY_BYTES)
        .with_weighter(|_: &u64, value: &Vec<u8>| value.len())
        .storage()
        .with_io_engine_config(Box::new(UringIoEngineConfig::new().with_io_depth(32)) as Box<dyn IoEngineConfig>)
        .with_engine_config(
            BlockEngineConfig::new(device)
                .with_block_size(32 << 20)
                .with_flushers(2)
                .with_buffer_pool_size(BUFFER_BYTES)
                .with_submit_queue_size_threshold(BUFFER_BYTES),
        )
        .build()
        .await?;
    Ok(cache)
}

async fn write_foyer(cache: &HybridCache<u64, Vec<u8>>, round: u64) -> Result<f64, Box<dyn Error>> {
    let blocks: Vec<(u64, Vec<u8>)> = (0..BLOCKS)
        .map(|step| (round << 32 | step, block(round << 32 | step)))
        .collect();
    let started = Instant::now();
    for (number, block) in blocks {
        cache.insert(number, block);
    }
    cache.storage().wait().await;
    Ok(started.elapsed().as_secs_f64())
}

/// Seconds, and how many blocks it still had.
async fn read_foyer(cache: &HybridCache<u64, Vec<u8>>, order: &[u64]) -> Result<(f64, u64), Box<dyn Error>> {
    let mut found = 0;
    let mut under_way = std::collections::VecDeque::new();
    let started = Instant::now();
    let mut begin = order.iter();
    for &number in order {
        while under_way.len() <= AHEAD
            && let Some(&next) = begin.next()
        {
            let cache = cache.clone();
            under_way.push_back(tokio::spawn(async move { cache.get(&next).await }));
        }
        let Some(task) = under_way.pop_front() else { break };
        if let Some(entry) = task.await?? {
            if entry.value()[..8] != number.to_le_bytes() {
                return Err("foyer gave back another block".into());
            }
            found += 1;
        }
    }
    Ok((started.elapsed().as_secs_f64(), found))
}
