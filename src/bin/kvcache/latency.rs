//! How long each of many operations took, in an array of one size: nothing grows while it is filled.

use serde::{Deserialize, Serialize};

/// Buckets to a power of two: percentiles are exact within 3 %.
const STEPS: u64 = 16;
const STEPS_SHIFT: u32 = STEPS.ilog2();
const BUCKETS_COUNT: usize = ((64 - STEPS_SHIFT + 1) as usize) * STEPS as usize;

/// A distribution of times.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Vec<(u16, u64)>", from = "Vec<(u16, u64)>")]
pub struct Latency {
    buckets: Box<[u64]>,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS_COUNT].into(),
        }
    }
}

/// Only the buckets that hold something, by their numbers.
impl From<Latency> for Vec<(u16, u64)> {
    fn from(latency: Latency) -> Self {
        let used = (0..).zip(latency.buckets).filter(|&(_, count)| count != 0);
        used.collect()
    }
}

impl From<Vec<(u16, u64)>> for Latency {
    fn from(used: Vec<(u16, u64)>) -> Self {
        let mut latency = Self::default();
        for (number, count) in used {
            if let Some(bucket) = latency.buckets.get_mut(usize::from(number)) {
                *bucket += count;
            }
        }
        latency
    }
}

impl Latency {
    /// Notes one operation.
    pub fn add(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
    }

    /// Adds another distribution to this one.
    pub fn merge(&mut self, other: &Self) {
        for (here, there) in self.buckets.iter_mut().zip(&other.buckets) {
            *here += there;
        }
    }

    /// The time in microseconds within which a share of the operations, 0 to 1, was done; 0 where there was none.
    pub fn percentile_us(&self, share: f64) -> f64 {
        let total: u64 = self.buckets.iter().sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle_ns(number) / 1000.0;
            }
        }
        0.0
    }
}

/// The first powers of two have a bucket for each number, then each has as many buckets.
fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEPS_SHIFT;
    ((u64::from(shift) * STEPS) + (ns >> shift)) as usize
}

fn middle_ns(number: usize) -> f64 {
    let number = number as u64;
    if number < STEPS {
        return number as f64;
    }
    let shift = number / STEPS - 1;
    let first = (STEPS + number % STEPS) as f64;
    (first + 0.5) * (shift as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_within_three_percent() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentile_us(0.5), 0.0);
        (1..=10_000).for_each(|us| latency.add(us * 1000));
        for (share, us) in [(0.5, 5000.0), (0.99, 9900.0), (1.0, 10_000.0)] {
            let answer = latency.percentile_us(share);
            assert!((answer / us - 1.0).abs() < 0.032, "{share}: {answer} instead of {us}");
        }
        let text = serde_json::to_string(&latency).unwrap();
        let mut back: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(back.percentile_us(0.99), latency.percentile_us(0.99));
        back.merge(&latency);
        assert_eq!(back.buckets.iter().sum::<u64>(), 20_000);
    }

    #[test]
    fn every_number_has_a_bucket() {
        for ns in [0, 1, 15, 16, 17, 31, 32, 1 << 40, u64::MAX] {
            let number = bucket(ns);
            assert!(number < BUCKETS_COUNT, "{ns}");
            let error = middle_ns(number) - ns as f64;
            assert!(error.abs() <= (ns as f64 / 31.0).max(0.5), "{ns}: {error}");
        }
    }
}
