//! `lz` gives back every bit, on every instruction set, from every code it makes, and refuses other codes.

use super::coder::{decode, encode};
use super::zstd::{compressor_bytes, decompressor_bytes};
use crate::budget::{LZ_WORKSPACE_BYTES, code_bytes_max, scratch_bytes};
use crate::codec::{CodecKind, Isa, Scratch};
use crate::error::Status;
use crate::geometry::{Dtype, PlaneShape};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

fn shape(dtype: Dtype, tokens: usize, heads: usize, dim: usize) -> PlaneShape {
    PlaneShape {
        dtype,
        tokens,
        heads,
        dim,
    }
}

fn encoded(isa: Isa, shape: &PlaneShape, input: &[u8]) -> Vec<u8> {
    let mut code = vec![0xEE; code_bytes_max(CodecKind::Lz, shape)];
    let mut memory = vec![0xDD; scratch_bytes(CodecKind::Lz, shape)];
    let length = encode(isa, shape, input, &mut code, &mut Scratch::new(&mut memory)).unwrap();
    code.truncate(length);
    code
}

fn decoded(isa: Isa, shape: &PlaneShape, code: &[u8]) -> Result<Vec<u8>, Status> {
    let mut output = vec![0xCC; shape.bytes()];
    let mut memory = vec![0xBB; scratch_bytes(CodecKind::Lz, shape)];
    decode(isa, shape, code, &mut output, &mut Scratch::new(&mut memory))?;
    Ok(output)
}

/// The code of every instruction set is the portable one's, and decodes to the input.
fn check(shape: &PlaneShape, input: &[u8]) -> Vec<u8> {
    let code = encoded(Isa::Portable, shape, input);
    for isa in Isa::all() {
        assert!(encoded(isa, shape, input) == code, "{} encodes otherwise", isa.name());
        assert!(
            decoded(isa, shape, &code).unwrap() == input,
            "{} decodes otherwise",
            isa.name()
        );
    }
    code
}

fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Elements of about normal distribution.
fn normal(shape: &PlaneShape, seed: u64) -> Vec<u8> {
    let mut next = noise(seed);
    let element = |_| {
        let sum: f32 = (0..12).map(|_| (next() >> 40) as f32 / (1 << 24) as f32).sum();
        crate::codec::number::write(shape.dtype, sum - 6.0).to_le_bytes()
    };
    (0..shape.elements()).flat_map(element).collect()
}

#[test]
fn the_planes_are_the_bytes_of_rotated_elements() {
    let shape = shape(Dtype::Bf16, 1, 1, 3);
    let input = [0x3F80_u16, 0xBF81, 0x7FC0].map(u16::to_le_bytes).concat();
    // Nothing of so little is compressed: the planes are seen.
    assert_eq!(
        check(&shape, &input),
        [0, 0, 0, 0, 3, 0, 0, 0, 0x00, 0x03, 0x80, 0x7F, 0x7F, 0xFF]
    );
}

#[test]
fn normal_elements_reach_the_ratios() {
    for (dtype, ratio) in [(Dtype::Bf16, 1.45), (Dtype::F16, 1.15)] {
        for (tokens, heads, dim) in [(64, 2, 64), (64, 12, 32), (16, 8, 128), (512, 2, 64)] {
            let shape = shape(dtype, tokens, heads, dim);
            let code = check(&shape, &normal(&shape, 7));
            assert_eq!(code[0], 2);
            let reached = shape.bytes() as f64 / code.len() as f64;
            assert!(reached >= ratio, "{dtype:?} {tokens} {heads} {dim}: {reached}");
        }
    }
}

#[test]
fn repeated_rows_are_found_in_both_planes() {
    let shape = shape(Dtype::F16, 64, 2, 64);
    let row = normal(&PlaneShape { tokens: 1, ..shape }, 3);
    let code = check(&shape, &row.repeat(64));
    assert_eq!(code[0], 3);
    assert!(code.len() < shape.bytes() / 16, "{}", code.len());
}

#[test]
fn constants_and_what_is_not_finite_come_back() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let shape = shape(dtype, 33, 3, 80);
        for bits in [0, 0x8000, 0x0001, 0x3C00, 0x7C00, 0xFC00, 0x7F80, 0xFFFF, 0x7FFF] {
            let code = check(&shape, &u16::to_le_bytes(bits).repeat(shape.elements()));
            assert!(code.len() < 128);
        }
    }
}

#[test]
fn noise_is_kept_with_a_header_of_eight_bytes() {
    let shape = shape(Dtype::Bf16, 100, 3, 96);
    let mut next = noise(11);
    let input: Vec<u8> = (0..shape.bytes()).map(|_| (next() >> 32) as u8).collect();
    let code = check(&shape, &input);
    assert_eq!((code[0], code.len()), (0, shape.bytes() + 8));
}

