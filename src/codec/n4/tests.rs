//! `n4` against a full search in `f64`, the fast versions against the portable one, and nasty input.

use super::*;
use crate::budget::{code_bytes_max, scratch_bytes};
use crate::codec::{Scratch, number, rotate};
use crate::config::CodecKind;
use crate::geometry::Dtype;
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
    let mut code = vec![0xA5; code_bytes_max(CodecKind::N4, shape)];
    let mut memory = vec![0; scratch_bytes(CodecKind::N4, shape)];
    let length = encode(isa, shape, input, &mut code, &mut Scratch::new(&mut memory));
    assert_eq!(length, Ok(code.len()));
    code
}

fn decoded(isa: Isa, shape: &PlaneShape, code: &[u8]) -> Vec<u8> {
    let mut output = vec![0xA5; shape.bytes()];
    let mut memory = vec![0; scratch_bytes(CodecKind::N4, shape)];
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

/// The sum of four uniform numbers, about a normal one of variance 1.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count)
        .map(|_| (uniform() + uniform() + uniform() + uniform()) * 0.866)
        .collect()
}

fn squared(a: &[f32], b: &[f32]) -> (f64, f64) {
    let difference = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    (difference, a.iter().map(|a| f64::from(*a).powi(2)).sum())
}

/// The least squared error of a block with 16 levels and a scale, by trying many scales and both sets and signs.
fn searched(block: &[f32]) -> f64 {
    let far = block.iter().fold(0.0_f64, |far, value| far.max(f64::from(value.abs())));
    let mut best = f64::INFINITY;
    for levels in &LEVELS {
        for step in 0..240 {
            let scale = far / 127.0 * (0.7 + f64::from(step / 2) * 0.006) * if step % 2 == 0 { 1.0 } else { -1.0 };
            let error = block.iter().map(|value| {
                let distances = levels
                    .iter()
                    .map(|level| (f64::from(*level) * scale - f64::from(*value)).powi(2));
                distances.fold(f64::INFINITY, f64::min)
            });
            best = best.min(error.sum());
        }
    }
    best
}

#[test]
fn errors_come_close_to_those_of_a_full_search() {
    for dim in [64, 80, 96] {
        let shape = PlaneShape {
            dtype: Dtype::F16,
            tokens: 40,
            heads: 1,
            dim,
        };
        let input = elements(Dtype::F16, &normal(shape.elements(), 3));
        let (_, output) = round(&shape, &input);
        let values = numbers(Dtype::F16, &input);
        let (error, power) = squared(&values, &numbers(Dtype::F16, &output));
        let mut least = 0.0;
        for row in values.chunks(dim) {
            let mut rotated = row.to_vec();
            rotate::forward(Isa::Portable, &mut rotated);
            least += rotated.chunks(BLOCK).map(searched).sum::<f64>();
        }
        assert!(error < 1.06 * least, "{dim}: {error} {least}");
        assert!(error / power < 0.0055, "{dim}: {}", error / power);
    }
}

/// A code that is written by hand, decoded with matrices in `f64`.
#[test]
fn codes_mean_what_the_format_says() {
    for dim in [32, 48, 64, 112, 256] {
        let shape = PlaneShape {
            dtype: Dtype::F16,
            tokens: 1,
            heads: 1,
            dim,
        };
        let scales_count = dim.div_ceil(32);
        let mut code: Vec<u8> = (0..dim / 2).map(|at| (at * 89 + 7) as u8).collect();
        let scales: Vec<u16> = (0..scales_count)
            .map(|at| (0x3C81 + 37 * at as u16) ^ if at % 3 == 1 { 0x8000 } else { 0 })
            .collect();
        code.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
        let mut rotated = vec![0.0; dim];
        for channel in 0..dim {
            let (block, length) = (channel / 32, (dim - channel / 32 * 32).min(32));
            let byte = code[block * 16 + channel % 32 % (length / 2)];
            let place = if channel % 32 < length / 2 {
                byte & 15
            } else {
                byte >> 4
            };
            let scale = f32::from_bits(u32::from(scales[block] & 0xFFFE) << 16);
            rotated[channel] = f64::from(LEVELS[usize::from(scales[block] & 1)][usize::from(place)]) * f64::from(scale);
        }
        let output = decoded(Isa::Portable, &shape, &code);
        for isa in Isa::all() {
            assert_eq!(decoded(isa, &shape, &code), output, "{}", isa.name());
        }
        let output = numbers(Dtype::F16, &output);
        for (first, n) in rotate::parts(dim) {
            for i in 0..n {
                let terms = (0..n).map(|j| rotated[first + j] * if (i & j).count_ones() % 2 == 1 { -1.0 } else { 1.0 });
                let exact = terms.sum::<f64>() / (n as f64).sqrt() * f64::from(rotate::SIGNS[first + i]);
                let value = f64::from(output[first + i]);
                assert!(
                    (exact - value).abs() <= exact.abs() / 2048.0 + 1e-5,
                    "{dim} {first} {i}: {exact} {value}"
                );
            }
        }
    }
}

