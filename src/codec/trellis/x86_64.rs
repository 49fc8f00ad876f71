//! The trellis codecs with AVX2; machines with AVX-512 use the same, but for the search through 64 states.
//!
//! # Decoding
//! Two channels are looked up at once, with the butterfly between them done. The next butterflies, up to 32 channels,
//! are on integers of 16 bits, which hold them exactly, the others on `f32`, exactly too.
//!
//! # Soundness
//! - **I1** Who has an [`Isa`] other than `Portable` may call functions with its target features.
//! - **I2** Memory is read and written through slices and arrays that were found or made to be as long as the register.
#![allow(unsafe_code)]

mod search;
mod search_avx512;

use super::all::{self, Batch, Target};
use super::rotate::{self, DIM_MAX, SIGN_BITS, norm, parts};
use super::tables::{self, paired};
use super::{BitWriter, Format, PATH_BYTES_MAX};
use crate::codec::isa::Isa;
use crate::codec::number;
use crate::geometry::Dtype;
use core::arch::x86_64::*;
use search::{search_64, search_256};

pub(super) fn decode_rows(isa: Isa, format: &Format, paths: &[u8], gains: &[f32], means: &[f32], output: &mut [u8]) {
    if isa == Isa::Portable {
        return all::decode_rows(isa, format, paths, gains, means, output);
    }
    // SAFETY: I1.
    unsafe {
        match (format.bits, format.window) {
            (4, 8) => decode_rows_avx2::<4, 4096>(format, &paired::PAIRS_4_256, paths, gains, means, output),
            (3, 8) => decode_rows_avx2::<3, 2048>(format, &paired::PAIRS_3_256, paths, gains, means, output),
            (_, 8) => decode_rows_avx2::<2, 1024>(format, &paired::PAIRS_2_256, paths, gains, means, output),
            (4, _) => decode_rows_avx2::<4, 1024>(format, &paired::PAIRS_4_64, paths, gains, means, output),
            (3, _) => decode_rows_avx2::<3, 512>(format, &paired::PAIRS_3_64, paths, gains, means, output),
            _ => decode_rows_avx2::<2, 256>(format, &paired::PAIRS_2_64, paths, gains, means, output),
        }
    }
}

/// Rows that are looked up before the first is transformed: what was stored in small pieces is not loaded as a whole at
/// once.
const ROWS: usize = 4;

/// Sums and differences of the pairs of channels of a row.
#[repr(align(64))]
struct Pairs([u32; DIM_MAX / 2]);

#[target_feature(enable = "avx2,f16c,bmi2")]
fn decode_rows_avx2<const BITS: usize, const PAIRS: usize>(
    format: &Format,
    table: &[u32; PAIRS],
    paths: &[u8],
    gains: &[f32],
    means: &[f32],
    output: &mut [u8],
) {
    let dim = format.dim;
    let mut spare = [0; PATH_BYTES_MAX];
    let mut pairs = [const { Pairs([0; DIM_MAX / 2]) }; ROWS];
    let mut head = 0;
    let (mut number, row_bytes) = (0, 2 * dim);
    for (output, gains) in output.chunks_mut(ROWS * row_bytes).zip(gains.chunks(ROWS)) {
        for pairs in &mut pairs[..gains.len()] {
            let (path, shift) = all::path_of(format, paths, number, &mut spare);
            look_up::<BITS, PAIRS>(table, path, shift, &mut pairs.0[..dim / 2]);
            number += 1;
        }
        for ((output, gain), pairs) in output.chunks_exact_mut(row_bytes).zip(gains).zip(&pairs) {
            let pairs = &pairs.0[..dim / 2];
            let means = means.get(head * dim..).unwrap_or(&[]);
            match (format.dtype, format.mean) {
                (Dtype::Bf16, false) => transform::<true, false>(pairs, *gain, means, output),
                (Dtype::Bf16, true) => transform::<true, true>(pairs, *gain, means, output),
                (_, false) => transform::<false, false>(pairs, *gain, means, output),
                (_, true) => transform::<false, true>(pairs, *gain, means, output),
            }
            head = if head + 1 == format.heads { 0 } else { head + 1 };
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn look_up<const BITS: usize, const PAIRS: usize>(table: &[u32; PAIRS], path: &[u8], shift: usize, pairs: &mut [u32]) {
    // Eight pairs of channels are 16 * BITS bits; with 4 bits they do not fit together with the shift and the window.
    let (eights, _) = pairs.as_chunks_mut::<8>();
    for (pairs, path) in eights.iter_mut().zip(path.windows(16).step_by(2 * BITS)) {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&path[at..at + 8]);
            u64::from_le_bytes(bytes) >> shift
        };
        let low = word(0);
        let high = if BITS == 4 { word(4) } else { low >> (8 * BITS) };
        for pair in 0..4 {
            pairs[pair] = table[(low >> (2 * BITS * pair)) as usize & (PAIRS - 1)];
            pairs[4 + pair] = table[(high >> (2 * BITS * pair)) as usize & (PAIRS - 1)];
        }
    }
}

/// From sums and differences of pairs to elements: the other butterflies, gain, signs, means.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn transform<const BF16: bool, const MEAN: bool>(pairs: &[u32], gain: f32, means: &[f32], output: &mut [u8]) {
    for (first, n) in parts(2 * pairs.len()) {
        let pairs = &pairs[first / 2..(first + n) / 2];
        let means = if MEAN { &means[first..first + n] } else { means };
        let signs = &SIGN_BITS[first..first + n];
        let output = &mut output[2 * first..2 * (first + n)];
        let scale = gain * norm(n);
        match n {
            256 => transform_part::<BF16, MEAN, 16>(pairs, scale, signs, means, output),
            128 => transform_part::<BF16, MEAN, 8>(pairs, scale, signs, means, output),
            64 => transform_part::<BF16, MEAN, 4>(pairs, scale, signs, means, output),
            32 => transform_part::<BF16, MEAN, 2>(pairs, scale, signs, means, output),
            _ => transform_part::<BF16, MEAN, 1>(pairs, scale, signs, means, output),
        }
    }
}

