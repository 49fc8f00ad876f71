//! The planes of bytes with AVX2.
//!
//! # Soundness
//! - **I1** Whoever has a [`Proof`] may use AVX2: every set of instructions that carries one includes it.
//! - **I2** Loads and stores are of whole chunks of the slices, as long as the registers that are loaded and stored.
#![allow(unsafe_code)]

use super::all;
use crate::codec::isa::Proof;
use core::arch::x86_64::{
    __m256i, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_packus_epi16, _mm256_permute4x64_epi64,
    _mm256_set1_epi16, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8,
    _mm256_unpacklo_epi8,
};

/// Elements that are done at once.
const LANES: usize = 32;
/// The quarters of a register in the order 0, 2, 1, 3.
const MIDDLE_SWAPPED: i32 = 0b11_01_10_00;

/// As [`all::split`].
pub(super) fn split(_: Proof, input: &[u8], high: &mut [u8], low: &mut [u8]) {
    // SAFETY: I1.
    unsafe { split_avx2(input, high, low) }
}

/// As [`all::merge`].
pub(super) fn merge(_: Proof, high: &[u8], low: &[u8], output: &mut [u8]) {
    // SAFETY: I1.
    unsafe { merge_avx2(high, low, output) }
}

#[target_feature(enable = "avx2")]
fn load(chunk: &[u8; LANES]) -> __m256i {
    // SAFETY: I2.
    unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(chunk: &mut [u8; LANES], value: __m256i) {
    // SAFETY: I2.
    unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx2")]
fn split_avx2(input: &[u8], high: &mut [u8], low: &mut [u8]) {
    let (inputs, input_rest) = input.as_chunks::<{ 2 * LANES }>();
    let (highs, high_rest) = high.as_chunks_mut::<LANES>();
    let (lows, low_rest) = low.as_chunks_mut::<LANES>();
    let byte = _mm256_set1_epi16(0xFF);
    for ((input, high), low) in inputs.iter().zip(highs).zip(lows) {
        let (halves, _) = input.as_chunks::<LANES>();
        let rotated = |half: &[u8; LANES]| {
            let element = load(half);
            _mm256_or_si256(_mm256_slli_epi16::<1>(element), _mm256_srli_epi16::<15>(element))
        };
        let (first, second) = (rotated(&halves[0]), rotated(&halves[1]));
        let highs = _mm256_packus_epi16(_mm256_srli_epi16::<8>(first), _mm256_srli_epi16::<8>(second));
        let lows = _mm256_packus_epi16(_mm256_and_si256(first, byte), _mm256_and_si256(second, byte));
        store(high, _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(highs));
        store(low, _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(lows));
    }
    all::split(input_rest, high_rest, low_rest);
}

#[target_feature(enable = "avx2")]
fn merge_avx2(high: &[u8], low: &[u8], output: &mut [u8]) {
    let (highs, high_rest) = high.as_chunks::<LANES>();
    let (lows, low_rest) = low.as_chunks::<LANES>();
    let (outputs, output_rest) = output.as_chunks_mut::<{ 2 * LANES }>();
    for ((output, high), low) in outputs.iter_mut().zip(highs).zip(lows) {
        let high = _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(load(high));
        let low = _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(load(low));
        let back = |rotated| _mm256_or_si256(_mm256_srli_epi16::<1>(rotated), _mm256_slli_epi16::<15>(rotated));
        let (halves, _) = output.as_chunks_mut::<LANES>();
        store(&mut halves[0], back(_mm256_unpacklo_epi8(low, high)));
        store(&mut halves[1], back(_mm256_unpackhi_epi8(low, high)));
    }
    all::merge(high_rest, low_rest, output_rest);
}
