//! The signed Walsh-Hadamard rotation of one head's vector.
//!
//! It spreads a few large channels over all of them, so that one scale fits the whole vector, and makes the channels
//! nearly Gaussian. Errors keep their size: the rotation is orthogonal.
//!
//! A vector of `dim` channels, a multiple of 16 up to 256, falls into parts whose lengths are the powers of two that
//! `dim` is made of, the longest first: 96 = 64 + 32, 240 = 128 + 64 + 32 + 16. Each part of `n` channels is rotated by
//! itself: channel `i` of the head takes the sign `i` of a fixed pattern ([`SIGNS`]), then come the butterflies
//! `(a, b) -> (a + b, a - b)` at distances 1, 2, 4, ... `n / 2`, then a factor of `1 / sqrt(n)` ([`norm`]).
//!
//! The versions for AVX2 and AVX-512 are in [`x86_64`], also as functions over registers, so that the codecs inline
//! them. All give the same bits: floating-point sums are taken in the same order, integers wrap.

mod all;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) mod x86_64;

#[cfg(test)]
mod tests;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use all::dispatch as best;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as best;

use super::isa::Isa;
pub(super) use all::hadamard;
#[cfg(test)]
pub(super) use all::inverse;

/// Most channels of a vector.
pub(super) const DIM_MAX: usize = 256;

/// The pattern of signs: 256 bits, the outputs of splitmix64 from the state 7, the lowest bit first.
const fn sign_words() -> [u64; 4] {
    let mut words = [0; 4];
    let mut state: u64 = 7;
    let mut at = 0;
    while at < 4 {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        words[at] = z ^ (z >> 31);
        at += 1;
    }
    words
}

/// The sign of each channel: 1 or -1.
pub(super) const SIGNS: [i16; DIM_MAX] = {
    let words = sign_words();
    let mut signs = [1; DIM_MAX];
    let mut channel = 0;
    while channel < DIM_MAX {
        if words[channel / 64] >> (channel % 64) & 1 != 0 {
            signs[channel] = -1;
        }
        channel += 1;
    }
    signs
};

/// The sign of each channel as the sign bit of an `f32`: to be combined with the bits of a number by `^`.
pub(super) static SIGN_BITS: [u32; DIM_MAX] = {
    let mut bits = [0; DIM_MAX];
    let mut channel = 0;
    while channel < DIM_MAX {
        if SIGNS[channel] < 0 {
            bits[channel] = 1 << 31;
        }
        channel += 1;
    }
    bits
};

/// [`SIGN_BITS`], in each group of 16 channels first the even ones, then the odd ones.
pub(super) static SIGN_BITS_SPLIT: [u32; DIM_MAX] = {
    let mut bits = [0; DIM_MAX];
    let mut channel = 0;
    while channel < DIM_MAX {
        let place = channel / 16 * 16 + channel % 2 * 8 + channel % 16 / 2;
        bits[place] = ((SIGNS[channel] < 0) as u32) << 31;
        channel += 1;
    }
    bits
};

/// `1 / sqrt(n)` for a part of `n` channels: 16, 32, 64, 128 or 256.
pub(super) const fn norm(n: usize) -> f32 {
    match n {
        256 => 0.0625,
        128 => 0.088_388_346,
        64 => 0.125,
        32 => 0.176_776_69,
        _ => 0.25,
    }
}

/// The parts of a vector of `dim` channels: the first channel and the length of each, the longest part first.
#[inline]
pub(super) fn parts(dim: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    [256, 128, 64, 32, 16].into_iter().filter_map(move |n| {
        if dim & n == 0 {
            return None;
        }
        first += n;
        Some((first - n, n))
    })
}

/// Rotates a vector: signs, butterflies, norm.
pub(super) fn forward(isa: Isa, row: &mut [f32]) {
    best::forward(isa, row);
}

/// The butterflies alone, on integers that wrap: no signs, no norm. Exact where no sum leaves 16 bits, as with 256
/// channels of magnitude 127.
pub(super) fn hadamard_i16(isa: Isa, row: &mut [i16]) {
    best::hadamard_i16(isa, row);
}
