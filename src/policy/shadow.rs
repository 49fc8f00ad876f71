//! A cache of nothing but metadata, for running a policy over a trace.

use super::{AnyPolicy, Blocks, Needs, Policy, Storage};
use crate::block::entry::Recency;
use crate::block::facts::mark;
use crate::config::PolicyKind;
use crate::limits::PRIORITY_MAX;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Words before the places: how many places are taken, insertions so far, the time.
const HEAD_WORDS: usize = Needs::SHADOW_HEAD_WORDS as usize;
const PLACE_WORDS: usize = Needs::SHADOW_PLACE_WORDS as usize;
const CELLS: usize = Needs::SHADOW_CELLS as usize;

/// Blocks before one that are looked for.
const PARENTS_MAX: u32 = 256;

/// Which word of a place is which.
#[derive(Clone, Copy)]
enum Word {
    Fingerprint,
    Recency,
    /// `when it was used in milliseconds << 8 | class`.
    Used,
    /// `parent's generation << 32 | parent's place + 1`.
    Parent,
    /// `generation << 32 | parent's mark`.
    Life,
    /// `conversation << 32 | importance`.
    Caller,
    /// `depth << 48 | tokens << 32 | cost in microseconds, saturating`.
    Costs,
}

/// What is known of a block when it is accessed, as a put would say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// What stands for the key; equal for equal blocks alone. Any number: a trace's ids need not be hashed first.
    pub fingerprint: u64,
    /// Fingerprint of the block before this one in the request; 0 for none.
    pub parent_fingerprint: u64,
    /// Place in the request's chain, from 0.
    pub depth: u16,
    /// Tokens in the block.
    pub tokens: u16,
    /// The conversation the block belongs to; 0 for none.
    pub conversation: u32,
    /// What computing the block again would cost, in microseconds; 0 is unknown.
    pub cost_us: u64,
    /// How much keeping the block is worth to the caller, 0 for nothing in particular.
    pub importance: u32,
    /// Retention priority, 0 (evicted first) to 100.
    pub priority: u8,
}

/// Spreads fingerprints over all 64 bits, one to one, since policies pick bits of them (the finalizer of SplitMix64).
const fn spread(fingerprint: u64) -> u64 {
    let mixed = (fingerprint ^ fingerprint >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// How much storage a [`Shadow`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowStorage {
    /// Words of 8 bytes.
    pub words: usize,
    /// Half words of 4 bytes.
    pub halves: usize,
}

/// A cache without bytes: it knows which blocks would be there.
///
/// A policy runs in it with the same code as in the engine, sees the same use clock, and is told of blocks in the same
/// order as by one thread. It lives in borrowed storage, where all-zero is empty, and allocates nothing. A hit costs a
/// lookup and a note in the block's line.
///
/// Threads: one at a time.
///
/// ```
/// use core::sync::atomic::{AtomicU32, AtomicU64};
/// use kvcache::config::PolicyKind;
/// use kvcache::policy::{Access, Shadow};
///
/// let storage = Shadow::storage(PolicyKind::Lru, 2);
/// let words: Vec<AtomicU64> = (0..storage.words).map(|_| AtomicU64::new(0)).collect();
/// let halves: Vec<AtomicU32> = (0..storage.halves).map(|_| AtomicU32::new(0)).collect();
/// let mut shadow = Shadow::new(PolicyKind::Lru, 2, &words, &halves);
/// for fingerprint in [7, 8, 7, 9] {
///     match shadow.find(fingerprint) {
///         Some(place) => shadow.hit(place),
///         None => drop(shadow.insert(&Access { fingerprint, ..Access::default() })),
///     }
/// }
/// assert!(shadow.find(7).is_some() && shadow.find(8).is_none());
/// ```
pub struct Shadow<'m> {
    policy: AnyPolicy<'m>,
    blocks: Places<'m>,
    policy_bytes: usize,
}

/// The blocks as a policy sees them, and the table that finds them.
///
/// Relaxed throughout: one thread at a time has a shadow.
struct Places<'m> {
    head: &'m [AtomicU64],
    places: &'m [AtomicU64],
    /// `high half of the hash << 32 | place + 1`, each at the first free cell from its home on.
    table: &'m [AtomicU64],
    capacity: u32,
    stamp_shift: u32,
}

