//! Training of codebooks: k-means, in integers, so that every machine gets the same tables.
//!
//! For each plane and head: the shapes of the samples' vectors, 256 centres of these, and for each four channels 256
//! entries of what the nearest centres leave. A centre that stands for few samples fits these better than it fits
//! anything else, and what it leaves is too little; so there are fewer centres where there are few samples.

use super::books::{Books, head_start};
use super::{GROUP, all, gain, nearest_centre, nearest_entries, shape_of};
use crate::codec::isa::Isa;
use crate::codec::number;
use crate::codec::tables::Section;
use crate::codec::train::Samples;
use crate::config::CodecKind;
use std::vec;
use std::vec::Vec;

/// Most vectors that a head's books are trained on, spread evenly over the samples.
const VECTORS_MAX: usize = 16 << 10;
/// Fewest vectors for each centre.
const CENTRE_VECTORS_MIN: usize = 32;
/// Most rounds of k-means; it ends before where nothing changes any more.
const CENTRE_ROUNDS: usize = 16;
const ENTRY_ROUNDS: usize = 24;

/// Codebooks for every plane.
pub(in crate::codec) fn sections(samples: &Samples<'_>) -> Vec<Section> {
    let isa = Isa::detect();
    let plane = |layer: usize, plane: usize| Section {
        kind: CodecKind::Vq,
        layer,
        plane,
        bytes: section(isa, samples, samples.layers[layer][plane], (layer << 1 | plane) as u64),
    };
    (0..samples.layers.len())
        .flat_map(|layer| [plane(layer, 0), plane(layer, 1)])
        .collect()
}

/// The codebooks of one plane, from its bytes.
fn section(isa: Isa, samples: &Samples<'_>, plane: &[u8], seed: u64) -> Vec<u8> {
    let (heads, dim) = (samples.heads, samples.dim);
    let mut section = vec![0; head_start(heads)];
    for head in 0..heads {
        let (mut shapes, middle) = shapes(samples, plane, head);
        section[4 * head..][..4].copy_from_slice(&middle.to_le_bytes());
        let mut random = Random::new(seed << 16 | head as u64);
        let count = (shapes.len() / dim / CENTRE_VECTORS_MIN).clamp(1, 256);
        let centres = means(isa, &shapes, dim, count, CENTRE_ROUNDS, &mut random);
        let halves = all::halves(&centres, dim);
        for shape in shapes.chunks_exact_mut(dim) {
            let nearest = nearest_centre(isa, shape, &centres, &halves);
            all::subtract(shape, Books::centre(&centres, dim, nearest));
        }
        section.extend_from_slice(&centres);
        for group in 0..dim / GROUP {
            let rests: Vec<i16> = shapes
                .chunks_exact(dim)
                .flat_map(|shape| shape[group * GROUP..][..GROUP].iter().copied())
                .collect();
            section.extend_from_slice(&means(isa, &rests, GROUP, 256, ENTRY_ROUNDS, &mut random));
        }
    }
    section
}

/// Shapes of a head's vectors, and the step of the gain in the middle.
fn shapes(samples: &Samples<'_>, plane: &[u8], head: usize) -> (Vec<i16>, i32) {
    let (tokens, dim) = (samples.tokens(), samples.dim);
    let count = tokens.min(VECTORS_MAX);
    let (mut shapes, mut steps) = (Vec::new(), Vec::new());
    let (mut values, mut shape) = (vec![0.0; dim], vec![0; dim]);
    for vector in 0..count {
        let token = vector * tokens / count;
        let row = (token * samples.heads + head) * dim;
        number::read_row(samples.dtype, &plane[2 * row..][..2 * dim], &mut values);
        if let Some(square) = shape_of(&values, &mut shape) {
            shapes.extend_from_slice(&shape);
            steps.push(gain::step(square));
        }
    }
    steps.sort_unstable();
    let middle = steps.get(steps.len() / 2).copied().unwrap_or(0);
    (shapes, middle)
}

