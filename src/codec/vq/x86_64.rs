//! Searching and decoding with AVX2.
//!
//! # Soundness
//! - **I1** Whoever has a [`Proof`] may use AVX2 and F16C: every set of instructions that carries one includes them.
//! - **I2** Loads and stores are of whole arrays or chunks, as long as the registers that are loaded and stored.
#![allow(unsafe_code)]

use super::{GROUP, all};
use crate::codec::isa::Proof;
use crate::codec::number;
use crate::geometry::Dtype;
use core::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_storeu_si128, _mm256_add_epi32, _mm256_adds_epi16, _mm256_and_si256,
    _mm256_blendv_epi8, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmpgt_epi32,
    _mm256_cvtepi16_epi32, _mm256_cvtepi32_ps, _mm256_cvtps_ph, _mm256_extracti128_si256, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_epi32, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_packus_epi32, _mm256_permute2x128_si256, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_shuffle_ps, _mm256_srai_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_sub_epi32,
};

/// The quarters of a register in the order 0, 2, 1, 3.
const MIDDLE_SWAPPED: i32 = 0b11_01_10_00;

/// As [`all::nearest_centre`].
pub(super) fn nearest_centre(_: Proof, row: &[i16], centres: &[u8], halves: &[i32; 256]) -> u8 {
    // SAFETY: I1.
    unsafe { nearest_centre_avx2(row, centres, halves) }
}

/// As [`all::nearest_entries`].
pub(super) fn nearest_entries(
    _: Proof,
    entries: &[u8; 256 * 2 * GROUP],
    rows: &[i16],
    rows_step: usize,
    codes: &mut [u8],
    codes_step: usize,
) {
    // SAFETY: I1.
    unsafe { nearest_entries_avx2(entries, rows, rows_step, codes, codes_step) }
}

