//! The section of the tables, cut into its parts.

use super::GROUP;
use crate::error::Status;

/// The tables of one plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Books<'t> {
    middles: &'t [u8],
    heads: &'t [u8],
    dim: usize,
}

/// Bytes before the books of the first head.
pub(super) const fn head_start(heads: usize) -> usize {
    (4 * heads).next_multiple_of(64)
}

/// Bytes of the centres of one head, and of its entries.
pub(super) const fn half_bytes(dim: usize) -> usize {
    256 * 2 * dim
}

impl<'t> Books<'t> {
    /// Over a section.
    ///
    /// # Errors
    /// [`Status::Damaged`] if it is not as long as it must be.
    pub(super) fn open(section: &'t [u8], heads: usize, dim: usize) -> Result<Self, Status> {
        let (middles, books) = section.split_at_checked(head_start(heads)).ok_or(Status::Damaged)?;
        if books.len() != heads * 2 * half_bytes(dim) {
            return Err(Status::Damaged);
        }
        Ok(Self {
            middles,
            heads: books,
            dim,
        })
    }

    /// The gain of the code in the middle, in sixteenths of an octave; within what a float can hold.
    pub(super) fn middle(&self, head: usize) -> i32 {
        let bytes = &self.middles[4 * head..][..4];
        i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).clamp(-2048, 2048)
    }

    /// The 256 centres of a head.
    pub(super) fn centres(&self, head: usize) -> &'t [u8] {
        &self.heads[2 * head * half_bytes(self.dim)..][..half_bytes(self.dim)]
    }

    /// For each four channels of a head, 256 entries.
    pub(super) fn entries(&self, head: usize) -> &'t [[u8; 256 * 2 * GROUP]] {
        self.heads[(2 * head + 1) * half_bytes(self.dim)..][..half_bytes(self.dim)]
            .as_chunks()
            .0
    }

    /// One of the centres.
    pub(super) fn centre(centres: &'t [u8], dim: usize, number: u8) -> &'t [u8] {
        &centres[usize::from(number) * 2 * dim..][..2 * dim]
    }
}
