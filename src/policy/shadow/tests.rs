//! The shadow against caches that keep lists.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::vec::Vec;

pub(super) fn shadow(kind: PolicyKind, capacity: u32) -> Shadow<'static> {
    let storage = Shadow::storage(kind, capacity);
    let words = Vec::leak((0..storage.words).map(|_| AtomicU64::new(0)).collect());
    let halves = Vec::leak((0..storage.halves).map(|_| AtomicU32::new(0)).collect());
    Shadow::new(kind, capacity, words, halves)
}

fn access(key: u64) -> Access {
    Access {
        fingerprint: key * 977 + 5,
        depth: key as u16,
        ..Access::default()
    }
}

/// Looks a block up and puts it in where it is missing; whether it was there.
fn visit(shadow: &mut Shadow<'_>, access: &Access) -> bool {
    match shadow.find(access.fingerprint) {
        Some(place) => {
            shadow.hit(place);
            true
        }
        None => {
            shadow.insert(access);
            false
        }
    }
}

/// Least recently used; what was used between the same two insertions goes deepest first, which here is the largest.
struct NaiveLru {
    capacity: usize,
    inserts: u64,
    used: HashMap<u64, u64>,
}

impl NaiveLru {
    fn visit(&mut self, key: u64) -> bool {
        if let Some(used) = self.used.get_mut(&key) {
            *used = 2 * self.inserts + 1;
            return true;
        }
        if self.used.len() == self.capacity {
            let victim = *self
                .used
                .iter()
                .min_by_key(|&(&key, &used)| (used, u64::MAX - key))
                .unwrap()
                .0;
            self.used.remove(&victim);
        }
        self.inserts += 1;
        self.used.insert(key, 2 * self.inserts);
        false
    }
}

/// S3-FIFO as the paper has it, with two hits that no insertion lies between counted once.
#[derive(Default)]
struct NaiveS3Fifo {
    capacity: usize,
    inserts: u64,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    ghosts: VecDeque<u64>,
    /// By key: how often it was hit, at most thrice, and the moment of the last hit.
    hits: HashMap<u64, (u32, u64)>,
}

impl NaiveS3Fifo {
    fn visit(&mut self, key: u64) -> bool {
        if let Some((count, last)) = self.hits.get_mut(&key) {
            if *last != self.inserts {
                (*count, *last) = ((*count + 1).min(3), self.inserts);
            }
            return true;
        }
        if self.hits.len() == self.capacity {
            self.evict();
        }
        self.inserts += 1;
        if let Some(at) = self.ghosts.iter().position(|&ghost| ghost == key) {
            // The gap still counts as one of the evictions that are remembered.
            self.ghosts[at] = u64::MAX;
            self.main.push_back(key);
        } else {
            self.small.push_back(key);
        }
        self.hits.insert(key, (0, u64::MAX));
        false
    }

    fn evict(&mut self) {
        loop {
            let small_full = self.small.len() * 10 >= self.hits.len();
            if !self.small.is_empty() && (small_full || self.main.is_empty()) {
                let key = self.small.pop_front().unwrap();
                if self.hits[&key].0 >= 2 {
                    self.hits.get_mut(&key).unwrap().0 = 0;
                    self.main.push_back(key);
                    continue;
                }
                self.hits.remove(&key);
                self.ghosts.push_back(key);
                if self.ghosts.len() > self.capacity {
                    self.ghosts.pop_front();
                }
                return;
            }
            let key = self.main.pop_front().unwrap();
            if self.hits[&key].0 == 0 {
                self.hits.remove(&key);
                return;
            }
            self.hits.get_mut(&key).unwrap().0 -= 1;
            self.main.push_back(key);
        }
    }
}

