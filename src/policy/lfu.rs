//! Least frequently used, with ageing: uses count half as much for each turnover of the cache since.
//!
//! Plain LFU never forgets what was popular once. Dynamic ageing by halving all counts from time to time is that of
//! Arlitt, Cherkasova, Dilley, Friedrich, Jin: "Evaluating content management techniques for Web proxy caches", ACM
//! SIGMETRICS Performance Evaluation Review 27(4), 2000, and of the reset in TinyLFU (Einziger, Friedman, Manes, ACM
//! Transactions on Storage 13(4), 2017). Here an epoch lasts as many insertions as blocks are known, and counts halve
//! with each epoch, without any block being touched for it: instead of dividing the old, the new weighs twice as much.
//! `count · 2^epoch` never changes its order, and is kept as exponent and fraction.
//!
//! Hits are noted lazily: the uses that a block brings along when it comes up count as of the epoch of the last of
//! them. Of equals the one that was used least recently goes first, then the deepest of a chain.

use super::heap::{Heap, Rank, Seen};
use super::{Blocks, Policy, Storage};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Bits of the fraction of a value.
const FRACTION_BITS: u32 = 23;
/// Epochs whose beginning is remembered; uses from before count as of the first of them.
const EPOCHS: u32 = 16;

/// Where the fixed part has what: the heap's length, insertions in this epoch, epochs so far, their first stamps.
const INSERTS: usize = 1;
const EPOCH: usize = 2;
const STARTS: usize = 3;

/// `value + uses · 2^epoch`, both as `exponent << FRACTION_BITS | fraction`; 0 is nothing.
fn add(value: u64, uses: u16, epoch: u32) -> u64 {
    if uses == 0 {
        return value;
    }
    let (exponent, mantissa) = match value {
        0 => (u64::from(epoch), 0),
        _ => (
            value >> FRACTION_BITS,
            1 << FRACTION_BITS | value & ((1 << FRACTION_BITS) - 1),
        ),
    };
    let base = exponent.max(epoch.into());
    let shifted = |number: u64, by: u64| number.checked_shr(by.min(64) as u32).unwrap_or(0);
    let sum = shifted(mantissa, base - exponent) + shifted(u64::from(uses) << FRACTION_BITS, base - u64::from(epoch));
    let excess = sum.ilog2() - FRACTION_BITS;
    (base + u64::from(excess)) << FRACTION_BITS | (sum >> excess) & ((1 << FRACTION_BITS) - 1)
}

/// The aged least-frequently-used policy.
pub(crate) struct Lfu<'m> {
    heap: Heap<'m>,
    /// By block.
    values: &'m [AtomicU64],
    seen: &'m [AtomicU32],
    heads: &'m [AtomicU32],
}

impl<'m> Lfu<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        let (ranks, values) = storage.words.split_at(storage.words.len() / 3 * 2);
        let (links, seen) = storage.links.split_at(storage.links.len() / 3 * 2);
        Self {
            heap: Heap::new(ranks, links, &storage.heads[0]),
            values,
            seen,
            heads: storage.heads,
        }
    }

    fn start(&self, epoch: u32) -> &'m AtomicU32 {
        &self.heads[STARTS + (epoch % EPOCHS) as usize]
    }

    /// The epoch of a use; counted from 1.
    fn epoch_of(&self, stamp: u64) -> u32 {
        let epoch = self.heads[EPOCH].load(Relaxed);
        let oldest = epoch.saturating_sub(EPOCHS - 1);
        // Low halves of stamps, which lie less than half their range apart.
        let since = |epoch: u32| (stamp as u32).wrapping_sub(self.start(epoch).load(Relaxed)) as i32;
        let found = (oldest..=epoch).rev().find(|&epoch| since(epoch) >= 0);
        found.unwrap_or(oldest) + 1
    }

    /// Counts a newcomer; with the one after as many as blocks are known the next epoch begins.
    fn count_insert(&self, stamp: u64) {
        let inserts = self.heads[INSERTS].load(Relaxed) + 1;
        if inserts as usize <= self.heap.len() + 1 {
            self.heads[INSERTS].store(inserts, Relaxed);
            return;
        }
        self.heads[INSERTS].store(1, Relaxed);
        let epoch = self.heads[EPOCH].load(Relaxed).saturating_add(1);
        self.heads[EPOCH].store(epoch, Relaxed);
        self.start(epoch).store(stamp as u32, Relaxed);
    }

    /// The block's rank with all its uses.
    fn rank(&self, index: u32, blocks: &impl Blocks) -> Rank {
        let (word, now) = (&self.seen[index as usize], Seen::now(index, blocks));
        let value = &self.values[index as usize];
        let uses = now.uses_since(Seen::load(word));
        if uses != 0 {
            let epoch = self.epoch_of(blocks.recency(index).stamp());
            value.store(add(value.load(Relaxed), uses, epoch), Relaxed);
            now.store(word);
        }
        Rank::new(value.load(Relaxed), index, blocks)
    }
}

