//! Tiers that hold blocks in codecs: what comes back, what a file says of itself, which copy is encoded, what is kept
//! out, and what is done when a codec turns out too coarse.
#![cfg(all(feature = "uring", feature = "mmap", feature = "zstd"))]

#[path = "common/contents.rs"]
#[allow(dead_code)]
mod contents;

use std::path::PathBuf;
use std::time::Duration;

use contents::mix;
use kvcache::block::PutInfo;
use kvcache::codec::{CodecChoice, CodecKind, LayerCodec, relative_error_ppm};
use kvcache::config::{FileTier, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::error::Status;
use kvcache::host::Paths;
use kvcache::layout::{Dtype, Geometry, Shape};
use kvcache::metrics::{Counter, Event, EventKind};
use kvcache::units::{BlockIndex, Tier};
use kvcache::{Cache, Config, Key};

const SHAPE: Shape = Shape {
    layers_count: 3,
    planes_count: 2,
    kv_heads_count: 2,
    head_dim: 64,
    tokens_per_block: 16,
    dtype: Dtype::F16,
};
/// 3 x 2 planes of 16 x 2 x 64 elements of two bytes.
const BLOCK_BYTES: usize = 3 * 2 * 16 * 2 * 64 * 2;
const SEGMENT_BYTES: u64 = 128 << 10;
const SECOND: Duration = Duration::from_secs(60);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvcache-codecs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self, config: &Config) -> Cache {
        let (nvme, disk) = (self.0.join("nvme"), self.0.join("disk"));
        let paths = Paths {
            nvme: (config.nvme.bytes != 0).then_some(nvme.as_path()),
            disk: (config.disk.bytes != 0).then_some(disk.as_path()),
            tables: None,
        };
        Cache::open_with(config, &paths).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(number: u64) -> Key {
    Key::from_words([mix(number), number, 3, 1])
}

/// A block whose elements look like those of keys and values: about normal, some channels larger than the rest.
fn block(number: u64) -> Vec<u8> {
    let element = |place: u64| {
        let random = mix(number << 32 | place);
        // The sum of eight bytes is about normal: mean 1020, deviation 209.
        let sum: i32 = random.to_le_bytes().iter().map(|&byte| i32::from(byte)).sum();
        let scale = if place % 64 == 5 { 4.0 } else { 1.0 };
        half::f16::from_f32((sum - 1020) as f32 / 209.0 * scale).to_le_bytes()
    };
    (0..BLOCK_BYTES as u64 / 2).flat_map(element).collect()
}

fn tier(segments_count: u64, codec: CodecChoice) -> FileTier {
    FileTier {
        bytes: (64 << 10) + segments_count * SEGMENT_BYTES,
        segment_bytes: SEGMENT_BYTES,
        depth: 8,
        codec,
        ..FileTier::NONE
    }
}

fn config(nvme: FileTier, disk: FileTier) -> Config {
    let mut config = Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: 16 * BLOCK_BYTES as u64,
        nvme,
        disk,
        ..Config::default()
    };
    config.geometries[0] = Some(Geometry::new(&SHAPE).unwrap());
    config
}

fn info(number: u64) -> PutInfo {
    PutInfo {
        geometry_id: 1,
        chain_index: number,
        ..PutInfo::default()
    }
}

fn put(cache: &Cache, number: u64) {
    cache.put(&key(number), &block(number), &info(number)).unwrap();
    cache.tick(0);
}

/// Relative error of a block in millionths; `None` for a miss.
fn error_ppm(cache: &Cache, number: u64) -> Option<u64> {
    let mut found = vec![0; BLOCK_BYTES];
    match cache.get(&key(number), &mut found, Temperature::Auto) {
        Ok(bytes) => assert_eq!(bytes, BLOCK_BYTES as u64),
        Err(Status::Miss) => return None,
        Err(status) => panic!("{status}"),
    }
    Some(relative_error_ppm(Dtype::F16, &block(number), &found))
}

/// Where a block is, as a mask of tiers.
fn tiers(cache: &Cache, number: u64) -> u8 {
    let mut mask = [0];
    cache.match_each(&[key(number)], false, &mut mask);
    mask[0]
}

fn counter(cache: &Cache, counter: Counter) -> u64 {
    cache.stats().counter(counter)
}

