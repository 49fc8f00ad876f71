//! The engines and codecs that C programs hold: fixed tables whose addresses are the handles.
//!
//! A handle is the address of a place in a table and nothing more: it is compared with the table's bounds before
//! anything is read, and never dereferenced. A place holds a pointer to the engine (the codec) or NULL; it is found
//! with one load. Places are used in turn, so that the handle of a closed one stays wrong for as long as possible.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. Besides:
//!
//! - **R1** A pointer in a table came from `Box::into_raw` in [`Table::insert`], and who takes it out of the table with
//!   an exchange is its only owner.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::boxed::Box;

use super::types::kvc_engine_t;
use crate::error::Status;
use crate::host::Cache;

/// Places of a table: what can be open at once in one process.
const PLACES_COUNT: usize = 1024;

/// One place, on a cache line of its own: opening one engine does not disturb calls on another.
#[repr(align(64))]
struct Place<T> {
    value: AtomicPtr<T>,
}

/// Everything of one type that is open.
pub(super) struct Table<T> {
    places: [Place<T>; PLACES_COUNT],
    /// Where the search for a free place begins next.
    place_next: AtomicUsize,
}

impl<T: Send + Sync> Table<T> {
    /// A table with nothing in it.
    pub(super) const fn new() -> Self {
        Self {
            places: [const {
                Place {
                    value: AtomicPtr::new(ptr::null_mut()),
                }
            }; PLACES_COUNT],
            place_next: AtomicUsize::new(0),
        }
    }

    /// The place that a handle names, without looking at what it points to.
    fn place<H>(&self, handle: *const H) -> Result<&Place<T>, Status> {
        if handle.is_null() {
            return Err(Status::Null);
        }
        let offset = handle.addr().wrapping_sub(self.places.as_ptr().addr());
        if !offset.is_multiple_of(size_of::<Place<T>>()) {
            return Err(Status::Handle);
        }
        self.places.get(offset / size_of::<Place<T>>()).ok_or(Status::Handle)
    }

    /// Keeps a value and answers with its handle; gives it back when the table is full.
    pub(super) fn insert<H>(&self, value: Box<T>) -> Result<*mut H, Box<T>> {
        let value = Box::into_raw(value);
        for _ in 0..PLACES_COUNT {
            // Relaxed, without a partner: only spreads the places, correctness is in the exchange below.
            let place = &self.places[self.place_next.fetch_add(1, Ordering::Relaxed) % PLACES_COUNT];
            let empty = ptr::null_mut();
            // Release: publishes the value to `find`. Relaxed on failure: somebody else's pointer is not looked at.
            if place
                .value
                .compare_exchange(empty, value, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return Ok(ptr::from_ref(place).cast_mut().cast());
            }
        }
        // SAFETY: R1, and it did not get into the table.
        Err(unsafe { Box::from_raw(value) })
    }

    /// The value of a handle.
    ///
    /// # Safety
    /// I3: the reference is not used after the value began to be closed.
    pub(super) unsafe fn find<'a, H>(&self, handle: *const H) -> Result<&'a T, Status> {
        // Acquire: pairs with the Release in `insert` and `close`.
        let value = self.place(handle)?.value.load(Ordering::Acquire);
        // SAFETY: R1: NULL or a value; I3 keeps it alive.
        unsafe { value.as_ref() }.ok_or(Status::Handle)
    }

