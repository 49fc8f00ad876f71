//! Where each block lies in one file tier, and what is being done with it there.
//!
//! Two words a block. Each carries bits of the generation of the block's entry, so that what was noted of one life of
//! an entry is void in the next: nothing has to be cleared when an entry is reused.
//!
//! Only the tiers' pump changes the location, and the flags that say that a write or a read is under way. Everybody may
//! count a hit.
//!
//! **Progress.** Loads and stores, and exchanges that repeat only because another thread changed the same block's word.

use crate::sync::atomic::{AtomicU64, Ordering};

const OFFSET_BITS: u32 = 40;
const OFFSET_UNIT: u64 = 64;
const TAG_BITS: u32 = 24;

/// A write of the block to this tier is under way.
pub(super) const WRITING: u64 = 1 << 24;
/// A read of the block from this tier is under way.
pub(super) const READING: u64 = 1 << 25;
/// The block was removed and needs a tombstone, whether it lies in this tier or not.
pub(super) const UNBURIED: u64 = 1 << 26;
/// The block is being moved within this tier, or from it to the next.
pub(super) const MOVING: u64 = 1 << 27;

/// That the block is in this tier was told after it had been removed, or may have been.
pub(super) const TOLD_LATE: u64 = 1 << 28;

const HITS_SHIFT: u32 = 16;
const HITS_MAX: u64 = 255;
const FLAGS: u64 = WRITING | READING | UNBURIED | MOVING | TOLD_LATE;

/// Flags that say that something is under way.
pub(super) const HELD_FLAGS: u64 = WRITING | READING | MOVING;

/// Flags that keep an entry from being freed by anybody but the pump.
const HOLDS: u64 = WRITING | READING | MOVING | UNBURIED;

/// The two words; all-zero is "not in this tier".
#[repr(C)]
pub(crate) struct TierWord {
    /// `generation << 40 | offset / 64`, 24 bits of the generation; the offset is 0 for nowhere.
    location: AtomicU64,
    /// `stored bytes << 32 | flags | hits << 16 | 16 bits of the generation`.
    notes: AtomicU64,
}

impl TierWord {
    const fn tag(generation: u32) -> u64 {
        (generation as u64 & ((1 << TAG_BITS) - 1)) << OFFSET_BITS
    }

    const fn mark(generation: u32) -> u64 {
        generation as u64 & 0xFFFF
    }

    /// Where the block lies in the file; `None` for nowhere.
    pub(super) fn location(&self, generation: u32) -> Option<u64> {
        // SeqCst: partners are the exchanges in `set_location` and `forget`, and `Entry::settle`; see there.
        let word = self.location.load(Ordering::SeqCst);
        let offset = (word & ((1 << OFFSET_BITS) - 1)) * OFFSET_UNIT;
        (offset != 0 && word >> OFFSET_BITS << OFFSET_BITS == Self::tag(generation)).then_some(offset)
    }

    /// Notes where the block lies, and that it was not hit there yet. The pump's.
    pub(super) fn set_location(&self, generation: u32, offset: u64, stored_bytes: u32) {
        self.change(generation, |notes| {
            notes & FLAGS & !WRITING | u64::from(stored_bytes) << 32 | Self::mark(generation)
        });
        // SeqCst: partner is the load in `location`.
        self.location
            .store(Self::tag(generation) | (offset / OFFSET_UNIT), Ordering::SeqCst);
    }

    /// Notes that the block is not in this tier any more. The pump's.
    pub(super) fn forget_counted(&self, face: &super::Face<'_>) {
        // Relaxed: a figure.
        face.blocks.fetch_sub(1, Ordering::Relaxed);
        self.forget();
    }

    fn forget(&self) {
        // SeqCst: partner is the load in `location`; the state of the entry is looked at afterwards.
        self.location.store(0, Ordering::SeqCst);
    }

    fn notes(&self, generation: u32) -> u64 {
        // SeqCst: partner is the exchange in `change`; the pins are looked at afterwards.
        let notes = self.notes.load(Ordering::SeqCst);
        if notes & 0xFFFF == Self::mark(generation) {
            notes
        } else {
            Self::mark(generation)
        }
    }

    fn change(&self, generation: u32, next: impl Fn(u64) -> u64) -> u64 {
        // SeqCst: partner is the load in `notes`. Relaxed on failure: tried again.
        let mut seen = self.notes.load(Ordering::Relaxed);
        loop {
            let before = if seen & 0xFFFF == Self::mark(generation) {
                seen
            } else {
                Self::mark(generation)
            };
            match self
                .notes
                .compare_exchange(seen, next(before), Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return before,
                Err(now) => seen = now,
            }
        }
    }

    /// Bytes stored in the file.
    pub(super) fn stored_bytes(&self, generation: u32) -> u32 {
        (self.notes(generation) >> 32) as u32
    }

    /// Hits in this tier since the block got there, at most 255.
    pub(super) fn hits(&self, generation: u32) -> u64 {
        self.notes(generation) >> HITS_SHIFT & HITS_MAX
    }

    /// Counts a hit.
    pub(super) fn hit(&self, generation: u32) {
        self.change(generation, |notes| {
            if notes >> HITS_SHIFT & HITS_MAX == HITS_MAX {
                notes
            } else {
                notes + (1 << HITS_SHIFT)
            }
        });
    }

    /// Whether any of `flags` is set.
    pub(super) fn is(&self, generation: u32, flags: u64) -> bool {
        self.notes(generation) & flags != 0
    }

    /// Sets flags; false if all of them were set before.
    pub(super) fn set(&self, generation: u32, flags: u64) -> bool {
        self.change(generation, |notes| notes | flags) & flags != flags
    }

    /// Clears flags.
    pub(super) fn clear(&self, generation: u32, flags: u64) {
        self.change(generation, |notes| notes & !flags);
    }

    /// Whether the entry is not to be freed by anybody but the pump.
    pub(super) fn holds(&self, generation: u32) -> bool {
        self.location(generation).is_some() || self.is(generation, HOLDS)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn word() -> TierWord {
        TierWord {
            location: AtomicU64::new(0),
            notes: AtomicU64::new(0),
        }
    }

    #[test]
    fn what_was_noted_of_one_life_is_void_in_the_next() {
        let word = word();
        for generation in [1, 0xFFFF, 0x0100_0000, u32::MAX] {
            assert_eq!(word.location(generation), None);
            assert!(word.set(generation, WRITING));
            assert!(!word.set(generation, WRITING));
            assert!(word.holds(generation));
            word.set_location(generation, 1 << 45, 77);
            assert_eq!(word.location(generation), Some(1 << 45));
            assert!(!word.is(generation, WRITING));
            word.hit(generation);
            assert_eq!((word.hits(generation), word.stored_bytes(generation)), (1, 77));
            let next = generation.wrapping_add(1);
            assert_eq!((word.location(next), word.hits(next)), (None, 0));
            assert!(!word.holds(next));
        }
    }

    #[test]
    fn hits_stay_at_their_greatest() {
        let word = word();
        word.set(5, MOVING);
        (0..300).for_each(|_| word.hit(5));
        assert_eq!(word.hits(5), 255);
        assert!(word.is(5, MOVING) && !word.is(5, READING));
        word.set_location(5, 64, 1);
        assert_eq!(word.hits(5), 0);
        assert!(word.is(5, MOVING));
        word.forget();
        assert_eq!(word.location(5), None);
    }
}
