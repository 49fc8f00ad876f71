//! `min`: the best that any choice could have kept, known only afterwards.
//!
//! Belady's algorithm with bypass (L. A. Belady, "A study of replacement algorithms for a virtual-storage computer",
//! IBM Systems Journal 5(2), 1966): after each request, of the blocks that are there and those of the request the ones
//! go that are needed last or never, the newcomers as well; of those needed by the same request the deepest. Where a
//! block has one parent, that keeps prefixes whole, since a parent is needed no later than its child; then no choice
//! has more hits, counted in blocks, with or without the rule that a hit needs all before it. Where blocks have no one
//! parent, or the last of a request is short, the prefix-token hit ratio of another choice could be a little higher.

use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;

use super::score::Score;
use super::stream::{Mixed, Request, Source, Stream};
use crate::trace::TraceError;

/// No request: never again.
const NEVER: u32 = u32::MAX;
/// Entries of the heap beyond six times the capacity at which those that mean nothing any more are thrown out.
const STALE_MAX: usize = 100_000;

/// A whole trace in memory: eight bytes an access, and what counts as a table of all different blocks.
#[derive(Debug, Default)]
pub struct Whole {
    requests: Vec<(Request, usize)>,
    /// Of each access, the block, numbered from 0.
    blocks: Vec<u32>,
    /// Of each access, the next request that needs the block.
    next_use: Vec<u32>,
    blocks_count: usize,
}

impl Whole {
    /// Reads a trace.
    ///
    /// # Errors
    /// What is wrong with it, with the line; a trace of more than four thousand million requests or blocks.
    pub fn read(source: &Source) -> Result<Self, TraceError> {
        let mut whole = Self::default();
        let mut numbers: HashMap<u64, u32, BuildHasherDefault<Mixed>> = HashMap::default();
        let mut stream = Stream::open(source)?;
        while let Some(batch) = stream.next()? {
            for (request, fingerprints) in batch.requests() {
                whole.requests.push((*request, fingerprints.len()));
                for &fingerprint in fingerprints {
                    let number = numbers.len() as u32;
                    whole.blocks.push(*numbers.entry(fingerprint).or_insert(number));
                }
            }
            if whole.requests.len().max(numbers.len()) >= NEVER as usize {
                return Err(TraceError::at(&source.path, 0, "the trace is too long for min"));
            }
        }
        whole.blocks_count = numbers.len();
        whole.look_ahead();
        Ok(whole)
    }

    fn look_ahead(&mut self) {
        self.next_use = vec![NEVER; self.blocks.len()];
        let mut needed = vec![NEVER; self.blocks_count];
        let mut end = self.blocks.len();
        for (number, &(_, count)) in self.requests.iter().enumerate().rev() {
            let first = end - count;
            for place in first..end {
                self.next_use[place] = needed[self.blocks[place] as usize];
            }
            for &block in &self.blocks[first..end] {
                needed[block as usize] = number as u32;
            }
            end = first;
        }
    }

