//! Frequencies of symbols.

use super::super::encode::Trials;
use super::super::entropy::class_of;
use super::super::section::{CLASSES, ESCAPE, FREQUENCY_SUM, GAIN_ONE, GAINS, PAGES, ROWS, SYMBOLS};
use std::vec;
use std::vec::Vec;

/// How many symbols the distributions that are assumed count as much as.
const PRIOR_SYMBOLS: f64 = 400.0;

/// Calls `f` with each row of a trial: the symbol that opens it, its first channel, what is coded.
pub(super) fn each_row(trials: &Trials<'_, '_>, mut f: impl FnMut(usize, usize, &[i16])) {
    let channels = trials.section.channels();
    let mut openings = trials.openings.iter();
    for differences in trials.differences.chunks_exact(channels) {
        for (first, width) in trials.section.groups() {
            if let Some(opening) = openings.next() {
                f(usize::from(*opening), first, &differences[first..first + width]);
            }
        }
    }
}

/// How often each symbol occurred.
pub(super) struct Counts {
    classes: Vec<f64>,
    rows: Vec<f64>,
}

impl Counts {
    /// What is assumed before anything is counted.
    pub(super) fn new() -> Self {
        let mut classes = Vec::new();
        for class in 0..CLASSES {
            classes.extend(assumed(class).map(|share| share * PRIOR_SYMBOLS));
        }
        // Gains near the middle are more likely.
        let row = |opening: usize| 4.0 / (1.0 + ((opening % GAINS) as f64 - f64::from(GAIN_ONE)).powi(2)) + 0.2;
        let rows: Vec<f64> = (0..ROWS).map(row).collect();
        Self {
            classes,
            rows: vec![rows; PAGES.len()].concat(),
        }
    }

    pub(super) fn add(&mut self, page: usize, trials: &Trials<'_, '_>) {
        let channels = trials.section.channels();
        each_row(trials, |opening, first, row| {
            self.rows[page * ROWS + opening] += 1.0;
            let (mode, gain) = (opening / GAINS, opening % GAINS);
            let levels = &trials.levels[mode * channels + first..];
            for (level, value) in levels.iter().zip(row) {
                let (class, shift) = class_of(i32::from(*level) + gain as i32 - GAIN_ONE);
                let symbol = (i32::from(*value) >> shift).clamp(-ESCAPE, ESCAPE) + ESCAPE;
                self.classes[class * SYMBOLS + symbol as usize] += 1.0;
            }
        });
    }

    /// Frequencies of all classes; both signs are as frequent.
    pub(super) fn classes(&self) -> Vec<u16> {
        let class = |counts: &[f64]| {
            let mut even: Vec<f64> = (0..31).map(|symbol| counts[symbol] + counts[30 - symbol]).collect();
            even.push(0.0);
            frequencies(&even)
        };
        self.classes.chunks_exact(SYMBOLS).flat_map(class).collect()
    }

    /// Frequencies of the symbols that open rows.
    pub(super) fn rows(&self) -> Vec<u16> {
        self.rows.chunks_exact(ROWS).flat_map(frequencies).collect()
    }
}

/// Shares of the symbols of a class, if coefficients have the distribution `exp(-|x / a|^b)` with `b` from 0.8 for the
/// smallest to 1.8 for the largest.
fn assumed(class: usize) -> [f64; SYMBOLS] {
    let power = 0.8 + class as f64 / (CLASSES - 1) as f64;
    let deviation = (class as f64 / 2.0 - 5.0).exp2();
    // Of the distribution with `a` = 1, the second moment.
    let density = |x: f64| (-x.powf(power)).exp();
    let (mut whole, mut square) = (0.0, 0.0);
    for i in 0..40_000 {
        let x = (f64::from(i) + 0.5) / 1000.0;
        whole += density(x);
        square += density(x) * x * x;
    }
    let width = deviation / (square / whole).sqrt();
    let mut shares = [0.0; SYMBOLS];
    const PARTS: i32 = 400;
    for i in 0..PARTS * 80 {
        let x = (f64::from(i) + 0.5) / f64::from(PARTS);
        let symbol = ((x + 0.42) as i32).min(ESCAPE);
        // The middle of a part of a distribution much narrower than it stands for the whole part.
        let share = density(x / width);
        shares[(ESCAPE + symbol) as usize] += share;
        shares[(ESCAPE - symbol) as usize] += share;
    }
    let sum: f64 = shares.iter().sum();
    shares.map(|share| share / sum)
}

/// Whole numbers that add up to [`FREQUENCY_SUM`] and are as near to the counts' shares as can be; each but the last of
/// a class, which counts as nothing there, is at least 1.
fn frequencies(counts: &[f64]) -> Vec<u16> {
    let used: Vec<usize> = (0..counts.len()).filter(|at| counts[*at] > 0.0 || *at < 31).collect();
    let sum: f64 = counts.iter().sum();
    let free = f64::from(FREQUENCY_SUM) - used.len() as f64;
    let mut result = vec![0_u16; counts.len()];
    for at in &used {
        result[*at] = 1 + (counts[*at] / sum * free) as u16;
    }
    let missing = FREQUENCY_SUM as i32 - result.iter().map(|f| i32::from(*f)).sum::<i32>();
    let largest = (0..counts.len())
        .max_by(|a, b| counts[*a].total_cmp(&counts[*b]))
        .unwrap_or(0);
    result[largest] += missing as u16;
    result
}

/// 1/256 bits of symbols with these frequencies.
pub(super) fn costs(frequencies: &[u16]) -> Vec<u16> {
    let cost = |frequency: &u16| {
        let share = f64::from(*frequency).max(1.0) / f64::from(FREQUENCY_SUM);
        (-share.log2() * 256.0).round() as u16
    };
    frequencies.iter().map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_add_up_and_none_is_zero() {
        let counts = Counts::new();
        for class in counts.classes().chunks_exact(SYMBOLS) {
            assert_eq!(class.iter().map(|f| u32::from(*f)).sum::<u32>(), FREQUENCY_SUM);
            assert!(class[..31].iter().all(|frequency| *frequency > 0));
            assert_eq!(class[31], 0);
            assert!(class[15] > class[16] || class[16].abs_diff(class[15]) < 64);
        }
        for rows in counts.rows().chunks_exact(ROWS) {
            assert_eq!(rows.iter().map(|f| u32::from(*f)).sum::<u32>(), FREQUENCY_SUM);
            assert!(rows.iter().all(|frequency| *frequency > 0));
        }
    }

    #[test]
    fn costs_are_the_logarithms_of_shares() {
        assert_eq!(costs(&[2048, 1024, 1, 2]), [0, 256, 2816, 2560]);
    }
}
