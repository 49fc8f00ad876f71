//! Encoding of `n4` with AVX2.
//!
//! Each block becomes integers of 16 bits. The guesses look for levels in 8 bits: the upper four bits of a value name a
//! cell of sixteen values, in which at most two thresholds lie.
//!
//! Lanes are out of order, so that nothing needs to be put in order before the codes are: see [`integers`].
//!
//! # Soundness
//! - **I1** Memory is read and written through references to arrays that are as long as the register.
#![allow(unsafe_code)]

use super::super::{
    BLOCK, BLOCK_MIN, END, FACTORS, LEVELS, ROW_MAX, ROW_MIN, THRESHOLDS, TURNED_FACTOR, TURNED_WEIGHT, UNIT, WEIGHTS,
    all, fit, row_code, stored,
};
use super::table_avx2;
use crate::codec::number::max;
use crate::codec::number::x86_64::{largest_avx2, magnitude_avx2, read_any_avx2};
use crate::codec::rotate::{DIM_MAX, SIGN_BITS, norm, parts, x86_64 as rotate};
use crate::geometry::PlaneShape;
use core::arch::x86_64::*;

/// Most blocks of a vector.
pub(super) const BLOCKS_MAX: usize = DIM_MAX / BLOCK;

/// Numbers at a line of the cache.
#[repr(align(64))]
pub(super) struct Row(pub(super) [f32; DIM_MAX]);

/// Vectors that are encoded together: as many as have at most 8 blocks, so that there is always something to do that
/// does not wait. Vectors with a block of 16 come one by one.
pub(super) fn group(dim: usize) -> usize {
    if dim.is_multiple_of(BLOCK) { DIM_MAX / dim } else { 1 }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn encode<const BF16: bool>(shape: &PlaneShape, input: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    let (row_codes, row_scales) = row_code(shape.dim);
    let rows_count = group(shape.dim);
    let range = ROW_MIN..=ROW_MAX.min(max(shape.dtype));
    let mut rotated = Row([0.0; DIM_MAX]);
    let groups = input
        .chunks(2 * shape.dim * rows_count)
        .zip(codes.chunks_mut(row_codes * rows_count));
    let scales = scales.as_chunks_mut::<2>().0;
    for ((input, codes), scales) in groups.zip(scales.chunks_mut(row_scales * rows_count)) {
        let rotated = &mut rotated.0[..input.len() / 2];
        let mut is_ordinary = [true; BLOCKS_MAX];
        let rows = input
            .chunks_exact(2 * shape.dim)
            .zip(rotated.chunks_exact_mut(shape.dim));
        for ((input, row), is_ordinary) in rows.zip(&mut is_ordinary) {
            let mut largest = _mm256_setzero_si256();
            for (first, n) in parts(shape.dim) {
                let (input, row) = (&input[2 * first..2 * (first + n)], &mut row[first..first + n]);
                let signs = &SIGN_BITS[first..first + n];
                let part = match n {
                    16 => rotate_part::<2, BF16>(input, signs, row),
                    32 => rotate_part::<4, BF16>(input, signs, row),
                    64 => rotate_part::<8, BF16>(input, signs, row),
                    128 => rotate_part::<16, BF16>(input, signs, row),
                    _ => rotate_part::<32, BF16>(input, signs, row),
                };
                largest = _mm256_max_epi32(largest, part);
            }
            *is_ordinary = range.contains(&largest_avx2(largest));
        }
        encode_blocks(rotated, codes, scales);
        let rows = codes
            .chunks_exact_mut(row_codes)
            .zip(scales.chunks_exact_mut(row_scales));
        for (row, (codes, scales)) in rows.enumerate().filter(|(row, _)| !is_ordinary[*row]) {
            all::encode_row(
                shape.dtype,
                &input[2 * shape.dim * row..][..2 * shape.dim],
                codes,
                scales,
            );
        }
    }
}

/// Reads a part of `N` registers and rotates it; the largest magnitudes before that.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn rotate_part<const N: usize, const BF16: bool>(input: &[u8], signs: &[u32], row: &mut [f32]) -> __m256i {
    let input = &input.as_chunks::<16>().0[..N];
    let signs = &signs.as_chunks::<8>().0[..N];
    let row = &mut row.as_chunks_mut::<8>().0[..N];
    let mut largest = _mm256_setzero_si256();
    let mut v = [_mm256_setzero_ps(); N];
    for at in 0..N {
        let number = read_any_avx2::<BF16>(&input[at]);
        largest = _mm256_max_epi32(largest, _mm256_castps_si256(magnitude_avx2(number)));
        v[at] = rotate::flip_avx2(number, &signs[at]);
    }
    rotate::hadamard_f32_avx2(&mut v);
    let norm = _mm256_set1_ps(norm(8 * N));
    for at in 0..N {
        rotate::store_f32_avx2(&mut row[at], _mm256_mul_ps(v[at], norm));
    }
    largest
}

