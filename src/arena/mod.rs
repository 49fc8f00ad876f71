//! The one piece of memory that everything lives in, handed out as typed slices.
//!
//! # Soundness
//! - **I1** The memory given to [`Arena::new`] stays valid, writable and untouched by others for `'m`.
//! - **I2** Parts lie side by side and do not overlap: [`Plan::compute`] makes them so and its tests hold it to that;
//!   [`Arena::slice`] hands a part out with a shared reference, and every type it may be asked for changes only through
//!   atomics, so handing one out twice is harmless.
//! - **I3** All-zero bytes are a valid value of every [`ZeroValid`] type, and [`Arena::new`] zeroes what is not
//!   payload.
//! - **I4** Each part starts on a page of the arena and the arena starts on a page, so every type aligned to at most
//!   a page is aligned.
#![allow(unsafe_code)]

use core::marker::PhantomData;

use crate::budget::{Part, Plan};
use crate::error::{ConfigError, Status};
use crate::limits::PAGE_BYTES;
use crate::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(feature = "std")]
pub mod mapping;

/// Types for which all-zero bytes are a valid value and which change through atomics only.
///
/// # Safety
/// Both must hold, and the type must have no padding that anybody relies on and an alignment of at most a page.
pub(crate) unsafe trait ZeroValid {}

// SAFETY: I3, an integer atomic is an integer in memory.
unsafe impl ZeroValid for AtomicU32 {}
// SAFETY: I3, as above.
unsafe impl ZeroValid for AtomicU64 {}

/// Whether the memory of an arena is known to be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Fresh from the system: zero, and not to be touched without need.
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    Zero,
    /// Anything: the metadata has to be zeroed.
    Unknown,
}

/// A region that a [`Plan`] has been laid over.
#[derive(Clone, Copy)]
pub(crate) struct Arena<'m> {
    base: *mut u8,
    plan: Plan,
    memory: PhantomData<&'m [AtomicU64]>,
}

// SAFETY: I2, what an arena hands out is shared safely between threads; the raw base is only an address.
unsafe impl Send for Arena<'_> {}
// SAFETY: I2, as above.
unsafe impl Sync for Arena<'_> {}

impl<'m> Arena<'m> {
    /// Lays `plan` over `bytes` bytes at `base`.
    ///
    /// # Safety
    /// I1: `base` must be valid for reads and writes of `bytes` bytes for `'m`, initialised, and used by nobody else.
    /// With [`Fill::Zero`] the bytes must be zero.
    pub(crate) unsafe fn new(base: *mut u8, bytes: u64, plan: &Plan, fill: Fill) -> Result<Self, ConfigError> {
        let refusal = |value, value_min, reason| {
            ConfigError::new(Status::Config, "memory_bytes", value, value_min, u64::MAX, reason)
        };
        if bytes < plan.bytes() {
            return Err(refusal(
                bytes,
                plan.bytes(),
                "the memory is smaller than the plan; compute the plan first and bring that many bytes",
            ));
        }
        if base.is_null() || !(base as usize as u64).is_multiple_of(PAGE_BYTES) {
            return Err(ConfigError {
                field: "memory",
                ..refusal(
                    base as usize as u64,
                    PAGE_BYTES,
                    "the memory must start at a multiple of 4096 bytes",
                )
            });
        }
        if fill == Fill::Unknown {
            // SAFETY: I1, metadata is the part before the slots and lies within `bytes`.
            unsafe { base.write_bytes(0, plan.metadata_bytes() as usize) };
        }
        Ok(Self {
            base,
            plan: *plan,
            memory: PhantomData,
        })
    }

    /// One part as a slice of as many whole `T` as it holds.
    pub(crate) fn slice<T: ZeroValid>(&self, part: Part) -> &'m [T] {
        let component = self.plan.part(part);
        let count = (component.count * component.bytes_each) as usize / size_of::<T>();
        // SAFETY: I1 and I2 for the range, I3 for the value, I4 for the alignment.
        unsafe { core::slice::from_raw_parts(self.base.add(component.offset as usize).cast::<T>(), count) }
    }

    /// One part as a slice of its holder's own.
    ///
    /// # Safety
    /// I2: the part is handed out once, and never by [`Arena::slice`].
    pub(crate) unsafe fn exclusive<T: bytemuck::Pod>(&self, part: Part) -> &'m mut [T] {
        let component = self.plan.part(part);
        let count = (component.count * component.bytes_each) as usize / size_of::<T>();
        // SAFETY: I1 for the range, the caller's word that nobody else has it, I4 for the alignment; any bytes are
        // valid.
        unsafe { core::slice::from_raw_parts_mut(self.address(part).cast::<T>(), count) }
    }

    /// The address of a part.
    pub(crate) fn address(&self, part: Part) -> *mut u8 {
        // SAFETY: I2, the offset lies within the arena.
        unsafe { self.base.add(self.plan.part(part).offset as usize) }
    }

    /// The address of the first slot.
    pub(crate) fn slots_base(&self) -> *mut u8 {
        self.address(Part::Slots)
    }

    /// Touches the page at `offset` so that the system backs it with memory; what it holds stays as it is.
    ///
    /// Safe to call while others write the same page.
    pub(crate) fn touch(&self, offset: u64) {
        if offset < self.plan.bytes() {
            // SAFETY: I1 and the check above; pages are multiples of eight bytes, so the word lies within.
            let word = unsafe {
                &*self
                    .base
                    .add((offset & !7) as usize)
                    .cast::<core::sync::atomic::AtomicU64>()
            };
            // A read-modify-write that changes nothing: makes the page present and writable. Orders nothing.
            word.fetch_or(0, core::sync::atomic::Ordering::Relaxed);
        }
    }
}
