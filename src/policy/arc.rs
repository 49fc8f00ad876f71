//! ARC with clocks: recency against frequency, in a proportion learnt from what was given up too early.
//!
//! Megiddo, Modha: "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003. Two lists hold blocks used once
//! (T1) and more often (T2), two more remember what each of them gave up (B1, B2). A miss that is in B1 says that T1
//! should be longer, one in B2 that it should be shorter.
//!
//! ARC moves a block at each hit. Here a hit leaves a mark in the block's own line and the policy looks at it when the
//! block comes up, which is what the authors' CAR does: Bansal, Modha: "CAR: Clock with Adaptive Replacement", FAST
//! 2004. What is different from ARC: T1 and T2 are clocks, first in first out with a second chance; a block of T1
//! that was used goes to T2 when the hand finds it, not when it is used; one of T2 goes round once however often it was
//! used. The proportion moves in whole blocks, and ratios are rounded down, as in CAR.
//!
//! What is different from CAR: the cache is as large as it was found to be when victims were taken, and counts as full
//! from the first one on.
//! The lowest eviction class goes first; with several classes each has its clocks and a share of the proportion,
//! while the remembered lists are common. A block that comes back right after it was chosen, because somebody held it,
//! goes back to the end of its clock and teaches nothing.

use super::ghosts::{GHOST_WORDS, GHOSTS_EXTRA, Ghosts};
use super::list::{LIST_WORDS, Links, List, Record};
use super::{Blocks, Policy, Storage};
use crate::limits::CLASSES_COUNT;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Places of a block in its record.
const T1: u32 = 1;
const T2: u32 = 2;
/// Given up: `base` is the victim's number and whether it was in T2.
const GONE: u32 = 3;

/// A block that comes back before this many more victims was held, and not used again.
const BACK_VICTIMS: u16 = 64;

/// Where the fixed part has what, after the clocks of all classes and the ghosts.
const GHOSTS: usize = CLASSES_COUNT * 2 * LIST_WORDS;
/// Blocks in T1 and in T2.
const COUNTS: usize = GHOSTS + GHOST_WORDS;
/// Blocks that the cache holds, and how many of them T1 should have.
const CAPACITY: usize = COUNTS + 2;
const TARGET: usize = CAPACITY + 1;
const VICTIMS: usize = TARGET + 1;

/// The adaptive replacement policy.
pub(crate) struct Arc<'m> {
    links: Links<'m>,
    records: &'m [AtomicU32],
    ghosts: Ghosts<'m>,
    heads: &'m [AtomicU32],
}

