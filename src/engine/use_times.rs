//! When the use clock stood where: from stamps to milliseconds.
//!
//! A hit notes the use clock, which moves with insertions, and no time: that would cost every hit a look at a clock.
//! The holder of the policy's turn notes here when it first saw the use clock at each step; marks of old steps get
//! farther apart, so that the error stays a fraction of the age.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

const LEVELS: usize = 4;
const MARKS: u64 = 128;
/// Each level's marks are 2^this times as far apart as those of the level before.
const LEVEL_BITS: u32 = 3;

/// Marks of the last 2^16 steps of the use clock, which is sixteen times what turns the whole cache over; all-zero is
/// empty. Written and read by the holder of the policy's turn alone, so relaxed throughout.
#[repr(C)]
pub(crate) struct UseTimes {
    /// Steps noted so far.
    steps_count: AtomicU64,
    /// `marks[level][group % MARKS]`: when the first step of the group was seen; a group has `8^level` steps.
    marks: [[AtomicU64; MARKS as usize]; LEVELS],
}

impl UseTimes {
    /// No marks.
    #[cfg(all(test, not(loom)))]
    fn new() -> Self {
        Self {
            steps_count: AtomicU64::new(0),
            marks: core::array::from_fn(|_| core::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// The use clock stands at `step` now. Bounded work; nothing but a comparison where it did the last time, too.
    pub(crate) fn note(&self, step: u64, now_ms: u64) {
        let first = self.steps_count.load(Relaxed);
        if step < first {
            return;
        }
        self.steps_count.store(step + 1, Relaxed);
        for (marks, bits) in self.marks.iter().zip((0..).step_by(LEVEL_BITS as usize)) {
            let last = step >> bits;
            let first = first.div_ceil(1 << bits).max(last.saturating_sub(MARKS - 1));
            for group in first..=last {
                marks[(group % MARKS) as usize].store(now_ms, Relaxed);
            }
        }
    }

    /// When `step` began, as far as that is remembered: too early by no more than a fifteenth of the steps since.
    /// A step that has not begun begins at `now_ms`; what is forgotten began with the oldest mark.
    fn began_ms(&self, step: u64, now_ms: u64) -> u64 {
        let Some(newest) = self
            .steps_count
            .load(Relaxed)
            .checked_sub(1)
            .filter(|&newest| step <= newest)
        else {
            return now_ms;
        };
        let mut began_ms = 0;
        for (marks, bits) in self.marks.iter().zip((0..).step_by(LEVEL_BITS as usize)) {
            let oldest = (newest >> bits).saturating_sub(MARKS - 1);
            let group = step >> bits;
            began_ms = marks[(group.max(oldest) % MARKS) as usize].load(Relaxed);
            if group >= oldest {
                break;
            }
        }
        began_ms
    }

    /// When a block with this stamp was used. A hit came some time before the insertion after it: where that is past,
    /// its time is taken, since a request's hits and insertions come together.
    pub(crate) fn used_ms(&self, stamp: u64, now_ms: u64) -> u64 {
        self.began_ms((stamp >> 1) + (stamp & 1), now_ms).min(now_ms)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// Against a list of every step: exact for the last 128, too early by a fifteenth of the steps at most, and
        /// never later than it was.
        #[test]
        fn remembers_old_steps_less_exactly(
            leaps in prop::collection::vec((prop_oneof![9 => 0..3_u64, 1 => 0..4000_u64], 0..50_u64), 1..300)
        ) {
            let times = UseTimes::new();
            let mut began: Vec<u64> = Vec::new();
            let (mut step, mut now_ms) = (0, 1000);
            for (steps, elapsed_ms) in leaps {
                step += steps;
                now_ms += elapsed_ms;
                began.resize((step as usize + 1).max(began.len()), now_ms);
                times.note(step, now_ms);
            }
            for (at, &exact_ms) in began.iter().enumerate().rev().take(60_000) {
                let age = step - at as u64;
                let seen_ms = times.used_ms(2 * at as u64, now_ms);
                if age < MARKS {
                    prop_assert_eq!(seen_ms, exact_ms);
                }
                let earliest = began[(at as u64).saturating_sub(age / 15) as usize];
                prop_assert!((earliest..=exact_ms).contains(&seen_ms), "{} {} {}", at, seen_ms, exact_ms);
            }
            prop_assert_eq!(times.used_ms(2 * step + 1, now_ms + 7), now_ms + 7, "a hit since the last insertion");
            if step > 0 {
                prop_assert_eq!(times.used_ms(2 * step - 1, now_ms + 7), began[step as usize]);
            }
        }
    }

    #[test]
    fn what_is_forgotten_began_with_the_oldest_mark() {
        let times = UseTimes::new();
        for step in 0..200_000 {
            times.note(step, step);
        }
        let oldest_ms = times.used_ms(0, 200_000);
        assert!(
            (200_000 - (1 << 16)..200_000 - (1 << 15)).contains(&oldest_ms),
            "{oldest_ms}"
        );
        assert_eq!(times.used_ms(2 * 100_000, 200_000), oldest_ms);
    }
}
