//! Reserve, commit, abort, put.
//!
//! # Soundness
//! - **I1** Between a successful `reserve` and its commit or abort, the reservation's holder alone touches the slot
//!   (`tier::cpu`, I2): the block is not readable, and no other thread gets the slot. Whoever has claimed it for the
//!   commit has it alone, and the holder has written its last.
//! - **I2** A [`Reservation`] never expires while it lives: only those that crossed the C boundary do.
#![allow(unsafe_code)]

use core::ops::{Deref, DerefMut};

use super::Engine;
use crate::block::entry::{Entry, Phase};
use crate::block::facts::{Parent, mark};
use crate::block::{BlockRef, PutInfo};
use crate::config::WritePolicy;
use crate::copy::Temperature;
use crate::error::Status;
use crate::index::Found;
use crate::key::Key;
use crate::limits;
use crate::metrics::{Counter, EventKind, Operation};
use crate::units::{SlotIndex, Tier};

/// Steps of the use clock between two times that committers tell the policy the news.
const INFORM_INTERVAL: u64 = 64;

/// A place for a block that is being filled, as it crosses the C boundary: 32 bytes, no padding.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RawReservation {
    /// The first byte to fill.
    pub data: *mut u8,
    /// How many bytes may be filled.
    pub bytes: u64,
    /// The block.
    pub block: BlockRef,
    /// Zero.
    pub reserved: u64,
}

// SAFETY: I1, whoever holds the value may fill the bytes, on any thread.
unsafe impl Send for RawReservation {}

/// A block being filled in place. Nobody can read it before [`Reservation::commit`]; dropping it gives the place back.
pub struct Reservation<'e> {
    engine: &'e Engine<'e>,
    raw: RawReservation,
}

impl Reservation<'_> {
    /// Makes the block readable with all the bytes that were reserved.
    ///
    /// # Errors
    /// None in a correct program; the status of [`Engine::commit_raw`].
    pub fn commit(self) -> Result<BlockRef, Status> {
        let raw = self.raw;
        let engine = self.engine;
        core::mem::forget(self);
        engine.commit_raw(&raw, raw.bytes).map(|()| raw.block)
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: I1 and I2; the memory is initialised since the arena's memory is.
        unsafe { core::slice::from_raw_parts(self.raw.data, self.raw.bytes as usize) }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.raw.data, self.raw.bytes as usize) }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        // The reservation does not expire, so it is still this one's to abort.
        let aborted = self.engine.abort_raw(&self.raw);
        debug_assert_eq!(aborted, Ok(()));
    }
}

