//! Who goes when room is needed.
//!
//! A policy is a single-writer structure: the engine calls it only while it has the policy's turn, so it needs no
//! lock-free algorithm of its own. It lives in borrowed atomics (used relaxed, since the turn orders them), is bounded
//! by the number of blocks, and knows blocks by their place only.
//!
//! **Hits cost a policy nothing.** A hit notes the use clock in the block's own entry, and only if the clock has moved
//! since; a policy looks at that note when the block comes up as a victim, and not before.

mod adaptive;
mod arc;
mod climber;
mod gdsf;
mod ghosts;
mod hazard;
mod heap;
mod importance;
mod lfu;
mod list;
mod lru;
mod reuse;
mod s3fifo;
mod shadow;
mod sieve;

use crate::block::entry::Recency;
use crate::config::PolicyKind;
use crate::sync::atomic::{AtomicU32, AtomicU64};

pub(crate) use crate::budget::Needs;
pub(crate) use adaptive::Adaptive;
pub(crate) use arc::Arc;
pub(crate) use climber::{ADMISSION_LOSS, CONFIDENCE};
pub use climber::{Climber, Outcome, Threshold};
pub(crate) use gdsf::Gdsf;
pub(crate) use hazard::Hazard;
pub(crate) use importance::Importance;
pub(crate) use lfu::Lfu;
pub(crate) use lru::Lru;
pub use reuse::{Departure, Reuse};
pub(crate) use s3fifo::S3Fifo;
pub use shadow::{Access, Shadow, ShadowStorage};
pub(crate) use sieve::Sieve;

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
    /// Place of the block's parent if that is there now; `None` for the first of a chain, and where the parent went.
    fn parent(&self, index: u32) -> Option<u32>;
    /// Low 32 bits of the parent's fingerprint, never 0; 0 if the block has no parent.
    fn parent_mark(&self, index: u32) -> u32;
    /// Now, in milliseconds of the engine's clock.
    fn now_ms(&self) -> u64;
    /// When the block was last used, in milliseconds of the engine's clock.
    fn used_ms(&self, index: u32) -> u64;
    /// Tokens in the block, saturating.
    fn tokens(&self, index: u32) -> u16;
    /// Cost of computing it again, in microseconds; 0 is unknown.
    fn cost_us(&self, index: u32) -> u64;
    /// Importance given by the caller, 0 if none.
    fn importance(&self, index: u32) -> u32;
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

/// The storage of a policy, as long as [`Needs`] says. All-zero is empty.
#[derive(Clone, Copy)]
pub(crate) struct Storage<'m> {
    pub(crate) words: &'m [AtomicU64],
    pub(crate) links: &'m [AtomicU32],
    pub(crate) heads: &'m [AtomicU32],
}

/// Declares the policies that are chosen at open.
macro_rules! policies {
    ($($name:ident),+) => {
        /// The policies, chosen at open. One for each engine, which has no heap to put the large ones on.
        #[allow(clippy::large_enum_variant)]
        pub(crate) enum AnyPolicy<'m> {
            $($name($name<'m>)),+
        }

        impl<'m> AnyPolicy<'m> {
            pub(crate) fn new(kind: PolicyKind, storage: Storage<'m>) -> Self {
                match kind {
                    $(PolicyKind::$name => Self::$name($name::new(storage))),+
                }
            }
        }

        impl Policy for AnyPolicy<'_> {
            fn insert(&self, index: u32, blocks: &impl Blocks) {
                match self {
                    $(Self::$name(policy) => policy.insert(index, blocks)),+
                }
            }

            fn remove(&self, index: u32) {
                match self {
                    $(Self::$name(policy) => policy.remove(index)),+
                }
            }

            fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
                match self {
                    $(Self::$name(policy) => policy.victim(blocks)),+
                }
            }
        }
    };
}

policies!(Lru, S3Fifo, Lfu, Arc, Sieve, Gdsf, Importance, Hazard, Adaptive);