/// A part of `N` times 16 channels.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn transform_part<const BF16: bool, const MEAN: bool, const N: usize>(
    pairs: &[u32],
    scale: f32,
    signs: &[u32],
    means: &[f32],
    output: &mut [u8],
) {
    let odd_2 = _mm256_setr_epi16(1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1);
    let odd_4 = _mm256_setr_epi16(1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1);
    let odd_8 = _mm256_setr_epi16(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1);
    let (chunks, _) = pairs.as_chunks::<8>();
    let mut part = [_mm256_setzero_si256(); N];
    for (register, chunk) in part.iter_mut().zip(chunks) {
        // SAFETY: I2.
        let v = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
        let v = _mm256_add_epi16(_mm256_shuffle_epi32::<0xB1>(v), _mm256_sign_epi16(v, odd_2));
        let v = _mm256_add_epi16(_mm256_shuffle_epi32::<0x4E>(v), _mm256_sign_epi16(v, odd_4));
        *register = _mm256_add_epi16(_mm256_permute2x128_si256::<0x01>(v, v), _mm256_sign_epi16(v, odd_8));
    }
    if N > 1 {
        for pair in part.as_chunks_mut::<2>().0 {
            (pair[0], pair[1]) = (_mm256_add_epi16(pair[0], pair[1]), _mm256_sub_epi16(pair[0], pair[1]));
        }
    }
    let mut wide = [[_mm256_setzero_ps(); 2]; N];
    for (wide, narrow) in wide.iter_mut().zip(part) {
        let (low, high) = (_mm256_castsi256_si128(narrow), _mm256_extracti128_si256::<1>(narrow));
        *wide = [
            _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(low)),
            _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(high)),
        ];
    }
    stage::<N, 2>(&mut wide);
    stage::<N, 4>(&mut wide);
    stage::<N, 8>(&mut wide);

    let scale = _mm256_set1_ps(scale);
    let largest = _mm256_set1_ps(if BF16 { number::BF16_MAX } else { number::F16_MAX });
    let smallest = _mm256_set1_ps(if BF16 { -number::BF16_MAX } else { -number::F16_MAX });
    let (signs, _) = signs.as_chunks::<8>();
    let (means, _) = means.as_chunks::<8>();
    let (output, _) = output.as_chunks_mut::<32>();
    for (number, (wide, output)) in wide.into_iter().zip(output).enumerate() {
        let mut words = [_mm_setzero_si128(); 2];
        for half in 0..2 {
            let at = 2 * number + half;
            // SAFETY: I2.
            let sign = unsafe { _mm256_loadu_ps(signs[at].as_ptr().cast()) };
            let mut v = _mm256_xor_ps(_mm256_mul_ps(wide[half], scale), sign);
            if MEAN {
                // SAFETY: I2.
                v = _mm256_add_ps(v, unsafe { _mm256_loadu_ps(means[at].as_ptr()) });
            }
            let v = _mm256_min_ps(_mm256_max_ps(v, smallest), largest);
            words[half] = if BF16 {
                let v = _mm256_castps_si256(v);
                let even = _mm256_and_si256(_mm256_srli_epi32::<16>(v), _mm256_set1_epi32(1));
                let v = _mm256_add_epi32(_mm256_add_epi32(v, _mm256_set1_epi32(0x7FFF)), even);
                let v = _mm256_srli_epi32::<16>(v);
                _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
            } else {
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)
            };
        }
        // SAFETY: I2.
        unsafe { _mm256_storeu_si256(output.as_mut_ptr().cast(), _mm256_set_m128i(words[1], words[0])) }
    }
}

