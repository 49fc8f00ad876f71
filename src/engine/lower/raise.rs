//! From a file tier into memory: asked for by anybody, read by the pump.
//!
//! # Soundness
//! - **I1** The slot of a raising block is written by the log that reads it, between the begin of the read and its
//!   report, and by nobody else; the word of the tier says `READING` meanwhile, so that the entry and its slot are
//!   freed by nobody but the pump (`lower`, "Who may free an entry"). Readers of a part of it look at no more than the
//!   bytes that are ready, which are none as long as a code lies in it: until it was decoded the slot is the pump's.
#![allow(unsafe_code)]

use super::coder::Coder;
use super::pump::{Pump, Tag};
use super::word::{HELD_FLAGS, READING, UNBURIED};
use super::{COUNTERS, Lower, TIERS};
use crate::block::BlockRef;
use crate::block::entry::Phase;
use crate::engine::Engine;
use crate::error::Status;
use crate::key::Key;
use crate::metrics::{Counter, EventKind};
use crate::sync::atomic::Ordering;
use crate::tier::log::{ReadFault, ReadRequest, RecordInfo, Refused};
use crate::units::{SlotIndex, Tier};

/// Looks at a block that changes hands before it counts as a miss.
const LOOKS: u32 = 64;
/// Longest single wait for a device, so that somebody else's news are looked at, too.
const WAIT_NS_MAX: u64 = 1_000_000;

/// What became of asking for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Asked {
    /// It is in memory.
    Resident,
    /// It is on its way.
    Raising,
}

