//! Sequences and strides: who reads every n-th block in the order in which the blocks were stored.
//!
//! Keys are opaque, so a number stands for each: how many blocks were stored for the first time before it. A stream is
//! what one namespace reads. Two equal steps in a row make a stride (1 is a sequence), the next ones make it surer, and
//! as many blocks are wished ahead as the stride has held, up to [`REACH_MAX`]; a step that does not fit begins anew.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Most blocks wished ahead.
pub(crate) const REACH_MAX: u64 = 32;
/// Streams followed at once.
pub(crate) const STREAMS_COUNT: usize = 64;
const WORDS_EACH: usize = 4;
/// Longest step that counts as a stride.
const STRIDE_MAX: i64 = 1 << 16;

/// Blocks to be wished: `count` numbers from `first` on, `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) stride: i64,
    pub(crate) count: u64,
    /// How sure, in thousandths.
    pub(crate) confidence: u32,
}

/// Streams over four words each: namespace + 1, last number, stride, `wished ahead << 32 | steps that fitted`. All-zero
/// is none. Written by the holder of a turn alone, so relaxed.
#[derive(Clone, Copy)]
pub(crate) struct Streams<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Streams<'m> {
    pub(crate) const WORDS_COUNT: usize = STREAMS_COUNT * WORDS_EACH;

    pub(crate) fn new(words: &'m [AtomicU64]) -> Self {
        Self { words }
    }

    /// Block `number` of a namespace was used; what should be wished because of it.
    pub(crate) fn used(&self, namespace: u64, number: u64) -> Option<Run> {
        let streams_count = self.words.len() / WORDS_EACH;
        if streams_count == 0 {
            return None;
        }
        let mark = namespace.wrapping_add(1).max(1);
        let place = (mark.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % streams_count * WORDS_EACH;
        let [owner, last, stride_word, state] = self.words.get(place..place + WORDS_EACH)? else {
            return None;
        };
        // Relaxed throughout: one writer.
        if owner.swap(mark, Ordering::Relaxed) != mark {
            last.store(number, Ordering::Relaxed);
            stride_word.store(0, Ordering::Relaxed);
            state.store(0, Ordering::Relaxed);
            return None;
        }
        let step = number.wrapping_sub(last.swap(number, Ordering::Relaxed)) as i64;
        if step == 0 {
            return None;
        }
        let stride = stride_word.load(Ordering::Relaxed) as i64;
        let (ahead, fitted) = {
            let word = state.load(Ordering::Relaxed);
            (word >> 32, word & u64::from(u32::MAX))
        };
        if step != stride {
            let kept = if step.abs() <= STRIDE_MAX { step } else { 0 };
            stride_word.store(kept as u64, Ordering::Relaxed);
            state.store(u64::from(kept != 0), Ordering::Relaxed);
            return None;
        }
        let fitted = (fitted + 1).min(REACH_MAX);
        let ahead = ahead.saturating_sub(1);
        let wanted = if fitted < 2 { 0 } else { fitted };
        let count = wanted.saturating_sub(ahead);
        state.store((ahead + count) << 32 | fitted, Ordering::Relaxed);
        if count == 0 {
            return None;
        }
        // What would lie before the first number is no block.
        let first = number.checked_add_signed(stride.checked_mul(ahead as i64 + 1)?)?;
        Some(Run {
            first,
            stride,
            count,
            confidence: (1000 - 1000 / (fitted + 1)) as u32,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    fn words() -> Vec<AtomicU64> {
        (0..Streams::WORDS_COUNT).map(|_| AtomicU64::new(0)).collect()
    }

    fn numbers(run: Run) -> impl Iterator<Item = u64> {
        (0..run.count).filter_map(move |n| run.first.checked_add_signed(run.stride * n as i64))
    }

    proptest! {
        /// Each block of a steady stream is wished once, before it is used, and never more than the reach ahead.
        #[test]
        fn a_steady_stream_is_wished_ahead(start in 0_u64..1000, stride in 1_i64..100, back in any::<bool>()) {
            let words = words();
            let streams = Streams::new(&words);
            let stride = if back { -stride } else { stride };
            let start = start + 20_000;
            let mut wished = HashSet::new();
            let mut hits = 0;
            for step in 0..150_i64 {
                let number = start.checked_add_signed(stride * step).unwrap();
                hits += u64::from(wished.contains(&number));
                if let Some(run) = streams.used(9, number) {
                    for ahead in numbers(run) {
                        prop_assert!(wished.insert(ahead), "twice: {ahead}");
                        prop_assert!(ahead.abs_diff(number) <= REACH_MAX * stride.unsigned_abs());
                    }
                }
            }
            prop_assert!(hits >= 146, "{hits}");
        }

        #[test]
        fn any_numbers_do(steps in prop::collection::vec((any::<u64>(), any::<u64>()), 1..200)) {
            let words = words();
            let streams = Streams::new(&words);
            for (namespace, number) in steps {
                if let Some(run) = streams.used(namespace % 3, number) {
                    prop_assert!(run.count <= REACH_MAX && run.stride != 0);
                }
            }
        }
    }

    #[test]
    fn a_shuffle_is_left_alone() {
        let words = words();
        let streams = Streams::new(&words);
        let mut seed = 3_u64;
        let mut wished = 0;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            wished += streams.used(0, seed >> 48).map_or(0, |run| run.count);
        }
        assert!(wished < 100, "{wished}");
    }
}
