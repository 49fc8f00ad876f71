//! `i8` in plain Rust: the definition.

use super::{PLAIN_SHARE, ROTATED, rotatable, scale, scale_of};
use crate::codec::isa::Isa;
use crate::codec::{number, rotate};
use crate::geometry::{Dtype, PlaneShape};

/// Adding it rounds a number below 2^22 to an integer, ties to even, in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// Vectors of `bf16` below 2^-100 are made larger by this first.
const LIFT: f32 = 18_446_744_073_709_551_616.0;

fn largest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

fn quantise(row: &[f32], factor: f32, codes: &mut [u8]) {
    for (code, value) in codes.iter_mut().zip(row) {
        let integer = (value * factor + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
        *code = integer.clamp(-127, 127) as i8 as u8;
    }
}

/// Encodes one vector and returns its scale.
pub(super) fn encode_row(dtype: Dtype, input: &[u8], codes: &mut [u8]) -> u16 {
    let mut row = [0.0; rotate::DIM_MAX];
    let row = &mut row[..codes.len()];
    number::read_row(dtype, input, row);
    let plain = largest(row);
    if rotatable(dtype).contains(&plain) {
        let mut rotated = [0.0; rotate::DIM_MAX];
        let rotated = &mut rotated[..codes.len()];
        rotated.copy_from_slice(row);
        rotate::forward(Isa::Portable, rotated);
        let spread = largest(rotated);
        if plain >= spread * PLAIN_SHARE {
            let (bits, factor) = scale_of(dtype, spread);
            quantise(rotated, factor, codes);
            return bits | ROTATED;
        }
    }
    if dtype == Dtype::Bf16 && plain < *rotatable(dtype).start() {
        // The factor would be infinite. Small numbers are multiples of the smallest one, and so is the scale.
        let (lifted, _) = scale_of(dtype, plain * LIFT);
        let bits = match number::write(dtype, scale(dtype, lifted) / LIFT) {
            0 if plain > 0.0 => 1,
            bits => bits + u16::from(scale(dtype, bits) * LIFT * 127.5 < plain * LIFT),
        };
        let factor = if bits == 0 {
            0.0
        } else {
            1.0 / (scale(dtype, bits) * LIFT)
        };
        for value in row.iter_mut() {
            *value *= LIFT;
        }
        quantise(row, factor, codes);
        return bits;
    }
    let (bits, factor) = scale_of(dtype, plain);
    quantise(row, factor, codes);
    bits
}

/// Decodes one vector.
pub(super) fn decode_row(dtype: Dtype, codes: &[u8], bits: u16, output: &mut [u8]) {
    let scale = scale(dtype, bits);
    let elements = output.as_chunks_mut::<2>().0;
    if bits & ROTATED == 0 {
        for (element, code) in elements.iter_mut().zip(codes) {
            *element = number::write(dtype, f32::from(*code as i8) * scale).to_le_bytes();
        }
        return;
    }
    let mut row = [0; rotate::DIM_MAX];
    let row = &mut row[..codes.len()];
    for (value, code) in row.iter_mut().zip(codes) {
        *value = i32::from(*code as i8);
    }
    for (first, n) in rotate::parts(codes.len()) {
        rotate::hadamard(&mut row[first..first + n], |a, b| a + b, |a, b| a - b);
        let scale = scale * rotate::norm(n);
        for channel in first..first + n {
            let value = row[channel] as f32 * scale;
            let value = f32::from_bits(value.to_bits() ^ rotate::SIGN_BITS[channel]);
            elements[channel] = number::write(dtype, value).to_le_bytes();
        }
    }
}

pub(super) fn encode(_: Isa, shape: &PlaneShape, input: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    let rows = input.chunks_exact(2 * shape.dim).zip(codes.chunks_exact_mut(shape.dim));
    for ((input, codes), scale) in rows.zip(scales.as_chunks_mut::<2>().0) {
        *scale = encode_row(shape.dtype, input, codes).to_le_bytes();
    }
}

pub(super) fn decode(_: Isa, shape: &PlaneShape, codes: &[u8], scales: &[u8], output: &mut [u8], _: bool) {
    let rows = codes
        .chunks_exact(shape.dim)
        .zip(output.chunks_exact_mut(2 * shape.dim));
    for ((codes, output), scale) in rows.zip(scales.as_chunks::<2>().0) {
        decode_row(shape.dtype, codes, u16::from_le_bytes(*scale), output);
    }
}
