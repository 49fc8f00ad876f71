//! Whole planes: what comes back, in how many bytes, the same on every instruction set, and never a panic.

use super::kernel::{self, Job, Kernel};
use super::section::{LADDER_POINTS, PAGES, Section};
use crate::budget::{code_bytes_max, scratch_bytes};
use crate::codec::plane::{Plane, PlaneCodec, Settings};
use crate::codec::tables::{Rope, RopePairs, Tables};
use crate::codec::train::{Samples, train};
use crate::codec::{CodecKind, Isa, Scratch, number};
use crate::error::Status;
use crate::geometry::{Dtype, PlaneShape};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::vec;
use std::vec::Vec;

/// Numbers that look random.
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Nearly normal, of deviation 1.
    fn normal(&mut self) -> f32 {
        let sum: i64 = (0..12).map(|_| (self.bits() % 65_536) as i64).sum();
        (sum - 6 * 65_536) as f32 / 65_536.0
    }
}

/// Bytes at a multiple of 64.
struct Aligned(Vec<u64>, usize);

impl Aligned {
    fn new(bytes: &[u8]) -> Self {
        let mut memory = vec![0_u64; bytes.len().div_ceil(8) + 8];
        let skip = memory.as_ptr().align_offset(64);
        bytemuck::cast_slice_mut(&mut memory[skip..])[..bytes.len()].copy_from_slice(bytes);
        Self(memory, bytes.len())
    }

    fn tables(&self) -> Tables<'_> {
        let skip = self.0.as_ptr().align_offset(64);
        Tables::open(&bytemuck::cast_slice(&self.0[skip..])[..self.1]).unwrap()
    }
}

/// Elements of a plane: a mean and a mixture that fades from component to component; some tokens come again; keys are
/// turned.
fn plane(shape: &PlaneShape, rope: &Rope, sequence_tokens: usize, seed: u64) -> Vec<u8> {
    // The mixture is the same for every seed.
    let mut fixed = Noise(7);
    let channels = shape.heads * shape.dim;
    let means: Vec<f32> = (0..channels).map(|_| fixed.normal()).collect();
    let parts: Vec<f32> = (0..12 * channels).map(|_| fixed.normal()).collect();
    let turns: Vec<f64> = (0..rope.dim / 2)
        .map(|pair| rope.theta.powf(-2.0 * pair as f64 / rope.dim as f64) / core::f64::consts::TAU)
        .collect();
    let mut noise = Noise(seed);
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let mut bytes = Vec::new();
    for token in 0..shape.tokens {
        let row: Vec<f32> = if token > 4 && noise.bits().is_multiple_of(3) {
            rows[noise.bits() as usize % token].clone()
        } else {
            let weights: Vec<f32> = (0..12).map(|part| noise.normal() / (1 + part) as f32).collect();
            (0..channels)
                .map(|at| {
                    let mixed: f32 = weights.iter().zip(&parts[12 * at..]).map(|(w, p)| w * p).sum();
                    means[at] + mixed + 0.05 * noise.normal()
                })
                .collect()
        };
        rows.push(row.clone());
        let mut row = row;
        let (mut cosines, mut sines) = ([0.0; 128], [0.0; 128]);
        super::rope::angles(&turns, (token % sequence_tokens) as u64, &mut cosines, &mut sines);
        for head in row.chunks_exact_mut(shape.dim) {
            super::rope::turn(rope, head, &cosines, &sines, 1.0);
        }
        bytes.extend(
            row.iter()
                .flat_map(|value| number::write(shape.dtype, *value).to_le_bytes()),
        );
    }
    bytes
}

fn rope(pairs: RopePairs, dim: usize) -> Rope {
    match pairs {
        RopePairs::None => Rope::NONE,
        _ => Rope {
            pairs,
            theta: 10_000.0,
            dim,
        },
    }
}

fn tables(dtype: Dtype, heads: usize, dim: usize, rope: Rope, known: bool) -> Vec<u8> {
    let shape = PlaneShape {
        dtype,
        tokens: 512,
        heads,
        dim,
    };
    let keys = plane(&shape, &rope, 256, 1);
    let values = plane(&shape, &Rope::NONE, 256, 2);
    let samples = Samples {
        dtype,
        heads,
        dim,
        sequence_tokens: 256,
        layers: vec![[&keys, &values]],
        rope: known.then_some(rope),
    };
    train(&samples, &[CodecKind::Xc]).unwrap()
}