impl Places<'_> {
    fn get(&self, index: u32, word: Word) -> u64 {
        self.places[index as usize * PLACE_WORDS + word as usize].load(Relaxed)
    }

    fn set(&self, index: u32, word: Word, value: u64) {
        self.places[index as usize * PLACE_WORDS + word as usize].store(value, Relaxed);
    }

    fn len(&self) -> &AtomicU64 {
        &self.head[0]
    }

    fn inserts(&self) -> &AtomicU64 {
        &self.head[1]
    }

    fn now(&self) -> &AtomicU64 {
        &self.head[2]
    }

    /// What the table keeps of a fingerprint, which also says where its home is.
    fn tag(fingerprint: u64) -> u32 {
        (spread(fingerprint) >> 32) as u32
    }

    fn home(&self, tag: u32) -> usize {
        ((u128::from(tag) * self.table.len() as u128) >> 32) as usize
    }

    fn next(&self, cell: usize) -> usize {
        if cell + 1 == self.table.len() { 0 } else { cell + 1 }
    }

    /// The place of a fingerprint, or the cell where it would be entered.
    fn find(&self, fingerprint: u64) -> Result<u32, usize> {
        let tag = Self::tag(fingerprint);
        let mut cell = self.home(tag);
        loop {
            let value = self.table[cell].load(Relaxed);
            if value == 0 {
                return Err(cell);
            }
            let place = (value as u32).wrapping_sub(1);
            if (value >> 32) as u32 == tag && self.get(place, Word::Fingerprint) == fingerprint {
                return Ok(place);
            }
            cell = self.next(cell);
        }
    }

    fn enter(&self, cell: usize, fingerprint: u64, place: u32) {
        self.table[cell].store(u64::from(Self::tag(fingerprint)) << 32 | u64::from(place + 1), Relaxed);
    }

    /// Takes a block that is in the table out, and moves what would not be found behind the gap any more.
    fn leave(&self, fingerprint: u64, place: u32) {
        let mut gap = self.home(Self::tag(fingerprint));
        while self.table[gap].load(Relaxed) as u32 != place + 1 {
            gap = self.next(gap);
        }
        let mut cell = gap;
        loop {
            cell = self.next(cell);
            let value = self.table[cell].load(Relaxed);
            if value == 0 {
                break;
            }
            let home = self.home((value >> 32) as u32);
            // It may move unless its home lies behind the gap, going round.
            let stays = if gap <= cell {
                gap < home && home <= cell
            } else {
                gap < home || home <= cell
            };
            if !stays {
                self.table[gap].store(value, Relaxed);
                gap = cell;
            }
        }
        self.table[gap].store(0, Relaxed);
    }

    /// The use clock at an insertion; a hit after it sees one more.
    fn stamp(&self) -> u64 {
        (self.inserts().load(Relaxed) >> self.stamp_shift) << 1
    }

    /// What a place says of its parent.
    fn parent_word(&self, fingerprint: u64) -> u64 {
        self.find(fingerprint).map_or(0, |parent| {
            u64::from(self.generation(parent)) << 32 | u64::from(parent + 1)
        })
    }

    fn set_used(&self, index: u32, class: u8) {
        let now_ms = self.now().load(Relaxed);
        self.set(index, Word::Used, now_ms << 8 | u64::from(class));
    }
}

