//! `vq` against a search by hand, on every instruction set, with nasty vectors, other tables, and other codes.

use super::books::{Books, half_bytes, head_start};
use super::{GROUP, all, decode, encode, inverse_root, row_code_bytes};
use crate::budget::{code_bytes_max, scratch_bytes};
use crate::codec::tables::{Rope, Section, TABLES_ALIGNMENT_BYTES, Tables, TablesInfo, TablesWriter};
use crate::codec::train::{Samples, train};
use crate::codec::{CodecKind, Isa, Plane, Scratch, number};
use crate::error::Status;
use crate::geometry::{Dtype, PlaneShape};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn normal(&mut self) -> f32 {
        (0..12)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32)
            .sum::<f32>()
            - 6.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Tables at an aligned address, for the life of the test process.
fn leaked(bytes: &[u8]) -> Tables<'static> {
    let memory = vec![0; bytes.len() + TABLES_ALIGNMENT_BYTES].leak();
    let skip = memory.as_ptr().align_offset(TABLES_ALIGNMENT_BYTES);
    let target = &mut memory[skip..][..bytes.len()];
    target.copy_from_slice(bytes);
    Tables::open(target).unwrap()
}

/// Tables with a section for one layer's keys.
fn tables_of(heads: usize, dim: usize, bytes: Vec<u8>) -> Tables<'static> {
    let mut writer = TablesWriter::new(TablesInfo {
        bytes: 0,
        layers: 1,
        planes: 1,
        heads,
        dim,
        rope: Rope::NONE,
        tokens: 0,
        digest: 0,
    });
    writer.add(Section {
        kind: CodecKind::Vq,
        layer: 0,
        plane: 0,
        bytes,
    });
    leaked(&writer.finish())
}

/// A section of numbers about as large as those of trained tables.
fn random_section(heads: usize, dim: usize, random: &mut Random) -> Vec<u8> {
    let mut section = vec![0; head_start(heads)];
    for head in 0..heads {
        let middle = (random.next() % 64) as i32 - 32;
        section[4 * head..][..4].copy_from_slice(&middle.to_le_bytes());
    }
    for _ in 0..heads * half_bytes(dim) {
        section.extend_from_slice(&((random.normal() * 600.0) as i16).to_le_bytes());
    }
    section
}

fn plane(dtype: Dtype, tokens: usize, heads: usize, dim: usize) -> Plane {
    Plane {
        shape: PlaneShape {
            dtype,
            tokens,
            heads,
            dim,
        },
        layer: 0,
        plane: 0,
        position: 0,
    }
}

fn elements(dtype: Dtype, values: impl Iterator<Item = f32>) -> Vec<u8> {
    values
        .flat_map(|value| number::write(dtype, value).to_le_bytes())
        .collect()
}

fn normal(plane: &Plane, random: &mut Random) -> Vec<u8> {
    elements(plane.shape.dtype, (0..plane.shape.elements()).map(|_| random.normal()))
}

fn encoded(isa: Isa, tables: &Tables<'_>, plane: &Plane, input: &[u8]) -> Vec<u8> {
    let mut code = vec![0xEE; code_bytes_max(CodecKind::Vq, &plane.shape)];
    let mut memory = vec![0xDD; scratch_bytes(CodecKind::Vq, &plane.shape)];
    let length = encode(isa, tables, plane, input, &mut code, &mut Scratch::new(&mut memory)).unwrap();
    assert_eq!(length, code.len());
    code
}

fn decoded(isa: Isa, tables: &Tables<'_>, plane: &Plane, code: &[u8]) -> Result<Vec<u8>, Status> {
    let mut output = vec![0xCC; plane.shape.bytes()];
    decode(isa, tables, plane, code, &mut output, &mut Scratch::new(&mut []))?;
    Ok(output)
}

fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / 2];
    number::read_row(dtype, bytes, &mut values);
    values
}

/// All instruction sets give one code and one decoded plane, of finite numbers.
fn check(tables: &Tables<'_>, plane: &Plane, input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let code = encoded(Isa::Portable, tables, plane, input);
    let output = decoded(Isa::Portable, tables, plane, &code).unwrap();
    for isa in Isa::all() {
        assert!(
            encoded(isa, tables, plane, input) == code,
            "{} encodes otherwise",
            isa.name()
        );
        assert!(
            decoded(isa, tables, plane, &code).unwrap() == output,
            "{} decodes otherwise",
            isa.name()
        );
    }
    for element in output.as_chunks::<2>().0 {
        let bits = u16::from_le_bytes(*element);
        let value = number::read(plane.shape.dtype, bits);
        assert_eq!(number::write(plane.shape.dtype, value), bits, "not finite");
    }
    (code, output)
}

/// The squared error over the square.
fn error(dtype: Dtype, input: &[u8], output: &[u8]) -> f64 {
    let square = |sum: f64, value: f32| sum + f64::from(value) * f64::from(value);
    let (input, output) = (values(dtype, input), values(dtype, output));
    let errors = input.iter().zip(&output).map(|(a, b)| a - b);
    errors.fold(0.0, square) / input.iter().copied().fold(0.0, square)
}

