//! `t4`, `t3`, `t2`: the rotated vector as a path through a trellis, 4, 3 or 2 bits a channel.
//!
//! A vector is rotated ([`rotate`]) and scaled to unit variance. Its stream has `bits` bits a channel and a few more;
//! the value of channel `t` is looked up by the *window* of 8 (or 6) bits that begins at bit `t * bits`. Windows
//! overlap, so that each bit counts for several channels: what a vector quantizer of many dimensions gains, at the
//! price of one look-up a channel. Encoding searches all streams for the one with the least squared error (Viterbi).
//! The gain makes the decoded vector as long as the input was.
//!
//! Decoding is exact in integers up to the gain: no sum of table values over a part of the rotation leaves the integers
//! that `f32` has, so that all versions agree however they order their sums.
//!
//! The format, byte by byte, is in `docs/codecs/trellis.md`.

mod all;
mod gain;
mod tables;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(test)]
mod tests;

use super::isa::Isa;
use super::plane::Settings;
use super::rotate;
use super::scratch::Scratch;
use crate::error::Status;
use crate::geometry::{Dtype, PlaneShape};
use gain::{Range, Span};
use rotate::DIM_MAX;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use all as best;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as best;

/// Bytes of a head's range of gains.
const RANGE_BYTES: usize = 4;
/// Bytes of the scale of a head's means.
const MEAN_SCALE_BYTES: usize = 2;
/// Largest magnitude of the code of a mean, which has 4 bits.
const MEAN_CODE_MAX: f32 = 7.0;
/// Bytes of the choices of one channel of the vectors that are searched together: two times 256 states, by what they
/// have in common with 2 bits a channel.
const CHOICES_BYTES: usize = 128;
/// How far beyond a vector's bits its decoder may read.
const READ_BEYOND_BYTES: usize = 16;
/// Room for the bits of one vector and what is read beyond them.
const PATH_BYTES_MAX: usize = 4 * DIM_MAX / 8 + 2 + READ_BEYOND_BYTES;

/// Where the sections of a code lie, and how large its pieces are.
#[derive(Clone, Copy)]
struct Format {
    bits: usize,
    window: usize,
    dtype: Dtype,
    rows: usize,
    heads: usize,
    dim: usize,
    mean: bool,
}

impl Format {
    const fn new(bits: usize, settings: &Settings, shape: &PlaneShape) -> Self {
        Self {
            bits,
            window: if settings.states_64 { 6 } else { 8 },
            dtype: shape.dtype,
            rows: shape.rows(),
            heads: shape.heads,
            dim: shape.dim,
            mean: settings.mean,
        }
    }

    /// Bits of one vector's stream.
    const fn path_bits(&self) -> usize {
        self.bits * self.dim + self.window - self.bits
    }

    /// Bytes of a head's means.
    const fn mean_bytes(&self) -> usize {
        if self.mean { MEAN_SCALE_BYTES + self.dim / 2 } else { 0 }
    }

    const fn means_at(&self) -> usize {
        self.heads * RANGE_BYTES
    }

    const fn gains_at(&self) -> usize {
        self.means_at() + self.heads * self.mean_bytes()
    }

    const fn paths_at(&self) -> usize {
        self.gains_at() + self.rows
    }

    const fn code_bytes(&self) -> usize {
        self.paths_at() + (self.rows * self.path_bits()).div_ceil(8)
    }
}

/// Puts bits one behind the other, the lowest first.
struct BitWriter<'o> {
    output: &'o mut [u8],
    at: usize,
    pending: u64,
    pending_bits: usize,
}

impl<'o> BitWriter<'o> {
    const fn new(output: &'o mut [u8]) -> Self {
        Self {
            output,
            at: 0,
            pending: 0,
            pending_bits: 0,
        }
    }

