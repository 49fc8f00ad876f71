//! The event ring: what a router follows to know which blocks are where.
//!
//! Many writers, any number of readers, each reader with a cursor of its own that the ring knows nothing of. The ring
//! never waits for a reader: it overwrites, and a reader that comes too late learns how many events it missed. Nor
//! does it wait for a writer: an event whose slot is still being written, a whole lap later, is given up and counted.
//!
//! # The stamp
//!
//! Every event has a **sequence number** (0, 1, 2, …), taken from the head by an atomic addition; its slot is the
//! number modulo the capacity. The slot's **stamp** says what the slot holds:
//!
//! | stamp | the slot |
//! | --- | --- |
//! | 0 | was never written |
//! | `2 * s + 1` | is being written by the writer of event `s` |
//! | `2 * s + 2` | holds event `s`, whole |
//!
//! A stamp only grows. A writer may claim a slot whose stamp is even and older than its own event, by a compare and
//! exchange; from then until it stores the even stamp it is the slot's only writer. If the slot is busy, or another
//! writer was quicker, it **gives up**: it leaves its number in the slot's *given-up* word, so that readers do not wait
//! for that event, and tells the caller. A reader takes the stamp, the words, and the stamp again; two equal stamps
//! mean that the words belong together.
//!
//! # Progress, and what if a thread stops here?
//!
//! * [`EventRing::write`] is **wait-free**: one addition and at most one compare and exchange; a writer that gives up
//!   leaves its number in no more rounds than there are threads.
//! * [`EventRing::read`] is **wait-free**: it looks at no more slots than the ring has.
//! * A writer stopped between taking its number and its even stamp: readers stop before that event until it goes on or
//!   the ring has come round once; then they count the event as lost and go on. Writers that meet the claimed slot,
//!   once per lap, give up that one event. Nobody else notices.
//! * A writer stopped between its number and its claim, for a whole lap: it finds a newer stamp and gives up. A younger
//!   event is never replaced by an older one.
//! * A reader stopped anywhere: nobody notices; it has missed what was overwritten and is told how many.
//!
//! The words are atomic, so a torn read is a value that is thrown away, never undefined.

use crate::key::Key;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::{BlockIndex, Tier};

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

/// Words before the first slot: the head, alone on its cache line because every writer adds to it.
const HEAD_WORDS: usize = 8;
/// Words of a slot, one cache line: the stamp and the seven of [`Event::words`].
const SLOT_WORDS: usize = 1 + PAYLOAD_WORDS;
const PAYLOAD_WORDS: usize = 7;

/// What happened to a block. The numbers are those of `kvcache.h` and never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// The block became readable in the tier.
    Stored = 1,
    /// The caller removed the block.
    Removed = 2,
    /// The block had to make room.
    Evicted = 3,
    /// The block was moved and is now in the tier given.
    Moved = 4,
    /// A pin on the block was taken back after its time.
    PinExpired = 5,
    /// What the tier's file held under this key was not what was written; the block was dropped.
    Damaged = 6,
    /// The tier went offline: its device fails or stalls. The key is zero.
    Offline = 7,
    /// The tier's codec was coarser on this model than its bound: it takes a better one from now on. The key is that of
    /// the block that showed it.
    CodecFallback = 8,
}

impl EventKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [EventKind; 8] = [
        EventKind::Stored,
        EventKind::Removed,
        EventKind::Evicted,
        EventKind::Moved,
        EventKind::PinExpired,
        EventKind::Damaged,
        EventKind::Offline,
        EventKind::CodecFallback,
    ];

    /// The number that crosses the C boundary; 0 is none.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The kind of a number, or `None` for a number that means nothing.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One event. `kvc_event_t` in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's number; the next event has the next one. Set by the ring.
    pub sequence: u64,
    /// The engine's clock when it happened, in nanoseconds.
    pub time_ns: u64,
    /// The block's key.
    pub key: Key,
    /// The place of the block's entry, at that time.
    pub block_index: BlockIndex,
    /// The generation of that place, at that time.
    pub block_generation: u32,
    /// What happened.
    pub kind: EventKind,
    /// The tier it happened in.
    pub tier: Tier,
}

impl Event {
    fn words(&self) -> [u64; PAYLOAD_WORDS] {
        let [key_0, key_1, key_2, key_3] = self.key.words();
        let block = u64::from(self.block_generation) << 32 | u64::from(self.block_index.0);
        let kind = u64::from(self.tier as u32) << 32 | u64::from(self.kind.code());
        [self.time_ns, key_0, key_1, key_2, key_3, block, kind]
    }