impl Engine<'_> {
    /// Begins to copy the block under `key` up, if it is below. Does not wait for the device; with `patience_ns` it may
    /// wait for a slot, and without it takes none that would cost an unwritten block.
    ///
    /// # Errors
    /// [`Status::Miss`]; [`Status::Again`] if there is no slot for it now.
    pub(in crate::engine) fn ask(&self, key: &Key, patience_ns: Option<u64>) -> Result<Asked, Status> {
        let Some(lower) = &self.lower else {
            return self.index.find(key).map(|_| Asked::Resident).ok_or(Status::Miss);
        };
        for _ in 0..LOOKS {
            let Some(found) = self.index.find(key) else {
                // In the hands of an evictor for a moment, it may be below in the next.
                match self.index.occupied(key) {
                    Some(Status::Pending) if self.index.find_removable(key).is_some() => {
                        core::hint::spin_loop();
                        continue;
                    }
                    _ => return Err(Status::Miss),
                }
            };
            let (entry, generation) = (&self.entries[found.index as usize], found.state.generation());
            match found.state.phase() {
                Phase::Resident => return Ok(Asked::Resident),
                Phase::Raising => return Ok(Asked::Raising),
                _ => {}
            }
            let slot = self.take_slot(patience_ns)?;
            if !entry.claim(generation, Phase::Below) {
                self.cpu.give(slot);
                continue;
            }
            // Relaxed: a count.
            self.control.below_count.fetch_sub(1, Ordering::Relaxed);
            if let Some((_, face)) = lower
                .working()
                .find(|(_, face)| face.word(found.index).location(generation).is_some())
            {
                face.word(found.index).hit(generation);
            }
            self.counters.add(self.stripe(), Counter::Raises, 1);
            // To memory it is a new block: the use clock moves on, or all blocks that were raised since the last put
            // would count as equally old, and those on their way would go before those that were read.
            entry.touch(self.stamp_insert() | 1);
            entry.raise(generation, slot.0);
            lower.raises.put(found.index);
            return Ok(Asked::Raising);
        }
        Err(Status::Miss)
    }

    /// Waits until a block that is on its way may have arrived.
    pub(in crate::engine) fn wait_below(&self) {
        if self.pump() == 0 {
            self.io_wait(WAIT_NS_MAX);
        }
    }

    /// Copies the block under `key` up and waits for it.
    ///
    /// # Errors
    /// As [`Engine::ask`].
    pub(in crate::engine) fn fetch(&self, key: &Key) -> Result<(), Status> {
        loop {
            match self.ask(key, Some(self.write_wait_ns()))? {
                Asked::Resident => return Ok(()),
                Asked::Raising => self.wait_below(),
            }
        }
    }

    /// Begins to copy up those of `keys` that are below memory, and returns how many it was. Does not wait: a block for
    /// which there is no room at present is passed over.
    pub fn prefetch(&self, keys: &[Key]) -> u64 {
        let mut begun = 0;
        for key in keys {
            let below = self
                .index
                .find(key)
                .is_some_and(|found| found.state.phase() == Phase::Below);
            if below && self.ask(key, None) == Ok(Asked::Raising) {
                begun += 1;
            }
        }
        if begun != 0 {
            self.counters.add(self.stripe(), Counter::Prefetches, begun);
            self.pump();
        }
        begun
    }

    /// Whether a block came up without having been hit often enough to stay, and forgets its uses then, so that it is
    /// the first to go.
    pub(in crate::engine) fn passes_through(&self, index: u32, generation: u32) {
        let Some(lower) = &self.lower else { return };
        let located = lower
            .working()
            .find_map(|(_, face)| face.word(index).location(generation).map(|_| face));
        if located.is_some_and(|face| face.word(index).hits(generation) < face.file.promotion_hits) {
            self.entries[index as usize].forget_uses();
            self.inbox.put(index);
        }
    }

    /// Begins the reads that were asked for.
    pub(super) fn raise_on(&self, lower: &Lower<'_>, pump: &mut Pump<'_>) -> u64 {
        if pump.raises.is_empty() {
            let queue = &mut pump.raises;
            lower.raises.take_all(|index| {
                queue.push(index);
            });
        }
        let mut done = 0;
        while let Some(index) = pump.raises.front() {
            match self.begin_read(lower, pump, index) {
                Some(Err(Refused::Full)) => break,
                begun => {
                    if begun.is_some_and(|begun| begun.is_ok()) {
                        let key = self.entries[index as usize].key();
                        pump.filter.hit(key.fingerprint(self.config.hash_seed));
                    }
                    pump.raises.pop();
                    done += 1;
                }
            }
        }
        done
    }

    /// Begins to read one block. `None` where there is nothing to do for it any more.
    fn begin_read(&self, lower: &Lower<'_>, pump: &mut Pump<'_>, index: u32) -> Option<Result<(), Refused>> {
        let entry = &self.entries[index as usize];
        let state = entry.state();
        let generation = state.generation();
        if state.phase() != Phase::Raising || lower.busy(index, generation, READING) {
            return None;
        }
        for (place, face) in lower.working() {
            let word = face.word(index);
            let (Some(offset), Some(store)) = (word.location(generation), &mut pump.stores[place]) else {
                continue;
            };
            word.set(generation, READING);
            let payload_bytes = word.stored_bytes(generation);
            let slot = self.cpu.address(SlotIndex(entry.slot()));
            // A code lies at the end of the slot, so that it can be decoded in place.
            let at = match payload_bytes < entry.bytes() {
                true => self.plan.slot_bytes() as usize - payload_bytes as usize,
                false => 0,
            };
            let request = ReadRequest {
                offset,
                payload_bytes,
                key: entry.key(),
                target: slot.wrapping_add(at),
                tag: Tag::Raise(index).pack(),
            };
            // SAFETY: I1: a slot has room for the block, and for its code, which is shorter: both were checked when the
            // location was noted.
            match unsafe { store.log.read(&request) } {
                Ok(()) => return Some(Ok(())),
                Err(refused) => {
                    word.clear(generation, READING);
                    if refused == Refused::Full {
                        return Some(Err(refused));
                    }
                }
            }
        }
        // No tier that works has it any more.
        self.raise_failed(index, generation);
        Some(Err(Refused::Offline))
    }

    /// A read of the pump has ended.
    pub(super) fn raised(
        &self,
        lower: &Lower<'_>,
        coder: &mut Coder<'_>,
        place: usize,
        index: u32,
        result: Result<RecordInfo, ReadFault>,
    ) {
        let entry = &self.entries[index as usize];
        let generation = entry.state().generation();
        let Some(face) = lower.face(place) else { return };
        let word = face.word(index);
        let bytes = entry.bytes();
        let result = match result {
            Ok(info) if info.block_bytes != bytes => Err(ReadFault::Damaged),
            Ok(info) if info.codec != 0 => self.decode(coder, index, &info, word.stored_bytes(generation)),
            Ok(info) => Ok(info.loss),
            Err(fault) => Err(fault),
        };
        match result {
            Ok(loss) => {
                self.facts[index as usize].set_loss(loss);
                entry.set_ready(bytes);
                let stripe = self.stripe();
                self.counters.add(stripe, COUNTERS[place].read_bytes, u64::from(bytes));
                // Before it can be read in memory: whoever evicts or removes it reports that after this.
                self.event(
                    EventKind::Stored,
                    entry.key(),
                    BlockRef { index, generation },
                    Tier::Cpu,
                );
                let risen = entry.risen(generation);
                word.clear(generation, READING);
                if risen {
                    self.counters.add(stripe, COUNTERS[place].hits, 1);
                    self.inbox.put(index);
                } else {
                    self.after_hold(lower, index, generation);
                }
            }
            Err(fault) => {
                self.read_failed(place, index, fault);
                if fault == ReadFault::Damaged {
                    // So that opening does not find it again.
                    word.set(generation, UNBURIED);
                } else if word.location(generation).is_some() {
                    self.remains(face, index, generation);
                    let block = BlockRef { index, generation };
                    self.event(EventKind::Evicted, entry.key(), block, TIERS[place]);
                }
                word.forget_counted(face);
                word.clear(generation, READING);
                if entry.state().phase() == Phase::Raising {
                    // Another tier may have it; if none has, the next look says so.
                    lower.raises.put(index);
                } else {
                    self.after_hold(lower, index, generation);
                }
            }
        }
    }

    /// Decodes the code that was read into the end of a block's slot. Returns the code of the coarsest codec that the
    /// block went through.
    fn decode(&self, coder: &mut Coder<'_>, index: u32, info: &RecordInfo, code_bytes: u32) -> Result<u8, ReadFault> {
        let slot = self.cpu.address(SlotIndex(self.entries[index as usize].slot()));
        // SAFETY: I1: a slot has as many bytes, which are initialised as all of the arena, and it is the pump's now.
        let slot = unsafe { core::slice::from_raw_parts_mut(slot, self.plan.slot_bytes() as usize) };
        coder
            .decode_within(info.geometry_id, slot, code_bytes as usize)
            .map_err(|status| match status {
                Status::Damaged => ReadFault::Damaged,
                // Tables that are not here now may be there at the next opening: the file keeps it.
                _ => ReadFault::Io(0),
            })
    }

    /// Gives a block up that can't be read from anywhere: a miss for those who wait for it.
    fn raise_failed(&self, index: u32, generation: u32) {
        let entry = &self.entries[index as usize];
        if entry.claim(generation, Phase::Raising) {
            self.counters.add(self.stripe(), Counter::RaiseFailures, 1);
            entry.set_ready(0);
            entry.remove(generation, Phase::Claimed);
            self.let_go(index, generation);
        }
    }

    /// After the pump ended something that kept an entry from being freed: frees it if it was removed, or has it
    /// forgotten with a tombstone; drops it if it is below and nothing has it.
    pub(super) fn after_hold(&self, lower: &Lower<'_>, index: u32, generation: u32) {
        let state = self.entries[index as usize].state_ordered();
        if state.generation() != generation {
            return;
        }
        match state.phase() {
            Phase::Removed => lower.writes.put(index),
            Phase::Below if !lower.located(index, generation) && !lower.busy(index, generation, HELD_FLAGS) => {
                self.drop_below(index, generation);
            }
            _ => {}
        }
    }

    /// Frees a block that is below where nothing has it any more.
    pub(in crate::engine) fn drop_below(&self, index: u32, generation: u32) {
        let entry = &self.entries[index as usize];
        if entry.claim(generation, Phase::Below) {
            entry.remove(generation, Phase::Claimed);
            self.let_go(index, generation);
        }
    }

    /// Forgets that a block lies in a tier, and the block itself if it lies nowhere else.
    pub(super) fn lose_location(&self, lower: &Lower<'_>, place: usize, index: u32, counter: Counter) {
        let (Some(face), entry) = (lower.face(place), &self.entries[index as usize]) else {
            return;
        };
        let state = entry.state();
        let generation = state.generation();
        if face.word(index).location(generation).is_none() {
            return;
        }
        face.word(index).forget_counted(face);
        if counter != Counter::IoErrors {
            self.counters.add(self.stripe(), counter, 1);
        }
        self.event(
            EventKind::Evicted,
            entry.key(),
            BlockRef { index, generation },
            TIERS[place],
        );
        self.after_hold(lower, index, generation);
    }
}
