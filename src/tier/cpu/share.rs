//! Slots that several blocks share, because they hold the same bytes.
//!
//! ```text
//!   digest of a block's bytes ──▶ two lines of 8 cells each         slot s
//!                                 ┌──────┬──────────────┬───┐       ┌────────────────────────┬────────┐
//!                                 │ tag  │ slot s + 1   │ … │ ────▶ │ bytes │ references     │ digest │
//!                                 └──────┴──────────────┴───┘       └────────────────────────┴────────┘
//! ```
//! A slot begins as its producer's own: its word is zero, and nobody else comes to it. When its block is committed it
//! is **offered**: the word says how many bytes it holds and that there is one reference, and a cell leads to it. Who
//! commits a block with the same digest takes a reference, if there is at least one (an "upgrade": whoever raises the
//! count from zero would bring back what somebody just gives up), compares the bytes under it, and keeps the reference
//! if they are the same. A block gives its reference up when it leaves memory; whoever gives up the last one takes the
//! cell away and gives the slot back.
//!
//! The table is only a hint, the reference is the guarantee: a cell that was read just before its slot went leads to no
//! reference, or to one on what the slot holds by then, whose bytes are compared like any other's.
//!
//! A digest has 16 cells at most, and there are two cells to a slot. A slot that finds none is not offered, and the
//! next one with its bytes takes a slot of its own: that loses memory and nothing else. So do two commits of the same
//! bytes at the same moment, neither of which finds the other's.
//!
//! **Progress.** Offering and giving up are wait-free. Finding is lock-free: taking a reference repeats only because
//! another thread took or gave one up; it compares at most 16 candidates. A thread that stops keeps the one slot that
//! it has a reference on, and nobody waits for it.

use crate::budget::DIGEST_LINE_SLOTS;
use crate::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

/// Cells of a line of the table: a cache line.
const LINE_CELLS: u64 = 8;

static_assertions::const_assert!(LINE_CELLS == 2 * DIGEST_LINE_SLOTS);

/// How much is shared; all-zero is nothing.
#[repr(C)]
pub(crate) struct SharedTotals {
    /// References beyond the first one of each slot.
    references: AtomicU64,
    /// Bytes of the blocks that those stand for.
    bytes: AtomicU64,
}

impl SharedTotals {
    /// Nothing shared.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            references: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Bytes that are not there a second time. A reference under which bytes are just being compared counts.
    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: a figure.
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What looking for the same bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// The slot that holds them; the caller has a reference on it.
    pub(crate) slot: Option<u32>,
    /// Whether there may be one, but no more references are to be had.
    pub(crate) full: bool,
    /// Candidates with this digest and other bytes.
    pub(crate) collisions: u64,
}

/// References and digests of slots over borrowed words; all-zero is "every slot is its holder's own".
pub(crate) struct Sharing<'m> {
    /// Two words a slot: `bytes << 32 | references`, and the digest.
    slots: &'m [AtomicU64],
    /// `tag << 32 | slot + 1`; 0 is free.
    cells: &'m [AtomicU64],
    totals: &'m SharedTotals,
    references_max: u64,
}

const fn references(word: u64) -> u64 {
    word & 0xFFFF_FFFF
}

const fn bytes(word: u64) -> u32 {
    (word >> 32) as u32
}

impl<'m> Sharing<'m> {
    /// Over two words a slot and a line of cells for every [`DIGEST_LINE_SLOTS`] slots; at most `references_max`
    /// references beyond the first one of each slot.
    pub(crate) fn new(
        slots: &'m [AtomicU64],
        cells: &'m [AtomicU64],
        totals: &'m SharedTotals,
        references_max: u64,
    ) -> Self {
        debug_assert!(cells.len() as u64 >= (slots.len() as u64 / 2).div_ceil(DIGEST_LINE_SLOTS) * LINE_CELLS);
        Self {
            slots,
            cells,
            totals,
            references_max,
        }
    }

    /// How much is shared.
    pub(crate) fn totals(&self) -> &SharedTotals {
        self.totals
    }

    fn word(&self, slot: u32) -> &AtomicU64 {
        &self.slots[2 * slot as usize]
    }

    fn digest(&self, slot: u32) -> &AtomicU64 {
        &self.slots[2 * slot as usize + 1]
    }

    /// The two lines of a digest; of a table of one line the second is empty.
    fn lines(&self, digest: u64) -> [&'m [AtomicU64]; 2] {
        let (lines, _) = self.cells.as_chunks::<{ LINE_CELLS as usize }>();
        let below = |hash: u64, count: usize| ((u128::from(hash) * count as u128) >> 64) as usize;
        let first = below(digest, lines.len());
        // Another spread of the same digest: 2^64 divided by the golden ratio.
        let step = 1 + below(digest.wrapping_mul(0x9E37_79B9_7F4A_7C15), lines.len() - 1);
        let second = (first + step) % lines.len();
        [&lines[first], if second == first { &[] } else { &lines[second] }]
    }

    const fn cell(digest: u64, slot: u32) -> u64 {
        digest << 32 | (slot as u64 + 1)
    }

