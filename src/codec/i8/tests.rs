//! `i8` against a naive version in `f64`, the fast versions against the portable one, and nasty input.

use super::*;
use crate::budget::{code_bytes_max, scratch_bytes};
use crate::codec::Scratch;
use crate::config::CodecKind;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

fn elements(dtype: Dtype, numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|value| number::write(dtype, *value).to_le_bytes())
        .collect()
}

fn numbers(dtype: Dtype, elements: &[u8]) -> Vec<f32> {
    let mut numbers = vec![0.0; elements.len() / 2];
    number::read_row(dtype, elements, &mut numbers);
    numbers
}

fn encoded(isa: Isa, shape: &PlaneShape, input: &[u8]) -> Vec<u8> {
    let mut code = vec![0xA5; code_bytes_max(CodecKind::I8, shape)];
    let mut memory = vec![0; scratch_bytes(CodecKind::I8, shape)];
    let length = encode(isa, shape, input, &mut code, &mut Scratch::new(&mut memory));
    assert_eq!(length, Ok(code.len()));
    code
}

fn decoded(isa: Isa, shape: &PlaneShape, code: &[u8]) -> Vec<u8> {
    let mut output = vec![0xA5; shape.bytes()];
    let mut memory = vec![0; scratch_bytes(CodecKind::I8, shape)];
    decode(isa, shape, code, &mut output, &mut Scratch::new(&mut memory)).unwrap();
    let is_finite = |element: &[u8; 2]| {
        let bits = u16::from_le_bytes(*element);
        bits == number::write(shape.dtype, number::read(shape.dtype, bits))
    };
    assert!(output.as_chunks::<2>().0.iter().all(is_finite));
    output
}

/// Encodes and decodes with every version, which must agree.
fn round(shape: &PlaneShape, input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let code = encoded(Isa::Portable, shape, input);
    let output = decoded(Isa::Portable, shape, &code);
    for isa in Isa::all() {
        assert_eq!(encoded(isa, shape, input), code, "{} {shape:?}", isa.name());
        assert_eq!(decoded(isa, shape, &code), output, "{} {shape:?}", isa.name());
    }
    (code, output)
}

fn row(dtype: Dtype, dim: usize) -> PlaneShape {
    PlaneShape {
        dtype,
        tokens: 1,
        heads: 1,
        dim,
    }
}

/// The largest error of a row, and its scale and whether it is rotated.
fn error(dtype: Dtype, values: &[f32]) -> (f64, f32, bool) {
    let shape = row(dtype, values.len());
    let input = elements(dtype, values);
    let (code, output) = round(&shape, &input);
    let bits = u16::from_le_bytes([code[values.len()], code[values.len() + 1]]);
    let pairs = numbers(dtype, &input).into_iter().zip(numbers(dtype, &output));
    let error = pairs
        .map(|(a, b)| (f64::from(a) - f64::from(b)).abs())
        .fold(0.0, f64::max);
    (error, scale(dtype, bits), bits & ROTATED != 0)
}

#[test]
fn plain_vectors_are_the_nearest_integers_of_a_scale() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        // One magnitude everywhere: no rotation can make it smaller.
        let values: Vec<f32> = (0..64).map(|at| if at % 3 == 0 { 2.54 } else { -2.54 }).collect();
        let (_, scale, is_rotated) = error(dtype, &values);
        assert!(!is_rotated);
        assert!((scale - 0.02).abs() < 0.0002);
        let shape = row(dtype, 64);
        let code = encoded(Isa::Portable, &shape, &elements(dtype, &values));
        for (code, value) in code.iter().zip(values) {
            assert_eq!(*code as i8, if value > 0.0 { 127 } else { -127 });
        }
    }
}

#[test]
fn outliers_are_rotated_away() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let mut values: Vec<f32> = (0..128).map(|at| ((at * 37 % 64) as f32 - 31.5) / 64.0).collect();
        values[5] = 40.0;
        values[77] = -30.0;
        let (_, scale, is_rotated) = error(dtype, &values);
        assert!(is_rotated);
        // 70 / sqrt(128) is 6.2, and the rest of the vector is small.
        assert!(scale < 8.0 / 127.0, "{scale}");
    }
}

