//! The rotation with AVX2 and AVX-512.
//!
//! A butterfly between registers is a sum and a difference. Within a register it is the sum of the register with its
//! neighbours swapped and of the register with every other sign turned: `b + a` and `a + -b`, which are `a + b` and
//! `a - b` to the last bit. The functions over arrays of registers take whole parts: 8 or 16 numbers of `f32`, 16 or 32
//! of `i16`, to a register.
//!
//! # Soundness
//! - **I1** Who has an [`Isa`] other than `Portable` may call functions with its target features.
//! - **I2** Memory is read and written through references to arrays that are as long as the register.
#![allow(unsafe_code)]

use super::{SIGN_BITS, all, norm, parts};
use crate::codec::isa::Isa;
use core::arch::x86_64::*;

pub(super) fn forward(isa: Isa, row: &mut [f32]) {
    match isa {
        Isa::Portable => all::forward(row),
        // SAFETY: I1.
        Isa::Avx2(_) => unsafe { forward_avx2(row) },
        // SAFETY: I1.
        Isa::Avx512(_) => unsafe { forward_avx512(row) },
    }
}

pub(super) fn hadamard_i16(isa: Isa, row: &mut [i16]) {
    match isa {
        Isa::Portable => all::hadamard_i16(row),
        // SAFETY: I1.
        Isa::Avx2(_) => unsafe { hadamard_i16_row_avx2(row) },
        // SAFETY: I1.
        Isa::Avx512(_) => unsafe { hadamard_i16_row_avx512(row) },
    }
}

/// The butterflies between registers, at a distance of `H` registers.
macro_rules! stage {
    ($name:ident, $features:literal, $register:ty, $add:ident, $sub:ident) => {
        /// The butterflies at a distance of `H` registers, a power of two below `N`; nothing if it is not below.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in crate::codec) fn $name<const N: usize, const H: usize>(part: &mut [$register; N]) {
            if H < N {
                for pair in 0..N / 2 {
                    let at = pair / H * 2 * H + pair % H;
                    let (a, b) = (part[at], part[at + H]);
                    part[at] = $add(a, b);
                    part[at + H] = $sub(a, b);
                }
            }
        }
    };
}
stage!(stage_f32_avx2, "avx2", __m256, _mm256_add_ps, _mm256_sub_ps);
stage!(stage_i16_avx2, "avx2", __m256i, _mm256_add_epi16, _mm256_sub_epi16);
stage!(stage_f32_avx512, "avx512f", __m512, _mm512_add_ps, _mm512_sub_ps);
stage!(
    stage_i16_avx512,
    "avx512f,avx512bw",
    __m512i,
    _mm512_add_epi16,
    _mm512_sub_epi16
);

/// All butterflies of a part of `N` registers; `$within` does those within one register.
macro_rules! hadamard {
    ($name:ident, $features:literal, $register:ty, $within:ident, $stage:ident) => {
        /// All butterflies of a part of `N` registers, a power of two up to 32: no signs, no norm.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in crate::codec) fn $name<const N: usize>(part: &mut [$register; N]) {
            for register in part.iter_mut() {
                *register = $within(*register);
            }
            $stage::<N, 1>(part);
            $stage::<N, 2>(part);
            $stage::<N, 4>(part);
            $stage::<N, 8>(part);
            $stage::<N, 16>(part);
        }
    };
}
hadamard!(hadamard_f32_avx2, "avx2", __m256, within_f32_avx2, stage_f32_avx2);
hadamard!(hadamard_i16_avx2, "avx2", __m256i, within_i16_avx2, stage_i16_avx2);
hadamard!(
    hadamard_even_i16_avx2,
    "avx2",
    __m256i,
    within_even_i16_avx2,
    stage_i16_avx2
);
hadamard!(
    hadamard_f32_avx512,
    "avx512f",
    __m512,
    within_f32_avx512,
    stage_f32_avx512
);
hadamard!(
    hadamard_i16_avx512,
    "avx512f,avx512bw",
    __m512i,
    within_i16_avx512,
    stage_i16_avx512
);

/// The butterflies at distances 1, 2 and 4 within a register of 8 numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn within_f32_avx2(v: __m256) -> __m256 {
    let odd = _mm256_castsi256_ps(_mm256_set1_epi64x(i64::MIN));
    let v = _mm256_add_ps(_mm256_permute_ps::<0xB1>(v), _mm256_xor_ps(v, odd));
    let odd = _mm256_setr_ps(0.0, 0.0, -0.0, -0.0, 0.0, 0.0, -0.0, -0.0);
    let v = _mm256_add_ps(_mm256_permute_ps::<0x4E>(v), _mm256_xor_ps(v, odd));
    let odd = _mm256_setr_ps(0.0, 0.0, 0.0, 0.0, -0.0, -0.0, -0.0, -0.0);
    _mm256_add_ps(_mm256_permute2f128_ps::<0x01>(v, v), _mm256_xor_ps(v, odd))
}

