//! The oldest segment of a tier is given up: what was hit in it is written again, the rest moves on to the next tier or
//! goes.
//!
//! # Soundness
//! - **I1** The transfer buffer is written by the log between the begin of the read and its report, and not looked at
//!   meanwhile (`store.rs`, I2).
//! - **I2** Bytes of a slot are read under a pin, after the block was seen resident under it (`Engine::pin`'s own
//!   rule).
#![allow(unsafe_code)]

use core::ops::Range;

use super::admission::admits;
use super::coder::{self, Coded, Coder, Quality, Source, Wanted};
use super::pump::{Kept, Movement, Mover, Pump, Tag};
use super::store::Store;
use super::word::{MOVING, WRITING};
use super::{COUNTERS, LIMBO_SEGMENT, Lower, TIERS};
use crate::block::entry::{Phase, State};
use crate::block::pins::PinKind;
use crate::engine::{Clock, Engine};
use crate::metrics::Counter;
use crate::policy::Departure;
use crate::sync::atomic::Ordering;
use crate::tier::log::{ReadFault, ReadRequest, RecordInfo, Refused, VictimStep};
use crate::units::SlotIndex;

/// Records of a segment that one call goes through.
const RECORDS_BATCH: u32 = 64;
/// How long a block waits for the tier that it moves to before it is given up.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How often it is refused before that where the engine's time may stand still.
const REFUSALS_MAX: u32 = 10_000;

