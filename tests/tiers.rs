//! Several threads on one engine with both file tiers on real files, in tick mode and with workers: no wrong byte, and
//! nothing is left behind when everything was removed.
#![cfg(all(feature = "uring", feature = "mmap"))]

#[path = "common/contents.rs"]
#[allow(dead_code)]
mod contents;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use contents::{difference, fill, mix};
use kvcache::block::PutInfo;
use kvcache::config::{CodecChoice, CodecKind, FileTier, PolicyKind, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::engine::RawView;
use kvcache::error::Status;
use kvcache::host::Paths;
use kvcache::layout::{Dtype, Geometry, Shape};
use kvcache::units::Tier;
use kvcache::{Cache, Config, Key};

const BLOCK_BYTES: u64 = 24_000;
const KEYS_COUNT: u64 = 600;
const THREADS: u64 = 3;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvcache-tiers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(number: u64) -> Key {
    Key::from_words([mix(number), number, 1, 1])
}

/// Blocks whose contents can be compressed have a geometry, so that the tiers hold them in a codec.
fn info(number: u64) -> PutInfo {
    PutInfo {
        geometry_id: u8::from(number.is_multiple_of(4)),
        ..PutInfo::default()
    }
}

fn bytes(number: u64) -> usize {
    if number.is_multiple_of(4) {
        return BLOCK_BYTES as usize;
    }
    1 + (mix(number ^ 77) % BLOCK_BYTES) as usize
}

fn check(number: u64, found: &[u8]) {
    assert_eq!(found.len(), bytes(number), "{number}");
    assert_eq!(difference(found, number), None, "wrong bytes under {number}");
}

fn work(cache: &Cache, seed: u64, stop: &AtomicBool, checked: &AtomicU64) {
    let mut random = seed;
    let mut buffer = vec![0; BLOCK_BYTES as usize];
    // Relaxed: the join orders it.
    while !stop.load(Ordering::Relaxed) {
        random = mix(random);
        let number = random % KEYS_COUNT;
        match random >> 32 & 15 {
            0..=4 => {
                fill(&mut buffer[..bytes(number)], number);
                match cache.put(&key(number), &buffer[..bytes(number)], &info(number)) {
                    Ok(_) | Err(Status::Exists | Status::Pending | Status::Again) => {}
                    Err(status) => panic!("{status}"),
                }
            }
            5..=9 => match cache.get(&key(number), &mut buffer, Temperature::Auto) {
                Ok(length) => {
                    check(number, &buffer[..length as usize]);
                    checked.fetch_add(1, Ordering::Relaxed);
                }
                Err(Status::Miss | Status::Again) => {}
                Err(status) => panic!("{status}"),
            },
            10 => {
                cache.remove(&[key(number)]);
            }
            11 => {
                let keys: Vec<Key> = (0..4).map(|step| key((number + step) % KEYS_COUNT)).collect();
                cache.prefetch(&keys);
            }
            12 => {
                let keys: Vec<Key> = (0..3).map(|step| key((number + step) % KEYS_COUNT)).collect();
                let mut views = [RawView::EMPTY; 3];
                let count = cache.acquire_prefix_raw(&keys, &mut views);
                for (step, view) in views[..count as usize].iter().enumerate() {
                    // SAFETY: the view is held.
                    check((number + step as u64) % KEYS_COUNT, unsafe {
                        core::slice::from_raw_parts(view.data, view.bytes as usize)
                    });
                    cache.release_raw(view).unwrap();
                }
            }
            13 => partial(cache, number),
            14 => {
                cache.tick(0);
            }
            _ => {
                cache.match_prefix(&[key(number), key(number ^ 1)], true);
            }
        }
    }
}

fn partial(cache: &Cache, number: u64) {
    let Ok(view) = cache.acquire_partial_raw(&key(number)) else {
        return;
    };
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "a block never arrives");
        match cache.view_ready(&view) {
            Ok(_) => {
                // SAFETY: all of it is there, and the view is held.
                check(number, unsafe {
                    core::slice::from_raw_parts(view.data, view.bytes as usize)
                });
                break;
            }
            Err((Status::Pending, _)) => cache.io_wait(100_000),
            // Another thread removed it before it was there.
            Err((Status::Miss, _)) => break,
            Err((status, _)) => panic!("{status}"),
        }
    }
    cache.release_raw(&view).unwrap();
}

