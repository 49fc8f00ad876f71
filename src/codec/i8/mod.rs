//! `i8`: integers of 8 bits, one scale of 16 bits per vector, rotated where that makes the scale smaller.
//!
//! All integers of the plane, then all scales; `docs/codecs/i8.md` has the format and the rule.

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
use super::number;
use crate::error::Status;
use crate::geometry::{Dtype, PlaneShape};
use core::ops::RangeInclusive;

/// The sign bit of a scale says that the vector is rotated.
const ROTATED: u16 = 1 << 15;

/// The largest integer.
const CODE_MAX: f32 = 127.0;

/// A vector is rotated unless its largest magnitude is below this share of that of the rotated vector.
///
/// By the error alone the share is 1. What lies between is worth nothing, and vectors of one kind following each other
/// are decoded faster.
const PLAIN_SHARE: f32 = 0.875;

/// The largest magnitudes of vectors that may be rotated. Below, the scale of the rotated vector would lose precision;
/// above, sums would overflow.
const fn rotatable(dtype: Dtype) -> RangeInclusive<f32> {
    match dtype {
        Dtype::Bf16 => f32::from_bits((127 - 100) << 23)..=f32::from_bits((127 + 100) << 23),
        _ => 0.003_906_25..=number::F16_MAX,
    }
}

/// The stored scale for a largest magnitude: the nearest element to 1/127 of it, or the next above where the nearest is
/// so small that integers would overflow. Then the factor that takes numbers to integers.
///
/// The largest magnitude is 0 or at least 2^-100.
fn scale_of(dtype: Dtype, largest: f32) -> (u16, f32) {
    if largest == 0.0 {
        return (0, 0.0);
    }
    let nearest = number::write(dtype, largest / CODE_MAX);
    let bits = nearest + u16::from(number::read(dtype, nearest) * 127.5 < largest);
    (bits, 1.0 / number::read(dtype, bits))
}

/// The scale that is stored, without its flag: finite, whatever the bits are.
fn scale(dtype: Dtype, bits: u16) -> f32 {
    number::read(dtype, bits & !ROTATED)
}

pub(super) fn encode(
    isa: Isa,
    shape: &PlaneShape,
    input: &[u8],
    code: &mut [u8],
    _: &mut super::Scratch<'_>,
) -> Result<usize, Status> {
    let bytes = crate::budget::code_bytes_max(crate::config::CodecKind::I8, shape);
    let code = code.get_mut(..bytes).ok_or(Status::TooSmall)?;
    let (codes, scales) = code.split_at_mut(shape.elements());
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
    if code.len() != crate::budget::code_bytes_max(crate::config::CodecKind::I8, shape) {
        return Err(Status::Damaged);
    }
    let (codes, scales) = code.split_at(shape.elements());
    best::decode(isa, shape, codes, scales, output, scratch.streams());
    Ok(())
}
