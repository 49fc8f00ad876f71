//! Keys and values made up: Gaussian, each channel with a scale of its own, a few channels far larger than the rest,
//! tokens alike to their neighbours, keys rotated by their positions. What codecs are timed on; their quality is
//! measured on samples of models.

use half::{bf16, f16};
use kvcache::codec::{Plane, Rope, RopePairs};
use kvcache::layout::Dtype;

/// How alike neighbouring tokens are.
const CORRELATION: f32 = 0.5;
/// One channel in so many is an outlier, and by how much.
const OUTLIER_EVERY: u64 = 32;
const OUTLIER_SCALE: f32 = 8.0;

/// The rotary embedding of the keys.
pub const fn rope(dim: usize) -> Rope {
    Rope {
        pairs: RopePairs::Half,
        theta: 10000.0,
        dim,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// Mean 0, variance 1; the sum of twelve uniform numbers.
    fn gaussian(&mut self) -> f32 {
        let sum: u32 = (0..3)
            .map(|_| {
                let word = self.next();
                (0..4).map(|part| (word >> (16 * part)) as u32 & 0xFFFF).sum::<u32>()
            })
            .sum();
        sum as f32 / 65536.0 - 6.0
    }
}

/// Writes the elements of a plane. The scales of the channels follow from the layer and the plane alone, so that
/// different seeds are different tokens of one model.
pub fn fill(plane: &Plane, seed: u64, output: &mut [u8]) {
    let shape = &plane.shape;
    let width = shape.heads * shape.dim;
    let mut model = Random((plane.layer * 2 + plane.plane) as u64 + 1);
    let scales: Vec<f32> = (0..width)
        .map(|_| {
            let outlier = model.next().is_multiple_of(OUTLIER_EVERY);
            let scale = (0.5 * model.gaussian()).exp();
            scale * if outlier { OUTLIER_SCALE } else { 1.0 }
        })
        .collect();
    let mut random = Random(seed << 20 ^ model.next());
    let mut state: Vec<f32> = (0..width).map(|_| random.gaussian()).collect();
    let fresh = (1.0 - CORRELATION * CORRELATION).sqrt();
    let mut row = vec![0.0; width];
    for (token, output) in output.chunks_exact_mut(2 * width).enumerate() {
        for ((value, state), scale) in row.iter_mut().zip(&mut state).zip(&scales) {
            *state = CORRELATION * *state + fresh * random.gaussian();
            *value = *state * scale;
        }
        if plane.plane == 0 {
            rotate(&mut row, shape.dim, plane.position + token as u64);
        }
        for (element, &value) in output.as_chunks_mut::<2>().0.iter_mut().zip(&row) {
            *element = match shape.dtype {
                Dtype::Bf16 => bf16::from_f32(value).to_le_bytes(),
                _ => f16::from_f32(value).to_le_bytes(),
            };
        }
    }
}

/// Turns the pairs of each head by the token's position.
fn rotate(row: &mut [f32], dim: usize, position: u64) {
    let half = dim / 2;
    for pair in 0..half {
        let frequency = rope(dim).theta.powf(-(pair as f64) / half as f64);
        let (sin, cos) = (position as f64 * frequency).sin_cos();
        let (sin, cos) = (sin as f32, cos as f32);
        for head in row.chunks_exact_mut(dim) {
            let (first, second) = (head[pair], head[pair + half]);
            head[pair] = first * cos - second * sin;
            head[pair + half] = first * sin + second * cos;
        }
    }
}
