//! The curves behind the figures: match by batch, get by size and temperature, put with eviction, views.
//!
//! `cargo bench --bench core`, or one curve with `cargo bench --bench core -- match`. Times are kept short: machines
//! drift by more than a longer measurement would gain. For ratios see `kvcache bench`, which measures alternately.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kvcache::config::{HugePages, PolicyKind, Prefault};
use kvcache::copy::{Copier, Temperature};
use kvcache::{Cache, Config, Key, PutInfo};

fn open(block_bytes: usize, blocks_count: usize, policy: PolicyKind) -> Cache {
    Cache::open(&Config {
        block_bytes: block_bytes as u64,
        cpu_bytes: (block_bytes * blocks_count) as u64,
        policy,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    })
    .expect("the memory for a bench")
}

fn key(number: u64) -> Key {
    // Two odd constants, so that neighbours lie nowhere near each other.
    Key::from_words([
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        number.wrapping_mul(0xD6E8_FEB8_6659_FD93),
        number,
        1,
    ])
}

fn filled(block_bytes: usize, blocks_count: usize) -> Cache {
    let cache = open(block_bytes, blocks_count, PolicyKind::Lru);
    let block = vec![1; block_bytes];
    for number in 0..blocks_count as u64 {
        cache
            .put(&key(number), &block, &PutInfo::default())
            .expect("room for every block");
    }
    cache
}

/// Keys of resident blocks in no order of theirs, so that no line is in the cache.
fn scattered(count: usize, blocks_count: usize) -> Vec<Key> {
    (0..count)
        .map(|place| key((place as u64).wrapping_mul(0x9E37_79B1) % blocks_count as u64))
        .collect()
}

/// A million blocks resident.
fn match_by_batch(criterion: &mut Criterion) {
    const BLOCKS: usize = 1_000_000;
    let cache = filled(64, BLOCKS);
    let keys = scattered(1 << 18, BLOCKS);
    let mut group = criterion.benchmark_group("match");
    for batch in [1, 4, 16, 64, 256] {
        let mut batches = keys.chunks_exact(batch).cycle();
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| cache.match_prefix(batches.next().unwrap_or(&[]), true));
        });
    }
    group.finish();
}

fn views(criterion: &mut Criterion) {
    const BLOCKS: usize = 1_000_000;
    let cache = filled(64, BLOCKS);
    let keys = scattered(1 << 18, BLOCKS);
    let mut group = criterion.benchmark_group("acquire, release");
    let mut scattered = keys.iter().cycle();
    group.bench_function("scattered", |bencher| {
        bencher.iter(|| scattered.next().map(|key| cache.acquire(key).map(drop)));
    });
    group.bench_function("one block", |bencher| {
        bencher.iter(|| cache.acquire(&keys[0]).map(drop));
    });
    group.finish();
}

/// Blocks out of 256 MiB, into one buffer: source cold, target hot.
fn get_by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    for shift in [12, 14, 16, 18, 20, 22] {
        let block_bytes = 1 << shift;
        let blocks_count = (256 << 20) / block_bytes;
        let cache = filled(block_bytes, blocks_count);
        let mut target = vec![0; block_bytes];
        let mut number = 0;
        group.throughput(Throughput::Bytes(block_bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(block_bytes), |bencher| {
            bencher.iter(|| {
                number = (number + 101) % blocks_count as u64;
                cache.get(&key(number), &mut target, Temperature::Auto)
            });
        });
    }
    group.finish();
}

/// Every put evicts.
fn put_with_eviction(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("put with eviction");
    for policy in [PolicyKind::Lru, PolicyKind::S3Fifo] {
        for block_bytes in [64, 64 << 10] {
            let blocks_count = (64 << 20) / block_bytes;
            let cache = open(block_bytes, blocks_count, policy);
            let block = vec![1; block_bytes];
            let mut number = 0;
            let mut put = || {
                number += 1;
                cache.put(&key(number), &block, &PutInfo::default())
            };
            (0..blocks_count).for_each(|_| {
                let _ = put();
            });
            group.throughput(Throughput::Bytes(block_bytes as u64));
            group.bench_function(BenchmarkId::new(policy.name(), block_bytes), |bencher| {
                bencher.iter(&mut put);
            });
        }
    }
    group.finish();
}

/// Two regions of 256 MiB, both cold.
fn copy_methods(criterion: &mut Criterion) {
    const REGION_BYTES: usize = 256 << 20;
    let source = vec![1_u8; REGION_BYTES];
    let mut target = vec![2_u8; REGION_BYTES];
    let copier = Copier::detect();
    let mut group = criterion.benchmark_group("copy, cold");
    for bytes in [4 << 10, 64 << 10, 2 << 20] {
        group.throughput(Throughput::Bytes(bytes as u64));
        for (name, temperature) in [("through the cache", Temperature::Hot), ("streamed", Temperature::Cold)] {
            let (mut from, mut to) = (0, 0);
            group.bench_function(BenchmarkId::new(name, bytes), |bencher| {
                bencher.iter(|| {
                    from = (from + 101 * bytes) % REGION_BYTES;
                    to = (to + 149 * bytes) % REGION_BYTES;
                    copier.copy_slice(&source[from..from + bytes], &mut target[to..to + bytes], temperature);
                });
            });
        }
    }
    group.finish();
    black_box(target);
}

criterion_group! {
    name = core;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = match_by_batch, views, get_by_size, put_with_eviction, copy_methods
}
criterion_main!(core);
