//! Greedy-Dual-Size-Frequency: the block goes whose uses, weighed by what computing it again costs, are least.
//!
//! Cherkasova: "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Laboratories
//! report HPL-98-69R1, 1998. A block's value is `L + uses · cost / size`; `L` is the value of the last victim, so that
//! what is not used is overtaken by what comes later. Sizes are left out: a slot holds one block, whatever its bytes.
//!
//! The cost is what the put said. Where it said nothing, it is that of so many tokens at that place of a prompt: each
//! token attends to all before it, which from some ten thousand tokens on costs as much again as the rest.
//!
//! Hits are noted lazily: a block that comes up with new uses is valued by the `L` of that moment instead of that of
//! the hit. One `L` serves all eviction classes, and the lowest class goes first. Of equals the one that was used least
//! recently goes first, then the deepest of a chain.

use super::heap::{Heap, Rank, Seen};
use super::{Blocks, Policy, Storage};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const USES_MAX: u32 = 1023;
const COST_US_MAX: u64 = 1 << 26;
/// What a token costs at the beginning of a prompt, in microseconds: a hundred thousand tokens a second.
const TOKEN_COST_US: u64 = 10;
/// Tokens before a token that cost as much as the token by itself.
const TOKENS_DOUBLING: u64 = 16 << 10;

/// Where the fixed part has `L`, low half first, after the heap's length.
const FLOOR: usize = 1;

/// What computing a block again costs in microseconds, at least 1.
fn cost_us(index: u32, blocks: &impl Blocks) -> u64 {
    let known_us = blocks.cost_us(index);
    if known_us != 0 {
        return known_us.min(COST_US_MAX);
    }
    let tokens = u64::from(blocks.tokens(index)).max(1);
    let before = tokens * u64::from(blocks.depth(index));
    (tokens * TOKEN_COST_US * (TOKENS_DOUBLING + before) / TOKENS_DOUBLING).min(COST_US_MAX)
}

/// The Greedy-Dual-Size-Frequency policy.
pub(crate) struct Gdsf<'m> {
    heap: Heap<'m>,
    /// By block.
    values: &'m [AtomicU64],
    seen: &'m [AtomicU32],
    uses: &'m [AtomicU32],
    heads: &'m [AtomicU32],
}

impl<'m> Gdsf<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        let (ranks, values) = storage.words.split_at(storage.words.len() / 3 * 2);
        let (links, rest) = storage.links.split_at(storage.links.len() / 2);
        let (seen, uses) = rest.split_at(rest.len() / 2);
        Self {
            heap: Heap::new(ranks, links, &storage.heads[0]),
            values,
            seen,
            uses,
            heads: storage.heads,
        }
    }

    fn floor(&self) -> u64 {
        u64::from(self.heads[FLOOR + 1].load(Relaxed)) << 32 | u64::from(self.heads[FLOOR].load(Relaxed))
    }

    fn raise_floor(&self, value: u64) {
        let floor = value.max(self.floor());
        self.heads[FLOOR].store(floor as u32, Relaxed);
        self.heads[FLOOR + 1].store((floor >> 32) as u32, Relaxed);
    }

    fn value(&self, index: u32, uses: u32, blocks: &impl Blocks) -> u64 {
        self.floor().saturating_add(u64::from(uses) * cost_us(index, blocks))
    }

    /// The block's rank with all its uses.
    fn rank(&self, index: u32, blocks: &impl Blocks) -> Rank {
        let at = index as usize;
        let now = Seen::now(index, blocks);
        let news = now.uses_since(Seen::load(&self.seen[at]));
        if news != 0 {
            let uses = (self.uses[at].load(Relaxed) + u32::from(news)).min(USES_MAX);
            self.uses[at].store(uses, Relaxed);
            self.values[at].store(self.value(index, uses, blocks), Relaxed);
            now.store(&self.seen[at]);
        }
        Rank::new(self.values[at].load(Relaxed), index, blocks)
    }
}

