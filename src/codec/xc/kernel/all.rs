//! The loops that are the same everywhere.

use super::super::entropy::PLACES;

/// Rows that the forward transform does at once.
pub(in super::super) const ROWS_AT_ONCE: usize = 8;

/// What a coefficient is rounded up from: lower than a half, which makes more of them zero.
pub(super) const ROUNDING: f32 = 0.42;
/// The largest number of steps.
pub(in super::super) const STEPS_MAX: i32 = 8191;

/// Multiplies rows of numbers with `basis`, `width` rows of `width`: `output[r][j]` is the sum over `i` of
/// `rows[r][i] * basis[i][j]`, from the first `i` to the last, in units of a whole number of the basis.
///
/// `rows` and `output` are [`ROWS_AT_ONCE`] times `width`.
pub(in super::super) fn forward(basis: &[i16], width: usize, rows: &[f32], output: &mut [f32]) {
    for (row, output) in rows.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        output.fill(0.0);
        for (element, factors) in row.iter().zip(basis.chunks_exact(width)) {
            for (sum, factor) in output.iter_mut().zip(factors) {
                *sum += *element * f32::from(*factor);
            }
        }
    }
}

/// `sums[i]`: over all coefficients `j`, the coefficient times `basis[j / 2][i][j % 2]`.
///
/// Whole numbers of 32 bits that wrap around; with coefficients of at most 8191 and rows of a basis of length 2^14 they
/// never do.
#[inline(always)]
pub(in super::super) fn inverse(basis: &[i16], row: &[i16], sums: &mut [i32]) {
    sums.fill(0);
    for (pair, factors) in row.chunks_exact(2).zip(basis.chunks_exact(2 * row.len())) {
        let (first, second) = (i32::from(pair[0]), i32::from(pair[1]));
        if first | second == 0 {
            continue;
        }
        for (sum, factors) in sums.iter_mut().zip(factors.chunks_exact(2)) {
            let both = first * i32::from(factors[0]) + second * i32::from(factors[1]);
            *sum = sum.wrapping_add(both);
        }
    }
}

/// Steps of a number without its sign, rounded.
#[inline(always)]
fn steps(value: f32) -> f32 {
    let magnitude = value.abs() + ROUNDING;
    if magnitude < STEPS_MAX as f32 {
        magnitude
    } else {
        STEPS_MAX as f32
    }
}

/// Coefficients in steps.
#[inline(always)]
pub(in super::super) fn quantise(row: &[f32], inverse_step: f32, output: &mut [i16]) {
    for (value, output) in row.iter().zip(output) {
        let value = *value * inverse_step;
        let magnitude = steps(value) as i32 as i16;
        *output = if value < 0.0 { -magnitude } else { magnitude };
    }
}

/// Coefficients less those of another row, in steps.
#[inline(always)]
pub(in super::super) fn quantise_from(row: &[f32], inverse_step: f32, from: &[i16], output: &mut [i16]) {
    let limit = STEPS_MAX as f32;
    // What is not a number counts as the limit.
    for ((value, from), output) in row.iter().zip(from).zip(output) {
        let value = *value * inverse_step;
        let value = if value < limit { value } else { limit };
        let value = if value > -limit { value } else { -limit };
        let value = value - f32::from(*from);
        let magnitude = (value.abs() + ROUNDING) as i32 as i16;
        let difference = if value < 0.0 { -magnitude } else { magnitude };
        *output = clamp(*from + difference) - *from;
    }
}

#[inline(always)]
fn clamp(steps: i16) -> i16 {
    steps.clamp(-(STEPS_MAX as i16), STEPS_MAX as i16)
}

/// The sum of two rows, within the range of steps.
#[inline(always)]
pub(in super::super) fn add(row: &[i16], from: &[i16], output: &mut [i16]) {
    for ((difference, from), output) in row.iter().zip(from).zip(output) {
        *output = clamp(from.wrapping_add(*difference));
    }
}

/// Coefficients as bytes around 128, for [`nearest`].
#[inline(always)]
pub(in super::super) fn bytes(row: &[i16], output: &mut [u8]) {
    for (value, output) in row.iter().zip(output) {
        *output = ((*value).clamp(-128, 127) + 128) as u8;
    }
}

/// The sum of the absolute differences.
fn distance(left: &[u8], right: &[u8]) -> u32 {
    left.iter()
        .zip(right)
        .map(|(left, right)| u32::from(left.abs_diff(*right)))
        .sum()
}

/// How far back the row most like this one lies, at most [`LAG_MAX`](super::super::LAG_MAX) rows; the nearest of
/// those that are equally like it, 0 if there is none. `before` holds rows of `channels`, of which those to compare
/// with begin at `first`.
pub(in super::super) fn nearest(row: &[u8], before: &[u8], channels: usize, first: usize) -> usize {
    let mut best = (u32::MAX, 0);
    for (lag, other) in (1..=super::super::LAG_MAX).zip(before.rchunks_exact(channels)) {
        let distance = distance(row, &other[first..first + row.len()]);
        if distance < best.0 {
            best = (distance, lag);
        }
    }
    best.1
}

/// The sum of the magnitudes, each at most 127.
#[inline(always)]
pub(in super::super) fn magnitudes(row: &[i16]) -> u32 {
    row.iter()
        .map(|value| i32::from((*value).clamp(-127, 127)).unsigned_abs())
        .sum()
}

/// The largest magnitude.
#[inline(always)]
pub(in super::super) fn peak(row: &[i16]) -> i16 {
    row.iter().fold(0, |peak, value| peak.max(value.abs()))
}

/// The sum of the magnitudes, each at most 2047, with weights.
#[inline(always)]
pub(in super::super) fn weigh(row: &[i16], weights: &[i16]) -> i32 {
    let mut sum = 0;
    for (value, weight) in row.iter().zip(weights) {
        sum += i32::from(value.abs().min(2047)) * i32::from(*weight);
    }
    sum
}

/// The sum of the costs of symbols.
#[inline(always)]
pub(in super::super) fn sum_of(costs: &[u32; PLACES], symbols: &[u16]) -> u32 {
    symbols.iter().map(|symbol| costs[usize::from(*symbol) % PLACES]).sum()
}

/// The class of each coefficient of a row, those beyond the last as the last.
#[inline(always)]
pub(in super::super) fn classes(levels: &[i8], offset: i8, output: &mut [u8]) {
    let last = super::super::section::CLASSES as i8 - 1;
    for (level, output) in levels.iter().zip(output) {
        *output = level.saturating_add(offset).clamp(0, last) as u8;
    }
}
