//! When the next turn of a conversation comes, and whether one comes at all: a life table learnt on line.
//!
//! Actuaries ask of each age how many who reached it died in the year after it. Here an age is the time since a
//! conversation's last request, in half octaves from one second up, and a death is the next request. A conversation
//! counts as **at risk** in each bin that it enters and as a **return** in the bin where its next request came. One
//! that is still silent was at risk as long as it has been watched and no longer (censoring), so neither the silent nor
//! the forgotten distort what is known of the others.
//!
//! Conversations are told apart by class ([`class_of`]); a class of which little is known leans on all together. Counts
//! are halved where they get large, so that the table follows a load that changes.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Bins of an age.
pub(crate) const BINS_COUNT: usize = 32;
/// Classes of parts of conversations, the first of which stands for all.
pub(crate) const CLASSES_COUNT: usize = 1 + PARTS_COUNT * PACE_CLASSES;
/// Parts that a conversation's blocks fall into: [`part_new`], [`part_used`], [`PART_TAIL`].
pub(crate) const PARTS_COUNT: usize = SHAPES_COUNT + 2 * USES_STEPS + 1;
/// The last block of a request, which the next one mostly goes past where it was not full.
pub(crate) const PART_TAIL: usize = PARTS_COUNT - 1;
const SHAPES_COUNT: usize = 5;
const USES_STEPS: usize = 6;
const PACE_CLASSES: usize = 4;
/// Blocks at risk in a bin at which its counts are halved.
const RISK_MAX: u64 = 1 << 15;
/// Blocks of all classes that weigh as much as those of the class.
const PRIOR: f32 = 96.0;
/// At risk without return that each bin begins with: what is not known is not expected.
const DOUBT: f32 = 16.0;
/// Blocks of one part that count: they come back together, so that more say no more.
const WEIGHT_MAX: u32 = 8;

/// The bin of an age in milliseconds.
pub(crate) fn bin_of(age_ms: u64) -> usize {
    if age_ms < 1000 {
        return 0;
    }
    // The logarithm of the square counts half octaves.
    let age_ms = age_ms.min(1 << 30);
    (((age_ms * age_ms / 1_000_000).ilog2() + 1) as usize).min(BINS_COUNT - 1)
}

/// The youngest age of a bin in milliseconds. Beyond the last bin it goes on.
pub(crate) fn edge_ms(bin: usize) -> u64 {
    let Some(halves) = bin.checked_sub(1) else { return 0 };
    let octave_ms = 1000_u64 << (halves / 2).min(40);
    match halves % 2 {
        0 => octave_ms,
        _ => octave_ms * 1414 / 1000 + octave_ms / 4000 + 1,
    }
}

/// What a request is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It begins a conversation and has half the usual number of blocks at most.
    Short,
    /// It begins a conversation and has more.
    Long,
    /// It begins a conversation with what others began with.
    Fork,
    /// It goes on with a conversation, and a quarter of it is new at most.
    Little,
    /// It goes on with a conversation, and more is new.
    Much,
}

/// The part that blocks belong to which a request of that shape was the first to ask for.
pub(crate) fn part_new(shape: Shape) -> usize {
    shape as usize
}

/// The part that blocks belong to which so many requests asked for, the last of them of that shape.
pub(crate) fn part_used(shape: Shape, uses_count: u16) -> usize {
    let step = match uses_count {
        0..=4 => usize::from(uses_count).saturating_sub(2),
        5..=8 => 3,
        9..=16 => 4,
        _ => 5,
    };
    SHAPES_COUNT + 2 * step + usize::from(shape != Shape::Little)
}

/// The class of a part by how long its conversation has paused between its requests: the mean of the pauses' bins, in
/// eighths; `None` before the first pause.
pub(crate) fn class_of(part: usize, pause_eighths: Option<u8>) -> usize {
    let pace = match pause_eighths.map(|eighths| eighths / 8) {
        None => 0,
        Some(0..=8) => 1,
        Some(9..=12) => 2,
        Some(_) => 3,
    };
    1 + part.min(PARTS_COUNT - 1) * PACE_CLASSES + pace
}

/// The table, over a word for each class and bin: those at risk in the upper half, the returns in the lower. All-zero
/// is a table of nothing. Written by the holder of a turn alone, so relaxed.
#[derive(Clone, Copy)]
pub(crate) struct LifeTable<'m> {
    words: &'m [AtomicU64],
}

impl<'m> LifeTable<'m> {
    /// Words that a table takes.
    pub(crate) const WORDS_COUNT: usize = CLASSES_COUNT * BINS_COUNT;

    pub(crate) fn new(words: &'m [AtomicU64]) -> Self {
        Self { words }
    }

