//! SIEVE: a first-in-first-out queue with a hand that passes over what was used.
//!
//! Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction Algorithm for Web
//! Caches", NSDI 2024. The hand goes from the oldest block to the newest and round; it clears the mark of a block that
//! was used since it last passed and leaves it where it is, and takes the first that was not. New blocks enter at the
//! newest end, behind the hand, which sifts them apart from what has proved its worth.
//!
//! The mark is what a hit leaves in the block's entry anyway, so this is the paper's algorithm and no approximation.
//! Differences: one queue and one hand per eviction class, the lowest class first.

use super::list::{LIST_WORDS, Links, List, Record};
use super::{Blocks, Policy, Storage};
use crate::limits::CLASSES_COUNT;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A record's place of a block that is in its class's queue.
const QUEUED: u32 = 1;
/// Half words a class: its queue and its hand.
const CLASS_WORDS: usize = LIST_WORDS + 1;

/// The SIEVE policy.
pub(crate) struct Sieve<'m> {
    links: Links<'m>,
    records: &'m [AtomicU32],
    heads: &'m [AtomicU32],
}

impl<'m> Sieve<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        Self {
            links: Links::new(storage.words),
            records: storage.links,
            heads: storage.heads,
        }
    }

    fn queue(&self, class: u8) -> List<'m> {
        List::new(self.heads, class as usize * CLASS_WORDS, self.links)
    }

    /// Where the hand of a class goes on: place + 1; 0 is the oldest.
    fn hand(&self, class: u8) -> &'m AtomicU32 {
        &self.heads[class as usize * CLASS_WORDS + LIST_WORDS]
    }

    fn record(&self, index: u32) -> Record {
        Record(self.records[index as usize].load(Relaxed))
    }

    fn set_record(&self, index: u32, record: Record) {
        self.records[index as usize].store(record.0, Relaxed);
    }

    fn unlink(&self, index: u32) {
        let record = self.record(index);
        if record.place() != QUEUED {
            return;
        }
        let hand = self.hand(record.class());
        if hand.load(Relaxed) == index + 1 {
            hand.store(self.links.next(index).map_or(0, |next| next + 1), Relaxed);
        }
        self.queue(record.class()).unlink(index);
        self.set_record(index, Record(0));
    }

    fn victim_of(&self, class: u8, blocks: &impl Blocks) -> Option<u32> {
        let (queue, hand) = (self.queue(class), self.hand(class));
        let mut index = hand.load(Relaxed).checked_sub(1).or(queue.first())?;
        // One round clears every mark. A second one without a victim means that hits come faster than the hand, and
        // then any block will do.
        for _ in 0..2 * queue.len() {
            let (record, uses) = (self.record(index), blocks.recency(index).uses());
            if record.base() == uses {
                break;
            }
            self.set_record(index, Record::new(blocks.generation(index), class, QUEUED, uses));
            index = self.links.next(index).or(queue.first())?;
        }
        hand.store(index + 1, Relaxed);
        self.unlink(index);
        Some(index)
    }
}

impl Policy for Sieve<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let record = self.record(index);
        let (generation, class) = (blocks.generation(index), blocks.class(index));
        let known = record.place() == QUEUED && record.same_life(generation);
        if known && record.class() == class {
            return;
        }
        let base = if known {
            record.base()
        } else {
            blocks.recency(index).uses()
        };
        self.unlink(index);
        self.queue(class).append(index);
        self.set_record(index, Record::new(generation, class, QUEUED, base));
    }

    fn remove(&self, index: u32) {
        self.unlink(index);
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        (0..CLASSES_COUNT as u8).find_map(|class| self.victim_of(class, blocks))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Driver, FakeBlocks, drained, storage};
    use super::*;
    use crate::config::PolicyKind;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Algorithm 1 of the paper over a list from the oldest to the newest.
    #[derive(Default)]
    struct Naive {
        capacity: usize,
        queue: Vec<(u32, bool)>,
        hand: Option<u32>,
    }

    impl Naive {
        fn access(&mut self, key: u32) -> bool {
            if let Some(object) = self.queue.iter_mut().find(|object| object.0 == key) {
                object.1 = true;
                return true;
            }
            if self.queue.len() == self.capacity {
                let hand = self
                    .hand
                    .and_then(|key| self.queue.iter().position(|object| object.0 == key));
                let mut at = hand.unwrap_or(0);
                while self.queue[at].1 {
                    self.queue[at].1 = false;
                    at = (at + 1) % self.queue.len();
                }
                self.hand = self.queue.get(at + 1).map(|object| object.0);
                self.queue.remove(at);
            }
            self.queue.push((key, false));
            false
        }
    }

    proptest! {
        #[test]
        fn hits_what_the_paper_hits(keys in prop::collection::vec(0..24_u32, 1..800), capacity in 1..16_usize) {
            let mut naive = Naive { capacity, ..Naive::default() };
            let mut cache = Driver::new(capacity, Sieve::new(storage(PolicyKind::Sieve, capacity)));
            for (step, key) in keys.into_iter().enumerate() {
                prop_assert_eq!(cache.access(key), naive.access(key), "step {}", step);
            }
        }
    }

    #[test]
    fn a_removed_block_takes_the_hand_on_and_lower_classes_go_first() {
        let policy = Sieve::new(storage(PolicyKind::Sieve, 6));
        let mut blocks = FakeBlocks::new(6);
        blocks.class[5] = 3;
        (0..6).for_each(|index| policy.insert(index, &blocks));
        blocks.recency[0].1 = 1;
        assert_eq!(policy.victim(&blocks), Some(1), "the first that was not used");
        policy.remove(2);
        assert_eq!(policy.victim(&blocks), Some(3), "the hand stood at what was removed");
        blocks.class[0] = 4;
        policy.insert(0, &blocks);
        assert_eq!(drained(&policy, &blocks), [4, 5, 0]);
    }
}
