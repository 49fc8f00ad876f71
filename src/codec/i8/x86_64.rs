//! `i8` with AVX2, encoding with AVX-512 too.
//!
//! Vectors are encoded in groups, so that the scales of a group are found at once. Decoding rotates integers of 16
//! bits, which is exact, and goes to `f32` only for the scale.
//!
//! # Soundness
//! - **I1** Who has an [`Isa`] other than `Portable` may call functions with its target features.
//! - **I2** Memory is read and written through references to arrays that are as long as the register.
#![allow(unsafe_code)]

use super::{CODE_MAX, PLAIN_SHARE, ROTATED, all, rotatable, scale};
use crate::codec::isa::Isa;
use crate::codec::number;
use crate::codec::number::x86_64::{
    can_stream, fold_avx512, largest_8_avx2, magnitude_avx2, magnitude_avx512, read_any_avx2, read_any_avx512,
    round_8_avx2, write_16_avx2, write_16_finite_avx2, write_split_avx2, write_split_finite_avx2,
};
use crate::codec::rotate::{DIM_MAX, SIGN_BITS, SIGN_BITS_SPLIT, norm, parts, x86_64 as rotate};
use crate::geometry::{Dtype, PlaneShape};
use core::arch::x86_64::*;

pub(super) fn encode(isa: Isa, shape: &PlaneShape, input: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    match (isa, shape.dtype) {
        (Isa::Portable, _) => all::encode(isa, shape, input, codes, scales),
        // SAFETY: I1.
        (Isa::Avx2(_), Dtype::Bf16) => unsafe { encode_avx2::<true>(shape, input, codes, scales) },
        // SAFETY: I1.
        (Isa::Avx2(_), _) => unsafe { encode_avx2::<false>(shape, input, codes, scales) },
        // SAFETY: I1.
        (Isa::Avx512(_), Dtype::Bf16) => unsafe { encode_avx512::<true>(shape, input, codes, scales) },
        // SAFETY: I1.
        (Isa::Avx512(_), _) => unsafe { encode_avx512::<false>(shape, input, codes, scales) },
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

/// Most vectors of a group.
const ROWS: usize = 8;
/// Most numbers of a group.
const NUMBERS: usize = 4 * DIM_MAX;

/// Numbers at a line of the cache.
#[repr(align(64))]
struct Rotated([f32; NUMBERS]);

/// How the vectors of a group are encoded.
struct Plan {
    /// Scales as they are stored.
    bits: [u16; ROWS],
    factors: [f32; ROWS],
    /// A bit per vector.
    is_rotated: u32,
    /// A bit per vector: no number is too large or too small.
    is_ordinary: u32,
}

/// From the largest magnitudes of vectors as they are and rotated.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn plan_avx2<const BF16: bool>(plain: &[__m256i; ROWS], spread: &[__m256i; ROWS]) -> Plan {
    let range = rotatable(if BF16 { Dtype::Bf16 } else { Dtype::F16 });
    let (plain, spread) = (largest_8_avx2(plain), largest_8_avx2(spread));
    let share = _mm256_mul_ps(spread, _mm256_set1_ps(PLAIN_SHARE));
    let is_rotated = _mm256_cmp_ps::<_CMP_GE_OQ>(plain, share);
    let is_ordinary = _mm256_and_ps(
        _mm256_cmp_ps::<_CMP_GE_OQ>(plain, _mm256_set1_ps(*range.start())),
        _mm256_cmp_ps::<_CMP_LE_OQ>(plain, _mm256_set1_ps(*range.end())),
    );
    let largest = _mm256_blendv_ps(plain, spread, is_rotated);
    // No scale is too small: numbers in this range have scales of full precision, or nearly so.
    let (bits, scales) = round_8_avx2::<BF16>(_mm256_div_ps(largest, _mm256_set1_ps(CODE_MAX)));
    let mut plan = Plan {
        bits: [0; ROWS],
        factors: [0.0; ROWS],
        is_rotated: _mm256_movemask_ps(is_rotated) as u32,
        is_ordinary: _mm256_movemask_ps(is_ordinary) as u32,
    };
    rotate::store_f32_avx2(&mut plan.factors, _mm256_div_ps(_mm256_set1_ps(1.0), scales));
    // SAFETY: I2.
    unsafe { _mm_storeu_si128(plan.bits.as_mut_ptr().cast(), bits) }
    plan
}

/// Encoding: `$part` rotates a part of 16, 32, 64, 128 or 256 numbers, `$rotated` and `$plain` encode numbers and
/// elements with a factor.
macro_rules! encode {
    ($name:ident, $features:literal, $part:ident, $counts:tt, $rotated:ident, $plain:ident) => {
        #[target_feature(enable = $features)]
        fn $name<const BF16: bool>(shape: &PlaneShape, input: &[u8], codes: &mut [u8], scales: &mut [u8]) {
            let dim = shape.dim;
            let rows_count = (NUMBERS / dim).min(ROWS);
            let mut rotated = Rotated([0.0; NUMBERS]);
            let groups = input.chunks(2 * dim * rows_count).zip(codes.chunks_mut(dim * rows_count));
            let scales = scales.as_chunks_mut::<2>().0.chunks_mut(rows_count);
            for ((input, codes), scales) in groups.zip(scales) {
                let rotated = &mut rotated.0[..codes.len()];
                let zero = _mm256_setzero_si256();
                let (mut plain, mut spread) = ([zero; ROWS], [zero; ROWS]);
                let rows = input.chunks_exact(2 * dim).zip(rotated.chunks_exact_mut(dim));
                for (row, (input, rotated)) in rows.enumerate().take(ROWS) {
                    for (first, n) in parts(dim) {
                        let input = &input[2 * first..2 * (first + n)];
                        let rotated = &mut rotated[first..first + n];
                        let signs = &SIGN_BITS[first..first + n];
                        let largest = encode!(@part $part, $counts, n, input, signs, rotated);
                        plain[row] = _mm256_max_epi32(plain[row], largest[0]);
                        spread[row] = _mm256_max_epi32(spread[row], largest[1]);
                    }
                }
                let plan = plan_avx2::<BF16>(&plain, &spread);
                let rows = input.chunks_exact(2 * dim).zip(rotated.chunks_exact(dim));
                let rows = rows.zip(codes.chunks_exact_mut(dim).zip(scales));
                for (row, ((input, rotated), (codes, scale))) in rows.enumerate().take(ROWS) {
                    if plan.is_ordinary >> row & 1 == 0 {
                        *scale = all::encode_row(shape.dtype, input, codes).to_le_bytes();
                    } else if plan.is_rotated >> row & 1 != 0 {
                        *scale = (plan.bits[row] | ROTATED).to_le_bytes();
                        $rotated(rotated, plan.factors[row], codes);
                    } else {
                        *scale = plan.bits[row].to_le_bytes();
                        $plain::<BF16>(input, plan.factors[row], codes);
                    }
                }
            }
        }
    };
    (@part $part:ident, [$n32:literal, $n64:literal, $n128:literal, $n256:literal], $n:ident, $input:ident,
     $signs:ident, $rotated:ident) => {
        match $n {
            16 => rotate_part_avx2::<2, BF16>($input, $signs, $rotated),
            32 => $part::<$n32, BF16>($input, $signs, $rotated),
            64 => $part::<$n64, BF16>($input, $signs, $rotated),
            128 => $part::<$n128, BF16>($input, $signs, $rotated),
            _ => $part::<$n256, BF16>($input, $signs, $rotated),
        }
    };
}
encode!(
    encode_avx2,
    "avx2,f16c",
    rotate_part_avx2,
    [4, 8, 16, 32],
    encode_rotated_avx2,
    encode_plain_avx2
);
encode!(
    encode_avx512,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c",
    rotate_part_avx512,
    [2, 4, 8, 16],
    encode_rotated_avx512,
    encode_plain_avx512
);

/// Reads a part of `N` registers and rotates it; the largest magnitudes before and after that.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn rotate_part_avx2<const N: usize, const BF16: bool>(
    input: &[u8],
    signs: &[u32],
    rotated: &mut [f32],
) -> [__m256i; 2] {
    let input = &input.as_chunks::<16>().0[..N];
    let signs = &signs.as_chunks::<8>().0[..N];
    let rotated = &mut rotated.as_chunks_mut::<8>().0[..N];
    let zero = _mm256_setzero_si256();
    let (mut plain, mut spread) = ([zero; 2], [zero; 2]);
    let mut v = [_mm256_setzero_ps(); N];
    for at in 0..N {
        let number = read_any_avx2::<BF16>(&input[at]);
        plain[at % 2] = _mm256_max_epi32(plain[at % 2], _mm256_castps_si256(magnitude_avx2(number)));
        v[at] = rotate::flip_avx2(number, &signs[at]);
    }
    rotate::hadamard_f32_avx2(&mut v);
    let norm = _mm256_set1_ps(norm(8 * N));
    for at in 0..N {
        let number = _mm256_mul_ps(v[at], norm);
        rotate::store_f32_avx2(&mut rotated[at], number);
        spread[at % 2] = _mm256_max_epi32(spread[at % 2], _mm256_castps_si256(magnitude_avx2(number)));
    }
    [
        _mm256_max_epi32(plain[0], plain[1]),
        _mm256_max_epi32(spread[0], spread[1]),
    ]
}

