//! Structs that grow, by the size rule of Linux `openat2`: a shorter caller's missing fields are zero, a longer
//! caller's unknown fields must be zero.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. For a growable struct, I1 means `struct_size` bytes, and at least the
//! eight of `struct_size` itself.

use core::mem::{MaybeUninit, size_of};
use core::ptr::NonNull;
use core::slice;

use crate::error::Status;

/// Bytes of `struct_size`, which every growable struct begins with.
const SIZE_BYTES: usize = size_of::<u64>();

/// The largest `struct_size` that is looked at: a larger one is no struct of ours but a mistake.
pub(super) const STRUCT_SIZE_MAX: u64 = 16 << 10;

/// A struct of the header that may get longer.
///
/// # Safety
/// `repr(C)`, the first field is `struct_size: u64`, no padding, no invalid bit patterns (I2), and the size is at most
/// [`STRUCT_SIZE_MAX`]. Implement it with `growable!`.
pub(super) unsafe trait Growable: Copy {
    /// Bytes that the struct had in the first version that contained it.
    const SIZE_FIRST: u64;
}

/// Declares structs growable, each with the size it had at first.
macro_rules! growable {
    ($($name:ty = $size_first:literal),+ $(,)?) => {
        $(
            const _: () = {
                assert!(core::mem::offset_of!($name, struct_size) == 0);
                assert!(core::mem::size_of::<$name>() >= $size_first);
                assert!($size_first % 8 == 0 && core::mem::align_of::<$name>() == 8);
                assert!(core::mem::size_of::<$name>() as u64 <= $crate::capi::growable::STRUCT_SIZE_MAX);
            };
            // SAFETY: asserted above; no padding and I2 are seen at the definition: every field has 64 bits, or is an
            // array of bytes or structs whose size is a multiple of 64 bits.
            unsafe impl $crate::capi::growable::Growable for $name {
                const SIZE_FIRST: u64 = $size_first;
            }
        )+
    };
}
pub(super) use growable;

/// All fields zero, which is the default of each.
pub(super) fn zeroed<T: Growable>() -> T {
    // SAFETY: I2: zero is valid for every field.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Reads and checks `struct_size`.
///
/// # Safety
/// I1 for the first eight bytes.
unsafe fn size_read<T: Growable>(pointer: NonNull<T>) -> Result<usize, Status> {
    if !pointer.is_aligned() {
        return Err(Status::Argument);
    }
    // SAFETY: I1, asked of the caller; aligned, checked above.
    let size = unsafe { pointer.cast::<u64>().read() };
    if size < T::SIZE_FIRST || !size.is_multiple_of(8) {
        return Err(Status::Argument);
    }
    if size > STRUCT_SIZE_MAX {
        return Err(Status::Unsupported);
    }
    Ok(size as usize)
}

/// Takes the struct in.
///
/// # Safety
/// I1 for `struct_size` bytes at `pointer`.
pub(super) unsafe fn read<T: Growable>(pointer: *const T) -> Result<T, Status> {
    let pointer = NonNull::new(pointer.cast_mut()).ok_or(Status::Null)?;
    // SAFETY: I1, asked of the caller.
    let size = unsafe { size_read(pointer) }?;
    // SAFETY: I1: `struct_size` bytes are there.
    let bytes = unsafe { slice::from_raw_parts(pointer.cast::<u8>().as_ptr(), size) };
    let (known, unknown) = bytes.split_at(size.min(size_of::<T>()));
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(Status::Unsupported);
    }
    let mut value = zeroed::<T>();
    // SAFETY: `known` is no longer than the value; I2: any bytes are valid.
    unsafe { core::ptr::copy_nonoverlapping(known.as_ptr(), (&raw mut value).cast(), known.len()) };
    Ok(value)
}

/// Where a growable struct goes once the call has succeeded.
pub(super) struct Target<T: Growable> {
    pointer: Option<NonNull<T>>,
    size: usize,
}

/// Checks the output before the call does anything.
///
/// # Safety
/// I1 for `struct_size` bytes at `pointer`, until the target is written.
pub(super) unsafe fn target<T: Growable>(pointer: *mut T) -> Result<Target<T>, Status> {
    let pointer = NonNull::new(pointer).ok_or(Status::Null)?;
    // SAFETY: I1, asked of the caller.
    let size = unsafe { size_read(pointer) }?;
    Ok(Target {
        pointer: Some(pointer),
        size,
    })
}

