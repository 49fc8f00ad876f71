//! `n4` with AVX2 and AVX-512.
//!
//! Encoding is in [`avx2`] and [`avx512`]. Decoding, with AVX2, looks levels up by a shuffle of bytes, rotates within
//! blocks in integers of 16 bits, which is exact, and between blocks in `f32`.
//!
//! # Soundness
//! - **I1** Who has an [`Isa`] other than `Portable` may call functions with its target features.
//! - **I2** Memory is read and written through references to arrays that are as long as the register.
#![allow(unsafe_code)]

mod avx2;
mod avx512;

use super::{BLOCK, LEVELS, all, row_code, scale};
use crate::codec::isa::Isa;
use crate::codec::number::max;
use crate::codec::number::x86_64::{can_stream, write_split_avx2, write_split_finite_avx2};
use crate::codec::rotate::{SIGN_BITS_SPLIT, norm, parts, x86_64 as rotate};
use crate::geometry::{Dtype, PlaneShape};
use core::arch::x86_64::*;

pub(super) fn encode(isa: Isa, shape: &PlaneShape, input: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    match (isa, shape.dtype) {
        (Isa::Portable, _) => all::encode(isa, shape, input, codes, scales),
        // SAFETY: I1.
        (Isa::Avx2(_), Dtype::Bf16) => unsafe { avx2::encode::<true>(shape, input, codes, scales) },
        // SAFETY: I1.
        (Isa::Avx2(_), _) => unsafe { avx2::encode::<false>(shape, input, codes, scales) },
        // SAFETY: I1.
        (Isa::Avx512(_), Dtype::Bf16) => unsafe { avx512::encode::<true>(shape, input, codes, scales) },
        // SAFETY: I1.
        (Isa::Avx512(_), _) => unsafe { avx512::encode::<false>(shape, input, codes, scales) },
    }
}

pub(super) fn decode(isa: Isa, shape: &PlaneShape, codes: &[u8], scales: &[u8], output: &mut [u8], streams: bool) {
    match (isa, shape.dtype, streams && can_stream(output)) {
        (Isa::Portable, ..) => all::decode(isa, shape, codes, scales, output, streams),
        // SAFETY: I1.
        (_, Dtype::Bf16, false) => unsafe { decode_avx2::<true, false>(shape, codes, scales, output) },
        // SAFETY: I1.
        (_, Dtype::Bf16, true) => unsafe { decode_avx2::<true, true>(shape, codes, scales, output) },
        // SAFETY: I1.
        (_, _, false) => unsafe { decode_avx2::<false, false>(shape, codes, scales, output) },
        // SAFETY: I1.
        (_, _, true) => unsafe { decode_avx2::<false, true>(shape, codes, scales, output) },
    }
}