    /// `None` where the words are not an event's, which takes a stray write into the ring's memory.
    fn from_words(sequence: u64, words: [u64; PAYLOAD_WORDS]) -> Option<Self> {
        let [time_ns, key_0, key_1, key_2, key_3, block, kind] = words;
        Some(Self {
            sequence,
            time_ns,
            key: Key::from_words([key_0, key_1, key_2, key_3]),
            block_index: BlockIndex(block as u32),
            block_generation: (block >> 32) as u32,
            kind: EventKind::from_code(kind as u32)?,
            tier: Tier::ALL.get((kind >> 32) as usize).copied()?,
        })
    }
}

/// What a reader got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRead {
    /// Events handed out.
    pub count: usize,
    /// Events that the cursor passed and that cannot be had any more: overwritten, or given up by their writer.
    pub lost: u64,
}

/// What the ring holds under a sequence number.
enum Slot {
    Event(Event),
    Lost,
    Unwritten,
}

/// The ring, over borrowed words.
///
/// Any thread may write and read at any time. Events of different threads stand in the order in which they took
/// their numbers; those of one thread in the order of its calls.
#[derive(Clone, Copy, Debug)]
pub struct EventRing<'m> {
    /// The number of the next event; `None` where the ring is off.
    head: Option<&'m AtomicU64>,
    slots: &'m [[AtomicU64; SLOT_WORDS]],
    /// Per slot, one more than the last number that a writer gave up there; 0 for none. Apart from the slots, so that
    /// a slot is one cache line; looked at only where the event is not there.
    given_up: &'m [AtomicU64],
}

impl<'m> EventRing<'m> {
    /// How many words a ring of `capacity` events takes: 9 per event and 8; none where it is off.
    pub const fn words_count(capacity: usize) -> usize {
        if capacity == 0 {
            0
        } else {
            HEAD_WORDS + capacity * (SLOT_WORDS + 1)
        }
    }

    /// A ring of `capacity` events over `words`, which hold zeros or what an earlier value of this type left.
    ///
    /// Where fewer fit (see [`EventRing::words_count`]) the ring holds as many as fit. None: the ring is off, every
    /// write succeeds and does nothing. The caller aligns `words` to 64 bytes, else slots share cache lines (slower,
    /// not wrong).
    pub fn new(words: &'m [AtomicU64], capacity: usize) -> Self {
        let capacity = capacity.min(words.len().saturating_sub(HEAD_WORDS) / (SLOT_WORDS + 1));
        if capacity == 0 {
            return Self {
                head: None,
                slots: &[],
                given_up: &[],
            };
        }
        let (head, rest) = words.split_at(HEAD_WORDS);
        let (slots, rest) = rest.split_at(capacity * SLOT_WORDS);
        let (slots, _) = slots.as_chunks::<SLOT_WORDS>();
        Self {
            head: head.first(),
            slots,
            given_up: &rest[..capacity],
        }
    }

    /// How many events the ring holds; 0 where it is off.
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The number that the next event will have: the cursor of a reader that wants to know only what comes.
    pub fn next_sequence(&self) -> u64 {
        // Relaxed, without a partner: a number, not a promise; the stamps say what can be read.
        self.head.map_or(0, |head| head.load(Ordering::Relaxed))
    }

    /// Appends an event; `event.sequence` is ignored. `false`: the event was given up because its slot was still being
    /// written, and the caller counts it ([`Counter::EventsLost`](crate::metrics::Counter::EventsLost)).
    ///
    /// Wait-free. A ring that is off answers `true`.
    #[must_use = "an event that was given up has to be counted"]
    pub fn write(&self, event: &Event) -> bool {
        let Some(head) = self.head else { return true };
        // Relaxed, without a partner: the addition only hands out numbers. What the event says is published by the
        // stamp (release A).
        let sequence = head.fetch_add(1, Ordering::Relaxed);
        let place = self.place(sequence);
        if self.write_at(place, sequence, event) {
            return true;
        }
        self.give_up(place, sequence);
        false
    }