#[test]
fn codes_are_those_of_a_search_by_hand_in_floats() {
    let mut random = Random(5);
    let (heads, dim) = (2, 48);
    let section = random_section(heads, dim, &mut random);
    let tables = tables_of(heads, dim, section.clone());
    let plane = plane(Dtype::Bf16, 9, heads, dim);
    let input = normal(&plane, &mut random);
    let (code, output) = check(&tables, &plane, &input);
    let books = Books::open(&section, heads, dim).unwrap();
    let number = |bytes: &[u8]| -> Vec<f64> { all::integers(bytes).map(|value| f64::from(value) / 1024.0).collect() };
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    for (row, code) in code.chunks_exact(row_code_bytes(dim)).enumerate() {
        let head = row % heads;
        let vector: Vec<f64> = values(plane.shape.dtype, &input[row * 2 * dim..][..2 * dim])
            .into_iter()
            .map(f64::from)
            .collect();
        let length = distance(&vector, &vec![0.0; dim]).sqrt();
        let shape: Vec<f64> = vector
            .iter()
            .map(|value| value / length * (dim as f64).sqrt())
            .collect();
        let nearest = |wanted: &[f64], book: &[u8], found: u8| {
            let distances: Vec<f64> = book
                .chunks_exact(2 * wanted.len())
                .map(|entry| distance(wanted, &number(entry)))
                .collect();
            let least = distances.iter().copied().fold(f64::MAX, f64::min);
            let found = distances[usize::from(found)];
            // The integers are within half of 1 / 1024 of the shape.
            assert!(found - least <= 0.01 * (1.0 + least.sqrt()), "{found} {least}");
        };
        nearest(&shape, books.centres(head), code[0]);
        let centre = number(Books::centre(books.centres(head), dim, code[0]));
        for (group, entries) in books.entries(head).iter().enumerate() {
            let rest: Vec<f64> = (group * GROUP..group * GROUP + GROUP)
                .map(|channel| shape[channel] - centre[channel])
                .collect();
            nearest(&rest, entries, code[2 + group]);
        }
        // The decoded vector is as long, but for half of a sixteenth of an octave, and the rounding of elements.
        let back: Vec<f64> = values(plane.shape.dtype, &output[row * 2 * dim..][..2 * dim])
            .into_iter()
            .map(f64::from)
            .collect();
        let back = distance(&back, &vec![0.0; dim]).sqrt();
        assert!((back / length).log2().abs() < 0.5 / 16.0 + 0.004, "{back} {length}");
    }
}

#[test]
fn roots_are_right_to_the_last_digits() {
    for power in -200..200 {
        let value = 1.37 * 10_f64.powi(power);
        assert!((inverse_root(value) * value.sqrt() - 1.0).abs() < 1e-14);
    }
}

#[test]
fn ties_go_to_the_first_entry() {
    let (heads, dim) = (1, 32);
    let mut section = random_section(heads, dim, &mut Random(3));
    // All centres alike, and all entries alike.
    for book in section[head_start(heads)..].chunks_exact_mut(2) {
        book.copy_from_slice(&300_i16.to_le_bytes());
    }
    let tables = tables_of(heads, dim, section);
    let plane = plane(Dtype::F16, 5, heads, dim);
    let (code, _) = check(&tables, &plane, &normal(&plane, &mut Random(4)));
    for row in code.chunks_exact(row_code_bytes(dim)) {
        assert_eq!((row[0], &row[2..]), (0, &[0; 8][..]));
    }
}

#[test]
fn nasty_vectors_are_finite_and_zeros_are_zeros() {
    let (heads, dim) = (1, 64);
    let tables = tables_of(heads, dim, random_section(heads, dim, &mut Random(8)));
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let (infinity, nan) = match dtype {
            Dtype::F16 => (0x7C00_u16, 0x7E01_u16),
            _ => (0x7F80, 0x7FC1),
        };
        let plane = plane(dtype, 12, heads, dim);
        let mut input = normal(&plane, &mut Random(9));
        let constants = [0, 0x8000, 1, infinity, infinity | 0x8000, nan, infinity - 1];
        for (row, bits) in input.chunks_exact_mut(2 * dim).zip(constants) {
            row.copy_from_slice(&bits.to_le_bytes().repeat(dim));
        }
        // One huge channel, one NaN, one infinity among ordinary ones.
        for (row, bits) in (7..).zip([infinity - 1, nan, infinity]) {
            input[row * 2 * dim + 10..][..2].copy_from_slice(&bits.to_le_bytes());
        }
        let (code, output) = check(&tables, &plane, &input);
        let stride = row_code_bytes(dim);
        for zero in [0, 1, 5] {
            assert!(code[zero * stride..][..stride].iter().all(|byte| *byte == 0));
            assert!(output[zero * 2 * dim..][..2 * dim].iter().all(|byte| *byte == 0));
        }
        for full in [3, 7, 10] {
            assert_ne!(code[full * stride + 1], 0);
        }
    }
}