/// Reads a part of `N` registers and rotates it; the largest magnitudes before and after that.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
fn rotate_part_avx512<const N: usize, const BF16: bool>(
    input: &[u8],
    signs: &[u32],
    rotated: &mut [f32],
) -> [__m256i; 2] {
    let input = &input.as_chunks::<32>().0[..N];
    let signs = &signs.as_chunks::<16>().0[..N];
    let rotated = &mut rotated.as_chunks_mut::<16>().0[..N];
    let zero = _mm512_setzero_si512();
    let (mut plain, mut spread) = ([zero; 2], [zero; 2]);
    let mut v = [_mm512_setzero_ps(); N];
    for at in 0..N {
        let number = read_any_avx512::<BF16>(&input[at]);
        plain[at % 2] = _mm512_max_epi32(plain[at % 2], magnitude_avx512(number));
        v[at] = rotate::flip_avx512(number, &signs[at]);
    }
    rotate::hadamard_f32_avx512(&mut v);
    let norm = _mm512_set1_ps(norm(16 * N));
    for at in 0..N {
        let number = _mm512_mul_ps(v[at], norm);
        rotate::store_f32_avx512(&mut rotated[at], number);
        spread[at % 2] = _mm512_max_epi32(spread[at % 2], magnitude_avx512(number));
    }
    let plain = _mm512_max_epi32(plain[0], plain[1]);
    let spread = _mm512_max_epi32(spread[0], spread[1]);
    [fold_avx512(plain), fold_avx512(spread)]
}

