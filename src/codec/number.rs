//! Elements of 16 bits as numbers and back.
//!
//! Reading makes everything finite; writing rounds to nearest, ties to even, and stays within the finite numbers.

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) mod x86_64;

use crate::geometry::Dtype;
use half::{bf16, f16};

/// The largest finite number of 16 bits with 5 of exponent.
pub(crate) const F16_MAX: f32 = 65504.0;
/// The largest finite number of 16 bits with 8 of exponent.
pub(crate) const BF16_MAX: f32 = f32::from_bits(0x7F7F_0000);

/// The largest finite element of a type with 16 bits.
pub(crate) const fn max(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Bf16 => BF16_MAX,
        _ => F16_MAX,
    }
}

/// The number of an element; a NaN is 0, an infinity the largest finite number of its sign.
pub(crate) fn read(dtype: Dtype, bits: u16) -> f32 {
    let value = match dtype {
        Dtype::Bf16 => bf16::from_bits(bits).to_f32(),
        _ => f16::from_bits(bits).to_f32(),
    };
    if value.is_nan() {
        0.0
    } else {
        value.clamp(-max(dtype), max(dtype))
    }
}

/// The element nearest to a number; a NaN is 0, what is too large the largest finite element of its sign.
pub(crate) fn write(dtype: Dtype, value: f32) -> u16 {
    let value = if value.is_nan() {
        0.0
    } else {
        value.clamp(-max(dtype), max(dtype))
    };
    match dtype {
        Dtype::Bf16 => bf16::from_f32(value).to_bits(),
        _ => f16::from_f32(value).to_bits(),
    }
}

/// Reads a row of elements.
pub(crate) fn read_row(dtype: Dtype, bytes: &[u8], row: &mut [f32]) {
    for (value, element) in row.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = read(dtype, u16::from_le_bytes([element[0], element[1]]));
    }
}

/// Writes a row of elements.
pub(crate) fn write_row(dtype: Dtype, row: &[f32], bytes: &mut [u8]) {
    for (value, element) in row.iter().zip(bytes.chunks_exact_mut(2)) {
        element.copy_from_slice(&write(dtype, *value).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_read_as_a_finite_number_and_written_back_as_it_was() {
        for dtype in [Dtype::F16, Dtype::Bf16] {
            for bits in 0..=u16::MAX {
                let value = read(dtype, bits);
                assert!(value.is_finite());
                let (exponent, mantissa) = match dtype {
                    Dtype::Bf16 => (bits >> 7 & 0xFF == 0xFF, bits & 0x7F),
                    _ => (bits >> 10 & 0x1F == 0x1F, bits & 0x3FF),
                };
                let back = write(dtype, value);
                match (exponent, mantissa) {
                    (true, 0) => assert_eq!(back, bits - 1, "infinity"),
                    (true, _) => assert_eq!(back, 0, "NaN"),
                    _ => assert_eq!(back, bits),
                }
            }
            assert_eq!(write(dtype, f32::NAN), 0);
            assert_eq!(read(dtype, write(dtype, f32::INFINITY)), max(dtype));
            assert_eq!(read(dtype, write(dtype, -f32::MAX)), -max(dtype));
        }
    }
}
