//! The memory tier: slots of one size in one mapping, moved by the caller's own thread.
//!
//! # Soundness
//! - **I1** The slab is `slots_count * slot_bytes` bytes at `base`, valid for `'m` (the arena's promise).
//! - **I2** A slot is written only by the one holder of its reservation, before the block becomes readable or is
//!   offered to be shared, and read only under a pin taken while it was readable, or under a reference (`share`); the
//!   state word of the block, the pin table and the count of references see to that. So no byte is written while
//!   another thread reads or writes it.
//! - **I3** Every slot index comes from this tier's free list, so it is below `slots_count`; the slab checks it again.
#![allow(unsafe_code)]

pub(crate) mod share;

use core::marker::PhantomData;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::copy::{Copier, Temperature};
use crate::sync::atomic::AtomicU32;
use crate::sync::free_list::{FreeList, FreeListHead};
use crate::units::SlotIndex;

use share::Sharing;

/// What sharing a slot's bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// The slot that holds the same bytes, and on which the block has a reference now; its own is the caller's to give
    /// back.
    pub(crate) slot: Option<SlotIndex>,
    /// Blocks with the same digest and other bytes.
    pub(crate) collisions: u64,
    /// Slots given back whose last block left while their bytes were compared.
    pub(crate) freed: u64,
}

/// The memory tier.
pub(crate) struct CpuTier<'m> {
    base: *mut u8,
    slot_bytes: u64,
    slots_count: u64,
    free: FreeList<'m>,
    copier: Copier,
    /// Where blocks with the same bytes share a slot.
    sharing: Option<Sharing<'m>>,
    digest_seed: u64,
    /// Which bits of a digest count, so that tests can have few digests.
    #[cfg(test)]
    pub(crate) digest_mask: u64,
    memory: PhantomData<&'m [u8]>,
}

// SAFETY: I2 says which thread touches which slot when; the rest is atomics.
unsafe impl Send for CpuTier<'_> {}
// SAFETY: as above.
unsafe impl Sync for CpuTier<'_> {}

impl<'m> CpuTier<'m> {
    /// A tier of `links.len()` slots at `base`.
    ///
    /// # Safety
    /// I1, and nobody else may use the slab for `'m`.
    pub(crate) unsafe fn new(
        base: *mut u8,
        slot_bytes: u64,
        head: &'m FreeListHead,
        links: &'m [AtomicU32],
        copier: Copier,
        sharing: Option<Sharing<'m>>,
        digest_seed: u64,
    ) -> Self {
        Self {
            base,
            slot_bytes,
            slots_count: links.len() as u64,
            free: FreeList::new(head, links),
            copier,
            sharing,
            digest_seed,
            #[cfg(test)]
            digest_mask: u64::MAX,
            memory: PhantomData,
        }
    }

    /// Takes a free slot.
    pub(crate) fn take(&self) -> Option<SlotIndex> {
        self.free.pop().map(SlotIndex)
    }

    /// Gives a slot back that nobody has a reference on.
    pub(crate) fn give(&self, slot: SlotIndex) {
        self.free.push(slot.0);
    }

    /// The address of a slot. Using it is subject to I2.
    pub(crate) fn address(&self, slot: SlotIndex) -> *mut u8 {
        assert!(u64::from(slot.0) < self.slots_count, "a slot outside the tier");
        // SAFETY: I1 and I3, just checked.
        unsafe { self.base.add(slot.usize() * self.slot_bytes as usize) }
    }

    /// Copies `bytes` bytes of a slot out.
    ///
    /// # Safety
    /// I2: the caller holds a pin on the slot's block, `bytes` is at most its length, and `target` is valid for that
    /// many bytes and not inside the slab.
    pub(crate) unsafe fn read(&self, slot: SlotIndex, target: *mut u8, bytes: usize, temperature: Temperature) {
        // SAFETY: I1 for the source, the caller's word for the target.
        unsafe { self.copier.copy(self.address(slot), target, bytes, temperature) };
    }

    /// Copies `bytes` bytes into a slot.
    ///
    /// # Safety
    /// I2: the caller holds the reservation, `bytes` is at most a slot, and `source` is valid for that many bytes and
    /// not inside the slab.
    pub(crate) unsafe fn write(&self, slot: SlotIndex, source: *const u8, bytes: usize, temperature: Temperature) {
        // SAFETY: I1 for the target, the caller's word for the source.
        unsafe { self.copier.copy(source, self.address(slot), bytes, temperature) };
    }

    /// Looks for the same bytes in another slot, and offers this one to others where there are none. Does nothing
    /// where slots are not shared.
    ///
    /// Reads the slot once for its digest, and again with each candidate of the same digest.
    ///
    /// # Safety
    /// I2: the caller alone has the slot, its first `bytes` bytes were written, and nobody writes them any more.
    pub(crate) unsafe fn share(&self, slot: SlotIndex, bytes: u32) -> Shared {
        let Some(sharing) = &self.sharing else {
            return Shared::default();
        };
        // SAFETY: the caller's word, and here and below I1: a slot has room for its block.
        let own = unsafe { core::slice::from_raw_parts(self.address(slot).cast_const(), bytes as usize) };
        let digest = self.digest(own);
        let mut freed = 0;
        let search = sharing.find(
            digest,
            bytes,
            |other| {
                let other = self.address(SlotIndex(other)).cast_const();
                // SAFETY: I2: the reference keeps as many bytes as they are, and they were written before it could be
                // taken.
                own == unsafe { core::slice::from_raw_parts(other, bytes as usize) }
            },
            |other| {
                freed += 1;
                self.give(SlotIndex(other));
            },
        );
        if search.slot.is_none() && !search.full {
            sharing.offer(slot.0, digest, bytes);
        }
        Shared {
            slot: search.slot.map(SlotIndex),
            collisions: search.collisions,
            freed,
        }
    }

    fn digest(&self, block: &[u8]) -> u64 {
        let digest = xxh3_64_with_seed(block, self.digest_seed);
        #[cfg(test)]
        let digest = digest & self.digest_mask;
        digest
    }

    /// Gives up what a block that leaves memory has of a slot. True where nobody else has it: it is to be given back.
    pub(crate) fn let_go(&self, slot: SlotIndex) -> bool {
        self.sharing.as_ref().is_none_or(|sharing| sharing.let_go(slot.0))
    }

    /// Whether another block has the slot, too.
    pub(crate) fn is_shared(&self, slot: SlotIndex) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.is_shared(slot.0))
    }

    /// Bytes of blocks in memory that take no slot of their own.
    pub(crate) fn bytes_saved(&self) -> u64 {
        self.sharing.as_ref().map_or(0, |sharing| sharing.totals().bytes())
    }
}