#[test]
fn a_lossless_tier_gives_back_the_blocks_that_were_put_and_a_coarse_one_the_error_that_it_is_known_for() {
    for (kind, error_ppm_max) in [
        (CodecKind::Lz, 0),
        (CodecKind::F8, 35_000),
        (CodecKind::I8, 9_000),
        (CodecKind::N4, 90_000),
        (CodecKind::T4, 90_000),
        (CodecKind::T3, 160_000),
        (CodecKind::T2, 300_000),
    ] {
        let folder = Folder::new(kind.name());
        let config = config(tier(16, CodecChoice::all(kind)), FileTier::NONE);
        let check = |cache: &Cache, below: bool| {
            for number in 0..40 {
                let error = error_ppm(cache, number).unwrap_or_else(|| panic!("{kind:?}: block {number} is gone"));
                assert!(error <= error_ppm_max, "{kind:?}: {error} ppm");
                if below && !kind.is_exact() {
                    assert!(
                        error > error_ppm_max / 10,
                        "{kind:?}: {error} ppm is too good to be true"
                    );
                }
            }
        };
        let cache = folder.open(&config);
        (0..40).for_each(|number| put(&cache, number));
        cache.flush(SECOND).unwrap();
        check(&cache, false);
        let state = cache.file_tier(Tier::Nvme).unwrap();
        assert_eq!((state.codec.key, state.codec.value), (kind, kind));
        assert!(state.codec.blocks_coded >= 40 && state.codec.coded_bytes < state.codec.plain_bytes);
        if !kind.is_exact() {
            assert!(state.codec.samples_count >= 16 && state.codec.error_ppm_mean <= error_ppm_max);
            assert!(state.codec.error_ppm_max >= state.codec.error_ppm_mean);
        }
        drop(cache);

        // A file is readable by itself: the next engine encodes in another way and decodes what is there.
        let mut other = config;
        other.nvme.codec = CodecChoice::RAW;
        // The most blocks that a tier may know is derived from its codec.
        other.nvme.blocks_count = kvcache::Plan::compute(&config).unwrap().log(Tier::Nvme).blocks_count;
        for config in [config, other] {
            let cache = folder.open(&config);
            assert_eq!(counter(&cache, Counter::BlocksRecovered), 40);
            check(&cache, true);
            assert_eq!(counter(&cache, Counter::ChecksumFailures), 0);
        }
    }
}

#[test]
fn plain_bytes_stay_as_they_are_and_so_do_first_tokens_and_layers_that_are_to_be_exact() {
    let folder = Folder::new("exact");
    let mut codec = CodecChoice {
        exact_tokens: 20,
        exact_layers_first: 1,
        ..CodecChoice::all(CodecKind::T2)
    };
    codec.layers[0] = Some(LayerCodec {
        layer_first: 2,
        layer_last: 2,
        key: CodecKind::Lz,
        value: CodecKind::T2,
    });
    let config = config(tier(16, codec), FileTier::NONE);
    let cache = folder.open(&config);
    let plain = PutInfo::default();
    cache.put(&key(1000), &block(1000)[..777], &plain).unwrap();
    for number in 0..3 {
        cache.put(&key(number), &block(number), &info(number)).unwrap();
    }
    cache.flush(SECOND).unwrap();
    drop(cache);
    let cache = folder.open(&config);
    let mut found = vec![0; BLOCK_BYTES];
    let mut get = |number| {
        let bytes = cache.get(&key(number), &mut found, Temperature::Auto).unwrap();
        found[..bytes as usize].to_vec()
    };
    assert_eq!(get(1000), block(1000)[..777]);
    let geometry = Geometry::new(&SHAPE).unwrap();
    for number in 0..3 {
        let (found, put) = (get(number), block(number));
        // The first 20 tokens are the whole of block 0 and four tokens of block 1.
        let exact_bytes = [16, 4, 0][number as usize] * geometry.token_bytes();
        for (layer, plane) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            let range = geometry.plane_range(layer, plane);
            let exact = if layer == 0 || (layer, plane) == (2, 0) {
                range.len()
            } else {
                exact_bytes
            };
            let (found, put) = (&found[range.clone()], &put[range]);
            assert_eq!(found[..exact], put[..exact], "block {number}, layer {layer}");
            assert!(
                exact == put.len() || found != put,
                "block {number}, layer {layer} was not encoded"
            );
        }
    }
}

