//! Encoding of `n4` with AVX-512, two blocks at a time.
//!
//! As with AVX2, but with cells of four values, in which at most one threshold lies.
//!
//! # Soundness
//! - **I1** Memory is read and written through references to arrays that are as long as the register.
#![allow(unsafe_code)]

use super::super::{
    BLOCK, BLOCK_MIN, LEVELS, ROW_MAX, ROW_MIN, THRESHOLDS, TURNED_FACTOR, TURNED_WEIGHT, WEIGHTS, all, fit, row_code,
    stored,
};
use super::avx2::{BLOCKS_MAX, Plan, Row, encode_half, group, plan, rotate_part as rotate_part_avx2};
use crate::codec::number::max;
use crate::codec::number::x86_64::{fold_avx512, largest_avx2, magnitude_avx512, read_any_avx512};
use crate::codec::rotate::{DIM_MAX, SIGN_BITS, norm, parts, x86_64 as rotate};
use crate::geometry::PlaneShape;
use core::arch::x86_64::*;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,f16c")]
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
                    16 => rotate_part_avx2::<2, BF16>(input, signs, row),
                    32 => rotate_part::<2, BF16>(input, signs, row),
                    64 => rotate_part::<4, BF16>(input, signs, row),
                    128 => rotate_part::<8, BF16>(input, signs, row),
                    _ => rotate_part::<16, BF16>(input, signs, row),
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
fn rotate_part<const N: usize, const BF16: bool>(input: &[u8], signs: &[u32], row: &mut [f32]) -> __m256i {
    let input = &input.as_chunks::<32>().0[..N];
    let signs = &signs.as_chunks::<16>().0[..N];
    let row = &mut row.as_chunks_mut::<16>().0[..N];
    let mut largest = _mm512_setzero_si512();
    let mut v = [_mm512_setzero_ps(); N];
    for at in 0..N {
        let number = read_any_avx512::<BF16>(&input[at]);
        largest = _mm512_max_epi32(largest, magnitude_avx512(number));
        v[at] = rotate::flip_avx512(number, &signs[at]);
    }
    rotate::hadamard_f32_avx512(&mut v);
    let norm = _mm512_set1_ps(norm(16 * N));
    for at in 0..N {
        rotate::store_f32_avx512(&mut row[at], _mm512_mul_ps(v[at], norm));
    }
    fold_avx512(largest)
}

