//! One codec over one layer after the other: bits, errors, seconds.

use std::time::Instant;

use kvcache::Status;
use kvcache::budget::{BLOCK_CODE_ENTRY_BYTES, BLOCK_CODE_HEADER_BYTES};
use kvcache::codec::Plane;
use kvcache::geometry::PlaneShape;

use crate::codec::coder::Coder;
use crate::codec::samples::{SampleSet, numbers};
use crate::sys::clock::thread_time;

/// Each layer is encoded and decoded anew until this has passed, for the sake of the times.
const SECONDS_PER_PLANE: f64 = 0.02;

/// The squared difference from, and the squared norm of, what is right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference {
    difference: f64,
    norm: f64,
}

impl Difference {
    /// Adds numbers and what they should be.
    pub fn add(&mut self, found: impl IntoIterator<Item = f32>, right: impl IntoIterator<Item = f32>) {
        for (found, right) in found.into_iter().zip(right) {
            let (found, right) = (f64::from(found), f64::from(right));
            self.difference += (found - right) * (found - right);
            self.norm += right * right;
        }
    }

    /// The first over the second; 0 where there is nothing.
    pub fn relative(&self) -> f64 {
        self.difference / self.norm.max(f64::MIN_POSITIVE)
    }
}

/// What became of keys, or of values.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlaneError {
    /// Against what they were.
    pub difference: Difference,
    cosines: f64,
    rows: f64,
}

impl PlaneError {
    fn add(&mut self, set: &SampleSet, found: &[u8], right: &[u8]) {
        self.difference
            .add(numbers(set.dtype, found), numbers(set.dtype, right));
        let row_bytes = set.dim * 2;
        for (found, right) in found.chunks_exact(row_bytes).zip(right.chunks_exact(row_bytes)) {
            let [mut product, mut found_norm, mut right_norm] = [0.0_f64; 3];
            for (found, right) in numbers(set.dtype, found).zip(numbers(set.dtype, right)) {
                let (found, right) = (f64::from(found), f64::from(right));
                product += found * right;
                found_norm += found * found;
                right_norm += right * right;
            }
            self.cosines += match (found_norm > 0.0, right_norm > 0.0) {
                (true, true) => product / (found_norm.sqrt() * right_norm.sqrt()),
                (found, right) => f64::from(found == right),
            };
            self.rows += 1.0;
        }
    }

    /// The mean over all vectors.
    pub fn cosine(&self) -> f64 {
        self.cosines / self.rows.max(1.0)
    }
}

/// What one codec came to so far.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Bytes of all codes.
    pub code_bytes: u64,
    /// Bytes of the headers and directories of blocks.
    pub directory_bytes: f64,
    /// Bytes of what was encoded.
    pub plane_bytes: u64,
    /// Keys, values.
    pub planes: [PlaneError; 2],
    /// Of what attention makes of them.
    pub attention: Difference,
    /// Seconds that the thread had a processor for encoding everything once.
    pub encode_seconds: f64,
    /// Seconds of decoding everything once.
    pub decode_seconds: f64,
}

impl Measured {
    /// Encodes and decodes one plane in blocks of so many tokens, and returns what came back.
    ///
    /// # Errors
    /// The codec's.
    pub fn plane(
        &mut self,
        set: &SampleSet,
        coder: &mut Coder<'_>,
        block_tokens: usize,
        place: (usize, usize),
    ) -> Result<Vec<u8>, Status> {
        let (layer, number) = place;
        let input = &set.layers[&layer].planes[number];
        let mut output = vec![0; input.len()];
        let mut passes = Vec::new();
        let begun = Instant::now();
        while passes.is_empty() || begun.elapsed().as_secs_f64() < SECONDS_PER_PLANE {
            let mut pass = Pass::default();
            for (input, output) in sequences(set, input).zip(sequences_mut(set, &mut output)) {
                pass.sequence(set, coder, block_tokens, place, input, output)?;
            }
            passes.push(pass);
        }
        passes.sort_by(|one, other| one.decode_seconds.total_cmp(&other.decode_seconds));
        self.decode_seconds += passes[passes.len() / 2].decode_seconds;
        passes.sort_by(|one, other| one.encode_seconds.total_cmp(&other.encode_seconds));
        self.encode_seconds += passes[passes.len() / 2].encode_seconds;
        self.code_bytes += passes[0].code_bytes;
        self.plane_bytes += input.len() as u64;
        let header_bytes = BLOCK_CODE_HEADER_BYTES as f64 / (2 * set.layers.len()) as f64;
        self.directory_bytes += passes[0].blocks as f64 * (header_bytes + BLOCK_CODE_ENTRY_BYTES as f64);
        self.planes[number].add(set, &output, input);
        Ok(output)
    }

    /// Bits per element of the codes alone.
    pub fn bits(&self) -> f64 {
        self.code_bytes as f64 * 16.0 / self.plane_bytes as f64
    }

    /// Bits per element with the headers and directories of blocks.
    pub fn bits_in_block(&self) -> f64 {
        (self.code_bytes as f64 + self.directory_bytes) * 16.0 / self.plane_bytes as f64
    }
}

/// Everything encoded and decoded once.
#[derive(Clone, Copy, Default)]
struct Pass {
    blocks: u64,
    code_bytes: u64,
    encode_seconds: f64,
    decode_seconds: f64,
}

impl Pass {
    fn sequence(
        &mut self,
        set: &SampleSet,
        coder: &mut Coder<'_>,
        block_tokens: usize,
        (layer, plane): (usize, usize),
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), Status> {
        let token_bytes = set.heads * set.dim * 2;
        let blocks = input
            .chunks(block_tokens * token_bytes)
            .zip(output.chunks_mut(block_tokens * token_bytes));
        for (number, (input, output)) in blocks.enumerate() {
            let plane = Plane {
                shape: PlaneShape {
                    dtype: set.dtype,
                    tokens: input.len() / token_bytes,
                    heads: set.heads,
                    dim: set.dim,
                },
                layer,
                plane,
                position: (set.position + number * block_tokens) as u64,
            };
            let begun = thread_time();
            let code = coder.encode(&plane, input)?;
            self.encode_seconds += (thread_time() - begun).as_secs_f64();
            let code = code.to_vec();
            let begun = thread_time();
            coder.decode(&plane, &code, output)?;
            self.decode_seconds += (thread_time() - begun).as_secs_f64();
            self.code_bytes += code.len() as u64;
            self.blocks += 1;
        }
        Ok(())
    }
}

fn sequences<'s>(set: &SampleSet, plane: &'s [u8]) -> impl Iterator<Item = &'s [u8]> + use<'s> {
    plane.chunks_exact(set.tokens * set.heads * set.dim * 2)
}

fn sequences_mut<'s>(set: &SampleSet, plane: &'s mut [u8]) -> impl Iterator<Item = &'s mut [u8]> + use<'s> {
    plane.chunks_exact_mut(set.tokens * set.heads * set.dim * 2)
}
