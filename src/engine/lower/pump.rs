//! The pump: what moves the file tiers on, one thread at a time.

use core::cell::Cell;

use super::coder::Coder;
use super::queue::Queue;
use super::store::Store;
use super::tuning::Tuning;
use super::word::{MOVING, READING, WRITING};
use super::{COUNTERS, Lower, TIERS};
use crate::block::BlockRef;
use crate::engine::Engine;
use crate::key::Key;
use crate::metrics::{Counter, EventKind};
use crate::policy::Reuse;
use crate::sync::atomic::Ordering;
use crate::tier::log::{LogEvent, ReadFault, RecordInfo};
use crate::units::Tier;

/// What only the pump touches.
pub(super) struct Pump<'m> {
    pub(super) stores: [Option<Store<'m>>; 2],
    /// Blocks to be raised.
    pub(super) raises: Queue<'m>,
    /// Blocks to be written, or to be forgotten with a tombstone.
    pub(super) writes: Queue<'m>,
    /// How often `writes` was empty and filled again from the inbox.
    pub(super) drains_count: u32,
    pub(super) filter: Reuse,
    pub(super) tuning: Option<Tuning>,
    /// Whether room is being made up to the upper watermark.
    pub(super) making_room: bool,
    /// Blocks of which a write is under way that gives their slots free.
    pub(super) write_backs: u64,
    pub(super) coder: Coder<'m>,
}

impl Pump<'_> {
    /// Tells the logs that a caller waited while the engine's clock may stand still.
    pub(super) fn waited(&mut self, ns: u64) {
        for store in self.stores.iter_mut().flatten() {
            store.log.waited(ns);
        }
    }
}

/// The way of a segment that is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Movement {
    /// No segment is being given up.
    Idle,
    /// Its records are gone through. `kept_bytes` of it were written again, `under_way` of those are not yet reported.
    Walking(Kept),
    /// A block of it is being read.
    Reading(Kept, Mover),
    /// A block of it was read and is to be appended to a tier.
    Arrived(Kept, Mover),
    /// Its records are dealt with; moves are under way.
    Draining(Kept),
    /// What was moved is being made durable: only then may the segment go.
    Syncing([Option<u64>; 2]),
    /// The segment's header is being taken out of the file, durably: only then may what it holds be forgotten for good.
    /// Else a loss of power could bring back what was removed since.
    Retiring(Option<u64>),
}

/// How much of a segment was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) bytes: u64,
    pub(super) under_way: u32,
}

/// A block on its way out of a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mover {
    pub(super) index: u32,
    pub(super) info: RecordInfo,
    pub(super) payload_bytes: u32,
    /// The tier that it goes to.
    pub(super) target: usize,
    /// Since when its target refuses it, and how often it did.
    pub(super) since_ns: u64,
    pub(super) refusals: u32,
}

/// What a log's request is for: `kind << 60 | tier it came from << 56 | index`.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    /// Writing a block that memory has.
    Write(u32),
    /// Reading a block into its slot.
    Raise(u32),
    /// Writing a block that was in the tier of this number.
    MoveWrite(usize, u32),
    /// Reading a block into the transfer buffer.
    MoveRead(u32),
}

impl Tag {
    pub(super) const fn pack(self) -> u64 {
        match self {
            Self::Write(index) => 1 << 60 | index as u64,
            Self::Raise(index) => 2 << 60 | index as u64,
            Self::MoveWrite(from, index) => 3 << 60 | (from as u64) << 56 | index as u64,
            Self::MoveRead(index) => 4 << 60 | index as u64,
        }
    }

    const fn unpack(tag: u64) -> Self {
        let index = tag as u32;
        match tag >> 60 {
            1 => Self::Write(index),
            2 => Self::Raise(index),
            3 => Self::MoveWrite((tag >> 56 & 1) as usize, index),
            _ => Self::MoveRead(index),
        }
    }
}

