//! AVX2 and AVX-512.
//!
//! # Soundness
//! - **I1** A [`Proof`] exists only where the processor supports the instructions of the variant of `Isa` that
//!   carries it; the kernels here are made only in [`run_avx2`] and [`run_avx512`], out of the proof of their variant.
//! - **I2** Loads and stores go through pointers of slices whose length is checked before, and without any alignment.
#![allow(unsafe_code)]

use super::{Job, Kernel, all};
use crate::codec::isa::Proof;
use crate::codec::number;
use crate::codec::xc::LAG_MAX;
use crate::codec::xc::entropy::PLACES;
use crate::geometry::Dtype;
use core::arch::x86_64::*;

/// AVX2 and F16C may be used (I1).
#[derive(Clone, Copy)]
struct Avx2(());

/// AVX-512 F, BW, DQ and VL may be used (I1).
#[derive(Clone, Copy)]
struct Avx512(());

pub(super) fn run_avx2<J: Job>(_: Proof, job: J) -> J::Output {
    #[target_feature(enable = "avx2,f16c,bmi2")]
    fn inner<J: Job>(job: J) -> J::Output {
        job.run(Avx2(()))
    }
    // SAFETY: I1, the proof is that of this variant.
    unsafe { inner(job) }
}

pub(super) fn run_avx512<J: Job>(_: Proof, job: J) -> J::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c,bmi2")]
    fn inner<J: Job>(job: J) -> J::Output {
        job.run(Avx512(()))
    }
    // SAFETY: I1, the proof is that of this variant.
    unsafe { inner(job) }
}

/// Methods that are functions with the instructions of this kernel.
macro_rules! kernel {
    ($($method:ident = $function:ident($($name:ident: $type:ty),*) $(-> $output:ty)?;)*) => {$(
        #[inline(always)]
        fn $method(self, $($name: $type),*) $(-> $output)? {
            // SAFETY: I1.
            unsafe { $function($($name),*) }
        }
    )*};
}

impl Kernel for Avx2 {
    kernel! {
        read = read(dtype: Dtype, bytes: &[u8], row: &mut [f32]);
        write = write(dtype: Dtype, row: &[f32], bytes: &mut [u8]);
        prefetch = prefetch(memory: &[i16]);
        forward = forward_avx2(basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]);
        inverse = inverse_avx2(basis: &[i16], row: &[i16], sums: &mut [i32]);
        quantise = quantise(row: &[f32], inverse_step: f32, output: &mut [i16]);
        quantise_from = quantise_from(row: &[f32], inverse_step: f32, from: &[i16], output: &mut [i16]);
        add = add(row: &[i16], from: &[i16], output: &mut [i16]);
        bytes = bytes(row: &[i16], output: &mut [u8]);
        nearest = nearest(row: &[u8], before: &[u8], channels: usize, first: usize) -> usize;
        magnitudes = magnitudes(row: &[i16]) -> u32;
        weigh = weigh(row: &[i16], weights: &[i16]) -> i32;
        peak = peak(row: &[i16]) -> i16;
        sum_of = sum_of(costs: &[u32; PLACES], symbols: &[u16]) -> u32;
        classes = classes(levels: &[i8], offset: i8, output: &mut [u8]);
    }
}

impl Kernel for Avx512 {
    kernel! {
        read = read(dtype: Dtype, bytes: &[u8], row: &mut [f32]);
        write = write(dtype: Dtype, row: &[f32], bytes: &mut [u8]);
        prefetch = prefetch(memory: &[i16]);
        forward = forward_avx512(basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]);
        inverse = inverse_avx512(basis: &[i16], row: &[i16], sums: &mut [i32]);
        quantise = quantise(row: &[f32], inverse_step: f32, output: &mut [i16]);
        quantise_from = quantise_from(row: &[f32], inverse_step: f32, from: &[i16], output: &mut [i16]);
        add = add(row: &[i16], from: &[i16], output: &mut [i16]);
        bytes = bytes(row: &[i16], output: &mut [u8]);
        nearest = nearest(row: &[u8], before: &[u8], channels: usize, first: usize) -> usize;
        magnitudes = magnitudes(row: &[i16]) -> u32;
        weigh = weigh(row: &[i16], weights: &[i16]) -> i32;
        peak = peak(row: &[i16]) -> i16;
        sum_of = sum_of(costs: &[u32; PLACES], symbols: &[u16]) -> u32;
        classes = classes(levels: &[i8], offset: i8, output: &mut [u8]);
    }
}

