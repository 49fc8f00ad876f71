//! Throughput: a pass of writes and a pass of reads, the tier's and raw ones in turns.

use std::error::Error;
use std::time::{Duration, Instant};

use kvcache::config::WritePolicy;
use kvcache::copy::Temperature;
use kvcache::metrics::Counter;
use kvcache::tier::device::IoKind;
use kvcache::{Cache, PutInfo, Status};

use super::raw::Raw;
use super::{DEPTH, FILE_BYTES, FRAME_BYTES, Folder, PASS_BYTES, key, middle, open, ratio};

/// Bytes of the blocks whose copying up is begun ahead of the one that is got: twice what is under way.
const AHEAD_BYTES: usize = 2 * DEPTH as usize * FRAME_BYTES;

/// What the passes of one block size came to.
pub struct Pass {
    /// How the tier's file is read and written.
    pub io: &'static str,
    /// GB/s.
    pub write_gbps: f64,
    /// GB/s.
    pub raw_write_gbps: f64,
    /// Median of the rounds' ratios.
    pub write_ratio: f64,
    /// GB/s.
    pub read_gbps: f64,
    /// GB/s.
    pub raw_read_gbps: f64,
    /// Median of the rounds' ratios.
    pub read_ratio: f64,
    /// Bytes to the file over bytes of the blocks.
    pub amplification: f64,
}

/// Measures.
pub fn measure(folder: &Folder, rounds: usize, block_bytes: usize, name: &str) -> Result<Pass, Box<dyn Error>> {
    let count = PASS_BYTES / block_bytes;
    let mut block = vec![0x33_u8; block_bytes];
    let under_way_bytes = match block_bytes {
        super::SMALL_BYTES => DEPTH as usize * block_bytes,
        _ => DEPTH as usize * FRAME_BYTES,
    };
    let gbps = |seconds: f64| PASS_BYTES as f64 / seconds / 1e9;

    // Files that have been written all over once: the file system is slower with what it only promised.
    let passes = FILE_BYTES / PASS_BYTES as u64;
    let written = open(folder, &format!("{name}-written"), block_bytes, WritePolicy::Through)?;
    let mut raw_written = Raw::open(
        folder,
        &format!("{name}-written-raw"),
        FILE_BYTES,
        block_bytes,
        under_way_bytes,
    )?;
    let places = |pass: u64| {
        let first = pass % passes * count as u64;
        (first..first + count as u64).collect::<Vec<_>>()
    };
    for pass in 0..passes + 1 {
        write(&written, pass, count, &mut block)?;
        raw_written.pass(IoKind::Write, &places(pass))?;
    }
    let bytes = |counter: Counter| written.stats().counter(counter) as f64;
    let before = (bytes(Counter::NvmeFileBytes), bytes(Counter::NvmeWriteBytes));
    let mut writes: [Vec<f64>; 2] = Default::default();
    for round in 0..rounds as u64 {
        let pass = passes + 1 + round;
        writes[0].push(gbps(write(&written, pass, count, &mut block)?));
        writes[1].push(gbps(raw_written.pass(IoKind::Write, &places(pass))?));
    }
    let after = (bytes(Counter::NvmeFileBytes), bytes(Counter::NvmeWriteBytes));
    drop((written, raw_written));

    let cache = open(folder, &format!("{name}-read"), block_bytes, WritePolicy::Back)?;
    let mut raw = Raw::open(
        folder,
        &format!("{name}-read-raw"),
        PASS_BYTES as u64,
        block_bytes,
        under_way_bytes,
    )?;
    write(&cache, 0, count, &mut block)?;
    raw.pass(IoKind::Write, &(0..count as u64).collect::<Vec<_>>())?;
    let mixed = mixed(count as u64);
    let mut reads: [Vec<f64>; 2] = Default::default();
    // One round more than counts.
    for round in 0..=rounds as u64 {
        forget(&cache, round)?;
        let read = read(&cache, &mixed, &mut block)?;
        let raw_read = raw.pass(IoKind::Read, &mixed)?;
        if round != 0 {
            reads[0].push(gbps(read));
            reads[1].push(gbps(raw_read));
        }
    }
    Ok(Pass {
        io: cache
            .file_tier(kvcache::units::Tier::Nvme)
            .map_or("none", |tier| tier.io_name),
        write_gbps: middle(&writes[0]),
        raw_write_gbps: middle(&writes[1]),
        write_ratio: ratio(&writes[0], &writes[1]),
        read_gbps: middle(&reads[0]),
        raw_read_gbps: middle(&reads[1]),
        read_ratio: ratio(&reads[0], &reads[1]),
        amplification: super::rounded((after.0 - before.0) / (after.1 - before.1)),
    })
}

/// Numbers below `count`, each once, in an order that no device guesses.
pub fn mixed(count: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..count).collect();
    let mut state = 88_172_645_463_325_252_u64;
    for at in (1..order.len()).rev() {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(at, (state % (at as u64 + 1)) as usize);
    }
    order
}

/// Puts `count` blocks, ticking as a program would, and flushes; seconds.
pub fn write(cache: &Cache, pass: u64, count: usize, block: &mut [u8]) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    for number in 0..count as u64 {
        block[..8].copy_from_slice(&(pass << 32 | number).to_le_bytes());
        cache.put(&key(pass, number), block, &PutInfo::default())?;
        cache.tick(0);
    }
    cache.flush(Duration::from_secs(60))?;
    Ok(started.elapsed().as_secs_f64())
}

/// Gets the blocks of the first pass in the order given, the next ones on their way; seconds.
fn read(cache: &Cache, order: &[u64], block: &mut [u8]) -> Result<f64, Box<dyn Error>> {
    let keys: Vec<_> = order.iter().map(|&number| key(0, number)).collect();
    let ahead = (AHEAD_BYTES / block.len()).min(keys.len());
    let before = cache.stats().counter(Counter::NvmeReadBytes);
    let started = Instant::now();
    for (at, key) in keys.iter().enumerate() {
        let next = match at {
            0 => &keys[..ahead],
            _ => keys.get(at + ahead - 1..at + ahead).unwrap_or_default(),
        };
        cache.prefetch(next);
        let bytes = cache.get(key, block, Temperature::Auto)?;
        if bytes != block.len() as u64 || block[..8] != order[at].to_le_bytes() {
            return Err("a block came back as another".into());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let read_bytes = cache.stats().counter(Counter::NvmeReadBytes) - before;
    if read_bytes != (keys.len() * block.len()) as u64 {
        return Err(format!("{read_bytes} bytes came from the file").into());
    }
    Ok(seconds)
}

/// Fills memory with other blocks, so that those of the pass are in the file only.
pub fn forget(cache: &Cache, pass: u64) -> Result<(), Box<dyn Error>> {
    for number in 0..cache.plan().slots_count() {
        match cache.put(&key(pass | 1 << 40, number), &[1; 64], &PutInfo::default()) {
            Ok(_) | Err(Status::Exists) => {}
            Err(status) => return Err(status.into()),
        }
        cache.tick(0);
    }
    cache.flush(Duration::from_secs(60))?;
    while cache.tick(0) != 0 {}
    Ok(())
}
