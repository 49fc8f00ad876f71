//! S3-FIFO: three first-in-first-out queues.
//!
//! Yang, Zhang, Qiu, Yue, Vigfusson: "FIFO queues are all you need for cache eviction", SOSP 2023. New blocks enter a
//! small queue; those used at least twice by the time they reach its end move to the main queue, the others go and
//! leave a fingerprint in the ghost table; a block whose fingerprint is there enters the main queue directly. At the
//! end of the main queue a used block goes round once more, with one use less on its account; three uses count at most.
//!
//! Differences from the paper: one pair of queues per eviction class, the lowest class first; the share of the small
//! queue (a tenth) is of the class's blocks; the ghost queue is a table of 20-bit fingerprints, eight to a group, that
//! remember in which 1024th of the last `capacity` evictions they were made.

use super::list::{LIST_WORDS, Links, List, Record};
use super::{Blocks, Policy, Storage};
use crate::limits::CLASSES_COUNT;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

const USES_MAX: u16 = 3;
const SMALL_USES_MIN: u16 = 2;
const SMALL_SHARE: u32 = 10;
const GHOST_WAYS: usize = 8;
const GHOST_AGE_BITS: u32 = 12;

/// Where the count of evictions stands in the fixed part, after the queues.
const GHOST_CLOCK: usize = CLASSES_COUNT * 2 * LIST_WORDS;

/// Places of a block in its record. A block that was given up from the main queue has the base [`BACK_TO_MAIN`].
const NOWHERE: u32 = 0;
const SMALL: u32 = 1;
const MAIN: u32 = 2;
const BACK_TO_MAIN: u16 = u16::MAX;

/// The S3-FIFO policy.
pub(crate) struct S3Fifo<'m> {
    links: Links<'m>,
    records: &'m [AtomicU32],
    ghosts: &'m [AtomicU32],
    heads: &'m [AtomicU32],
}

