//! From memory into the first file tier: written back when memory runs short, written through, or flushed; and the
//! tombstones of what was removed.
//!
//! # Soundness
//! - **I1** Bytes of a slot are read under a pin, after the block was seen resident under it (`Engine::pin`'s own
//!   rule); the log copies them before the pin is let go.
#![allow(unsafe_code)]

use super::admission::admits;
use super::coder::{Coder, Source, Wanted};
use super::pump::{Pump, Tag};
use super::word::{HELD_FLAGS, TOLD_LATE, UNBURIED, WRITING};
use super::{COUNTERS, Face, Lower, TIERS};
use crate::block::BlockRef;
use crate::block::entry::{Phase, State};
use crate::block::pins::PinKind;
use crate::engine::Engine;
use crate::engine::evict::{At, Evicted};
use crate::metrics::{Counter, EventKind};
use crate::policy::{Blocks, Departure, Policy};
use crate::sync::atomic::Ordering;
use crate::tier::log::{RecordInfo, Refused};
use crate::units::SlotIndex;

/// Victims of the policy that one call looks at to make room ahead of need.
const VICTIMS_AHEAD: u32 = 256;

/// What became of the wish to write a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staged {
    /// It is on its way.
    Begun,
    /// There is nothing to write: it is there, or on its way, or gone.
    Needless,
    /// Not now: no buffer, no segment.
    Later,
    /// Not before the tombstone of an earlier block under its key.
    Behind,
    /// The tier does not take it: no budget, too large, offline.
    Refused,
    /// No tier's codec is fine enough for its namespace: it is dropped rather than degraded.
    Barred,
}

