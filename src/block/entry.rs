//! One cache line per block: key, state, recency, location.
//!
//! # The life of a block
//! ```text
//!            reserve           claim           publish            condemn               claim           free
//!   Free ───────────▶ Reserved ─────▶ Claimed ────────▶ Resident ────────▶ Condemned ─────────▶ Claimed ─────▶ Free
//!                                        │               │    ▲              │     │                   (next life)
//!                       aborted, expired │         claim │    └──────────────┘     │ doom: somebody removes
//!                                        ▼               ▼    roll back: pinned    ▼ what is condemned
//!                                     Removed ◀────── Claimed             Doomed ──▶ Free, or Removed if pinned
//!                                        └──▶ Free, once the last pin is gone
//! ```
//! With file tiers there are two more readable phases, and the way back:
//! ```text
//!                 evict: a file tier holds it            raise                      it has arrived, verified
//!   Resident ─▶ Condemned ─▶ Claimed ─▶ Below ─▶ Claimed ───────▶ Raising ───────────────▶ Resident
//!                              ▲          │                          │
//!                              └──────────┴── removed, dropped ──────┘ unreadable: Claimed, Removed
//! ```
//! A block **below** has no slot; one that is **raising** has one that is being filled. Both are found like a resident
//! block. An entry that a file tier's word, a write or a read under way refers to is freed by the tiers' pump alone.
//!
//! The state word is `generation << 32 | phase`. Each arrow is one change of the whole word, and where two threads may
//! want the same block a compare-and-exchange, so that one wins and the other is told. The generation grows with each
//! reservation; what was learnt under one generation is void under the next.
//!
//! **Claimed** belongs to one thread: whoever commits, gives up, removes or evicts the block claims it first, does what
//! goes with it (length, counters, events), and only then lets others see the outcome. So the events of one block, and
//! of one key, stand in the order in which things happened, and nobody reuses a block that somebody is still busy with.
//!
//! **Readers** look at the word, then at the key, pin the block, and look at the word again. Only if it is the same
//! resident word is the pin theirs to use.
//! **Evictors** condemn first and look at the pins afterwards. Both sides use sequentially consistent operations for
//! that crossing, so at least one sees the other (Dekker's pattern); modelled in `pins.rs`. Who removes a block that is
//! just condemned dooms it, and the evictor removes it in either case: what was removed is never rolled back.
//!
//! **Progress.** Every transition is wait-free: one attempt, an answer. A thread that stops while it has claimed or
//! condemned a block keeps that one block from being read and reused, and the file segment that it lies in from being
//! given up. So nobody waits for the pump, or for anybody, between claiming and letting go.

use crate::key::Key;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where a block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    /// Nobody's.
    Free = 0,
    /// Being filled by one producer; not readable.
    Reserved = 1,
    /// Readable.
    Resident = 2,
    /// An evictor has claimed it and is looking whether it is pinned.
    Condemned = 3,
    /// Gone from the index; its slot is freed when the last pin goes.
    Removed = 4,
    /// One thread's, which commits, gives up, removes or evicts it; not readable.
    Claimed = 5,
    /// Condemned, and to be removed whether it is pinned or not.
    Doomed = 6,
    /// In a file tier and in no slot.
    Below = KNOWN | 8,
    /// In a file tier, and on its way into a slot.
    Raising = KNOWN | 16,
}

/// The low three bits of the phases that are found under their key.
const KNOWN: u32 = Phase::Resident as u32;

/// "No slot" where a block is below.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// A copy of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    const fn new(generation: u32, phase: Phase) -> Self {
        Self((generation as u64) << 32 | phase as u64)
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn phase(self) -> Phase {
        match self.0 as u32 {
            1 => Phase::Reserved,
            2 => Phase::Resident,
            3 => Phase::Condemned,
            4 => Phase::Removed,
            5 => Phase::Claimed,
            6 => Phase::Doomed,
            10 => Phase::Below,
            18 => Phase::Raising,
            _ => Phase::Free,
        }
    }

    #[inline]
    pub(crate) fn is_resident(self) -> bool {
        self.0 as u32 == Phase::Resident as u32
    }

    /// Found under its key, in memory or below.
    #[inline]
    pub(crate) fn is_known(self) -> bool {
        self.0 as u32 & 7 == KNOWN
    }

    /// Readable, or condemned and perhaps readable again soon.
    pub(crate) fn is_removable(self) -> bool {
        self.is_known() || self.phase() == Phase::Condemned
    }
}