impl Engine<'_> {
    /// Moves the giving up of the oldest segment of one tier on.
    pub(super) fn segment_on(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, place: usize) -> u64 {
        let Some(face) = lower.face(place).filter(|face| !face.is_offline()) else {
            return 0;
        };
        let mut done = 0;
        for _ in 0..RECORDS_BATCH {
            let Some(store) = &mut pump.stores[place] else {
                return done;
            };
            match store.movement {
                Movement::Idle => {
                    // Relaxed: a count.
                    let crowded = self.control.below_count.load(Ordering::Relaxed) + 64 > lower.below_count_max;
                    if (store.log.segments_free() >= 2 && !crowded) || !store.log.victim_begin() {
                        return done;
                    }
                    // SeqCst: partner is the load in `lower_bury`; before the first location is forgotten.
                    face.limbo.fetch_or(LIMBO_SEGMENT, Ordering::SeqCst);
                    store.movement = Movement::Walking(Kept::default());
                }
                Movement::Walking(kept) => match store.log.victim_next() {
                    VictimStep::Pending => return done,
                    VictimStep::Record {
                        offset,
                        payload_bytes,
                        info,
                        tombstone,
                    } => {
                        if !tombstone && !self.leave(lower, pump, place, kept, offset, payload_bytes, &info) {
                            if let Some(store) = &mut pump.stores[place] {
                                store.log.victim_again();
                            }
                            return done;
                        }
                    }
                    VictimStep::Done => store.movement = Movement::Draining(kept),
                    VictimStep::Lost => {
                        if !self.leave_all(lower, place, &store.log.victim_range()) {
                            return done;
                        }
                        store.movement = Movement::Draining(kept);
                    }
                },
                Movement::Reading(..) => return done,
                Movement::Arrived(kept, mover) => {
                    if !self.move_in(lower, pump, place, kept, mover) {
                        return done;
                    }
                }
                Movement::Draining(kept) => {
                    if kept.under_way != 0 {
                        return done;
                    }
                    let mut numbers = [None; 2];
                    for (number, store) in numbers.iter_mut().zip(&mut pump.stores).skip(place) {
                        *number = store.as_mut().map(|store| {
                            store.staged = false;
                            store.log.flush_begin()
                        });
                    }
                    if let Some(store) = &mut pump.stores[place] {
                        store.movement = Movement::Syncing(numbers);
                    }
                }
                Movement::Syncing(mut numbers) => {
                    let mut again = false;
                    for (store, number) in pump.stores.iter_mut().zip(&mut numbers) {
                        let (Some(store), Some(number)) = (store, number) else {
                            continue;
                        };
                        match store.log.flushed(*number) {
                            None => return done,
                            // Something else could not be written; what was moved is still to be made durable. This
                            // ends: a device of which that is said again and again goes offline, and then nothing was
                            // moved.
                            Some(false) if !store.log.is_offline() => {
                                *number = store.log.flush_begin();
                                again = true;
                            }
                            Some(_) => {}
                        }
                    }
                    if let Some(store) = &mut pump.stores[place] {
                        store.movement = match again {
                            true => Movement::Syncing(numbers),
                            false => Movement::Retiring(None),
                        };
                    }
                }
                Movement::Retiring(None) => {
                    if !store.log.victim_retire() {
                        return done;
                    }
                    store.staged = false;
                    store.movement = Movement::Retiring(Some(store.log.flush_begin()));
                }
                Movement::Retiring(Some(number)) => {
                    let Some(durable) = store.log.flushed(number) else {
                        return done;
                    };
                    store.log.victim_end();
                    store.retired_count = store.retired_count.wrapping_add(1);
                    store.movement = Movement::Idle;
                    // If it may still be found, tombstones go on being written until the next one is given up, whose
                    // header covers this one, too.
                    if durable {
                        // SeqCst: as above.
                        face.limbo.fetch_and(!LIMBO_SEGMENT, Ordering::SeqCst);
                    }
                }
            }
            done += 1;
        }
        done
    }

    /// Decides what becomes of one record of the segment that is given up; false if that must wait.
    ///
    /// When all records are dealt with, no block that can be read, now or later, lies in the segment. That takes four
    /// steps:
    /// - The entry whose location is this record's is found whatever its phase, for what is looked at holds still: a
    ///   location is changed by the pump alone, and an entry that has one is freed by the pump alone, so that its key,
    ///   its generation and its tag in the index stay, too.
    /// - In an evictor's or an asker's hands it may come back under its key with the location that it went with. So it
    ///   is looked at again until it is out of them. To forget the location at once would be wrong in a remover's: it
    ///   may rely on the location for its tombstone, having asked for `limbo` before that was set.
    /// - That ends: whoever condemns or claims a block takes a bounded number of steps of its own, with no wait for the
    ///   pump or anybody else among them, before it lets it go. The pump itself is never called in between.
    /// - Removed or doomed, it is never read again, and its tombstone comes from its location.
    #[allow(clippy::too_many_arguments)]
    fn leave(
        &self,
        lower: &Lower<'_>,
        pump: &mut Pump<'_>,
        place: usize,
        kept: Kept,
        offset: u64,
        payload_bytes: u32,
        info: &RecordInfo,
    ) -> bool {
        let Some(face) = lower.face(place) else { return true };
        let here = |index, state: State| face.word(index).location(state.generation()) == Some(offset);
        let Some(index) = self.index.find_where(&info.key, here) else {
            return true;
        };
        // Ordered, behind the store to `limbo`: who removes the block after this look sees that, and leaves its
        // tombstone to nothing else.
        let state = self.entries[index as usize].state_ordered();
        match state.phase() {
            Phase::Condemned | Phase::Claimed => return false,
            Phase::Removed | Phase::Doomed => return true,
            _ => {}
        }
        let generation = state.generation();
        let word = face.word(index);
        let hit = word.hits(generation) != 0 || state.phase() == Phase::Raising;
        let half = self.plan.log(TIERS[place]).segment_bytes / 2;
        let next = lower.working().find(|&(next, _)| next > place);
        let target = if hit && kept.bytes + u64::from(payload_bytes) <= half {
            Some(place)
        } else {
            next.filter(|(_, face)| {
                let leaving = self.departure(index);
                let uses = leaving.uses.saturating_add(word.hits(generation) as u16);
                face.word(index).location(generation).is_none()
                    && admits(&face.file, &pump.filter, &Departure { uses, ..leaving })
            })
            .filter(|&(next, _)| self.is_fine_enough(lower, pump, next, index))
            .map(|(next, _)| next)
        };
        let affordable = target.is_some_and(|target| {
            pump.stores[target].as_mut().is_some_and(|store| {
                let cost = store.log.append_cost_max(u64::from(payload_bytes));
                store.budget.allows(cost, self.now_ns())
            })
        });
        let (Some(target), true) = (target, affordable) else {
            if target.is_some() {
                self.counters.add(self.stripe(), Counter::WritesRefused, 1);
            }
            self.lose_location(lower, place, index, COUNTERS[place].evictions);
            return true;
        };
        word.set(generation, MOVING);
        let mover = Mover {
            index,
            info: *info,
            payload_bytes,
            target,
            since_ns: self.now_ns(),
            refusals: 0,
        };
        let Some(store) = &mut pump.stores[place] else {
            return true;
        };
        let request = ReadRequest {
            offset,
            payload_bytes,
            key: info.key,
            target: store.transfer_address(),
            tag: Tag::MoveRead(index).pack(),
        };
        // SAFETY: I1; the buffer has room for the largest block.
        store.movement = match unsafe { store.log.read(&request) } {
            Ok(()) => Movement::Reading(kept, mover),
            Err(_) => {
                // Reads have the right of way: the block goes rather than that the segment waits.
                word.clear(generation, MOVING);
                self.lose_location(lower, place, index, COUNTERS[place].evictions);
                Movement::Walking(kept)
            }
        };
        true
    }

    /// Forgets that blocks lie in a segment whose records are unknown, each as [`Engine::leave`] does it, for the same
    /// reasons; false if one of them must be waited for.
    fn leave_all(&self, lower: &Lower<'_>, place: usize, range: &Range<u64>) -> bool {
        let Some(face) = lower.face(place) else { return true };
        let mut dealt_with = true;
        self.index.each_used(|index| {
            // Ordered, behind the exchange on `limbo`: who removes the block after this look sees that.
            let state = self.entries[index as usize].state_ordered();
            let location = face.word(index).location(state.generation());
            if location.is_none_or(|at| !range.contains(&at)) {
                return;
            }
            match state.phase() {
                Phase::Condemned | Phase::Claimed => dealt_with = false,
                Phase::Removed | Phase::Doomed => {}
                _ => self.lose_location(lower, place, index, COUNTERS[place].evictions),
            }
        });
        dealt_with
    }

    /// A block of the segment was read, or can't be.
    pub(super) fn move_arrived(
        &self,
        lower: &Lower<'_>,
        store: &mut Store<'_>,
        place: usize,
        result: Result<RecordInfo, ReadFault>,
    ) {
        let Movement::Reading(kept, mover) = store.movement else {
            return;
        };
        store.movement = match result {
            Ok(_) => Movement::Arrived(
                kept,
                Mover {
                    since_ns: self.now_ns(),
                    ..mover
                },
            ),
            Err(fault) => {
                self.read_failed(place, mover.index, fault);
                self.give_up_move(lower, place, mover.index);
                Movement::Walking(kept)
            }
        };
    }

    /// Appends the block that was read to its target; false if that must wait.
    fn move_in(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, place: usize, kept: Kept, mover: Mover) -> bool {
        let index = mover.index;
        let generation = self.entries[index as usize].state().generation();
        let tag = Tag::MoveWrite(place, index).pack();
        let info = RecordInfo {
            expiry_left_s: self.facts[index as usize].retention().seconds_left(self.now_ns()),
            ..mover.info
        };
        let Some(face) = lower.face(mover.target) else {
            return true;
        };
        let [first, second] = &mut pump.stores;
        let (source, mut target) = match (place, mover.target) {
            (0, 0) => (first, None),
            (0, _) => (first, Some(second)),
            _ => (second, None),
        };
        let Some(source) = source else { return true };
        let wanted = Wanted {
            place: mover.target,
            index,
            generation,
        };
        // A copy of the reference's address and length: the payload is the transfer buffer, which no log writes now.
        let payload = payload(source, mover.payload_bytes);
        let urgent = mover.target == place;
        let bytes = self.entries[index as usize].bytes();
        let (expected, encodes) = pump.coder.expected(wanted, info.geometry_id, bytes, &face.quality);
        // Encoding takes long: not before there is room.
        let room = match &mut target {
            Some(Some(target)) if encodes => target.log.append_allows(expected, false),
            _ => Ok(()),
        };
        let anew = match (urgent, room) {
            (false, Ok(())) => self.encode_anew(&mut pump.coder, wanted, payload, &info, &face.quality),
            _ => None,
        };
        let (info, payload) = match anew {
            Some((coded, loss)) => {
                let codec = coded.kind as u8;
                (RecordInfo { codec, loss, ..info }, pump.coder.code(coded))
            }
            None => (info, payload),
        };
        let appended = room.and_then(|()| match target {
            None => source
                .log
                .append(&info, payload, tag, urgent)
                .map(|()| source.staged = true),
            Some(Some(target)) => target
                .log
                .append_moved(&info, payload, tag)
                .map(|()| target.staged = true),
            Some(None) => Err(Refused::Offline),
        });
        self.judge(&mut pump.coder, mover.target, face, index);
        match appended {
            Ok(()) => {
                if anew.is_some() {
                    self.counters.add(self.stripe(), Counter::Transcodes, 1);
                }
                face.word(index).set(generation, WRITING);
                let bytes = kept.bytes + if urgent { u64::from(mover.payload_bytes) } else { 0 };
                source.movement = Movement::Walking(Kept {
                    bytes,
                    under_way: kept.under_way + 1,
                });
                true
            }
            // The segment that is given up is the one that would make room for its own blocks.
            Err(refused @ (Refused::Full | Refused::NoSegment))
                if !(urgent && refused == Refused::NoSegment)
                    && mover.refusals < REFUSALS_MAX
                    && self.now_ns() < mover.since_ns + PATIENCE_NS =>
            {
                let refusals = mover.refusals + u32::from(matches!(self.clock, Clock::Ticks));
                source.movement = Movement::Arrived(kept, Mover { refusals, ..mover });
                false
            }
            Err(_) => {
                source.movement = Movement::Walking(kept);
                self.counters.add(self.stripe(), Counter::WritesRefused, 1);
                self.give_up_move(lower, place, index);
                true
            }
        }
    }

    /// Encodes a block for the tier that it moves to, from the best copy at hand, and says which codec that had gone
    /// through. `None` where it moves as it is: a code that is as coarse as the tier's is not made coarser again.
    fn encode_anew(
        &self,
        coder: &mut Coder<'_>,
        wanted: Wanted,
        payload: &[u8],
        info: &RecordInfo,
        quality: &Quality,
    ) -> Option<(Coded, u8)> {
        let choice = coder.choice(wanted.place);
        if info.geometry_id == 0 || choice.is_raw() {
            return None;
        }
        let target_permille = choice.error_nominal_permille();
        let error_permille = coder::error_permille(info.codec).max(coder::error_permille(info.loss));
        let source = |loss| Source {
            geometry_id: info.geometry_id,
            depth: info.depth,
            loss,
        };
        let (entry, facts) = (&self.entries[wanted.index as usize], &self.facts[wanted.index as usize]);
        let state = entry.state();
        let loss = facts.retention().loss;
        if state.is_resident()
            && coder::error_permille(loss) < error_permille
            && let Some(pin) = self.pins.claim(self.stripe(), wanted.index, PinKind::View)
        {
            let coded = match entry.state_ordered() == state && state.generation() == wanted.generation {
                true => {
                    let slot = self.cpu.address(SlotIndex(entry.slot())).cast_const();
                    // SAFETY: I2; the slot has at least as many bytes as the block.
                    let block = unsafe { core::slice::from_raw_parts(slot, entry.bytes() as usize) };
                    coder.encode(wanted, block, source(loss), quality)
                }
                false => None,
            };
            self.unpin(pin, wanted.index);
            if let Some(coded) = coded {
                return Some((coded, loss));
            }
        }
        if info.codec == 0 {
            let coded = coder.encode(wanted, payload, source(info.loss), quality)?;
            return Some((coded, info.loss));
        }
        if coder::error_permille(info.codec) >= target_permille {
            return None;
        }
        coder.transcode(wanted, payload, source(info.loss), quality)
    }

    /// A block that was moved is in its new place, or could not be written there (`None`).
    pub(super) fn moved(&self, lower: &Lower<'_>, from: usize, to: usize, index: u32, place: Option<(u64, u32)>) {
        let (Some(source), Some(target)) = (lower.face(from), lower.face(to)) else {
            return;
        };
        let entry = &self.entries[index as usize];
        let generation = entry.state().generation();
        let Some((offset, stored_bytes)) = place else {
            self.remains(target, index, generation);
            target.word(index).clear(generation, WRITING);
            self.give_up_move(lower, from, index);
            return;
        };
        let stripe = self.stripe();
        if from == to {
            self.counters.add(stripe, COUNTERS[to].reinserts, 1);
        } else {
            self.counters.add(stripe, COUNTERS[to].writes, 1);
            self.tell_stored(target, to, index, generation);
            // Relaxed: a figure.
            target.blocks.fetch_add(1, Ordering::Relaxed);
        }
        self.counters
            .add(stripe, COUNTERS[to].write_bytes, u64::from(stored_bytes));
        target.word(index).set_location(generation, offset, stored_bytes);
        source.word(index).clear(generation, MOVING);
        self.inbox.put(index);
        if from == to {
            self.after_hold(lower, index, generation);
        } else {
            self.lose_location(lower, from, index, COUNTERS[from].evictions);
        }
    }

    /// Ends a move that did not come about: the block is not in the tier any more.
    fn give_up_move(&self, lower: &Lower<'_>, from: usize, index: u32) {
        let Some(source) = lower.face(from) else { return };
        let generation = self.entries[index as usize].state().generation();
        source.word(index).clear(generation, MOVING);
        self.inbox.put(index);
        self.lose_location(lower, from, index, COUNTERS[from].evictions);
    }
}

/// The block in the transfer buffer, apart from the store that it is about to be appended to.
fn payload<'p>(store: &Store<'_>, bytes: u32) -> &'p [u8] {
    let payload = store.transferred(bytes);
    // SAFETY: I1: the buffer outlives the engine's borrow of the arena, and is not written while it is being appended.
    unsafe { core::slice::from_raw_parts(payload.as_ptr(), payload.len()) }
}
