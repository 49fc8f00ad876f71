//! Pins: how a reader keeps a block in place without writing a line that other readers share.
//!
//! A pin is one word in a table: `generation << 32 | expires << 31 | block index + 1`. Readers claim words in the
//! stripe of cache lines that belongs to their thread; an evictor that has condemned blocks looks through the words.
//! This is Michael's hazard pointers (IEEE TPDS 15(6), 2004) with indices and with one addition: a stripe says how far
//! its words were ever used, so that looking through thousands of possible pins costs a few lines.
//!
//! The crossing, with every step sequentially consistent:
//! ```text
//!   reader                              evictor
//!   raise the stripe's high mark        state: Resident → Condemned
//!   claim the word for block b          read the high mark
//!   look at b's state again             read the words
//! ```
//! If the evictor misses the word, the word was claimed after it looked, hence after it condemned, hence the reader
//! finds the block condemned and lets go. If the reader finds the block resident, its word was there before.
//!
//! **Progress.** Claiming is lock-free: a word is lost only to a thread that claimed it, and the search is bounded by
//! the size of the table. Releasing and looking through are wait-free. A thread that stops while it holds a pin keeps
//! one block in place, visibly (see [`PinTable::each`]), for as long as the configuration lets it.

use super::PinRef;
use crate::limits::PINS_TRANSIENT_PER_STRIPE;
use crate::sync::atomic::{AtomicU64, Ordering, crossing};

/// What a pin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinKind {
    /// A copy in progress, gone when the call returns.
    Transient,
    /// A view in a caller's hands.
    View,
    /// A view that may be taken back when it gets old.
    ExpiringView,
}

const EXPIRES: u64 = 1 << 31;
const BLOCK: u64 = EXPIRES - 1;
const HIGH: usize = 0;
const HINT: usize = 8;
const SEQUENCE: usize = 9;

/// Words at the head of a stripe: the high mark and the hint, on lines of their own.
const HEADER_WORDS: usize = 16;

/// The pin table over borrowed words; all-zero is "no pins".
pub(crate) struct PinTable<'m> {
    words: &'m [AtomicU64],
    since_ns: &'m [AtomicU64],
    per_stripe: usize,
    stripes: usize,
}

impl<'m> PinTable<'m> {
    /// A table of `stripes` stripes of `per_stripe` pins each.
    pub(crate) fn new(words: &'m [AtomicU64], since_ns: &'m [AtomicU64], stripes: usize, per_stripe: usize) -> Self {
        debug_assert!(words.len() >= stripes * (per_stripe + HEADER_WORDS));
        debug_assert!(since_ns.len() >= stripes * per_stripe);
        Self {
            words,
            since_ns,
            per_stripe,
            stripes,
        }
    }