    /// The best score at a capacity in blocks, with full blocks of `block_tokens`.
    pub fn min(&self, capacity: u32, block_tokens: u64) -> Score {
        let capacity = capacity as usize;
        let mut score = Score::default();
        // Of each block, the next request that needs it, if it is there.
        let mut resident: Vec<Option<u32>> = vec![None; self.blocks_count];
        let mut resident_count = 0;
        // The farthest first, of those the deepest. An entry that does not agree with `resident` is stale.
        let mut farthest: BinaryHeap<(u32, u32, u32)> = BinaryHeap::new();
        let mut first = 0;
        for (request, count) in &self.requests {
            let places = first..first + count;
            first = places.end;
            let mut counting = score.request();
            for (depth, &block) in self.blocks[places.clone()].iter().enumerate() {
                let hit = resident[block as usize].is_some();
                counting.block(hit, request.tokens(depth, block_tokens));
            }
            for (depth, place) in places.enumerate() {
                let (block, next) = (self.blocks[place], self.next_use[place]);
                let before = &mut resident[block as usize];
                resident_count -= usize::from(before.is_some());
                *before = (next != NEVER).then_some(next);
                if next != NEVER {
                    resident_count += 1;
                    farthest.push((next, depth as u32, block));
                }
            }
            while resident_count > capacity
                && let Some((next, _, block)) = farthest.pop()
            {
                if resident[block as usize] == Some(next) {
                    resident[block as usize] = None;
                    resident_count -= 1;
                }
            }
            if farthest.len() > 6 * capacity + STALE_MAX {
                farthest.retain(|&(next, _, block)| resident[block as usize] == Some(next));
            }
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK_TOKENS: u64 = 4;

    /// A trace of requests for blocks of a tree: a block is a path, its number that of the path.
    fn whole(requests: &[Vec<u8>]) -> (Whole, usize) {
        let mut paths: Vec<&[u8]> = Vec::new();
        let mut whole = Whole::default();
        for path in requests {
            // Batches make requests; here one is made of the line that says the same.
            let line = crate::trace::Line {
                input_length: path.len() as u64 * BLOCK_TOKENS,
                hash_ids: path.iter().map(|&step| u64::from(step)).collect(),
                ..Default::default()
            };
            whole.requests.push((Request::of(&line), path.len()));
            for depth in 1..=path.len() {
                let number = paths
                    .iter()
                    .position(|known| *known == &path[..depth])
                    .unwrap_or_else(|| {
                        paths.push(&path[..depth]);
                        paths.len() - 1
                    });
                whole.blocks.push(number as u32);
            }
        }
        whole.blocks_count = paths.len();
        whole.look_ahead();
        (whole, paths.len())
    }

    /// Most hits and most hits of prefixes, by trying everything: after a request any of the blocks that were there and
    /// of its own may stay.
    fn brute_force(whole: &Whole, blocks_count: usize, capacity: u32) -> (u64, u64) {
        let sets = 1_usize << blocks_count;
        let mut best: Vec<Option<(u64, u64)>> = vec![None; sets];
        best[0] = Some((0, 0));
        let mut first = 0;
        for (_, count) in &whole.requests {
            let blocks = &whole.blocks[first..first + count];
            first += count;
            let own = blocks.iter().fold(0_usize, |set, block| set | 1 << block);
            let mut after: Vec<Option<(u64, u64)>> = vec![None; sets];
            for (before, sum) in best.iter().enumerate() {
                let Some((hits, prefixes)) = *sum else {
                    continue;
                };
                let there = |block: &&u32| before & (1 << **block) != 0;
                let hits = hits + blocks.iter().filter(there).count() as u64;
                let prefixes = prefixes + blocks.iter().take_while(there).count() as u64;
                let may_stay = before | own;
                // Each subset of what may stay, from the largest number to none.
                let mut kept = may_stay;
                loop {
                    if kept.count_ones() <= capacity {
                        let known = after[kept].get_or_insert((0, 0));
                        *known = (known.0.max(hits), known.1.max(prefixes));
                    }
                    if kept == 0 {
                        break;
                    }
                    kept = (kept - 1) & may_stay;
                }
            }
            best = after;
        }
        let all = best.into_iter().flatten();
        all.fold((0, 0), |sum, other| (sum.0.max(other.0), sum.1.max(other.1)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn nothing_keeps_more(
            requests in proptest::collection::vec(proptest::collection::vec(0_u8..2, 1..4), 1..9),
            capacity in 1_u32..6,
        ) {
            let (whole, blocks_count) = whole(&requests);
            prop_assume!(blocks_count <= 9);
            let score = whole.min(capacity, BLOCK_TOKENS);
            let (hits, prefixes) = brute_force(&whole, blocks_count, capacity);
            prop_assert_eq!((score.hits, score.prefix_tokens), (hits, prefixes * BLOCK_TOKENS));
            prop_assert_eq!(score.accesses, requests.iter().map(Vec::len).sum::<usize>() as u64);
        }
    }

    #[test]
    fn what_comes_once_is_never_kept() {
        let requests: Vec<Vec<u8>> = [0, 1, 2, 3, 0, 4, 5, 0].into_iter().map(|block| vec![block]).collect();
        let (whole, _) = whole(&requests);
        assert_eq!(whole.min(1, BLOCK_TOKENS).hits, 2);
    }
}