impl Policy for Gdsf<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let at = index as usize;
        let now = Seen::now(index, blocks);
        if self.uses[at].load(Relaxed) == 0 || !now.same_life(Seen::load(&self.seen[at])) {
            self.uses[at].store(1, Relaxed);
            self.values[at].store(self.value(index, 1, blocks), Relaxed);
            now.store(&self.seen[at]);
        }
        self.heap.put(index, self.rank(index, blocks));
    }

    fn remove(&self, index: u32) {
        self.heap.remove(index);
        self.uses[index as usize].store(0, Relaxed);
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        let (rank, index) = self.heap.take_lowest(|index| self.rank(index, blocks))?;
        self.raise_floor(rank.value());
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

    /// The report's algorithm over a list; hits wait until their block is the least.
    #[derive(Default)]
    struct Naive {
        capacity: usize,
        inserts: u64,
        clock: u64,
        blocks: Vec<Valued>,
    }

    struct Valued {
        key: u32,
        frequency: u64,
        priority: u64,
        used: u64,
        news: u64,
        news_used: u64,
    }

    /// The test's cost of a block in microseconds; each key has its own.
    fn cost(key: u32) -> u64 {
        100 + 37 * u64::from(key % 7)
    }

    impl Naive {
        fn access(&mut self, key: u32) -> bool {
            let moment = 2 * self.inserts + 1;
            if let Some(block) = self.blocks.iter_mut().find(|block| block.key == key) {
                block.news += u64::from(block.news_used != moment);
                block.news_used = moment;
                return true;
            }
            while self.blocks.len() == self.capacity {
                let order = |block: &Valued| (block.priority, block.used, u32::MAX - block.key);
                let least = (0..self.blocks.len())
                    .min_by_key(|&at| order(&self.blocks[at]))
                    .unwrap();
                let block = &mut self.blocks[least];
                if block.news == 0 {
                    self.clock = block.priority;
                    self.blocks.remove(least);
                } else {
                    block.frequency += block.news;
                    block.priority = self.clock + block.frequency * cost(block.key);
                    (block.used, block.news) = (block.news_used, 0);
                }
            }
            self.inserts += 1;
            self.blocks.push(Valued {
                key,
                frequency: 1,
                priority: self.clock + cost(key),
                used: 2 * self.inserts,
                news: 0,
                news_used: 0,
            });
            false
        }
    }

    proptest! {
        #[test]
        fn hits_what_the_report_hits(keys in prop::collection::vec(0..24_u32, 1..600), capacity in 1..16_usize) {
            let mut naive = Naive { capacity, ..Naive::default() };
            let mut cache = Driver::new(capacity, Gdsf::new(storage(PolicyKind::Gdsf, capacity)));
            cache.cost_us = cost;
            for (step, key) in keys.into_iter().enumerate() {
                prop_assert_eq!(cache.access(key), naive.access(key), "step {}", step);
            }
        }
    }

    #[test]
    fn what_costs_more_stays_and_lower_classes_go_first() {
        let policy = Gdsf::new(storage(PolicyKind::Gdsf, 4));
        let mut blocks = FakeBlocks::new(4);
        blocks.cost_us = std::vec![500, 0, 40, 9];
        blocks.class[3] = 1;
        (0..4).for_each(|index| policy.insert(index, &blocks));
        assert_eq!(
            drained(&policy, &blocks),
            [2, 1, 0, 3],
            "16 tokens that nobody knows the cost of cost 160"
        );
    }

    #[test]
    fn unknown_costs_grow_with_the_place_in_the_prompt() {
        let mut blocks = FakeBlocks::new(3);
        blocks.depth = std::vec![0, 1024, u16::MAX];
        let costs = [0, 1, 2].map(|index| cost_us(index, &blocks));
        assert_eq!(costs, [160, 320, 160 + 10 * 1023 + 9]);
        blocks.cost_us[0] = u64::MAX;
        assert_eq!(cost_us(0, &blocks), COST_US_MAX);
    }
}