    /// Looks for an offered slot with this digest, this many bytes, and the same bytes by `same`, which is asked under
    /// a reference. `free` takes the slots that were given up by everybody else meanwhile.
    pub(crate) fn find(
        &self,
        digest: u64,
        block_bytes: u32,
        mut same: impl FnMut(u32) -> bool,
        mut free: impl FnMut(u32),
    ) -> Search {
        let mut search = Search::default();
        for cell in self.lines(digest).into_iter().flatten() {
            // Acquire: partner is the release in `offer`, for the digest; whatever it is, it is only a hint.
            let cell = cell.load(Ordering::Acquire);
            let Some(slot) = (cell as u32)
                .checked_sub(1)
                .filter(|_| cell >> 32 == digest & 0xFFFF_FFFF)
            else {
                continue;
            };
            // Relaxed: a hint, which saves most comparisons that would come to nothing.
            if self.digest(slot).load(Ordering::Relaxed) != digest
                || bytes(self.word(slot).load(Ordering::Relaxed)) != block_bytes
            {
                continue;
            }
            if !self.reserve_reference(block_bytes) {
                search.full = true;
                return search;
            }
            if !self.hold(slot, block_bytes) {
                self.drop_reference(block_bytes);
                continue;
            }
            if same(slot) {
                search.slot = Some(slot);
                return search;
            }
            search.collisions += 1;
            if self.let_go(slot) {
                free(slot);
            }
        }
        search
    }

    /// Offers a slot with its first reference, which is the caller's. Only for who has the slot as its own, with its
    /// bytes written for good.
    pub(crate) fn offer(&self, slot: u32, digest: u64, block_bytes: u32) {
        let cell = Self::cell(digest, slot);
        let free = |line: &&[AtomicU64]| {
            // Relaxed: the exchange decides.
            let free = line.iter().filter(|cell| cell.load(Ordering::Relaxed) == 0);
            core::cmp::Reverse(free.count())
        };
        let mut lines = self.lines(digest);
        lines.sort_unstable_by_key(free);
        // Relaxed: a hint for who finds the cell.
        self.digest(slot).store(digest, Ordering::Relaxed);
        // Release: partner is the acquire in `hold`; the bytes are there with it.
        self.word(slot)
            .store(u64::from(block_bytes) << 32 | 1, Ordering::Release);
        for place in lines.into_iter().flatten() {
            // Release: partner is the acquire in `find`. Relaxed on failure: nothing is read.
            if place
                .compare_exchange(0, cell, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    /// Takes one more reference on a slot that is offered with this many bytes. False if it is not, any more.
    fn hold(&self, slot: u32, block_bytes: u32) -> bool {
        // Relaxed: the exchange decides.
        let mut word = self.word(slot).load(Ordering::Relaxed);
        while references(word) != 0 && bytes(word) == block_bytes {
            // Acquire: partner is the release in `offer`, which every reference since has carried on; the bytes are
            // readable with it. Relaxed on failure: nothing is read.
            match self
                .word(slot)
                .compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// Gives one reference up. True for the last, whose slot is the caller's own again, to be given back.
    pub(crate) fn let_go(&self, slot: u32) -> bool {
        // Relaxed: zero is seen only by who has the slot as its own, who wrote it or got it with the slot.
        if self.word(slot).load(Ordering::Relaxed) == 0 {
            return true;
        }
        // AcqRel: partners are the same exchanges of the others: what they read of the slot is over before the last one
        // gives it back.
        let word = self.word(slot).fetch_sub(1, Ordering::AcqRel);
        if references(word) != 1 {
            self.drop_reference(bytes(word));
            return false;
        }
        // Relaxed, here and below: nobody takes a reference any more, so the slot is this thread's own; the free list
        // hands it on.
        let digest = self.digest(slot).load(Ordering::Relaxed);
        let cell = Self::cell(digest, slot);
        let mut places = self.lines(digest).into_iter().flatten();
        if let Some(place) = places.find(|place| place.load(Ordering::Relaxed) == cell) {
            // A store, since a cell that is taken is changed by nobody else.
            place.store(0, Ordering::Relaxed);
        }
        self.word(slot).store(0, Ordering::Relaxed);
        true
    }

    /// Whether others hold the slot, too, so that giving one reference up frees nothing. A snapshot.
    pub(crate) fn is_shared(&self, slot: u32) -> bool {
        // Relaxed: an answer that may be old by the time it is used.
        references(self.word(slot).load(Ordering::Relaxed)) > 1
    }

    /// Counts a reference before it is taken, so that there are never more than are allowed.
    fn reserve_reference(&self, block_bytes: u32) -> bool {
        // Acquire: partner is the release in `drop_reference`; the entry that goes with that reference is free before
        // another one is used instead.
        if self.totals.references.fetch_add(1, Ordering::Acquire) >= self.references_max {
            // Relaxed, here and below: counts.
            self.totals.references.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.totals.bytes.fetch_add(u64::from(block_bytes), Ordering::Relaxed);
        true
    }

    fn drop_reference(&self, block_bytes: u32) {
        // Relaxed: a figure.
        self.totals.bytes.fetch_sub(u64::from(block_bytes), Ordering::Relaxed);
        // Release: partner is the acquire in `reserve_reference`.
        self.totals.references.fetch_sub(1, Ordering::Release);
    }
}