/// A rotated vector as integers.
#[inline]
#[target_feature(enable = "avx2")]
fn encode_rotated_avx2(rotated: &[f32], factor: f32, codes: &mut [u8]) {
    let factor = _mm256_set1_ps(factor);
    for (codes, lanes) in codes
        .as_chunks_mut::<16>()
        .0
        .iter_mut()
        .zip(rotated.as_chunks::<16>().0)
    {
        let lanes = lanes.as_chunks::<8>().0;
        let v = [rotate::load_f32_avx2(&lanes[0]), rotate::load_f32_avx2(&lanes[1])];
        quantise_avx2(v, factor, codes);
    }
}

/// A vector as integers, as it is.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn encode_plain_avx2<const BF16: bool>(input: &[u8], factor: f32, codes: &mut [u8]) {
    let factor = _mm256_set1_ps(factor);
    for (codes, elements) in codes.as_chunks_mut::<16>().0.iter_mut().zip(input.as_chunks::<32>().0) {
        let elements = elements.as_chunks::<16>().0;
        let v = [read_any_avx2::<BF16>(&elements[0]), read_any_avx2::<BF16>(&elements[1])];
        quantise_avx2(v, factor, codes);
    }
}

/// As [`encode_rotated_avx2`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
fn encode_rotated_avx512(rotated: &[f32], factor: f32, codes: &mut [u8]) {
    let factor = _mm512_set1_ps(factor);
    for (codes, lanes) in codes
        .as_chunks_mut::<16>()
        .0
        .iter_mut()
        .zip(rotated.as_chunks::<16>().0)
    {
        quantise_avx512(rotate::load_f32_avx512(lanes), factor, codes);
    }
}

/// As [`encode_plain_avx2`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
fn encode_plain_avx512<const BF16: bool>(input: &[u8], factor: f32, codes: &mut [u8]) {
    let factor = _mm512_set1_ps(factor);
    for (codes, elements) in codes.as_chunks_mut::<16>().0.iter_mut().zip(input.as_chunks::<32>().0) {
        quantise_avx512(read_any_avx512::<BF16>(elements), factor, codes);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn quantise_avx512(v: __m512, factor: __m512, codes: &mut [u8; 16]) {
    let bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, factor)));
    let bytes = _mm_max_epi8(bytes, _mm_set1_epi8(-127));
    // SAFETY: I2.
    unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), bytes) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn quantise_avx2(v: [__m256; 2], factor: __m256, codes: &mut [u8; 16]) {
    let low = _mm256_cvtps_epi32(_mm256_mul_ps(v[0], factor));
    let high = _mm256_cvtps_epi32(_mm256_mul_ps(v[1], factor));
    let words = _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(low, high));
    let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    let bytes = _mm_max_epi8(bytes, _mm_set1_epi8(-127));
    // SAFETY: I2.
    unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), bytes) }
}