proptest! {
    #[test]
    fn lru_hits_what_a_list_hits(keys in prop::collection::vec(0..40_u64, 1..800), capacity in 1..24_u32) {
        let mut shadow = shadow(PolicyKind::Lru, capacity);
        let mut naive = NaiveLru { capacity: capacity as usize, inserts: 0, used: HashMap::new() };
        for (step, key) in keys.into_iter().enumerate() {
            prop_assert_eq!(visit(&mut shadow, &access(key)), naive.visit(key), "step {}", step);
            prop_assert_eq!(shadow.len() as usize, naive.used.len());
        }
    }

    #[test]
    fn s3fifo_hits_what_three_queues_hit(keys in prop::collection::vec(0..24_u64, 1..800)) {
        const CAPACITY: u32 = 8;
        let mut shadow = shadow(PolicyKind::S3Fifo, CAPACITY);
        let mut naive = NaiveS3Fifo { capacity: CAPACITY as usize, ..NaiveS3Fifo::default() };
        for (step, key) in keys.into_iter().enumerate() {
            prop_assert_eq!(visit(&mut shadow, &access(key)), naive.visit(key), "step {}", step);
        }
    }

    /// Whatever the policy: exactly what went in and did not come out is found, and only the lowest priority there is
    /// goes.
    #[test]
    fn finds_what_is_there_and_evicts_the_lowest_class(
        visits in prop::collection::vec((0..60_u64, 0..3_u8), 1..600),
        capacity in 1..30_u32,
        kind in prop::sample::select(PolicyKind::ALL),
    ) {
        let mut shadow = shadow(kind, capacity);
        let mut there: HashMap<u64, u8> = HashMap::new();
        for (key, priority) in visits {
            let access = Access { priority, ..access(key) };
            let known = there.contains_key(&access.fingerprint);
            prop_assert_eq!(shadow.find(access.fingerprint).is_some(), known);
            if known {
                visit(&mut shadow, &access);
                prop_assert_eq!(shadow.insert(&access), None, "it is there");
                continue;
            }
            let full = there.len() == capacity as usize;
            let gone = shadow.insert(&access);
            prop_assert_eq!(gone.is_some(), full);
            if let Some(gone) = gone {
                let lowest = there.values().copied().min();
                prop_assert_eq!(there.remove(&gone), lowest);
            }
            there.insert(access.fingerprint, priority);
            prop_assert_eq!(shadow.len() as usize, there.len());
            for &fingerprint in there.keys() {
                prop_assert!(shadow.find(fingerprint).is_some());
            }
        }
    }
}

#[test]
fn a_policy_sees_what_the_access_said() {
    let mut shadow = shadow(PolicyKind::Lru, 2);
    let first = access(1);
    let second = Access {
        parent_fingerprint: first.fingerprint,
        tokens: 16,
        conversation: 9,
        cost_us: 1 << 40,
        importance: 77,
        priority: 3,
        ..access(2)
    };
    shadow.set_now_ms(100);
    shadow.insert(&first);
    shadow.set_now_ms(250);
    shadow.set_now_ms(200);
    shadow.insert(&second);
    let (parent, child) = (
        shadow.find(first.fingerprint).unwrap(),
        shadow.find(second.fingerprint).unwrap(),
    );
    let blocks = &shadow.blocks;
    assert_eq!(blocks.parent(child), Some(parent));
    assert_eq!(blocks.parent_mark(child), blocks.fingerprint(parent) as u32);
    assert_ne!(blocks.parent_mark(child), 0);
    assert_eq!((blocks.parent(parent), blocks.parent_mark(parent)), (None, 0));
    assert_eq!(
        (blocks.now_ms(), blocks.used_ms(parent), blocks.used_ms(child)),
        (250, 100, 250)
    );
    assert_eq!(blocks.importance(child), 77);
    assert_eq!(
        (blocks.tokens(child), blocks.depth(child), blocks.class(child)),
        (16, 2, 3)
    );
    assert_eq!(blocks.cost_us(child), u64::from(u32::MAX));
    shadow.hit(parent);
    assert_eq!(
        (shadow.blocks.used_ms(parent), shadow.blocks.recency(parent).uses()),
        (250, 1)
    );
    shadow.hit(child);
    assert_eq!(
        shadow.insert(&access(3)),
        Some(first.fingerprint),
        "the lower priority goes first"
    );
    let child = shadow.find(second.fingerprint).unwrap();
    assert_eq!(shadow.blocks.parent(child), None, "another block has the place");
    assert_eq!(shadow.blocks.parent_mark(child), spread(first.fingerprint) as u32);
    assert_eq!(shadow.metadata_bytes_per_block(), (2 * 16 + 4) as f64 / 2.0);
}