static SMALL: LazyLock<Aligned> =
    LazyLock::new(|| Aligned::new(&tables(Dtype::F16, 3, 64, rope(RopePairs::Half, 64), true)));

fn codec<'t>(tables: &Tables<'t>, isa: Isa, millibits: u32) -> PlaneCodec<'t> {
    let settings = Settings {
        xc_millibits: millibits,
        ..Settings::default()
    };
    PlaneCodec::unchecked(CodecKind::Xc, settings, Some(*tables), isa)
}

fn encode(codec: &PlaneCodec<'_>, plane: &Plane, input: &[u8]) -> Vec<u8> {
    let mut code = vec![0xA5; code_bytes_max(CodecKind::Xc, &plane.shape)];
    let mut memory = vec![0x5A; scratch_bytes(CodecKind::Xc, &plane.shape) + 64];
    let length = codec
        .encode(plane, input, &mut code, &mut Scratch::new(&mut memory))
        .unwrap();
    code.truncate(length);
    code
}

fn decode(codec: &PlaneCodec<'_>, plane: &Plane, code: &[u8]) -> Result<Vec<u8>, Status> {
    let mut output = vec![0xFF; plane.shape.bytes()];
    let mut memory = vec![0xA5; scratch_bytes(CodecKind::Xc, &plane.shape) + 64];
    codec.decode(plane, code, &mut output, &mut Scratch::new(&mut memory))?;
    Ok(output)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(2)
        .map(|pair| number::read(dtype, u16::from_le_bytes([pair[0], pair[1]])))
        .collect()
}

fn is_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    let exponent: u16 = if dtype == Dtype::Bf16 { 0x7F80 } else { 0x7C00 };
    bytes
        .chunks_exact(2)
        .all(|pair| u16::from_le_bytes([pair[0], pair[1]]) & exponent != exponent)
}

/// The squared error over the squared deviation from the mean of all.
fn error(dtype: Dtype, input: &[u8], output: &[u8]) -> f64 {
    let (input, output) = (numbers(dtype, input), numbers(dtype, output));
    let mean = input.iter().map(|x| f64::from(*x)).sum::<f64>() / input.len() as f64;
    let of = |x: f64, y: f64| (x - y) * (x - y);
    let wrong: f64 = input
        .iter()
        .zip(&output)
        .map(|(x, y)| of(f64::from(*x), f64::from(*y)))
        .sum();
    wrong / input.iter().map(|x| of(f64::from(*x), mean)).sum::<f64>()
}

#[test]
fn the_rotary_embedding_is_found() {
    for right in [
        Rope::NONE,
        rope(RopePairs::Half, 64),
        rope(RopePairs::Interleaved, 64),
        rope(RopePairs::Half, 32),
    ] {
        let bytes = Aligned::new(&tables(Dtype::F16, 1, 64, right, false));
        assert_eq!(bytes.tables().info().rope, right);
    }
}

#[test]
fn training_twice_gives_the_same_tables() {
    let again = Aligned::new(&tables(Dtype::F16, 3, 64, rope(RopePairs::Half, 64), true));
    assert_eq!(SMALL.tables().info().digest, again.tables().info().digest);
}

#[test]
fn other_text_fits_its_budget_and_finer_steps_make_less_error() {
    let tables = SMALL.tables();
    for tokens in [16, 64, 300] {
        let mut errors = [Vec::new(), Vec::new()];
        for millibits in [1000, 1660, 2300, 3000] {
            let codec = codec(&tables, Isa::detect(), millibits);
            let mut bytes = 0;
            let mut shape = None;
            for (kind, errors) in errors.iter_mut().enumerate() {
                let plane_shape = PlaneShape {
                    dtype: Dtype::F16,
                    tokens,
                    heads: 3,
                    dim: 64,
                };
                let rope = if kind == 0 {
                    rope(RopePairs::Half, 64)
                } else {
                    Rope::NONE
                };
                let input = plane(&plane_shape, &rope, 4096, 99);
                let which = Plane {
                    shape: plane_shape,
                    layer: 0,
                    plane: kind,
                    position: 0,
                };
                let code = encode(&codec, &which, &input);
                let (budget, _, _) = Section::open(&tables, 0, kind).unwrap().budget(tokens, millibits);
                assert!(code.len() <= budget);
                assert!(
                    tokens == 16 || code.len() * 100 >= budget * 95,
                    "{tokens} {millibits} {}",
                    code.len()
                );
                bytes += code.len();
                shape = Some(plane_shape);
                errors.push(error(Dtype::F16, &input, &decode(&codec, &which, &code).unwrap()));
            }
            let elements = 2 * shape.unwrap().elements();
            assert!(
                bytes * 8 * 1000 <= elements * millibits as usize,
                "{bytes} for {elements} at {millibits}"
            );
        }
        for errors in errors {
            assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
            assert!(errors[3] < 0.002, "{errors:?}");
        }
    }
}