impl Blocks for Places<'_> {
    fn class(&self, index: u32) -> u8 {
        self.get(index, Word::Used) as u8
    }
    fn recency(&self, index: u32) -> Recency {
        let word = self.get(index, Word::Recency);
        Recency::new(word >> 16, word as u16)
    }
    fn depth(&self, index: u32) -> u16 {
        (self.get(index, Word::Costs) >> 48) as u16
    }
    fn generation(&self, index: u32) -> u32 {
        (self.get(index, Word::Life) >> 32) as u32
    }
    fn fingerprint(&self, index: u32) -> u64 {
        spread(self.get(index, Word::Fingerprint))
    }
    fn parent(&self, index: u32) -> Option<u32> {
        let parent = self.get(index, Word::Parent);
        let place = (parent as u32).checked_sub(1)?;
        (self.generation(place) == (parent >> 32) as u32).then_some(place)
    }
    fn parent_mark(&self, index: u32) -> u32 {
        self.get(index, Word::Life) as u32
    }
    fn now_ms(&self) -> u64 {
        self.now().load(Relaxed)
    }
    fn used_ms(&self, index: u32) -> u64 {
        self.get(index, Word::Used) >> 8
    }
    fn tokens(&self, index: u32) -> u16 {
        (self.get(index, Word::Costs) >> 32) as u16
    }
    fn cost_us(&self, index: u32) -> u64 {
        self.get(index, Word::Costs) & u64::from(u32::MAX)
    }
    fn importance(&self, index: u32) -> u32 {
        self.get(index, Word::Caller) as u32
    }
}

impl<'m> Shadow<'m> {
    /// Counts of the storage for `capacity` blocks under `kind`.
    pub fn storage(kind: PolicyKind, capacity: u32) -> ShadowStorage {
        let needs = Needs::of_shadow(kind, u64::from(capacity));
        ShadowStorage {
            words: needs.words as usize,
            halves: (needs.links + needs.heads) as usize,
        }
    }

    /// A shadow over storage of at least [`Shadow::storage`], all-zero for an empty one. Over storage in which another
    /// one of the same kind and capacity was, it goes on where that stopped.
    ///
    /// # Panics
    /// If the storage is shorter.
    pub fn new(kind: PolicyKind, capacity: u32, words: &'m [AtomicU64], halves: &'m [AtomicU32]) -> Self {
        let needs = Needs::of(kind, u64::from(capacity));
        let (head, words) = words.split_at(HEAD_WORDS);
        let (places, words) = words.split_at(capacity as usize * PLACE_WORDS);
        let (table, words) = words.split_at(capacity as usize * CELLS);
        let (links, halves) = halves.split_at(needs.links as usize);
        let storage = Storage {
            words: &words[..needs.words as usize],
            links,
            heads: &halves[..needs.heads as usize],
        };
        Self {
            policy: AnyPolicy::new(kind, storage),
            blocks: Places {
                head,
                places,
                table,
                capacity,
                stamp_shift: (capacity / 4096).max(1).ilog2(),
            },
            policy_bytes: needs.words as usize * 8 + (needs.links + needs.heads) as usize * 4,
        }
    }

    /// Sets the clock, in milliseconds; once a request. It does not go back.
    pub fn set_now_ms(&mut self, now_ms: u64) {
        let now_ms = now_ms.max(self.blocks.now_ms());
        self.blocks.now().store(now_ms, Relaxed);
    }

    /// Where the block is, if it is there. Good until the next insertion.
    #[inline]
    pub fn find(&self, fingerprint: u64) -> Option<u32> {
        if self.blocks.capacity == 0 {
            return None;
        }
        self.blocks.find(fingerprint).ok()
    }

    /// Notes a use of the block at `place`, as a hit in the engine does: once between two insertions, in the block's
    /// own line and nowhere else. The policy is told nothing.
    ///
    /// # Panics
    /// If `place` is none.
    #[inline]
    pub fn hit(&mut self, place: u32) {
        let stamp = self.blocks.stamp() | 1;
        let recency = self.blocks.recency(place);
        if recency.stamp() != stamp {
            let uses = recency.uses().wrapping_add(1);
            self.blocks.set(place, Word::Recency, stamp << 16 | u64::from(uses));
        }
        self.blocks.set_used(place, self.blocks.class(place));
    }

