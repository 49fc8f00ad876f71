//! Thresholds that move while an engine runs: only where they are told to, one step at a time, within their limits.
//! Time comes from ticks.
#![cfg(feature = "std")]

use std::path::PathBuf;

use kvcache::block::PutInfo;
use kvcache::config::{Admission, FileTier, IoEngine, PolicyKind};
use kvcache::copy::Temperature;
use kvcache::engine::Stats;
use kvcache::host::Paths;
use kvcache::metrics::Counter;
use kvcache::{Cache, Config, Key};

const BLOCK_BYTES: u64 = 512;
const SLOTS_COUNT: u64 = 64;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(name: &str, change: impl FnOnce(&mut Config)) -> (Cache, Folder) {
    let folder = std::env::temp_dir().join(format!("kvcache-tuning-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let folder = Folder(folder);
    let path = folder.0.join("nvme.kvc");
    let mut config = Config {
        block_bytes: BLOCK_BYTES,
        cpu_bytes: SLOTS_COUNT * BLOCK_BYTES,
        policy: PolicyKind::Lru,
        stripes_count: 4,
        clock_ticks: true,
        io_engine: IoEngine::Positional,
        nvme: FileTier {
            bytes: 8 << 20,
            segment_bytes: 256 << 10,
            depth: 8,
            admission: Admission::Reuse,
            ..FileTier::NONE
        },
        tuning: true,
        ..Config::default()
    };
    change(&mut config);
    let paths = Paths {
        nvme: Some(&path),
        ..Paths::default()
    };
    let cache = Cache::open_with(&config, &paths).unwrap_or_else(|error| panic!("{error}"));
    (cache, folder)
}

fn key(number: u64) -> Key {
    Key::from_words([number, 3, 3, 3])
}

/// Every other block is asked for once more, when it is below; `show` sees the statistics after each window's worth.
fn load(cache: &Cache, windows: u64, mut show: impl FnMut(&Stats)) {
    let mut buffer = [0; BLOCK_BYTES as usize];
    let (mut number, mut now_ns) = (0, 0);
    let mut get = |number: u64| {
        let _ = cache.get(&key(number), &mut buffer, Temperature::Auto);
    };
    for _ in 0..windows {
        for _ in 0..300 {
            number += 1;
            cache
                .put(&key(number), &[7; BLOCK_BYTES as usize], &PutInfo::default())
                .unwrap();
            now_ns += 2_000_000;
            cache.tick(now_ns);
            if number % 2 == 0 && number > 200 {
                get(number - 200);
            }
            (0..4).for_each(|missing| get(u64::MAX - missing));
        }
        show(&cache.stats());
    }
}

fn moves(stats: &Stats) -> [u64; 3] {
    [Counter::TuningTried, Counter::TuningKept, Counter::TuningTakenBack].map(|counter| stats.counter(counter))
}

#[test]
fn a_threshold_moves_within_its_limits_and_every_step_is_decided() {
    let (cache, _folder) = open("moves", |_| {});
    let mut values = std::collections::BTreeSet::new();
    let mut before = [0; 3];
    load(&cache, 120, |stats| {
        let now = moves(stats);
        let [tried, kept, taken_back] = now;
        assert!((0..=1).contains(&(tried - kept - taken_back)), "{now:?}");
        assert!(now.iter().zip(before).all(|(now, before)| *now >= before));
        before = now;
        let loss = stats.tuning_admission_loss_permille;
        assert!((12..=100).contains(&loss), "{loss}");
        values.insert(loss);
        assert_eq!(stats.tuning_confidence_permille, 0, "prefetching is off");
    });
    assert!(before[0] >= 2 && before[1] + before[2] >= 1, "{before:?}");
    assert!(values.len() >= 2 && values.contains(&50), "{values:?}");
    let stats = cache.stats();
    assert!(stats.counter(Counter::NvmeHits) > 1000 && stats.counter(Counter::NvmeWrites) > 1000);
}

#[test]
fn what_is_off_never_moves() {
    type Change = fn(&mut Config);
    let offs: [(&str, Change); 3] = [
        ("off", |config| config.tuning = false),
        ("all", |config| config.nvme.admission = Admission::All),
        ("second", |config| config.nvme.admission = Admission::SecondHit),
    ];
    for (name, change) in offs {
        let (cache, _folder) = open(name, change);
        load(&cache, 40, |stats| assert_eq!(moves(stats), [0; 3], "{name}"));
        let stats = cache.stats();
        let thresholds = (stats.tuning_admission_loss_permille, stats.tuning_confidence_permille);
        let expected = if name == "off" { (50, 0) } else { (0, 0) };
        assert_eq!(thresholds, expected, "{name}");
    }
}

/// Two runs of the same calls are the same, moves included.
#[test]
fn moves_are_a_function_of_the_calls() {
    let run = |name| {
        let (cache, _folder) = open(name, |_| {});
        let mut seen = Vec::new();
        load(&cache, 60, |stats| {
            seen.push((moves(stats), stats.tuning_admission_loss_permille))
        });
        seen
    };
    assert_eq!(run("first"), run("again"));
}