/// Blocks go from memory to a fine tier and from there to a coarse one.
#[test]
fn what_leaves_the_first_tier_is_encoded_anew_for_the_second() {
    let folder = Folder::new("down");
    let config = config(
        tier(4, CodecChoice::all(CodecKind::I8)),
        tier(24, CodecChoice::all(CodecKind::T3)),
    );
    let cache = folder.open(&config);
    const COUNT: u64 = 160;
    (0..COUNT).for_each(|number| put(&cache, number));
    cache.flush(SECOND).unwrap();
    assert!(counter(&cache, Counter::Transcodes) > 20);
    let below: Vec<u64> = (0..COUNT)
        .filter(|&number| tiers(&cache, number) == Tier::Disk.bit())
        .collect();
    assert!(below.len() > 20, "{}", below.len());
    for &number in &below {
        let error = error_ppm(&cache, number).unwrap();
        assert!((50_000..160_000).contains(&error), "block {number}: {error} ppm");
        cache.tick(0);
    }
    let disk = cache.file_tier(Tier::Disk).unwrap();
    assert_eq!(disk.codec.key, CodecKind::T3);
    assert!(disk.codec.coded_bytes * 4 < disk.codec.plain_bytes);
    assert_eq!(counter(&cache, Counter::ChecksumFailures), 0);
}

/// A coarse first tier above a fine second one: what memory still has exactly is encoded from there, and what it has
/// not moves on as it is, since a fine code of a coarse copy is only longer.
#[test]
fn a_block_is_encoded_from_the_best_copy_at_hand() {
    let folder = Folder::new("best");
    let mut config = config(
        tier(4, CodecChoice::all(CodecKind::T2)),
        tier(24, CodecChoice::all(CodecKind::I8)),
    );
    config.write_policy = WritePolicy::Through;
    config.cpu_bytes = 200 * BLOCK_BYTES as u64;
    let cache = folder.open(&config);
    const COUNT: u64 = 160;
    (0..COUNT).for_each(|number| put(&cache, number));
    cache.flush(SECOND).unwrap();
    let on_disk: Vec<u64> = (0..COUNT)
        .filter(|&number| tiers(&cache, number) & (Tier::Disk.bit() | Tier::Nvme.bit()) == Tier::Disk.bit())
        .collect();
    assert!(on_disk.len() > 20, "{}", on_disk.len());
    drop(cache);
    let cache = folder.open(&config);
    for &number in &on_disk {
        let error = error_ppm(&cache, number).unwrap();
        assert!(
            error < 9_000,
            "block {number} was encoded from its coarse copy: {error} ppm"
        );
    }
    drop(cache);

    // The same without memory to spare: the codes of the first tier move on.
    let folder = Folder::new("only");
    config.cpu_bytes = 8 * BLOCK_BYTES as u64;
    config.write_policy = WritePolicy::Back;
    let cache = folder.open(&config);
    (0..COUNT).for_each(|number| put(&cache, number));
    cache.flush(SECOND).unwrap();
    let on_disk = (0..COUNT).filter(|&number| tiers(&cache, number) == Tier::Disk.bit());
    let errors: Vec<u64> = on_disk.map(|number| error_ppm(&cache, number).unwrap()).collect();
    assert!(errors.len() > 20 && errors.iter().all(|error| (150_000..300_000).contains(error)));
    assert_eq!(counter(&cache, Counter::Transcodes), 0);
}

