//! The trellis codecs in plain Rust: the definition.

use super::gain;
use super::rotate::{self, DIM_MAX, SIGN_BITS, norm, parts};
use super::tables::{self, Levels};
use super::{BitWriter, Format, PATH_BYTES_MAX, READ_BEYOND_BYTES, put_path};
use crate::codec::isa::Isa;
use crate::codec::number;

/// Units of a channel's number per standard deviation.
const UNIT: f64 = 40.0;
/// The search takes the least cost off all costs once in so many channels: costs saturate, and so those of good paths
/// do not.
pub(super) const RENORMALIZE_CHANNELS: usize = 4;

/// What a vector is to be coded as.
pub(super) struct Target {
    /// Sum of the squares.
    squares: f64,
    /// By which power of two those were scaled.
    exponent: i32,
}

/// Takes the means off a row and scales it by a power of two if its squares or sums might leave `f32`. Returns which;
/// `None` for zeros.
#[inline(always)]
fn shrink(row: &mut [f32], means: &[f32]) -> Option<i32> {
    const HARMLESS: core::ops::RangeInclusive<i32> = -32..=32;
    for (value, mean) in row.iter_mut().zip(means) {
        *value = (*value - mean).clamp(-f32::MAX, f32::MAX);
    }
    let mut largest = 0_i32;
    for value in row.iter() {
        let magnitude = value.abs().to_bits() as i32;
        largest = if magnitude > largest { magnitude } else { largest };
    }
    if largest == 0 {
        return None;
    }
    let exponent = ((largest >> 23) - 127).clamp(-126, 126);
    if HARMLESS.contains(&exponent) {
        return Some(0);
    }
    let scale = f32::from_bits(((127 - exponent) as u32) << 23);
    for value in row.iter_mut() {
        *value *= scale;
    }
    Some(exponent)
}

/// The sum of the squares, in an order that vector instructions can keep.
pub(super) fn squares(row: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for chunk in row.as_chunks::<16>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    for half in [8, 4, 2, 1] {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
    }
    sums[0]
}

/// Rotates a row that has been read, scales it to unit variance and numbers its channels; `None` for zeros. `squares`
/// does what [`squares`] does.
#[inline(always)]
pub(super) fn prepare(
    isa: Isa,
    row: &mut [f32],
    means: &[f32],
    x: &mut [u8],
    squares: impl Fn(&[f32]) -> f32,
) -> Option<Target> {
    // Adding this to a number of less than 2^22 leaves the nearest integer in the lowest bits, here of what is 128
    // more.
    const ROUND: f32 = 12_582_912.0 + 128.0;
    let exponent = shrink(row, means)?;
    rotate::forward(isa, row);
    let squares = f64::from(squares(row));
    let factor = (gain::inverse_root(squares / row.len() as f64) * UNIT) as f32;
    for (x, value) in x.iter_mut().zip(row.iter()) {
        *x = ((value * factor).clamp(-128.0, 127.0) + ROUND).to_bits() as u8;
    }
    Some(Target { squares, exponent })
}

/// Most vectors that are searched together: steps and traces of one wait for each other, those of several do not.
pub(super) const LANES_MAX: usize = 4;
/// Vectors that are searched together with 256 states, which fill the registers by themselves.
pub(super) const LANES_256: usize = 2;

/// Vectors and their paths.
pub(super) struct Batch {
    /// What is searched for.
    pub(super) x: [[u8; DIM_MAX]; LANES_MAX],
    /// The windows found.
    pub(super) path: [[u8; DIM_MAX]; LANES_MAX],
    /// The sums of the squares of the values that those stand for.
    pub(super) energy: [u32; LANES_MAX],
}

impl Batch {
    pub(super) const EMPTY: Self = Self {
        x: [[0; DIM_MAX]; LANES_MAX],
        path: [[0; DIM_MAX]; LANES_MAX],
        energy: [0; LANES_MAX],
    };
}