/// The codes are those of a matrix in `f64`, but for numbers that lie half-way between two integers.
#[test]
fn rotated_vectors_are_the_integers_of_the_matrix() {
    for dim in [32, 48, 80, 96, 128, 240, 256] {
        let shape = row(Dtype::F16, dim);
        let values: Vec<f32> = (0..dim)
            .map(|at| ((at * at * 31 + at * 7) % 101) as f32 / 50.0 - 1.0 + if at == 3 { 9.0 } else { 0.0 })
            .collect();
        let input = elements(Dtype::F16, &values);
        let values = numbers(Dtype::F16, &input);
        let code = encoded(Isa::Portable, &shape, &input);
        let bits = u16::from_le_bytes([code[dim], code[dim + 1]]);
        assert_ne!(bits & ROTATED, 0);
        let scale = f64::from(scale(Dtype::F16, bits));
        for (first, n) in crate::codec::rotate::parts(dim) {
            for i in 0..n {
                let sum: f64 = (0..n)
                    .map(|j| {
                        let odd = (i & j).count_ones() % 2 == 1;
                        let sign = f64::from(crate::codec::rotate::SIGNS[first + j]);
                        f64::from(values[first + j]) * if odd { -sign } else { sign }
                    })
                    .sum();
                let exact = sum / (n as f64).sqrt() / scale;
                let integer = f64::from(code[first + i] as i8);
                assert!(
                    (exact - integer).abs() < 0.5 + 1e-3,
                    "{dim} {first} {i}: {exact} {integer}"
                );
            }
        }
    }
}

#[test]
fn nasty_vectors_give_finite_numbers_close_to_them() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let max = number::max(dtype);
        for dim in [32, 48, 128, 256] {
            assert_eq!(error(dtype, &vec![0.0; dim]).0, 0.0);
            let mut spike = vec![0.0; dim];
            spike[dim / 2] = max;
            for values in [vec![max; dim], vec![-max; dim], spike] {
                let (error, scale, _) = error(dtype, &values);
                // At most half a step at each channel, in the worst case all of one sign; and the rounding of elements.
                let bound = 8.5 * f64::from(scale) + f64::from(max) / 256.0;
                assert!(error <= bound, "{} {dim} {error} {bound}", dtype.name());
            }
            // Numbers about as small as there are: never further off than a hundredth of the largest or one unit.
            let smallest = number::read(dtype, 1);
            for factor in [1.0, 2.0, 100.0, 191.0, 5000.0, 1e6] {
                let values: Vec<f32> = (0..dim)
                    .map(|at| smallest * factor * (at as f32 / dim as f32 - 0.5))
                    .collect();
                let (error, ..) = error(dtype, &values);
                let bound = f64::from(smallest) * (0.5_f64 * f64::from(factor) / 100.0).max(1.0);
                assert!(error <= bound, "{} {dim} {factor} {error} {bound}", dtype.name());
            }
        }
        // What is not finite counts as 0 and as the largest numbers.
        let shape = row(dtype, 32);
        let (nan, infinity) = if dtype == Dtype::Bf16 {
            (0x7FC1, 0xFF80)
        } else {
            (0x7E01, 0xFC00)
        };
        let mut bits = [0_u16; 32];
        (bits[1], bits[2]) = (nan, infinity);
        let input: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let mut clean = vec![0.0; 32];
        clean[2] = -max;
        assert_eq!(round(&shape, &input), round(&shape, &elements(dtype, &clean)));
    }
}