/// As [`target`], but NULL is fine.
///
/// # Safety
/// As [`target`], if `pointer` is not NULL.
pub(super) unsafe fn target_optional<T: Growable>(pointer: *mut T) -> Result<Target<T>, Status> {
    if pointer.is_null() {
        return Ok(Target { pointer: None, size: 0 });
    }
    // SAFETY: I1, asked of the caller.
    unsafe { target(pointer) }
}

impl<T: Growable> Target<T> {
    /// The caller's `struct_size`.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Writes the fields that the caller knows; its `struct_size` and what it has beyond ours stay.
    pub(super) fn write(self, value: &T) {
        let size = self.size.min(size_of::<T>());
        if let Some(pointer) = self.pointer {
            // SAFETY: I1, promised to `target`; both sides have `size` bytes, and `size` is at least 8.
            unsafe {
                core::ptr::copy_nonoverlapping(
                    core::ptr::from_ref(value).cast::<u8>().add(SIZE_BYTES),
                    pointer.cast::<u8>().as_ptr().add(SIZE_BYTES),
                    size - SIZE_BYTES,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::{null, null_mut};

    /// A struct that had two fields at first and has three now.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Grown {
        struct_size: u64,
        old: u64,
        new: u64,
    }

    growable!(Grown = 16);

    fn read_words(words: &[u64]) -> Result<Grown, Status> {
        // SAFETY: the words are there; tests that lie about `struct_size` are refused before more is read.
        unsafe { read(words.as_ptr().cast::<Grown>()) }
    }

    #[test]
    fn a_shorter_caller_gets_defaults_and_a_longer_one_must_end_in_zeros() {
        let grown = |struct_size, old, new| Ok(Grown { struct_size, old, new });
        assert_eq!(
            read_words(&[16, 7, 9]),
            grown(16, 7, 0),
            "the ninth word is not the caller's"
        );
        assert_eq!(read_words(&[24, 7, 9]), grown(24, 7, 9));
        assert_eq!(read_words(&[40, 7, 9, 0, 0]), grown(40, 7, 9));
        assert_eq!(read_words(&[40, 7, 9, 0, 1 << 56]), Err(Status::Unsupported));
        assert_eq!(read_words(&[40, 7, 9, 1, 0]), Err(Status::Unsupported));
    }

    #[test]
    fn sizes_that_no_version_had_are_refused() {
        for size in [0, 1, 8, 15, 17, 20, 23, 25] {
            assert_eq!(read_words(&[size, 7, 9, 0]), Err(Status::Argument), "{size}");
        }
        for size in [STRUCT_SIZE_MAX + 8, u64::MAX - 7] {
            assert_eq!(read_words(&[size, 7, 9, 0]), Err(Status::Unsupported), "{size}");
        }
        // SAFETY: NULL and misaligned pointers are refused before they are read.
        unsafe {
            assert_eq!(read::<Grown>(null()), Err(Status::Null));
            assert!(target::<Grown>(null_mut()).is_err());
            assert!(target_optional::<Grown>(null_mut()).is_ok());
            let words = [24_u64; 5];
            let misaligned = words.as_ptr().cast::<u8>().add(1).cast::<Grown>();
            assert_eq!(read(misaligned), Err(Status::Argument));
        }
    }

    #[test]
    fn an_output_keeps_its_size_and_what_is_beyond() {
        let value = Grown {
            struct_size: 1,
            old: 2,
            new: 3,
        };
        for (size, after) in [(16_u64, [16, 2, 9, 9]), (24, [24, 2, 3, 9]), (32, [32, 2, 3, 9])] {
            let mut words = [size, 9, 9, 9];
            // SAFETY: the words are there.
            unsafe { target(words.as_mut_ptr().cast::<Grown>()) }
                .unwrap()
                .write(&value);
            assert_eq!(words, after);
        }
        let mut words = [12_u64, 9, 9, 9];
        // SAFETY: the words are there.
        assert!(unsafe { target(words.as_mut_ptr().cast::<Grown>()) }.is_err());
    }
}
