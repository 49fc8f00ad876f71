//! Elements of 16 bits as numbers and back, eight at a time with AVX2 and F16C, some sixteen at a time with AVX-512.
//!
//! The same results as [`read`](super::read) and [`write`](super::write), bit by bit.
//!
//! # Soundness
//! - **I1** Memory is read and written through references to arrays that are as long as the register.
//! - **I2** With `STREAM` every store is to a multiple of 32: callers looked with [`can_stream`], and store whole
//!   registers one behind the other.
#![allow(unsafe_code)]

use super::{BF16_MAX, F16_MAX};
use core::arch::x86_64::*;

/// The largest finite element.
const fn max_of<const BF16: bool>() -> f32 {
    if BF16 { BF16_MAX } else { F16_MAX }
}

/// Eight elements as numbers; a NaN is 0, an infinity the largest finite number of its sign.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn read_avx2<const BF16: bool>(elements: &[u8; 16]) -> __m256 {
    finite_avx2::<BF16>(read_any_avx2::<BF16>(elements))
}

/// Eight elements as numbers; NaNs and infinities stay what they are.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn read_any_avx2<const BF16: bool>(elements: &[u8; 16]) -> __m256 {
    // SAFETY: I1.
    let elements = unsafe { _mm_loadu_si128(elements.as_ptr().cast()) };
    if BF16 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(elements)))
    } else {
        _mm256_cvtph_ps(elements)
    }
}

/// A NaN becomes 0, what is too large the largest finite element of its sign.
#[inline]
#[target_feature(enable = "avx2")]
fn finite_avx2<const BF16: bool>(v: __m256) -> __m256 {
    let v = _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_ORD_Q>(v, v));
    let max = _mm256_set1_ps(max_of::<BF16>());
    let min = _mm256_set1_ps(-max_of::<BF16>());
    _mm256_max_ps(_mm256_min_ps(v, max), min)
}

/// Stores sixteen elements, around the cache with `STREAM`; they begin at a multiple of 32 then, and whoever stores
/// them fences at the end.
#[inline]
#[target_feature(enable = "avx2")]
fn store_avx2<const STREAM: bool>(elements: &mut [u8; 32], rounded: __m256i) {
    let target = elements.as_mut_ptr();
    if STREAM {
        debug_assert!(target.addr().is_multiple_of(32));
        // SAFETY: I1, I2.
        unsafe { _mm256_stream_si256(target.cast(), rounded) }
    } else {
        // SAFETY: I1.
        unsafe { _mm256_storeu_si256(target.cast(), rounded) }
    }
}

/// Whether rows of whole registers that begin here can be stored around the cache.
pub(in crate::codec) fn can_stream(output: &[u8]) -> bool {
    output.as_ptr().addr().is_multiple_of(32)
}

/// Sixteen numbers that are known to be within the finite elements, in order.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn write_16_finite_avx2<const BF16: bool, const STREAM: bool>(
    elements: &mut [u8; 32],
    v: [__m256; 2],
) {
    let rounded = if BF16 {
        let [low, high] = [round_bf16_avx2(v[0]), round_bf16_avx2(v[1])];
        _mm256_permute4x64_epi64::<0xD8>(_mm256_packus_epi32(low, high))
    } else {
        let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]);
        _mm256_set_m128i(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]), low)
    };
    store_avx2::<STREAM>(elements, rounded);
}

/// Sixteen numbers that are known to be within the finite elements, the even ones first.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn write_split_finite_avx2<const BF16: bool, const STREAM: bool>(
    elements: &mut [u8; 32],
    v: [__m256; 2],
) {
    let rounded = if BF16 {
        let [even, odd] = [round_up_bf16_avx2(v[0]), round_up_bf16_avx2(v[1])];
        _mm256_blend_epi16::<0xAA>(_mm256_srli_epi32::<16>(even), odd)
    } else {
        let even = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]);
        let odd = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]);
        _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd))
    };
    store_avx2::<STREAM>(elements, rounded);
}

/// Sixteen elements nearest to numbers, the even ones first; as [`write_16_avx2`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn write_split_avx2<const BF16: bool, const STREAM: bool>(
    elements: &mut [u8; 32],
    v: [__m256; 2],
) {
    write_split_finite_avx2::<BF16, STREAM>(elements, [finite_avx2::<BF16>(v[0]), finite_avx2::<BF16>(v[1])]);
}

/// Eight finite numbers as elements of `bf16`, each in 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn round_bf16_avx2(v: __m256) -> __m256i {
    _mm256_srli_epi32::<16>(round_up_bf16_avx2(v))
}

/// Eight finite numbers as elements of `bf16` in the upper halves of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn round_up_bf16_avx2(v: __m256) -> __m256i {
    let bits = _mm256_castps_si256(v);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd)
}

