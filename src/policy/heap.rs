//! A heap of blocks by rank, for policies that evict the one that ranks lowest.
//!
//! Four children a node. Ranks are brought up to date when their block reaches the top: what a policy learns late must
//! only ever raise a rank, so that the block on top with a true rank is the lowest.

use super::Blocks;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const CHILDREN: usize = 4;
/// Bits of a rank's value beside the class.
pub(super) const VALUE_BITS: u32 = 57;
const DEPTH_BITS: u32 = 13;

/// Where a block stands: class, then the policy's value, then the time of its last use, then the depth from the
/// deepest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    major: u64,
    minor: u64,
}

impl Rank {
    /// The rank of a block whose value is `value`, saturating at [`VALUE_BITS`] bits.
    pub(super) fn new(value: u64, index: u32, blocks: &impl Blocks) -> Self {
        let value = value.min((1 << VALUE_BITS) - 1);
        let depth_max = (1 << DEPTH_BITS) - 1;
        let shallowness = depth_max - u64::from(blocks.depth(index)).min(depth_max);
        Self {
            major: u64::from(blocks.class(index)) << VALUE_BITS | value,
            minor: blocks.recency(index).stamp() << DEPTH_BITS | shallowness,
        }
    }

    /// The policy's part.
    pub(super) fn value(self) -> u64 {
        self.major & ((1 << VALUE_BITS) - 1)
    }
}

/// The heap over borrowed storage: two words and two half words a block, and one for the length.
pub(super) struct Heap<'m> {
    /// By position.
    majors: &'m [AtomicU64],
    minors: &'m [AtomicU64],
    blocks: &'m [AtomicU32],
    /// By block: position + 1; 0 is "not here".
    positions: &'m [AtomicU32],
    len: &'m AtomicU32,
}

impl<'m> Heap<'m> {
    pub(super) fn new(words: &'m [AtomicU64], links: &'m [AtomicU32], len: &'m AtomicU32) -> Self {
        let (majors, minors) = words.split_at(words.len() / 2);
        let (blocks, positions) = links.split_at(links.len() / 2);
        Self {
            majors,
            minors,
            blocks,
            positions,
            len,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    fn at(&self, position: usize) -> (Rank, u32) {
        let rank = Rank {
            major: self.majors[position].load(Relaxed),
            minor: self.minors[position].load(Relaxed),
        };
        (rank, self.blocks[position].load(Relaxed))
    }

    fn set(&self, position: usize, (rank, block): (Rank, u32)) {
        self.majors[position].store(rank.major, Relaxed);
        self.minors[position].store(rank.minor, Relaxed);
        self.blocks[position].store(block, Relaxed);
        self.positions[block as usize].store(position as u32 + 1, Relaxed);
    }

    /// By rank, and equal ranks in an order that is the same in every run and scatters neighbours.
    fn before((rank, block): (Rank, u32), (other, other_block): (Rank, u32)) -> bool {
        let scattered = |block: u32| block.wrapping_mul(0x9E37_79B1);
        (rank, scattered(block)) < (other, scattered(other_block))
    }

    fn rise(&self, mut position: usize, node: (Rank, u32)) {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            if Self::before(self.at(parent), node) {
                break;
            }
            self.set(position, self.at(parent));
            position = parent;
        }
        self.set(position, node);
    }

    fn sink(&self, mut position: usize, node: (Rank, u32)) {
        loop {
            let first = position * CHILDREN + 1;
            let last = (first + CHILDREN).min(self.len());
            let least = (first..last).map(|child| (child, self.at(child)));
            let Some((child, lower)) = least.reduce(|a, b| if Self::before(b.1, a.1) { b } else { a }) else {
                break;
            };
            if !Self::before(lower, node) {
                break;
            }
            self.set(position, lower);
            position = child;
        }
        self.set(position, node);
    }

    fn place(&self, position: usize, node: (Rank, u32)) {
        if position > 0 && Self::before(node, self.at((position - 1) / CHILDREN)) {
            self.rise(position, node);
        } else {
            self.sink(position, node);
        }
    }

    /// Enters a block, or gives it another rank.
    pub(super) fn put(&self, index: u32, rank: Rank) {
        match self.positions[index as usize].load(Relaxed) {
            0 => {
                let len = self.len();
                self.len.store(len as u32 + 1, Relaxed);
                self.rise(len, (rank, index));
            }
            position => self.place(position as usize - 1, (rank, index)),
        }
    }

    /// Takes a block out, if it is here.
    pub(super) fn remove(&self, index: u32) {
        let position = self.positions[index as usize].swap(0, Relaxed) as usize;
        if position == 0 {
            return;
        }
        let last = self.len() - 1;
        self.len.store(last as u32, Relaxed);
        if position - 1 != last {
            self.place(position - 1, self.at(last));
        }
    }

    /// Takes the lowest out; `rank` says what a block's rank is now.
    pub(super) fn take_lowest(&self, rank: impl Fn(u32) -> Rank) -> Option<(Rank, u32)> {
        // Each round puts one block where it belongs; more rounds than blocks means that hits come faster than this
        // loop, and then any block on top will do.
        for _ in 0..self.len() {
            let (old, block) = self.at(0);
            let new = rank(block);
            if new == old {
                break;
            }
            self.sink(0, (new, block));
        }
        let lowest = (self.len() > 0).then(|| self.at(0))?;
        self.remove(lowest.1);
        Some(lowest)
    }
}

/// Which uses of a block a policy has taken account of: `generation << 16 | uses`.
#[derive(Clone, Copy)]
pub(super) struct Seen(u32);

impl Seen {
    pub(super) fn now(index: u32, blocks: &impl Blocks) -> Self {
        Self(blocks.generation(index) << 16 | u32::from(blocks.recency(index).uses()))
    }
    pub(super) fn load(word: &AtomicU32) -> Self {
        Self(word.load(Relaxed))
    }
    pub(super) fn store(self, word: &AtomicU32) {
        word.store(self.0, Relaxed);
    }
    /// Whether both are of one life of the place.
    pub(super) fn same_life(self, other: Self) -> bool {
        self.0 >> 16 == other.0 >> 16
    }
    /// Uses since `earlier`.
    pub(super) fn uses_since(self, earlier: Self) -> u16 {
        (self.0 as u16).wrapping_sub(earlier.0 as u16)
    }
}