/// When a block was used last and how often, in one word that only changes when the engine's use clock did.
///
/// `stamp << 16 | uses`. The stamp is the use clock (it moves with insertions, not with time), uses wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recency(u64);

impl Recency {
    pub(crate) const fn new(stamp: u64, uses: u16) -> Self {
        Self(stamp << 16 | uses as u64)
    }
    pub(crate) const fn stamp(self) -> u64 {
        self.0 >> 16
    }
    pub(crate) const fn uses(self) -> u16 {
        self.0 as u16
    }
}

/// Marks the recency word of a reserved block as a date; stamps never get this far.
const DATED: u64 = 1 << 63;

/// A block's cache line.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
pub(crate) struct Entry {
    key: [AtomicU64; 4],
    state: AtomicU64,
    recency: AtomicU64,
    /// Slot in the memory tier.
    slot: AtomicU32,
    bytes: AtomicU32,
    /// How many bytes from the first are there, while the block is raising and ever after.
    ready: AtomicU32,
    /// Place of the parent + 1; 0 is none. Another block may be there by now.
    parent: AtomicU32,
}

#[cfg(not(loom))]
static_assertions::assert_eq_size!(Entry, [u8; 64]);

impl Entry {
    /// A free entry.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            key: core::array::from_fn(|_| AtomicU64::new(0)),
            state: AtomicU64::new(0),
            recency: AtomicU64::new(0),
            slot: AtomicU32::new(0),
            bytes: AtomicU32::new(0),
            ready: AtomicU32::new(0),
            parent: AtomicU32::new(0),
        }
    }

    /// The state, with everything that the thread that made it so wrote before.
    #[inline]
    pub(crate) fn state(&self) -> State {
        // Acquire: partner is the release half of every transition below.
        State(self.state.load(Ordering::Acquire))
    }

    /// The state, in the single order of pins and condemnations.
    #[inline]
    pub(crate) fn state_ordered(&self) -> State {
        // SeqCst: partners are the exchanges in `condemn`, `claim` and `remove` on this word and the exchange and load
        // of the pin words in `pins.rs`: whoever comes second in that order sees the first.
        State(self.state.load(Ordering::SeqCst))
    }

    /// Whether the key is `words`. Only meaningful between two looks at the same resident state.
    #[inline]
    pub(crate) fn key_is(&self, words: &[u64; 4]) -> bool {
        // Relaxed: ordered by the acquire of the first look; the second look, which must not move before these loads,
        // is sequentially consistent or comes after `fence_after_key`.
        self.key.iter().zip(words).fold(0, |different, (word, &wanted)| {
            different | (word.load(Ordering::Relaxed) ^ wanted)
        }) == 0
    }

    /// Whether the entry holds `words`, in memory or below; the state under which that was so.
    #[inline]
    pub(crate) fn known_as(&self, words: &[u64; 4]) -> Option<State> {
        let state = self.state();
        (state.is_known() && self.key_is(words) && self.unchanged_since(state)).then_some(state)
    }

    /// Whether the state is still `state`, looked at after everything that was read before.
    #[inline]
    pub(crate) fn unchanged_since(&self, state: State) -> bool {
        // Acquire fence, then relaxed load: the reads of the key cannot sink below it. Partner: the transitions that
        // start a new generation store the state before they write a new key (`reserve`).
        #[cfg(not(loom))]
        core::sync::atomic::fence(Ordering::Acquire);
        #[cfg(loom)]
        loom::sync::atomic::fence(Ordering::Acquire);
        self.state.load(Ordering::Relaxed) == state.0
    }

    /// The key.
    pub(crate) fn key(&self) -> Key {
        Key::from_words(core::array::from_fn(|word| self.key[word].load(Ordering::Relaxed)))
    }

    /// Bytes of the block.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        // Relaxed: written before the state that the caller acquired.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Slot of the block in the memory tier.
    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        // Relaxed: as `bytes`.
        self.slot.load(Ordering::Relaxed)
    }

    /// Place that the block's parent had when this block was reserved.
    pub(crate) fn parent(&self) -> Option<u32> {
        // Relaxed: as `bytes`.
        self.parent.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes where the parent is. Only for who reserves the block.
    pub(crate) fn set_parent(&self, parent: Option<u32>) {
        // Relaxed: as `bytes`.
        self.parent
            .store(parent.map_or(0, |place| place + 1), Ordering::Relaxed);
    }

    /// Changes the slot of a block that the calling thread has claimed, before it is published.
    pub(crate) fn set_slot(&self, slot: u32) {
        // Relaxed: published by the store in `publish`.
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// How many bytes from the first are there.
    pub(crate) fn ready(&self) -> u32 {
        // Acquire: partner is the release in `set_ready`; the bytes are there with it.
        self.ready.load(Ordering::Acquire)
    }

    /// Notes how many bytes from the first are there. Only for who fills the slot.
    pub(crate) fn set_ready(&self, bytes: u32) {
        // Release: partner is the acquire in `ready`.
        self.ready.store(bytes, Ordering::Release);
    }

    /// Notes that the block was never used, so that it is the first to go again.
    pub(crate) fn forget_uses(&self) {
        // Relaxed: an estimate by design.
        self.recency.store(0, Ordering::Relaxed);
    }

    /// When and how often the block was used.
    pub(crate) fn recency(&self) -> Recency {
        // Relaxed: an estimate by design.
        Recency(self.recency.load(Ordering::Relaxed))
    }

    /// Notes a use at `stamp`. Writes only if the use clock has moved on since the last one.
    #[inline]
    pub(crate) fn touch(&self, stamp: u64) {
        let recency = self.recency();
        if recency.stamp() != stamp {
            let uses = recency.uses().wrapping_add(1);
            // Relaxed store, not an exchange: of two uses at the same moment one may be lost.
            self.recency.store(Recency::new(stamp, uses).0, Ordering::Relaxed);
        }
    }

    /// Free → Reserved. The caller claimed the entry's tag in the index, so nobody else changes it.
    pub(crate) fn reserve(&self, words: &[u64; 4], slot: u32, bytes: u32) -> State {
        // Relaxed: the claim handed the entry over.
        let generation = State(self.state.load(Ordering::Relaxed)).generation();
        let state = State::new(generation.wrapping_add(1), Phase::Reserved);
        // Release: partner is the acquire in `state`, for the time of the reservation.
        self.state.store(state.0, Ordering::Release);
        // Release fence: partner is the acquire fence in `unchanged_since`: a reader that saw any word of the new key
        // sees this state, too, and drops what it read.
        #[cfg(not(loom))]
        core::sync::atomic::fence(Ordering::Release);
        #[cfg(loom)]
        loom::sync::atomic::fence(Ordering::Release);
        for (word, &value) in self.key.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.slot.store(slot, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        state
    }

    /// Notes when the reservation is made, in the word that holds the recency later. Before `reserve`.
    pub(crate) fn set_reserved_since(&self, now_ns: u64) {
        // Relaxed: read for expiry in milliseconds.
        self.recency.store(DATED | now_ns, Ordering::Relaxed);
    }

    /// When the reservation was made. Only meaningful between two looks at the same reserved state.
    ///
    /// A reader that found the entry's last block just before it went may note its use only now, over the date. The
    /// reservation is dated anew then, with `now_ns`.
    pub(crate) fn reserved_since(&self, now_ns: u64) -> u64 {
        // Relaxed: as `set_reserved_since`.
        let word = self.recency.load(Ordering::Relaxed);
        if word & DATED != 0 {
            return word & !DATED;
        }
        // An exchange, so that a block that was published in the meantime keeps its recency.
        let _ = self
            .recency
            .compare_exchange(word, DATED | now_ns, Ordering::Relaxed, Ordering::Relaxed);
        now_ns
    }

    /// Reserved, Resident or Condemned → Claimed. True for the one thread that did it; the block is its own from then
    /// on, until it publishes, removes or frees it.
    pub(crate) fn claim(&self, generation: u32, from: Phase) -> bool {
        self.exchange(State::new(generation, from), Phase::Claimed)
    }

    /// Claimed → Resident with `bytes` bytes, first used at `stamp`. Only for the thread that claimed it.
    pub(crate) fn publish(&self, generation: u32, bytes: u32, stamp: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.ready.store(bytes, Ordering::Relaxed);
        self.recency.store(Recency::new(stamp, 0).0, Ordering::Relaxed);
        // Release: partner is the acquire in `state`; the payload and the words above become readable with it. A store,
        // since nobody else changes a claimed block.
        self.state
            .store(State::new(generation, Phase::Resident).0, Ordering::Release);
    }

    /// Claimed → Below. Only for the thread that claimed it; the slot is its own from then on.
    pub(crate) fn settle(&self, generation: u32) {
        // Relaxed: published by the store.
        self.slot.store(NO_SLOT, Ordering::Relaxed);
        // SeqCst: partner is the exchange of the location in the tiers' words: who forgets the last location and who
        // settles both look at the other's word afterwards, and at least one sees. It includes the release of
        // `publish`.
        self.state
            .store(State::new(generation, Phase::Below).0, Ordering::SeqCst);
    }

    /// Claimed → Raising, into `slot`. Only for the thread that claimed it.
    pub(crate) fn raise(&self, generation: u32, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
        self.ready.store(0, Ordering::Relaxed);
        // Release: partner is the acquire in `state`.
        self.state
            .store(State::new(generation, Phase::Raising).0, Ordering::Release);
    }

    /// Raising → Resident: all bytes are in the slot. False if it was removed in the meantime.
    pub(crate) fn risen(&self, generation: u32) -> bool {
        self.exchange(State::new(generation, Phase::Raising), Phase::Resident)
    }

    /// Reserved → Claimed → Resident.
    #[cfg(test)]
    pub(crate) fn commit(&self, generation: u32, bytes: u32, stamp: u64) -> bool {
        let claimed = self.claim(generation, Phase::Reserved);
        if claimed {
            self.publish(generation, bytes, stamp);
        }
        claimed
    }

    /// Resident → Condemned: an evictor's claim, which it may take back.
    pub(crate) fn condemn(&self, generation: u32) -> bool {
        self.exchange(State::new(generation, Phase::Resident), Phase::Condemned)
    }

    /// Condemned → Resident: somebody had pinned it. False if it is doomed.
    pub(crate) fn roll_back(&self, generation: u32) -> bool {
        self.exchange(State::new(generation, Phase::Condemned), Phase::Resident)
    }

    /// Condemned → Doomed: somebody removes what an evictor is just looking at, and leaves the rest to the evictor.
    pub(crate) fn doom(&self, generation: u32) -> bool {
        self.exchange(State::new(generation, Phase::Condemned), Phase::Doomed)
    }

    /// Claimed or Doomed → Removed.
    pub(crate) fn remove(&self, generation: u32, from: Phase) -> bool {
        self.exchange(State::new(generation, from), Phase::Removed)
    }

    /// `from` → Free. True for the one thread that did it; it owns slot and entry from then on.
    pub(crate) fn free(&self, generation: u32, from: Phase) -> bool {
        self.exchange(State::new(generation, from), Phase::Free)
    }

    fn exchange(&self, from: State, to: Phase) -> bool {
        // SeqCst: see `state_ordered`; it includes the release that `state` acquires and the acquire that makes what
        // the last holder did visible to the next. Relaxed on failure: nothing is read.
        self.state
            .compare_exchange(
                from.0,
                State::new(from.generation(), to).0,
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}
