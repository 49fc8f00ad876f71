//! Means, principal components and scales.

use super::super::encode::Source;
use super::super::kernel::Portable;
use super::super::section::BASIS_BITS;
use crate::codec::tables::Rope;
use crate::codec::train::Samples;
use nalgebra::{DMatrix, SymmetricEigen};
use std::vec;
use std::vec::Vec;

/// What is fitted to a plane.
pub(super) struct Transform {
    pub(super) unit: f32,
    pub(super) means: Vec<f32>,
    pub(super) levels: Vec<i16>,
    pub(super) bases: Vec<i16>,
}

/// The covariance of rows of `width` numbers, their means taken off.
fn covariance(rows: &[f32], width: usize) -> DMatrix<f64> {
    let count = (rows.len() / width).max(1) as f64;
    let mut means = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        for (mean, value) in means.iter_mut().zip(row) {
            *mean += f64::from(*value) / count;
        }
    }
    let mut sums = vec![0.0_f64; width * width];
    let mut centred = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        for ((centred, value), mean) in centred.iter_mut().zip(row).zip(&means) {
            *centred = f64::from(*value) - mean;
        }
        for (at, sums) in sums.chunks_exact_mut(width).enumerate() {
            let own = centred[at];
            for (sum, other) in sums[..=at].iter_mut().zip(&centred) {
                *sum += own * other;
            }
        }
    }
    DMatrix::from_fn(width, width, |i, j| sums[i.max(j) * width + i.min(j)] / count)
}

/// The natural logarithm of the determinant of the covariance, with a little noise added to each channel.
pub(super) fn log_determinant(rows: &[f32], width: usize) -> f64 {
    let mut matrix = covariance(rows, width);
    let noise = (matrix.trace() / width as f64 * 1e-4).max(1e-30);
    for at in 0..width {
        matrix[(at, at)] += noise;
    }
    matrix.cholesky().map_or(f64::MAX, |factors| {
        let diagonal = factors.l_dirty().diagonal();
        2.0 * diagonal.iter().map(|value| value.ln()).sum::<f64>()
    })
}

/// Fits the transform of one plane.
pub(super) fn fit(samples: &Samples<'_>, input: &[u8], rope: &Rope, turns: &[f64], group_heads: usize) -> Transform {
    let channels = samples.heads * samples.dim;
    let source = Source {
        dtype: samples.dtype,
        dim: samples.dim,
        rope: *rope,
        turns,
    };
    let mut rows = vec![0.0_f32; samples.tokens() * channels];
    for (token, (row, input)) in rows
        .chunks_exact_mut(channels)
        .zip(input.chunks_exact(2 * channels))
        .enumerate()
    {
        let position = (token % samples.sequence_tokens) as u64;
        source.load(Portable, position, input, row);
    }
    let count = samples.tokens().max(1) as f64;
    let mut means = vec![0.0_f64; channels];
    for row in rows.chunks_exact(channels) {
        for (mean, value) in means.iter_mut().zip(row) {
            *mean += f64::from(*value) / count;
        }
    }
    let width = group_heads * samples.dim;
    let mut variances = Vec::new();
    let mut bases = Vec::new();
    for first in (0..channels).step_by(width) {
        let width = width.min(channels - first);
        let group: Vec<f32> = rows
            .chunks_exact(channels)
            .flat_map(|row| &row[first..first + width])
            .copied()
            .collect();
        let eigen = SymmetricEigen::new(covariance(&group, width));
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]).then(a.cmp(b)));
        variances.extend(order.iter().map(|at| eigen.eigenvalues[*at].max(0.0)));
        let one = f64::from(1_u32 << BASIS_BITS);
        let element = |channel: usize, coefficient: usize| {
            (eigen.eigenvectors[(channel, order[coefficient])] * one).round() as i16
        };
        for channel in 0..width {
            bases.extend((0..width).map(|coefficient| element(channel, coefficient)));
        }
        for pair in 0..width / 2 {
            for channel in 0..width {
                bases.extend([element(channel, 2 * pair), element(channel, 2 * pair + 1)]);
            }
        }
    }
    let unit = (variances.iter().sum::<f64>() / channels as f64)
        .sqrt()
        .clamp(1e-20, 1e20);
    let level = |variance: &f64| ((variance.sqrt() / unit).max(1e-4).log2() * 32.0).round() as i16;
    Transform {
        unit: unit as f32,
        means: means.iter().map(|mean| *mean as f32).collect(),
        levels: variances.iter().map(level).collect(),
        bases,
    }
}