// What the compiler makes of the loops with the instructions at hand.

#[target_feature(enable = "avx2")]
fn add(row: &[i16], from: &[i16], output: &mut [i16]) {
    all::add(row, from, output);
}

#[target_feature(enable = "avx2")]
fn bytes(row: &[i16], output: &mut [u8]) {
    all::bytes(row, output);
}

#[target_feature(enable = "avx2")]
fn nearest(row: &[u8], before: &[u8], channels: usize, first: usize) -> usize {
    match row.len() {
        128 => nearest_of::<4>(row, before, channels, first),
        64 => nearest_of::<2>(row, before, channels, first),
        96 => nearest_of::<3>(row, before, channels, first),
        256 => nearest_of::<8>(row, before, channels, first),
        _ => all::nearest(row, before, channels, first),
    }
}

/// Rows of `32 * N`.
#[target_feature(enable = "avx2")]
#[inline]
fn nearest_of<const N: usize>(row: &[u8], before: &[u8], channels: usize, first: usize) -> usize {
    assert!(row.len() == 32 * N && first + 32 * N <= channels);
    let mut own = [_mm256_setzero_si256(); N];
    for (own, row) in own.iter_mut().zip(row.chunks_exact(32)) {
        // SAFETY: I2, 32 bytes.
        *own = unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
    }
    let rows = before.len() / channels;
    let (mut best, mut best_lag) = (u32::MAX, 0);
    for lag in 1..=rows.min(LAG_MAX) {
        let start = before.len() - lag * channels + first;
        let mut sums = _mm256_setzero_si256();
        for (part, own) in own.iter().enumerate() {
            // SAFETY: I2: `lag * channels <= before.len()` and `first + 32 * N <= channels`, so that
            // `start + 32 * N <= before.len()`.
            let other = unsafe { _mm256_loadu_si256(before.as_ptr().add(start + 32 * part).cast()) };
            sums = _mm256_add_epi64(sums, _mm256_sad_epu8(*own, other));
        }
        let sums = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sums = _mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums));
        let distance = _mm_cvtsi128_si32(sums) as u32;
        if distance < best {
            (best, best_lag) = (distance, lag);
        }
    }
    best_lag
}

#[target_feature(enable = "avx2")]
fn magnitudes(row: &[i16]) -> u32 {
    all::magnitudes(row)
}

#[target_feature(enable = "avx2")]
fn weigh(row: &[i16], weights: &[i16]) -> i32 {
    all::weigh(row, weights)
}

#[target_feature(enable = "avx2")]
fn peak(row: &[i16]) -> i16 {
    all::peak(row)
}

#[target_feature(enable = "avx2")]
fn sum_of(costs: &[u32; PLACES], symbols: &[u16]) -> u32 {
    const { assert!(PLACES.is_power_of_two()) };
    let within = _mm256_set1_epi32(PLACES as i32 - 1);
    let mut sums = _mm256_setzero_si256();
    let mut chunks = symbols.chunks_exact(8);
    for chunk in &mut chunks {
        // SAFETY: I2, 16 bytes.
        let places = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) });
        let places = _mm256_and_si256(places, within);
        // SAFETY: I2: all places are below `PLACES`.
        let found = unsafe { _mm256_i32gather_epi32::<4>(costs.as_ptr().cast(), places) };
        sums = _mm256_add_epi32(sums, found);
    }
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let sums = _mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums));
    let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<1>(sums));
    (_mm_cvtsi128_si32(sums) as u32).wrapping_add(all::sum_of(costs, chunks.remainder()))
}

#[target_feature(enable = "avx2")]
fn classes(levels: &[i8], offset: i8, output: &mut [u8]) {
    all::classes(levels, offset, output);
}

