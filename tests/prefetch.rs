//! Raising ahead of use, in the engine: what is due is in memory before it is asked for, what is over is left where it
//! is, and what patterns foretell is raised. Time comes from ticks, so that each run is the same.
#![cfg(feature = "std")]

use std::path::PathBuf;

use kvcache::block::PutInfo;
use kvcache::config::{FileTier, IoEngine, PolicyKind, Prefetch, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::host::Paths;
use kvcache::metrics::Counter;
use kvcache::units::Tier;
use kvcache::{Cache, Config, Key};

const BLOCK_BYTES: u64 = 4096;
const SLOTS_COUNT: u64 = 64;
const SECOND_NS: u64 = 1_000_000_000;

struct World {
    cache: Option<Cache>,
    folder: PathBuf,
    now_s: u64,
    noise: u64,
}

impl World {
    fn new(name: &str, prefetch: Prefetch) -> Self {
        let folder = std::env::temp_dir().join(format!("kvcache-prefetch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("nvme.kvc");
        let config = Config {
            block_bytes: BLOCK_BYTES,
            cpu_bytes: SLOTS_COUNT * BLOCK_BYTES,
            policy: PolicyKind::Lru,
            stripes_count: 4,
            clock_ticks: true,
            io_engine: IoEngine::Positional,
            write_policy: WritePolicy::Through,
            nvme: FileTier {
                bytes: 64 << 20,
                segment_bytes: 1 << 20,
                depth: 8,
                ..FileTier::NONE
            },
            prefetch,
            ..Config::default()
        };
        let paths = Paths {
            nvme: Some(&path),
            ..Paths::default()
        };
        let cache = Cache::open_with(&config, &paths).unwrap_or_else(|error| panic!("{error}"));
        Self {
            cache: Some(cache),
            folder,
            now_s: 1,
            noise: 0,
        }
    }

    fn cache(&self) -> &Cache {
        self.cache.as_ref().unwrap()
    }

    fn wait_until(&mut self, until_s: u64) {
        while self.now_s < until_s {
            self.now_s += 1;
            for _ in 0..8 {
                self.cache().tick(self.now_s * SECOND_NS);
            }
        }
    }

    fn put(&self, key: &Key, parent: Option<Key>, conversation_id: u64) {
        let info = PutInfo {
            parent,
            conversation_id,
            ..PutInfo::default()
        };
        self.cache().put(key, &[7; BLOCK_BYTES as usize], &info).unwrap();
    }

    /// Displaces what is in memory.
    fn displace(&mut self) {
        for _ in 0..2 * SLOTS_COUNT {
            self.noise += 1;
            self.put(&Key::from_words([self.noise, 99, 99, 99]), None, 0);
            self.cache().tick(self.now_s * SECOND_NS);
        }
    }

    fn read(&self, key: &Key) {
        let mut buffer = [0; BLOCK_BYTES as usize];
        self.cache().get(key, &mut buffer, Temperature::Auto).unwrap();
        assert_eq!(buffer, [7; BLOCK_BYTES as usize]);
    }

    fn in_memory(&self, keys: &[Key]) -> usize {
        let mut tiers = vec![0; keys.len()];
        self.cache().match_each(keys, false, &mut tiers);
        tiers.iter().filter(|&&mask| mask & 1 << Tier::Cpu as u8 != 0).count()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.cache().stats().counter(counter)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cache = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn chain(number: u64) -> Vec<Key> {
    (0..8).map(|depth| Key::from_words([number, depth, 5, 5])).collect()
}

fn turns() -> Prefetch {
    Prefetch {
        turns: true,
        bytes: SLOTS_COUNT / 2 * BLOCK_BYTES,
        conversations_count: 64,
        ..Prefetch::OFF
    }
}

/// A conversation that comes every two minutes, and is displaced in between. Returns how many of its blocks were in
/// memory before each of its last ten requests.
fn talk(world: &mut World, conversation_id: u64, cancel: bool) -> Vec<usize> {
    let keys = chain(conversation_id + 1);
    for (depth, key) in keys.iter().enumerate() {
        world.put(key, depth.checked_sub(1).map(|before| keys[before]), conversation_id);
    }
    let mut found = Vec::new();
    for round in 0..20 {
        let begun_s = world.now_s;
        world.wait_until(begun_s + 2);
        world.displace();
        if round >= 10 {
            assert_eq!(world.in_memory(&keys), 0, "displaced");
        }
        if cancel {
            let known = world.cache().prefetch_cancel(conversation_id);
            assert_eq!(known, Ok(true));
        }
        world.wait_until(begun_s + 120);
        if round >= 10 {
            found.push(world.in_memory(&keys));
        }
        assert_eq!(world.cache().match_prefix(&keys, true), keys.len() as u64);
        keys.iter().for_each(|key| world.read(key));
    }
    found
}

#[test]
fn a_conversation_is_in_memory_before_its_request_is_due() {
    for conversation_id in [0, 77] {
        let mut world = World::new(&format!("turns-{conversation_id}"), turns());
        assert_eq!(talk(&mut world, conversation_id, false), [8; 10]);
        world.wait_until(world.now_s + 2);
        let used = world.count(Counter::PrefetchesUsed);
        assert!(used >= 80, "{used}");
        assert!(world.count(Counter::PrefetchWishes) > 0);
        assert!(world.count(Counter::PrefetchLeadMs) >= used * 1000);
        let raised = world.count(Counter::Prefetches);
        assert_eq!(raised, used + world.count(Counter::PrefetchesWasted));
    }
}

#[test]
fn what_is_cancelled_or_off_stays_below() {
    let mut world = World::new("cancelled", turns());
    assert_eq!(talk(&mut world, 5, true), [0; 10]);
    assert_eq!(world.cache().prefetch_cancel(6), Ok(false));
    let mut world = World::new("off", Prefetch::OFF);
    assert_eq!(talk(&mut world, 5, false), [0; 10]);
    assert_eq!(world.count(Counter::Prefetches), 0);
}

#[test]
fn no_more_waits_than_the_budget_allows() {
    let bytes = 3 * BLOCK_BYTES;
    let mut world = World::new("budget", Prefetch { bytes, ..turns() });
    let found = talk(&mut world, 9, false);
    assert!(found.iter().all(|&count| count <= 3) && found.contains(&3), "{found:?}");
}

/// Plain keys in the order in which they were stored, every third of them.
#[test]
fn a_stride_and_an_order_are_followed() {
    for (name, prefetch) in [
        (
            "stride",
            Prefetch {
                sequences: true,
                ..Prefetch::OFF
            },
        ),
        (
            "order",
            Prefetch {
                successors: true,
                ..Prefetch::OFF
            },
        ),
    ] {
        let prefetch = Prefetch {
            bytes: SLOTS_COUNT / 2 * BLOCK_BYTES,
            ..prefetch
        };
        let mut world = World::new(name, prefetch);
        let keys: Vec<Key> = (0..90).map(|number| Key::from_words([number, 1, 2, 3])).collect();
        for key in &keys {
            world.put(key, None, 0);
            world.cache().tick(world.now_s * SECOND_NS);
        }
        let mut raised_before = 0;
        for _ in 0..4 {
            world.wait_until(world.now_s + 60);
            world.displace();
            world.wait_until(world.now_s + 60);
            raised_before = world.count(Counter::Raises) - world.count(Counter::Prefetches);
            for key in keys.iter().step_by(3) {
                world.read(key);
                world.wait_until(world.now_s + 1);
            }
        }
        let by_demand = world.count(Counter::Raises) - world.count(Counter::Prefetches) - raised_before;
        assert!(
            by_demand <= 6,
            "{name}: {by_demand} of 30 were asked for before they were there"
        );
    }
}