#[test]
fn codes_of_a_wrong_length_are_refused() {
    let shape = PlaneShape {
        dtype: Dtype::F16,
        tokens: 3,
        heads: 2,
        dim: 48,
    };
    let code = encoded(Isa::Portable, &shape, &vec![0; shape.bytes()]);
    assert_eq!(code.len(), 6 * 50);
    let mut output = vec![0; shape.bytes()];
    let longer: Vec<u8> = code.iter().copied().chain([0]).collect();
    for code in [&code[..0], &code[1..], &longer] {
        let result = decode(Isa::Portable, &shape, code, &mut output, &mut Scratch::new(&mut []));
        assert_eq!(result, Err(Status::Damaged));
    }
    let mut short = vec![0; 6 * 50 - 1];
    let result = encode(Isa::Portable, &shape, &output, &mut short, &mut Scratch::new(&mut []));
    assert_eq!(result, Err(Status::TooSmall));
}

#[test]
fn a_head_of_64_takes_8_bits_and_a_quarter() {
    let shape = PlaneShape {
        dtype: Dtype::F16,
        tokens: 512,
        heads: 2,
        dim: 64,
    };
    assert_eq!(code_bytes_max(CodecKind::I8, &shape) * 32, shape.elements() * 33);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn versions_agree_on_ordinary_planes(
        dim in 2_usize..=16, tokens in 1_usize..4, heads in 1_usize..4, bf16 in any::<bool>(),
        exponent in -30_i32..=16, seed in any::<u32>(), outlier in 0_usize..256,
    ) {
        let dtype = if bf16 { Dtype::Bf16 } else { Dtype::F16 };
        let shape = PlaneShape { dtype, tokens, heads, dim: 16 * dim };
        let mut state = seed | 1;
        let values: Vec<f32> = (0..shape.elements()).map(|at| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            value * 2.0_f32.powi(exponent) * if at % 256 == outlier { 30.0 } else { 1.0 }
        }).collect();
        let input = elements(dtype, &values);
        let (_, output) = round(&shape, &input);
        let (mut error, mut power) = (0.0, 1e-300);
        for (a, b) in numbers(dtype, &input).into_iter().zip(numbers(dtype, &output)) {
            error += (f64::from(a) - f64::from(b)).powi(2);
            power += f64::from(a).powi(2);
        }
        // Below 2^-8 numbers of f16 have few bits of their own.
        if exponent > -8 || bf16 {
            prop_assert!((error / power).sqrt() < 0.03, "{}", (error / power).sqrt());
        }
    }

    #[test]
    fn versions_agree_on_any_elements_and_any_codes(
        dim in 2_usize..=16, rows in 1_usize..4, bf16 in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 3 * 256 * 2),
    ) {
        let dtype = if bf16 { Dtype::Bf16 } else { Dtype::F16 };
        let shape = PlaneShape { dtype, tokens: rows, heads: 1, dim: 16 * dim };
        round(&shape, &bytes[..shape.bytes()]);
        let code = &bytes[..code_bytes_max(CodecKind::I8, &shape)];
        let output = decoded(Isa::Portable, &shape, code);
        for isa in Isa::all() {
            prop_assert_eq!(&decoded(isa, &shape, code), &output, "{}", isa.name());
        }
    }
}

#[test]
fn what_is_stored_around_the_cache_is_the_same() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        for (tokens, dim) in [(1, 32), (5, 80), (3, 112), (7, 128), (2, 256)] {
            let shape = PlaneShape {
                dtype,
                tokens,
                heads: 3,
                dim,
            };
            let element = |at: usize| number::write(dtype, (at % 31) as f32 - 15.0).to_le_bytes();
            let input: Vec<u8> = (0..shape.elements()).flat_map(element).collect();
            for isa in Isa::all() {
                let code = encoded(isa, &shape, &input);
                let expected = decoded(isa, &shape, &code);
                // Once where it can be stored around the cache, and once where it can't.
                for skip in [0, 2] {
                    let mut memory = vec![0; shape.bytes() + 66];
                    let from = memory.as_ptr().align_offset(64) + skip;
                    let mut scratch = Scratch::new(&mut []);
                    scratch.stream(true);
                    let output = &mut memory[from..from + shape.bytes()];
                    assert_eq!(decode(isa, &shape, &code, output, &mut scratch), Ok(()));
                    assert_eq!(output, expected);
                }
            }
        }
    }
}
