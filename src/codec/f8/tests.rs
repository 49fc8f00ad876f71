//! E4M3 against a search over all its numbers, and the fast version against the portable one.

use super::all::{code_of, number_of};
use super::*;
use crate::codec::number;
use crate::geometry::Dtype;
use std::vec;
use std::vec::Vec;

fn shape(dtype: Dtype, elements: usize) -> PlaneShape {
    PlaneShape {
        dtype,
        tokens: 1,
        heads: 1,
        dim: elements,
    }
}

/// The nearest code, found by trying all; of two as near the one with an even mantissa.
fn nearest(value: f32) -> u8 {
    let size = f64::from(value.abs()).min(448.0);
    let codes = 0..0x7F_u8;
    let code = codes.min_by(|a, b| {
        let distance = |code: u8| (f64::from(number_of(code)) - size).abs();
        distance(*a).total_cmp(&distance(*b)).then((a & 1).cmp(&(b & 1)))
    });
    code.unwrap() | if value.is_sign_negative() { 0x80 } else { 0 }
}

#[test]
fn the_numbers_are_those_of_the_standard() {
    for (code, number) in [
        (0x00, 0.0),
        (0x01, 2.0_f32.powi(-9)),
        (0x07, 7.0 * 2.0_f32.powi(-9)),
        (0x08, 2.0_f32.powi(-6)),
        (0x38, 1.0),
        (0x3C, 1.5),
        (0xBC, -1.5),
        (0x7E, 448.0),
        (0xFE, -448.0),
        (0x7F, 0.0),
        (0xFF, 0.0),
    ] {
        assert_eq!(number_of(code), number, "{code:#04x}");
    }
}

#[test]
fn every_element_gets_the_nearest_code_in_every_version() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let input: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let shape = shape(dtype, 1 << 16);
        for isa in Isa::all() {
            let mut code = vec![0; 1 << 16];
            assert_eq!(encode(isa, &shape, &input, &mut code), Ok(1 << 16));
            for (bits, code) in (0..=u16::MAX).zip(code) {
                assert_eq!(code, nearest(number::read(dtype, bits)), "{} {bits:#06x}", isa.name());
                assert_ne!(code & 0x7F, 0x7F);
            }
        }
    }
}

#[test]
fn every_code_is_decoded_exactly_and_survives_another_round() {
    let code: Vec<u8> = (0..=u8::MAX).collect();
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let shape = shape(dtype, 256);
        for isa in Isa::all() {
            let mut output = vec![0; 512];
            decode(isa, &shape, &code, &mut output).unwrap();
            for (code, element) in code.iter().zip(output.chunks(2)) {
                let value = number::read(dtype, u16::from_le_bytes([element[0], element[1]]));
                assert_eq!(
                    value.to_bits(),
                    number_of(*code).to_bits(),
                    "{} {code:#04x}",
                    isa.name()
                );
                if code & 0x7F != 0x7F {
                    assert_eq!(code_of(value), *code);
                }
            }
        }
    }
}

#[test]
fn all_lengths_work_and_wrong_ones_are_refused() {
    for elements in 1..100 {
        let input: Vec<u8> = (0..2 * elements).map(|at| (at * 37 + 11) as u8).collect();
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let shape = shape(dtype, elements);
            let mut first = None;
            for isa in Isa::all() {
                let (mut code, mut output) = (vec![0; elements], vec![0; 2 * elements]);
                assert_eq!(encode(isa, &shape, &input, &mut code), Ok(elements));
                decode(isa, &shape, &code, &mut output).unwrap();
                assert_eq!(decode(isa, &shape, &code[1..], &mut output), Err(Status::Damaged));
                assert_eq!(*first.get_or_insert((code.clone(), output.clone())), (code, output));
            }
        }
    }
}
