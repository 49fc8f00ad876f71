//! The memory tier: slots of one size in one mapping, moved by the caller's own thread.
//!
//! # Soundness
//! - **I1** The slab is `slots_count * slot_bytes` bytes at `base`, valid for `'m` (the arena's promise).
//! - **I2** A slot is written only by the one holder of its reservation, before the block becomes readable, and read
//!   only under a pin taken while it was readable; the state word of the block and the pin table see to both. So no
//!   byte is written while another thread reads or writes it.
//! - **I3** Every slot index comes from this tier's free list, so it is below `slots_count`; the slab checks it again.
#![allow(unsafe_code)]

use core::marker::PhantomData;

use crate::copy::{Copier, Temperature};
use crate::sync::atomic::AtomicU32;
use crate::sync::free_list::{FreeList, FreeListHead};
use crate::units::SlotIndex;

/// The memory tier.
pub(crate) struct CpuTier<'m> {
    base: *mut u8,
    slot_bytes: u64,
    slots_count: u64,
    free: FreeList<'m>,
    copier: Copier,
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
    ) -> Self {
        Self {
            base,
            slot_bytes,
            slots_count: links.len() as u64,
            free: FreeList::new(head, links),
            copier,
            memory: PhantomData,
        }
    }

    /// Takes a free slot.
    pub(crate) fn take(&self) -> Option<SlotIndex> {
        self.free.pop().map(SlotIndex)
    }

    /// Gives a slot back.
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
}