/// As [`all::decode_row`].
pub(super) fn decode_row(
    _: Proof,
    dtype: Dtype,
    centre: &[u8],
    entries: &[[u8; 256 * 2 * GROUP]],
    codes: &[u8],
    factor: f32,
    output: &mut [u8],
) {
    // SAFETY: I1.
    unsafe { decode_row_avx2(dtype, centre, entries, codes, factor, output) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(chunk: &[u8; 32]) -> __m256i {
    // SAFETY: I2.
    unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_integers(chunk: &[i16; 16]) -> __m256i {
    // SAFETY: I2.
    unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_lanes(chunk: &[i32; 8]) -> __m256i {
    // SAFETY: I2.
    unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_lanes(chunk: &mut [i32; 8], value: __m256i) {
    // SAFETY: I2.
    unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_elements(chunk: &mut [u8; 16], value: __m128i) {
    // SAFETY: I2.
    unsafe { _mm_storeu_si128(chunk.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx2")]
fn nearest_centre_avx2(row: &[i16], centres: &[u8], halves: &[i32; 256]) -> u8 {
    let (row_chunks, row_rest) = row.as_chunks::<16>();
    let dim = row.len();
    if !row_rest.is_empty() {
        return all::nearest_centre(row, centres, halves);
    }
    let mut best = _mm256_set1_epi32(i32::MIN);
    let mut best_number = _mm256_setzero_si256();
    let mut number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (centres, halves) in centres.chunks_exact(8 * 2 * dim).zip(halves.as_chunks::<8>().0) {
        let (centres, _) = centres.as_chunks::<32>();
        let mut sums = [_mm256_setzero_si256(); 8];
        for (place, row) in row_chunks.iter().enumerate() {
            let row = load_integers(row);
            for (sum, centre) in sums.iter_mut().zip(centres.chunks_exact(row_chunks.len())) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(row, load(&centre[place])));
            }
        }
        let pair = |a: usize| _mm256_hadd_epi32(sums[a], sums[a + 1]);
        let (low, high) = (_mm256_hadd_epi32(pair(0), pair(2)), _mm256_hadd_epi32(pair(4), pair(6)));
        let products = _mm256_add_epi32(
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        );
        let score = _mm256_sub_epi32(products, load_lanes(halves));
        let better = _mm256_cmpgt_epi32(score, best);
        best = _mm256_max_epi32(score, best);
        best_number = _mm256_blendv_epi8(best_number, number, better);
        number = _mm256_add_epi32(number, _mm256_set1_epi32(8));
    }
    first_of_largest(best, best_number)
}

/// The number at the largest score, the smallest where there are several.
#[target_feature(enable = "avx2")]
#[inline]
fn first_of_largest(scores: __m256i, numbers: __m256i) -> u8 {
    let (mut score_lanes, mut number_lanes) = ([0; 8], [0; 8]);
    store_lanes(&mut score_lanes, scores);
    store_lanes(&mut number_lanes, numbers);
    let mut best = (score_lanes[0], number_lanes[0]);
    for (score, number) in score_lanes.into_iter().zip(number_lanes) {
        if score > best.0 || score == best.0 && number < best.1 {
            best = (score, number);
        }
    }
    best.1 as u8
}

/// The entries of a book as pairs of channels, eight entries to a register, and half of their squares.
struct Pairs {
    first: [[i32; 8]; 32],
    second: [[i32; 8]; 32],
    halves: [[i32; 8]; 32],
}

#[target_feature(enable = "avx2")]
fn pairs(entries: &[u8; 256 * 2 * GROUP]) -> Pairs {
    let mut pairs = Pairs {
        first: [[0; 8]; 32],
        second: [[0; 8]; 32],
        halves: [[0; 8]; 32],
    };
    for (place, eight) in entries.as_chunks::<64>().0.iter().enumerate() {
        let (halves, _) = eight.as_chunks::<32>();
        let low = _mm256_castsi256_ps(load(&halves[0]));
        let high = _mm256_castsi256_ps(load(&halves[1]));
        let ordered = |mixed: __m256| _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(_mm256_castps_si256(mixed));
        let first = ordered(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
        let second = ordered(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
        let square = _mm256_add_epi32(_mm256_madd_epi16(first, first), _mm256_madd_epi16(second, second));
        store_lanes(&mut pairs.first[place], first);
        store_lanes(&mut pairs.second[place], second);
        store_lanes(&mut pairs.halves[place], _mm256_srai_epi32::<1>(square));
    }
    pairs
}

/// Vectors that are looked for at once.
const VECTORS: usize = 4;

#[target_feature(enable = "avx2")]
fn nearest_entries_avx2(
    entries: &[u8; 256 * 2 * GROUP],
    rows: &[i16],
    rows_step: usize,
    codes: &mut [u8],
    codes_step: usize,
) {
    let pairs = pairs(entries);
    let mut groups = rows.chunks(rows_step);
    let mut codes = codes.iter_mut().step_by(codes_step);
    loop {
        let mut found = 0;
        let mut wanted = [[_mm256_setzero_si256(); 2]; VECTORS];
        for (wanted, group) in wanted.iter_mut().zip(groups.by_ref()) {
            let pair = |at: usize| {
                let pair = u32::from(group[at] as u16) | u32::from(group[at + 1] as u16) << 16;
                _mm256_set1_epi32(pair as i32)
            };
            *wanted = [pair(0), pair(2)];
            found += 1;
        }
        if found == 0 {
            return;
        }
        let mut best = [_mm256_set1_epi32(i32::MIN); VECTORS];
        let mut best_number = [_mm256_setzero_si256(); VECTORS];
        let mut number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for ((first, second), halves) in pairs.first.iter().zip(&pairs.second).zip(&pairs.halves) {
            let (first, second, halves) = (load_lanes(first), load_lanes(second), load_lanes(halves));
            for vector in 0..VECTORS {
                let product = _mm256_add_epi32(
                    _mm256_madd_epi16(wanted[vector][0], first),
                    _mm256_madd_epi16(wanted[vector][1], second),
                );
                let score = _mm256_sub_epi32(product, halves);
                let better = _mm256_cmpgt_epi32(score, best[vector]);
                best[vector] = _mm256_max_epi32(score, best[vector]);
                best_number[vector] = _mm256_blendv_epi8(best_number[vector], number, better);
            }
            number = _mm256_add_epi32(number, _mm256_set1_epi32(8));
        }
        for (vector, code) in (0..found).zip(codes.by_ref()) {
            *code = first_of_largest(best[vector], best_number[vector]);
        }
    }
}

/// Eight elements from numbers that are not NaN.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn elements(dtype: Dtype, low: __m256, high: __m256) -> [__m128i; 2] {
    let max = _mm256_set1_ps(number::max(dtype));
    let min = _mm256_set1_ps(-number::max(dtype));
    let within = |value| _mm256_min_ps(_mm256_max_ps(value, min), max);
    let (low, high) = (within(low), within(high));
    if dtype == Dtype::Bf16 {
        let rounded = |value: __m256| {
            let bits = _mm256_castps_si256(value);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let up = _mm256_add_epi32(_mm256_set1_epi32(0x7FFF), odd);
            _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up))
        };
        let packed = _mm256_packus_epi32(rounded(low), rounded(high));
        let ordered = _mm256_permute4x64_epi64::<MIDDLE_SWAPPED>(packed);
        [_mm256_castsi256_si128(ordered), _mm256_extracti128_si256::<1>(ordered)]
    } else {
        [_mm256_cvtps_ph::<0>(low), _mm256_cvtps_ph::<0>(high)]
    }
}

#[target_feature(enable = "avx2,f16c")]
fn decode_row_avx2(
    dtype: Dtype,
    centre: &[u8],
    entries: &[[u8; 256 * 2 * GROUP]],
    codes: &[u8],
    factor: f32,
    output: &mut [u8],
) {
    let factors = _mm256_set1_ps(factor);
    let sixteens = centre.as_chunks::<32>().0.iter();
    let books = entries.as_chunks::<4>().0.iter().zip(codes.as_chunks::<4>().0);
    for ((centre, (books, codes)), output) in sixteens.zip(books).zip(output.as_chunks_mut::<32>().0) {
        let entry = |place: usize| {
            let entries = books[place].as_chunks::<8>().0;
            i64::from_le_bytes(entries[usize::from(codes[place])])
        };
        let rest = _mm256_setr_epi64x(entry(0), entry(1), entry(2), entry(3));
        let shape = _mm256_adds_epi16(load(centre), rest);
        let scaled = |half: __m128i| _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(half)), factors);
        let low = scaled(_mm256_castsi256_si128(shape));
        let high = scaled(_mm256_extracti128_si256::<1>(shape));
        let [first, second] = elements(dtype, low, high);
        let (halves, _) = output.as_chunks_mut::<16>();
        store_elements(&mut halves[0], first);
        store_elements(&mut halves[1], second);
    }
}