/// What a poll's events come to for the pump itself, gathered while the log is being polled.
#[derive(Default)]
struct Outcome {
    write_backs_done: Cell<u64>,
    moves_done: [Cell<u32>; 2],
    move_read: Cell<Option<Result<RecordInfo, ReadFault>>>,
    offline: Cell<bool>,
}

impl Engine<'_> {
    /// Moves the file tiers on if nobody else does. Bounded; returns how much there was to do.
    pub(in crate::engine) fn pump(&self) -> u64 {
        let Some(lower) = &self.lower else { return 0 };
        match lower.pump.take() {
            Some(mut pump) => self.pump_with(lower, &mut pump),
            None => 0,
        }
    }

    pub(super) fn pump_with(&self, lower: &Lower<'_>, pump: &mut Pump<'_>) -> u64 {
        let mut done = 0;
        for place in 0..TIERS.len() {
            done += self.poll_log(lower, pump, place);
        }
        done += self.raise_on(lower, pump);
        done += self.write_on(lower, pump);
        done += self.make_room_ahead(lower, pump);
        for place in 0..TIERS.len() {
            done += self.segment_on(lower, pump, place);
        }
        for store in pump.stores.iter_mut().flatten() {
            // Whoever drives the pump may be away for as long as it takes to copy a block.
            store.log.hand_over();
        }
        self.push_out(lower, pump, done != 0);
        self.tune(pump);
        done
    }

    /// Pushes out what is staged where nothing more comes, begins what was just asked for, and shows the figures.
    pub(super) fn push_out(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, active: bool) {
        let stripe = self.stripe();
        let waiting = !pump.raises.is_empty() || !pump.writes.is_empty();
        for (place, store) in pump.stores.iter_mut().enumerate() {
            let (Some(store), Some(face)) = (store, lower.face(place)) else {
                continue;
            };
            if !active && store.staged {
                store.log.push();
                store.staged = false;
            }
            let counts = store.log.counts();
            let differences = [
                (
                    COUNTERS[place].file_bytes,
                    counts.bytes_written - store.counted.bytes_written,
                ),
                (Counter::IoRetries, counts.io_retries - store.counted.io_retries),
                (Counter::IoErrors, counts.io_errors - store.counted.io_errors),
            ];
            for (counter, difference) in differences.into_iter().filter(|&(_, difference)| difference != 0) {
                self.counters.add(stripe, counter, difference);
            }
            store.budget.spend(counts.bytes_written - store.counted.bytes_written);
            store.counted = counts;
            // Relaxed: figures, and hints for those who wait.
            face.bytes_written.store(counts.bytes_written, Ordering::Relaxed);
            face.segments_free.store(store.log.segments_free(), Ordering::Relaxed);
            let busy = waiting || !store.log.is_idle() || store.staged || store.movement != Movement::Idle;
            face.busy
                .store(u32::from(busy && !face.is_offline()), Ordering::Relaxed);
        }
    }

    pub(super) fn poll_log(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, place: usize) -> u64 {
        let Some(store) = pump.stores.get_mut(place).and_then(Option::as_mut) else {
            return 0;
        };
        let outcome = Outcome::default();
        let coder = &mut pump.coder;
        let done = store.log.poll(self.now_ns(), &mut |event| {
            self.on_event(lower, coder, place, event, &outcome);
        });
        pump.write_backs = pump.write_backs.saturating_sub(outcome.write_backs_done.get());
        if let Some(result) = outcome.move_read.get() {
            self.move_arrived(lower, store, place, result);
        }
        for (from, count) in outcome.moves_done.iter().enumerate() {
            if let Some(store) = pump.stores.get_mut(from).and_then(Option::as_mut) {
                store.movement = match store.movement {
                    Movement::Walking(kept) => Movement::Walking(kept.less(count.get())),
                    Movement::Reading(kept, mover) => Movement::Reading(kept.less(count.get()), mover),
                    Movement::Arrived(kept, mover) => Movement::Arrived(kept.less(count.get()), mover),
                    Movement::Draining(kept) => Movement::Draining(kept.less(count.get())),
                    other => other,
                };
            }
        }
        if outcome.offline.get() {
            self.went_offline(lower, pump, place);
        }
        done
    }

    fn on_event(&self, lower: &Lower<'_>, coder: &mut Coder<'_>, place: usize, event: LogEvent, outcome: &Outcome) {
        let add = |cell: &Cell<u32>| cell.set(cell.get() + 1);
        match event {
            LogEvent::Written {
                tag,
                offset,
                payload_bytes,
            } => match Tag::unpack(tag) {
                Tag::Write(index) => {
                    outcome.write_backs_done.set(outcome.write_backs_done.get() + 1);
                    self.written(lower, place, index, offset, payload_bytes);
                }
                Tag::MoveWrite(from, index) => {
                    add(&outcome.moves_done[from]);
                    self.moved(lower, from, place, index, Some((offset, payload_bytes)));
                }
                Tag::Raise(_) | Tag::MoveRead(_) => {}
            },
            LogEvent::WriteFailed { tag } => match Tag::unpack(tag) {
                Tag::Write(index) => {
                    outcome.write_backs_done.set(outcome.write_backs_done.get() + 1);
                    self.write_failed(lower, place, index);
                }
                Tag::MoveWrite(from, index) => {
                    add(&outcome.moves_done[from]);
                    self.moved(lower, from, place, index, None);
                }
                Tag::Raise(_) | Tag::MoveRead(_) => {}
            },
            LogEvent::Progress { tag, bytes_ready } => {
                if let Tag::Raise(index) = Tag::unpack(tag) {
                    let entry = &self.entries[index as usize];
                    let stored_bytes = lower
                        .face(place)
                        .map(|face| face.word(index).stored_bytes(entry.state().generation()));
                    // Of a code nothing is ready before it was decoded.
                    if stored_bytes == Some(entry.bytes()) {
                        entry.set_ready(bytes_ready);
                    }
                }
            }
            LogEvent::Read { tag, result } => match Tag::unpack(tag) {
                Tag::Raise(index) => self.raised(lower, coder, place, index, result),
                Tag::MoveRead(_) => outcome.move_read.set(Some(result)),
                Tag::Write(_) | Tag::MoveWrite(..) => {}
            },
            LogEvent::Offline => outcome.offline.set(true),
        }
    }

    /// Forgets a tier whose device failed. What only it had is gone for now; its file is as it was.
    fn went_offline(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, place: usize) {
        let Some(face) = lower.face(place) else { return };
        // Relaxed: a flag that is never taken back.
        face.offline.store(1, Ordering::Relaxed);
        let tier = TIERS[place];
        self.event(EventKind::Offline, Key::default(), BlockRef::default(), tier);
        if let Some(store) = &mut pump.stores[place] {
            store.movement = Movement::Idle;
            store.staged = false;
            face.limbo.store(0, Ordering::SeqCst);
        }
        // Moves from the other tier to this one that were under way were told as failed by the log.
        self.index.each_used(|index| {
            let entry = &self.entries[index as usize];
            let generation = entry.state().generation();
            let word = face.word(index);
            if word.holds(generation) {
                self.lose_location(lower, place, index, Counter::IoErrors);
                word.clear(generation, WRITING | READING | MOVING);
                self.after_hold(lower, index, generation);
            }
        });
    }

    /// Counts and tells what a failed read says of its block.
    pub(super) fn read_failed(&self, place: usize, index: u32, fault: ReadFault) {
        let tier: Tier = TIERS[place];
        let entry = &self.entries[index as usize];
        if fault == ReadFault::Damaged {
            let generation = entry.state().generation();
            self.counters.add(self.stripe(), Counter::ChecksumFailures, 1);
            self.event(EventKind::Damaged, entry.key(), BlockRef { index, generation }, tier);
        }
    }
}

impl Kept {
    fn less(self, count: u32) -> Self {
        Self {
            under_way: self.under_way.saturating_sub(count),
            ..self
        }
    }
}