/// Encodes rotated vectors, 8 blocks at most.
#[inline]
#[target_feature(enable = "avx2")]
fn encode_blocks(row: &[f32], codes: &mut [u8], scales: &mut [[u8; 2]]) {
    let (blocks, half_block) = row.as_chunks::<BLOCK>();
    let (block_codes, half_codes) = codes.as_chunks_mut::<{ BLOCK / 2 }>();
    let zero = _mm256_setzero_ps();
    let (mut high, mut low) = ([zero; BLOCKS_MAX], [zero; BLOCKS_MAX]);
    for (at, block) in blocks.iter().enumerate() {
        let v = load(block);
        high[at] = _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3]));
        low[at] = _mm256_min_ps(_mm256_min_ps(v[0], v[1]), _mm256_min_ps(v[2], v[3]));
    }
    let half_block = half_block.first_chunk::<{ BLOCK / 2 }>();
    let mut padded = [0.0; BLOCK];
    if let Some(block) = half_block {
        padded[..BLOCK / 2].copy_from_slice(block);
        let v = load(&padded);
        high[blocks.len()] = _mm256_max_ps(v[0], v[1]);
        low[blocks.len()] = _mm256_min_ps(v[0], v[1]);
    }
    let plan = plan(&high, &low, scales.len());
    // All guesses come first: each step of a block waits for the one before, blocks do not.
    let zero = _mm256_setzero_si256();
    let none = Choice {
        integers: [zero; 2],
        places: zero,
        set: 0,
    };
    let mut choices = [none; BLOCKS_MAX];
    for (at, block) in blocks.iter().enumerate() {
        choices[at] = choose::<false>(load(block), &plan, at);
    }
    for ((at, codes), scale) in block_codes.iter_mut().enumerate().zip(scales.iter_mut()) {
        *scale = finish::<false>(&choices[at], &plan, at, codes).to_le_bytes();
    }
    if let (Some(_), Some(scale)) = (half_block, scales.last_mut()) {
        let mut codes = [0; BLOCK / 2];
        *scale = encode_half(&padded, &plan, blocks.len(), &mut codes).to_le_bytes();
        half_codes.copy_from_slice(&codes[..BLOCK / 4]);
    }
}

/// Encodes a block of 16, which the last 16 numbers follow as zeros.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn encode_half(padded: &[f32; BLOCK], plan: &Plan, at: usize, codes: &mut [u8; BLOCK / 2]) -> u16 {
    finish::<true>(&choose::<true>(load(padded), plan, at), plan, at, codes)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(block: &[f32; BLOCK]) -> [__m256; 4] {
    let lanes = block.as_chunks::<8>().0;
    [
        rotate::load_f32_avx2(&lanes[0]),
        rotate::load_f32_avx2(&lanes[1]),
        rotate::load_f32_avx2(&lanes[2]),
        rotate::load_f32_avx2(&lanes[3]),
    ]
}

/// What is known of the blocks of a vector before guesses are made.
pub(super) struct Plan {
    /// The largest magnitude.
    pub(super) far: [f32; BLOCKS_MAX],
    /// What takes numbers to integers: the farthest one becomes -4095.
    pub(super) unit: [f32; BLOCKS_MAX],
    /// As [`reach`](super::super::reach), squared.
    pub(super) square: [f32; BLOCKS_MAX],
    /// The factors of the first three guesses.
    pub(super) factors: [[i32; BLOCKS_MAX]; 3],
}