#[test]
fn positions_are_those_of_the_sequence() {
    let tables = SMALL.tables();
    let shape = PlaneShape {
        dtype: Dtype::F16,
        tokens: 96,
        heads: 3,
        dim: 64,
    };
    let input = plane(&shape, &rope(RopePairs::Half, 64), 4096, 5);
    let codec = codec(&tables, Isa::detect(), 2300);
    let second = PlaneShape { tokens: 32, ..shape };
    let mut which = Plane {
        shape: second,
        layer: 0,
        plane: 0,
        position: 64,
    };
    let rest = &input[64 * 3 * 64 * 2..];
    let right = error(
        Dtype::F16,
        rest,
        &decode(&codec, &which, &encode(&codec, &which, rest)).unwrap(),
    );
    which.position = 0;
    let wrong = error(
        Dtype::F16,
        rest,
        &decode(&codec, &which, &encode(&codec, &which, rest)).unwrap(),
    );
    assert!(right * 2.0 < wrong, "{right} {wrong}");
}

#[test]
fn all_instruction_sets_give_the_same_bytes() {
    let shapes = [
        (1, 144, Dtype::F16, RopePairs::Half),
        (5, 48, Dtype::Bf16, RopePairs::Interleaved),
        (3, 32, Dtype::F16, RopePairs::None),
    ];
    for (heads, dim, dtype, pairs) in shapes {
        let rope = rope(pairs, dim);
        let trained = Aligned::new(&tables(dtype, heads, dim, rope, true));
        let tables = trained.tables();
        for (tokens, millibits) in [(1, 3000), (7, 2300), (33, 800)] {
            let shape = PlaneShape {
                dtype,
                tokens,
                heads,
                dim,
            };
            let mut input = plane(&shape, &rope, 4096, 3);
            // Something of everything: outliers, a NaN, an infinity.
            for (at, bits) in [(3, 0x7C01), (40, 0xFC00_u16), (80, 0x7A00), (90, 0x7F80)] {
                let at = at * 2 % input.len();
                input[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            }
            for clean in [true, false] {
                if clean {
                    input = plane(&shape, &rope, 4096, 4);
                }
                let which = Plane {
                    shape,
                    layer: 0,
                    plane: 0,
                    position: 1_000_003,
                };
                let right = encode(&codec(&tables, Isa::Portable, millibits), &which, &input);
                let decoded = decode(&codec(&tables, Isa::Portable, millibits), &which, &right).unwrap();
                assert!(is_finite(dtype, &decoded));
                for isa in Isa::all() {
                    let codec = codec(&tables, isa, millibits);
                    assert_eq!(
                        encode(&codec, &which, &input),
                        right,
                        "{} {heads} {dim} {tokens}",
                        isa.name()
                    );
                    assert_eq!(decode(&codec, &which, &right).unwrap(), decoded, "{}", isa.name());
                }
            }
        }
    }
}

/// Compares the loops of an instruction set with their definitions.
struct Compare(u64);

impl Job for Compare {
    type Output = ();
    fn run<K: Kernel>(self, kernel: K) {
        use super::kernel::all;
        let mut noise = Noise(self.0);
        for width in [32, 48, 64, 96, 112, 128, 144, 256] {
            let basis: Vec<i16> = (0..width * width).map(|_| (noise.bits() as i16) >> 3).collect();
            let row: Vec<i16> = (0..width)
                .map(|_| {
                    if noise.bits().is_multiple_of(2) {
                        0
                    } else {
                        noise.bits() as i16 >> 2
                    }
                })
                .collect();
            let before: Vec<u8> = (0..2 * width * 1100).map(|_| noise.bits() as u8 >> 5).collect();
            for first in [0, width] {
                let lag = all::nearest(&before[..width], &before, 2 * width, first);
                assert!((1..=1024).contains(&lag));
                assert_eq!(kernel.nearest(&before[..width], &before, 2 * width, first), lag);
            }
            let (mut sums, mut right) = (vec![1; width], vec![2; width]);
            kernel.inverse(&basis, &row, &mut sums);
            all::inverse(&basis, &row, &mut right);
            assert_eq!(sums, right);
            let costs: [u32; 512] = core::array::from_fn(|_| noise.bits() as u32 >> 14);
            let symbols: Vec<u16> = (0..width + 3).map(|_| noise.bits() as u16).collect();
            let all: u32 = symbols.iter().map(|symbol| costs[usize::from(*symbol) % 512]).sum();
            assert_eq!(kernel.sum_of(&costs, &symbols), all);
            let mut rows: Vec<f32> = (0..8 * width).map(|_| noise.normal()).collect();
            let (mut sums, mut right) = (vec![1.0; 8 * width], vec![2.0; 8 * width]);
            kernel.forward(&basis, width, &rows, &mut sums);
            all::forward(&basis, width, &rows, &mut right);
            assert_eq!(sums, right);
            for (at, odd) in [
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                1e30,
                -1e30,
                -0.0,
                1e-40,
                8191.2,
            ]
            .into_iter()
            .enumerate()
            {
                rows[at * 3] = odd;
            }
            for inverse_step in [1.0, 1000.0, 4000.0, 0.0] {
                let (mut steps, mut right) = (vec![1; width], vec![2; width]);
                kernel.quantise(&rows[..width], inverse_step, &mut steps);
                all::quantise(&rows[..width], inverse_step, &mut right);
                assert_eq!(steps, right);
                let from: Vec<i16> = right.iter().rev().copied().collect();
                kernel.quantise_from(&rows[..width], inverse_step, &from, &mut steps);
                all::quantise_from(&rows[..width], inverse_step, &from, &mut right);
                assert_eq!(steps, right);
                assert!(right.iter().zip(&from).all(|(d, f)| (d + f).abs() <= 8191));
            }
        }
    }
}

#[test]
fn every_loop_is_its_definition() {
    for isa in Isa::all() {
        for seed in 0..2 {
            kernel::run(isa, Compare(seed));
        }
    }
}

#[test]
fn nonsense_becomes_finite_numbers_within_the_budget() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let trained = Aligned::new(&tables(dtype, 2, 32, Rope::NONE, true));
        let tables = trained.tables();
        let infinity: u16 = if dtype == Dtype::Bf16 { 0x7F80 } else { 0x7C00 };
        let mut noise = Noise(9);
        let fills: [&mut dyn FnMut(usize) -> u16; 8] = [
            &mut |_| 0,
            &mut |_| infinity,
            &mut |_| infinity + 1,
            &mut |_| infinity - 1,
            &mut |at| {
                if at % 2 == 0 {
                    infinity - 1
                } else {
                    0x8000 | (infinity - 1)
                }
            },
            &mut |_| 1,
            &mut |_| noise.bits() as u16,
            &mut |at| if at == 70 { infinity | 0x8000 } else { 0x3C00 },
        ];
        for fill in fills {
            for (tokens, millibits) in [(1, 500), (16, 500), (16, 6000), (200, 1660)] {
                let shape = PlaneShape {
                    dtype,
                    tokens,
                    heads: 2,
                    dim: 32,
                };
                let input: Vec<u8> = (0..shape.elements()).flat_map(|at| fill(at).to_le_bytes()).collect();
                let which = Plane {
                    shape,
                    layer: 0,
                    plane: 1,
                    position: u64::MAX - 3,
                };
                let codec = codec(&tables, Isa::detect(), millibits);
                let code = encode(&codec, &which, &input);
                let (budget, _, _) = Section::open(&tables, 0, 1).unwrap().budget(tokens, millibits);
                assert!(code.len() <= budget.max(2), "{} {budget}", code.len());
                assert!(is_finite(dtype, &decode(&codec, &which, &code).unwrap()));
            }
        }
    }
}