impl<'m> Arc<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        // For n places n links and n + 1 ghosts of two words; n records, n buckets, n + 1 chains.
        let places = (storage.links.len() - GHOSTS_EXTRA) / 3;
        let (links, words) = storage.words.split_at(places);
        let (records, rest) = storage.links.split_at(places);
        let (buckets, chains) = rest.split_at(places);
        Self {
            links: Links::new(links),
            records,
            ghosts: Ghosts::new(words, chains, buckets, &storage.heads[GHOSTS..COUNTS]),
            heads: storage.heads,
        }
    }

    fn clock(&self, class: u8, place: u32) -> List<'m> {
        let at = (class as usize * 2 + usize::from(place == T2)) * LIST_WORDS;
        List::new(self.heads, at, self.links)
    }

    fn head(&self, at: usize) -> u32 {
        self.heads[at].load(Relaxed)
    }

    fn count(&self, place: u32) -> u32 {
        self.head(COUNTS + usize::from(place == T2))
    }

    fn set_count(&self, place: u32, count: u32) {
        self.heads[COUNTS + usize::from(place == T2)].store(count, Relaxed);
    }

    fn record(&self, index: u32) -> Record {
        Record(self.records[index as usize].load(Relaxed))
    }

    fn append(&self, index: u32, class: u8, place: u32, blocks: &impl Blocks) {
        let record = Record::new(blocks.generation(index), class, place, blocks.recency(index).uses());
        self.clock(class, place).append(index);
        self.set_count(place, self.count(place) + 1);
        self.records[index as usize].store(record.0, Relaxed);
    }

    fn unlink(&self, index: u32) {
        let record = self.record(index);
        if let place @ (T1 | T2) = record.place() {
            self.clock(record.class(), place).unlink(index);
            self.set_count(place, self.count(place) - 1);
        }
        self.records[index as usize].store(0, Relaxed);
    }

    /// Where a block goes that the policy does not have: the cache directory of CAR, lines 3 to 20.
    fn enter(&self, fingerprint: u64) -> u32 {
        let (b1, b2) = (self.ghosts.list(false).len(), self.ghosts.list(true).len());
        let (capacity, target) = (self.head(CAPACITY), self.head(TARGET));
        let Some(in_b2) = self.ghosts.take(fingerprint) else {
            let (t1, t2) = (self.count(T1), self.count(T2));
            if capacity != 0 {
                if t1 + b1 >= capacity {
                    self.ghosts.drop_oldest(false);
                } else if t1 + t2 + b1 + b2 >= 2 * capacity {
                    self.ghosts.drop_oldest(true);
                }
            }
            return T1;
        };
        // The list that the block was in is not empty.
        let target = match in_b2 {
            false => (target + (b2 / b1).max(1)).min(capacity),
            true => target.saturating_sub((b1 / b2).max(1)),
        };
        self.heads[TARGET].store(target, Relaxed);
        T2
    }

    /// CAR's replacement among the blocks of one class, lines 22 to 38.
    fn victim_of(&self, class: u8, blocks: &impl Blocks) -> Option<u32> {
        let (t1, t2) = (self.clock(class, T1), self.clock(class, T2));
        let all = self.count(T1) + self.count(T2);
        let share = u64::from(self.head(TARGET)) * u64::from(t1.len() + t2.len()) / u64::from(all.max(1));
        // One round clears every mark. A second one without a victim means that hits come faster than the hands, and
        // then any block will do.
        let looks = 2 * (t1.len() + t2.len());
        for look in 0..=looks {
            let from_t1 = t2.len() == 0 || t1.len() > 0 && u64::from(t1.len()) >= share.max(1);
            let place = if from_t1 { T1 } else { T2 };
            let index = self.clock(class, place).first()?;
            let used = blocks.recency(index).uses() != self.record(index).base();
            self.unlink(index);
            if used && look != looks {
                self.append(index, class, T2, blocks);
                continue;
            }
            self.ghosts.add(blocks.fingerprint(index), !from_t1);
            let number = self.head(VICTIMS).wrapping_add(1);
            self.heads[VICTIMS].store(number, Relaxed);
            let base = (number as u16) << 1 | u16::from(!from_t1);
            let gone = Record::new(blocks.generation(index), class, GONE, base);
            self.records[index as usize].store(gone.0, Relaxed);
            return Some(index);
        }
        None
    }
}

impl Policy for Arc<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let record = self.record(index);
        let class = blocks.class(index);
        let same_life = record.same_life(blocks.generation(index));
        let place = match record.place() {
            T1 | T2 if same_life && record.class() == class => return,
            place @ (T1 | T2) if same_life => place,
            GONE if same_life && self.victims_since(record) < BACK_VICTIMS => {
                self.ghosts.take(blocks.fingerprint(index));
                if record.base() & 1 == 0 { T1 } else { T2 }
            }
            _ => {
                self.unlink(index);
                self.enter(blocks.fingerprint(index))
            }
        };
        self.unlink(index);
        self.append(index, class, place, blocks);
    }

    fn remove(&self, index: u32) {
        self.unlink(index);
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        // Victims are taken one by one and some at a time; the cache is no smaller for it.
        let (known, capacity) = (self.count(T1) + self.count(T2), self.head(CAPACITY));
        if known > capacity || known + u32::from(BACK_VICTIMS) < capacity {
            self.heads[CAPACITY].store(known, Relaxed);
        }
        (0..CLASSES_COUNT as u8).find_map(|class| self.victim_of(class, blocks))
    }
}