#[test]
fn below_the_bound_of_its_namespace_a_block_is_dropped_rather_than_degraded() {
    let folder = Folder::new("floor");
    let config = config(tier(16, CodecChoice::all(CodecKind::T3)), FileTier::NONE);
    let cache = folder.open(&config);
    cache.quality_floor_set(7, Some(50)).unwrap();
    cache.quality_floor_set(8, Some(200)).unwrap();
    cache.quality_floor_set(9, Some(0)).unwrap();
    assert_eq!(cache.quality_floor_set(9, Some(1001)), Err(Status::Argument));
    for number in 0..40 {
        let put = PutInfo {
            namespace_id: 6 + number % 4,
            ..info(number)
        };
        cache.put(&key(number), &block(number), &put).unwrap();
        cache.tick(0);
    }
    cache.flush(SECOND).unwrap();
    assert!(counter(&cache, Counter::QualityRefusals) >= 20);
    drop(cache);
    let cache = folder.open(&config);
    for number in 0..40 {
        let kept = matches!(number % 4, 0 | 2);
        assert_eq!(error_ppm(&cache, number).is_some(), kept, "block {number}");
    }
    // A bound that was taken back bounds nothing; and there are 64 of them.
    cache.quality_floor_set(7, Some(50)).unwrap();
    cache.quality_floor_set(7, None).unwrap();
    let put = PutInfo {
        namespace_id: 7,
        ..info(100)
    };
    cache.put(&key(100), &block(100), &put).unwrap();
    cache.flush(SECOND).unwrap();
    assert_eq!(tiers(&cache, 100) & Tier::Nvme.bit(), Tier::Nvme.bit());
    for namespace in 100..163 {
        cache.quality_floor_set(namespace, Some(50)).unwrap();
    }
    assert_eq!(cache.quality_floor_set(163, Some(50)), Err(Status::Again));
    cache.quality_floor_set(100, None).unwrap();
}

#[test]
fn a_codec_that_is_too_coarse_for_the_model_gives_way_to_a_better_one() {
    let folder = Folder::new("fallback");
    let codec = CodecChoice {
        error_max_permille: 100,
        ..CodecChoice::all(CodecKind::T2)
    };
    let config = config(tier(16, codec), FileTier::NONE);
    let cache = folder.open(&config);
    (0..40).for_each(|number| put(&cache, number));
    cache.flush(SECOND).unwrap();
    // From 0.27 by way of 0.14 to 0.08.
    let state = cache.file_tier(Tier::Nvme).unwrap();
    assert_eq!((state.codec.key, state.codec.value), (CodecKind::T4, CodecKind::T4));
    assert_eq!(state.codec.fallbacks_count, 2);
    // Of the codec at present alone.
    assert!(
        state.codec.samples_count > 0 && state.codec.error_ppm_max < 100_000,
        "{state:?}"
    );
    assert_eq!(counter(&cache, Counter::CodecFallbacks), 2);
    let mut events = [Event {
        sequence: 0,
        time_ns: 0,
        key: Key::default(),
        block_index: BlockIndex(0),
        block_generation: 0,
        kind: EventKind::Stored,
        tier: Tier::Cpu,
    }; 512];
    let read = cache.events_read(&mut 0, &mut events);
    let fallbacks = events[..read.count]
        .iter()
        .filter(|event| event.kind == EventKind::CodecFallback);
    assert!(fallbacks.map(|event| event.tier).eq([Tier::Nvme; 2]));
    let last = error_ppm(&cache, 39).unwrap();
    assert!(last < 100_000, "{last}");
}

#[test]
fn what_a_codec_cannot_take_is_refused_with_what_it_can() {
    let folder = Folder::new("refused");
    let nvme = folder.0.join("nvme");
    let paths = Paths {
        nvme: Some(&nvme),
        ..Paths::default()
    };
    let refused = |config: &Config| Cache::open_with(config, &paths).err().expect("it is refused");
    let good = config(tier(8, CodecChoice::all(CodecKind::T3)), FileTier::NONE);

    let mut config = good;
    config.geometries = [None; 16];
    assert_eq!(refused(&config).field, "geometries");
    for (change, field) in [
        (Shape { head_dim: 40, ..SHAPE }, "head_dim"),
        (
            Shape {
                dtype: Dtype::F32,
                tokens_per_block: 8,
                ..SHAPE
            },
            "dtype",
        ),
    ] {
        config.geometries[0] = Some(Geometry::new(&change).unwrap());
        let refusal = refused(&config);
        assert_eq!(refusal.field, field, "{refusal}");
        assert!(refusal.reason.contains("take"), "{refusal}");
    }
    let mut config = good;
    config.nvme.codec.value = CodecKind::Xc;
    assert_eq!(refused(&config).field, "codec_tables");
    let mut damaged = paths;
    damaged.tables = Some(b"no tables");
    let refusal = Cache::open_with(&good, &damaged).err().expect("it is refused");
    assert_eq!((refusal.field, refusal.status), ("codec_tables", Status::Damaged));
    assert!(
        !nvme.exists(),
        "a file that was made for an opening that fails goes again"
    );
}