/// The butterflies at a distance of `H` times 16 channels; nothing if the part is not so long.
#[inline]
#[target_feature(enable = "avx2")]
fn stage<const N: usize, const H: usize>(part: &mut [[__m256; 2]; N]) {
    if H < N {
        for pair in 0..N / 2 {
            let at = pair / H * 2 * H + pair % H;
            let (a, b) = (part[at], part[at + H]);
            part[at] = [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])];
            part[at + H] = [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])];
        }
    }
}

pub(super) fn encode_rows(
    isa: Isa,
    format: &Format,
    input: &[u8],
    means: &[f32],
    choices: &mut [u8],
    gains: &mut [i32],
    writer: &mut BitWriter<'_>,
) {
    let dim = format.dim;
    if isa == Isa::Portable {
        return all::encode_rows(isa, format, input, means, choices, gains, writer);
    }
    let wide = matches!(isa, Isa::Avx512(_));
    let read = |bytes: &[u8], row: &mut [f32], means: &[f32], x: &mut [u8]| {
        // SAFETY: I1.
        unsafe {
            match wide {
                true => read_avx512(isa, format.dtype, bytes, row, means, x),
                false => read_avx2(isa, format.dtype, bytes, row, means, x),
            }
        }
    };
    let search = |batch: &mut Batch| {
        // SAFETY: I1.
        unsafe {
            match (format.bits, format.window) {
                (4, 8) => search_256::<4>(&tables::BRANCH_4_256, dim, batch, choices),
                (3, 8) => search_256::<3>(&tables::BRANCH_3_256, dim, batch, choices),
                (_, 8) => search_256::<2>(&tables::BRANCH_2_256, dim, batch, choices),
                (4, _) if wide => search_avx512::search_64::<4>(&tables::BRANCH_4_64, dim, batch, choices),
                (3, _) if wide => search_avx512::search_64::<3>(&tables::BRANCH_3_64, dim, batch, choices),
                (_, _) if wide => search_avx512::search_64::<2>(&tables::BRANCH_2_64, dim, batch, choices),
                (4, _) => search_64::<4>(&tables::BRANCH_4_64, dim, batch, choices),
                (3, _) => search_64::<3>(&tables::BRANCH_3_64, dim, batch, choices),
                _ => search_64::<2>(&tables::BRANCH_2_64, dim, batch, choices),
            }
        }
    };
    all::encode_rows_with(format, input, means, gains, writer, read, search);
}

/// Reads a row and does [`all::prepare`], for which the compiler has wider registers here.
#[target_feature(enable = "avx2,f16c")]
fn read_avx2(isa: Isa, dtype: Dtype, bytes: &[u8], row: &mut [f32], means: &[f32], x: &mut [u8]) -> Option<Target> {
    read_row(dtype, bytes, row);
    all::prepare(isa, row, means, x, |row| squares(row))
}

/// [`read_avx2`] with wider registers still.
#[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn read_avx512(isa: Isa, dtype: Dtype, bytes: &[u8], row: &mut [f32], means: &[f32], x: &mut [u8]) -> Option<Target> {
    read_row(dtype, bytes, row);
    all::prepare(isa, row, means, x, |row| squares(row))
}

/// [`all::squares`].
#[inline]
#[target_feature(enable = "avx2")]
fn squares(row: &[f32]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 2];
    for chunk in row.as_chunks::<16>().0 {
        for (sum, eight) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            // SAFETY: I2.
            let v = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(v, v));
        }
    }
    let eight = _mm256_add_ps(sums[0], sums[1]);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// Reads a row of elements as finite numbers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn read_row(dtype: Dtype, bytes: &[u8], row: &mut [f32]) {
    let largest = _mm256_set1_ps(number::max(dtype));
    let smallest = _mm256_set1_ps(-number::max(dtype));
    for (eight, bytes) in row.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<16>().0) {
        // SAFETY: I2.
        let words = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        let v = match dtype {
            Dtype::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(words))),
            _ => _mm256_cvtph_ps(words),
        };
        let number = _mm256_cmp_ps::<_CMP_ORD_Q>(v, v);
        let v = _mm256_min_ps(_mm256_max_ps(_mm256_and_ps(v, number), smallest), largest);
        // SAFETY: I2.
        unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), v) }
    }
}
