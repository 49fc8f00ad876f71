//! Which block follows which: a table of successors, for what is read in the same order again.
//!
//! Joseph and Grunwald's Markov prefetcher (ISCA 1997) with one successor an entry and a confidence in thousandths,
//! which moves a quarter of the way to 1000 each time that it was right and a quarter of the way to 0 each time that it
//! was not. A successor that is below a quarter gives way. Four entries share a set; the least confident is replaced.

use crate::sync::atomic::{AtomicU64, Ordering};

const WORDS_EACH: usize = 3;
const WAYS: usize = 4;
/// Confidence of a successor seen once.
const CONFIDENCE_FIRST: u64 = 250;

/// A table over three words an entry; all-zero is empty. Written by the holder of a turn alone, so relaxed.
#[derive(Clone, Copy)]
pub(crate) struct Successors<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Successors<'m> {
    /// Words that a table of so many entries takes.
    pub(crate) const fn words_count(entries_count: u64) -> u64 {
        entries_count * WORDS_EACH as u64
    }

    pub(crate) fn new(words: &'m [AtomicU64]) -> Self {
        Self { words }
    }

    /// The entries of a key's set: fingerprint, name, confidence.
    fn set(&self, fingerprint: u64) -> impl Iterator<Item = [&'m AtomicU64; WORDS_EACH]> + use<'m> {
        let sets_count = self.words.len() / (WORDS_EACH * WAYS);
        let first = match sets_count {
            0 => 0,
            _ => (fingerprint >> 16) as usize % sets_count * WORDS_EACH * WAYS,
        };
        let end = if sets_count == 0 { 0 } else { first + WORDS_EACH * WAYS };
        self.words[first..end]
            .chunks_exact(WORDS_EACH)
            .filter_map(|entry| match entry {
                [key, name, confidence] => Some([key, name, confidence]),
                _ => None,
            })
    }

    /// After the block with this fingerprint came the one with this name. Neither is 0.
    pub(crate) fn learn(&self, fingerprint: u64, name: u64) {
        let mut weakest: Option<([&AtomicU64; WORDS_EACH], u64)> = None;
        for entry in self.set(fingerprint) {
            let [key, known, confidence] = entry;
            let now = confidence.load(Ordering::Relaxed);
            if key.load(Ordering::Relaxed) == fingerprint {
                if known.load(Ordering::Relaxed) == name {
                    confidence.store(now + (1000 - now.min(1000)).div_ceil(4), Ordering::Relaxed);
                } else if now - now / 4 < CONFIDENCE_FIRST {
                    known.store(name, Ordering::Relaxed);
                    confidence.store(CONFIDENCE_FIRST, Ordering::Relaxed);
                } else {
                    confidence.store(now - now / 4, Ordering::Relaxed);
                }
                return;
            }
            if weakest.is_none_or(|(_, least)| now < least) {
                weakest = Some((entry, now));
            }
        }
        if let Some(([key, known, confidence], _)) = weakest {
            key.store(fingerprint, Ordering::Relaxed);
            known.store(name, Ordering::Relaxed);
            confidence.store(CONFIDENCE_FIRST, Ordering::Relaxed);
        }
    }

    /// What comes after the block with this fingerprint, and how sure that is in thousandths.
    pub(crate) fn next(&self, fingerprint: u64) -> Option<(u64, u32)> {
        self.set(fingerprint)
            .find(|[key, _, _]| key.load(Ordering::Relaxed) == fingerprint)
            .map(|[_, name, confidence]| {
                (
                    name.load(Ordering::Relaxed),
                    confidence.load(Ordering::Relaxed).min(1000) as u32,
                )
            })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    fn words(entries_count: u64) -> Vec<AtomicU64> {
        (0..Successors::words_count(entries_count))
            .map(|_| AtomicU64::new(0))
            .collect()
    }

    fn fingerprint(number: u64) -> u64 {
        (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn an_order_that_repeats_is_known_and_one_that_does_not_is_not_believed() {
        let words = words(4096);
        let table = Successors::new(&words);
        for _ in 0..4 {
            for number in 0..500 {
                table.learn(fingerprint(number), number + 2);
            }
        }
        let sure = (0..500).filter(|&n| {
            table
                .next(fingerprint(n))
                .is_some_and(|(name, c)| name == n + 2 && c > 500)
        });
        assert!(sure.count() > 490);
        let mut seed = 1_u64;
        for _ in 0..20 {
            for number in 500..600 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                table.learn(fingerprint(number), 1 + (seed >> 40));
            }
        }
        assert!((500..600).all(|number| table.next(fingerprint(number)).is_none_or(|(_, sure)| sure < 500)));
    }

    /// Against a map without bounds: what the table says was said.
    #[test]
    fn a_small_table_forgets_but_invents_nothing() {
        let words = words(64);
        let table = Successors::new(&words);
        let mut said: HashMap<u64, Vec<u64>> = HashMap::new();
        for number in 0..10_000_u64 {
            let (from, to) = (fingerprint(number * 7 % 400), 1 + number % 13);
            table.learn(from, to);
            said.entry(from).or_default().push(to);
        }
        let known = said.iter().filter(|(key, names)| {
            table.next(**key).is_some_and(|(name, _)| {
                assert!(names.contains(&name));
                true
            })
        });
        assert!((1..=64).contains(&known.count()));
        assert_eq!(Successors::new(&[]).next(5), None);
    }
}