#[test]
fn scales_are_stored_to_a_hundredth_with_their_set_and_sign() {
    for exponent in -125..120 {
        for (mantissa, set) in [(1.0, 0), (1.3, 1), (1.9999, 0), (-1.7, 1)] {
            let exact = mantissa * 2.0_f32.powi(exponent);
            let bits = stored(exact, set);
            assert_eq!(usize::from(bits & 1), set);
            assert!((scale(bits) / exact - 1.0).abs() < 0.0079, "{exact}");
        }
    }
    assert_eq!(scale(0), 0.0);
    assert!((0..=u16::MAX).all(|bits| scale(bits).is_finite()));
    assert!(scale(stored(f32::INFINITY, 1)) > 3e38);
    assert_eq!(scale(stored(1e-45, 0)), f32::MIN_POSITIVE);
}

#[test]
fn thresholds_lie_between_levels() {
    for (set, levels) in LEVELS.iter().enumerate() {
        for at in 0..15 {
            assert!(levels[at] < levels[at + 1]);
            let twice = THRESHOLDS[set][at];
            assert!(i16::from(levels[at]) * 2 < twice && twice < i16::from(levels[at + 1]) * 2);
            // The fast version finds thresholds in steps of at least 2.
            assert!(at == 0 || twice - THRESHOLDS[set][at - 1] >= 4);
        }
    }
}

#[test]
fn nasty_vectors_give_finite_numbers_close_to_them() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let max = number::max(dtype);
        for dim in [32, 48, 80, 128, 256] {
            let shape = PlaneShape {
                dtype,
                tokens: 1,
                heads: 1,
                dim,
            };
            let zeros = vec![0; shape.bytes()];
            let (code, output) = round(&shape, &zeros);
            assert!(code.iter().all(|byte| *byte == 0));
            assert!(numbers(dtype, &output).iter().all(|value| *value == 0.0));
            let mut spike = vec![0.0; dim];
            spike[dim / 2] = max;
            let tiny = normal(dim, 5).iter().map(|value| value * 1e-30).collect();
            let large = normal(dim, 5).iter().map(|value| value * 1e-2 * max).collect();
            for values in [vec![max; dim], vec![-max; dim], spike, tiny, large, vec![0.125; dim]] {
                let input = elements(dtype, &values);
                let (_, output) = round(&shape, &input);
                let (input, output) = (numbers(dtype, &input), numbers(dtype, &output));
                let scaled = |values: &[f32]| values.iter().map(|value| value / max * 1e6).collect::<Vec<_>>();
                let (error, power) = if values[0].abs() > 1.0 || values[dim / 2].abs() > 1.0 {
                    squared(&scaled(&input), &scaled(&output))
                } else {
                    squared(&input, &output)
                };
                assert!(error <= 0.02 * power, "{} {dim} {error} {power}", dtype.name());
            }
            // Numbers of the least size there is: what comes back is no larger than a few units.
            let smallest = number::read(dtype, 1);
            let values: Vec<f32> = (0..dim).map(|at| smallest * (at % 5) as f32).collect();
            let (_, output) = round(&shape, &elements(dtype, &values));
            let bound = if dtype == Dtype::F16 {
                8.0 * smallest
            } else {
                128.0 * f32::MIN_POSITIVE
            };
            assert!(numbers(dtype, &output).iter().all(|value| value.abs() <= bound));
        }
        let shape = PlaneShape {
            dtype,
            tokens: 1,
            heads: 1,
            dim: 32,
        };
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
    assert_eq!(code.len(), 6 * (24 + 4));
    let mut output = vec![0; shape.bytes()];
    let longer: Vec<u8> = code.iter().copied().chain([0]).collect();
    for code in [&code[..0], &code[1..], &longer] {
        let result = decode(Isa::Portable, &shape, code, &mut output, &mut Scratch::new(&mut []));
        assert_eq!(result, Err(Status::Damaged));
    }
    let mut short = vec![0; code.len() - 1];
    let result = encode(Isa::Portable, &shape, &output, &mut short, &mut Scratch::new(&mut []));
    assert_eq!(result, Err(Status::TooSmall));
}

#[test]
fn a_head_of_64_takes_4_bits_and_a_half() {
    let shape = PlaneShape {
        dtype: Dtype::F16,
        tokens: 512,
        heads: 2,
        dim: 64,
    };
    assert_eq!(code_bytes_max(CodecKind::N4, &shape) * 16, shape.elements() * 9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn versions_agree_on_ordinary_planes(
        dim in 2_usize..=16, tokens in 1_usize..4, heads in 1_usize..4, bf16 in any::<bool>(),
        exponent in -30_i32..=12, seed in any::<u64>(),
    ) {
        let dtype = if bf16 { Dtype::Bf16 } else { Dtype::F16 };
        let shape = PlaneShape { dtype, tokens, heads, dim: 16 * dim };
        let values: Vec<f32> =
            normal(shape.elements(), seed).iter().map(|value| value * 2.0_f32.powi(exponent)).collect();
        let input = elements(dtype, &values);
        let (_, output) = round(&shape, &input);
        let (error, power) = squared(&numbers(dtype, &input), &numbers(dtype, &output));
        if exponent > -12 || bf16 {
            prop_assert!(error < 0.012 * power, "{}", error / power);
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
        let code = &bytes[..code_bytes_max(CodecKind::N4, &shape)];
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
