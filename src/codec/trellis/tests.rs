//! What the trellis codecs promise: against a search in exact numbers, a decoder by the book, and the portable version.

use super::*;
use crate::budget::{code_bytes_max, scratch_bytes};
use crate::codec::number;
use crate::config::CodecKind;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const KINDS: [(usize, CodecKind); 3] = [(4, CodecKind::T4), (3, CodecKind::T3), (2, CodecKind::T2)];

fn kind(bits: usize) -> CodecKind {
    KINDS.into_iter().find(|kind| kind.0 == bits).unwrap().1
}

fn settings(states_64: bool, mean: bool) -> Settings {
    Settings {
        states_64,
        mean,
        xc_millibits: 0,
    }
}

fn plane(dtype: Dtype, tokens: usize, heads: usize, dim: usize) -> PlaneShape {
    PlaneShape {
        dtype,
        tokens,
        heads,
        dim,
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let (a, b) = (uniform(self.next()), uniform(self.next()));
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    }
}

fn elements(dtype: Dtype, values: impl Iterator<Item = f32>) -> Vec<u8> {
    values
        .flat_map(|value| number::write(dtype, value).to_le_bytes())
        .collect()
}

fn normal(shape: &PlaneShape, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    elements(shape.dtype, (0..shape.elements()).map(|_| random.normal()))
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let mut row = vec![0.0; bytes.len() / 2];
    number::read_row(dtype, bytes, &mut row);
    row
}

fn encoded(isa: Isa, bits: usize, settings: &Settings, shape: &PlaneShape, input: &[u8]) -> Vec<u8> {
    let mut code = vec![0xA5; code_bytes_max(kind(bits), shape)];
    let mut memory = vec![0x5A; scratch_bytes(kind(bits), shape) + 64];
    let mut scratch = Scratch::new(&mut memory);
    let length = encode(isa, bits, settings, shape, input, &mut code, &mut scratch).unwrap();
    code.truncate(length);
    code
}

fn decoded(isa: Isa, bits: usize, settings: &Settings, shape: &PlaneShape, code: &[u8]) -> Result<Vec<u8>, Status> {
    let mut output = vec![0xFF; shape.bytes()];
    let mut memory = vec![0x5A; scratch_bytes(kind(bits), shape) + 64];
    let mut scratch = Scratch::new(&mut memory);
    decode(isa, bits, settings, shape, code, &mut output, &mut scratch)?;
    Ok(output)
}

fn all_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    bytes.chunks_exact(2).all(|element| {
        let bits = u16::from_le_bytes([element[0], element[1]]);
        match dtype {
            Dtype::Bf16 => half::bf16::from_bits(bits).is_finite(),
            _ => half::f16::from_bits(bits).is_finite(),
        }
    })
}

/// Relative squared error.
fn error(dtype: Dtype, input: &[u8], output: &[u8]) -> f64 {
    let (x, y) = (numbers(dtype, input), numbers(dtype, output));
    let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let errors: f64 = x
        .iter()
        .zip(&y)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum();
    errors / squares
}

/// Decodes one code by the book, in `f64`.
fn by_the_book(bits: usize, settings: &Settings, shape: &PlaneShape, code: &[u8]) -> Vec<f64> {
    let window_bits = if settings.states_64 { 6 } else { 8 };
    let levels = tables::levels(bits, window_bits);
    let (heads, dim) = (shape.heads, shape.dim);
    let mean_bytes = if settings.mean { 2 + dim / 2 } else { 0 };
    let gains_at = heads * (4 + mean_bytes);
    let paths = &code[gains_at + shape.rows()..];
    let bit = |at: usize| usize::from(paths[at / 8] >> (at % 8) & 1);
    let mut output = Vec::new();
    for row in 0..shape.rows() {
        let head = row % heads;
        let range = &code[4 * head..][..4];
        let low = f64::from(i16::from_le_bytes([range[0], range[1]])) / 128.0;
        let step = f64::from(u16::from_le_bytes([range[2], range[3]])) / 32768.0;
        let gain_code = f64::from(code[gains_at + row]);
        let gain = if gain_code == 0.0 {
            0.0
        } else {
            (low + (gain_code - 1.0) * step).exp2()
        };
        let first = row * (bits * dim + window_bits - bits);
        let window = |t: usize| {
            (0..window_bits)
                .map(|place| bit(first + t * bits + place) << place)
                .sum::<usize>()
        };
        let values: Vec<f64> = (0..dim).map(|t| gain * f64::from(levels[window(t)])).collect();
        for (start, n) in rotate::parts(dim) {
            for channel in 0..n {
                let sign = |other: usize| {
                    if (channel & other).count_ones().is_multiple_of(2) {
                        1.0
                    } else {
                        -1.0
                    }
                };
                let sum: f64 = (0..n).map(|other| sign(other) * values[start + other]).sum();
                let mut value = sum / (n as f64).sqrt() * f64::from(rotate::SIGNS[start + channel]);
                if settings.mean {
                    let means = &code[4 * heads + head * mean_bytes..][..mean_bytes];
                    let scale = f64::from(f32::from_bits(
                        u32::from(u16::from_le_bytes([means[0], means[1]])) << 16,
                    ));
                    let at = start + channel;
                    let nibble = means[2 + at / 2] >> (4 * (at % 2)) & 0xF;
                    value += f64::from((nibble << 4) as i8 >> 4) * scale;
                }
                output.push(value);
            }
        }
    }
    output
}

