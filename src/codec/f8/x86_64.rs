//! E4M3 with AVX2.
//!
//! Encoding goes through `f32`, as the portable version does. Decoding stays in integers of 16 bits: exponent and
//! mantissa are moved to their places and the exponent gets the difference of the biases; the eight smallest numbers
//! have a mantissa without a leading one and come out of a table.
//!
//! # Soundness
//! - **I1** Who has an [`Isa`] other than `Portable` may call functions with the features `avx2` and `f16c`.
//! - **I2** Memory is read and written through references to arrays that are as long as the register.
#![allow(unsafe_code)]

use super::all::{self, MAX, NORMAL_MIN, TINY_BASE};
use crate::codec::isa::Isa;
use crate::codec::number::x86_64::{magnitude_avx2, read_avx2};
use crate::geometry::Dtype;
use core::arch::x86_64::*;

pub(super) fn encode(isa: Isa, dtype: Dtype, input: &[u8], code: &mut [u8]) {
    match (isa, dtype) {
        (Isa::Portable, _) => all::encode(isa, dtype, input, code),
        // SAFETY: I1.
        (_, Dtype::Bf16) => unsafe { encode_avx2::<true>(isa, dtype, input, code) },
        // SAFETY: I1.
        _ => unsafe { encode_avx2::<false>(isa, dtype, input, code) },
    }
}

pub(super) fn decode(isa: Isa, dtype: Dtype, code: &[u8], output: &mut [u8]) {
    match (isa, dtype) {
        (Isa::Portable, _) => all::decode(isa, dtype, code, output),
        // SAFETY: I1.
        (_, Dtype::Bf16) => unsafe { decode_avx2::<true>(isa, dtype, code, output) },
        // SAFETY: I1.
        _ => unsafe { decode_avx2::<false>(isa, dtype, code, output) },
    }
}

/// The codes of eight elements, each in 32 bits.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn codes_avx2<const BF16: bool>(elements: &[u8; 16]) -> __m256i {
    let v = read_avx2::<BF16>(elements);
    let size = _mm256_min_ps(magnitude_avx2(v), _mm256_set1_ps(MAX));
    let bits = _mm256_castps_si256(size);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<20>(bits), _mm256_set1_epi32(1));
    let up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7_FFFF)), odd);
    let normal = _mm256_sub_epi32(_mm256_srli_epi32::<20>(up), _mm256_set1_epi32(120 << 3));
    let base = _mm256_set1_ps(TINY_BASE);
    let tiny = _mm256_sub_epi32(
        _mm256_castps_si256(_mm256_add_ps(size, base)),
        _mm256_castps_si256(base),
    );
    let is_tiny = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(size, _mm256_set1_ps(NORMAL_MIN)));
    let code = _mm256_blendv_epi8(normal, tiny, is_tiny);
    let sign = _mm256_and_si256(_mm256_srli_epi32::<24>(_mm256_castps_si256(v)), _mm256_set1_epi32(0x80));
    _mm256_or_si256(code, sign)
}

#[target_feature(enable = "avx2,f16c")]
fn encode_avx2<const BF16: bool>(isa: Isa, dtype: Dtype, input: &[u8], code: &mut [u8]) {
    let (inputs, input_rest) = input.as_chunks::<64>();
    let (codes, code_rest) = code.as_chunks_mut::<32>();
    for (code, elements) in codes.iter_mut().zip(inputs) {
        let elements = elements.as_chunks::<16>().0;
        let low = _mm256_packus_epi32(codes_avx2::<BF16>(&elements[0]), codes_avx2::<BF16>(&elements[1]));
        let high = _mm256_packus_epi32(codes_avx2::<BF16>(&elements[2]), codes_avx2::<BF16>(&elements[3]));
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let packed = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        // SAFETY: I2.
        unsafe { _mm256_storeu_si256(code.as_mut_ptr().cast(), packed) }
    }
    all::encode(isa, dtype, input_rest, code_rest);
}

#[target_feature(enable = "avx2,f16c")]
fn decode_avx2<const BF16: bool>(isa: Isa, dtype: Dtype, code: &[u8], output: &mut [u8]) {
    // The numbers 0 to 7 times 2^-9: the upper bytes, and for bf16 the lower ones, too.
    let tiny = if BF16 {
        _mm_setr_epi8(0, 0x3B, 0x3B, 0x3B, 0x3C, 0x3C, 0x3C, 0x3C, 0, 0, 0, 0, 0, 0, 0, 0)
    } else {
        _mm_setr_epi8(0, 0x18, 0x1C, 0x1E, 0x20, 0x21, 0x22, 0x23, 0, 0, 0, 0, 0, 0, 0, 0)
    };
    let tiny_low = _mm_setr_epi8(
        0,
        0,
        0x80_u8 as i8,
        0xC0_u8 as i8,
        0,
        0x20,
        0x40,
        0x60,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    );
    let (tiny, tiny_low) = (_mm256_broadcastsi128_si256(tiny), _mm256_broadcastsi128_si256(tiny_low));
    let (codes, code_rest) = code.as_chunks::<16>();
    let (outputs, output_rest) = output.as_chunks_mut::<32>();
    for (elements, code) in outputs.iter_mut().zip(codes) {
        // SAFETY: I2.
        let code = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(code.as_ptr().cast()) });
        let size = _mm256_and_si256(code, _mm256_set1_epi16(0x7F));
        let sign = _mm256_slli_epi16::<8>(_mm256_sub_epi16(code, size));
        let (moved, bias) = if BF16 {
            (_mm256_slli_epi16::<4>(size), 120 << 7)
        } else {
            (_mm256_slli_epi16::<7>(size), 8 << 10)
        };
        let normal = _mm256_add_epi16(moved, _mm256_set1_epi16(bias));
        // The byte to look up goes to the upper byte of its lane; the lower one looks up the zero at place 0.
        let mut small = _mm256_shuffle_epi8(tiny, _mm256_slli_epi16::<8>(size));
        if BF16 {
            small = _mm256_or_si256(small, _mm256_shuffle_epi8(tiny_low, size));
        }
        let is_tiny = _mm256_cmpgt_epi16(_mm256_set1_epi16(8), size);
        let is_number = _mm256_cmpgt_epi16(_mm256_set1_epi16(0x7F), size);
        let value = _mm256_or_si256(_mm256_blendv_epi8(normal, small, is_tiny), sign);
        // SAFETY: I2.
        unsafe { _mm256_storeu_si256(elements.as_mut_ptr().cast(), _mm256_and_si256(value, is_number)) }
    }
    all::decode(isa, dtype, code_rest, output_rest);
}
