//! Codebooks that were trained on samples of the model: a centre for the whole vector, and an entry for each four
//! channels of what is left.
//!
//! A vector is a length (its *gain*) times a *shape* of norm `sqrt(dim)`. The shape is the nearest of 256 centres of
//! its head, plus one of 256 entries for each four channels. The gain is chosen so that the decoded vector is as long
//! as the vector was. Shapes, centres and entries are integers, 1024 to the unit; so searching is exact, and the same
//! with every instruction set.
//!
//! The code of a row (a token's vector of one head), row by row: the centre's number, the gain's code (0: the vector is
//! zero), and the number of the entry for each four channels: `2 + dim / 4` bytes.
//!
//! The section of the tables, for one plane, little-endian:
//!
//! | bytes | content |
//! | ---: | --- |
//! | 4 for each head | the gain whose code is 128, in sixteenths of an octave; then zeros up to a multiple of 64 |
//! | 512 `dim` for each head | 256 centres of `dim` 16-bit integers |
//! | 512 `dim`, behind each head's centres | for each four channels, 256 entries of four 16-bit integers |

mod all;
mod books;
mod gain;
#[cfg(feature = "train")]
pub(super) mod train;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(all(test, feature = "train"))]
mod tests;

use super::isa::Isa;
use super::number;
use super::plane::Plane;
use super::scratch::Scratch;
use super::tables::Tables;
use crate::config::CodecKind;
use crate::error::Status;
use books::Books;

/// Channels that share an entry.
const GROUP: usize = 4;
/// Bytes of a row's code before those of its entries: centre and gain.
const ROW_HEAD_BYTES: usize = 2;
/// Largest dimension of a head.
const DIM_MAX: usize = 256;
/// The unit of shapes.
const UNIT: f64 = 1024.0;

const fn row_code_bytes(dim: usize) -> usize {
    ROW_HEAD_BYTES + dim / GROUP
}

fn nearest_centre(isa: Isa, row: &[i16], centres: &[u8], halves: &[i32; 256]) -> u8 {
    match isa {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2(proof) | Isa::Avx512(proof) => x86_64::nearest_centre(proof, row, centres, halves),
        _ => all::nearest_centre(row, centres, halves),
    }
}

/// Finds the nearest of 256 entries for every `rows_step`th group of four, and puts their numbers `codes_step` apart.
fn nearest_entries(
    isa: Isa,
    entries: &[u8; 256 * 2 * GROUP],
    rows: &[i16],
    rows_step: usize,
    codes: &mut [u8],
    codes_step: usize,
) {
    match isa {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2(proof) | Isa::Avx512(proof) => {
            x86_64::nearest_entries(proof, entries, rows, rows_step, codes, codes_step);
        }
        _ => all::nearest_entries(entries, rows, rows_step, codes, codes_step),
    }
}

/// The shape of a row, 1024 to the unit, and the square of the factor that makes it so; `None` for a row of zeros.
fn shape_of(values: &[f32], shape: &mut [i16]) -> Option<f64> {
    // Four sums, so that the processor need not wait for one; always in this order.
    let mut sums = [0.0_f64; 4];
    for group in values.chunks_exact(4) {
        for (sum, value) in sums.iter_mut().zip(group) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    let mean = (sums[0] + sums[1] + sums[2] + sums[3]) / values.len() as f64;
    if mean == 0.0 {
        shape.fill(0);
        return None;
    }
    let factor = UNIT * inverse_root(mean);
    for (shape, value) in shape.iter_mut().zip(values) {
        let scaled = f64::from(*value) * factor;
        *shape = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i16;
    }
    Some(mean)
}

/// `1 / sqrt(value)` but for the last bits, from multiplications and subtractions alone.
fn inverse_root(value: f64) -> f64 {
    let mut root = f64::from_bits(0x5FE6_EB50_C7B5_37A9 - (value.to_bits() >> 1));
    for _ in 0..5 {
        root *= 1.5 - 0.5 * value * root * root;
    }
    root
}

/// Encodes a plane.
pub(super) fn encode(
    isa: Isa,
    tables: &Tables<'_>,
    plane: &Plane,
    input: &[u8],
    code: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<usize, Status> {
    let shape = &plane.shape;
    let (heads, dim) = (shape.heads, shape.dim);
    let section = tables.section(CodecKind::Vq, plane.layer, plane.plane);
    let books = Books::open(section.ok_or(Status::Unsupported)?, heads, dim)?;
    let stride = row_code_bytes(dim);
    let code = code.get_mut(..shape.rows() * stride).ok_or(Status::TooSmall)?;
    let squares = scratch.take::<f64>(shape.rows())?;
    let rows = scratch.take::<i16>(shape.elements())?;

    for head in 0..heads {
        let centres = books.centres(head);
        let halves = &all::halves(centres, dim);
        for row in (head..shape.rows()).step_by(heads) {
            let mut values = [0.0; DIM_MAX];
            let values = &mut values[..dim];
            number::read_row(shape.dtype, &input[row * 2 * dim..][..2 * dim], values);
            let rest = &mut rows[row * dim..][..dim];
            squares[row] = shape_of(values, rest).unwrap_or(0.0);
            let centre = nearest_centre(isa, rest, centres, halves);
            code[row * stride] = centre;
            all::subtract(rest, Books::centre(centres, dim, centre));
        }
        for (group, entries) in books.entries(head).iter().enumerate() {
            let codes = &mut code[head * stride + ROW_HEAD_BYTES + group..];
            nearest_entries(
                isa,
                entries,
                &rows[head * dim + group * GROUP..],
                heads * dim,
                codes,
                heads * stride,
            );
        }
    }
    for (row, code) in code.chunks_exact_mut(stride).enumerate() {
        let head = row % heads;
        let square = all::shape_square(&books, head, code);
        let ratio = squares[row] * (UNIT * UNIT * dim as f64) / square as f64;
        if squares[row] == 0.0 || square == 0 {
            code.fill(0);
        } else {
            code[1] = gain::code(gain::step(ratio), books.middle(head));
        }
    }
    Ok(code.len())
}

/// Decodes a plane.
pub(super) fn decode(
    isa: Isa,
    tables: &Tables<'_>,
    plane: &Plane,
    code: &[u8],
    output: &mut [u8],
    _: &mut Scratch<'_>,
) -> Result<(), Status> {
    let shape = &plane.shape;
    let section = tables.section(CodecKind::Vq, plane.layer, plane.plane);
    let books = Books::open(section.ok_or(Status::Unsupported)?, shape.heads, shape.dim)?;
    let stride = row_code_bytes(shape.dim);
    if code.len() != shape.rows() * stride {
        return Err(Status::Damaged);
    }
    let rows = code.chunks_exact(stride).zip(output.chunks_exact_mut(2 * shape.dim));
    for (row, (code, output)) in rows.enumerate() {
        let head = row % shape.heads;
        if code[1] == 0 {
            output.fill(0);
            continue;
        }
        let factor = gain::length(code[1], books.middle(head)) * (1.0 / UNIT as f32);
        let centre = Books::centre(books.centres(head), shape.dim, code[0]);
        let entries = books.entries(head);
        let codes = &code[ROW_HEAD_BYTES..];
        match isa {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2(proof) | Isa::Avx512(proof) => {
                x86_64::decode_row(proof, shape.dtype, centre, entries, codes, factor, output);
            }
            _ => all::decode_row(shape.dtype, centre, entries, codes, factor, output),
        }
    }
    Ok(())
}