/// Encodes all rows with the means taken off; `read` reads a row and does [`prepare`], `search` finds the paths of a
/// batch.
#[inline]
pub(super) fn encode_rows_with(
    format: &Format,
    input: &[u8],
    means: &[f32],
    gains: &mut [i32],
    writer: &mut BitWriter<'_>,
    read: impl Fn(&[u8], &mut [f32], &[f32], &mut [u8]) -> Option<Target>,
    mut search: impl FnMut(&mut Batch),
) {
    let dim = format.dim;
    let lanes = if format.window == 8 { LANES_256 } else { LANES_MAX };
    let mut batch = Batch::EMPTY;
    let mut row = [0.0; DIM_MAX];
    let mut head = 0;
    for (input, gains) in input.chunks(2 * dim * lanes).zip(gains.chunks_mut(lanes)) {
        let mut targets = [const { None }; LANES_MAX];
        for ((input, target), x) in input.chunks_exact(2 * dim).zip(&mut targets).zip(&mut batch.x) {
            let means = means.get(head * dim..).unwrap_or(&[]);
            *target = read(input, &mut row[..dim], means, &mut x[..dim]);
            head = if head + 1 == format.heads { 0 } else { head + 1 };
        }
        search(&mut batch);
        for (lane, (gain, target)) in gains.iter_mut().zip(&targets).enumerate() {
            let path = &mut batch.path[lane][..dim];
            *gain = gain::NONE;
            if let Some(target) = target {
                *gain = gain::of_squares(target.squares, f64::from(batch.energy[lane].max(1)), target.exponent);
            }
            if *gain == gain::NONE {
                path.fill(0);
            }
            put_path(format, path, writer);
        }
    }
}

/// Encodes all rows.
pub(super) fn encode_rows(
    isa: Isa,
    format: &Format,
    input: &[u8],
    means: &[f32],
    choices: &mut [u8],
    gains: &mut [i32],
    writer: &mut BitWriter<'_>,
) {
    let read = |bytes: &[u8], row: &mut [f32], means: &[f32], x: &mut [u8]| {
        number::read_row(format.dtype, bytes, row);
        prepare(isa, row, means, x, squares)
    };
    let search = |batch: &mut Batch| search_any(format, batch, choices);
    encode_rows_with(format, input, means, gains, writer, read, search);
}

/// The search of a format.
pub(super) fn search_any(format: &Format, batch: &mut Batch, choices: &mut [u8]) {
    let dim = format.dim;
    match (format.bits, format.window) {
        (4, 8) => search::<4, 256, LANES_256>(&tables::BRANCH_4_256, dim, batch, choices),
        (3, 8) => search::<3, 256, LANES_256>(&tables::BRANCH_3_256, dim, batch, choices),
        (_, 8) => search::<2, 256, LANES_256>(&tables::BRANCH_2_256, dim, batch, choices),
        (4, _) => search::<4, 64, LANES_MAX>(&tables::BRANCH_4_64, dim, batch, choices),
        (3, _) => search::<3, 64, LANES_MAX>(&tables::BRANCH_3_64, dim, batch, choices),
        _ => search::<2, 64, LANES_MAX>(&tables::BRANCH_2_64, dim, batch, choices),
    }
}

/// Bytes between the choices of two vectors: a lane of a register or more.
const fn choices_run(bits: usize, states: usize) -> usize {
    let prefixes = states >> bits;
    if prefixes > 16 { prefixes } else { 16 }
}

/// Bytes that the choices of one channel of `lanes` vectors take.
pub(super) const fn choices_bytes(bits: usize, states: usize, lanes: usize) -> usize {
    choices_run(bits, states) * lanes
}

/// Finds the paths of the least costs of the first `LANES` vectors of a batch.
///
/// State `s` is followed by `(s << BITS | u) % STATES`, so that its highest bits are the oldest; a window is a state
/// with its bits reversed. The states that lead to one have all but the highest `BITS` bits in common, the *prefix* of
/// the states that follow. For each channel and prefix, `choices` gets which one costs least, as the sum of its number
/// and this makes the last; of equal costs the first is taken.
fn search<const BITS: usize, const STATES: usize, const LANES: usize>(
    branches: &[[u8; STATES]; 256],
    dim: usize,
    batch: &mut Batch,
    choices: &mut [u8],
) {
    let prefixes = STATES >> BITS;
    let bytes = choices_bytes(BITS, STATES, LANES);
    let mut last = [[0_u8; STATES]; LANES];
    for (lane, costs) in last.iter_mut().enumerate() {
        for (t, x) in batch.x[lane][..dim].iter().enumerate() {
            let mut least = [0; STATES];
            let least = &mut least[..prefixes];
            if t > 0 {
                let choices = &mut choices[t * bytes + lane * choices_run(BITS, STATES)..][..prefixes];
                least.fill(u8::MAX);
                for (row, costs) in costs.chunks_exact(prefixes).enumerate().rev() {
                    let behind = (((1 << BITS) - 1 - row) * prefixes) as u8;
                    for ((least, choice), cost) in least.iter_mut().zip(choices.iter_mut()).zip(costs) {
                        *choice = if *cost <= *least { behind } else { *choice };
                        *least = (*least).min(*cost);
                    }
                }
                if t % RENORMALIZE_CHANNELS == 0 {
                    let base = least.iter().fold(u8::MAX, |base, cost| base.min(*cost));
                    least.iter_mut().for_each(|cost| *cost -= base);
                }
            }
            for (costs, least) in costs.chunks_exact_mut(1 << BITS).zip(least) {
                costs.fill(*least);
            }
            for (cost, branch) in costs.iter_mut().zip(&branches[usize::from(*x)]) {
                *cost = cost.saturating_add(*branch);
            }
        }
    }
    trace::<BITS, STATES, LANES>(&last, choices, dim, batch);
}