/// The butterflies at distances 1, 2, 4 and 8 within a register of 16 numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn within_f32_avx512(v: __m512) -> __m512 {
    let w = _mm512_permute_ps::<0xB1>(v);
    let v = _mm512_mask_sub_ps(_mm512_add_ps(v, w), 0xAAAA, w, v);
    let w = _mm512_permute_ps::<0x4E>(v);
    let v = _mm512_mask_sub_ps(_mm512_add_ps(v, w), 0xCCCC, w, v);
    let w = _mm512_shuffle_f32x4::<0xB1>(v, v);
    let v = _mm512_mask_sub_ps(_mm512_add_ps(v, w), 0xF0F0, w, v);
    let w = _mm512_shuffle_f32x4::<0x4E>(v, v);
    _mm512_mask_sub_ps(_mm512_add_ps(v, w), 0xFF00, w, v)
}

/// The butterflies at distances 1, 2, 4 and 8 within a register of 16 integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn within_i16_avx2(v: __m256i) -> __m256i {
    let swap = _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    let turn = _mm256_set1_epi32(0xFFFF_0001_u32 as i32);
    within_even_i16_avx2(_mm256_add_epi16(
        _mm256_shuffle_epi8(v, swap),
        _mm256_sign_epi16(v, turn),
    ))
}

/// The butterflies at distances 2, 4 and 8 within a register of 16 integers: those before [`widen_avx2`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn within_even_i16_avx2(v: __m256i) -> __m256i {
    let turn = _mm256_set1_epi64x(0xFFFF_FFFF_0001_0001_u64 as i64);
    let v = _mm256_add_epi16(_mm256_shuffle_epi32::<0xB1>(v), _mm256_sign_epi16(v, turn));
    let turn = _mm256_broadcastsi128_si256(_mm_setr_epi16(1, 1, 1, 1, -1, -1, -1, -1));
    let v = _mm256_add_epi16(_mm256_shuffle_epi32::<0x4E>(v), _mm256_sign_epi16(v, turn));
    let turn = _mm256_setr_epi16(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1);
    _mm256_add_epi16(_mm256_permute4x64_epi64::<0x4E>(v), _mm256_sign_epi16(v, turn))
}

/// The butterflies at distance 1, which may come last, in 32 bits: those of the even channels, then of the odd ones.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn widen_avx2(v: __m256i) -> [__m256i; 2] {
    let difference = _mm256_set1_epi32(0xFFFF_0001_u32 as i32);
    [
        _mm256_madd_epi16(v, _mm256_set1_epi16(1)),
        _mm256_madd_epi16(v, difference),
    ]
}

/// The butterflies at distances 1, 2, 4, 8 and 16 within a register of 32 integers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::codec) fn within_i16_avx512(v: __m512i) -> __m512i {
    let w = _mm512_rol_epi32::<16>(v);
    let v = _mm512_mask_sub_epi16(_mm512_add_epi16(v, w), 0xAAAA_AAAA, w, v);
    let w = _mm512_shuffle_epi32::<0xB1>(v);
    let v = _mm512_mask_sub_epi16(_mm512_add_epi16(v, w), 0xCCCC_CCCC, w, v);
    let w = _mm512_shuffle_epi32::<0x4E>(v);
    let v = _mm512_mask_sub_epi16(_mm512_add_epi16(v, w), 0xF0F0_F0F0, w, v);
    let w = _mm512_shuffle_i64x2::<0xB1>(v, v);
    let v = _mm512_mask_sub_epi16(_mm512_add_epi16(v, w), 0xFF00_FF00, w, v);
    let w = _mm512_shuffle_i64x2::<0x4E>(v, v);
    _mm512_mask_sub_epi16(_mm512_add_epi16(v, w), 0xFFFF_0000, w, v)
}

/// Eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn load_f32_avx2(lanes: &[f32; 8]) -> __m256 {
    // SAFETY: I2.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn store_f32_avx2(lanes: &mut [f32; 8], v: __m256) {
    // SAFETY: I2.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), v) }
}

/// Gives eight numbers the signs of their channels, [`SIGN_BITS`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn flip_avx2(v: __m256, signs: &[u32; 8]) -> __m256 {
    // SAFETY: I2.
    _mm256_xor_ps(v, unsafe { _mm256_loadu_ps(signs.as_ptr().cast()) })
}

/// Sixteen numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn load_f32_avx512(lanes: &[f32; 16]) -> __m512 {
    // SAFETY: I2.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn store_f32_avx512(lanes: &mut [f32; 16], v: __m512) {
    // SAFETY: I2.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), v) }
}