#[test]
fn a_short_code_or_one_with_a_step_that_there_is_not_is_refused() {
    let tables = SMALL.tables();
    let codec = codec(&tables, Isa::detect(), 2300);
    let shape = PlaneShape {
        dtype: Dtype::F16,
        tokens: 16,
        heads: 3,
        dim: 64,
    };
    let which = Plane {
        shape,
        layer: 0,
        plane: 1,
        position: 0,
    };
    let input = plane(&shape, &Rope::NONE, 4096, 8);
    let mut code = encode(&codec, &which, &input);
    // What is cut off can look like a whole code; then it decodes to something.
    let cut = (0..code.len()).map(|length| decode(&codec, &which, &code[..length]));
    let whole: Vec<_> = cut.filter_map(Result::ok).collect();
    assert!(whole.len() * 16 < code.len(), "{}", whole.len());
    assert!(whole.iter().all(|output| is_finite(Dtype::F16, output)));
    code[1] = 0xFE;
    assert_eq!(decode(&codec, &which, &code), Err(Status::Damaged));
    let channels = decode(&codec, &which, &[0xFF, 0xFF]).unwrap();
    assert_eq!(channels[..384], channels[384..768], "the means");
    assert_eq!(decode(&codec, &which, &[0xFF, 0xFF, 0]), Err(Status::Damaged));
}

