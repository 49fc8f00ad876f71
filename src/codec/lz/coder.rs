//! Encoding and decoding.

use super::all;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::x86_64;
use super::zstd::{Compressor, Decompressor, Search, with_compressor, with_decompressor};
use crate::codec::isa::Isa;
use crate::codec::scratch::Scratch;
use crate::error::Status;
use crate::geometry::PlaneShape;

const HEADER_BYTES: usize = 8;
const LOW_COMPRESSED: u8 = 1;
const HIGH_COMPRESSED: u8 = 2;

/// The least that compressing a plane must save, as a fraction: less is not worth the time that decoding takes.
const GAIN_MIN: usize = 64;

fn split(isa: Isa, input: &[u8], high: &mut [u8], low: &mut [u8]) {
    match isa {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2(proof) | Isa::Avx512(proof) => x86_64::split(proof, input, high, low),
        _ => all::split(input, high, low),
    }
}

fn merge(isa: Isa, high: &[u8], low: &[u8], output: &mut [u8]) {
    match isa {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Isa::Avx2(proof) | Isa::Avx512(proof) => x86_64::merge(proof, high, low, output),
        _ => all::merge(high, low, output),
    }
}

/// Puts a plane to the front of `code`, compressed if that saves enough. Returns whether it is, and its length.
fn put(
    compressor: &mut Compressor<'_>,
    search: Search,
    plane: &[u8],
    code: &mut [u8],
) -> Result<(bool, usize), Status> {
    let code = code.get_mut(..plane.len()).ok_or(Status::TooSmall)?;
    let target = &mut code[..plane.len() - plane.len().div_ceil(GAIN_MIN)];
    if let Some(length) = compressor.compress(search, plane, target)? {
        return Ok((true, length));
    }
    code.copy_from_slice(plane);
    Ok((false, plane.len()))
}

/// Encodes a plane. The code is at most the plane and a header long.
pub(in crate::codec) fn encode(
    isa: Isa,
    shape: &PlaneShape,
    input: &[u8],
    code: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<usize, Status> {
    let (header, rest) = code.split_at_mut_checked(HEADER_BYTES).ok_or(Status::TooSmall)?;
    with_compressor(scratch, |compressor, scratch| {
        let high = scratch.take::<u8>(shape.elements())?;
        let low = scratch.take::<u8>(shape.elements())?;
        split(isa, input, high, low);
        // The low plane is noise of which nothing can be saved, except where rows repeat. So it tells whether looking
        // for matches in the high plane pays; where nothing repeats, Huffman codes alone are shorter and faster.
        let (low_compressed, low_bytes) = put(compressor, Search::Matches, low, rest)?;
        let search = if low_compressed {
            Search::Matches
        } else {
            Search::Literals
        };
        let (high_compressed, high_bytes) = put(compressor, search, high, &mut rest[low_bytes..])?;
        header.fill(0);
        header[0] = (u8::from(low_compressed) * LOW_COMPRESSED) | (u8::from(high_compressed) * HIGH_COMPRESSED);
        header[4..].copy_from_slice(&(low_bytes as u32).to_le_bytes());
        Ok(HEADER_BYTES + low_bytes + high_bytes)
    })
}

/// A plane from its code: the code itself, or decompressed into `memory`.
fn get<'a>(
    decompressor: &mut Decompressor<'_>,
    compressed: bool,
    code: &'a [u8],
    memory: &'a mut [u8],
) -> Result<&'a [u8], Status> {
    if compressed {
        decompressor.decompress(code, memory)?;
        Ok(memory)
    } else if code.len() == memory.len() {
        Ok(code)
    } else {
        Err(Status::Damaged)
    }
}

/// Decodes a plane.
pub(in crate::codec) fn decode(
    isa: Isa,
    shape: &PlaneShape,
    code: &[u8],
    output: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<(), Status> {
    let (header, rest) = code.split_at_checked(HEADER_BYTES).ok_or(Status::Damaged)?;
    let &[flags, 0, 0, 0, a, b, c, d] = header else {
        return Err(Status::Damaged);
    };
    if flags & !(LOW_COMPRESSED | HIGH_COMPRESSED) != 0 {
        return Err(Status::Damaged);
    }
    let low_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    let (low, high) = rest.split_at_checked(low_bytes).ok_or(Status::Damaged)?;
    with_decompressor(scratch, |decompressor, scratch| {
        let high_memory = scratch.take::<u8>(shape.elements())?;
        let low_memory = scratch.take::<u8>(shape.elements())?;
        let low = get(decompressor, flags & LOW_COMPRESSED != 0, low, low_memory)?;
        let high = get(decompressor, flags & HIGH_COMPRESSED != 0, high, high_memory)?;
        merge(isa, high, low, output);
        Ok(())
    })
}