/// In each half, the largest numbers of four registers.
#[inline]
#[target_feature(enable = "avx2")]
fn highest(v: &[__m256]) -> __m256 {
    let first = _mm256_max_ps(_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
    let second = _mm256_max_ps(_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
    _mm256_max_ps(
        _mm256_shuffle_ps::<0x44>(first, second),
        _mm256_shuffle_ps::<0xEE>(first, second),
    )
}

/// The largest numbers of eight registers.
#[inline]
#[target_feature(enable = "avx2")]
fn highest_8(v: &[__m256; BLOCKS_MAX], is_long: bool) -> __m256 {
    let first = highest(&v[..4]);
    let second = if is_long { highest(&v[4..]) } else { first };
    _mm256_max_ps(
        _mm256_permute2f128_ps::<0x20>(first, second),
        _mm256_permute2f128_ps::<0x31>(first, second),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_i32(lanes: &mut [i32; 8], v: __m256i) {
    // SAFETY: I1.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), v) }
}

/// From the highest and the lowest numbers of each of `count` blocks, in eight lanes each.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn plan(high: &[__m256; BLOCKS_MAX], low: &[__m256; BLOCKS_MAX], count: usize) -> Plan {
    let sign = _mm256_set1_ps(-0.0);
    let mut lowest = [_mm256_setzero_ps(); BLOCKS_MAX];
    for (lowest, low) in lowest.iter_mut().zip(low) {
        *lowest = _mm256_xor_ps(*low, sign);
    }
    let (high, low) = (highest_8(high, count > 4), highest_8(&lowest, count > 4));
    let (far, near) = (_mm256_max_ps(high, low), _mm256_min_ps(high, low));
    let turn = _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(high, low), sign);
    let unit = _mm256_xor_ps(_mm256_div_ps(_mm256_set1_ps(UNIT), far), turn);
    let near = _mm256_max_ps(near, _mm256_mul_ps(_mm256_set1_ps(0.5), far));
    let reach = _mm256_div_ps(_mm256_mul_ps(_mm256_set1_ps(END), far), near);
    let reach = _mm256_min_ps(reach, _mm256_set1_ps(127.0));
    let mut plan = Plan {
        far: [0.0; BLOCKS_MAX],
        unit: [0.0; BLOCKS_MAX],
        square: [0.0; BLOCKS_MAX],
        factors: [[0; BLOCKS_MAX]; 3],
    };
    rotate::store_f32_avx2(&mut plan.far, far);
    rotate::store_f32_avx2(&mut plan.unit, unit);
    rotate::store_f32_avx2(&mut plan.square, _mm256_mul_ps(reach, reach));
    for (factors, stretch) in plan.factors.iter_mut().zip(FACTORS) {
        let factor = _mm256_add_ps(_mm256_mul_ps(reach, _mm256_set1_ps(stretch)), _mm256_set1_ps(0.5));
        store_i32(factors, _mm256_cvttps_epi32(factor));
    }
    plan
}

/// The weights of the errors of all guesses are the first numbers plus the squared reach times the second ones.
static WEIGHT_LANES: [[f32; 8]; 2] = {
    let ([first, second, third], last) = (WEIGHTS, TURNED_WEIGHT);
    [
        [first, first, second, second, third, third, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, last, last],
    ]
};

/// For each set and cell of values, in the order of the upper four bits: the place of the lowest value, and two
/// thresholds, 127 where there is none.
static CELLS: [[[i8; 16]; 3]; 2] = {
    let mut cells = [[[0; 16], [127; 16], [127; 16]]; 2];
    let mut at = 0;
    while at < 2 * 16 {
        let (set, cell) = (at / 16, at % 16);
        let lowest = ((cell * 16) as u8 as i8) as i16;
        let (mut threshold, mut inside) = (0, 1);
        while threshold < 15 {
            let value = THRESHOLDS[set][threshold] >> 1;
            if value < lowest {
                cells[set][0][cell] += 1;
            } else if value < lowest + 15 {
                // More than two do not compile.
                cells[set][inside][cell] = value as i8;
                inside += 1;
            }
            threshold += 1;
        }
        at += 1;
    }
    cells
};

/// The best guess for a block.
#[derive(Clone, Copy)]
struct Choice {
    integers: [__m256i; 2],
    places: __m256i,
    set: usize,
}

/// The numbers as integers. The lanes of 16 bits are, in the first register, channels 0 to 3, 16 to 19, 4 to 7 and 20
/// to 23; in the second one 8 more. `HALF`: 0 to 3, 8 to 11, 4 to 7, 12 to 15, and nothing.
#[inline]
#[target_feature(enable = "avx2")]
fn integers<const HALF: bool>(v: [__m256; 4], unit: f32) -> [__m256i; 2] {
    let unit = _mm256_set1_ps(unit);
    let word = |v| _mm256_cvtps_epi32(_mm256_mul_ps(v, unit));
    if HALF {
        [_mm256_packs_epi32(word(v[0]), word(v[1])), _mm256_setzero_si256()]
    } else {
        [
            _mm256_packs_epi32(word(v[0]), word(v[2])),
            _mm256_packs_epi32(word(v[1]), word(v[3])),
        ]
    }
}

/// Makes all guesses and takes the best.
#[inline]
#[target_feature(enable = "avx2")]
fn choose<const HALF: bool>(v: [__m256; 4], plan: &Plan, at: usize) -> Choice {
    let integers = integers::<HALF>(v, plan.unit[at]);
    let factors = [
        plan.factors[0][at] as i16,
        plan.factors[1][at] as i16,
        plan.factors[2][at] as i16,
        TURNED_FACTOR,
    ];
    let zero = _mm256_setzero_si256();
    let (mut places, mut errors) = ([zero; 8], [zero; 4]);
    for guess in 0..4 {
        let factor = _mm256_set1_epi16(factors[guess]);
        let values = _mm256_packs_epi16(
            _mm256_mulhrs_epi16(integers[0], factor),
            _mm256_mulhrs_epi16(integers[1], factor),
        );
        let cells = _mm256_and_si256(_mm256_srli_epi16::<4>(values), _mm256_set1_epi8(15));
        let mut sums = [zero; 2];
        for set in 0..2 {
            let table = |at: usize| _mm256_shuffle_epi8(table_avx2(&CELLS[set][at]), cells);
            let first = _mm256_cmpgt_epi8(values, table(1));
            let second = _mm256_cmpgt_epi8(values, table(2));
            let place = _mm256_sub_epi8(table(0), _mm256_add_epi8(first, second));
            let level = _mm256_shuffle_epi8(table_avx2(&LEVELS[set]), place);
            let mut error = _mm256_abs_epi8(_mm256_sub_epi8(values, level));
            if HALF {
                error = _mm256_and_si256(error, _mm256_set_epi64x(0, -1, 0, -1));
            }
            // The largest error is 21, so that the sum of all squares has 15 bits at most.
            sums[set] = _mm256_madd_epi16(_mm256_maddubs_epi16(error, error), _mm256_set1_epi16(1));
            places[2 * guess + set] = place;
        }
        errors[guess] = _mm256_add_epi32(sums[0], _mm256_slli_epi32::<16>(sums[1]));
    }
    let [first, second, third, last] = errors;
    let first = _mm256_add_epi32(
        _mm256_unpacklo_epi32(first, second),
        _mm256_unpackhi_epi32(first, second),
    );
    let last = _mm256_add_epi32(_mm256_unpacklo_epi32(third, last), _mm256_unpackhi_epi32(third, last));
    let errors = _mm256_add_epi32(_mm256_unpacklo_epi64(first, last), _mm256_unpackhi_epi64(first, last));
    let errors = _mm_add_epi32(_mm256_castsi256_si128(errors), _mm256_extracti128_si256::<1>(errors));
    let errors = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(errors));
    let square = _mm256_set1_ps(plan.square[at]);
    let weights = _mm256_mul_ps(square, rotate::load_f32_avx2(&WEIGHT_LANES[1]));
    let weights = _mm256_add_ps(weights, rotate::load_f32_avx2(&WEIGHT_LANES[0]));
    let errors = _mm256_mul_ps(errors, weights);
    let least = _mm256_min_ps(errors, _mm256_permute2f128_ps::<0x01>(errors, errors));
    let least = _mm256_min_ps(least, _mm256_permute_ps::<0x4E>(least));
    let least = _mm256_min_ps(least, _mm256_permute_ps::<0xB1>(least));
    let equal = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(errors, least));
    let best = equal.trailing_zeros() as usize % 8;
    Choice {
        integers,
        places: places[best],
        set: best % 2,
    }
}