    fn stripe(&self, stripe: usize) -> &'m [AtomicU64] {
        let words = self.per_stripe + HEADER_WORDS;
        &self.words[stripe * words..][..words]
    }

    /// Counts calls of a stripe's threads, roughly: for choosing which of them to time.
    #[inline]
    pub(crate) fn sequence(&self, stripe: usize) -> u64 {
        let word = &self.stripe(stripe)[SEQUENCE];
        // Relaxed and not an addition: a lost count does no harm and an exchange would cost more than it is worth.
        let count = word.load(Ordering::Relaxed);
        word.store(count.wrapping_add(1), Ordering::Relaxed);
        count
    }

    /// Pins block `index`, preferring `stripe`. `None` when every word is taken.
    ///
    /// The caller must look at the block's state afterwards (`state_ordered`) and release the pin if it changed.
    #[inline]
    pub(crate) fn claim(&self, stripe: usize, index: u32, kind: PinKind) -> Option<PinRef> {
        (0..self.stripes).find_map(|step| {
            let at = (stripe + step) & (self.stripes - 1);
            self.claim_in(at, index, kind)
        })
    }

    #[inline]
    fn claim_in(&self, at: usize, index: u32, kind: PinKind) -> Option<PinRef> {
        let stripe = self.stripe(at);
        let first = match kind {
            PinKind::Transient => 0,
            // Relaxed: only a place to begin at.
            PinKind::View | PinKind::ExpiringView => {
                (stripe[HINT].load(Ordering::Relaxed) as usize).max(PINS_TRANSIENT_PER_STRIPE as usize)
            }
        };
        let mark = if kind == PinKind::ExpiringView { EXPIRES } else { 0 };
        let (header, pins) = stripe.split_at(HEADER_WORDS);
        for (place, word) in pins.iter().enumerate().skip(first) {
            // Relaxed: the exchange decides.
            let free = word.load(Ordering::Relaxed);
            if free & BLOCK != 0 {
                continue;
            }
            // SeqCst, before the claim: partner is the load in `high`. See the crossing above.
            if header[HIGH].load(Ordering::SeqCst) <= place as u64 {
                header[HIGH].fetch_max(place as u64 + 1, Ordering::SeqCst);
            }
            // SeqCst: partners are the load in `pinned` and the condemning exchange. Relaxed on failure: try the next.
            if word
                .compare_exchange(
                    free,
                    free | mark | u64::from(index + 1),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                )
                .is_ok()
            {
                // Between the claim and the caller's look at the state.
                crossing();
                if kind != PinKind::Transient {
                    header[HINT].store(place as u64 + 1, Ordering::Relaxed);
                }
                return Some(PinRef {
                    index: (at * self.per_stripe + place) as u32,
                    generation: (free >> 32) as u32,
                });
            }
        }
        // The hint ran past free words; the next claim in this stripe begins at its start.
        if first > PINS_TRANSIENT_PER_STRIPE as usize {
            header[HINT].store(0, Ordering::Relaxed);
            return self.claim_in(at, index, kind);
        }
        None
    }

    /// Notes since when a view is held.
    pub(crate) fn set_since(&self, pin: PinRef, now_ns: u64) {
        // Relaxed: read for reports and for expiry in milliseconds.
        self.since_ns[pin.index as usize].store(now_ns, Ordering::Relaxed);
    }

    /// Lets block `index` go. False if the pin is not there any more: released before, or taken back.
    #[inline]
    pub(crate) fn release(&self, pin: PinRef, index: u32) -> bool {
        let (at, place) = (
            pin.index as usize / self.per_stripe,
            pin.index as usize % self.per_stripe,
        );
        if at >= self.stripes {
            return false;
        }
        let stripe = self.stripe(at);
        let word = &stripe[HEADER_WORDS + place];
        let held = word.load(Ordering::Relaxed);
        if held & BLOCK != u64::from(index) + 1 || (held >> 32) as u32 != pin.generation {
            return false;
        }
        if place >= PINS_TRANSIENT_PER_STRIPE as usize {
            // Before the word is free: the next holder must not look as old as this one. Relaxed: a report.
            self.since_ns[pin.index as usize].store(0, Ordering::Relaxed);
        }
        // SeqCst: partner is the load in `pinned`; and the load of the state that follows (see `Engine::reclaim`) must
        // come after it in the single order. It includes the release that ends this reader's reads of the slot.
        let gone = word
            .compare_exchange(held, next_generation(held), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        // Between the release and the caller's look at the state.
        crossing();
        if gone && place >= PINS_TRANSIENT_PER_STRIPE as usize {
            // Relaxed, and possibly lost: only a place to begin at.
            if stripe[HINT].load(Ordering::Relaxed) > place as u64 {
                stripe[HINT].store(place as u64, Ordering::Relaxed);
            }
        }
        gone
    }

    /// Whether `pin` holds block `index`.
    pub(crate) fn holds(&self, pin: PinRef, index: u32) -> bool {
        let (at, place) = (
            pin.index as usize / self.per_stripe,
            pin.index as usize % self.per_stripe,
        );
        // Relaxed: an answer for the pin's holder, who took it and has not let it go, or for nobody.
        at < self.stripes && {
            let held = self.stripe(at)[HEADER_WORDS + place].load(Ordering::Relaxed);
            held & BLOCK == u64::from(index) + 1 && (held >> 32) as u32 == pin.generation
        }
    }

    /// Which of `indices` (at most 64) are pinned, as a bit mask. Blocks that were condemned before the call and come
    /// out unpinned stay so.
    pub(crate) fn pinned(&self, indices: &[u32]) -> u64 {
        let mut mask = 0;
        // Between the caller's change of the state and the words.
        crossing();
        for at in 0..self.stripes {
            let stripe = self.stripe(at);
            // SeqCst: partner is the raising in `claim_in`.
            let high = stripe[HIGH].load(Ordering::SeqCst) as usize;
            for word in &stripe[HEADER_WORDS..][..high] {
                // SeqCst: partner is the claim; and, being a load that includes acquire, of the release: the reader's
                // reads of the slot are over before the slot is used again.
                let word = word.load(Ordering::SeqCst);
                if word & BLOCK != 0 {
                    let block = (word & BLOCK) as u32 - 1;
                    for (bit, &index) in indices.iter().enumerate() {
                        mask |= u64::from(index == block) << bit;
                    }
                }
            }
        }
        mask
    }

    /// Shows every view that is held: pin, block index, since when (0: just taken), whether it may expire.
    pub(crate) fn each(&self, mut show: impl FnMut(PinRef, u32, u64, bool)) {
        for at in 0..self.stripes {
            let stripe = self.stripe(at);
            // SeqCst: as in `pinned`, though here a pin that is just being taken may be missed.
            let high = stripe[HIGH].load(Ordering::SeqCst) as usize;
            let first = PINS_TRANSIENT_PER_STRIPE as usize;
            for place in first..high.max(first) {
                let word = stripe[HEADER_WORDS + place].load(Ordering::Relaxed);
                if word & BLOCK != 0 {
                    let index = at * self.per_stripe + place;
                    let pin = PinRef {
                        index: index as u32,
                        generation: (word >> 32) as u32,
                    };
                    let since = self.since_ns[index].load(Ordering::Relaxed);
                    show(pin, (word & BLOCK) as u32 - 1, since, word & EXPIRES != 0);
                }
            }
        }
    }

    /// Whether any view is held.
    pub(crate) fn is_empty(&self) -> bool {
        let mut empty = true;
        self.each(|_, _, _, _| empty = false);
        empty
    }
}

