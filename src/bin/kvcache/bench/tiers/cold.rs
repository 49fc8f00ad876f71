//! One block from the file, nothing else under way, beside one raw read of the same size, in turns.

use std::error::Error;
use std::time::Instant;

use kvcache::config::WritePolicy;
use kvcache::copy::Temperature;
use kvcache::tier::device::IoKind;

use super::passes::{forget, mixed, write};
use super::raw::Raw;
use super::{BLOCK_BYTES, Folder, PASS_BYTES, key, middle, open};

/// Blocks read in one round.
const BLOCKS: usize = 48;

/// Medians in microseconds: the tier's and the raw one.
pub fn measure(folder: &Folder, rounds: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let count = PASS_BYTES / BLOCK_BYTES;
    let cache = open(folder, "cold", BLOCK_BYTES, WritePolicy::Back)?;
    let mut block = vec![1; BLOCK_BYTES];
    write(&cache, 0, count, &mut block)?;
    let mut raw = Raw::open(folder, "cold-raw", PASS_BYTES as u64, BLOCK_BYTES, BLOCK_BYTES)?;
    raw.pass(IoKind::Write, &(0..count as u64).collect::<Vec<_>>())?;
    let order = mixed(count as u64);
    let (mut cold, mut direct) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        forget(&cache, round as u64)?;
        for step in 0..BLOCKS {
            let number = order[(round * BLOCKS + step) % order.len()];
            let started = Instant::now();
            cache.get(&key(0, number), &mut block, Temperature::Auto)?;
            cold.push(started.elapsed().as_secs_f64() * 1e6);
            direct.push(raw.pass(IoKind::Read, &[number])? * 1e6);
        }
    }
    Ok((middle(&cold), middle(&direct)))
}
