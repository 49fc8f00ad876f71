//! A bound of bytes per second: a token bucket.
//!
//! The bucket fills at the rate and holds a second's worth, so in any window of `t` seconds no more than `t + 1`
//! seconds' worth passes. A piece that is larger than the bucket passes when the bucket is full and leaves it in debt
//! by what was missing, so the bound holds with that piece for the second.

use crate::sync::atomic::{AtomicU64, Ordering};

/// A bucket over two words, all-zero is a fresh one. Written by the holder of a turn alone, so relaxed.
#[derive(Clone, Copy)]
pub(crate) struct Bucket<'m> {
    /// Bytes owed: what passed and has not been refilled yet.
    owed: &'m AtomicU64,
    /// When that was so, in milliseconds.
    at_ms: &'m AtomicU64,
    bytes_per_second: u64,
}

impl<'m> Bucket<'m> {
    /// A bucket that fills with `bytes_per_second`; 0 is no bound.
    pub(crate) fn new(words: &'m [AtomicU64; 2], bytes_per_second: u64) -> Self {
        let [owed, at_ms] = words;
        Self {
            owed,
            at_ms,
            bytes_per_second,
        }
    }

    /// Lets `bytes` pass, or answers false. Time that goes back counts as standing still.
    pub(crate) fn take(&self, now_ms: u64, bytes: u64) -> bool {
        if self.bytes_per_second == 0 {
            return true;
        }
        let at_ms = self.at_ms.load(Ordering::Relaxed);
        let elapsed_ms = now_ms.saturating_sub(at_ms);
        let refilled = (u128::from(elapsed_ms) * u128::from(self.bytes_per_second) / 1000).min(u128::from(u64::MAX));
        let owed = self.owed.load(Ordering::Relaxed).saturating_sub(refilled as u64);
        if owed != 0 && owed.saturating_add(bytes) > self.bytes_per_second {
            return false;
        }
        self.owed.store(owed.saturating_add(bytes), Ordering::Relaxed);
        self.at_ms.store(at_ms.max(now_ms), Ordering::Relaxed);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn words() -> [AtomicU64; 2] {
        [AtomicU64::new(0), AtomicU64::new(0)]
    }

    proptest! {
        /// Every window, looked at one by one.
        #[test]
        fn no_window_has_more_than_its_seconds_and_one(
            rate in 1_u64..5000,
            asked in prop::collection::vec((0_u64..900, 1_u64..3000), 1..80),
        ) {
            let words = words();
            let bucket = Bucket::new(&words, rate);
            let mut now_ms = 0;
            let mut passed = Vec::new();
            for (pause_ms, bytes) in asked {
                now_ms += pause_ms;
                if bucket.take(now_ms, bytes) {
                    passed.push((now_ms, bytes));
                }
            }
            for first in 0..passed.len() {
                for last in first..passed.len() {
                    let window_ms = passed[last].0 - passed[first].0;
                    let bytes: u64 = passed[first..=last].iter().map(|(_, bytes)| bytes).sum();
                    let burst = passed[first..=last].iter().map(|&(_, bytes)| bytes.max(rate)).max().unwrap_or(0);
                    prop_assert!(bytes <= rate * window_ms / 1000 + burst + 1, "{bytes} in {window_ms} ms");
                }
            }
        }
    }

    #[test]
    fn what_is_within_the_rate_passes() {
        let words = words();
        let bucket = Bucket::new(&words, 1000);
        for second in 0..100 {
            assert!(bucket.take(second * 1000, 1000), "{second}");
            assert!(!bucket.take(second * 1000 + 500, 1000));
        }
        let unbounded = Bucket::new(&words, 0);
        assert!(unbounded.take(0, u64::MAX));
    }
}
