//! The rotation against its definition as a matrix, and the fast versions against the portable one.

use super::*;
use crate::geometry::Dtype;
use proptest::prelude::*;
use std::vec::Vec;

const DIMS: [usize; 15] = [32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256];

/// Row `i`, column `j` of the rotation of `dim` channels, from the definition of Walsh-Hadamard matrices.
fn entry(dim: usize, i: usize, j: usize) -> f64 {
    let (mut first, mut rest) = (0, dim);
    while rest > 0 {
        let n = 1 << rest.ilog2();
        if (first..first + n).contains(&i) {
            if !(first..first + n).contains(&j) {
                return 0.0;
            }
            let odd = ((i - first) & (j - first)).count_ones() % 2 == 1;
            let sign = f64::from(SIGNS[j]) * if odd { -1.0 } else { 1.0 };
            return sign / (n as f64).sqrt();
        }
        first += n;
        rest -= n;
    }
    unreachable!("channel {i} is below {dim}")
}

fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next() + next() + next()).collect()
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn forward_is_the_matrix_and_inverse_its_transpose() {
    for dim in DIMS {
        let input = numbers(dim as u64, dim);
        for isa in Isa::all() {
            let (mut there, mut back) = (input.clone(), input.clone());
            forward(isa, &mut there);
            all::inverse(&mut back);
            for i in 0..dim {
                let sum: f64 = (0..dim).map(|j| entry(dim, i, j) * f64::from(input[j])).sum();
                assert!((sum - f64::from(there[i])).abs() < 1e-5, "{} {dim} {i}", isa.name());
                let sum: f64 = (0..dim).map(|j| entry(dim, j, i) * f64::from(input[j])).sum();
                assert!((sum - f64::from(back[i])).abs() < 1e-5, "{} {dim} {i}", isa.name());
            }
        }
    }
}

#[test]
fn parts_are_the_powers_of_two_from_the_largest() {
    for dim in DIMS {
        let parts: Vec<_> = parts(dim).collect();
        assert_eq!(parts.iter().map(|part| part.1).sum::<usize>(), dim);
        assert!(parts.is_sorted_by(|a, b| a.1 > b.1 && a.0 + a.1 == b.0), "{parts:?}");
        assert!(
            parts
                .iter()
                .all(|part| (norm(part.1) as f64).powi(-2).round() == part.1 as f64)
        );
    }
}

/// The pattern is part of the format of codes: these are its first and last bytes.
#[test]
fn signs_are_what_they_were() {
    let words = sign_words();
    assert_eq!(words[0], 7_191_089_600_892_374_487);
    assert_eq!(SIGN_BITS[0] >> 31, words[0] as u32 & 1);
    for channel in 0..DIM_MAX {
        assert_eq!(SIGNS[channel] < 0, words[channel / 64] >> (channel % 64) & 1 == 1);
        assert_eq!(SIGN_BITS[channel], ((SIGNS[channel] < 0) as u32) << 31);
    }
    let negative = SIGNS.iter().filter(|sign| **sign < 0).count();
    assert!((96..=160).contains(&negative), "{negative}");
}

#[test]
fn a_spike_is_spread_evenly() {
    for isa in Isa::all() {
        let mut row = [0.0_f32; 64];
        row[17] = -8.0;
        forward(isa, &mut row);
        assert!(row.iter().all(|value| value.abs() == 1.0));
        all::inverse(&mut row);
        assert_eq!(row.iter().filter(|value| **value != 0.0).count(), 1);
        assert_eq!(row[17], -8.0);
    }
}

#[test]
fn integers_of_8_bits_stay_exact() {
    for isa in Isa::all() {
        let mut row = [-127_i16; 256];
        hadamard_i16(isa, &mut row);
        assert_eq!(row[0], -127 * 256);
        assert!(row[1..].iter().all(|value| *value == 0));
    }
}

proptest! {
    #[test]
    fn every_version_gives_the_same_bits(
        dim in 2_usize..=16,
        seed in any::<u64>(),
        exponent in -40_i32..=40,
        elements in proptest::collection::vec(any::<u16>(), 256),
        bf16 in any::<bool>(),
    ) {
        let dim = dim * 16;
        let scale = 2.0_f32.powi(exponent);
        let gaussian: Vec<f32> = numbers(seed, dim).iter().map(|value| value * scale).collect();
        let dtype = if bf16 { Dtype::Bf16 } else { Dtype::F16 };
        // Finite, but of very different sizes, zeros of both signs among them; sums stay finite.
        let wild: Vec<f32> = elements[..dim]
            .iter()
            .map(|element| crate::codec::number::read(dtype, *element) * 2.0_f32.powi(-20))
            .collect();
        for row in [gaussian, wild] {
            let mut there = row.clone();
            all::forward(&mut there);
            for isa in Isa::all() {
                let mut fast = row.clone();
                forward(isa, &mut fast);
                prop_assert_eq!(bits(&fast), bits(&there), "{}", isa.name());
            }
        }
        let integers: Vec<i16> = elements[..dim].iter().map(|element| *element as i16).collect();
        let mut portable = integers.clone();
        all::hadamard_i16(&mut portable);
        for isa in Isa::all() {
            let mut fast = integers.clone();
            hadamard_i16(isa, &mut fast);
            prop_assert_eq!(&fast, &portable, "{}", isa.name());
        }
    }
}