impl<'m> S3Fifo<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        let (records, ghosts) = storage.links.split_at(storage.links.len() / 2);
        Self {
            links: Links::new(storage.words),
            records,
            ghosts,
            heads: storage.heads,
        }
    }

    fn queue(&self, class: u8, place: u32) -> List<'m> {
        let at = (class as usize * 2 + usize::from(place == MAIN)) * LIST_WORDS;
        List::new(self.heads, at, self.links)
    }

    fn record(&self, index: u32) -> Record {
        Record(self.records[index as usize].load(Relaxed))
    }

    fn append(&self, index: u32, record: Record) {
        self.queue(record.class(), record.place()).append(index);
        self.records[index as usize].store(record.0, Relaxed);
    }

    fn unlink(&self, index: u32) {
        let record = self.record(index);
        if record.place() != NOWHERE {
            self.queue(record.class(), record.place()).unlink(index);
        }
    }

    fn ghost_cells(&self, fingerprint: u64) -> (&'m [AtomicU32], u32) {
        let groups = self.ghosts.len().div_ceil(GHOST_WAYS);
        let group = ((u128::from(fingerprint) * groups as u128) >> 64) as usize * GHOST_WAYS;
        let end = (group + GHOST_WAYS).min(self.ghosts.len());
        // The low bits; the high ones chose the group.
        let mark = (fingerprint as u32 & ((1 << (32 - GHOST_AGE_BITS)) - 1)).max(1);
        (&self.ghosts[group..end], mark)
    }

    /// Evictions are counted in units of which `capacity` is about 1024.
    fn ghost_now(&self) -> (u32, u32) {
        let unit = (self.ghosts.len() as u32 / 1024).max(1);
        let window = (self.ghosts.len() as u32).div_ceil(unit);
        let mask = (1 << GHOST_AGE_BITS) - 1;
        ((self.heads[GHOST_CLOCK].load(Relaxed) / unit) & mask, window)
    }

    fn ghost_age(cell: u32, now: u32) -> u32 {
        now.wrapping_sub(cell) & ((1 << GHOST_AGE_BITS) - 1)
    }

    fn ghost_add(&self, fingerprint: u64) {
        let (now, _) = self.ghost_now();
        let (cells, mark) = self.ghost_cells(fingerprint);
        let oldest = cells.iter().max_by_key(|cell| {
            let cell = cell.load(Relaxed);
            match cell {
                0 => u32::MAX,
                _ if cell >> GHOST_AGE_BITS == mark => u32::MAX,
                _ => Self::ghost_age(cell, now),
            }
        });
        if let Some(cell) = oldest {
            cell.store(mark << GHOST_AGE_BITS | now, Relaxed);
        }
        self.heads[GHOST_CLOCK].store(self.heads[GHOST_CLOCK].load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn ghost_take(&self, fingerprint: u64) -> bool {
        let (now, window) = self.ghost_now();
        let (cells, mark) = self.ghost_cells(fingerprint);
        cells.iter().any(|cell| {
            let value = cell.load(Relaxed);
            let here = value >> GHOST_AGE_BITS == mark && Self::ghost_age(value, now) <= window;
            if here {
                cell.store(0, Relaxed);
            }
            here
        })
    }

    fn uses(&self, index: u32, blocks: &impl Blocks) -> u16 {
        blocks
            .recency(index)
            .uses()
            .wrapping_sub(self.record(index).base())
            .min(USES_MAX)
    }

    /// The end of one class's queues; `None` when the class has no block.
    fn victim_of(&self, class: u8, blocks: &impl Blocks) -> Option<u32> {
        loop {
            let (small, main) = (self.queue(class, SMALL), self.queue(class, MAIN));
            let (small_count, main_count) = (small.len(), main.len());
            let all = small_count + main_count;
            let from_small = small_count > 0 && (main_count == 0 || small_count * SMALL_SHARE >= all);
            let queue = if from_small { small } else { main };
            let index = queue.first()?;
            let uses = self.uses(index, blocks);
            let total = blocks.recency(index).uses();
            let generation = blocks.generation(index);
            self.unlink(index);
            // A round ends, since each block goes to the main queue at most once and round it three times at most.
            if from_small && uses >= SMALL_USES_MIN {
                self.append(index, Record::new(generation, class, MAIN, total));
            } else if !from_small && uses > 0 {
                let base = total.wrapping_sub(uses - 1);
                self.append(index, Record::new(generation, class, MAIN, base));
            } else {
                if from_small {
                    self.ghost_add(blocks.fingerprint(index));
                }
                // Remember that it was in the main queue, should it come back because somebody had pinned it.
                let base = if from_small { 0 } else { BACK_TO_MAIN };
                let record = Record::new(generation, class, NOWHERE, base);
                self.records[index as usize].store(record.0, Relaxed);
                return Some(index);
            }
        }
    }
}

impl Policy for S3Fifo<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let record = self.record(index);
        let generation = blocks.generation(index);
        let class = blocks.class(index);
        let total = blocks.recency(index).uses();
        let (place, base) = match record.place() {
            SMALL if record.same_life(generation) => (SMALL, record.base()),
            MAIN if record.same_life(generation) => (MAIN, record.base()),
            NOWHERE if record.0 != 0 && record.same_life(generation) && record.base() == BACK_TO_MAIN => (MAIN, total),
            _ if self.ghost_take(blocks.fingerprint(index)) => (MAIN, total),
            _ => (SMALL, total),
        };
        self.unlink(index);
        self.append(index, Record::new(generation, class, place, base));
    }

    fn remove(&self, index: u32) {
        self.unlink(index);
        self.records[index as usize].store(0, Relaxed);
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        (0..CLASSES_COUNT as u8).find_map(|class| self.victim_of(class, blocks))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{FakeBlocks, storage};
    use super::*;
    use crate::config::PolicyKind;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    /// The paper's algorithm over deques, with the last `capacity` evictions from the small queue as ghosts.
    #[derive(Default)]
    struct Naive {
        small: VecDeque<u32>,
        main: VecDeque<u32>,
        ghost: Vec<u32>,
        uses: std::collections::HashMap<u32, u16>,
        capacity: usize,
    }

    impl Naive {
        fn access(&mut self, key: u32) -> bool {
            if let Some(uses) = self.uses.get_mut(&key) {
                *uses = (*uses + 1).min(USES_MAX);
                return true;
            }
            if self.uses.len() == self.capacity {
                self.evict();
            }
            let remembered = self.ghost.len().saturating_sub(self.capacity);
            if let Some(at) = self.ghost[remembered..].iter().position(|&ghost| ghost == key) {
                self.ghost[remembered + at] = u32::MAX;
                self.main.push_back(key);
            } else {
                self.small.push_back(key);
            }
            self.uses.insert(key, 0);
            false
        }

        fn evict(&mut self) {
            loop {
                let from_small = !self.small.is_empty()
                    && (self.main.is_empty() || self.small.len() * 10 >= self.small.len() + self.main.len());
                let queue = if from_small { &mut self.small } else { &mut self.main };
                let key = queue.pop_front().unwrap();
                let uses = self.uses.get_mut(&key).unwrap();
                if from_small && *uses >= 2 {
                    *uses = 0;
                    self.main.push_back(key);
                } else if !from_small && *uses > 0 {
                    *uses -= 1;
                    self.main.push_back(key);
                } else {
                    self.uses.remove(&key);
                    if from_small {
                        self.ghost.push(key);
                    }
                    return;
                }
            }
        }
    }

    /// Drives the policy as an engine would: places, stamps, uses.
    struct Cache {
        policy: S3Fifo<'static>,
        blocks: FakeBlocks,
        keys: Vec<Option<u32>>,
    }

    impl Cache {
        fn access(&mut self, key: u32) -> bool {
            if let Some(at) = self.keys.iter().position(|&other| other == Some(key)) {
                self.blocks.recency[at].1 += 1;
                return true;
            }
            let at = match self.keys.iter().position(Option::is_none) {
                Some(at) => at,
                None => self.policy.victim(&self.blocks).unwrap() as usize,
            };
            self.keys[at] = Some(key);
            self.blocks.generation[at] += 1;
            self.blocks.recency[at] = (0, 0);
            self.blocks.fingerprint[at] = u64::from(key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.policy.insert(at as u32, &self.blocks);
            false
        }
    }

    proptest! {
        /// Hit for hit what the paper's algorithm does, as long as no ghost falls victim to its group.
        #[test]
        fn hits_what_the_paper_hits(accesses in prop::collection::vec(0..24_u32, 1..600)) {
            const CAPACITY: usize = 8;
            let mut naive = Naive { capacity: CAPACITY, ..Naive::default() };
            let mut cache = Cache {
                policy: S3Fifo::new(storage(PolicyKind::S3Fifo, CAPACITY)),
                blocks: FakeBlocks::new(CAPACITY),
                keys: std::vec![None; CAPACITY],
            };
            for (step, key) in accesses.into_iter().enumerate() {
                prop_assert_eq!(cache.access(key), naive.access(key), "step {}", step);
            }
        }
    }

    #[test]
    fn lower_classes_go_first_and_removed_blocks_never() {
        let policy = S3Fifo::new(storage(PolicyKind::S3Fifo, 6));
        let mut blocks = FakeBlocks::new(6);
        blocks.class = std::vec![5, 0, 101, 0, 5, 1];
        for index in 0..6 {
            policy.insert(index, &blocks);
        }
        policy.remove(3);
        blocks.class[4] = 0;
        policy.insert(4, &blocks);
        let order: Vec<u32> = core::iter::from_fn(|| policy.victim(&blocks)).collect();
        assert_eq!(order, [1, 4, 5, 0, 2]);
    }
}