#[target_feature(enable = "avx2")]
fn forward_avx2(basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]) {
    assert!(width.is_multiple_of(16) && basis.len() == width * width);
    assert!(rows.len() == all::ROWS_AT_ONCE * width && output.len() == all::ROWS_AT_ONCE * width);
    for at in (0..width).step_by(8) {
        let mut sums = [_mm256_setzero_ps(); all::ROWS_AT_ONCE];
        for channel in 0..width {
            // SAFETY: I2: `channel < width` and `at + 8 <= width`, which is half of 16.
            let factors = unsafe { _mm_loadu_si128(basis.as_ptr().add(channel * width + at).cast()) };
            let factors = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(factors));
            for (row, sum) in sums.iter_mut().enumerate() {
                // SAFETY: I2: `row < ROWS_AT_ONCE` and `channel < width`.
                let element = _mm256_set1_ps(unsafe { *rows.get_unchecked(row * width + channel) });
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(element, factors));
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            // SAFETY: I2: `row < ROWS_AT_ONCE` and `at + 8 <= width`.
            unsafe { _mm256_storeu_ps(output.as_mut_ptr().add(row * width + at), *sum) };
        }
    }
}

#[target_feature(enable = "avx512f,avx2")]
fn forward_avx512(basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]) {
    assert!(width.is_multiple_of(16) && basis.len() == width * width);
    assert!(rows.len() == all::ROWS_AT_ONCE * width && output.len() == all::ROWS_AT_ONCE * width);
    for at in (0..width).step_by(16) {
        let mut sums = [_mm512_setzero_ps(); all::ROWS_AT_ONCE];
        for channel in 0..width {
            // SAFETY: I2: `channel < width` and `at + 16 <= width`.
            let factors = unsafe { _mm256_loadu_si256(basis.as_ptr().add(channel * width + at).cast()) };
            let factors = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(factors));
            for (row, sum) in sums.iter_mut().enumerate() {
                // SAFETY: I2: `row < ROWS_AT_ONCE` and `channel < width`.
                let element = _mm512_set1_ps(unsafe { *rows.get_unchecked(row * width + channel) });
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(element, factors));
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            // SAFETY: I2: `row < ROWS_AT_ONCE` and `at + 16 <= width`.
            unsafe { _mm512_storeu_ps(output.as_mut_ptr().add(row * width + at), *sum) };
        }
    }
}

/// Whole steps with the sign of `values`, in 32 bits. `magnitudes` are not above 2^15.
#[target_feature(enable = "avx2")]
#[inline]
fn with_sign(magnitudes: __m256, values: __m256) -> __m256i {
    let negative = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(values, _mm256_setzero_ps()));
    let whole = _mm256_cvttps_epi32(magnitudes);
    _mm256_sub_epi32(_mm256_xor_si256(whole, negative), negative)
}

/// Stores 8 numbers of 32 bits, all within 16.
#[target_feature(enable = "avx2")]
#[inline]
fn store_steps(steps: __m256i, output: &mut [i16]) {
    assert!(output.len() == 8);
    let packed = _mm_packs_epi32(_mm256_castsi256_si128(steps), _mm256_extracti128_si256::<1>(steps));
    // SAFETY: I2, 16 bytes.
    unsafe { _mm_storeu_si128(output.as_mut_ptr().cast(), packed) };
}

#[target_feature(enable = "avx2")]
fn quantise(row: &[f32], inverse_step: f32, output: &mut [i16]) {
    let inverse = _mm256_set1_ps(inverse_step);
    let (rounding, limit) = (_mm256_set1_ps(all::ROUNDING), _mm256_set1_ps(all::STEPS_MAX as f32));
    let unsigned = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let mut chunks = row.chunks_exact(8);
    let mut outputs = output.chunks_exact_mut(8);
    for (chunk, output) in (&mut chunks).zip(&mut outputs) {
        // SAFETY: I2, 8 numbers.
        let values = _mm256_mul_ps(unsafe { _mm256_loadu_ps(chunk.as_ptr()) }, inverse);
        let magnitudes = _mm256_add_ps(_mm256_and_ps(values, unsigned), rounding);
        // The second operand where the first is not a number, as the definition.
        let magnitudes = _mm256_min_ps(magnitudes, limit);
        store_steps(with_sign(magnitudes, values), output);
    }
    all::quantise(chunks.remainder(), inverse_step, outputs.into_remainder());
}

