//! What C hands over, checked: arrays, outputs, flags.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. The functions that turn a pointer into a slice or an output are unsafe:
//! who calls them vouches for I1 with the pointer and the count that belong together.

use core::marker::PhantomData;
use core::mem::size_of;
use core::ptr::NonNull;
use core::slice;

use crate::error::Status;

/// A struct of the header and the type that it is inside the library: same layout, no invalid bit patterns.
///
/// # Safety
/// Both types have the same size, alignment and meaning of every byte, and I2 holds for both. Implement it with
/// `mirror!`, which asserts the layout.
pub(super) unsafe trait Mirror: Copy {
    /// The type inside.
    type Inner: Copy;
}

/// Ties a struct of the header to the library's type: asserts size, alignment and the place of every field.
macro_rules! mirror {
    ($outer:ident = $inner:ty { $($field:ident),* $(,)? }) => {
        const _: () = {
            assert!(size_of::<$outer>() == size_of::<$inner>());
            assert!(align_of::<$outer>() == align_of::<$inner>());
            $(assert!(core::mem::offset_of!($outer, $field) == core::mem::offset_of!($inner, $field));)*
        };
        // SAFETY: the assertions above; I2 is seen at the definitions: integers, arrays of them, raw pointers.
        unsafe impl $crate::capi::arguments::Mirror for $outer {
            type Inner = $inner;
        }
    };
}
pub(super) use mirror;

/// Integers are themselves on both sides.
macro_rules! mirror_integers {
    ($($integer:ty),+) => {
        $(
            // SAFETY: one type; an integer has no invalid bit patterns.
            unsafe impl Mirror for $integer {
                type Inner = $integer;
            }
        )+
    };
}
mirror_integers!(u8, u32, u64, i32);

/// Checks a pointer and the count that belongs to it; the pointer of an empty array may be anything.
fn array<T>(pointer: *const T, count: u64) -> Result<(NonNull<T>, usize), Status> {
    if count == 0 {
        return Ok((NonNull::dangling(), 0));
    }
    let pointer = NonNull::new(pointer.cast_mut()).ok_or(Status::Null)?;
    let bytes = count.checked_mul(size_of::<T>() as u64).ok_or(Status::Argument)?;
    if bytes > isize::MAX as u64 || !pointer.is_aligned() {
        return Err(Status::Argument);
    }
    Ok((pointer, count as usize))
}

/// An array that is borrowed for the call.
///
/// # Safety
/// I1 for `count` values at `pointer`.
pub(super) unsafe fn values<'a, T: Mirror>(pointer: *const T, count: u64) -> Result<&'a [T::Inner], Status> {
    let (pointer, count) = array(pointer, count)?;
    // SAFETY: I1, asked of the caller; `array` checked NULL, alignment and size; the types match (`Mirror`).
    Ok(unsafe { slice::from_raw_parts(pointer.as_ptr().cast::<T::Inner>(), count) })
}

/// An array that is borrowed for the call and written.
///
/// # Safety
/// I1 for `count` values at `pointer`, which nobody else reads or writes during the call.
pub(super) unsafe fn values_mut<'a, T: Mirror>(pointer: *mut T, count: u64) -> Result<&'a mut [T::Inner], Status> {
    let (pointer, count) = array(pointer.cast_const(), count)?;
    // SAFETY: as in `values`; exclusive by the caller's promise.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.as_ptr().cast::<T::Inner>(), count) })
}

/// One value that is borrowed for the call.
///
/// # Safety
/// I1 for one value at `pointer`.
pub(super) unsafe fn value<'a, T: Mirror>(pointer: *const T) -> Result<&'a T::Inner, Status> {
    // SAFETY: I1, asked of the caller.
    let values = unsafe { values(pointer, 1) }?;
    values.first().ok_or(Status::Internal)
}

/// Bytes that are borrowed for the call.
///
/// # Safety
/// I1 for `bytes` bytes at `pointer`.
pub(super) unsafe fn bytes<'a>(pointer: *const core::ffi::c_void, bytes: u64) -> Result<&'a [u8], Status> {
    // SAFETY: I1, asked of the caller.
    unsafe { values(pointer.cast::<u8>(), bytes) }
}

/// A buffer that is only ever written; it may be uninitialised, so it stays a pointer.
pub(super) fn buffer(pointer: *mut core::ffi::c_void, bytes: u64) -> Result<*mut u8, Status> {
    let (pointer, _) = array(pointer.cast::<u8>().cast_const(), bytes)?;
    Ok(pointer.as_ptr())
}

/// Where one value goes once the call has succeeded.
pub(super) struct Output<'a, T> {
    pointer: Option<NonNull<T>>,
    borrow: PhantomData<&'a mut T>,
}

impl<T: Copy> Output<'_, T> {
    /// Writes the value; does nothing where the caller did not ask for it.
    pub(super) fn write(self, value: T) {
        if let Some(pointer) = self.pointer {
            // SAFETY: I1, promised to `output`, which checked NULL and alignment.
            unsafe { pointer.write(value) };
        }
    }
}

/// An output that must be there.
///
/// # Safety
/// I1 for one value at `pointer`.
pub(super) unsafe fn output<'a, T: Mirror>(pointer: *mut T) -> Result<Output<'a, T::Inner>, Status> {
    let (pointer, _) = array(pointer.cast_const(), 1)?;
    Ok(Output {
        pointer: Some(pointer.cast()),
        borrow: PhantomData,
    })
}

/// An output that the caller may leave out with NULL.
///
/// # Safety
/// I1 for one value at `pointer`, if it is not NULL.
pub(super) unsafe fn output_optional<'a, T: Mirror>(pointer: *mut T) -> Result<Output<'a, T::Inner>, Status> {
    if pointer.is_null() {
        return Ok(Output {
            pointer: None,
            borrow: PhantomData,
        });
    }
    // SAFETY: I1, asked of the caller.
    unsafe { output(pointer) }
}

/// Refuses flags that this version does not know.
pub(super) fn flags(given: u32, known: u32) -> Result<u32, Status> {
    if given & !known == 0 {
        Ok(given)
    } else {
        Err(Status::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::{null, null_mut};

    #[test]
    fn an_empty_array_may_be_null_and_no_other() {
        // SAFETY: NULL and empty arrays are never read.
        unsafe {
            assert_eq!(values::<u64>(null(), 0), Ok(&[][..]));
            assert_eq!(values::<u64>(null(), 1), Err(Status::Null));
            assert_eq!(value::<u64>(null()), Err(Status::Null));
            assert!(output::<u64>(null_mut()).is_err());
            output_optional::<u64>(null_mut()).unwrap().write(1);
        }
    }

    #[test]
    fn misaligned_and_overlong_arrays_are_refused_before_they_are_read() {
        let words = [0_u64; 2];
        let misaligned = words.as_ptr().cast::<u8>().wrapping_add(4).cast::<u64>();
        // SAFETY: refused before they are read.
        unsafe {
            assert_eq!(values(misaligned, 1), Err(Status::Argument));
            assert_eq!(values(words.as_ptr(), u64::MAX), Err(Status::Argument));
            assert_eq!(values(words.as_ptr(), 1 << 60), Err(Status::Argument));
            assert_eq!(values(words.as_ptr(), 2), Ok(&words[..]));
        }
    }

    #[test]
    fn unknown_flags_are_refused() {
        assert_eq!(flags(0b10, 0b11), Ok(0b10));
        assert_eq!(flags(0b100, 0b11), Err(Status::Unsupported));
    }
}
