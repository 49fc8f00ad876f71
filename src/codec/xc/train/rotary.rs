//! Which rotary embedding keys went through, seen from the keys.

use super::super::encode::Source;
use super::super::kernel::Portable;
use super::transform::log_determinant;
use crate::codec::tables::{Rope, RopePairs};
use crate::codec::train::Samples;
use std::vec;
use std::vec::Vec;

/// Bases of models that are in use.
const THETAS: [f64; 9] = [1e4, 2.5e4, 1e5, 1.6e5, 2.5e5, 5e5, 1e6, 5e6, 1e7];
/// Bits per element that an embedding must save.
const BITS_MIN: f64 = 0.02;
const TOKENS_MAX: usize = 2048;
const LAYERS_MAX: usize = 3;

/// Turns per token of each pair.
pub(super) fn turns(rope: &Rope) -> Vec<f64> {
    (0..rope.dim / 2)
        .map(|pair| rope.theta.powf(-2.0 * pair as f64 / rope.dim as f64) / core::f64::consts::TAU)
        .collect()
}

/// Bits per element of the first head's keys, up to a constant, if they went through `rope`: half the logarithm of the
/// determinant of their covariance.
fn rate(samples: &Samples<'_>, rope: &Rope, layers: &[usize]) -> f64 {
    let dim = samples.dim;
    let turns = turns(rope);
    let mut bits = 0.0;
    for layer in layers {
        let keys = samples.layers[*layer][0];
        let tokens = samples.tokens().min(TOKENS_MAX);
        let mut rows = vec![0.0_f32; tokens * dim];
        let token_bytes = samples.heads * dim * 2;
        let source = Source {
            dtype: samples.dtype,
            dim,
            rope: *rope,
            turns: &turns,
        };
        for (token, row) in rows.chunks_exact_mut(dim).enumerate() {
            let position = (token % samples.sequence_tokens) as u64;
            let input = &keys[token * token_bytes..][..2 * dim];
            source.load(Portable, position, input, row);
        }
        bits += log_determinant(&rows, dim) / (2 * dim) as f64 / core::f64::consts::LN_2;
    }
    bits / layers.len().max(1) as f64
}

/// The rotary embedding that the samples' keys went through: the one without which they need the fewest bits. None, if
/// no embedding saves anything worth mentioning.
pub(in crate::codec) fn find_rope(samples: &Samples<'_>) -> Rope {
    let count = samples.layers.len();
    let layers: Vec<usize> = (0..count).step_by(count.div_ceil(LAYERS_MAX).max(1)).collect();
    let mut best = (rate(samples, &Rope::NONE, &layers) - BITS_MIN, Rope::NONE);
    for dim in [samples.dim, samples.dim / 2, samples.dim / 4] {
        for pairs in [RopePairs::Half, RopePairs::Interleaved] {
            for theta in THETAS {
                let rope = Rope { pairs, theta, dim };
                let bits = rate(samples, &rope, &layers);
                if bits < best.0 {
                    best = (bits, rope);
                }
            }
        }
    }
    best.1
}
