//! `n4` in plain Rust: the definition.

use super::{
    BLOCK, BLOCK_MIN, FACTORS, LEVELS, LIFT, ROW_MAX, ROW_MIN, THRESHOLDS, TURNED_FACTOR, TURNED_WEIGHT, UNIT, WEIGHTS,
    reach, row_code, scale, stored,
};
use crate::codec::isa::Isa;
use crate::codec::{number, rotate};
use crate::geometry::{Dtype, PlaneShape};

/// Adding it rounds a number below 2^22 to an integer, ties to even, in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// The product of two integers over 2^15, rounded; as the instruction does it.
fn multiply(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16
}

/// The places of the levels of a set nearest to integers times `factor`, with the sum of squared errors.
fn assign(integers: &[i16], set: usize, factor: i16, places: &mut [u8; BLOCK]) -> u32 {
    let mut error = 0;
    for (place, integer) in places.iter_mut().zip(integers) {
        let value = multiply(*integer, factor).clamp(-128, 127);
        *place = THRESHOLDS[set].iter().filter(|twice| value > **twice >> 1).count() as u8;
        let difference = i32::from(value) - i32::from(LEVELS[set][usize::from(*place)]);
        error += (difference * difference) as u32;
    }
    error
}

/// Encodes one block of 16 or 32 rotated numbers and returns its scale.
fn encode_block(block: &[f32], lift: f32, codes: &mut [u8]) -> u16 {
    let high = block.iter().fold(f32::NEG_INFINITY, |high, value| value.max(high));
    let low = block.iter().fold(f32::INFINITY, |low, value| value.min(low));
    let (far, near, sign) = if high > -low {
        (high, -low, -1.0)
    } else {
        (-low, high, 1.0)
    };
    if far < BLOCK_MIN {
        codes.fill(0);
        return 0;
    }
    // The farthest number becomes -4095.
    let unit = UNIT / far * sign;
    let mut integers = [0; BLOCK];
    let integers = &mut integers[..block.len()];
    for (integer, value) in integers.iter_mut().zip(block) {
        *integer = ((value * unit + ROUND).to_bits() as i32 - ROUND.to_bits() as i32) as i16;
    }
    let reach = reach(far, near);
    let guesses = [
        ((reach * FACTORS[0] + 0.5) as i16, WEIGHTS[0]),
        ((reach * FACTORS[1] + 0.5) as i16, WEIGHTS[1]),
        ((reach * FACTORS[2] + 0.5) as i16, WEIGHTS[2]),
        (TURNED_FACTOR, reach * reach * TURNED_WEIGHT),
    ];
    let mut best = (f32::INFINITY, 0, [0; BLOCK]);
    for (factor, weight) in guesses {
        for set in 0..2 {
            let mut places = [0; BLOCK];
            let error = assign(integers, set, factor, &mut places) as f32 * weight;
            if error < best.0 {
                best = (error, set, places);
            }
        }
    }
    let (_, set, places) = best;
    let (mut product, mut square) = (0, 0);
    for (integer, place) in integers.iter().zip(places) {
        let level = i32::from(LEVELS[set][usize::from(place)]);
        product += i32::from(*integer) * level;
        square += level * level;
    }
    let half = block.len() / 2;
    for (at, code) in codes.iter_mut().enumerate() {
        *code = places[at] | places[at + half] << 4;
    }
    stored(super::fit(product, square, far) * sign * lift, set)
}

/// Encodes one vector.
pub(super) fn encode_row(dtype: Dtype, input: &[u8], codes: &mut [u8], scales: &mut [[u8; 2]]) {
    let mut row = [0.0; rotate::DIM_MAX];
    let row = &mut row[..input.len() / 2];
    number::read_row(dtype, input, row);
    let largest = row.iter().fold(0.0_f32, |largest, value| value.abs().max(largest));
    let (factor, lift) = if largest < ROW_MIN {
        (LIFT, 1.0 / LIFT)
    } else if largest > ROW_MAX {
        (1.0 / LIFT, LIFT)
    } else {
        (1.0, 1.0)
    };
    for value in row.iter_mut() {
        *value *= factor;
    }
    rotate::forward(Isa::Portable, row);
    let blocks = row.chunks(BLOCK).zip(codes.chunks_mut(BLOCK / 2));
    for ((block, codes), scale) in blocks.zip(scales) {
        *scale = encode_block(block, lift, codes).to_le_bytes();
    }
}

/// Decodes one vector.
fn decode_row(dtype: Dtype, codes: &[u8], scales: &[[u8; 2]], output: &mut [u8]) {
    let mut row = [0.0; rotate::DIM_MAX];
    let row = &mut row[..2 * codes.len()];
    let elements = output.as_chunks_mut::<2>().0;
    for (first, n) in rotate::parts(row.len()) {
        for block in (first..first + n).step_by(BLOCK) {
            let length = n.min(BLOCK);
            let stored = u16::from_le_bytes(scales[block / BLOCK]);
            let levels = &LEVELS[usize::from(stored & 1)];
            let mut integers = [0; BLOCK];
            for (at, code) in codes[block / 2..][..length / 2].iter().enumerate() {
                integers[at] = i16::from(levels[usize::from(code & 15)]);
                integers[at + length / 2] = i16::from(levels[usize::from(code >> 4)]);
            }
            rotate::hadamard_i16(Isa::Portable, &mut integers[..length]);
            let scale = scale(stored) * rotate::norm(n);
            for (value, integer) in row[block..].iter_mut().zip(&integers[..length]) {
                *value = f32::from(*integer) * scale;
            }
        }
        let part = &mut row[first..first + n];
        let mut distance = BLOCK;
        while distance < n {
            for pair in part.chunks_exact_mut(2 * distance) {
                let (low, high) = pair.split_at_mut(distance);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            distance *= 2;
        }
    }
    for (channel, value) in row.iter().enumerate() {
        let value = f32::from_bits(value.to_bits() ^ rotate::SIGN_BITS[channel]);
        elements[channel] = number::write(dtype, value).to_le_bytes();
    }
}

pub(super) fn encode(_: Isa, shape: &PlaneShape, input: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    let (row_codes, row_scales) = row_code(shape.dim);
    let rows = input.chunks_exact(2 * shape.dim).zip(codes.chunks_exact_mut(row_codes));
    for ((input, codes), scales) in rows.zip(scales.as_chunks_mut::<2>().0.chunks_exact_mut(row_scales)) {
        encode_row(shape.dtype, input, codes, scales);
    }
}

pub(super) fn decode(_: Isa, shape: &PlaneShape, codes: &[u8], scales: &[u8], output: &mut [u8], _: bool) {
    let (row_codes, row_scales) = row_code(shape.dim);
    let rows = codes
        .chunks_exact(row_codes)
        .zip(output.chunks_exact_mut(2 * shape.dim));
    for ((codes, output), scales) in rows.zip(scales.as_chunks::<2>().0.chunks_exact(row_scales)) {
        decode_row(shape.dtype, codes, scales, output);
    }
}
