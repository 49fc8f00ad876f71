//! The blocks that are sampled, in the order in which they came, and what is not yet told of them.

use crate::budget::AdaptiveSample;
use crate::policy::list::{LIST_WORDS, Links, List};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const ENTRY_WORDS: usize = AdaptiveSample::ENTRY_WORDS as usize;
/// Half words of the fixed part: the list, entries ever used, the first free one.
pub(super) const HEADS: usize = LIST_WORDS + 2;
const EVER: usize = LIST_WORDS;
const FREE: usize = LIST_WORDS + 1;

/// It has come, and that is not told yet.
pub(super) const FRESH: u8 = 1;
/// It has gone; `uses` are those not yet told.
pub(super) const GONE: u8 = 1 << 1;
/// Its class or its importance changed.
pub(super) const CHANGED: u8 = 1 << 2;

/// A sampled block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fingerprint: u64,
    /// Fingerprint of the nearest block before it that is sampled, 0 for none.
    pub(super) parent: u64,
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) depth: u16,
    pub(super) tokens: u16,
    pub(super) cost_us: u32,
    pub(super) importance: u32,
    /// Uses of the block that are told.
    pub(super) uses: u16,
    pub(super) class: u8,
    pub(super) flags: u8,
}

/// All of them. Found by place, as long as they are there.
pub(super) struct Sample<'m> {
    words: &'m [AtomicU64],
    heads: &'m [AtomicU32],
    /// First entry + 1 of those whose places have the same hash; as many as there are entries.
    buckets: &'m [AtomicU32],
    /// The next one of those, or the next free one.
    next: &'m [AtomicU32],
}

impl<'m> Sample<'m> {
    /// Over `ENTRY_WORDS` words an entry, [`HEADS`] half words, and two half words an entry.
    pub(super) fn new(words: &'m [AtomicU64], heads: &'m [AtomicU32], chains: &'m [AtomicU32]) -> Self {
        let (buckets, next) = chains.split_at(chains.len() / 2);
        Self {
            words,
            heads,
            buckets,
            next,
        }
    }

    fn list(&self) -> List<'m> {
        List::new(self.heads, 0, self.links())
    }

    fn links(&self) -> Links<'m> {
        Links::strided(self.words, ENTRY_WORDS, ENTRY_WORDS - 1)
    }

    fn bucket(&self, index: u32) -> &'m AtomicU32 {
        let hash = index.wrapping_mul(0x9E37_79B1);
        &self.buckets[((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize]
    }

    pub(super) fn get(&self, slot: u32) -> Entry {
        let at = slot as usize * ENTRY_WORDS;
        let word = |word: usize| self.words[at + word].load(Relaxed);
        let (place, facts, state) = (word(2), word(3), word(4));
        Entry {
            fingerprint: word(0),
            parent: word(1),
            index: (place >> 32) as u32,
            generation: place as u32,
            depth: (facts >> 48) as u16,
            tokens: (facts >> 32) as u16,
            cost_us: facts as u32,
            importance: (state >> 32) as u32,
            uses: (state >> 16) as u16,
            class: (state >> 8) as u8,
            flags: state as u8,
        }
    }

    pub(super) fn set(&self, slot: u32, entry: &Entry) {
        let words = [
            entry.fingerprint,
            entry.parent,
            u64::from(entry.index) << 32 | u64::from(entry.generation),
            u64::from(entry.depth) << 48 | u64::from(entry.tokens) << 32 | u64::from(entry.cost_us),
            u64::from(entry.importance) << 32
                | u64::from(entry.uses) << 16
                | u64::from(entry.class) << 8
                | u64::from(entry.flags),
        ];
        let at = slot as usize * ENTRY_WORDS;
        for (cell, word) in self.words[at..].iter().zip(words) {
            cell.store(word, Relaxed);
        }
    }

    /// The entry of the block at a place.
    pub(super) fn find(&self, index: u32) -> Option<u32> {
        let mut slot = self.bucket(index).load(Relaxed).checked_sub(1)?;
        while self.get(slot).index != index {
            slot = self.next[slot as usize].load(Relaxed).checked_sub(1)?;
        }
        Some(slot)
    }

    /// Adds a block at a place that has no entry; false if there is no room.
    pub(super) fn add(&self, entry: &Entry) -> bool {
        let (ever, free) = (&self.heads[EVER], &self.heads[FREE]);
        let slot = match free.load(Relaxed).checked_sub(1) {
            Some(slot) => {
                free.store(self.next[slot as usize].load(Relaxed), Relaxed);
                slot
            }
            None => {
                let slot = ever.load(Relaxed);
                if slot as usize == self.next.len() {
                    return false;
                }
                ever.store(slot + 1, Relaxed);
                slot
            }
        };
        self.set(slot, entry);
        let bucket = self.bucket(entry.index);
        self.next[slot as usize].store(bucket.load(Relaxed), Relaxed);
        bucket.store(slot + 1, Relaxed);
        self.list().append(slot);
        true
    }

    /// The block has gone; `uses` of it are not told yet. It stays in the order until it is dropped.
    pub(super) fn leave(&self, slot: u32, uses: u16) {
        let mut entry = self.get(slot);
        let mut cell = self.bucket(entry.index);
        while let Some(other) = cell.load(Relaxed).checked_sub(1) {
            let next = &self.next[other as usize];
            if other == slot {
                cell.store(next.load(Relaxed), Relaxed);
                break;
            }
            cell = next;
        }
        entry.flags |= GONE;
        entry.uses = uses;
        self.set(slot, &entry);
    }

    /// Forgets a block that has gone.
    pub(super) fn drop(&self, slot: u32) {
        self.list().unlink(slot);
        self.next[slot as usize].store(self.heads[FREE].load(Relaxed), Relaxed);
        self.heads[FREE].store(slot + 1, Relaxed);
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.list().first()
    }

    /// The one that came after this one.
    pub(super) fn next(&self, slot: u32) -> Option<u32> {
        self.links().next(slot)
    }
}
