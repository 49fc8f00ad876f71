//! What chance explains: a change is compared with what was before it, slice by slice of the same requests.
//!
//! Both go through the same requests, so what makes one slice harder than another falls out of the difference, and what
//! is left to scatter is the difference itself. Its standard error is that of a mean of slices, made larger where
//! neighbours scatter together (batch means; Law, Kelton, 1979).

/// Fewest slices that say anything of how they scatter.
pub const SLICES_MIN: usize = 8;
/// Standard errors that a gain has to be away from nothing: Student's t at seven degrees of freedom, two-sided 95 %.
const ERRORS: f64 = 2.37;

/// How figures of slices changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The mean of the differences.
    pub mean: f64,
    /// What chance explains on either side of it.
    pub noise: f64,
    /// Slices with more, and with less.
    pub more: usize,
    /// See `more`.
    pub less: usize,
}

impl Change {
    /// Of pairs of what was before and what is after, a pair a slice. Fewer than [`SLICES_MIN`] show nothing: all of it
    /// may be chance.
    pub fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let differences: Vec<f64> = pairs.map(|(before, after)| after - before).collect();
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count.max(1.0);
        let more = differences.iter().filter(|difference| **difference > 0.0).count();
        let less = differences.iter().filter(|difference| **difference < 0.0).count();
        let noise = match differences.len() < SLICES_MIN {
            true => f64::INFINITY,
            false => {
                let off: Vec<f64> = differences.iter().map(|difference| difference - mean).collect();
                let square = off.iter().map(|off| off * off).sum::<f64>();
                let together = off.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
                let stretch = if square > 0.0 {
                    1.0 + 2.0 * together / square
                } else {
                    1.0
                };
                ERRORS * (square / (count - 1.0) / count * stretch.max(1.0)).sqrt()
            }
        };
        Self {
            mean,
            noise,
            more,
            less,
        }
    }

    /// Whether there is more than before, by more than chance and in more slices than not.
    pub fn is_gain(&self) -> bool {
        self.mean > self.noise && self.more > self.less
    }

    /// Whether what is lost, with what chance may hide, is no more than this.
    pub fn loses_at_most(&self, loss: f64) -> bool {
        self.mean - self.noise >= -loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1/2 and 1/2 that look like chance.
    fn chance(seed: u64) -> impl Iterator<Item = f64> {
        (0..).scan(seed, |state, _: u32| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            Some((*state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5)
        })
    }

    #[test]
    fn what_is_only_chance_is_seldom_taken_for_a_gain_and_a_gain_seldom_missed() {
        let mut taken = [0, 0];
        for seed in 0..2000 {
            let noise: Vec<f64> = chance(seed * 7919 + 1).skip(4).take(12).collect();
            for (place, gain) in [(0, 0.0), (1, 0.5)] {
                let change = Change::of(noise.iter().map(|off| (0.3, 0.3 + gain + off)));
                taken[place] += usize::from(change.is_gain());
            }
        }
        // One-sided, at 11 degrees of freedom: 1.9 % are expected.
        assert!(taken[0] < 2000 * 4 / 100, "{taken:?}");
        assert!(taken[1] > 2000 * 97 / 100, "{taken:?}");
    }

    #[test]
    fn slices_that_scatter_together_count_for_less() {
        let waves = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let turns = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let [waves, turns] = [waves, turns].map(|list| Change::of(list.iter().map(|after| (0.0, *after))));
        assert_eq!(waves.mean, turns.mean);
        assert!(waves.noise > 1.5 * turns.noise, "{waves:?} {turns:?}");
        assert!(turns.is_gain() && !waves.is_gain());
    }

    #[test]
    fn a_few_slices_show_nothing_and_equal_ones_are_certain() {
        let few = Change::of((0..SLICES_MIN - 1).map(|_| (0.0, 1.0)));
        assert!(!few.is_gain() && !few.loses_at_most(1e9));
        let same = Change::of((0..SLICES_MIN).map(|_| (0.5, 0.5)));
        assert!(!same.is_gain() && same.loses_at_most(0.0));
        let better = Change::of((0..SLICES_MIN).map(|_| (0.5, 0.625)));
        assert!(better.is_gain() && better.more == SLICES_MIN);
        let worse = Change::of((0..SLICES_MIN).map(|_| (0.625, 0.5)));
        assert!(worse.loses_at_most(0.125) && !worse.loses_at_most(0.12) && worse.less == SLICES_MIN);
        assert!(!Change::of(std::iter::empty()).is_gain());
    }
}
