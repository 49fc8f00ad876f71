//! The loops that instructions for many elements at once speed up.
//!
//! [`all`] defines them. Multiplications and additions are never contracted, and sums of numbers with a fraction are
//! made one channel after the other in each lane, so that the result does not depend on how many lanes there are.
//! The inverse transform is made of integers.

pub(super) mod all;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

use super::entropy::PLACES;
use crate::codec::isa::Isa;
use crate::geometry::Dtype;

/// The loops, in the way of one instruction set.
pub(super) trait Kernel: Copy {
    /// Elements as numbers, everything finite.
    fn read(self, dtype: Dtype, bytes: &[u8], row: &mut [f32]);
    /// Numbers as the nearest elements.
    fn write(self, dtype: Dtype, row: &[f32], bytes: &mut [u8]);
    /// Has memory fetched that is read soon.
    fn prefetch(self, _memory: &[i16]) {}
    /// See [`all::forward`].
    fn forward(self, basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]);
    /// See [`all::inverse`].
    fn inverse(self, basis: &[i16], row: &[i16], sums: &mut [i32]);
    /// See [`all::quantise`].
    fn quantise(self, row: &[f32], inverse_step: f32, output: &mut [i16]);
    /// See [`all::quantise_from`].
    fn quantise_from(self, row: &[f32], inverse_step: f32, from: &[i16], output: &mut [i16]);
    /// See [`all::add`].
    fn add(self, row: &[i16], from: &[i16], output: &mut [i16]);
    /// See [`all::bytes`].
    fn bytes(self, row: &[i16], output: &mut [u8]);
    /// See [`all::nearest`].
    fn nearest(self, row: &[u8], before: &[u8], channels: usize, first: usize) -> usize;
    /// See [`all::magnitudes`].
    fn magnitudes(self, row: &[i16]) -> u32;
    /// See [`all::weigh`].
    fn weigh(self, row: &[i16], weights: &[i16]) -> i32;
    /// See [`all::peak`].
    fn peak(self, row: &[i16]) -> i16;
    /// See [`all::sum_of`].
    fn sum_of(self, costs: &[u32; PLACES], symbols: &[u16]) -> u32;
    /// See [`all::classes`].
    fn classes(self, levels: &[i8], offset: i8, output: &mut [u8]);
}

/// The definition.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Kernel for Portable {
    fn read(self, dtype: Dtype, bytes: &[u8], row: &mut [f32]) {
        crate::codec::number::read_row(dtype, bytes, row);
    }
    fn write(self, dtype: Dtype, row: &[f32], bytes: &mut [u8]) {
        crate::codec::number::write_row(dtype, row, bytes);
    }
    fn forward(self, basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]) {
        all::forward(basis, width, rows, output);
    }
    fn inverse(self, basis: &[i16], row: &[i16], sums: &mut [i32]) {
        all::inverse(basis, row, sums);
    }
    fn quantise(self, row: &[f32], inverse_step: f32, output: &mut [i16]) {
        all::quantise(row, inverse_step, output);
    }
    fn quantise_from(self, row: &[f32], inverse_step: f32, from: &[i16], output: &mut [i16]) {
        all::quantise_from(row, inverse_step, from, output);
    }
    fn add(self, row: &[i16], from: &[i16], output: &mut [i16]) {
        all::add(row, from, output);
    }
    fn bytes(self, row: &[i16], output: &mut [u8]) {
        all::bytes(row, output);
    }
    fn nearest(self, row: &[u8], before: &[u8], channels: usize, first: usize) -> usize {
        all::nearest(row, before, channels, first)
    }
    fn magnitudes(self, row: &[i16]) -> u32 {
        all::magnitudes(row)
    }
    fn weigh(self, row: &[i16], weights: &[i16]) -> i32 {
        all::weigh(row, weights)
    }
    fn peak(self, row: &[i16]) -> i16 {
        all::peak(row)
    }
    fn sum_of(self, costs: &[u32; PLACES], symbols: &[u16]) -> u32 {
        all::sum_of(costs, symbols)
    }
    fn classes(self, levels: &[i8], offset: i8, output: &mut [u8]) {
        all::classes(levels, offset, output);
    }
}

/// Something that is done with a kernel. `run` is to be `#[inline(always)]`, and what it calls in its loops, too.
pub(super) trait Job {
    /// What comes out.
    type Output;
    /// Does it.
    fn run<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// Does a job with the instructions of `isa`.
pub(super) fn run<J: Job>(isa: Isa, job: J) -> J::Output {
    match isa {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2(proof) => x86_64::run_avx2(proof, job),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx512(proof) => x86_64::run_avx512(proof, job),
        _ => job.run(Portable),
    }
}
