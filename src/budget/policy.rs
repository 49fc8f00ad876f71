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
            // Records; leaves; scalars, expected requests, candidates, lists, and four tables of 62 kinds and 64 ages with
            // their sum.
            PolicyKind::Hazard => (4, 1, 16 + 32 + 32 + classes * 3 + 4 * 62 * 64 + 64),
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
}