/// The windows of the paths that end in the states of the least costs, of equal costs in the lowest.
#[inline]
pub(super) fn trace<const BITS: usize, const STATES: usize, const LANES: usize>(
    last: &[[u8; STATES]; LANES],
    choices: &[u8],
    dim: usize,
    batch: &mut Batch,
) {
    let prefixes = STATES >> BITS;
    let bytes = choices_bytes(BITS, STATES, LANES);
    let windows = const { tables::windows::<STATES>() };
    let mut states = last.map(|costs| {
        let least = costs.iter().fold(u8::MAX, |least, cost| least.min(*cost));
        costs.iter().position(|cost| *cost == least).unwrap_or(0)
    });
    for t in (0..dim).rev() {
        // Nothing was chosen before the first channel, and the states that come of it are not looked at.
        let choices = &choices[t * bytes..][..bytes];
        for (lane, state) in states.iter_mut().enumerate() {
            let now = *state % STATES;
            let prefix = now >> BITS;
            batch.path[lane][t] = windows[now];
            *state = (prefix + STATES - prefixes) ^ usize::from(choices[lane * choices_run(BITS, STATES) + prefix]);
        }
    }
    let energies = tables::energies(BITS, STATES.trailing_zeros() as usize);
    for (path, energy) in batch.path.iter().zip(&mut batch.energy).take(LANES) {
        *energy = path[..dim].iter().map(|window| energies[usize::from(*window)]).sum();
    }
}

/// The bytes in which a row's stream begins, with as many beyond it as may be read, and by how many bits later it
/// begins. `spare` is for the last rows, behind which there is nothing.
#[inline]
pub(super) fn path_of<'p>(
    format: &Format,
    paths: &'p [u8],
    row: usize,
    spare: &'p mut [u8; PATH_BYTES_MAX],
) -> (&'p [u8], usize) {
    let first_bit = row * format.path_bits();
    let at = first_bit / 8;
    let count = format.bits * format.dim / 8 + 2 + READ_BEYOND_BYTES;
    if let Some(bytes) = paths.get(at..at + count) {
        return (bytes, first_bit % 8);
    }
    let rest = paths.get(at..).unwrap_or(&[]);
    let taken = rest.len().min(count);
    spare.fill(0);
    spare[..taken].copy_from_slice(&rest[..taken]);
    (&spare[..count], first_bit % 8)
}

/// Decodes all rows.
#[cfg_attr(all(target_arch = "x86_64", not(miri)), allow(dead_code))]
pub(super) fn decode_rows(_: Isa, format: &Format, paths: &[u8], gains: &[f32], means: &[f32], output: &mut [u8]) {
    let dim = format.dim;
    let levels = tables::levels(format.bits, format.window);
    let mut spare = [0; PATH_BYTES_MAX];
    let mut values = [0_i32; DIM_MAX];
    let values = &mut values[..dim];
    for (number, (output, gain)) in output.chunks_exact_mut(2 * dim).zip(gains).enumerate() {
        let (path, shift) = path_of(format, paths, number, &mut spare);
        look_up(format, levels, path, shift, values);
        let means = means.get(number % format.heads * dim..).filter(|_| format.mean);
        for (first, n) in parts(dim) {
            let part = &mut values[first..first + n];
            hadamard(part);
            let scale = *gain * norm(n);
            for (channel, (value, element)) in (first..).zip(part.iter().zip(output[2 * first..].chunks_exact_mut(2))) {
                let mut value = f32::from_bits((*value as f32 * scale).to_bits() ^ SIGN_BITS[channel]);
                if let Some(means) = means {
                    value += means[channel];
                }
                element.copy_from_slice(&number::write(format.dtype, value).to_le_bytes());
            }
        }
    }
}

fn look_up(format: &Format, levels: Levels, path: &[u8], shift: usize, values: &mut [i32]) {
    for (t, value) in values.iter_mut().enumerate() {
        let bit = shift + t * format.bits;
        let window = (usize::from(path[bit / 8]) | usize::from(path[bit / 8 + 1]) << 8) >> (bit % 8);
        *value = i32::from(levels[window & ((1 << format.window) - 1)]);
    }
}

fn hadamard(part: &mut [i32]) {
    let mut distance = 1;
    while distance < part.len() {
        for block in part.chunks_exact_mut(2 * distance) {
            let (low, high) = block.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance *= 2;
    }
}