    /// Puts up to 32 bits.
    #[inline]
    fn put(&mut self, bits: u64, count: usize) {
        self.pending |= bits << self.pending_bits;
        self.pending_bits += count;
        if self.pending_bits >= 32 {
            if let Some(word) = self.output.get_mut(self.at..self.at + 4) {
                word.copy_from_slice(&(self.pending as u32).to_le_bytes());
            }
            self.at += 4;
            self.pending >>= 32;
            self.pending_bits -= 32;
        }
    }

    fn finish(mut self) {
        while self.pending_bits > 0 {
            if let Some(byte) = self.output.get_mut(self.at) {
                *byte = self.pending as u8;
            }
            self.at += 1;
            self.pending >>= 8;
            self.pending_bits = self.pending_bits.saturating_sub(8);
        }
    }
}

/// Writes the stream of a path: `bits` bits of each window, and the rest of the last. The path is a multiple of 8 long.
fn put_path(format: &Format, path: &[u8], writer: &mut BitWriter<'_>) {
    let bits = format.bits;
    let ones = |count: usize| (1_u64 << count) - 1;
    let (eights, _) = path.as_chunks::<8>();
    for eight in eights {
        // The lowest bits of eight bytes are brought together, of two, of four, of eight.
        let all = u64::from_le_bytes(*eight) & (ones(bits) * 0x0101_0101_0101_0101);
        let all = (all | all >> (8 - bits)) & (ones(2 * bits) * 0x0001_0001_0001_0001);
        let all = (all | all >> (16 - 2 * bits)) & (ones(4 * bits) * 0x0000_0001_0000_0001);
        writer.put((all | all >> (32 - 4 * bits)) & ones(8 * bits), 8 * bits);
    }
    let last = path.last().copied().unwrap_or(0);
    writer.put(u64::from(last) >> bits, format.window - bits);
}

/// The means of a head's channels as they are taken off and put back; what they are coded with is in `bytes`.
fn decode_means(bytes: &[u8], means: &mut [f32]) {
    let Some((scale, codes)) = bytes.split_at_checked(MEAN_SCALE_BYTES) else {
        return;
    };
    let scale = f32::from_bits(u32::from(u16::from_le_bytes([scale[0], scale[1]])) << 16);
    let scale = if scale.is_finite() { scale } else { 0.0 };
    let mean = |code: i8| (f32::from(code) * scale).clamp(-f32::MAX, f32::MAX);
    for (pair, code) in means.chunks_exact_mut(2).zip(codes) {
        pair[0] = mean((*code << 4) as i8 >> 4);
        pair[1] = mean(*code as i8 >> 4);
    }
}

/// Takes the means of one head over all tokens and codes them.
fn encode_means(format: &Format, input: &[u8], head: usize, bytes: &mut [u8]) {
    let dim = format.dim;
    let mut sums = [0.0_f64; DIM_MAX];
    let mut row = [0.0; DIM_MAX];
    let row_bytes = 2 * dim;
    for row_input in input.chunks_exact(row_bytes).skip(head).step_by(format.heads) {
        super::number::read_row(format.dtype, row_input, &mut row[..dim]);
        for (sum, value) in sums[..dim].iter_mut().zip(&row) {
            *sum += f64::from(*value);
        }
    }
    let tokens = (format.rows / format.heads) as f64;
    let mut largest = 0.0_f32;
    for (mean, sum) in row[..dim].iter_mut().zip(&sums) {
        *mean = (*sum / tokens) as f32;
        largest = largest.max(mean.abs());
    }
    // Rounded up, so that no code is larger than the largest.
    let scale_bits = ((largest / MEAN_CODE_MAX).to_bits() + 0xFFFF) >> 16;
    let scale = f32::from_bits(scale_bits << 16);
    let (scale_bytes, codes) = bytes.split_at_mut(MEAN_SCALE_BYTES);
    scale_bytes.copy_from_slice(&(scale_bits as u16).to_le_bytes());
    let code = |mean: f32| {
        let steps = if scale > 0.0 { mean / scale } else { 0.0 };
        (steps + if steps < 0.0 { -0.5 } else { 0.5 }) as i8 as u8 & 0x0F
    };
    for (code_out, pair) in codes.iter_mut().zip(row[..dim].chunks_exact(2)) {
        *code_out = code(pair[0]) | code(pair[1]) << 4;
    }
}

