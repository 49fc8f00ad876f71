//! The log's state as it lies in its words: segments, blocks being read, records not yet reported.

use bytemuck::{Pod, Zeroable};
use static_assertions::const_assert_eq;

use super::lend::{Frame, NONE, Target};
use crate::budget::{FRAME_WORDS, LogLayout, PENDING_WORDS, READ_WORDS, SEGMENT_WORDS};

/// What a segment is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SegmentUse {
    /// Never held anything that counts.
    Empty = 0,
    /// Was given up.
    Freed = 1,
    /// Is being written.
    Open = 2,
    /// Is full, or was left by an earlier run.
    Sealed = 3,
    /// Is being given up.
    Victim = 4,
}

/// The segment has no table that can be read: its records are found by a scan.
pub(super) const FLAG_SCAN: u8 = 1;
/// The device does not reach to its end: it can be read, never written.
pub(super) const FLAG_BEYOND: u8 = 2;
/// While opening: the header did not verify.
pub(super) const FLAG_HEADER_BAD: u8 = 4;
/// While opening: the footer did not verify.
pub(super) const FLAG_FOOTER_BAD: u8 = 8;
/// While opening: the sequence is that of its header.
pub(super) const FLAG_HEADER: u8 = 16;
/// While opening: the footer is to be made void.
pub(super) const FLAG_VOID: u8 = 32;
/// Its header could not be written: nothing in it counts as written.
pub(super) const FLAG_BROKEN: u8 = 64;

/// One segment.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Segment {
    /// Its sequence; 0 where it holds nothing.
    pub sequence: u64,
    /// The ticket that must be durable before it is written again. While opening: the footer's sequence, and then where
    /// in it begins what may have been under way, if something of it is to be taken out of its table.
    pub barrier: u64,
    /// Blocks of it that are being read.
    pub reads: u32,
    /// Entries of its table.
    pub count: u16,
    state: u8,
    /// The flags above.
    pub flags: u8,
}

impl Segment {
    /// What it is.
    pub(super) fn state(&self) -> SegmentUse {
        match self.state {
            0 => SegmentUse::Empty,
            1 => SegmentUse::Freed,
            2 => SegmentUse::Open,
            3 => SegmentUse::Sealed,
            _ => SegmentUse::Victim,
        }
    }

    /// Makes it something else.
    pub(super) fn set_state(&mut self, state: SegmentUse) {
        self.state = state as u8;
    }

    /// Whether the flag is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A block that is being read.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Reading {
    /// The record's place.
    pub offset: u64,
    /// Comes back with the outcome.
    pub tag: u64,
    /// The key that it must have.
    pub key: [u64; 4],
    /// Where it goes.
    pub target: Target,
    /// By part: whether it is in its place.
    pub parts_done: [u64; 4],
    /// The next free place, or the next block to be begun.
    pub next: u32,
    /// Pieces that wait for the table, linked.
    pub waiting: u32,
    /// The frame with header and table.
    pub frame_first: u32,
    /// The segment that it is in.
    pub segment: u32,
    /// Pieces under way.
    pub outstanding: u16,
    /// Pieces requested so far.
    pub chunks_begun: u16,
    /// Parts in their place without a gap, from the first.
    pub parts_ready: u16,
    /// 1: header and table verified. 2: failed on the device. 3: damaged.
    pub verdict: u16,
    /// Error number of the failure.
    pub os_error: i32,
    /// Whether it counts in its segment.
    pub counted: u32,
}

/// Header and table are good.
pub(super) const VERDICT_GOOD: u16 = 1;
/// The device failed.
pub(super) const VERDICT_IO: u16 = 2;
/// Something did not verify.
pub(super) const VERDICT_DAMAGED: u16 = 3;

/// A record that is written and not reported yet.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Pending {
    /// As given.
    pub tag: u64,
    /// Where it is.
    pub offset: u64,
    /// Ticket of the frame with its first byte.
    pub first: u64,
    /// Ticket of the frame with its last byte.
    pub last: u64,
    /// Bytes stored.
    pub payload_bytes: u32,
    /// Nothing.
    pub padding: u32,
}