impl Arc<'_> {
    fn victims_since(&self, record: Record) -> u16 {
        (self.head(VICTIMS) as u16).wrapping_sub(record.base() >> 1) & (u16::MAX >> 1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Driver, FakeBlocks, drained, storage};
    use super::*;
    use crate::config::PolicyKind;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Figure 2 of the CAR paper over deques, the head at the front; a clock's hand is its head.
    #[derive(Default)]
    struct Naive {
        c: usize,
        p: usize,
        t1: VecDeque<(u32, bool)>,
        t2: VecDeque<(u32, bool)>,
        b1: VecDeque<u32>,
        b2: VecDeque<u32>,
    }

    impl Naive {
        fn access(&mut self, x: u32) -> bool {
            if let Some(page) = self.t1.iter_mut().chain(&mut self.t2).find(|page| page.0 == x) {
                page.1 = true;
                return true;
            }
            let (in_b1, in_b2) = (self.b1.contains(&x), self.b2.contains(&x));
            if self.t1.len() + self.t2.len() == self.c {
                self.replace();
                // Lines 7 to 10. After the replacement the cache has one page less, and B1 or B2 one more.
                if !in_b1 && !in_b2 {
                    if self.t1.len() + self.b1.len() == self.c {
                        self.b1.pop_front();
                    } else if self.t1.len() + self.t2.len() + self.b1.len() + self.b2.len() == 2 * self.c {
                        self.b2.pop_front();
                    }
                }
            }
            if in_b1 {
                self.p = (self.p + (self.b2.len() / self.b1.len()).max(1)).min(self.c);
                self.b1.retain(|&page| page != x);
                self.t2.push_back((x, false));
            } else if in_b2 {
                self.p = self.p.saturating_sub((self.b1.len() / self.b2.len()).max(1));
                self.b2.retain(|&page| page != x);
                self.t2.push_back((x, false));
            } else {
                self.t1.push_back((x, false));
            }
            false
        }

        fn replace(&mut self) {
            loop {
                if self.t1.len() >= self.p.max(1) {
                    match self.t1.pop_front().unwrap() {
                        (page, false) => return self.b1.push_back(page),
                        (page, true) => self.t2.push_back((page, false)),
                    }
                } else {
                    match self.t2.pop_front().unwrap() {
                        (page, false) => return self.b2.push_back(page),
                        (page, true) => self.t2.push_back((page, false)),
                    }
                }
            }
        }
    }

    proptest! {
        /// Hit for hit what CAR hits, and the same proportion.
        #[test]
        fn hits_what_car_hits(
            keys in prop::collection::vec(prop_oneof![0..10_u32, 0..40_u32], 1..900),
            c in 1..16_usize,
        ) {
            let mut naive = Naive { c, ..Naive::default() };
            let mut cache = Driver::new(c, Arc::new(storage(PolicyKind::Arc, c)));
            for (step, key) in keys.into_iter().enumerate() {
                prop_assert_eq!(cache.access(key), naive.access(key), "step {}", step);
                prop_assert_eq!(cache.policy.head(TARGET) as usize, naive.p, "step {}", step);
            }
        }
    }

    #[test]
    fn what_was_held_teaches_nothing_and_lower_classes_go_first() {
        let policy = Arc::new(storage(PolicyKind::Arc, 4));
        let mut blocks = FakeBlocks::new(4);
        blocks.class = std::vec![0, 0, 7, 0];
        (0..4).for_each(|index| policy.insert(index, &blocks));
        assert_eq!(policy.victim(&blocks), Some(0));
        policy.insert(0, &blocks);
        assert_eq!(
            (policy.head(TARGET), policy.count(T1), policy.ghosts.list(false).len()),
            (0, 4, 0)
        );
        blocks.recency[1].1 = 1;
        blocks.class[3] = 9;
        policy.insert(3, &blocks);
        policy.remove(2);
        assert_eq!(drained(&policy, &blocks), [0, 1, 3]);
        blocks.generation[0] += 1;
        policy.insert(0, &blocks);
        assert_eq!(
            (policy.head(TARGET), policy.count(T2)),
            (1, 1),
            "its key was remembered"
        );
    }
}
