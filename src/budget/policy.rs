//! How much a policy needs to keep its books.

use crate::config::PolicyKind;
use crate::limits::CLASSES_COUNT;

/// Counts of what a policy lives in; all-zero is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Words of 8 bytes.
    pub(crate) words: u64,
    /// Half words of 4 bytes that grow with the blocks.
    pub(crate) links: u64,
    /// Half words of 4 bytes of the fixed part.
    pub(crate) heads: u64,
}

impl Needs {
    /// What `kind` needs for `entries_count` places of blocks.
    pub(crate) const fn of(kind: PolicyKind, entries_count: u64) -> Self {
        let classes = CLASSES_COUNT as u64;
        let (words, links, heads) = match kind {
            PolicyKind::Lru => (1, 2, 1),
            PolicyKind::S3Fifo => (1, 2, classes * 6 + 1),
            PolicyKind::Lfu => (3, 3, 19),
            PolicyKind::Arc => (3, 3, classes * 6 + 13),
            PolicyKind::Sieve => (1, 1, classes * 4),
            PolicyKind::Gdsf => (3, 4, 3),
            PolicyKind::Importance => (2, 2, 1),
            // Records; leaves; scalars, expected requests, candidates, lists, and four tables of 62 kinds and 64 ages
            // with their sum, and what that says.
            PolicyKind::Adaptive => return Self::of_adaptive(entries_count),
            PolicyKind::Hazard => (4, 1, 14 + 32 + 32 + classes * 3 + 4 * 62 * 64 + 2 * 64),
        };
        // One ghost more than there are places.
        let (extra_words, extra_links) = match kind {
            PolicyKind::Arc => (2, 1),
            // Two ghosts a place, in whole groups.
            PolicyKind::Hazard => ((2 * entries_count).next_multiple_of(8), 0),
            _ => (0, 0),
        };
        Self {
            words: words * entries_count + extra_words,
            links: links * entries_count + extra_links,
            heads,
        }
    }

    /// Words of a shadow before its places.
    pub(crate) const SHADOW_HEAD_WORDS: u64 = 8;
    /// Words of a shadow's place: a cache line.
    pub(crate) const SHADOW_PLACE_WORDS: u64 = 8;
    /// Cells of a shadow's table of fingerprints for each place, so that at most half of them are taken.
    pub(crate) const SHADOW_CELLS: u64 = 2;

    /// What a shadow of `capacity` places under `kind` needs, with what the policy in it needs.
    pub(crate) const fn of_shadow(kind: PolicyKind, capacity: u64) -> Self {
        let needs = Self::of(kind, capacity);
        Self {
            words: Self::SHADOW_HEAD_WORDS + (Self::SHADOW_PLACE_WORDS + Self::SHADOW_CELLS) * capacity + needs.words,
            ..needs
        }
    }

    /// The policies that `adaptive` chooses from share their storage, but for the fixed parts.
    const fn of_adaptive(entries_count: u64) -> Self {
        let sample = AdaptiveSample::of(entries_count);
        let mut needs = Self {
            words: entries_count.div_ceil(64) + sample.entries * AdaptiveSample::ENTRY_WORDS,
            links: 0,
            heads: AdaptiveSample::HEADS + 2 * sample.entries,
        };
        let (mut words, mut links, mut member) = (0, 0, 0);
        while member < ADAPTIVE_MEMBERS.len() {
            let main = Self::of(ADAPTIVE_MEMBERS[member], entries_count);
            words = if main.words > words { main.words } else { words };
            links = if main.links > links { main.links } else { links };
            let shadow = Self::of_shadow(ADAPTIVE_MEMBERS[member], sample.capacity);
            needs.words += shadow.words;
            needs.heads += main.heads + shadow.links + shadow.heads;
            member += 1;
        }
        needs.words += words;
        needs.links += links;
        needs
    }
}

/// The policies that `adaptive` chooses from; it begins with the first.
pub(crate) const ADAPTIVE_MEMBERS: [PolicyKind; 3] = [PolicyKind::Hazard, PolicyKind::S3Fifo, PolicyKind::Lru];

/// How much of the cache `adaptive` samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdaptiveSample {
    /// Places of each shadow.
    pub(crate) capacity: u64,
    /// Sampled blocks that are kept track of: they are not exactly as many.
    pub(crate) entries: u64,
}

impl AdaptiveSample {
    /// One place of so many is sampled, so that a policy and its shadows are within 64 bytes a block.
    const SHARE: u64 = 512;
    /// One of so many where that would be too few for anything but chance to decide.
    const SHARE_FEW: u64 = 8;
    /// Fewest places of a shadow, and where there are more than that in any case.
    const CAPACITY_MIN: u64 = 256;
    const CAPACITY_FEW: u64 = 1024;
    /// Words of a sampled block.
    pub(crate) const ENTRY_WORDS: u64 = 6;
    /// Half words of the fixed part.
    pub(crate) const HEADS: u64 = 32;

    /// The sample for `entries_count` places of blocks.
    pub(crate) const fn of(entries_count: u64) -> Self {
        let mut capacity = entries_count / Self::SHARE_FEW;
        if capacity > Self::CAPACITY_FEW {
            capacity = Self::CAPACITY_FEW;
        }
        if capacity < entries_count / Self::SHARE {
            capacity = entries_count / Self::SHARE;
        }
        if capacity < Self::CAPACITY_MIN {
            capacity = Self::CAPACITY_MIN;
        }
        if capacity > entries_count {
            capacity = entries_count;
        }
        Self {
            capacity,
            entries: capacity + capacity / 4 + 16,
        }
    }
}