/// Sixteen elements nearest to numbers, in order; a NaN is 0, what is too large the largest finite element of its sign.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn write_16_avx2<const BF16: bool, const STREAM: bool>(elements: &mut [u8; 32], v: [__m256; 2]) {
    write_16_finite_avx2::<BF16, STREAM>(elements, [finite_avx2::<BF16>(v[0]), finite_avx2::<BF16>(v[1])]);
}

/// Eight finite elements nearest to numbers, and their numbers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::codec) fn round_8_avx2<const BF16: bool>(v: __m256) -> (__m128i, __m256) {
    if BF16 {
        let bits = round_bf16_avx2(v);
        let packed = _mm256_permute4x64_epi64::<0xD8>(_mm256_packus_epi32(bits, bits));
        (
            _mm256_castsi256_si128(packed),
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)),
        )
    } else {
        let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
        (rounded, _mm256_cvtph_ps(rounded))
    }
}

/// Numbers without their signs.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn magnitude_avx2(v: __m256) -> __m256 {
    _mm256_andnot_ps(_mm256_set1_ps(-0.0), v)
}

/// The largest of eight magnitudes. Taken as integers, NaNs and infinities are larger than all numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn largest_avx2(v: __m256i) -> f32 {
    let v = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let v = _mm_max_epi32(v, _mm_shuffle_epi32::<0x4E>(v));
    _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(v, _mm_shuffle_epi32::<0xB1>(v))))
}

/// The largest magnitude in each of eight registers; as [`largest_avx2`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn largest_8_avx2(v: &[__m256i; 8]) -> __m256 {
    let pair = |a, b| _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let four = |a, b| _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let low = four(pair(v[0], v[1]), pair(v[2], v[3]));
    let high = four(pair(v[4], v[5]), pair(v[6], v[7]));
    _mm256_castsi256_ps(_mm256_max_epi32(
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    ))
}

/// Sixteen elements as numbers; as [`read_any_avx2`].
#[inline]
#[target_feature(enable = "avx512f,f16c")]
pub(in crate::codec) fn read_any_avx512<const BF16: bool>(elements: &[u8; 32]) -> __m512 {
    // SAFETY: I1.
    let elements = unsafe { _mm256_loadu_si256(elements.as_ptr().cast()) };
    if BF16 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(elements)))
    } else {
        _mm512_cvtph_ps(elements)
    }
}

/// The bits of numbers without their signs.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn magnitude_avx512(v: __m512) -> __m512i {
    _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(i32::MAX))
}

/// The larger ones of both halves.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(in crate::codec) fn fold_avx512(v: __m512i) -> __m256i {
    _mm256_max_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::number::{read, write};
    use crate::geometry::Dtype;
    use std::is_x86_feature_detected;

    #[target_feature(enable = "avx2,f16c")]
    fn check<const BF16: bool>(dtype: Dtype) {
        for first in (0..=u16::MAX).step_by(8) {
            let bits: [u16; 8] = core::array::from_fn(|at| first + at as u16);
            let elements: [u8; 16] = core::array::from_fn(|at| bits[at / 2].to_le_bytes()[at % 2]);
            let mut numbers = [0.0_f32; 8];
            // SAFETY: I1.
            unsafe { _mm256_storeu_ps(numbers.as_mut_ptr(), read_avx2::<BF16>(&elements)) }
            for at in 0..8 {
                assert_eq!(numbers[at].to_bits(), read(dtype, bits[at]).to_bits());
            }
            // Numbers around each element: half a step up and down, and to both sides of that.
            for offset in [0, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF_F000] {
                let near = bits.map(|bits| f32::from_bits((u32::from(bits) << 16).wrapping_add(offset)));
                // SAFETY: I1.
                let near_lanes = unsafe { _mm256_loadu_ps(near.as_ptr()) };
                let other = _mm256_sub_ps(_mm256_setzero_ps(), near_lanes);
                let (mut written, mut split) = ([0; 32], [0; 32]);
                write_16_avx2::<BF16, false>(&mut written, [near_lanes, other]);
                write_split_avx2::<BF16, false>(&mut split, [near_lanes, other]);
                for at in 0..8 {
                    let expected = write(dtype, near[at]).to_le_bytes();
                    assert_eq!(written[2 * at..][..2], expected, "{} {}", dtype.name(), near[at]);
                    assert_eq!(split[4 * at..][..2], expected);
                    let expected = write(dtype, 0.0 - near[at]).to_le_bytes();
                    assert_eq!(written[16 + 2 * at..][..2], expected);
                    assert_eq!(split[4 * at + 2..][..2], expected);
                }
            }
        }
    }

    #[test]
    fn every_element_is_read_and_written_as_by_the_portable_version() {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
            // SAFETY: the features were just seen.
            unsafe {
                check::<false>(Dtype::F16);
                check::<true>(Dtype::Bf16);
            }
        }
    }
}