/// Gives sixteen numbers the signs of their channels, [`SIGN_BITS`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn flip_avx512(v: __m512, signs: &[u32; 16]) -> __m512 {
    // SAFETY: I2.
    let signs = unsafe { _mm512_loadu_si512(signs.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), signs))
}

/// Sixteen integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn load_i16_avx2(lanes: &[i16; 16]) -> __m256i {
    // SAFETY: I2.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn store_i16_avx2(lanes: &mut [i16; 16], v: __m256i) {
    // SAFETY: I2.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), v) }
}

/// Thirty-two integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn load_i16_avx512(lanes: &[i16; 32]) -> __m512i {
    // SAFETY: I2.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::codec) fn store_i16_avx512(lanes: &mut [i16; 32], v: __m512i) {
    // SAFETY: I2.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), v) }
}

/// A row of numbers in memory: a part of `N` registers, and all parts.
macro_rules! row_f32 {
    ($features:literal, $lanes:literal, $part:ident, $forward:ident, $hadamard:ident, $load:ident, $store:ident,
     $flip:ident, $set1:ident, $mul:ident, [$n16:literal, $n32:literal, $n64:literal, $n128:literal,
     $n256:literal]) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $part<const N: usize>(part: &mut [f32], signs: &[u32]) {
            let part = &mut part.as_chunks_mut::<$lanes>().0[..N];
            let signs = &signs.as_chunks::<$lanes>().0[..N];
            let mut registers = [$set1(0.0); N];
            for at in 0..N {
                let v = $load(&part[at]);
                registers[at] = $flip(v, &signs[at]);
            }
            $hadamard(&mut registers);
            let norm = $set1(norm(N * $lanes));
            for at in 0..N {
                $store(&mut part[at], $mul(registers[at], norm));
            }
        }
        /// The rotation of a row.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in crate::codec) fn $forward(row: &mut [f32]) {
            for (first, n) in parts(row.len()) {
                let (part, signs) = (&mut row[first..first + n], &SIGN_BITS[first..first + n]);
                match n {
                    16 => $part::<$n16>(part, signs),
                    32 => $part::<$n32>(part, signs),
                    64 => $part::<$n64>(part, signs),
                    128 => $part::<$n128>(part, signs),
                    _ => $part::<$n256>(part, signs),
                }
            }
        }
    };
}
row_f32!(
    "avx2",
    8,
    part_f32_avx2,
    forward_avx2,
    hadamard_f32_avx2,
    load_f32_avx2,
    store_f32_avx2,
    flip_avx2,
    _mm256_set1_ps,
    _mm256_mul_ps,
    [2, 4, 8, 16, 32]
);
row_f32!(
    "avx512f",
    16,
    part_f32_avx512,
    forward_avx512,
    hadamard_f32_avx512,
    load_f32_avx512,
    store_f32_avx512,
    flip_avx512,
    _mm512_set1_ps,
    _mm512_mul_ps,
    [1, 2, 4, 8, 16]
);

#[inline]
#[target_feature(enable = "avx2")]
fn part_i16_avx2<const N: usize>(part: &mut [i16]) {
    let part = &mut part.as_chunks_mut::<16>().0[..N];
    let mut registers = [_mm256_setzero_si256(); N];
    for at in 0..N {
        registers[at] = load_i16_avx2(&part[at]);
    }
    hadamard_i16_avx2(&mut registers);
    for at in 0..N {
        store_i16_avx2(&mut part[at], registers[at]);
    }
}

/// The butterflies of a row of integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::codec) fn hadamard_i16_row_avx2(row: &mut [i16]) {
    for (first, n) in parts(row.len()) {
        let part = &mut row[first..first + n];
        match n {
            16 => part_i16_avx2::<1>(part),
            32 => part_i16_avx2::<2>(part),
            64 => part_i16_avx2::<4>(part),
            128 => part_i16_avx2::<8>(part),
            _ => part_i16_avx2::<16>(part),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn part_i16_avx512<const N: usize>(part: &mut [i16]) {
    let part = &mut part.as_chunks_mut::<32>().0[..N];
    let mut registers = [_mm512_setzero_si512(); N];
    for at in 0..N {
        registers[at] = load_i16_avx512(&part[at]);
    }
    hadamard_i16_avx512(&mut registers);
    for at in 0..N {
        store_i16_avx512(&mut part[at], registers[at]);
    }
}

/// The butterflies of a row of integers; a part of 16 is done with AVX2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::codec) fn hadamard_i16_row_avx512(row: &mut [i16]) {
    for (first, n) in parts(row.len()) {
        let part = &mut row[first..first + n];
        match n {
            16 => part_i16_avx2::<1>(part),
            32 => part_i16_avx512::<1>(part),
            64 => part_i16_avx512::<2>(part),
            128 => part_i16_avx512::<4>(part),
            _ => part_i16_avx512::<8>(part),
        }
    }
}
