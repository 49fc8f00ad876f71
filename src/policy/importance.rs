//! Importance: the block goes that is worth least to the caller.
//!
//! For training, where the next epoch's order or weights are known and recency says nothing: the caller gives every
//! key an importance, and what is least important goes first. A newcomer that is less important than all others is
//! the next to go. Of equals the one that was used least recently goes first, then the deepest of a chain. Within an
//! eviction class only; the lowest class goes first.
//!
//! When importances change, whoever changes them inserts the blocks again. Insert and victim cost O(log n).

use super::heap::{Heap, Rank};
use super::{Blocks, Policy, Storage};

/// The policy of given importance.
pub(crate) struct Importance<'m> {
    heap: Heap<'m>,
}

impl<'m> Importance<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        Self {
            heap: Heap::new(storage.words, storage.links, &storage.heads[0]),
        }
    }

    fn rank(index: u32, blocks: &impl Blocks) -> Rank {
        Rank::new(blocks.importance(index).into(), index, blocks)
    }
}

impl Policy for Importance<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        self.heap.put(index, Self::rank(index, blocks));
    }

    fn remove(&self, index: u32) {
        self.heap.remove(index);
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        let (_, index) = self.heap.take_lowest(|index| Self::rank(index, blocks))?;
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

    fn importance(key: u32) -> u32 {
        key * 7 % 5
    }

    proptest! {
        /// Against a list that is searched.
        #[test]
        fn hits_what_a_searched_list_hits(keys in prop::collection::vec(0..30_u32, 1..600), capacity in 1..16_usize) {
            let mut cache = Driver::new(capacity, Importance::new(storage(PolicyKind::Importance, capacity)));
            cache.importance = importance;
            let mut naive: Vec<(u32, usize)> = Vec::new();
            let mut inserts = 0;
            for (step, key) in keys.into_iter().enumerate() {
                let known = naive.iter_mut().find(|block| block.0 == key);
                prop_assert_eq!(cache.access(key), known.is_some(), "step {}", step);
                match known {
                    Some(block) => block.1 = 2 * inserts + 1,
                    None => {
                        if naive.len() == capacity {
                            let least = naive.iter().copied().min_by_key(|&(key, used)| (importance(key), used, !key));
                            naive.retain(|&block| Some(block) != least);
                        }
                        inserts += 1;
                        naive.push((key, 2 * inserts));
                    }
                }
            }
        }

        /// Importances that all change at once, followed by the insertions that this takes.
        #[test]
        fn the_order_is_exact_after_a_change(
            before in prop::collection::vec((any::<u32>(), 0..2_u8), 24),
            after in prop::collection::vec(any::<u32>(), 24),
        ) {
            let policy = Importance::new(storage(PolicyKind::Importance, 24));
            let mut blocks = FakeBlocks::new(24);
            (blocks.importance, blocks.class) = before.into_iter().unzip();
            (0..24).for_each(|index| policy.insert(index, &blocks));
            policy.remove(5);
            blocks.importance = after;
            (0..24).filter(|&index| index != 5).for_each(|index| policy.insert(index, &blocks));
            let order = drained(&policy, &blocks);
            prop_assert_eq!(order.len(), 23);
            prop_assert!(order.is_sorted_by_key(|&at| (blocks.class[at as usize], blocks.importance[at as usize])));
        }
    }

    #[test]
    fn a_newcomer_of_less_importance_goes_next() {
        let policy = Importance::new(storage(PolicyKind::Importance, 3));
        let mut blocks = FakeBlocks::new(3);
        blocks.importance = std::vec![5, 9, 4];
        blocks.recency[2].0 = 100;
        (0..3).for_each(|index| policy.insert(index, &blocks));
        assert_eq!(drained(&policy, &blocks), [2, 0, 1]);
    }
}