#[test]
fn sections_that_are_damaged_are_refused() {
    let tables = SMALL.tables();
    let bytes = tables.section(CodecKind::Xc, 0, 0).unwrap();
    let layout = super::section::Layout::new(3, 64, 2);
    assert_eq!(bytes.len(), layout.end);
    for (at, value) in [
        (0, 9),
        (4, 0),
        (4, 200),
        (11, 0xFF),
        (layout.classes, 0),
        (layout.rows + 1, 0x40),
    ] {
        let mut copy = Aligned::new(bytes);
        let skip = copy.0.as_ptr().align_offset(64);
        let memory: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut copy.0[skip..])[..bytes.len()];
        assert!(Section::of_bytes(memory, 3, 64).is_ok());
        memory[at] = value;
        assert!(Section::of_bytes(memory, 3, 64).is_err(), "{at}");
        assert!(Section::of_bytes(&memory[..bytes.len() - 64], 3, 64).is_err());
    }
}

#[test]
fn shares_of_all_planes_are_what_is_asked_for() {
    let tables = SMALL.tables();
    let sections = [0, 1].map(|plane| Section::open(&tables, 0, plane).unwrap());
    for tokens in [16, 64, 512] {
        let elements = tokens * 192;
        for millibits in (500..=6000).step_by(83) {
            let budgets = sections.map(|section| section.budget(tokens, millibits).0);
            let bits = (budgets[0] + budgets[1]) * 8 * 1000;
            assert!(bits <= 2 * elements * millibits as usize, "{tokens} {millibits}");
            assert!(
                bits + 32_000 + elements * 4 >= 2 * elements * millibits as usize,
                "{tokens} {millibits} {bits}"
            );
        }
    }
    assert!(PAGES.len() * LADDER_POINTS * 2 == sections[0].ladders.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_codes_are_refused_or_decode_to_finite_numbers(
        seed in any::<u64>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        tokens in 1_usize..40,
    ) {
        let tables = SMALL.tables();
        let shape = PlaneShape { dtype: Dtype::F16, tokens, heads: 3, dim: 64 };
        let which = Plane { shape, layer: 0, plane: 1, position: 0 };
        let input = plane(&shape, &Rope::NONE, 4096, seed);
        for isa in Isa::all() {
            let codec = codec(&tables, isa, 2300);
            let mut code = encode(&codec, &which, &input);
            for (at, value) in &flips {
                let at = at.index(code.len());
                code[at] ^= value;
            }
            if let Ok(output) = decode(&codec, &which, &code) {
                prop_assert!(is_finite(Dtype::F16, &output));
            }
        }
    }

    #[test]
    fn random_codes_are_refused_or_decode_to_finite_numbers(
        mut code in prop::collection::vec(any::<u8>(), 0..700),
        step in 0_u16..4000,
    ) {
        let tables = SMALL.tables();
        let shape = PlaneShape { dtype: Dtype::F16, tokens: 9, heads: 3, dim: 64 };
        let which = Plane { shape, layer: 0, plane: 0, position: 7 };
        if code.len() >= 2 {
            code[..2].copy_from_slice(&step.to_le_bytes());
        }
        if let Ok(output) = decode(&codec(&tables, Isa::detect(), 2300), &which, &code) {
            prop_assert!(is_finite(Dtype::F16, &output));
        }
    }
}
