//! Memory to work in, handed out piece by piece.

use crate::budget::SCRATCH_ALIGNMENT_BYTES;
use crate::error::Status;
use bytemuck::Pod;

/// What a call left at the front of the memory for the next one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Nothing.
    Anything,
    /// The context with which `lz` compresses.
    #[cfg(feature = "zstd")]
    Compressor,
    /// The context with which `lz` decompresses.
    #[cfg(feature = "zstd")]
    Decompressor,
}

/// Memory that the caller lends for one call. Its content does not matter and is lost.
pub struct Scratch<'s> {
    rest: &'s mut [u8],
    front: Front,
    streams: bool,
}

impl<'s> Scratch<'s> {
    /// Over the caller's bytes; what lies before the first multiple of 64 is left unused.
    pub fn new(bytes: &'s mut [u8]) -> Self {
        let skip = bytes.as_ptr().align_offset(SCRATCH_ALIGNMENT_BYTES).min(bytes.len());
        Self {
            rest: &mut bytes[skip..],
            front: Front::Anything,
            streams: false,
        }
    }

    /// Whether what is decoded with this memory may be stored around the cache: where it belongs to a block that is too
    /// large to stay in it.
    pub(crate) fn stream(&mut self, streams: bool) {
        self.streams = streams;
    }

    /// See [`Scratch::stream`].
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// What is left, to be handed out anew: what is taken from it is free again when it ends.
    pub fn lend(&mut self) -> Scratch<'_> {
        self.lend_with_front().1
    }

    /// As [`Scratch::lend`], and what the front of it holds since [`Scratch::keep`]. From now on it holds nothing.
    pub(crate) fn lend_with_front(&mut self) -> (Front, Scratch<'_>) {
        let front = core::mem::replace(&mut self.front, Front::Anything);
        let lent = Scratch {
            rest: self.rest,
            front: Front::Anything,
            streams: self.streams,
        };
        (front, lent)
    }

    /// Remembers what the front holds, until anything is taken or lent.
    #[cfg(feature = "zstd")]
    pub(crate) fn keep(&mut self, front: Front) {
        self.front = front;
    }

    /// The next `count` elements, aligned to 64 bytes, with whatever is in them.
    ///
    /// # Errors
    /// [`Status::TooSmall`] if there are not as many left.
    pub(crate) fn take<T: Pod>(&mut self, count: usize) -> Result<&'s mut [T], Status> {
        self.front = Front::Anything;
        let bytes = count.checked_mul(size_of::<T>()).ok_or(Status::TooSmall)?;
        let step = bytes.next_multiple_of(SCRATCH_ALIGNMENT_BYTES);
        if step > self.rest.len() {
            return Err(Status::TooSmall);
        }
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut(step);
        self.rest = rest;
        bytemuck::try_cast_slice_mut(&mut taken[..bytes]).map_err(|_| Status::TooSmall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn pieces_are_aligned_and_apart_and_too_much_is_refused() {
        let mut memory = vec![0_u8; 64 * 5];
        let mut scratch = Scratch::new(&mut memory[1..]);
        {
            let mut lent = scratch.lend();
            assert_eq!(lent.take::<u8>(65).unwrap().len(), 65);
        }
        let first = scratch.take::<u8>(1).unwrap();
        let second = scratch.take::<f64>(8).unwrap();
        first[0] = 1;
        second[0] = 2.0;
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 64);
        assert_eq!(first.as_ptr() as usize % 64, 0);
        #[cfg(feature = "zstd")]
        {
            scratch.keep(Front::Compressor);
            assert_eq!(scratch.lend_with_front().0, Front::Compressor);
            assert_eq!(scratch.lend_with_front().0, Front::Anything);
            scratch.keep(Front::Compressor);
            scratch.lend();
            assert_eq!(scratch.lend_with_front().0, Front::Anything);
            scratch.keep(Front::Decompressor);
            assert!(scratch.take::<u8>(0).is_ok());
            assert_eq!(scratch.lend_with_front().0, Front::Anything);
        }
        assert_eq!(scratch.take::<u16>(65).err(), Some(Status::TooSmall));
        assert_eq!(scratch.take::<u64>(usize::MAX).err(), Some(Status::TooSmall));
    }
}