#[target_feature(enable = "avx2")]
fn quantise_from(row: &[f32], inverse_step: f32, from: &[i16], output: &mut [i16]) {
    let inverse = _mm256_set1_ps(inverse_step);
    let (rounding, limit) = (_mm256_set1_ps(all::ROUNDING), _mm256_set1_ps(all::STEPS_MAX as f32));
    let lowest = _mm256_set1_ps(-(all::STEPS_MAX as f32));
    let (most, least) = (_mm256_set1_epi32(all::STEPS_MAX), _mm256_set1_epi32(-all::STEPS_MAX));
    let unsigned = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let mut chunks = row.chunks_exact(8);
    let mut froms = from.chunks_exact(8);
    let mut outputs = output.chunks_exact_mut(8);
    for ((chunk, from), output) in (&mut chunks).zip(&mut froms).zip(&mut outputs) {
        // SAFETY: I2, 8 numbers, and 16 bytes.
        let (values, from) = unsafe { (_mm256_loadu_ps(chunk.as_ptr()), _mm_loadu_si128(from.as_ptr().cast())) };
        let from = _mm256_cvtepi16_epi32(from);
        let values = _mm256_max_ps(_mm256_min_ps(_mm256_mul_ps(values, inverse), limit), lowest);
        let values = _mm256_sub_ps(values, _mm256_cvtepi32_ps(from));
        let magnitudes = _mm256_add_ps(_mm256_and_ps(values, unsigned), rounding);
        let whole = _mm256_add_epi32(from, with_sign(magnitudes, values));
        let whole = _mm256_max_epi32(_mm256_min_epi32(whole, most), least);
        store_steps(_mm256_sub_epi32(whole, from), output);
    }
    all::quantise_from(
        chunks.remainder(),
        inverse_step,
        froms.remainder(),
        outputs.into_remainder(),
    );
}

#[target_feature(enable = "avx2,f16c")]
fn read(dtype: Dtype, bytes: &[u8], row: &mut [f32]) {
    let limit = _mm256_set1_ps(number::max(dtype));
    let lowest = _mm256_set1_ps(-number::max(dtype));
    let mut chunks = bytes.chunks_exact(16);
    let mut outputs = row.chunks_exact_mut(8);
    for (chunk, output) in (&mut chunks).zip(&mut outputs) {
        // SAFETY: I2, 16 bytes.
        let elements = unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) };
        let values = match dtype {
            Dtype::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(elements))),
            _ => _mm256_cvtph_ps(elements),
        };
        let ordered = _mm256_cmp_ps::<_CMP_ORD_Q>(values, values);
        let values = _mm256_min_ps(_mm256_max_ps(_mm256_and_ps(values, ordered), lowest), limit);
        // SAFETY: I2, 8 numbers.
        unsafe { _mm256_storeu_ps(output.as_mut_ptr(), values) };
    }
    number::read_row(dtype, chunks.remainder(), outputs.into_remainder());
}

#[target_feature(enable = "avx2,f16c")]
fn write(dtype: Dtype, row: &[f32], bytes: &mut [u8]) {
    let limit = _mm256_set1_ps(number::max(dtype));
    let lowest = _mm256_set1_ps(-number::max(dtype));
    let mut chunks = row.chunks_exact(8);
    let mut outputs = bytes.chunks_exact_mut(16);
    for (chunk, output) in (&mut chunks).zip(&mut outputs) {
        // SAFETY: I2, 8 numbers.
        let values = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
        let ordered = _mm256_cmp_ps::<_CMP_ORD_Q>(values, values);
        let values = _mm256_min_ps(_mm256_max_ps(_mm256_and_ps(values, ordered), lowest), limit);
        let elements = match dtype {
            Dtype::Bf16 => {
                let bits = _mm256_castps_si256(values);
                let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
                let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up));
                _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded))
            }
            _ => _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values),
        };
        // SAFETY: I2, 16 bytes.
        unsafe { _mm_storeu_si128(output.as_mut_ptr().cast(), elements) };
    }
    number::write_row(dtype, chunks.remainder(), outputs.into_remainder());
}

/// Into the second cache.
#[target_feature(enable = "avx2")]
fn prefetch(memory: &[i16]) {
    for line in memory.chunks(32) {
        _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
    }
}

/// Which pairs of a row of at most 256 are not both zero, a bit each.
#[target_feature(enable = "avx2")]
#[inline]
fn pairs_of(row: &[i16]) -> [u64; 2] {
    assert!(row.len() <= 256);
    let mut pairs = [0; 2];
    for (number, chunk) in row.chunks_exact(16).enumerate() {
        // SAFETY: I2, 32 bytes.
        let chunk = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
        let zeros = _mm256_cmpeq_epi32(chunk, _mm256_setzero_si256());
        let zeros = _mm256_movemask_ps(_mm256_castsi256_ps(zeros)) as u32;
        pairs[number / 8] |= u64::from(!zeros & 0xFF) << (8 * (number % 8));
    }
    pairs
}