impl Engine<'_> {
    /// Whether only memory has this resident block, and nothing is under way to change that.
    pub(super) fn unwritten(&self, lower: &Lower<'_>, index: u32, generation: u32) -> bool {
        !lower.located(index, generation) && !lower.busy(index, generation, HELD_FLAGS)
    }

    /// Whether the first tier that works would let the block in.
    pub(super) fn admitted(&self, lower: &Lower<'_>, pump: &Pump<'_>, index: u32) -> bool {
        let Some((_, face)) = lower.working().next() else {
            return false;
        };
        admits(&face.file, &pump.filter, &self.departure(index))
    }

    /// What a filter is told of a block.
    pub(super) fn departure(&self, index: u32) -> Departure {
        let blocks = At::now(self);
        Departure {
            fingerprint: blocks.fingerprint(index),
            waited_ms: blocks.now_ms().saturating_sub(blocks.used_ms(index)),
            depth: blocks.depth(index),
            tokens: blocks.tokens(index),
            uses: blocks.recency(index).uses(),
            // Another place is another life, too.
            life: blocks.generation(index).wrapping_add(index),
        }
    }

    /// Whether the tier's codec is fine enough for the block.
    pub(super) fn is_fine_enough(&self, lower: &Lower<'_>, pump: &Pump<'_>, place: usize, index: u32) -> bool {
        let facts = &self.facts[index as usize];
        let Some(bound) = lower.floors.error_max_permille(facts.namespace()) else {
            return true;
        };
        let choice = pump.coder.choice(place);
        let coded = facts.retention().geometry_id != 0 && !choice.is_raw();
        let fine = lower
            .face(place)
            .is_none_or(|face| !coded || face.quality.error_permille(choice) <= bound);
        if !fine {
            self.counters.add(self.stripe(), Counter::QualityRefusals, 1);
        }
        fine
    }

    /// The first tier that works and is fine enough for the block.
    fn tier_for(&self, lower: &Lower<'_>, pump: &Pump<'_>, index: u32) -> Option<usize> {
        lower
            .working()
            .map(|(place, _)| place)
            .find(|&place| self.is_fine_enough(lower, pump, place, index))
    }

    pub(super) fn record_info(&self, index: u32) -> RecordInfo {
        let (entry, facts) = (&self.entries[index as usize], &self.facts[index as usize]);
        let retention = facts.retention();
        RecordInfo {
            key: entry.key(),
            block_bytes: entry.bytes(),
            geometry_id: retention.geometry_id,
            priority: retention.priority,
            protected: retention.protected,
            cost: retention.cost,
            depth: facts.depth(),
            tokens: facts.tokens_count(),
            conversation: facts.conversation(),
            expiry_left_s: retention.seconds_left(self.now_ns()),
            namespace: facts.namespace(),
            codec: 0,
            loss: retention.loss,
        }
    }

    /// Begins to write a resident block to the tier `place`.
    pub(super) fn stage_to(
        &self,
        lower: &Lower<'_>,
        pump: &mut Pump<'_>,
        place: usize,
        index: u32,
        tag: Tag,
        urgent: bool,
    ) -> Staged {
        let (Some(face), Some(store)) = (lower.face(place), &mut pump.stores[place]) else {
            return Staged::Refused;
        };
        let entry = &self.entries[index as usize];
        let state = entry.state();
        let generation = state.generation();
        if !state.is_resident() {
            return Staged::Needless;
        }
        let bytes = entry.bytes();
        let wanted = Wanted {
            place,
            index,
            generation,
        };
        let geometry_id = self.facts[index as usize].retention().geometry_id;
        let (expected, encodes) = pump.coder.expected(wanted, geometry_id, bytes, &face.quality);
        if !store.budget.allows(store.log.append_cost_max(expected), self.now_ns()) {
            return Staged::Refused;
        }
        if encodes && let Err(refused) = store.log.append_allows(expected, urgent) {
            return match refused {
                Refused::Full | Refused::NoSegment => Staged::Later,
                Refused::TooLarge | Refused::Offline => Staged::Refused,
            };
        }
        let Some(pin) = self.pins.claim(self.stripe(), index, PinKind::View) else {
            return Staged::Later;
        };
        if entry.state_ordered() != state {
            self.unpin(pin, index);
            return Staged::Needless;
        }
        let word = face.word(index);
        word.set(generation, WRITING);
        let mut info = self.record_info(index);
        // SAFETY: I1; the slot has at least as many bytes as the block.
        let block = unsafe {
            core::slice::from_raw_parts(self.cpu.address(SlotIndex(entry.slot())).cast_const(), bytes as usize)
        };
        let source = Source {
            geometry_id: info.geometry_id,
            depth: info.depth,
            loss: info.loss,
        };
        let payload = match pump.coder.encode(wanted, block, source, &face.quality) {
            Some(coded) => {
                info.codec = coded.kind as u8;
                pump.coder.code(coded)
            }
            None => block,
        };
        let cost = store.log.append_cost_max(payload.len() as u64);
        let staged = match store.budget.allows(cost, self.now_ns()) {
            true => match store.log.append(&info, payload, tag.pack(), urgent) {
                Ok(()) => {
                    store.staged = true;
                    Staged::Begun
                }
                Err(Refused::Full | Refused::NoSegment) => Staged::Later,
                Err(Refused::TooLarge | Refused::Offline) => Staged::Refused,
            },
            false => Staged::Refused,
        };
        self.judge(&mut pump.coder, place, face, index);
        if staged != Staged::Begun {
            word.clear(generation, WRITING);
        }
        self.unpin(pin, index);
        staged
    }

    /// Has a tier take a better codec if the one in use turns out too coarse; `index` is the block that showed it.
    pub(super) fn judge(&self, coder: &mut Coder<'_>, place: usize, face: &Face<'_>, index: u32) {
        if coder.judge(place, &face.quality) {
            let entry = &self.entries[index as usize];
            let generation = entry.state().generation();
            self.counters.add(self.stripe(), Counter::CodecFallbacks, 1);
            let block = BlockRef { index, generation };
            self.event(EventKind::CodecFallback, entry.key(), block, TIERS[place]);
        }
    }

    /// Begins to write a resident block that only memory has to the first tier that works, unless the tombstone of an
    /// earlier block under its key may still have to be written.
    pub(super) fn stage(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, index: u32) -> Staged {
        let generation = self.entries[index as usize].state().generation();
        if !self.unwritten(lower, index, generation) {
            return Staged::Needless;
        }
        let key = self.entries[index as usize].key();
        let unburied = |other, state: State| lower.holds(other, state.generation());
        if self.index.any_removed(&key, index, unburied) {
            return Staged::Behind;
        }
        let Some(place) = self.tier_for(lower, pump, index) else {
            return match lower.working().next() {
                Some(_) => Staged::Barred,
                None => Staged::Refused,
            };
        };
        let staged = self.stage_to(lower, pump, place, index, Tag::Write(index), false);
        if staged == Staged::Begun {
            pump.write_backs += 1;
        }
        staged
    }

    /// A block that memory had is in a file.
    pub(super) fn written(&self, lower: &Lower<'_>, place: usize, index: u32, offset: u64, stored_bytes: u32) {
        let Some(face) = lower.face(place) else { return };
        let entry = &self.entries[index as usize];
        let generation = entry.state().generation();
        let stripe = self.stripe();
        self.counters.add(stripe, COUNTERS[place].writes, 1);
        self.counters
            .add(stripe, COUNTERS[place].write_bytes, u64::from(stored_bytes));
        self.tell_stored(face, place, index, generation);
        // Relaxed: a figure.
        face.blocks.fetch_add(1, Ordering::Relaxed);
        face.word(index).set_location(generation, offset, stored_bytes);
        // The policy forgot it while it was being written; a removed one is to be forgotten in the file, too.
        self.inbox.put(index);
        self.after_hold(lower, index, generation);
    }

    /// A block could not be written; memory keeps it. The record may be in the file all the same.
    pub(super) fn write_failed(&self, lower: &Lower<'_>, place: usize, index: u32) {
        let Some(face) = lower.face(place) else { return };
        let generation = self.entries[index as usize].state().generation();
        self.remains(face, index, generation);
        face.word(index).clear(generation, WRITING);
        self.inbox.put(index);
        self.after_hold(lower, index, generation);
    }

    /// Writes what was asked for, and forgets what was removed, in the order in which it was asked for, except that a
    /// block lets the tombstone past that it has to wait for.
    pub(super) fn write_on(&self, lower: &Lower<'_>, pump: &mut Pump<'_>) -> u64 {
        if pump.writes.is_empty() {
            pump.drains_count = pump.drains_count.wrapping_add(1);
            let queue = &mut pump.writes;
            lower.writes.take_all(|index| {
                queue.push(index);
            });
        }
        let mut done = 0;
        while let Some(index) = pump.writes.front() {
            let state = self.entries[index as usize].state();
            let later = match state.phase() {
                Phase::Removed => !self.bury(lower, pump, index, state.generation()),
                // Just being removed, or taken by an evictor that may give it back.
                Phase::Claimed | Phase::Condemned | Phase::Doomed => true,
                Phase::Resident if self.admitted(lower, pump, index) => match self.stage(lower, pump, index) {
                    Staged::Later => true,
                    // Word is left for an entry, not for a life of it, and what was left for the last life may still
                    // be there in the next. So the tombstone that this block waits for may stand behind it, even in
                    // the inbox, which is only emptied once this queue is empty: waiting here would be for ever.
                    Staged::Behind => {
                        pump.writes.pop();
                        lower.writes.put(index);
                        continue;
                    }
                    Staged::Begun | Staged::Needless | Staged::Barred => false,
                    Staged::Refused => {
                        self.counters.add(self.stripe(), Counter::WritesRefused, 1);
                        false
                    }
                },
                _ => false,
            };
            if later {
                break;
            }
            pump.writes.pop();
            done += 1;
        }
        done
    }

    /// Writes tombstones for a removed block into every tier that has it, and frees it. False if that must wait.
    fn bury(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, index: u32, generation: u32) -> bool {
        if lower.busy(index, generation, HELD_FLAGS) {
            // What is under way ends by itself, and everything behind waits for it: the tombstone comes first.
            return false;
        }
        let key = self.entries[index as usize].key();
        for (place, face) in lower.faces.iter().enumerate() {
            let (Some(face), Some(store)) = (face, &mut pump.stores[place]) else {
                continue;
            };
            let word = face.word(index);
            let located = word.location(generation).is_some();
            if !located && !word.is(generation, UNBURIED) {
                continue;
            }
            // Without a budget it is forgotten in memory only: the file is not written, whatever that costs.
            let affordable = store.budget.allows(store.log.append_cost_max(0), self.now_ns());
            if affordable && !face.is_offline() {
                match store.log.append_tombstone(&key) {
                    Ok(()) => store.staged = true,
                    Err(Refused::Full | Refused::NoSegment) => return false,
                    Err(Refused::TooLarge | Refused::Offline) => {}
                }
            }
            if located {
                if word.is(generation, TOLD_LATE) {
                    let block = BlockRef { index, generation };
                    self.event(EventKind::Evicted, key, block, TIERS[place]);
                }
                word.forget_counted(face);
            }
            word.clear(generation, UNBURIED | TOLD_LATE);
        }
        self.reclaim(index, generation);
        true
    }

    /// Makes room up to the upper watermark once there is less than the lower one.
    pub(super) fn make_room_ahead(&self, lower: &Lower<'_>, pump: &mut Pump<'_>) -> u64 {
        let slots = self.plan.slots_count();
        let free = self.slots_free();
        let low = (slots * self.config.slots_free_low_permille).div_ceil(1000);
        let high = (slots * self.config.slots_free_high_permille).div_ceil(1000).max(low);
        if free < low {
            pump.making_room = true;
        }
        let mut coming = free + pump.write_backs;
        if !pump.making_room || coming >= high {
            pump.making_room &= free < high;
            return 0;
        }
        let Some(_turn) = self.control.policy_turn.take() else {
            return 0;
        };
        let blocks = At::now(self);
        self.inform_policy(&blocks);
        let mut done = 0;
        for _ in 0..VICTIMS_AHEAD {
            if coming >= high {
                break;
            }
            let Some(index) = self.policy.victim(&blocks) else {
                break;
            };
            let state = self.entries[index as usize].state();
            if !state.is_resident() {
                continue;
            }
            if self.entries[index as usize].recency().stamp() >= self.stamp_hit() {
                // Used just now, or raised for somebody who has not looked yet: not ahead of need.
                self.policy.insert(index, &blocks);
                break;
            }
            if self.unwritten(lower, index, state.generation()) {
                if self.admitted(lower, pump, index) {
                    match self.stage(lower, pump, index) {
                        Staged::Begun => {
                            self.learn(pump, index);
                            coming += 1;
                            done += 1;
                        }
                        Staged::Needless => {}
                        Staged::Later | Staged::Behind | Staged::Refused => {
                            // It stays until its slot is needed.
                            self.policy.insert(index, &blocks);
                            break;
                        }
                        Staged::Barred => {
                            let evicted = self.evict_block(index, state.generation(), Counter::Evictions);
                            coming += u64::from(evicted == Evicted::Freed);
                            done += u64::from(evicted != Evicted::Not);
                        }
                    }
                    continue;
                }
                self.learn(pump, index);
                self.counters.add(self.stripe(), Counter::WritesRefused, 1);
            }
            let evicted = self.evict_block(index, state.generation(), Counter::Evictions);
            coming += u64::from(evicted == Evicted::Freed);
            done += u64::from(evicted != Evicted::Not);
        }
        done
    }

    /// Notes for the filter that a block leaves memory which no file has, whether it is written or not.
    fn learn(&self, pump: &mut Pump<'_>, index: u32) {
        let leaving = self.departure(index);
        pump.filter.left(&leaving);
    }

    /// Has victims that must be written first on their way, as far as the pump is free; the policy knows the rest
    /// again. Returns whether any is under way, and refuses nothing: what no tier takes is in `refused`.
    pub(in crate::engine) fn stage_victims(&self, victims: &[u32], mut refused: impl FnMut(u32)) -> bool {
        let Some(lower) = &self.lower else { return false };
        let Some(mut pump) = lower.pump.take() else {
            victims.iter().for_each(|&index| self.inbox.put(index));
            return true;
        };
        let mut under_way = pump.write_backs != 0;
        for &index in victims {
            let admitted = self.admitted(lower, &pump, index);
            let staged = if admitted {
                self.stage(lower, &mut pump, index)
            } else {
                Staged::Refused
            };
            if !admitted || staged == Staged::Begun {
                self.learn(&mut pump, index);
            }
            match staged {
                Staged::Begun => under_way = true,
                Staged::Refused | Staged::Barred => refused(index),
                Staged::Later | Staged::Behind => {
                    self.inbox.put(index);
                    under_way = true;
                }
                Staged::Needless => self.inbox.put(index),
            }
        }
        under_way
    }

    /// Whether the block can leave memory without being lost.
    pub(in crate::engine) fn is_written(&self, index: u32, generation: u32) -> bool {
        self.lower
            .as_ref()
            .is_some_and(|lower| lower.located(index, generation))
    }

    /// Whether a write or a move of the block is under way, so that its entry must not be freed.
    pub(in crate::engine) fn is_held(&self, index: u32, generation: u32) -> bool {
        self.lower
            .as_ref()
            .is_some_and(|lower| lower.busy(index, generation, HELD_FLAGS))
    }
}