    /// Puts a block in that is not there, after making room for it where there is none: `victim` first, as in the
    /// engine, and then the policy is told. Returns the fingerprint of what went. A block that is there stays as it is.
    pub fn insert(&mut self, access: &Access) -> Option<u64> {
        let (policy, blocks) = (&self.policy, &self.blocks);
        if self.find(access.fingerprint).is_some() || blocks.capacity == 0 {
            return None;
        }
        let len = blocks.len().load(Relaxed) as u32;
        let (place, gone) = if len < blocks.capacity {
            blocks.len().store(u64::from(len) + 1, Relaxed);
            (len, None)
        } else {
            let place = policy.victim(blocks)?;
            let gone = blocks.get(place, Word::Fingerprint);
            blocks.leave(gone, place);
            (place, Some(gone))
        };
        let generation = u64::from(blocks.generation(place).wrapping_add(1));
        let (parent_mark, parent) = match access.parent_fingerprint {
            0 => (0, 0),
            fingerprint => (mark(spread(fingerprint)), blocks.parent_word(fingerprint)),
        };
        blocks.inserts().store(blocks.inserts().load(Relaxed) + 1, Relaxed);
        let sizes = u64::from(access.depth) << 48 | u64::from(access.tokens) << 32;
        let words = [
            (Word::Fingerprint, access.fingerprint),
            (Word::Recency, blocks.stamp() << 16),
            (Word::Parent, parent),
            (Word::Life, generation << 32 | u64::from(parent_mark)),
            (
                Word::Caller,
                u64::from(access.conversation) << 32 | u64::from(access.importance),
            ),
            (Word::Costs, sizes | access.cost_us.min(u64::from(u32::MAX))),
        ];
        for (word, value) in words {
            blocks.set(place, word, value);
        }
        blocks.set_used(place, access.priority.min(PRIORITY_MAX));
        if let Err(cell) = blocks.find(access.fingerprint) {
            blocks.enter(cell, access.fingerprint, place);
        }
        policy.insert(place, blocks);
        gone
    }

    /// Tells the policy of the blocks that a request misses, in order, by their fingerprints, as looking them up in the
    /// engine does. Before they are put in.
    pub fn announce(&mut self, missing: &[u64]) {
        if self.policy.listens() {
            self.policy.announce(
                missing.iter().map(|&fingerprint| spread(fingerprint)),
                self.blocks.now_ms(),
            );
        }
    }

    /// The shadow sees a use of a block, or that it was put in. `used_ms` says when, class and parent may have changed.
    /// Whether it was there with all before it that the shadow knew of.
    pub(crate) fn visit(&mut self, access: &Access, used_ms: u64) -> bool {
        let Some(place) = self.find(access.fingerprint) else {
            self.set_now_ms(used_ms);
            self.insert(access);
            return false;
        };
        if access.parent_fingerprint != 0 && self.blocks.parent(place).is_none() {
            self.blocks
                .set(place, Word::Parent, self.blocks.parent_word(access.parent_fingerprint));
        }
        let used_ms = used_ms.max(self.blocks.used_ms(place));
        self.hit(place);
        self.blocks
            .set(place, Word::Used, used_ms << 8 | u64::from(self.blocks.class(place)));
        self.is_whole(place)
    }

    /// Whether a block and all before it are there.
    pub(crate) fn is_whole(&self, mut place: u32) -> bool {
        for _ in 0..self.blocks.capacity.min(PARENTS_MAX) {
            match self.blocks.parent(place) {
                Some(parent) => place = parent,
                None => return self.blocks.get(place, Word::Life) as u32 == 0,
            }
        }
        true
    }

    /// Tells the policy that a block, if it is there, is worth something else to the caller.
    pub(crate) fn reprice(&mut self, access: &Access) {
        let Some(place) = self.find(access.fingerprint) else {
            return;
        };
        let blocks = &self.blocks;
        blocks.set(
            place,
            Word::Used,
            blocks.used_ms(place) << 8 | u64::from(access.priority.min(PRIORITY_MAX)),
        );
        let conversation = blocks.get(place, Word::Caller) >> 32;
        blocks.set(place, Word::Caller, conversation << 32 | u64::from(access.importance));
        self.policy.insert(place, blocks);
    }

    /// How many blocks are there.
    pub fn len(&self) -> u32 {
        self.blocks.len().load(Relaxed) as u32
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the policy's own books for each block of the capacity.
    pub fn metadata_bytes_per_block(&self) -> f64 {
        self.policy_bytes as f64 / f64::from(self.blocks.capacity.max(1))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