impl AnyPolicy<'_> {
    /// Whether [`AnyPolicy::announce`] does anything.
    pub(crate) fn listens(&self) -> bool {
        match self {
            Self::Hazard(_) => true,
            Self::Adaptive(policy) => policy.listens(),
            _ => false,
        }
    }

    /// Tells of the missing blocks of a request, in order, by their fingerprints. The one call that needs no turn.
    pub(crate) fn announce(&self, missing: impl Iterator<Item = u64>, now_ms: u64) {
        match self {
            Self::Hazard(policy) => policy.announce(missing, now_ms),
            Self::Adaptive(policy) => policy.announce(missing, now_ms),
            _ => {}
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
        pub(crate) tokens: Vec<u16>,
        pub(crate) cost_us: Vec<u64>,
        pub(crate) importance: Vec<u32>,
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
                tokens: std::vec![16; count],
                cost_us: std::vec![0; count],
                importance: std::vec![0; count],
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
        fn parent(&self, _: u32) -> Option<u32> {
            None
        }
        fn parent_mark(&self, _: u32) -> u32 {
            0
        }
        fn now_ms(&self) -> u64 {
            0
        }
        fn used_ms(&self, _: u32) -> u64 {
            0
        }
        fn tokens(&self, index: u32) -> u16 {
            self.tokens[index as usize]
        }
        fn cost_us(&self, index: u32) -> u64 {
            self.cost_us[index as usize]
        }
        fn importance(&self, index: u32) -> u32 {
            self.importance[index as usize]
        }
    }

    /// Drives a policy as one thread of an engine would: places, stamps, uses.
    pub(crate) struct Driver<P> {
        pub(crate) policy: P,
        pub(crate) blocks: FakeBlocks,
        /// The cost of a key's block in microseconds.
        pub(crate) cost_us: fn(u32) -> u64,
        /// The importance of a key's block.
        pub(crate) importance: fn(u32) -> u32,
        keys: Vec<Option<u32>>,
        inserts: u64,
    }

    impl<P: Policy> Driver<P> {
        pub(crate) fn new(capacity: usize, policy: P) -> Self {
            Self {
                policy,
                blocks: FakeBlocks::new(capacity),
                cost_us: |_| 0,
                importance: |_| 0,
                keys: std::vec![None; capacity],
                inserts: 0,
            }
        }

        /// Uses the block of `key`, which lies as deep as its number, or puts it in; whether it was there.
        pub(crate) fn access(&mut self, key: u32) -> bool {
            let moment = 2 * self.inserts + 1;
            if let Some(at) = self.keys.iter().position(|&other| other == Some(key)) {
                let (stamp, uses) = &mut self.blocks.recency[at];
                *uses += u16::from(*stamp != moment);
                *stamp = moment;
                return true;
            }
            let at = match self.keys.iter().position(Option::is_none) {
                Some(at) => at,
                None => self.policy.victim(&self.blocks).unwrap() as usize,
            };
            self.inserts += 1;
            self.keys[at] = Some(key);
            self.blocks.generation[at] += 1;
            self.blocks.recency[at] = (2 * self.inserts, 0);
            self.blocks.depth[at] = key as u16;
            self.blocks.cost_us[at] = (self.cost_us)(key);
            self.blocks.importance[at] = (self.importance)(key);
            self.blocks.fingerprint[at] = u64::from(key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.policy.insert(at as u32, &self.blocks);
            false
        }
    }

    /// All victims that there are, in order.
    pub(crate) fn drained(policy: &impl Policy, blocks: &impl Blocks) -> Vec<u32> {
        core::iter::from_fn(|| policy.victim(blocks)).collect()
    }

    /// Storage of `kind` for `count` blocks, leaked: tests are short.
    pub(crate) fn storage(kind: PolicyKind, count: usize) -> Storage<'static> {
        let needs = Needs::of(kind, count as u64);
        let halves = |count: u64| -> &[AtomicU32] { Vec::leak((0..count).map(|_| AtomicU32::new(0)).collect()) };
        Storage {
            words: Vec::leak((0..needs.words).map(|_| AtomicU64::new(0)).collect()),
            links: halves(needs.links),
            heads: halves(needs.heads),
        }
    }
}