/// A table for look-ups, in both halves.
#[inline]
#[target_feature(enable = "avx2")]
fn table_avx2(table: &[i8; 16]) -> __m256i {
    // SAFETY: I2.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

#[target_feature(enable = "avx2,f16c")]
fn decode_avx2<const BF16: bool, const STREAM: bool>(
    shape: &PlaneShape,
    codes: &[u8],
    scales: &[u8],
    output: &mut [u8],
) {
    let (row_codes, row_scales) = row_code(shape.dim);
    let rows = codes
        .chunks_exact(row_codes)
        .zip(output.chunks_exact_mut(2 * shape.dim));
    // With scales below this, the largest element divided by 4096, no number can leave the finite elements: it is at
    // most 127 times the root of 256.
    let small = ((max(shape.dtype) / 4096.0).to_bits() >> 16) as u16;
    for ((codes, output), scales) in rows.zip(scales.as_chunks::<2>().0.chunks_exact(row_scales)) {
        let largest = scales
            .iter()
            .fold(0, |largest, bits| largest.max(u16::from_le_bytes(*bits) & 0x7FFF));
        let is_small = largest < small;
        for (first, n) in parts(shape.dim) {
            let (codes, output) = (
                &codes[first / 2..(first + n) / 2],
                &mut output[2 * first..2 * (first + n)],
            );
            let signs = &SIGN_BITS_SPLIT[first..first + n];
            let scales = &scales[first / BLOCK..];
            if is_small {
                decode_part_avx2::<BF16, true, STREAM>(codes, scales, signs, output);
            } else {
                decode_part_avx2::<BF16, false, STREAM>(codes, scales, signs, output);
            }
        }
    }
    if STREAM {
        _mm_sfence();
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn decode_part_avx2<const BF16: bool, const SMALL: bool, const STREAM: bool>(
    codes: &[u8],
    scales: &[[u8; 2]],
    signs: &[u32],
    output: &mut [u8],
) {
    match signs.len() {
        16 => half_block_avx2::<BF16, STREAM>(codes, scales, signs, output),
        32 => part_avx2::<4, BF16, SMALL, STREAM>(codes, scales, signs, output),
        64 => part_avx2::<8, BF16, SMALL, STREAM>(codes, scales, signs, output),
        128 => part_avx2::<16, BF16, SMALL, STREAM>(codes, scales, signs, output),
        _ => part_avx2::<32, BF16, SMALL, STREAM>(codes, scales, signs, output),
    }
}

/// The scale of a block, and the levels at 32 places.
#[inline]
#[target_feature(enable = "avx2")]
fn levels_avx2(scale_bits: [u8; 2], places: __m256i) -> (f32, __m256i) {
    let bits = u16::from_le_bytes(scale_bits);
    let levels = _mm256_shuffle_epi8(table_avx2(&LEVELS[usize::from(bits & 1)]), places);
    (scale(bits), levels)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn half_block_avx2<const BF16: bool, const STREAM: bool>(
    codes: &[u8],
    scales: &[[u8; 2]],
    signs: &[u32],
    output: &mut [u8],
) {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&codes[..8]);
    let code = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
    let places = _mm_unpacklo_epi64(code, _mm_srli_epi16::<4>(code));
    let places = _mm256_castsi128_si256(_mm_and_si128(places, _mm_set1_epi8(15)));
    let (scale, levels) = levels_avx2(scales[0], places);
    let words = rotate::within_even_i16_avx2(_mm256_cvtepi8_epi16(_mm256_castsi256_si128(levels)));
    let scale = _mm256_set1_ps(scale * norm(16));
    let (signs, output) = (signs.as_chunks::<8>().0, output.as_chunks_mut::<32>().0);
    let v = numbers_avx2(words, scale);
    let v = [rotate::flip_avx2(v[0], &signs[0]), rotate::flip_avx2(v[1], &signs[1])];
    write_split_avx2::<BF16, STREAM>(&mut output[0], v);
}

/// The last butterflies of sixteen integers and a scale: the even channels, then the odd ones.
#[inline]
#[target_feature(enable = "avx2")]
fn numbers_avx2(words: __m256i, scale: __m256) -> [__m256; 2] {
    let [even, odd] = rotate::widen_avx2(words);
    [
        _mm256_mul_ps(_mm256_cvtepi32_ps(even), scale),
        _mm256_mul_ps(_mm256_cvtepi32_ps(odd), scale),
    ]
}

/// A part of `N` registers of eight numbers, 32 channels or more.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn part_avx2<const N: usize, const BF16: bool, const SMALL: bool, const STREAM: bool>(
    codes: &[u8],
    scales: &[[u8; 2]],
    signs: &[u32],
    output: &mut [u8],
) {
    let codes = &codes.as_chunks::<16>().0[..N / 4];
    let scales = &scales[..N / 4];
    let signs = &signs.as_chunks::<8>().0[..N];
    let output = &mut output.as_chunks_mut::<32>().0[..N / 2];
    let norm = norm(8 * N);
    let mut v = [_mm256_setzero_ps(); N];
    for block in 0..N / 4 {
        // SAFETY: I2.
        let code = unsafe { _mm_loadu_si128(codes[block].as_ptr().cast()) };
        let places = _mm256_set_m128i(_mm_srli_epi16::<4>(code), code);
        let (scale, levels) = levels_avx2(scales[block], _mm256_and_si256(places, _mm256_set1_epi8(15)));
        let mut words = [
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(levels)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(levels)),
        ];
        rotate::hadamard_even_i16_avx2(&mut words);
        let scale = _mm256_set1_ps(scale * norm);
        [v[4 * block], v[4 * block + 1]] = numbers_avx2(words[0], scale);
        [v[4 * block + 2], v[4 * block + 3]] = numbers_avx2(words[1], scale);
    }
    rotate::stage_f32_avx2::<N, 4>(&mut v);
    rotate::stage_f32_avx2::<N, 8>(&mut v);
    rotate::stage_f32_avx2::<N, 16>(&mut v);
    for at in 0..N / 2 {
        let low = rotate::flip_avx2(v[2 * at], &signs[2 * at]);
        let high = rotate::flip_avx2(v[2 * at + 1], &signs[2 * at + 1]);
        if SMALL {
            write_split_finite_avx2::<BF16, STREAM>(&mut output[at], [low, high]);
        } else {
            write_split_avx2::<BF16, STREAM>(&mut output[at], [low, high]);
        }
    }
}