/// Encodes a plane.
///
/// # Errors
/// [`Status::TooSmall`] if the scratch is too small.
pub(super) fn encode(
    isa: Isa,
    bits: usize,
    settings: &Settings,
    shape: &PlaneShape,
    input: &[u8],
    code: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<usize, Status> {
    let format = Format::new(bits, settings, shape);
    let code = code.get_mut(..format.code_bytes()).ok_or(Status::TooSmall)?;
    let gains = scratch.take::<i32>(format.rows)?;
    let spans = scratch.take::<i32>(2 * format.heads)?;
    let means = scratch.take::<f32>(if format.mean { format.heads * format.dim } else { 0 })?;
    let choices = scratch.take::<u8>(format.dim * CHOICES_BYTES)?;

    let (front, paths) = code.split_at_mut(format.paths_at());
    let (front, gain_codes) = front.split_at_mut(format.gains_at());
    let (ranges, mean_codes) = front.split_at_mut(format.means_at());
    if format.mean {
        let heads = mean_codes.chunks_exact_mut(format.mean_bytes());
        for (head, (bytes, means)) in heads.zip(means.chunks_exact_mut(format.dim)).enumerate() {
            encode_means(&format, input, head, bytes);
            decode_means(bytes, means);
        }
    }
    let mut writer = BitWriter::new(paths);
    best::encode_rows(isa, &format, input, means, choices, gains, &mut writer);
    writer.finish();

    for head in 0..format.heads {
        let mut span = Span::EMPTY;
        for gain in gains.iter().skip(head).step_by(format.heads) {
            span.add(*gain);
        }
        let range = Range::of(span);
        ranges[head * RANGE_BYTES..][..RANGE_BYTES].copy_from_slice(&range.to_bytes());
        spans[2 * head..][..2].copy_from_slice(&[range.low(), range.step()]);
    }
    for (number, (gain_code, gain)) in gain_codes.iter_mut().zip(gains.iter()).enumerate() {
        let head = number % format.heads;
        *gain_code = Range::code(spans[2 * head], spans[2 * head + 1], *gain);
    }
    Ok(format.code_bytes())
}

/// Decodes a plane.
///
/// # Errors
/// [`Status::Damaged`] if the code is not as long as it must be; [`Status::TooSmall`] if the scratch is too small.
pub(super) fn decode(
    isa: Isa,
    bits: usize,
    settings: &Settings,
    shape: &PlaneShape,
    code: &[u8],
    output: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<(), Status> {
    let format = Format::new(bits, settings, shape);
    if code.len() != format.code_bytes() {
        return Err(Status::Damaged);
    }
    let gains = scratch.take::<f32>(format.rows)?;
    let means = scratch.take::<f32>(if format.mean { format.heads * format.dim } else { 0 })?;
    let (front, paths) = code.split_at(format.paths_at());
    let (front, gain_codes) = front.split_at(format.gains_at());
    let (ranges, mean_codes) = front.split_at(format.means_at());
    if format.mean {
        let heads = mean_codes.chunks_exact(format.mean_bytes());
        for (bytes, means) in heads.zip(means.chunks_exact_mut(format.dim)) {
            decode_means(bytes, means);
        }
    }
    for (gains, codes) in gains
        .chunks_exact_mut(format.heads)
        .zip(gain_codes.chunks_exact(format.heads))
    {
        for ((gain, code), range) in gains.iter_mut().zip(codes).zip(ranges.chunks_exact(RANGE_BYTES)) {
            *gain = Range::from_bytes([range[0], range[1], range[2], range[3]]).gain(*code);
        }
    }
    best::decode_rows(isa, &format, paths, gains, means, output);
    Ok(())
}
