//! `n4`: rotated, 16 levels that are not evenly spaced, a scale of 16 bits per 32 channels.
//!
//! The codes of all vectors, then the scales of all blocks; `docs/codecs/n4.md` has the format.

mod all;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(test)]
mod tests;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use all as best;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as best;

use super::isa::Isa;
use crate::error::Status;
use crate::geometry::PlaneShape;

/// Channels that share a scale; the last block of a vector has 16 where the vector's length is an odd multiple of that.
const BLOCK: usize = 32;

/// The two sets of levels; the lowest bit of a scale says which one it is.
///
/// They are optimal, by Lloyd's iterations, for blocks of 32 channels of rotated vectors that each take the set, the
/// sign and the scale that fit best. The first is the more even one, for blocks without far-off channels.
const LEVELS: [[i8; 16]; 2] = [
    [-127, -103, -82, -65, -49, -36, -23, -10, 2, 15, 27, 40, 53, 69, 86, 106],
    [-127, -98, -74, -56, -42, -30, -18, -7, 2, 12, 22, 33, 45, 59, 77, 107],
];

/// Sums of neighbouring levels: twice the thresholds between them.
const THRESHOLDS: [[i16; 15]; 2] = {
    let mut thresholds = [[0; 15]; 2];
    let mut at = 0;
    while at < 30 {
        let levels = &LEVELS[at / 15];
        thresholds[at / 15][at % 15] = levels[at % 15] as i16 + levels[at % 15 + 1] as i16;
        at += 1;
    }
    thresholds
};

/// The largest magnitude of the integers that stand for the numbers of a block while it is encoded. Integers times
/// factors are levels times 2^15; with this one both have a similar number of bits.
const UNIT: f32 = 4095.0;

/// The levels furthest from the far end of both sets, about.
const END: f32 = 106.5;

/// How much larger than at the scale at which the whole range of the numbers just fits levels are taken to be, in the
/// guesses: three with the far end of the levels at the far end of the numbers, and one with it at their near end. Each
/// is tried with both sets.
const STRETCHES: [f32; 4] = [0.95, 1.0, 1.05, 1.0125];

/// Levels, not stretched, that the farthest number of a block is away from 0, if it lies at the far end of the levels.
#[inline(always)]
fn reach(far: f32, near: f32) -> f32 {
    // `min` of `f32` is a call where there is no standard library; this is one instruction.
    let near = if near > 0.5 * far { near } else { 0.5 * far };
    let reach = END * far / near;
    if reach < 127.0 { reach } else { 127.0 }
}

/// From levels to factors of integers.
const FACTOR: f32 = 32768.0 / UNIT;

/// The factors of the first three guesses are a reach times these, rounded.
const FACTORS: [f32; 3] = [STRETCHES[0] * FACTOR, STRETCHES[1] * FACTOR, STRETCHES[2] * FACTOR];

/// The factor of the last guess.
const TURNED_FACTOR: i16 = (-STRETCHES[3] * END * FACTOR - 0.5) as i16;

/// What the errors of the first three guesses are multiplied by to be compared.
const WEIGHTS: [f32; 3] = [
    1.0 / (STRETCHES[0] * STRETCHES[0]),
    1.0 / (STRETCHES[1] * STRETCHES[1]),
    1.0 / (STRETCHES[2] * STRETCHES[2]),
];

/// What the error of the last guess is multiplied by, after the square of the reach.
const TURNED_WEIGHT: f32 = 1.0 / (STRETCHES[3] * STRETCHES[3] * END * END);

/// The scale that fits best, for numbers of which the farthest is `far`. The sum of squares is never 0.
#[inline(always)]
fn fit(product: i32, square: i32, far: f32) -> f32 {
    product as f32 / square as f32 * (far / UNIT)
}

/// The largest finite scale, as it is stored.
const SCALE_MAX: u32 = 0x7F7E;

/// Rows are brought into this range by [`LIFT`] or its inverse before they are rotated, so that nothing overflows.
const ROW_MIN: f32 = f32::from_bits((127 - 100) << 23);
/// See [`ROW_MIN`].
const ROW_MAX: f32 = f32::from_bits((127 + 100) << 23);
/// 2^64.
const LIFT: f32 = f32::from_bits((127 + 64) << 23);
/// Blocks whose largest magnitude is below this, 2^-110, are zeros.
const BLOCK_MIN: f32 = f32::from_bits((127 - 110) << 23);

/// A scale as it is stored: the upper half of an `f32`, the lowest bit replaced by the set. A scale that is not 0 has a
/// magnitude of at least 2^-126.
fn stored(scale: f32, set: usize) -> u16 {
    let bits = scale.to_bits();
    let size = (bits & 0x7FFF_FFFF).clamp(1 << 23, SCALE_MAX << 16);
    let size = (size + 0xFFFF + (size >> 17 & 1)) >> 17;
    (bits >> 16 & 0x8000) as u16 | (size << 1) as u16 | set as u16
}

/// The scale that is stored: finite, whatever the bits are.
#[inline(always)]
fn scale(stored: u16) -> f32 {
    let size = stored & 0x7FFE;
    let size = if size > SCALE_MAX as u16 {
        SCALE_MAX as u16
    } else {
        size
    };
    f32::from_bits(u32::from(stored & 0x8000 | size) << 16)
}

/// Bytes of a vector's codes and number of its scales.
const fn row_code(dim: usize) -> (usize, usize) {
    (dim / 2, dim.div_ceil(BLOCK))
}

pub(super) fn encode(
    isa: Isa,
    shape: &PlaneShape,
    input: &[u8],
    code: &mut [u8],
    _: &mut super::Scratch<'_>,
) -> Result<usize, Status> {
    let bytes = crate::budget::code_bytes_max(crate::config::CodecKind::N4, shape);
    let code = code.get_mut(..bytes).ok_or(Status::TooSmall)?;
    let (codes, scales) = code.split_at_mut(shape.rows() * row_code(shape.dim).0);
    best::encode(isa, shape, input, codes, scales);
    Ok(bytes)
}

pub(super) fn decode(
    isa: Isa,
    shape: &PlaneShape,
    code: &[u8],
    output: &mut [u8],
    scratch: &mut super::Scratch<'_>,
) -> Result<(), Status> {
    if code.len() != crate::budget::code_bytes_max(crate::config::CodecKind::N4, shape) {
        return Err(Status::Damaged);
    }
    let (codes, scales) = code.split_at(shape.rows() * row_code(shape.dim).0);
    best::decode(isa, shape, codes, scales, output, scratch.streams());
    Ok(())
}