#[test]
fn trained_tables_fit_their_samples_better_than_numbers_at_random_and_are_the_same_each_time() {
    let mut random = Random(77);
    let (heads, dim, tokens) = (2, 32, 1024);
    // Channels of unlike size, vectors of unlike length, around one of four directions.
    let mut sample = |tokens: usize| {
        let mut all = Vec::new();
        for _ in 0..tokens * heads {
            let (kind, length) = (random.next() % 4, 1.0 + random.normal().abs());
            all.extend((0..dim as u64).map(|channel| {
                let size = if channel % 8 == 3 { 8.0 } else { 1.0 };
                let mean = if channel % 4 == kind { 2.0 } else { 0.0 };
                length * size * (mean + random.normal())
            }));
        }
        elements(Dtype::F16, all.into_iter())
    };
    let (keys, others, unseen) = (sample(tokens), sample(tokens), sample(64));
    let samples = Samples {
        dtype: Dtype::F16,
        heads,
        dim,
        sequence_tokens: 128,
        layers: vec![[&keys, &others]],
        rope: Some(Rope::NONE),
    };
    let bytes = train(&samples, &[CodecKind::Vq]).unwrap();
    assert!(train(&samples, &[CodecKind::Vq]).unwrap() == bytes);
    let plane = plane(Dtype::F16, 64, heads, dim);
    let trained = check(&leaked(&bytes), &plane, &unseen).1;
    let chance = check(
        &tables_of(heads, dim, random_section(heads, dim, &mut Random(1))),
        &plane,
        &unseen,
    )
    .1;
    let (trained, chance) = (
        error(Dtype::F16, &unseen, &trained),
        error(Dtype::F16, &unseen, &chance),
    );
    assert!(trained < 0.12, "{trained}");
    assert!(chance > 2.0 * trained, "{chance} {trained}");
}

#[test]
fn samples_of_one_vector_or_of_zeros_give_tables() {
    let (heads, dim, tokens) = (1, 32, 256);
    let zeros = vec![0; 2 * dim * tokens];
    let vector = normal(&plane(Dtype::Bf16, 1, heads, dim), &mut Random(2));
    let same = vector.repeat(tokens);
    let samples = Samples {
        dtype: Dtype::Bf16,
        heads,
        dim,
        sequence_tokens: 256,
        layers: vec![[&zeros, &same]],
        rope: Some(Rope::NONE),
    };
    let tables = leaked(&train(&samples, &[CodecKind::Vq]).unwrap());
    let keys = plane(Dtype::Bf16, 3, heads, dim);
    let values = Plane { plane: 1, ..keys };
    check(&tables, &keys, &vector.repeat(3));
    assert!(
        error(
            Dtype::Bf16,
            &vector.repeat(3),
            &check(&tables, &values, &vector.repeat(3)).1
        ) < 0.001
    );
}

#[test]
fn codes_and_sections_of_another_length_are_refused() {
    let (heads, dim) = (1, 32);
    let section = random_section(heads, dim, &mut Random(3));
    let tables = tables_of(heads, dim, section.clone());
    let plane = plane(Dtype::F16, 4, heads, dim);
    let input = normal(&plane, &mut Random(4));
    let code = encoded(Isa::Portable, &tables, &plane, &input);
    for length in 0..code.len() {
        assert_eq!(
            decoded(Isa::Portable, &tables, &plane, &code[..length]),
            Err(Status::Damaged)
        );
    }
    for length in [0, 3, 64, section.len() - 1] {
        let tables = tables_of(heads, dim, section[..length].to_vec());
        assert_eq!(decoded(Isa::Portable, &tables, &plane, &code), Err(Status::Damaged));
        let mut memory = vec![0; scratch_bytes(CodecKind::Vq, &plane.shape)];
        let scratch = &mut Scratch::new(&mut memory);
        let answer = encode(Isa::Portable, &tables, &plane, &input, &mut code.clone(), scratch);
        assert_eq!(answer, Err(Status::Damaged));
    }
    let absent = Plane { layer: 1, ..plane };
    assert_eq!(
        decoded(Isa::Portable, &tables, &absent, &code),
        Err(Status::Unsupported)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_is_alike_on_every_instruction_set(
        tokens in 1_usize..12, heads in 1_usize..4, step in 2_usize..=16, bf16: bool, seed in 1_u64.., wild: bool,
    ) {
        let dim = 16 * step;
        let mut random = Random(seed);
        // Sections of any bytes at all: sums that wrap, gains beyond all numbers.
        let section = if wild {
            random.bytes(head_start(heads) + heads * 2 * half_bytes(dim))
        } else {
            random_section(heads, dim, &mut random)
        };
        let tables = tables_of(heads, dim, section);
        let plane = plane(if bf16 { Dtype::Bf16 } else { Dtype::F16 }, tokens, heads, dim);
        let input = if wild { random.bytes(plane.shape.bytes()) } else { normal(&plane, &mut random) };
        check(&tables, &plane, &input);
        let code = random.bytes(code_bytes_max(CodecKind::Vq, &plane.shape));
        let output = decoded(Isa::Portable, &tables, &plane, &code).unwrap();
        for isa in Isa::all() {
            assert!(decoded(isa, &tables, &plane, &code).unwrap() == output, "{}", isa.name());
        }
    }
}