#[test]
fn decoding_is_what_the_format_says() {
    for (bits, _) in KINDS {
        for settings in [settings(false, false), settings(true, false), settings(false, true)] {
            for dim in [32, 80, 112, 128, 240] {
                let shape = plane(Dtype::F16, 3, 2, dim);
                let code = encoded(Isa::Portable, bits, &settings, &shape, &normal(&shape, dim as u64));
                let output = decoded(Isa::Portable, bits, &settings, &shape, &code).unwrap();
                for (value, expected) in numbers(shape.dtype, &output)
                    .iter()
                    .zip(by_the_book(bits, &settings, &shape, &code))
                {
                    assert!(
                        (f64::from(*value) - expected).abs() < 0.002 * (1.0 + expected.abs()),
                        "{value} {expected}"
                    );
                }
            }
        }
    }
}

/// The least squared error of any path, by dynamic programming in `f64` with windows as states.
fn least_error(bits: usize, window_bits: usize, x: &[f64]) -> f64 {
    let levels = tables::levels(bits, window_bits);
    let cost = |x: f64, window: usize| (x - f64::from(levels[window])).powi(2);
    let mut costs: Vec<f64> = (0..levels.len()).map(|window| cost(x[0], window)).collect();
    for x in &x[1..] {
        let mut next = vec![f64::INFINITY; levels.len()];
        for (window, before) in costs.iter().enumerate() {
            for new in 0..1 << bits {
                let following = window >> bits | new << (window_bits - bits);
                next[following] = next[following].min(before + cost(*x, following));
            }
        }
        costs = next;
    }
    costs.into_iter().fold(f64::INFINITY, f64::min)
}

#[test]
fn the_search_finds_nearly_the_best_path() {
    for (bits, _) in KINDS {
        for states_64 in [false, true] {
            let settings = settings(states_64, false);
            let shape = plane(Dtype::Bf16, 4, 1, 64);
            let format = Format::new(bits, &settings, &shape);
            let mut random = Random(11);
            let (mut found, mut best) = (0.0, 0.0);
            for _ in 0..20 {
                let mut batch = all::Batch::EMPTY;
                let mut target: [f64; 64] = std::array::from_fn(|_| f64::from(random.normal()) * 320.0);
                for (x, target) in batch.x[0].iter_mut().zip(&mut target) {
                    *x = (*target / 8.0 + 128.5).clamp(0.0, 255.0) as u8;
                    *target = (f64::from(*x) - 128.0) * 8.0;
                }
                let mut choices = vec![0; 64 * CHOICES_BYTES];
                all::search_any(&format, &mut batch, &mut choices);
                let levels = tables::levels(bits, format.window);
                let path = &batch.path[0][..64];
                for pair in path.windows(2) {
                    let common = (1 << (format.window - bits)) - 1;
                    assert_eq!(pair[0] >> bits, pair[1] & common, "windows overlap");
                }
                let error = |(x, window): (&f64, &u8)| (x - f64::from(levels[usize::from(*window)])).powi(2);
                found += target.iter().zip(path).map(error).sum::<f64>();
                best += least_error(bits, format.window, &target);
            }
            assert!(
                found >= best * 0.999_999,
                "{bits} {states_64}: {found} is better than the best, {best}"
            );
            assert!(found <= best * 1.02, "{bits} {states_64}: {found} against {best}");
        }
    }
}