#[test]
fn the_workspace_is_as_large_as_the_library_says_and_nothing_is_taken_elsewhere() {
    let needed = compressor_bytes().max(decompressor_bytes());
    assert!(needed <= LZ_WORKSPACE_BYTES, "{needed}");
    assert!(LZ_WORKSPACE_BYTES <= needed + (32 << 10), "{needed}");
    // Longer than the window: the workspace does not grow with the plane.
    let shape = shape(Dtype::Bf16, 600, 8, 128);
    check(&shape, &normal(&shape, 5));
    // A static context in less memory than it needs is refused, so it has no other.
    let input = normal(&shape, 5);
    let mut code = vec![0; code_bytes_max(CodecKind::Lz, &shape)];
    let memory_bytes = scratch_bytes(CodecKind::Lz, &shape);
    let mut memory = vec![0; memory_bytes - (64 << 10)];
    let scratch = &mut Scratch::new(&mut memory);
    assert_eq!(
        encode(Isa::Portable, &shape, &input, &mut code, scratch),
        Err(Status::TooSmall)
    );
    for words in [0, 16, 4 << 10] {
        let mut workspace = vec![0; words];
        assert!(super::zstd::Decompressor::new(&mut workspace).is_err());
        let mut workspace = vec![0; words];
        let answer = super::zstd::Compressor::new(&mut workspace)
            .and_then(|mut compressor| compressor.compress(super::zstd::Search::Literals, &input, &mut code));
        assert_eq!(answer, Err(Status::TooSmall));
    }
}

#[test]
fn codes_that_are_cut_or_have_unknown_flags_are_refused() {
    let shape = shape(Dtype::Bf16, 16, 2, 64);
    let code = encoded(Isa::Portable, &shape, &normal(&shape, 1));
    for length in 0..code.len() {
        assert_eq!(decoded(Isa::Portable, &shape, &code[..length]), Err(Status::Damaged));
    }
    for (at, bits) in [(0, 4), (0, 0x80), (0, 1), (1, 1), (3, 0x80), (4, 1), (7, 0x80)] {
        let mut damaged = code.clone();
        damaged[at] ^= bits;
        assert_eq!(
            decoded(Isa::Portable, &shape, &damaged),
            Err(Status::Damaged),
            "{at} {bits}"
        );
    }
}

#[test]
fn contexts_that_are_left_for_the_next_call_work_in_any_order() {
    let shapes = [
        shape(Dtype::Bf16, 16, 8, 128),
        shape(Dtype::F16, 64, 1, 33),
        shape(Dtype::Bf16, 1, 1, 32),
    ];
    let bytes = shapes.map(|shape| scratch_bytes(CodecKind::Lz, &shape));
    let mut memory = vec![0xAA; bytes.into_iter().max().unwrap()];
    let mut scratch = Scratch::new(&mut memory);
    let mut next = noise(17);
    for round in 0..200 {
        let shape = &shapes[next() as usize % 3];
        let mut input = normal(shape, round);
        if next().is_multiple_of(3) {
            input = input[..2].repeat(shape.elements());
        }
        let mut code = vec![0; code_bytes_max(CodecKind::Lz, shape)];
        let length = encode(Isa::detect(), shape, &input, &mut code, &mut scratch).unwrap();
        assert!(code[..length] == encoded(Isa::Portable, shape, &input));
        if next().is_multiple_of(2) {
            // Somebody else works in between, in the same memory.
            scratch.lend().take::<u8>(bytes[0] / 2).unwrap().fill(round as u8);
        }
        for _ in 0..next() % 3 {
            let mut output = vec![0; shape.bytes()];
            decode(Isa::detect(), shape, &code[..length], &mut output, &mut scratch).unwrap();
            assert!(output == input);
            let cut = decode(Isa::detect(), shape, &code[..length - 1], &mut output, &mut scratch);
            assert_eq!(cut, Err(Status::Damaged));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_elements_come_back(
        tokens in 1_usize..40, heads in 1_usize..5, dim in 1_usize..150, bf16: bool, seed: u64, mask: u16,
    ) {
        let shape = shape(if bf16 { Dtype::Bf16 } else { Dtype::F16 }, tokens, heads, dim);
        let mut next = noise(seed);
        let input: Vec<u8> = (0..shape.elements())
            .flat_map(|_| (next() as u16 & mask).to_le_bytes())
            .collect();
        check(&shape, &input);
    }

    #[test]
    fn any_damage_is_refused_or_gives_a_plane(
        at in 0_usize..1 << 16, bits in 1_u8.., repeat: bool, cut in 0_usize..32,
    ) {
        let shape = shape(Dtype::F16, 16, 2, 64);
        let input = if repeat {
            normal(&PlaneShape { tokens: 1, ..shape }, 9).repeat(16)
        } else {
            normal(&shape, 9)
        };
        let mut code = encoded(Isa::Portable, &shape, &input);
        let place = at % code.len();
        code[place] ^= bits;
        code.truncate(code.len() - cut.min(code.len()));
        for isa in Isa::all() {
            match decoded(isa, &shape, &code) {
                Ok(output) => assert_eq!(output.len(), shape.bytes()),
                Err(status) => assert_eq!(status, Status::Damaged, "{place} {bits}"),
            }
        }
    }
}
