//! The other caches behind one trait. A call of the trait covers a million look-ups, so that it costs none of them.

use foldhash::fast::FixedState;
use kvcache::Key;

/// A cache from 32-byte keys to numbers.
pub trait Rival {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Puts one entry.
    fn insert(&self, key: &Key, value: u64);
    /// Lets it finish what it does later.
    fn settle(&self) {}
    /// How many of `keys` it knows, asked one by one and with each use noted.
    fn hits(&self, keys: &[Key]) -> u64;
}

/// All of them, with room for `capacity` entries each.
pub fn all(capacity: usize) -> Vec<Box<dyn Rival>> {
    let foyer = foyer_memory::CacheBuilder::new(capacity)
        .with_eviction_config(foyer_memory::S3FifoConfig::default())
        .with_hash_builder(FixedState::default())
        .build();
    vec![
        Box::new(QuickCache(quick_cache::sync::Cache::with(
            capacity,
            capacity as u64,
            quick_cache::UnitWeighter,
            FixedState::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        ))),
        Box::new(Scc(scc::HashCache::with_capacity_and_hasher(
            capacity,
            capacity,
            FixedState::default(),
        ))),
        Box::new(Moka(
            moka::sync::Cache::builder()
                .max_capacity(capacity as u64)
                .initial_capacity(capacity)
                .build_with_hasher(FixedState::default()),
        )),
        Box::new(Foyer(foyer)),
    ]
}

struct QuickCache(
    quick_cache::sync::Cache<
        Key,
        u64,
        quick_cache::UnitWeighter,
        FixedState,
        quick_cache::sync::DefaultLifecycle<Key, u64>,
    >,
);

impl Rival for QuickCache {
    fn name(&self) -> &'static str {
        "quick_cache"
    }
    fn insert(&self, key: &Key, value: u64) {
        self.0.insert(*key, value);
    }
    fn hits(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| u64::from(self.0.get(key).is_some())).sum()
    }
}

struct Scc(scc::HashCache<Key, u64, FixedState>);

impl Rival for Scc {
    fn name(&self) -> &'static str {
        "scc"
    }
    fn insert(&self, key: &Key, value: u64) {
        // An entry that is there already is the only refusal, and no key comes twice.
        let _ = self.0.put_sync(*key, value);
    }
    fn hits(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| u64::from(self.0.get_sync(key).is_some())).sum()
    }
}

struct Moka(moka::sync::Cache<Key, u64, FixedState>);

impl Rival for Moka {
    fn name(&self) -> &'static str {
        "moka"
    }
    fn insert(&self, key: &Key, value: u64) {
        self.0.insert(*key, value);
    }
    fn settle(&self) {
        self.0.run_pending_tasks();
    }
    fn hits(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| u64::from(self.0.get(key).is_some())).sum()
    }
}

struct Foyer(foyer_memory::Cache<Key, u64, FixedState>);

impl Rival for Foyer {
    fn name(&self) -> &'static str {
        "foyer"
    }
    fn insert(&self, key: &Key, value: u64) {
        self.0.insert(*key, value);
    }
    fn hits(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| u64::from(self.0.get(key).is_some())).sum()
    }
}