#[test]
fn errors_of_normal_vectors_are_as_documented() {
    let expected = [(4, 0.005_5, 0.006_45), (3, 0.0198, 0.0224), (2, 0.0740, 0.0805)];
    for (bits, most_256, most_64) in expected {
        for dim in [64, 128] {
            let shape = plane(Dtype::F16, 96, 2, dim);
            let input = normal(&shape, 5);
            for (states_64, most) in [(false, most_256), (true, most_64)] {
                let settings = settings(states_64, false);
                let code = encoded(Isa::detect(), bits, &settings, &shape, &input);
                let output = decoded(Isa::detect(), bits, &settings, &shape, &code).unwrap();
                let error = error(shape.dtype, &input, &output);
                assert!(error < most, "{bits} bits, {dim} channels, {states_64}: {error}");
                assert!(
                    error > most * 0.9,
                    "{bits} bits, {dim} channels, {states_64}: {error}, tell the documents"
                );
            }
        }
    }
}

#[test]
fn lengths_are_within_the_bits_that_are_promised_and_the_budget() {
    let shape = plane(Dtype::F16, 512, 2, 64);
    for (bits, promised) in [(4, 4.20), (3, 3.21), (2, 2.23)] {
        for (states_64, mean) in [(false, false), (true, false), (false, true)] {
            let settings = settings(states_64, mean);
            let length = Format::new(bits, &settings, &shape).code_bytes();
            assert!(length <= code_bytes_max(kind(bits), &shape));
            let with_mean = if mean { 0.01 } else { 0.0 };
            assert!(
                8.0 * length as f64 / shape.elements() as f64 <= promised + with_mean,
                "{bits} {length}"
            );
        }
        let most = Format::new(bits, &settings(false, true), &shape).code_bytes();
        assert_eq!(most, code_bytes_max(kind(bits), &shape));
    }
}

#[test]
fn means_that_all_tokens_share_are_taken_off() {
    let shape = plane(Dtype::F16, 64, 2, 64);
    let mut random = Random(3);
    let offset: Vec<f32> = (0..128).map(|_| 3.0 * random.normal()).collect();
    let input = elements(
        shape.dtype,
        (0..shape.elements()).map(|at| offset[at % 128] + random.normal()),
    );
    let error = |mean| {
        let settings = settings(false, mean);
        let code = encoded(Isa::detect(), 2, &settings, &shape, &input);
        error(
            shape.dtype,
            &input,
            &decoded(Isa::detect(), 2, &settings, &shape, &code).unwrap(),
        )
    };
    assert!(error(true) < 0.2 * error(false), "{} {}", error(true), error(false));
}

/// Input of one kind of trouble or another, by number.
fn troubled(shape: &PlaneShape, trouble: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut input = normal(shape, seed);
    let special: &[u16] = match shape.dtype {
        Dtype::Bf16 => &[
            0x7F80, 0xFF80, 0x7FC1, 0x0001, 0x8003, 0x7F7F, 0xFF7F, 0x0080, 0, 0x8000,
        ],
        _ => &[
            0x7C00, 0xFC00, 0x7E01, 0x0001, 0x8003, 0x7BFF, 0xFBFF, 0x0400, 0, 0x8000,
        ],
    };
    let pick = |random: &mut Random| special[(random.next() % special.len() as u64) as usize].to_le_bytes();
    match trouble {
        // Any bits at all.
        0 => input.iter_mut().for_each(|byte| *byte = random.next() as u8),
        // A few special elements.
        1 => {
            for _ in 0..shape.rows() {
                let at = (random.next() % shape.elements() as u64) as usize * 2;
                input[at..at + 2].copy_from_slice(&pick(&mut random));
            }
        }
        // Nothing but one special element.
        2 => {
            let element = pick(&mut random);
            input
                .chunks_exact_mut(2)
                .for_each(|bytes| bytes.copy_from_slice(&element));
        }
        // One channel of each row, all others zero.
        3 => {
            input.fill(0);
            for row in input.chunks_exact_mut(2 * shape.dim) {
                let at = (random.next() % shape.dim as u64) as usize * 2;
                row[at..at + 2].copy_from_slice(&number::write(shape.dtype, random.normal()).to_le_bytes());
            }
        }
        // What the rotation turns into a single channel.
        4 => {
            let mut row = vec![0.0; shape.dim];
            row[0] = 1.0;
            rotate::inverse(&mut row);
            let row = elements(shape.dtype, row.into_iter());
            input
                .chunks_exact_mut(row.len())
                .for_each(|bytes| bytes.copy_from_slice(&row));
        }
        _ => {}
    }
    input
}

