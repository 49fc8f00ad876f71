//! What is remembered of blocks that are gone: fingerprints in lists, the oldest first, found by hashing.

use super::list::{LIST_WORDS, Links, List};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Half words of the ghosts in the fixed part: two lists, the first free node and nodes ever used.
pub(super) const GHOST_WORDS: usize = 2 * LIST_WORDS + 2;
/// Ghosts beyond the number of places: one that is added before another one goes.
pub(super) const GHOSTS_EXTRA: usize = 1;

const FREE: usize = 2 * LIST_WORDS;
const USED: usize = FREE + 1;
/// Set in a node's chain where it is in the second list.
const SECOND: u32 = 1 << 31;

/// Two lists of fingerprints that share their nodes; all-zero is empty.
pub(super) struct Ghosts<'m> {
    links: Links<'m>,
    fingerprints: &'m [AtomicU64],
    /// By node: the next of the same bucket, or of the free ones, + 1, and in which list it is.
    chains: &'m [AtomicU32],
    /// First node of each bucket + 1.
    buckets: &'m [AtomicU32],
    heads: &'m [AtomicU32],
}

impl<'m> Ghosts<'m> {
    /// `words` has two and `chains` one for each node.
    pub(super) fn new(
        words: &'m [AtomicU64],
        chains: &'m [AtomicU32],
        buckets: &'m [AtomicU32],
        heads: &'m [AtomicU32],
    ) -> Self {
        let (links, fingerprints) = words.split_at(chains.len());
        Self {
            links: Links::new(links),
            fingerprints,
            chains,
            buckets,
            heads,
        }
    }

    /// One of the two lists.
    pub(super) fn list(&self, second: bool) -> List<'m> {
        List::new(self.heads, usize::from(second) * LIST_WORDS, self.links)
    }

    fn bucket(&self, fingerprint: u64) -> &'m AtomicU32 {
        &self.buckets[((u128::from(fingerprint) * self.buckets.len() as u128) >> 64) as usize]
    }

    /// The word that leads to the node with this fingerprint, and the node.
    fn find(&self, fingerprint: u64) -> Option<(&'m AtomicU32, u32)> {
        let mut word = self.bucket(fingerprint);
        loop {
            let node = (word.load(Relaxed) & !SECOND).checked_sub(1)?;
            if self.fingerprints[node as usize].load(Relaxed) == fingerprint {
                return Some((word, node));
            }
            word = &self.chains[node as usize];
        }
    }

    /// Forgets a fingerprint; in which list it was, the second one or not.
    pub(super) fn take(&self, fingerprint: u64) -> Option<bool> {
        let (word, node) = self.find(fingerprint)?;
        let chain = &self.chains[node as usize];
        let value = chain.load(Relaxed);
        // The word keeps the mark of its own node.
        word.store(word.load(Relaxed) & SECOND | value & !SECOND, Relaxed);
        let second = value & SECOND != 0;
        self.list(second).unlink(node);
        chain.store(self.heads[FREE].load(Relaxed), Relaxed);
        self.heads[FREE].store(node + 1, Relaxed);
        Some(second)
    }

    /// Forgets the oldest of a list.
    pub(super) fn drop_oldest(&self, second: bool) {
        if let Some(node) = self.list(second).first() {
            self.take(self.fingerprints[node as usize].load(Relaxed));
        }
    }

    /// Remembers a fingerprint as the newest of a list. Where there is no node left, the oldest of the longer list
    /// goes.
    pub(super) fn add(&self, fingerprint: u64, second: bool) {
        self.take(fingerprint);
        if self.heads[FREE].load(Relaxed) == 0 && self.heads[USED].load(Relaxed) as usize == self.chains.len() {
            self.drop_oldest(self.list(true).len() > self.list(false).len());
        }
        let node = match self.heads[FREE].load(Relaxed) {
            0 => {
                let used = self.heads[USED].load(Relaxed);
                self.heads[USED].store(used + 1, Relaxed);
                used
            }
            free => {
                self.heads[FREE].store(self.chains[free as usize - 1].load(Relaxed), Relaxed);
                free - 1
            }
        };
        let bucket = self.bucket(fingerprint);
        let mark = if second { SECOND } else { 0 };
        self.fingerprints[node as usize].store(fingerprint, Relaxed);
        self.chains[node as usize].store(bucket.load(Relaxed) | mark, Relaxed);
        bucket.store(node + 1, Relaxed);
        self.list(second).append(node);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    proptest! {
        /// Against two queues; few buckets, so that chains are long.
        #[test]
        fn remembers_what_two_queues_remember(
            steps in prop::collection::vec((0..4_u8, 0..12_u64, any::<bool>()), 1..400)
        ) {
            const NODES: usize = 6;
            let words: Vec<AtomicU64> = (0..2 * NODES).map(|_| AtomicU64::new(0)).collect();
            let halves: Vec<AtomicU32> = (0..NODES + 2 + GHOST_WORDS).map(|_| AtomicU32::new(0)).collect();
            let (chains, rest) = halves.split_at(NODES);
            let (buckets, heads) = rest.split_at(2);
            let ghosts = Ghosts::new(&words, chains, buckets, heads);
            let mut naive = [VecDeque::new(), VecDeque::new()];
            for (action, key, second) in steps {
                let fingerprint = key << 60 | key;
                let known = naive.iter().position(|queue| queue.contains(&key));
                match action {
                    0 | 1 => {
                        naive.iter_mut().for_each(|queue| queue.retain(|&other| other != key));
                        if naive[0].len() + naive[1].len() == NODES {
                            let longer = usize::from(naive[1].len() > naive[0].len());
                            naive[longer].pop_front();
                        }
                        naive[usize::from(second)].push_back(key);
                        ghosts.add(fingerprint, second);
                    }
                    2 => {
                        prop_assert_eq!(ghosts.take(fingerprint).map(usize::from), known);
                        naive.iter_mut().for_each(|queue| queue.retain(|&other| other != key));
                    }
                    _ => {
                        ghosts.drop_oldest(second);
                        naive[usize::from(second)].pop_front();
                    }
                }
                for second in [false, true] {
                    prop_assert_eq!(ghosts.list(second).len() as usize, naive[usize::from(second)].len());
                }
            }
            for key in 0..12 {
                let known = naive.iter().position(|queue| queue.contains(&key));
                prop_assert_eq!(ghosts.take(key << 60 | key).map(usize::from), known);
            }
        }
    }
}