/// Does something with the number of each pair of a row that is not both zero.
macro_rules! each_pair {
    ($row:ident, $number:ident, $body:block) => {
        for (word, pairs) in pairs_of($row).into_iter().enumerate() {
            let mut pairs = pairs;
            while pairs != 0 {
                let $number = 64 * word + pairs.trailing_zeros() as usize;
                pairs &= pairs - 1;
                $body
            }
        }
    };
}

#[target_feature(enable = "avx2")]
fn inverse_avx2(basis: &[i16], row: &[i16], sums: &mut [i32]) {
    let width = row.len();
    assert!(width.is_multiple_of(16) && basis.len() == width * width && sums.len() == width);
    let mut at = 0;
    while at < width {
        if width - at >= 64 {
            columns_avx2::<8>(basis, row, sums, at);
            at += 64;
        } else {
            columns_avx2::<2>(basis, row, sums, at);
            at += 16;
        }
    }
}

/// `8 * N` sums from `at` on.
#[target_feature(enable = "avx2")]
#[inline]
fn columns_avx2<const N: usize>(basis: &[i16], row: &[i16], sums: &mut [i32], at: usize) {
    let width = row.len();
    assert!(at + 8 * N <= width && basis.len() == width * width && sums.len() == width);
    let mut totals = [_mm256_setzero_si256(); N];
    each_pair!(row, number, {
        // SAFETY: I2: `number < width / 2`.
        let both = _mm256_set1_epi32(unsafe { row.as_ptr().add(2 * number).cast::<i32>().read_unaligned() });
        let start = 2 * (number * width + at);
        for (lane, total) in totals.iter_mut().enumerate() {
            // SAFETY: I2: `number < width / 2` and `at + 8 * N <= width`, so `start + 16 * N <= width * width`.
            let factors = unsafe { _mm256_loadu_si256(basis.as_ptr().add(start + 16 * lane).cast()) };
            *total = _mm256_add_epi32(*total, _mm256_madd_epi16(factors, both));
        }
    });
    for (lane, total) in totals.iter().enumerate() {
        // SAFETY: I2: `at + 8 * N <= width`, which is the length of `sums`.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().add(at + 8 * lane).cast(), *total) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn inverse_avx512(basis: &[i16], row: &[i16], sums: &mut [i32]) {
    let width = row.len();
    assert!(width.is_multiple_of(16) && basis.len() == width * width && sums.len() == width);
    let mut at = 0;
    while at < width {
        if width - at >= 128 {
            columns_avx512::<8>(basis, row, sums, at);
            at += 128;
        } else if width - at >= 64 {
            columns_avx512::<4>(basis, row, sums, at);
            at += 64;
        } else {
            columns_avx512::<1>(basis, row, sums, at);
            at += 16;
        }
    }
}

/// `16 * N` sums from `at` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
#[inline]
fn columns_avx512<const N: usize>(basis: &[i16], row: &[i16], sums: &mut [i32], at: usize) {
    let width = row.len();
    assert!(at + 16 * N <= width && basis.len() == width * width && sums.len() == width);
    let mut totals = [_mm512_setzero_si512(); N];
    each_pair!(row, number, {
        // SAFETY: I2: `number < width / 2`.
        let both = _mm512_set1_epi32(unsafe { row.as_ptr().add(2 * number).cast::<i32>().read_unaligned() });
        let start = 2 * (number * width + at);
        for (lane, total) in totals.iter_mut().enumerate() {
            // SAFETY: I2: `number < width / 2` and `at + 16 * N <= width`, so `start + 32 * N <= width * width`.
            let factors = unsafe { _mm512_loadu_si512(basis.as_ptr().add(start + 32 * lane).cast()) };
            *total = _mm512_add_epi32(*total, _mm512_madd_epi16(factors, both));
        }
    });
    for (lane, total) in totals.iter().enumerate() {
        // SAFETY: I2: `at + 16 * N <= width`, which is the length of `sums`.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().add(at + 16 * lane).cast(), *total) };
    }
}