/// Encodes rotated vectors, 8 blocks at most.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2")]
fn encode_blocks(row: &[f32], codes: &mut [u8], scales: &mut [[u8; 2]]) {
    let (blocks, half_block) = row.as_chunks::<BLOCK>();
    let zero = _mm256_setzero_ps();
    let (mut high, mut low) = ([zero; BLOCKS_MAX], [zero; BLOCKS_MAX]);
    for (at, block) in blocks.iter().enumerate() {
        let v = load(block);
        let (highest, lowest) = (_mm512_max_ps(v[0], v[1]), _mm512_min_ps(v[0], v[1]));
        high[at] = _mm256_max_ps(_mm512_castps512_ps256(highest), _mm512_extractf32x8_ps::<1>(highest));
        low[at] = _mm256_min_ps(_mm512_castps512_ps256(lowest), _mm512_extractf32x8_ps::<1>(lowest));
    }
    let half_block = half_block.first_chunk::<{ BLOCK / 2 }>();
    let mut padded = [0.0; BLOCK];
    if let Some(block) = half_block {
        padded[..BLOCK / 2].copy_from_slice(block);
        let lanes = padded.as_chunks::<8>().0;
        let (first, second) = (rotate::load_f32_avx2(&lanes[0]), rotate::load_f32_avx2(&lanes[1]));
        high[blocks.len()] = _mm256_max_ps(first, second);
        low[blocks.len()] = _mm256_min_ps(first, second);
    }
    let plan = plan(&high, &low, scales.len());
    // All guesses come first: each step of a pair waits for the one before, pairs do not.
    let (pairs, last) = blocks.as_chunks::<2>();
    let zero = _mm512_setzero_si512();
    let none = Choice {
        integers: [zero; 2],
        places: zero,
        sets: [0; 2],
    };
    let mut choices = [none; BLOCKS_MAX / 2];
    for (pair, blocks) in pairs.iter().enumerate() {
        choices[pair] = choose([&blocks[0], &blocks[1]], &plan, 2 * pair);
    }
    if let Some(block) = last.first() {
        choices[pairs.len()] = choose([block; 2], &plan, 2 * pairs.len());
    }
    let (pair_codes, last_codes) = codes.as_chunks_mut::<BLOCK>();
    let pair_scales = scales.as_chunks_mut::<2>().0;
    for ((pair, codes), scales) in pair_codes.iter_mut().enumerate().zip(pair_scales) {
        finish(&choices[pair], &plan, 2 * pair, codes, scales);
    }
    let (last_codes, half_codes) = last_codes.split_at_mut(BLOCK / 2 * last.len());
    if !last.is_empty() {
        let (mut codes, mut pair_scales) = ([0; BLOCK], [[0; 2]; 2]);
        finish(
            &choices[pairs.len()],
            &plan,
            2 * pairs.len(),
            &mut codes,
            &mut pair_scales,
        );
        last_codes.copy_from_slice(&codes[..BLOCK / 2]);
        scales[2 * pairs.len()] = pair_scales[0];
    }
    if let (Some(_), Some(scale)) = (half_block, scales.last_mut()) {
        let mut codes = [0; BLOCK / 2];
        *scale = encode_half(&padded, &plan, blocks.len(), &mut codes).to_le_bytes();
        half_codes.copy_from_slice(&codes[..BLOCK / 4]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(block: &[f32; BLOCK]) -> [__m512; 2] {
    let lanes = block.as_chunks::<16>().0;
    [rotate::load_f32_avx512(&lanes[0]), rotate::load_f32_avx512(&lanes[1])]
}

/// For each set and cell of values, in the order of the upper six bits: the place of the lowest value, and a threshold,
/// 127 where there is none.
static CELLS: [[Cells; 2]; 2] = {
    let mut cells = [[Cells([0; 64]), Cells([127; 64])], [Cells([0; 64]), Cells([127; 64])]];
    let mut at = 0;
    while at < 2 * 64 {
        let (set, cell) = (at / 64, at % 64);
        let lowest = ((cell * 4) as u8 as i8) as i16;
        let mut threshold = 0;
        while threshold < 15 {
            let value = THRESHOLDS[set][threshold] >> 1;
            if value < lowest {
                cells[set][0].0[cell] += 1;
            } else if value < lowest + 3 {
                assert!(cells[set][1].0[cell] == 127);
                cells[set][1].0[cell] = value as i8;
            }
            threshold += 1;
        }
        at += 1;
    }
    cells
};

/// At a line of the cache.
#[repr(align(64))]
struct Cells([i8; 64]);

#[inline]
#[target_feature(enable = "avx512f")]
fn cells(cells: &Cells) -> __m512i {
    // SAFETY: I1.
    unsafe { _mm512_loadu_si512(cells.0.as_ptr().cast()) }
}

/// A table for look-ups, in all quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn table(table: &[i8; 16]) -> __m512i {
    // SAFETY: I1.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// The best guesses for two blocks.
///
/// The lanes of 16 bits of a block's integers are channels 0 to 3, 16 to 19, 4 to 7, 20 to 23 and so on; of 8 bits, the
/// blocks take turns, 64 bits each.
#[derive(Clone, Copy)]
struct Choice {
    integers: [__m512i; 2],
    places: __m512i,
    sets: [usize; 2],
}

/// Makes all guesses for the blocks `at` and `at + 1` and takes the best.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2")]
fn choose(blocks: [&[f32; BLOCK]; 2], plan: &Plan, at: usize) -> Choice {
    let next = (at + 1) % BLOCKS_MAX;
    let integers = |block: &[f32; BLOCK], at: usize| {
        let unit = _mm512_set1_ps(plan.unit[at]);
        let v = load(block);
        _mm512_packs_epi32(
            _mm512_cvtps_epi32(_mm512_mul_ps(v[0], unit)),
            _mm512_cvtps_epi32(_mm512_mul_ps(v[1], unit)),
        )
    };
    let integers = [integers(blocks[0], at), integers(blocks[1], next)];
    let factors = [
        [plan.factors[0][at] as i16, plan.factors[0][next] as i16],
        [plan.factors[1][at] as i16, plan.factors[1][next] as i16],
        [plan.factors[2][at] as i16, plan.factors[2][next] as i16],
        [TURNED_FACTOR; 2],
    ];
    let zero = _mm512_setzero_si512();
    let (mut places, mut errors) = ([zero; 8], [zero; 4]);
    for guess in 0..4 {
        let values = _mm512_packs_epi16(
            _mm512_mulhrs_epi16(integers[0], _mm512_set1_epi16(factors[guess][0])),
            _mm512_mulhrs_epi16(integers[1], _mm512_set1_epi16(factors[guess][1])),
        );
        // What else is in the upper two bits of each byte is ignored.
        let index = _mm512_srli_epi16::<2>(values);
        let mut sums = [zero; 2];
        for set in 0..2 {
            let lowest = _mm512_permutexvar_epi8(index, cells(&CELLS[set][0]));
            let threshold = _mm512_permutexvar_epi8(index, cells(&CELLS[set][1]));
            let above = _mm512_cmpgt_epi8_mask(values, threshold);
            let place = _mm512_mask_sub_epi8(lowest, above, lowest, _mm512_set1_epi8(-1));
            let level = _mm512_shuffle_epi8(table(&LEVELS[set]), place);
            let error = _mm512_abs_epi8(_mm512_sub_epi8(values, level));
            sums[set] = _mm512_madd_epi16(_mm512_maddubs_epi16(error, error), _mm512_set1_epi16(1));
            places[2 * guess + set] = place;
        }
        errors[guess] = _mm512_add_epi32(sums[0], _mm512_slli_epi32::<16>(sums[1]));
    }
    // In each quarter, with both sets in 32 bits: the first guess for both blocks, then the second one.
    let [first, second, third, last] = errors;
    let first = halves(first, second);
    let last = halves(third, last);
    let errors = _mm512_add_epi32(
        _mm512_shuffle_i32x4::<0x44>(first, last),
        _mm512_shuffle_i32x4::<0xEE>(first, last),
    );
    let errors = _mm512_add_epi32(errors, _mm512_shuffle_i32x4::<0xB1>(errors, errors));
    let errors = _mm512_castsi512_si256(_mm512_shuffle_i32x4::<0x08>(errors, errors));
    let errors = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(errors));
    // A guess to a quarter: both sets for the first block, then for the second one.
    let squares = _mm512_set1_ps(plan.square[at]);
    let squares = _mm512_mask_mov_ps(squares, 0xCCCC, _mm512_set1_ps(plan.square[next]));
    let weights = _mm512_mul_ps(squares, rotate::load_f32_avx512(&WEIGHT_LANES[1]));
    let weights = _mm512_add_ps(weights, rotate::load_f32_avx512(&WEIGHT_LANES[0]));
    let errors = _mm512_mul_ps(errors, weights);
    let least = _mm512_min_ps(errors, _mm512_shuffle_f32x4::<0x4E>(errors, errors));
    let least = _mm512_min_ps(least, _mm512_shuffle_f32x4::<0xB1>(least, least));
    let least = _mm512_min_ps(least, _mm512_permute_ps::<0xB1>(least));
    let equal = u32::from(_mm512_cmpeq_ps_mask(errors, least));
    let best = [equal & 0x3333, equal >> 2 & 0x3333].map(|equal| {
        let lane = equal.trailing_zeros() as usize;
        ((lane >> 1 & !1) + (lane & 1)) % 8
    });

    Choice {
        integers,
        places: _mm512_mask_mov_epi64(places[best[0]], 0xAA, places[best[1]]),
        sets: [best[0] % 2, best[1] % 2],
    }
}

/// Writes the codes of two blocks and the scales that fit these best.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2")]
fn finish(choice: &Choice, plan: &Plan, at: usize, codes: &mut [u8; BLOCK], scales: &mut [[u8; 2]; 2]) {
    let (integers, places) = (choice.integers, choice.places);
    let levels = [
        _mm512_shuffle_epi8(table(&LEVELS[choice.sets[0] % 2]), places),
        _mm512_shuffle_epi8(table(&LEVELS[choice.sets[1] % 2]), places),
    ];
    let levels = [
        _mm512_srai_epi16::<8>(_mm512_unpacklo_epi8(levels[0], levels[0])),
        _mm512_srai_epi16::<8>(_mm512_unpackhi_epi8(levels[1], levels[1])),
    ];
    let sums = sums([
        _mm512_madd_epi16(integers[0], levels[0]),
        _mm512_madd_epi16(levels[0], levels[0]),
        _mm512_madd_epi16(integers[1], levels[1]),
        _mm512_madd_epi16(levels[1], levels[1]),
    ]);
    // The lower half of each 64 bits becomes a code.
    let bytes = _mm512_cvtepi64_epi32(_mm512_or_si512(places, _mm512_srli_epi64::<28>(places)));
    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
    // SAFETY: I1.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), bytes) }
    for (block, scale) in scales.iter_mut().enumerate() {
        let at = (at + block) % BLOCKS_MAX;
        let turn = plan.unit[at].to_bits() & 1 << 31;
        let size = fit(sums[2 * block], sums[2 * block + 1], plan.far[at]).to_bits() ^ turn;
        *scale = stored(f32::from_bits(size), choice.sets[block]).to_le_bytes();
        if plan.far[at] < BLOCK_MIN {
            codes[BLOCK / 2 * block..][..BLOCK / 2].fill(0);
            *scale = [0; 2];
        }
    }
}

/// In each quarter the sums of the two lower and of the two upper lanes, of two registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(first: __m512i, second: __m512i) -> __m512i {
    let (first, second) = (_mm512_castsi512_ps(first), _mm512_castsi512_ps(second));
    let even = _mm512_castps_si512(_mm512_shuffle_ps::<0x88>(first, second));
    let odd = _mm512_castps_si512(_mm512_shuffle_ps::<0xDD>(first, second));
    _mm512_add_epi32(even, odd)
}

/// The sums of four registers.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn sums(v: [__m512i; 4]) -> [i32; 4] {
    let first = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    let second = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    let v = _mm512_add_epi32(
        _mm512_unpacklo_epi64(first, second),
        _mm512_unpackhi_epi64(first, second),
    );
    let v = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v));
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    [
        _mm_cvtsi128_si32(v),
        _mm_extract_epi32::<1>(v),
        _mm_extract_epi32::<2>(v),
        _mm_extract_epi32::<3>(v),
    ]
}

/// The weights of the errors of all guesses are the first numbers plus the squared reach times the second ones. Four
/// lanes belong to a guess.
static WEIGHT_LANES: [[f32; 16]; 2] = {
    let mut lanes = [[0.0; 16]; 2];
    let mut at = 0;
    while at < 16 {
        if at < 12 {
            lanes[0][at] = WEIGHTS[at / 4];
        } else {
            lanes[1][at] = TURNED_WEIGHT;
        }
        at += 1;
    }
    lanes
};