impl Engine<'_> {
    /// Reserves a place for `bytes` bytes under `key`, evicting if it must, for the caller to fill.
    ///
    /// # Errors
    /// [`Status::Exists`], [`Status::Pending`] if another producer is filling the block (or it is just being evicted),
    /// [`Status::Again`] if everything is pinned, [`Status::TooLarge`], [`Status::Argument`] for zero bytes, a
    /// priority above 100 or a geometry that is unknown or of another size, [`Status::Shutdown`].
    pub fn reserve<'e>(&'e self, key: &Key, bytes: u64, info: &PutInfo) -> Result<Reservation<'e>, Status> {
        let raw = self.reserve_as(key, bytes, info, false)?;
        Ok(Reservation { engine: self, raw })
    }

    /// As [`Engine::reserve`], as a value that the caller commits or aborts. It may expire where the configuration says
    /// so.
    ///
    /// # Errors
    /// As [`Engine::reserve`].
    pub fn reserve_raw(&self, key: &Key, bytes: u64, info: &PutInfo) -> Result<RawReservation, Status> {
        self.reserve_as(key, bytes, info, true)
    }

    fn reserve_as(&self, key: &Key, bytes: u64, info: &PutInfo, expires: bool) -> Result<RawReservation, Status> {
        let stripe = self.stripe();
        let started = self.timer(stripe);
        self.check_put(bytes, info)?;
        if let Some(status) = self.index.occupied(key) {
            return Err(self.not_stored(stripe, status));
        }
        let slot = self
            .take_slot(Some(self.write_wait_ns()))
            .map_err(|status| self.not_stored(stripe, status))?;
        let parent_place = info.parent.and_then(|parent| self.index.find(&parent));
        let parent = Parent {
            mark: info
                .parent
                .map_or(0, |key| mark(key.fingerprint(self.config.hash_seed))),
            depth: parent_place.map(|found| self.facts[found.index as usize].depth()),
        };
        let now_ns = self.now_ns();
        let entered = self.index.insert(key, |entry, index| {
            self.facts[index as usize].write(info, parent, expires, now_ns);
            entry.set_parent(parent_place.map(|found| found.index));
            entry.set_reserved_since(now_ns);
            entry.reserve(&key.words(), slot.0, bytes as u32)
        });
        let Found { index, state } = match entered {
            Ok(found) => found,
            Err(status) => {
                self.cpu.give(slot);
                return Err(self.not_stored(stripe, status));
            }
        };
        if info.expiry_ms != 0 {
            self.expiring_add(1);
        }
        self.counters.add(stripe, Counter::Reserves, 1);
        self.time(started, Operation::Reserve);
        Ok(RawReservation {
            data: self.cpu.address(slot),
            bytes,
            block: BlockRef {
                index,
                generation: state.generation(),
            },
            reserved: 0,
        })
    }

    fn check_put(&self, bytes: u64, info: &PutInfo) -> Result<(), Status> {
        self.check_open()?;
        if bytes > self.config.block_bytes {
            return Err(Status::TooLarge);
        }
        let geometry_fits = match info.geometry_id {
            0 => true,
            id => self
                .config
                .geometries
                .get(usize::from(id) - 1)
                .and_then(Option::as_ref)
                .is_some_and(|geometry| geometry.block_bytes() as u64 == bytes),
        };
        let valid = bytes >= limits::BLOCK_BYTES_MIN
            && info.priority <= limits::PRIORITY_MAX
            && info.expiry_ms <= limits::EXPIRY_MS_MAX
            && geometry_fits;
        if valid { Ok(()) } else { Err(Status::Argument) }
    }

    fn not_stored(&self, stripe: usize, status: Status) -> Status {
        let counter = match status {
            Status::Exists => Counter::PutsExisting,
            Status::Pending => Counter::PutsPending,
            _ => Counter::Refusals,
        };
        self.counters.add(stripe, counter, 1);
        status
    }

    /// Makes a reserved block readable with its first `bytes` bytes; 0 means all that were reserved. With `dedup` the
    /// bytes are hashed here, and the place that was reserved may be another block's from now on.
    ///
    /// # Errors
    /// [`Status::Stale`] if the reservation was committed, aborted or expired; [`Status::TooLarge`] for more bytes than
    /// were reserved (the reservation stays).
    pub fn commit_raw(&self, reservation: &RawReservation, bytes: u64) -> Result<(), Status> {
        let (index, generation) = (reservation.block.index, reservation.block.generation);
        let entry = self.entries.get(index as usize).ok_or(Status::Stale)?;
        if entry.state().generation() != generation || entry.state().phase() != Phase::Reserved {
            return Err(Status::Stale);
        }
        let bytes = match bytes {
            0 => entry.bytes(),
            _ if bytes > u64::from(entry.bytes()) => return Err(Status::TooLarge),
            _ => bytes as u32,
        };
        if !entry.claim(generation, Phase::Reserved) {
            return Err(Status::Stale);
        }
        let stamp = self.stamp_insert();
        let stripe = self.stripe();
        if self.config.dedup {
            self.share(stripe, entry, bytes);
        }
        self.counters.add(stripe, Counter::Commits, 1);
        self.counters.add(stripe, Counter::CommitBytes, u64::from(bytes));
        // Before it can be read: whoever removes or evicts the block reports that after this.
        self.event(EventKind::Stored, entry.key(), reservation.block, Tier::Cpu);
        entry.publish(generation, bytes, stamp);
        self.inbox.put(index);
        self.foresee_store(stripe, index, generation);
        if self.config.write_policy == WritePolicy::Through {
            self.lower_write(index);
        }
        if stamp.is_multiple_of(INFORM_INTERVAL) {
            // So that the news never pile up for the first eviction.
            self.policy_tick();
        }
        Ok(())
    }

    /// Has a block that is being committed share the slot of one with the same bytes, if there is one in memory that
    /// was committed there. What a file tier gave back has a slot of its own: views look on while it comes.
    fn share(&self, stripe: usize, entry: &Entry, bytes: u32) {
        let own = SlotIndex(entry.slot());
        // SAFETY: I1: the block is claimed, and reservations never have more bytes than a slot.
        let shared = unsafe { self.cpu.share(own, bytes) };
        let hits = u64::from(shared.slot.is_some());
        for (counter, amount) in [
            (Counter::DedupHits, hits),
            (Counter::DedupCollisions, shared.collisions),
            (Counter::Frees, hits + shared.freed),
        ] {
            if amount != 0 {
                self.counters.add(stripe, counter, amount);
            }
        }
        if let Some(slot) = shared.slot {
            entry.set_slot(slot.0);
            self.cpu.give(own);
        }
    }

    /// Gives a reservation back; nothing was ever readable.
    ///
    /// # Errors
    /// [`Status::Stale`] if the reservation was committed, aborted or expired.
    pub fn abort_raw(&self, reservation: &RawReservation) -> Result<(), Status> {
        self.abort_as(reservation.block, Counter::Aborts)
    }

    pub(super) fn abort_as(&self, block: BlockRef, counter: Counter) -> Result<(), Status> {
        let entry = self.entries.get(block.index as usize).ok_or(Status::Stale)?;
        if !entry.claim(block.generation, Phase::Reserved) {
            return Err(Status::Stale);
        }
        self.counters.add(self.stripe(), counter, 1);
        entry.remove(block.generation, Phase::Claimed);
        self.reclaim(block.index, block.generation);
        Ok(())
    }

    /// Stores a copy of `source` under `key`.
    ///
    /// # Errors
    /// As [`Engine::reserve`].
    pub fn put(&self, key: &Key, source: &[u8], info: &PutInfo) -> Result<BlockRef, Status> {
        let started = self.timer(self.stripe());
        let raw = self.reserve_as(key, source.len() as u64, info, false)?;
        let slot = SlotIndex(self.entries[raw.block.index as usize].slot());
        // SAFETY: I1 for the slot, a slice for the source; a shared slice cannot lie in a slot that is being reserved.
        unsafe { self.cpu.write(slot, source.as_ptr(), source.len(), Temperature::Auto) };
        self.commit_raw(&raw, raw.bytes)?;
        self.time(started, Operation::Put);
        Ok(raw.block)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
