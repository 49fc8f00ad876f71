//! E4M3 in plain Rust: the definition.

use crate::codec::isa::Isa;
use crate::codec::number;
use crate::geometry::Dtype;

/// The largest number of E4M3.
pub(super) const MAX: f32 = 448.0;
/// The smallest number of E4M3 with a full mantissa.
pub(super) const NORMAL_MIN: f32 = 0.015_625;
/// One unit in the last place of this is the smallest number of E4M3, 2^-9.
pub(super) const TINY_BASE: f32 = 16384.0;

/// The code nearest to a finite number: ties to even, at most 448.
pub(super) fn code_of(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let size = value.abs().min(MAX);
    let code = if size < NORMAL_MIN {
        (size + TINY_BASE).to_bits() - TINY_BASE.to_bits()
    } else {
        let bits = size.to_bits();
        ((bits + 0x7_FFFF + (bits >> 20 & 1)) >> 20) - (120 << 3)
    };
    sign | code as u8
}

/// The number of a code; the two codes that are no number are 0.
pub(super) fn number_of(code: u8) -> f32 {
    let size = match (code >> 3 & 0xF, code & 7) {
        (0xF, 7) => return 0.0,
        (0, mantissa) => f32::from(mantissa) / 512.0,
        (exponent, mantissa) => f32::from_bits((u32::from(exponent) + 120) << 23 | u32::from(mantissa) << 20),
    };
    if code & 0x80 != 0 { -size } else { size }
}

pub(super) fn encode(_: Isa, dtype: Dtype, input: &[u8], code: &mut [u8]) {
    for (code, element) in code.iter_mut().zip(input.as_chunks::<2>().0) {
        *code = code_of(number::read(dtype, u16::from_le_bytes(*element)));
    }
}

pub(super) fn decode(_: Isa, dtype: Dtype, code: &[u8], output: &mut [u8]) {
    for (code, element) in code.iter().zip(output.as_chunks_mut::<2>().0) {
        *element = number::write(dtype, number_of(*code)).to_le_bytes();
    }
}
