//! Remove, clear, retain, and the way of a block's place back.

use super::Engine;
use crate::block::BlockRef;
use crate::block::entry::{NO_SLOT, Phase};
use crate::block::facts::Retention;
use crate::error::Status;
use crate::key::Key;
use crate::limits;
use crate::metrics::{Counter, EventKind, Operation};
use crate::sync::atomic::Ordering;
use crate::units::{SlotIndex, Tier};

impl Engine<'_> {
    /// Removes the blocks under `keys` that are resident and returns how many were.
    ///
    /// A removed block is not found any more; where views of it are held, its slot is freed with the last of them, and
    /// where other blocks share the slot, with the last of those.
    pub fn remove(&self, keys: &[Key]) -> u64 {
        let started = self.timer(self.stripe());
        let mut removed = 0;
        for key in keys {
            if let Some(found) = self.index.find_removable(key) {
                removed += u64::from(self.remove_block(found.index, found.state.generation()));
            }
        }
        self.time(started, Operation::Remove);
        removed
    }

    /// Removes every resident block of a namespace and returns how many there were. Looks at every block once.
    pub fn namespace_clear(&self, namespace_id: u64) -> u64 {
        let mut removed = 0;
        self.index.each_used(|index| {
            let state = self.entries[index as usize].state();
            if state.is_removable() && self.facts[index as usize].namespace() == namespace_id {
                removed += u64::from(self.remove_block(index, state.generation()));
            }
        });
        removed
    }

    /// Gives the resident blocks under `keys` a new retention and returns how many there are.
    ///
    /// # Errors
    /// [`Status::Argument`] for a priority above 100 or an expiry beyond 400 days.
    pub fn retain(&self, keys: &[Key], priority: u8, protected: bool, expiry_ms: u64) -> Result<u64, Status> {
        if priority > limits::PRIORITY_MAX || expiry_ms > limits::EXPIRY_MS_MAX {
            return Err(Status::Argument);
        }
        let expiry = Retention::expiry_after(self.now_ns(), expiry_ms);
        let mut retained = 0;
        for key in keys {
            let Some(found) = self.index.find(key) else {
                continue;
            };
            if expiry != 0 {
                self.expiring_add(1);
            }
            if self.facts[found.index as usize].set_retention(priority, protected, expiry) {
                self.expiring_sub(1);
            }
            self.inbox.put(found.index);
            retained += 1;
        }
        Ok(retained)
    }

    /// Removes one life of a block if it is readable or may become so again. Lock-free: a repetition is an evictor's
    /// step.
    fn remove_block(&self, index: u32, generation: u32) -> bool {
        let entry = &self.entries[index as usize];
        loop {
            let state = entry.state();
            if state.generation() != generation {
                return false;
            }
            match state.phase() {
                phase @ (Phase::Resident | Phase::Below | Phase::Raising) if entry.claim(generation, phase) => {
                    if phase != Phase::Resident {
                        self.counters.add(self.stripe(), Counter::RemovesBelow, 1);
                    }
                    self.announce_gone(index, generation, Counter::Removes);
                    self.lower_bury(index, generation);
                    entry.remove(generation, Phase::Claimed);
                    self.let_go(index, generation);
                    return true;
                }
                // The evictor does the rest.
                Phase::Condemned if entry.doom(generation) => return true,
                Phase::Resident | Phase::Below | Phase::Raising | Phase::Condemned => {}
                _ => return false,
            }
        }
    }

    /// Tells everybody that a block is gone, while it is still the caller's alone: whoever stores its key anew reports
    /// that after this.
    pub(super) fn announce_gone(&self, index: u32, generation: u32, counter: Counter) {
        let kind = match counter {
            Counter::Removes => EventKind::Removed,
            _ => EventKind::Evicted,
        };
        let key = self.entries[index as usize].key();
        self.counters.add(self.stripe(), counter, 1);
        self.event(kind, key, BlockRef { index, generation }, Tier::Cpu);
        if counter != Counter::Evictions {
            // The policy did not name this block and still knows it.
            self.inbox.put(index);
        }
    }

    /// Frees a removed block's place, or leaves that to the pump of the file tiers where one of them has the block.
    pub(super) fn let_go(&self, index: u32, generation: u32) {
        if !self.lower_frees(index, generation) {
            self.reclaim(index, generation);
        }
    }

    /// Frees a removed block's place if nobody holds it. The remover and everybody who lets a pin on it go call this;
    /// whoever comes last finds no pin, and one of those who do wins the exchange.
    pub(super) fn reclaim(&self, index: u32, generation: u32) {
        let entry = &self.entries[index as usize];
        if self.pins.pinned(&[index]) == 0
            && !self.lower_holds(index, generation)
            && entry.free(generation, Phase::Removed)
        {
            self.recycle(index);
        }
    }

    /// Gives slot and entry of a block that was just made free back.
    pub(super) fn recycle(&self, index: u32) {
        if self.facts[index as usize].set_retention(0, false, 0) {
            self.expiring_sub(1);
        }
        let entry = &self.entries[index as usize];
        let slot = SlotIndex(entry.slot());
        if slot.0 == NO_SLOT {
            // Relaxed: a count.
            self.control.below_count.fetch_sub(1, Ordering::Relaxed);
            self.index.vacate(&entry.key(), index);
            return;
        }
        // The entry first, so that whoever gets the slot, or a share of it, finds an entry for it.
        self.index.vacate(&entry.key(), index);
        self.give_slot(slot);
    }

    /// Gives up what a block that leaves memory has of its slot, and the slot with it if no other block shares it.
    pub(super) fn give_slot(&self, slot: SlotIndex) {
        if self.cpu.let_go(slot) {
            self.counters.add(self.stripe(), Counter::Frees, 1);
            self.cpu.give(slot);
        }
    }
}
