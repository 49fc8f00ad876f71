//! Hits in memory while the tier is idle, and while another thread reads from it as fast as it can.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use kvcache::config::WritePolicy;
use kvcache::copy::Temperature;
use kvcache::{Cache, PutInfo};

use super::passes::{mixed, write};
use super::{Folder, PASS_BYTES, SMALL_BYTES, key, middle, open};

/// Blocks that stay in memory.
const HOT: u64 = 256;
/// Hits timed in one round.
const HITS: usize = 100_000;
/// The pass of the hot blocks' keys.
const HOT_PASS: u64 = 1 << 50;

/// The 99th percentiles in nanoseconds: idle, saturated.
pub fn measure(folder: &Folder, rounds: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let count = PASS_BYTES / 4 / SMALL_BYTES;
    let cache = open(folder, "hits", SMALL_BYTES, WritePolicy::Back)?;
    let mut block = vec![1; SMALL_BYTES];
    write(&cache, 0, count, &mut block)?;
    let info = PutInfo {
        protected: true,
        ..PutInfo::default()
    };
    for number in 0..HOT {
        cache.put(&key(HOT_PASS, number), &block, &info)?;
    }
    let order = mixed(count as u64);
    let (mut idle, mut saturated) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        idle.push(p99(&cache)?);
        let stop = AtomicBool::new(false);
        let busy = thread::scope(|scope| {
            scope.spawn(|| saturate(&cache, &order, &stop));
            let answer = p99(&cache);
            // Relaxed: the scope's end orders it.
            stop.store(true, Ordering::Relaxed);
            answer
        })?;
        saturated.push(busy);
    }
    Ok((middle(&idle), middle(&saturated)))
}

fn saturate(cache: &Cache, order: &[u64], stop: &AtomicBool) {
    let mut block = vec![0; SMALL_BYTES];
    let keys: Vec<_> = order.iter().map(|&number| key(0, number)).collect();
    while !stop.load(Ordering::Relaxed) {
        for (at, key) in keys.iter().enumerate() {
            cache.prefetch(keys.get(at + 31..at + 32).unwrap_or_default());
            // A block that gave way is no fault here: the device is kept busy either way.
            let _ = cache.get(key, &mut block, Temperature::Auto);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

fn p99(cache: &Cache) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::with_capacity(HITS);
    for step in 0..HITS as u64 {
        let key = key(HOT_PASS, step.wrapping_mul(0x9e37_79b9) % HOT);
        let started = Instant::now();
        let view = cache.acquire(&key)?;
        drop(view);
        times.push(started.elapsed().as_nanos() as f64);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[HITS * 99 / 100])
}