    fn word(&self, class: usize, bin: usize) -> Option<&'m AtomicU64> {
        self.words.get(class * BINS_COUNT + bin)
    }

    fn counts(&self, class: usize, bin: usize) -> (f32, f32) {
        let word = self.word(class, bin).map_or(0, |word| word.load(Ordering::Relaxed));
        ((word >> 32) as f32, word as u32 as f32)
    }

    fn add(&self, class: usize, bin: usize, risks: u64, returns: u64) {
        for class in [0, class] {
            let Some(place) = self.word(class, bin) else { continue };
            let word = place.load(Ordering::Relaxed);
            let (mut risks_all, mut returns_all) = ((word >> 32) + risks, (word & u64::from(u32::MAX)) + returns);
            if risks_all > RISK_MAX {
                (risks_all, returns_all) = (risks_all / 2, returns_all / 2);
            }
            place.store(risks_all << 32 | returns_all.min(risks_all), Ordering::Relaxed);
        }
    }

    /// So many blocks of a conversation have entered `bin`.
    pub(crate) fn enter(&self, class: usize, bin: usize, blocks_count: u32) {
        self.add(class, bin, u64::from(blocks_count.min(WEIGHT_MAX)), 0);
    }

    /// So many blocks that had entered `bin` have come back in it.
    pub(crate) fn come_back(&self, class: usize, bin: usize, blocks_count: u32) {
        self.add(class, bin, 0, u64::from(blocks_count.min(WEIGHT_MAX)));
    }

    /// Share of those that reach `bin` which come back in it.
    fn hazard(&self, class: usize, bin: usize) -> f32 {
        let (risks_all, returns_all) = self.counts(0, bin);
        let (risks, returns) = self.counts(class, bin);
        (returns + PRIOR * returns_all / (risks_all + DOUBT)) / (risks + PRIOR)
    }

    /// Probability that a conversation that has been silent for `age_ms` comes back before the age of `bin_end`'s edge,
    /// and the age in milliseconds that half of those that do reach by then.
    pub(crate) fn outlook(&self, class: usize, age_ms: u64, bin_end: usize) -> (f32, u64) {
        let bin_now = bin_of(age_ms);
        let silent_until = |bin_end: usize, stop: f32| {
            let mut silent = 1.0_f32;
            for bin in bin_now..bin_end.min(BINS_COUNT) {
                let (from, to) = (edge_ms(bin), edge_ms(bin + 1));
                // What is left of the bin that it is in.
                let left = to.saturating_sub(age_ms.max(from)) as f32 / (to - from).max(1) as f32;
                silent *= 1.0 - self.hazard(class, bin) * left;
                if silent <= stop {
                    return (silent, bin + 1);
                }
            }
            (silent, bin_end)
        };
        let (silent, _) = silent_until(bin_end, 0.0);
        let (_, half) = silent_until(bin_end, (1.0 + silent) / 2.0);
        (1.0 - silent, edge_ms(half).max(age_ms))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn words() -> Vec<AtomicU64> {
        (0..LifeTable::WORDS_COUNT).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn an_edge_is_the_youngest_age_of_its_bin() {
        for bin in 1..BINS_COUNT {
            let edge = edge_ms(bin);
            assert_eq!(bin_of(edge), bin, "{edge}");
            // The edge of a half octave is rounded up, to a four thousandth.
            assert_eq!(bin_of(edge - edge / 1000 - 1), bin - 1, "{edge}");
        }
        assert_eq!((bin_of(0), bin_of(u64::MAX)), (0, BINS_COUNT - 1));
    }

    /// The table against the definition: the share of all who were silent for as long that came back by then.
    #[test]
    fn the_outlook_is_the_share_of_those_that_came_back() {
        let words = words();
        let table = LifeTable::new(&words);
        let class = class_of(part_used(Shape::Much, 3), Some(70));
        let mut pauses_ms = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // One in four never comes back; watched for 200 s.
            let pause_ms = if seed >> 62 == 0 {
                u64::MAX
            } else {
                2000 + (seed >> 33) % 120_000
            };
            pauses_ms.push(pause_ms);
            for bin in 0..=bin_of(pause_ms.min(200_000)) {
                table.enter(class, bin, 8);
            }
            if pause_ms < 200_000 {
                table.come_back(class, bin_of(pause_ms), 8);
            }
        }
        for (from, to) in [(3, 8), (8, 12), (10, 16), (5, 20)] {
            let (from_ms, to_ms) = (edge_ms(from), edge_ms(to));
            let silent: Vec<_> = pauses_ms.iter().filter(|&&pause| pause >= from_ms).collect();
            let back = silent.iter().filter(|&&&pause| pause < to_ms.min(200_000)).count();
            let expected = back as f32 / silent.len() as f32;
            let (probability, due_ms) = table.outlook(class, from_ms, to);
            assert!(
                (probability - expected).abs() < 0.02,
                "{from} {to}: {probability} {expected}"
            );
            assert!((from_ms..=to_ms).contains(&due_ms));
        }
    }

    #[test]
    fn nothing_is_expected_of_what_is_not_known() {
        let words = words();
        let table = LifeTable::new(&words);
        assert_eq!(table.outlook(5, 10_000, BINS_COUNT).0, 0.0);
        // One of another class gives no more than a hint.
        table.enter(7, 9, 8);
        table.come_back(7, 9, 8);
        let (probability, _) = table.outlook(5, edge_ms(9), BINS_COUNT);
        assert!(probability > 0.0 && probability < 0.5, "{probability}");
    }

    #[test]
    fn old_counts_fade() {
        let words = words();
        let table = LifeTable::new(&words);
        for round in 0..10 * RISK_MAX {
            table.enter(3, 9, 8);
            if round < 5 * RISK_MAX {
                table.come_back(3, 9, 8);
            }
        }
        assert!(table.hazard(3, 9) < 0.1, "{}", table.hazard(3, 9));
        assert!(table.counts(3, 9).0 <= RISK_MAX as f32);
    }
}