fn next_generation(word: u64) -> u64 {
    ((word >> 32).wrapping_add(1)) << 32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct Storage {
        words: Vec<AtomicU64>,
        since: Vec<AtomicU64>,
    }

    fn storage(stripes: usize, per_stripe: usize) -> Storage {
        let zeroes = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Storage {
            words: zeroes(stripes * (per_stripe + HEADER_WORDS)),
            since: zeroes(stripes * per_stripe),
        }
    }

    #[test]
    fn views_leave_room_for_copies_and_release_once() {
        let storage = storage(2, 16);
        let table = PinTable::new(&storage.words, &storage.since, 2, 16);
        let views: Vec<PinRef> = core::iter::from_fn(|| table.claim(0, 7, PinKind::View)).collect();
        assert_eq!(views.len(), 2 * 14);
        let copy = table.claim(0, 9, PinKind::Transient).expect("room for a copy");
        assert_eq!(table.pinned(&[9, 8, 7]), 0b101);
        assert!(!table.release(copy, 7), "another block");
        assert!(table.release(copy, 9));
        assert!(!table.release(copy, 9), "twice");
        for &view in views.iter().rev() {
            assert!(table.release(view, 7));
        }
        assert!(table.is_empty());
        assert_eq!(table.pinned(&[7]), 0);
        let again = table.claim(0, 7, PinKind::View).unwrap();
        assert!(views.iter().all(|&view| !table.release(view, 7)), "old generations");
        assert!(table.release(again, 7));
        assert!(!table.release(
            PinRef {
                index: u32::MAX,
                generation: 0
            },
            7
        ));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::block::entry::{Entry, Phase};
    use loom::sync::Arc;
    use std::vec::Vec;

    struct Shared {
        entry: Entry,
        words: Vec<AtomicU64>,
        since: Vec<AtomicU64>,
        /// What the slot holds: 1 while the block lives, 2 once the slot was given to somebody else.
        slot: AtomicU64,
    }

    fn shared() -> Arc<Shared> {
        let zeroes = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let shared = Shared {
            entry: Entry::new(),
            words: zeroes(HEADER_WORDS + 3),
            since: zeroes(3),
            slot: AtomicU64::new(1),
        };
        let state = shared.entry.reserve(&[1, 2, 3, 4], 0, 8);
        assert!(shared.entry.commit(state.generation(), 8, 0));
        Arc::new(shared)
    }

    /// A reader that got the block reads its bytes, whatever an evictor does at the same time.
    #[test]
    fn a_pinned_block_is_not_reused() {
        loom::model(|| {
            let shared = shared();
            let reader = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let pins = PinTable::new(&shared.words, &shared.since, 1, 3);
                    if let Some(state) = shared.entry.known_as(&[1, 2, 3, 4]) {
                        let pin = pins.claim(0, 0, PinKind::Transient).unwrap();
                        if shared.entry.state_ordered() == state {
                            assert_eq!(shared.slot.load(Ordering::Relaxed), 1, "the slot was reused");
                        }
                        assert!(pins.release(pin, 0));
                    }
                })
            };
            let pins = PinTable::new(&shared.words, &shared.since, 1, 3);
            if shared.entry.condemn(1) {
                if pins.pinned(&[0]) == 0 {
                    assert!(shared.entry.free(1, Phase::Condemned));
                    shared.slot.store(2, Ordering::Relaxed);
                } else {
                    assert!(shared.entry.roll_back(1));
                }
            }
            reader.join().unwrap();
        });
    }

    /// A block removed while pinned is freed exactly once: by the remover or by the last reader.
    #[test]
    fn a_removed_block_is_freed_once() {
        loom::model(|| {
            let shared = shared();
            let reclaim = |shared: &Shared| {
                let pins = PinTable::new(&shared.words, &shared.since, 1, 3);
                let state = shared.entry.state_ordered();
                if state.phase() == Phase::Removed
                    && pins.pinned(&[0]) == 0
                    && shared.entry.free(state.generation(), Phase::Removed)
                {
                    assert_eq!(shared.slot.swap(2, Ordering::Relaxed), 1, "freed twice");
                }
            };
            let reader = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let pins = PinTable::new(&shared.words, &shared.since, 1, 3);
                    if let Some(state) = shared.entry.known_as(&[1, 2, 3, 4]) {
                        let pin = pins.claim(0, 0, PinKind::Transient).unwrap();
                        if shared.entry.state_ordered() == state {
                            assert_eq!(shared.slot.load(Ordering::Relaxed), 1);
                        }
                        assert!(pins.release(pin, 0));
                        reclaim(&shared);
                    }
                })
            };
            assert!(shared.entry.claim(1, Phase::Resident));
            assert!(shared.entry.remove(1, Phase::Claimed));
            reclaim(&shared);
            reader.join().unwrap();
            assert_eq!(shared.slot.load(Ordering::Relaxed), 2, "never freed");
        });
    }

    /// Two readers of one stripe never get the same word.
    #[test]
    fn a_word_has_one_holder() {
        loom::model(|| {
            let shared = shared();
            let hold = |shared: &Shared, index: u32| {
                let pins = PinTable::new(&shared.words, &shared.since, 1, 3);
                let pin = pins.claim(0, index, PinKind::Transient).unwrap();
                assert_ne!(pins.pinned(&[index]), 0, "the pin is there as long as it is held");
                assert!(pins.release(pin, index), "somebody else has it");
            };
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || hold(&shared, 1))
            };
            hold(&shared, 0);
            other.join().unwrap();
        });
    }
}