/// The sums of two registers of four numbers each, eight together.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(product: __m256i, square: __m256i) -> (i32, i32) {
    let pairs = _mm256_hadd_epi32(product, square);
    let pairs = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
    let sums = _mm_hadd_epi32(pairs, pairs);
    (_mm_cvtsi128_si32(sums), _mm_extract_epi32::<1>(sums))
}

/// Writes the codes of a block, and returns the scale that fits these best.
#[inline]
#[target_feature(enable = "avx2")]
fn finish<const HALF: bool>(choice: &Choice, plan: &Plan, at: usize, codes: &mut [u8; BLOCK / 2]) -> u16 {
    if plan.far[at] < BLOCK_MIN {
        codes.fill(0);
        return 0;
    }
    let levels = _mm256_shuffle_epi8(table_avx2(&LEVELS[choice.set]), choice.places);
    let first = _mm256_srai_epi16::<8>(_mm256_unpacklo_epi8(levels, levels));
    let mut product = _mm256_madd_epi16(choice.integers[0], first);
    let mut square = _mm256_madd_epi16(first, first);
    if !HALF {
        let second = _mm256_srai_epi16::<8>(_mm256_unpackhi_epi8(levels, levels));
        product = _mm256_add_epi32(product, _mm256_madd_epi16(choice.integers[1], second));
        square = _mm256_add_epi32(square, _mm256_madd_epi16(second, second));
    }
    let (product, square) = sums(product, square);
    // The lower half of each 64 bits becomes a code.
    let bytes = _mm256_or_si256(choice.places, _mm256_srli_epi64::<28>(choice.places));
    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 2, 6, 0, 0, 0, 0));
    // SAFETY: I1.
    unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm256_castsi256_si128(bytes)) }
    let turn = plan.unit[at].to_bits() & 1 << 31;
    let scale = fit(product, square, plan.far[at]).to_bits() ^ turn;
    stored(f32::from_bits(scale), choice.set)
}
