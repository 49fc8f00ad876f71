//! The rotation in plain Rust: the definition.

use super::{SIGN_BITS, norm, parts};

/// The butterflies of one part whose length is a power of two.
pub(in crate::codec) fn hadamard<T: Copy>(part: &mut [T], sum: impl Fn(T, T) -> T, difference: impl Fn(T, T) -> T) {
    let mut distance = 1;
    while distance < part.len() {
        for block in part.chunks_exact_mut(2 * distance) {
            let (low, high) = block.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (sum(*a, *b), difference(*a, *b));
            }
        }
        distance *= 2;
    }
}

fn flip(part: &mut [f32], first: usize) {
    for (value, sign) in part.iter_mut().zip(&SIGN_BITS[first..]) {
        *value = f32::from_bits(value.to_bits() ^ sign);
    }
}

pub(super) fn forward(row: &mut [f32]) {
    for (first, n) in parts(row.len()) {
        let part = &mut row[first..first + n];
        flip(part, first);
        hadamard(part, |a, b| a + b, |a, b| a - b);
        for value in part {
            *value *= norm(n);
        }
    }
}

/// Undoes [`forward`]: decoders have steps of their own before the last butterflies, and are compared with this.
#[cfg(test)]
pub(in crate::codec) fn inverse(row: &mut [f32]) {
    for (first, n) in parts(row.len()) {
        let part = &mut row[first..first + n];
        hadamard(part, |a, b| a + b, |a, b| a - b);
        for value in part.iter_mut() {
            *value *= norm(n);
        }
        flip(part, first);
    }
}

pub(super) fn hadamard_i16(row: &mut [i16]) {
    for (first, n) in parts(row.len()) {
        hadamard(&mut row[first..first + n], i16::wrapping_add, i16::wrapping_sub);
    }
}

/// For machines without a faster version.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(super) mod dispatch {
    use super::super::Isa;

    pub(in super::super) fn forward(_: Isa, row: &mut [f32]) {
        super::forward(row);
    }

    pub(in super::super) fn hadamard_i16(_: Isa, row: &mut [i16]) {
        super::hadamard_i16(row);
    }
}