/// Has the threads end, also where the one that watches them panics.
struct StopAtEnd<'s>(&'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        // Relaxed: the join orders it.
        self.0.store(true, Ordering::Relaxed);
    }
}

fn stress(name: &str, workers_count: u64, policy: PolicyKind, write_policy: WritePolicy) {
    let folder = Folder::new(name);
    let (nvme, disk) = (folder.0.join("nvme.kvc"), folder.0.join("disk.kvc"));
    let tier = |segments_count: u64| FileTier {
        bytes: (64 << 10) + segments_count * (512 << 10),
        segment_bytes: 512 << 10,
        depth: 8,
        codec: CodecChoice::all(CodecKind::Lz),
        ..FileTier::NONE
    };
    let geometry = Geometry::new(&Shape {
        layers_count: 1,
        planes_count: 2,
        kv_heads_count: 1,
        head_dim: 16,
        tokens_per_block: BLOCK_BYTES / 64,
        dtype: Dtype::Bf16,
    });
    let mut geometries = [None; 16];
    geometries[0] = geometry.ok();
    let config = Config {
        geometries,
        block_bytes: BLOCK_BYTES,
        cpu_bytes: 48 * (24 << 10),
        policy,
        write_policy,
        workers_count,
        nvme: tier(6),
        disk: tier(10),
        slots_free_low_permille: 100,
        slots_free_high_permille: 200,
        ..Config::default()
    };
    let paths = Paths {
        nvme: Some(&nvme),
        disk: Some(&disk),
        tables: None,
    };
    let cache = Cache::open_with(&config, &paths).unwrap_or_else(|error| panic!("{error}"));
    let (stop, checked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, stop, checked) = (&cache, &stop, &checked);
            scope.spawn(move || work(cache, mix(thread), stop, checked));
        }
        let _stop = StopAtEnd(&stop);
        let begun = Instant::now();
        let mut flushes = 0;
        // On a busy machine it takes longer until enough was read back.
        while flushes < 12 || checked.load(Ordering::Relaxed) <= 1000 {
            thread::sleep(Duration::from_millis(200));
            assert_eq!(cache.flush(Duration::from_secs(60)).err(), None);
            flushes += 1;
            if begun.elapsed() > Duration::from_secs(120) {
                break;
            }
        }
    });
    assert!(checked.load(Ordering::Relaxed) > 1000, "hardly anything was read back");
    let state = cache.file_tier(Tier::Disk).expect("it is there");
    assert!(state.bytes_written > 0 && !state.offline, "{state:?}");
    let coded = cache.file_tier(Tier::Nvme).expect("it is there").codec;
    assert!(
        coded.blocks_coded > 100 && coded.coded_bytes < coded.plain_bytes,
        "{coded:?}"
    );
    let keys: Vec<Key> = (0..KEYS_COUNT).map(key).collect();
    let begun = Instant::now();
    loop {
        cache.remove(&keys);
        cache.tick(0);
        let stats = cache.stats();
        let left = (
            stats.slots_free,
            stats.blocks_below,
            stats.blocks_resident,
            stats.pins_held,
        );
        if left == (cache.plan().slots_count(), 0, 0, 0) {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "something never comes back: {left:?}"
        );
    }
    cache.close().map_err(|(_, status)| status).unwrap();
}

#[test]
fn in_tick_mode() {
    stress("ticks", 0, PolicyKind::Lru, WritePolicy::Back);
}

#[test]
fn with_a_worker() {
    stress("worker", 1, PolicyKind::S3Fifo, WritePolicy::Back);
}

#[test]
fn written_through_with_two_workers() {
    stress("through", 2, PolicyKind::Lru, WritePolicy::Through);
}