    /// Takes a value out of the table, so that its handle is wrong from now on, and has it closed; puts it back when it
    /// does not close.
    ///
    /// Nobody else can have used the place meanwhile without a thousand opens on other threads; then the value is given
    /// up rather than another one lost.
    pub(super) fn close<H>(
        &self,
        handle: *const H,
        close: impl FnOnce(T) -> Result<(), (T, Status)>,
    ) -> Result<(), Status> {
        let place = self.place(handle)?;
        // Acquire: pairs with the Release in `insert` and below.
        let held = place.value.swap(ptr::null_mut(), Ordering::Acquire);
        if held.is_null() {
            return Err(Status::Handle);
        }
        // SAFETY: R1: the exchange made this call the owner. The value is moved out of the box's memory, which stays;
        // so putting it back needs no new memory.
        let result = close(unsafe { held.read() });
        match result {
            Ok(()) => {
                // SAFETY: R1; the value was moved out above, so only the memory is given back.
                drop(unsafe { Box::from_raw(held.cast::<MaybeUninit<T>>()) });
                Ok(())
            }
            Err((value, status)) => {
                // SAFETY: R1; the value was moved out above, so nothing is overwritten.
                unsafe { held.write(value) };
                // Release: publishes the value to `find`. Relaxed on failure: the other pointer is not looked at.
                let _ = place
                    .value
                    .compare_exchange(ptr::null_mut(), held, Ordering::Release, Ordering::Relaxed);
                Err(status)
            }
        }
    }
}

/// The engines.
static ENGINES: Table<Cache> = Table::new();

/// Keeps an engine and answers with its handle; gives it back when the table is full.
pub(super) fn insert(cache: Box<Cache>) -> Result<*mut kvc_engine_t, Box<Cache>> {
    ENGINES.insert(cache)
}

/// The engine of a handle.
///
/// # Safety
/// I3: the reference is not used after a `kvc_close` of this engine began.
pub(super) unsafe fn find<'a>(engine: *const kvc_engine_t) -> Result<&'a Cache, Status> {
    // SAFETY: I3, asked of the caller.
    unsafe { ENGINES.find(engine) }
}

/// Closes an engine, see [`Table::close`].
pub(super) fn close(
    engine: *const kvc_engine_t,
    close: impl FnOnce(Cache) -> Result<(), (Cache, Status)>,
) -> Result<(), Status> {
    ENGINES.close(engine, close)
}

#[cfg(test)]
mod tests {
    use super::*;

    static NUMBERS: Table<u32> = Table::new();

    #[test]
    fn pointers_that_are_no_places_are_refused_without_being_read() {
        let bytes = size_of_val(&NUMBERS.places);
        let first: *const u8 = NUMBERS.places.as_ptr().cast();
        assert_eq!(NUMBERS.place(ptr::null::<u8>()).err(), Some(Status::Null));
        for wrong in [
            first.wrapping_byte_add(1),
            first.wrapping_byte_sub(64),
            first.wrapping_byte_add(bytes),
            ptr::without_provenance(1),
            ptr::without_provenance(usize::MAX),
        ] {
            assert_eq!(NUMBERS.place(wrong).err(), Some(Status::Handle), "{wrong:?}");
        }
        assert!(ptr::eq(NUMBERS.place(first).unwrap(), &NUMBERS.places[0]));
        let last = first.wrapping_byte_add(bytes - 64);
        assert!(ptr::eq(NUMBERS.place(last).unwrap(), &NUMBERS.places[PLACES_COUNT - 1]));
    }

    #[test]
    fn a_value_is_found_until_it_is_closed_and_a_full_table_gives_it_back() {
        let table: Table<u32> = Table::new();
        let handles: std::vec::Vec<*mut u8> = (0..PLACES_COUNT as u32)
            .map(|number| table.insert(Box::new(number)).unwrap())
            .collect();
        assert_eq!(table.insert::<u8>(Box::new(7)), Err(Box::new(7)));
        // SAFETY: I3: this test alone has the table.
        let find = |handle| unsafe { table.find::<u8>(handle) };
        assert_eq!(find(handles[5]), Ok(&5));
        assert_eq!(
            table.close(handles[5], |value| Err((value, Status::Busy))),
            Err(Status::Busy)
        );
        assert_eq!(find(handles[5]), Ok(&5));
        for (number, &handle) in (0..).zip(&handles) {
            let close = |value| {
                assert_eq!(value, number);
                Ok(())
            };
            assert_eq!(table.close(handle, close), Ok(()));
            assert_eq!(find(handle), Err(Status::Handle));
            assert_eq!(table.close(handle, |_| Ok(())), Err(Status::Handle));
        }
    }
}