fn shapes() -> impl Strategy<Value = PlaneShape> {
    (any::<bool>(), 1_usize..8, 1_usize..4, 2_usize..=16).prop_map(|(bf16, tokens, heads, sixteens)| {
        plane(
            if bf16 { Dtype::Bf16 } else { Dtype::F16 },
            tokens,
            heads,
            16 * sixteens,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 160 }))]

    #[test]
    fn all_versions_give_the_same_finite_result(
        shape in shapes(),
        bits in 2_usize..=4,
        states_64: bool,
        mean: bool,
        trouble in 0_u64..6,
        seed: u64,
    ) {
        let settings = settings(states_64, mean);
        let input = troubled(&shape, trouble, seed);
        let code = encoded(Isa::Portable, bits, &settings, &shape, &input);
        let output = decoded(Isa::Portable, bits, &settings, &shape, &code).unwrap();
        prop_assert!(all_finite(shape.dtype, &output));
        for isa in Isa::all() {
            prop_assert_eq!(&encoded(isa, bits, &settings, &shape, &input), &code, "{}", isa.name());
            prop_assert_eq!(&decoded(isa, bits, &settings, &shape, &code).unwrap(), &output, "{}", isa.name());
        }
    }

    #[test]
    fn codes_of_any_bytes_decode_to_finite_numbers_everywhere_alike(
        shape in shapes(),
        bits in 2_usize..=4,
        states_64: bool,
        mean: bool,
        seed: u64,
    ) {
        let settings = settings(states_64, mean);
        let mut random = Random(seed);
        let length = Format::new(bits, &settings, &shape).code_bytes();
        let code: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let output = decoded(Isa::Portable, bits, &settings, &shape, &code).unwrap();
        prop_assert!(all_finite(shape.dtype, &output));
        for isa in Isa::all() {
            prop_assert_eq!(&decoded(isa, bits, &settings, &shape, &code).unwrap(), &output, "{}", isa.name());
            let shorter = decoded(isa, bits, &settings, &shape, &code[..length - 1]);
            prop_assert_eq!(shorter, Err(Status::Damaged));
        }
        let mut longer = code;
        longer.push(0);
        prop_assert_eq!(decoded(Isa::Portable, bits, &settings, &shape, &longer), Err(Status::Damaged));
    }

    #[test]
    fn vectors_keep_their_length_at_any_magnitude(
        bf16: bool,
        bits in 2_usize..=4,
        octave in -14_i32..14,
        seed: u64,
    ) {
        // Elements stay normal numbers: those of bf16 go much further.
        let octave = if bf16 { 7 * octave } else { octave.min(11) };
        let shape = plane(if bf16 { Dtype::Bf16 } else { Dtype::F16 }, 5, 1, 128);
        let mut random = Random(seed);
        let scale = (octave as f32).exp2();
        let input = elements(shape.dtype, (0..shape.elements()).map(|_| scale * random.normal()));
        let settings = settings(false, false);
        let code = encoded(Isa::detect(), bits, &settings, &shape, &input);
        let output = decoded(Isa::detect(), bits, &settings, &shape, &code).unwrap();
        for (x, y) in input.chunks_exact(256).zip(output.chunks_exact(256)) {
            let square = |x: f32| f64::from(x) * f64::from(x);
            let norm = |bytes: &[u8]| numbers(shape.dtype, bytes).into_iter().map(square).sum::<f64>().sqrt();
            let ratio = norm(y) / norm(x);
            prop_assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
        }
    }
}

#[test]
fn zeros_stay_zeros_beside_other_vectors() {
    for isa in Isa::all() {
        let shape = plane(Dtype::F16, 7, 3, 64);
        let mut input = normal(&shape, 9);
        let zeros = [0, 4, 5, 20];
        for row in zeros {
            input[row * 128..][..128].fill(0);
        }
        let settings = settings(false, false);
        let code = encoded(isa, 3, &settings, &shape, &input);
        let output = decoded(isa, 3, &settings, &shape, &code).unwrap();
        for (row, values) in numbers(shape.dtype, &output).chunks(64).enumerate() {
            assert_eq!(values.iter().all(|value| *value == 0.0), zeros.contains(&row), "{row}");
        }
    }
}

#[test]
fn scratch_that_is_too_small_is_refused() {
    let shape = plane(Dtype::F16, 2, 1, 64);
    let mut memory = [0; 512];
    let mut code = vec![0; code_bytes_max(CodecKind::T4, &shape)];
    let input = normal(&shape, 1);
    let settings = settings(false, false);
    let result = encode(
        Isa::Portable,
        4,
        &settings,
        &shape,
        &input,
        &mut code,
        &mut Scratch::new(&mut memory),
    );
    assert_eq!(result, Err(Status::TooSmall));
}