const_assert_eq!(size_of::<Segment>() as u64 + 8, SEGMENT_WORDS * 8);
const_assert_eq!(size_of::<Frame>() as u64, FRAME_WORDS * 8);
const_assert_eq!(size_of::<Reading>() as u64, READ_WORDS * 8);
const_assert_eq!(size_of::<Pending>() as u64, PENDING_WORDS * 8);

/// The words, cut up.
pub(super) struct Parts<'m> {
    pub segments: &'m mut [Segment],
    pub sealed: &'m mut [u32],
    pub free: &'m mut [u32],
    pub frames: &'m mut [Frame],
    pub reads: &'m mut [Reading],
    pub pending: &'m mut [Pending],
    pub table: &'m mut [u64],
    pub victim_table: &'m mut [u64],
}

impl<'m> Parts<'m> {
    /// Cuts up `words`.
    ///
    /// # Panics
    /// When there are fewer than the layout says.
    pub(super) fn cut(layout: &LogLayout, words: &'m mut [u64]) -> Self {
        let mut rest = words;
        let mut cut = |count: u64| {
            let (first, others) = core::mem::take(&mut rest).split_at_mut(count as usize);
            rest = others;
            first
        };
        let segments_count = layout.segments_count;
        let segments = cut(segments_count * (SEGMENT_WORDS - 1));
        let rings: &'m mut [u32] = bytemuck::cast_slice_mut(cut(segments_count));
        let (sealed, free) = rings.split_at_mut(segments_count as usize);
        Self {
            segments: bytemuck::cast_slice_mut(segments),
            sealed,
            free,
            frames: bytemuck::cast_slice_mut(cut(layout.frames_count * FRAME_WORDS)),
            reads: bytemuck::cast_slice_mut(cut(layout.reads_count * READ_WORDS)),
            pending: bytemuck::cast_slice_mut(cut(layout.pending_count * PENDING_WORDS)),
            table: cut(layout.table_words_count()),
            victim_table: cut(layout.table_words_count()),
        }
    }
}

/// Segments, first in, first out.
pub(super) struct Ring<'m> {
    places: &'m mut [u32],
    head: usize,
    len: usize,
}

impl<'m> Ring<'m> {
    /// An empty ring.
    pub(super) fn new(places: &'m mut [u32]) -> Self {
        Self {
            places,
            head: 0,
            len: 0,
        }
    }

    /// How many are in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first.
    pub(super) fn front(&self) -> Option<u32> {
        (self.len != 0).then(|| self.places.get(self.head).copied()).flatten()
    }

    /// Appends; no segment is in two rings, so there is room.
    pub(super) fn push(&mut self, index: u32) {
        let count = self.places.len();
        if self.len < count {
            self.places[(self.head + self.len) % count] = index;
            self.len += 1;
        }
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let index = self.front()?;
        self.head = (self.head + 1) % self.places.len();
        self.len -= 1;
        Some(index)
    }

    /// The one at `place` from the first.
    pub(super) fn get(&self, place: usize) -> Option<u32> {
        let count = self.places.len().max(1);
        (place < self.len).then(|| self.places[(self.head + place) % count])
    }

    /// Orders by `key`. Only of a ring from which nothing was taken yet.
    pub(super) fn sort_by_key<K: Ord>(&mut self, key: impl Fn(u32) -> K) {
        if let Some(places) = self.places.get_mut(self.head..self.head + self.len) {
            places.sort_unstable_by_key(|&index| key(index));
        }
    }
}

/// Links of a first in, first out list whose members are linked elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// The first.
    pub head: u32,
    /// The last.
    pub tail: u32,
}

impl Queue {
    /// Nothing.
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE };

    /// The first.
    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Appends `index`; the one to be linked to it is returned, if there was one before.
    pub(super) fn push(&mut self, index: u32) -> Option<u32> {
        let last = self.tail;
        self.tail = index;
        if last == NONE {
            self.head = index;
            return None;
        }
        Some(last)
    }

    /// Takes the first, whose link is `next`.
    pub(super) fn pop(&mut self, next: u32) {
        self.head = next;
        if next == NONE {
            self.tail = NONE;
        }
    }
}
