//! Least recently used, within the lowest class that has blocks.
//!
//! A heap of four children a node, ordered by (class, use stamp, depth from the deepest). Keys are brought up to date
//! when their block reaches the top, not when it is hit: a stale key can only be too small, since uses move a block
//! away from the top, so the block that is on top with a true key is the least recently used one. Of blocks last used
//! at the same moment, as those of one request are, the deepest in the chain goes first: a prefix is useful without
//! its tail and never the other way round.
//!
//! Insert is O(1) on average (new blocks are the most recent ones), a victim costs O(log n).

use super::{Blocks, Policy, Storage};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const CHILDREN: usize = 4;
const STAMP_BITS: u32 = 44;
const DEPTH_BITS: u32 = 13;

/// An order of places in which neighbours lie far apart. Many blocks can have been used at the same moment, all of them
/// even; evicted from one end of the block table to the other they would leave the index full everywhere but there.
fn scattered(block: u32) -> u32 {
    block.wrapping_mul(0x9E37_79B1)
}

/// The least-recently-used policy.
pub(crate) struct Lru<'m> {
    /// By heap position: key.
    keys: &'m [AtomicU64],
    /// By heap position: block.
    blocks: &'m [AtomicU32],
    /// By block: heap position + 1; 0 is "not here".
    positions: &'m [AtomicU32],
    len: &'m AtomicU32,
}

impl<'m> Lru<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        let (blocks, positions) = storage.links.split_at(storage.links.len() / 2);
        Self {
            keys: storage.words,
            blocks,
            positions,
            len: &storage.heads[0],
        }
    }

    fn key(index: u32, blocks: &impl Blocks) -> u64 {
        let depth_max = (1 << DEPTH_BITS) - 1;
        let stamp = blocks.recency(index).stamp() & ((1 << STAMP_BITS) - 1);
        let shallowness = depth_max - u64::from(blocks.depth(index)).min(depth_max);
        u64::from(blocks.class(index)) << (STAMP_BITS + DEPTH_BITS) | stamp << DEPTH_BITS | shallowness
    }

    fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    fn set(&self, position: usize, key: u64, block: u32) {
        self.keys[position].store(key, Relaxed);
        self.blocks[position].store(block, Relaxed);
        self.positions[block as usize].store(position as u32 + 1, Relaxed);
    }

    /// Whether what is at `position` goes before `block` with `key`: by key, and equal keys in an order that is the
    /// same in every run.
    fn goes_before(&self, position: usize, key: u64, block: u32) -> bool {
        let other = self.keys[position].load(Relaxed);
        other < key || other == key && scattered(self.blocks[position].load(Relaxed)) < scattered(block)
    }

    /// Puts `block` with `key` at `position` or above.
    fn rise(&self, mut position: usize, key: u64, block: u32) {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            if self.goes_before(parent, key, block) {
                break;
            }
            self.set(
                position,
                self.keys[parent].load(Relaxed),
                self.blocks[parent].load(Relaxed),
            );
            position = parent;
        }
        self.set(position, key, block);
    }

    /// Puts `block` with `key` at `position` or below.
    fn sink(&self, mut position: usize, key: u64, block: u32) {
        let len = self.len();
        loop {
            let first = position * CHILDREN + 1;
            let last = (first + CHILDREN).min(len);
            let next = (first..last).reduce(|least, child| {
                let (key, block) = (self.keys[least].load(Relaxed), self.blocks[least].load(Relaxed));
                if self.goes_before(child, key, block) {
                    child
                } else {
                    least
                }
            });
            let Some(child) = next.filter(|&child| self.goes_before(child, key, block)) else {
                break;
            };
            self.set(
                position,
                self.keys[child].load(Relaxed),
                self.blocks[child].load(Relaxed),
            );
            position = child;
        }
        self.set(position, key, block);
    }

    fn place(&self, position: usize, key: u64, block: u32) {
        let rises = position > 0 && !self.goes_before((position - 1) / CHILDREN, key, block);
        if rises {
            self.rise(position, key, block);
        } else {
            self.sink(position, key, block);
        }
    }
}

impl Policy for Lru<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let key = Self::key(index, blocks);
        match self.positions[index as usize].load(Relaxed) {
            0 => {
                let len = self.len();
                self.len.store(len as u32 + 1, Relaxed);
                self.rise(len, key, index);
            }
            position => self.place(position as usize - 1, key, index),
        }
    }

    fn remove(&self, index: u32) {
        let position = self.positions[index as usize].swap(0, Relaxed);
        if position == 0 {
            return;
        }
        let last = self.len() - 1;
        self.len.store(last as u32, Relaxed);
        if position as usize - 1 != last {
            self.place(
                position as usize - 1,
                self.keys[last].load(Relaxed),
                self.blocks[last].load(Relaxed),
            );
        }
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        // Each round puts one block where it belongs; more rounds than blocks means that hits come faster than this
        // loop, and then any block on top will do.
        for _ in 0..self.len() {
            let block = self.blocks[0].load(Relaxed);
            let key = Self::key(block, blocks);
            if key == self.keys[0].load(Relaxed) {
                break;
            }
            self.sink(0, key, block);
        }
        let block = (self.len() > 0).then(|| self.blocks[0].load(Relaxed))?;
        self.remove(block);
        Some(block)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{FakeBlocks, storage};
    use super::*;
    use crate::config::PolicyKind;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// Against the obvious: sort by (class, stamp, deepest first) and take the first.
        #[test]
        fn takes_what_a_sorted_list_would(
            steps in prop::collection::vec((0..4_u8, 0..24_u32, 0..3_u8, 0..5_u16), 1..300)
        ) {
            let lru = Lru::new(storage(PolicyKind::Lru, 24));
            let mut blocks = FakeBlocks::new(24);
            let mut known: Vec<u32> = Vec::new();
            for (clock, (action, index, class, depth)) in steps.into_iter().enumerate() {
                let at = index as usize;
                match action {
                    0 => {
                        blocks.class[at] = class;
                        blocks.depth[at] = depth;
                        blocks.recency[at].0 = clock as u64 / 3;
                        lru.insert(index, &blocks);
                        if !known.contains(&index) {
                            known.push(index);
                        }
                    }
                    1 => {
                        // A hit: the policy is not told.
                        blocks.recency[at].0 = clock as u64 / 3;
                    }
                    2 => {
                        lru.remove(index);
                        known.retain(|&other| other != index);
                    }
                    _ => {
                        let least = known.iter().copied().min_by_key(|&i| (Lru::key(i, &blocks), scattered(i)));
                        let victim = lru.victim(&blocks);
                        prop_assert_eq!(victim, least);
                        known.retain(|&other| Some(other) != victim);
                    }
                }
            }
            let mut rest: Vec<u32> = core::iter::from_fn(|| lru.victim(&blocks)).collect();
            let keys: Vec<(u64, u32)> = rest.iter().map(|&i| (Lru::key(i, &blocks), scattered(i))).collect();
            prop_assert!(keys.is_sorted());
            rest.sort_unstable();
            known.sort_unstable();
            prop_assert_eq!(rest, known);
        }
    }
}