#[target_feature(enable = "avx2,f16c")]
fn decode_avx2<const BF16: bool, const STREAM: bool>(
    shape: &PlaneShape,
    codes: &[u8],
    scales: &[u8],
    output: &mut [u8],
) {
    let rows = codes
        .chunks_exact(shape.dim)
        .zip(output.chunks_exact_mut(2 * shape.dim));
    for ((codes, output), bits) in rows.zip(scales.as_chunks::<2>().0) {
        let bits = u16::from_le_bytes(*bits);
        let scale = scale(shape.dtype, bits);
        // No element of a row can leave the finite numbers: 128 times the root of 256.
        let is_small = scale * 2048.0 <= number::max(shape.dtype);
        match (bits & ROTATED != 0, is_small) {
            (false, true) => plain_avx2::<BF16, true, STREAM>(codes, scale, output),
            (false, false) => plain_avx2::<BF16, false, STREAM>(codes, scale, output),
            (true, true) => rotated_avx2::<BF16, true, STREAM>(codes, scale, output),
            (true, false) => rotated_avx2::<BF16, false, STREAM>(codes, scale, output),
        }
    }
    if STREAM {
        _mm_sfence();
    }
}

/// The last butterflies of sixteen integers, a scale and signs, as elements.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn store_avx2<const BF16: bool, const SMALL: bool, const STREAM: bool>(
    words: __m256i,
    scale: __m256,
    signs: &[[u32; 8]],
    to: &mut [u8; 32],
) {
    let [even, odd] = rotate::widen_avx2(words);
    let even = _mm256_mul_ps(_mm256_cvtepi32_ps(even), scale);
    let odd = _mm256_mul_ps(_mm256_cvtepi32_ps(odd), scale);
    let v = [rotate::flip_avx2(even, &signs[0]), rotate::flip_avx2(odd, &signs[1])];
    if SMALL {
        write_split_finite_avx2::<BF16, STREAM>(to, v);
    } else {
        write_split_avx2::<BF16, STREAM>(to, v);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_avx2(codes: &[u8; 16]) -> __m256i {
    // SAFETY: I2.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn plain_avx2<const BF16: bool, const SMALL: bool, const STREAM: bool>(codes: &[u8], scale: f32, output: &mut [u8]) {
    let scale = _mm256_set1_ps(scale);
    let outputs = output.as_chunks_mut::<32>().0;
    for (codes, output) in codes.as_chunks::<16>().0.iter().zip(outputs) {
        let words = load_avx2(codes);
        let low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(words));
        let high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256::<1>(words));
        let v = [
            _mm256_mul_ps(_mm256_cvtepi32_ps(low), scale),
            _mm256_mul_ps(_mm256_cvtepi32_ps(high), scale),
        ];
        if SMALL {
            write_16_finite_avx2::<BF16, STREAM>(output, v);
        } else {
            write_16_avx2::<BF16, STREAM>(output, v);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn rotated_avx2<const BF16: bool, const SMALL: bool, const STREAM: bool>(codes: &[u8], scale: f32, output: &mut [u8]) {
    for (first, n) in parts(codes.len()) {
        let (codes, output) = (&codes[first..first + n], &mut output[2 * first..2 * (first + n)]);
        let signs = &SIGN_BITS_SPLIT[first..first + n];
        let scale = scale * norm(n);
        match n {
            16 => part_avx2::<1, BF16, SMALL, STREAM>(codes, scale, signs, output),
            32 => part_avx2::<2, BF16, SMALL, STREAM>(codes, scale, signs, output),
            64 => part_avx2::<4, BF16, SMALL, STREAM>(codes, scale, signs, output),
            128 => part_avx2::<8, BF16, SMALL, STREAM>(codes, scale, signs, output),
            _ => part_avx2::<16, BF16, SMALL, STREAM>(codes, scale, signs, output),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn part_avx2<const N: usize, const BF16: bool, const SMALL: bool, const STREAM: bool>(
    codes: &[u8],
    scale: f32,
    signs: &[u32],
    output: &mut [u8],
) {
    let codes = &codes.as_chunks::<16>().0[..N];
    let signs = &signs.as_chunks::<8>().0[..2 * N];
    let output = &mut output.as_chunks_mut::<32>().0[..N];
    let mut words = [_mm256_setzero_si256(); N];
    for at in 0..N {
        words[at] = load_avx2(&codes[at]);
    }
    rotate::hadamard_even_i16_avx2(&mut words);
    let scale = _mm256_set1_ps(scale);
    for at in 0..N {
        store_avx2::<BF16, SMALL, STREAM>(words[at], scale, &signs[2 * at..2 * at + 2], &mut output[at]);
    }
}
