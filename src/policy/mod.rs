//! Who goes when room is needed.
//!
//! A policy is a single-writer structure: the engine calls it only while it has the policy's turn, so it needs no
//! lock-free algorithm of its own. It lives in borrowed atomics (used relaxed, since the turn orders them), is bounded
//! by the number of blocks, and knows blocks by their place only.
//!
//! **Hits cost a policy nothing.** A hit notes the use clock in the block's own entry, and only if the clock has moved
//! since; a policy looks at that note when the block comes up as a victim, and not before.

mod lru;
mod s3fifo;

use crate::block::entry::Recency;
use crate::config::PolicyKind;
use crate::sync::atomic::{AtomicU32, AtomicU64};

pub(crate) use lru::Lru;
pub(crate) use s3fifo::S3Fifo;

/// What a policy may ask about a block.
pub(crate) trait Blocks {
    /// Eviction class at present: lower goes first, whatever the policy thinks.
    fn class(&self, index: u32) -> u8;
    /// When and how often the block was used.
    fn recency(&self, index: u32) -> Recency;
    /// Place in its request's chain.
    fn depth(&self, index: u32) -> u16;
    /// Which life of the place this is.
    fn generation(&self, index: u32) -> u32;
    /// A hash of the key.
    fn fingerprint(&self, index: u32) -> u64;
}

/// An eviction policy. All calls come from the holder of the policy's turn.
pub(crate) trait Policy {
    /// Takes note of a block: new, back from having been a victim that was pinned, or with a changed class.
    fn insert(&self, index: u32, blocks: &impl Blocks);
    /// Forgets a block, known or not.
    fn remove(&self, index: u32);
    /// The next victim, forgotten by the policy; `None` if it knows no block.
    fn victim(&self, blocks: &impl Blocks) -> Option<u32>;
}

/// The storage of a policy: per block a word and two half words, and fixed heads. All-zero is empty.
#[derive(Clone, Copy)]
pub(crate) struct Storage<'m> {
    pub(crate) words: &'m [AtomicU64],
    pub(crate) links: &'m [AtomicU32],
    pub(crate) heads: &'m [AtomicU32],
}

/// The policies, chosen at open.
pub(crate) enum AnyPolicy<'m> {
    Lru(Lru<'m>),
    S3Fifo(S3Fifo<'m>),
}

impl<'m> AnyPolicy<'m> {
    pub(crate) fn new(kind: PolicyKind, storage: Storage<'m>) -> Self {
        match kind {
            PolicyKind::Lru => Self::Lru(Lru::new(storage)),
            PolicyKind::S3Fifo => Self::S3Fifo(S3Fifo::new(storage)),
        }
    }
}

impl Policy for AnyPolicy<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        match self {
            Self::Lru(policy) => policy.insert(index, blocks),
            Self::S3Fifo(policy) => policy.insert(index, blocks),
        }
    }

    fn remove(&self, index: u32) {
        match self {
            Self::Lru(policy) => policy.remove(index),
            Self::S3Fifo(policy) => policy.remove(index),
        }
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        match self {
            Self::Lru(policy) => policy.victim(blocks),
            Self::S3Fifo(policy) => policy.victim(blocks),
        }
    }
}

#[cfg(all(test, not(loom)))]
pub(crate) mod testing {
    //! Storage and blocks for the policies' own tests.
    use super::*;
    use std::vec::Vec;

    /// Blocks whose facts a test sets.
    #[derive(Default)]
    pub(crate) struct FakeBlocks {
        pub(crate) class: Vec<u8>,
        pub(crate) recency: Vec<(u64, u16)>,
        pub(crate) depth: Vec<u16>,
        pub(crate) generation: Vec<u32>,
        pub(crate) fingerprint: Vec<u64>,
    }

    impl FakeBlocks {
        pub(crate) fn new(count: usize) -> Self {
            Self {
                class: std::vec![0; count],
                recency: std::vec![(0, 0); count],
                depth: std::vec![0; count],
                generation: std::vec![1; count],
                fingerprint: (0..count as u64)
                    .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
                    .collect(),
            }
        }
    }

    impl Blocks for FakeBlocks {
        fn class(&self, index: u32) -> u8 {
            self.class[index as usize]
        }
        fn recency(&self, index: u32) -> Recency {
            let (stamp, uses) = self.recency[index as usize];
            Recency::new(stamp, uses)
        }
        fn depth(&self, index: u32) -> u16 {
            self.depth[index as usize]
        }
        fn generation(&self, index: u32) -> u32 {
            self.generation[index as usize]
        }
        fn fingerprint(&self, index: u32) -> u64 {
            self.fingerprint[index as usize]
        }
    }

    /// Storage for `count` blocks, leaked: tests are short.
    pub(crate) fn storage(count: usize) -> Storage<'static> {
        Storage {
            words: Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect()),
            links: Vec::leak((0..2 * count).map(|_| AtomicU32::new(0)).collect()),
            heads: Vec::leak((0..1024).map(|_| AtomicU32::new(0)).collect()),
        }
    }
}