    /// Hands `each` the events from `*next_sequence` on, at most `limit`, in order, and moves the cursor behind the
    /// last.
    ///
    /// Stops before an event that is still being written, unless the ring has come round since. A cursor behind what
    /// the ring still holds is moved there, and the events in between are counted as lost. A cursor ahead of the ring
    /// (of another engine, or from before a restart) reads nothing and stays; [`EventRing::next_sequence`] tells.
    ///
    /// Wait-free, apart from what `each` does.
    pub fn read_each(&self, next_sequence: &mut u64, limit: usize, mut each: impl FnMut(Event)) -> EventRead {
        let mut read = EventRead::default();
        let head = self.next_sequence();
        let oldest = head.saturating_sub(self.capacity() as u64);
        if *next_sequence < oldest {
            read.lost = oldest - *next_sequence;
            *next_sequence = oldest;
        }
        while read.count < limit && *next_sequence < head {
            match self.slot(*next_sequence) {
                Slot::Event(event) => {
                    each(event);
                    read.count += 1;
                }
                Slot::Lost => read.lost += 1,
                Slot::Unwritten => break,
            }
            *next_sequence += 1;
        }
        read
    }

    /// As [`EventRing::read_each`], into the first places of `events_out`; the others stay as they were.
    pub fn read(&self, next_sequence: &mut u64, events_out: &mut [Event]) -> EventRead {
        let mut places = events_out.iter_mut();
        let limit = places.len();
        self.read_each(next_sequence, limit, |event| {
            if let Some(place) = places.next() {
                *place = event;
            }
        })
    }

    fn place(&self, sequence: u64) -> usize {
        (sequence % self.slots.len() as u64) as usize
    }

    fn write_at(&self, place: usize, sequence: u64, event: &Event) -> bool {
        let [stamp, payload @ ..] = &self.slots[place];
        let stamp_busy = 2 * sequence + 1;
        // Relaxed, without a partner: a guess, which the exchange below makes sure of.
        let stamp_before = stamp.load(Ordering::Relaxed);
        if !stamp_before.is_multiple_of(2) || stamp_before > stamp_busy {
            return false;
        }
        // Acquire B, partner of release A of the slot's previous writer: its words come before ours in the order of
        // every word, so that none of them lands on top of ours.
        if stamp
            .compare_exchange(stamp_before, stamp_busy, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        for (target, word) in payload.iter().zip(event.words()) {
            // Release C, partner of acquire C in `slot`: a reader that sees this word also sees that the stamp is busy,
            // or newer, when it looks again, and throws the word away.
            target.store(word, Ordering::Release);
        }
        // Release A, partner of acquire A in `slot` and acquire B above: who sees this stamp sees our words.
        stamp.store(stamp_busy + 1, Ordering::Release);
        true
    }

    /// Raises the slot's given-up word to this event's number and one.
    fn give_up(&self, place: usize, sequence: u64) {
        // Relaxed, all three: the value says everything; the partner is the load in `slot`.
        let mut before = self.given_up[place].load(Ordering::Relaxed);
        // A round is repeated only because a writer with an older number came in between, and a thread has one number
        // at a time: no more rounds than threads. `fetch_max` has no such bound where the processor lacks it.
        while before <= sequence {
            match self.given_up[place].compare_exchange(before, sequence + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => before = current,
            }
        }
    }

    fn slot(&self, sequence: u64) -> Slot {
        let place = self.place(sequence);
        let [stamp, payload @ ..] = &self.slots[place];
        let stamp_whole = 2 * sequence + 2;
        // Acquire A, partner of release A in `write_at`: the loads below see the words of this event, or newer ones.
        let stamp_before = stamp.load(Ordering::Acquire);
        if stamp_before > stamp_whole {
            return Slot::Lost;
        }
        if stamp_before < stamp_whole {
            // Relaxed: the value says everything; its partner is the exchange in `give_up`.
            let given_up = self.given_up[place].load(Ordering::Relaxed) > sequence;
            let lapped = self.next_sequence() - sequence > self.slots.len() as u64;
            return if given_up || lapped {
                Slot::Lost
            } else {
                Slot::Unwritten
            };
        }
        let mut words = [0; PAYLOAD_WORDS];
        for (target, word) in words.iter_mut().zip(payload) {
            // Acquire C, partner of release C in `write_at`: if this is a word of a newer event, the load below sees
            // that event's stamp. It also keeps that load behind this one.
            *target = word.load(Ordering::Acquire);
        }
        // Relaxed: what it must see was acquired with the words (C).
        if stamp.load(Ordering::Relaxed) != stamp_whole {
            return Slot::Lost;
        }
        Event::from_words(sequence, words).map_or(Slot::Lost, Slot::Event)
    }
}
