//! How many bytes codecs need: of codes at most, and of memory to work in.

use crate::config::{CodecChoice, CodecKind, Config};
use crate::geometry::{Geometry, PlaneShape};
use crate::limits::PAGE_BYTES;

/// Bytes before the codes of a block's planes, without the directory.
pub const BLOCK_CODE_HEADER_BYTES: usize = 32;
/// Bytes of a plane's entry in the directory.
pub const BLOCK_CODE_ENTRY_BYTES: usize = 8;
/// Alignment of the memory that a codec works in.
pub const SCRATCH_ALIGNMENT_BYTES: usize = 64;

/// Bytes of a zstd context, the larger of those for compression and decompression, as `lz` uses them; asserted there.
pub const LZ_WORKSPACE_BYTES: usize = 544 << 10;

/// Most bytes of the code of one plane. Exact for the codecs of a fixed rate.
pub const fn code_bytes_max(kind: CodecKind, shape: &PlaneShape) -> usize {
    let elements = shape.elements();
    match kind {
        CodecKind::Raw => shape.bytes(),
        CodecKind::Lz => shape.bytes() + 8,
        CodecKind::F8 => elements,
        CodecKind::I8 => elements + 2 * shape.rows(),
        CodecKind::N4 => shape.rows() * (shape.dim.div_ceil(2) + 2 * shape.dim.div_ceil(32)),
        CodecKind::T4 => trellis(shape, 4),
        CodecKind::T3 => trellis(shape, 3),
        CodecKind::T2 => trellis(shape, 2),
        CodecKind::Vq => shape.rows() * (2 + shape.dim / 4),
        CodecKind::Xc => shape.bytes() + 64,
    }
}

/// Range of the gains and means of each head, a gain and a path for each vector.
const fn trellis(shape: &PlaneShape, bits: usize) -> usize {
    let path_bits = shape.dim * bits + 8 - bits;
    trellis_mean_bytes(shape) + 4 * shape.heads + shape.rows() + (shape.rows() * path_bits).div_ceil(8)
}

/// Bytes of the means in a trellis code, which only keys have, and only where they are asked for.
pub(crate) const fn trellis_mean_bytes(shape: &PlaneShape) -> usize {
    shape.heads * (2 + shape.dim / 2)
}

/// Bytes of memory that encoding and decoding one plane take, beyond input and output.
pub const fn scratch_bytes(kind: CodecKind, shape: &PlaneShape) -> usize {
    let fixed = 4096;
    fixed
        + match kind {
            CodecKind::Raw | CodecKind::F8 | CodecKind::I8 | CodecKind::N4 => 0,
            CodecKind::Lz => shape.bytes() + LZ_WORKSPACE_BYTES,
            // The choices along a vector, the means, the gains, their ranges.
            CodecKind::T4 | CodecKind::T3 | CodecKind::T2 => {
                shape.dim * 128 + 4 * shape.heads * shape.dim + 4 * shape.rows() + 8 * shape.heads
            }
            // The vectors as integers, and the square of each.
            CodecKind::Vq => shape.bytes() + 8 * shape.rows(),
            // Coefficients as numbers, in steps, as differences and as bytes; words; the decoder's table.
            CodecKind::Xc => 12 * shape.elements() + 64 * shape.heads * shape.dim + (160 << 10),
        }
}

/// Bytes of memory that encoding and decoding a block take: what its planes take, a plane, and the directory. Enough
/// for any code of a codec without tables, whatever `choice` says.
pub fn block_scratch_bytes(geometry: &Geometry, choice: &CodecChoice) -> usize {
    let shape = geometry.plane_shape();
    let without_tables = CodecKind::ALL.into_iter().filter(|kind| !kind.needs_tables());
    let most = without_tables
        .chain(choice.kinds())
        .map(|kind| scratch_bytes(kind, &shape))
        .max();
    most.unwrap_or(0) + shape.bytes() + planes_count(geometry) * BLOCK_CODE_ENTRY_BYTES + 1024
}

const fn planes_count(geometry: &Geometry) -> usize {
    (geometry.shape().layers_count * geometry.shape().planes_count) as usize
}

/// About how many bytes a block comes to: what a tier's room is estimated by.
fn block_code_bytes_usual(geometry: &Geometry, choice: &CodecChoice) -> u64 {
    let shape = geometry.plane_shape();
    let planes = geometry.shape().planes_count as usize;
    let layers = geometry.shape().layers_count as usize;
    let code = |number: usize| {
        let kind = choice.kind(layers, number / planes, number % planes);
        let bytes = match kind {
            CodecKind::Lz => shape.bytes() as u64 * 2 / 3,
            CodecKind::Xc => shape.elements() as u64 * choice.xc_millibits / 8000,
            _ => code_bytes_max(kind, &shape) as u64,
        };
        bytes.min(shape.bytes() as u64)
    };
    (0..planes_count(geometry)).map(code).sum()
}

/// About how many bytes the smallest block of a tier with these codecs comes to, the largest block where it has none.
pub(super) fn tier_block_bytes(config: &Config, choice: &CodecChoice) -> u64 {
    let geometries = config.geometries.iter().flatten();
    let usual = geometries.map(|geometry| block_code_bytes_usual(geometry, choice));
    usual.min().unwrap_or(config.block_bytes).min(config.block_bytes)
}

/// Bytes that the file tiers' codecs work in: scratch, and where something is encoded two blocks, a code and a plain
/// one. A file may hold codes that this configuration would not make, so there is scratch wherever there is a geometry.
pub(super) fn work_bytes(config: &Config) -> u64 {
    let tiers = [&config.nvme, &config.disk];
    let encodes = tiers.iter().any(|file| file.bytes != 0 && !file.codec.is_raw());
    work_scratch_bytes(config) + if encodes { 2 * work_block_bytes(config) } else { 0 }
}

/// Bytes of the scratch, which lies first.
pub(crate) fn work_scratch_bytes(config: &Config) -> u64 {
    if config.nvme.bytes == 0 && config.disk.bytes == 0 {
        return 0;
    }
    let bytes = |geometry: &Geometry| {
        let with_tables = [CodecKind::Vq, CodecKind::Xc].map(CodecChoice::all);
        let bytes = with_tables.map(|choice| block_scratch_bytes(geometry, &choice) as u64);
        bytes[0].max(bytes[1])
    };
    let scratch = config.geometries.iter().flatten().map(bytes).max();
    scratch.unwrap_or(0).next_multiple_of(PAGE_BYTES)
}

/// Bytes of each of the two blocks.
pub(crate) fn work_block_bytes(config: &Config) -> u64 {
    config.block_bytes.next_multiple_of(PAGE_BYTES)
}