impl Policy for Lfu<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let now = Seen::now(index, blocks);
        let value = &self.values[index as usize];
        if value.load(Relaxed) == 0 || !now.same_life(Seen::load(&self.seen[index as usize])) {
            self.heap.remove(index);
            let stamp = blocks.recency(index).stamp();
            self.count_insert(stamp);
            value.store(add(0, 1, self.epoch_of(stamp)), Relaxed);
            now.store(&self.seen[index as usize]);
        }
        self.heap.put(index, self.rank(index, blocks));
    }

    fn remove(&self, index: u32) {
        self.heap.remove(index);
        self.values[index as usize].store(0, Relaxed);
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        let (_, index) = self.heap.take_lowest(|index| self.rank(index, blocks))?;
        Some(index)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Driver, FakeBlocks, drained, storage};
    use super::*;
    use crate::config::PolicyKind;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Counts that are really halved, in fractions; looks at the least of what it knew, and corrects that first.
    #[derive(Default)]
    struct Naive {
        capacity: usize,
        inserts: u64,
        blocks: Vec<Counted>,
    }

    struct Counted {
        key: u32,
        count: f64,
        used: u64,
        news: u32,
        news_used: u64,
    }

    impl Naive {
        fn epoch(&self, insert: u64) -> u64 {
            (insert - 1) / self.capacity as u64
        }

        fn access(&mut self, key: u32) -> bool {
            let moment = 2 * self.inserts + 1;
            if let Some(block) = self.blocks.iter_mut().find(|block| block.key == key) {
                block.news += u32::from(block.news_used != moment);
                block.news_used = moment;
                return true;
            }
            if self.blocks.len() == self.capacity {
                self.evict();
            }
            self.inserts += 1;
            if self.epoch(self.inserts) > 0 && (self.inserts - 1).is_multiple_of(self.capacity as u64) {
                self.blocks.iter_mut().for_each(|block| block.count /= 2.0);
            }
            let used = 2 * self.inserts;
            self.blocks.push(Counted {
                key,
                count: 1.0,
                used,
                news: 0,
                news_used: 0,
            });
            false
        }

        fn evict(&mut self) {
            loop {
                let least = (0..self.blocks.len())
                    .min_by(|&a, &b| {
                        let (a, b) = (&self.blocks[a], &self.blocks[b]);
                        a.count
                            .total_cmp(&b.count)
                            .then(a.used.cmp(&b.used))
                            .then(b.key.cmp(&a.key))
                    })
                    .unwrap();
                let now = self.epoch(self.inserts);
                let (news, used) = (self.blocks[least].news, self.blocks[least].news_used);
                if news == 0 {
                    self.blocks.remove(least);
                    return;
                }
                let halvings = now - self.epoch(used / 2);
                let block = &mut self.blocks[least];
                block.count += f64::from(news) / (1_u64 << halvings) as f64;
                (block.used, block.news) = (used, 0);
            }
        }
    }

    proptest! {
        /// No more than fifteen epochs and 120 uses, so that neither fractions nor remembered epochs run out.
        #[test]
        fn hits_what_halved_counts_hit(keys in prop::collection::vec(0..14_u32, 1..120)) {
            const CAPACITY: usize = 8;
            let mut naive = Naive { capacity: CAPACITY, ..Naive::default() };
            let mut cache = Driver::new(CAPACITY, Lfu::new(storage(PolicyKind::Lfu, CAPACITY)));
            for (step, key) in keys.into_iter().enumerate() {
                prop_assert_eq!(cache.access(key), naive.access(key), "step {}", step);
            }
        }

        /// Sums come out as those of numbers with enough bits.
        #[test]
        fn adds_as_integers_do(uses in prop::collection::vec((1..1000_u16, 1..12_u32), 1..8)) {
            let mut value = 0;
            let mut exact = 0_u64;
            for (count, epoch) in uses {
                value = add(value, count, epoch);
                exact += u64::from(count) << epoch;
                // Halves of the smallest count stay exact as long as the sum has no more bits than a fraction.
                prop_assume!(exact < 1 << FRACTION_BITS);
                let exponent = exact.ilog2();
                let fraction = (exact << (FRACTION_BITS - exponent)) & ((1 << FRACTION_BITS) - 1);
                prop_assert_eq!(value, u64::from(exponent) << FRACTION_BITS | fraction);
            }
        }
    }

    #[test]
    fn a_block_that_comes_back_has_its_count_and_lower_classes_go_first() {
        let policy = Lfu::new(storage(PolicyKind::Lfu, 4));
        let mut blocks = FakeBlocks::new(4);
        blocks.class = std::vec![0, 0, 2, 0];
        for index in 0..4 {
            blocks.recency[index as usize].0 = 2 * u64::from(index);
            policy.insert(index, &blocks);
        }
        blocks.recency[0] = (9, 5);
        assert_eq!(policy.victim(&blocks), Some(1));
        policy.insert(1, &blocks);
        policy.remove(3);
        assert_eq!(drained(&policy, &blocks), [1, 0, 2]);
        policy.insert(0, &blocks);
        blocks.generation[1] += 1;
        policy.insert(1, &blocks);
        assert_eq!(
            drained(&policy, &blocks),
            [1, 0],
            "a place's next life begins with nothing"
        );
    }
}
