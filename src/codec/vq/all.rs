//! Searching and decoding on every processor: what the other versions are compared with.
//!
//! Nearest is what has the largest product with the vector less half of its own square. Sums wrap, as those of the
//! processors' instructions do; with the numbers of trained tables they stay within 32 bits.

use super::books::Books;
use super::{DIM_MAX, GROUP, ROW_HEAD_BYTES};
use crate::codec::number;
use crate::geometry::Dtype;

/// Sixteen-bit integers from bytes.
pub(super) fn integers(bytes: &[u8]) -> impl Iterator<Item = i16> {
    bytes.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes))
}

fn product(row: impl Iterator<Item = i16>, other: impl Iterator<Item = i16>) -> i32 {
    row.zip(other)
        .fold(0, |sum: i32, (a, b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
}

/// Half of the square of each of 256 vectors.
pub(super) fn halves(vectors: &[u8], dim: usize) -> [i32; 256] {
    let mut halves = [0; 256];
    for (half, vector) in halves.iter_mut().zip(vectors.chunks_exact(2 * dim)) {
        *half = product(integers(vector), integers(vector)) >> 1;
    }
    halves
}

/// The first of 256 scores that is largest.
pub(super) fn largest(scores: &[i32; 256]) -> u8 {
    let mut best = (i32::MIN, 0);
    for (number, score) in scores.iter().enumerate() {
        if *score > best.0 {
            best = (*score, number);
        }
    }
    best.1 as u8
}

/// The nearest of 256 centres.
pub(super) fn nearest_centre(row: &[i16], centres: &[u8], halves: &[i32; 256]) -> u8 {
    let mut scores = [0; 256];
    let centres = centres.chunks_exact(2 * row.len());
    for ((score, centre), half) in scores.iter_mut().zip(centres).zip(halves) {
        *score = product(row.iter().copied(), integers(centre)).wrapping_sub(*half);
    }
    largest(&scores)
}

/// As the function of this name in the parent module.
pub(super) fn nearest_entries(
    entries: &[u8; 256 * 2 * GROUP],
    rows: &[i16],
    rows_step: usize,
    codes: &mut [u8],
    codes_step: usize,
) {
    let halves = halves(entries, GROUP);
    let groups = rows.chunks(rows_step).map(|row| &row[..GROUP]);
    for (group, code) in groups.zip(codes.iter_mut().step_by(codes_step)) {
        *code = nearest_centre(group, entries, &halves);
    }
}

/// Takes a centre off a row.
pub(super) fn subtract(row: &mut [i16], centre: &[u8]) {
    for (value, centre) in row.iter_mut().zip(integers(centre)) {
        *value = value.saturating_sub(centre);
    }
}

/// The decoded shape of a row.
fn shape<'a>(centre: &'a [u8], entries: &'a [[u8; 256 * 2 * GROUP]], codes: &'a [u8]) -> impl Iterator<Item = i16> {
    let rest = entries
        .iter()
        .zip(codes)
        .flat_map(|(entries, code)| integers(&entries[usize::from(*code) * 2 * GROUP..][..2 * GROUP]));
    integers(centre).zip(rest).map(|(a, b)| a.saturating_add(b))
}

/// The square of the decoded shape of a row.
pub(super) fn shape_square(books: &Books<'_>, head: usize, code: &[u8]) -> i64 {
    let entries = books.entries(head);
    let dim = entries.len() * GROUP;
    debug_assert!(dim <= DIM_MAX);
    let centre = Books::centre(books.centres(head), dim, code[0]);
    shape(centre, entries, &code[ROW_HEAD_BYTES..])
        .map(|value| i64::from(value) * i64::from(value))
        .sum()
}

/// Decodes a row: the shape times a factor.
pub(super) fn decode_row(
    dtype: Dtype,
    centre: &[u8],
    entries: &[[u8; 256 * 2 * GROUP]],
    codes: &[u8],
    factor: f32,
    output: &mut [u8],
) {
    for (element, value) in output.chunks_exact_mut(2).zip(shape(centre, entries, codes)) {
        element.copy_from_slice(&number::write(dtype, f32::from(value) * factor).to_le_bytes());
    }
}