/// 256 means of vectors as the tables hold them; those beyond `count` repeat the first ones.
fn means(isa: Isa, vectors: &[i16], dim: usize, count: usize, rounds: usize, random: &mut Random) -> Vec<u8> {
    let vectors_count = vectors.len() / dim;
    let mut means = vec![0_i16; 256 * dim];
    if vectors_count == 0 {
        return bytes_of(&means);
    }
    seed(vectors, dim, &mut means[..count * dim], random);
    let mut numbers = vec![0_u8; vectors_count];
    for _ in 0..rounds {
        repeat(&mut means, count * dim);
        let before = numbers.clone();
        assign(isa, vectors, dim, &means, &mut numbers);
        let (mut sums, mut sizes) = (vec![0_i64; count * dim], vec![0_i64; count]);
        for (vector, number) in vectors.chunks_exact(dim).zip(&numbers) {
            let number = usize::from(*number);
            sizes[number] += 1;
            for (sum, value) in sums[number * dim..][..dim].iter_mut().zip(vector) {
                *sum += i64::from(*value);
            }
        }
        for (number, size) in sizes.iter().enumerate() {
            let mean = &mut means[number * dim..][..dim];
            if *size == 0 {
                // Nobody's: take some vector's place, so that no number is lost.
                let place = random.below(vectors_count as u64) as usize;
                mean.copy_from_slice(&vectors[place * dim..][..dim]);
                continue;
            }
            for (mean, sum) in mean.iter_mut().zip(&sums[number * dim..]) {
                *mean = (2 * sum + size).div_euclid(2 * size) as i16;
            }
        }
        if numbers == before {
            break;
        }
    }
    repeat(&mut means, count * dim);
    bytes_of(&means)
}

/// Fills what lies behind the first `used` values with these.
fn repeat(means: &mut [i16], used: usize) {
    for place in used..means.len() {
        means[place] = means[place - used];
    }
}

fn bytes_of(integers: &[i16]) -> Vec<u8> {
    integers.iter().flat_map(|integer| integer.to_le_bytes()).collect()
}

fn assign(isa: Isa, vectors: &[i16], dim: usize, means: &[i16], numbers: &mut [u8]) {
    let bytes = bytes_of(means);
    if let (GROUP, Ok(entries)) = (dim, <&[u8; 256 * 2 * GROUP]>::try_from(bytes.as_slice())) {
        return nearest_entries(isa, entries, vectors, GROUP, numbers, 1);
    }
    let halves = all::halves(&bytes, dim);
    for (vector, number) in vectors.chunks_exact(dim).zip(numbers) {
        *number = nearest_centre(isa, vector, &bytes, &halves);
    }
}

/// Places to begin from (k-means++): each a vector, drawn by its squared distance to the nearest place before.
fn seed(vectors: &[i16], dim: usize, means: &mut [i16], random: &mut Random) {
    let mut distances = vec![u64::MAX; vectors.len() / dim];
    let mut place = random.below(distances.len() as u64) as usize;
    for mean in means.chunks_exact_mut(dim) {
        mean.copy_from_slice(&vectors[place * dim..][..dim]);
        let mut total = 0_u64;
        for (distance, vector) in distances.iter_mut().zip(vectors.chunks_exact(dim)) {
            let mut square = 0_u64;
            for (a, b) in vector.iter().zip(&*mean) {
                let difference = i32::from(*a) - i32::from(*b);
                square += u64::from(difference.unsigned_abs()).pow(2);
            }
            *distance = square.min(*distance);
            total += *distance;
        }
        let mut left = random.below(total.max(1));
        place = distances
            .iter()
            .position(|distance| {
                let here = left < *distance;
                left = left.saturating_sub(*distance);
                here
            })
            .unwrap_or(0);
    }
}

/// Xorshift: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed ^ 0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}
