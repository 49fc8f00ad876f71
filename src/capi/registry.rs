//! The engines that C programs hold: a fixed table whose addresses are the handles.
//!
//! A handle is the address of a place in this table and nothing more: it is compared with the table's bounds before
//! anything is read, and never dereferenced. A place holds a pointer to the engine or NULL; it is found with one load.
//! Places are used in turn, so that a handle of a closed engine stays wrong for as long as possible.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. Besides:
//!
//! - **R1** A pointer in the table came from `Box::into_raw` in [`insert`], and who takes it out of the table with an
//!   exchange is its only owner.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::boxed::Box;

use super::types::kvc_engine_t;
use crate::error::Status;
use crate::host::Cache;

/// Engines that can be open at once in one process.
const PLACES_COUNT: usize = 1024;

/// One place, on a cache line of its own: opening one engine does not disturb calls on another.
#[repr(align(64))]
struct Place {
    cache: AtomicPtr<Cache>,
}

static PLACES: [Place; PLACES_COUNT] = [const {
    Place {
        cache: AtomicPtr::new(ptr::null_mut()),
    }
}; PLACES_COUNT];

/// Where the search for a free place begins next.
static PLACE_NEXT: AtomicUsize = AtomicUsize::new(0);

// Engines are used and closed by whatever thread the program likes.
const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Cache>();
};

/// The place that a handle names, without looking at what it points to.
fn place(engine: *const kvc_engine_t) -> Result<&'static Place, Status> {
    if engine.is_null() {
        return Err(Status::Null);
    }
    let offset = engine.addr().wrapping_sub(PLACES.as_ptr().addr());
    if !offset.is_multiple_of(size_of::<Place>()) {
        return Err(Status::Handle);
    }
    PLACES.get(offset / size_of::<Place>()).ok_or(Status::Handle)
}

/// Keeps an engine and answers with its handle; gives it back when the table is full.
pub(super) fn insert(cache: Box<Cache>) -> Result<*mut kvc_engine_t, Box<Cache>> {
    let cache = Box::into_raw(cache);
    for _ in 0..PLACES_COUNT {
        // Relaxed, without a partner: only spreads the places, correctness is in the exchange below.
        let place = &PLACES[PLACE_NEXT.fetch_add(1, Ordering::Relaxed) % PLACES_COUNT];
        let empty = ptr::null_mut();
        // Release: publishes the engine to `find`. Relaxed on failure: somebody else's pointer is not looked at.
        if place
            .cache
            .compare_exchange(empty, cache, Ordering::Release, Ordering::Relaxed)
            .is_ok()
        {
            return Ok(ptr::from_ref(place).cast_mut().cast());
        }
    }
    // SAFETY: R1, and it did not get into the table.
    Err(unsafe { Box::from_raw(cache) })
}

/// The engine of a handle.
///
/// # Safety
/// I3: the reference is not used after a `kvc_close` of this engine began.
pub(super) unsafe fn find<'a>(engine: *const kvc_engine_t) -> Result<&'a Cache, Status> {
    // Acquire: pairs with the Release in `insert` and `close`.
    let cache = place(engine)?.cache.load(Ordering::Acquire);
    // SAFETY: R1: NULL or an engine; I3 keeps it alive.
    unsafe { cache.as_ref() }.ok_or(Status::Handle)
}

/// Takes an engine out of the table, so that its handle is wrong from now on, and has it closed; puts it back when it
/// does not close.
///
/// Nobody else can have used the place meanwhile without a thousand opens on other threads; then the engine is given
/// up rather than another one lost.
pub(super) fn close(
    engine: *const kvc_engine_t,
    close: impl FnOnce(Cache) -> Result<(), (Cache, Status)>,
) -> Result<(), Status> {
    let place = place(engine)?;
    // Acquire: pairs with the Release in `insert` and below.
    let cache = place.cache.swap(ptr::null_mut(), Ordering::Acquire);
    if cache.is_null() {
        return Err(Status::Handle);
    }
    // SAFETY: R1: the exchange made this call the owner. The value is moved out of the box's memory, which stays; so
    // putting it back needs no new memory.
    let result = close(unsafe { cache.read() });
    match result {
        Ok(()) => {
            // SAFETY: R1; the value was moved out above, so only the memory is given back.
            drop(unsafe { Box::from_raw(cache.cast::<MaybeUninit<Cache>>()) });
            Ok(())
        }
        Err((value, status)) => {
            // SAFETY: R1; the value was moved out above, so nothing is overwritten.
            unsafe { cache.write(value) };
            // Release: publishes the engine to `find`. Relaxed on failure: the other pointer is not looked at.
            let _ = place
                .cache
                .compare_exchange(ptr::null_mut(), cache, Ordering::Release, Ordering::Relaxed);
            Err(status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_are_no_places_are_refused_without_being_read() {
        let first: *const kvc_engine_t = PLACES.as_ptr().cast();
        assert_eq!(place(ptr::null()).err(), Some(Status::Null));
        for wrong in [
            first.wrapping_byte_add(1),
            first.wrapping_byte_sub(64),
            first.wrapping_byte_add(size_of_val(&PLACES)),
            ptr::without_provenance(1),
            ptr::without_provenance(usize::MAX),
        ] {
            assert_eq!(place(wrong).err(), Some(Status::Handle), "{wrong:?}");
        }
        assert!(ptr::eq(place(first).unwrap(), &PLACES[0]));
        let last = first.wrapping_byte_add(size_of_val(&PLACES) - 64);
        assert!(ptr::eq(place(last).unwrap(), &PLACES[PLACES_COUNT - 1]));
    }
}
