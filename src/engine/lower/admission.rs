//! What a file tier takes: a filter by use, and a budget of bytes, since flash wears out.

use crate::config::{Admission, FileTier};

const DAY_NS: u128 = 24 * 3600 * 1_000_000_000;

/// A budget of bytes that is never exceeded in any 24 hours: a bucket of one 24th of it that refills at the rate of the
/// rest. Whatever the bucket holds at the beginning of a day, that and what flows in come to no more than the budget.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_day: u64,
    tokens: u64,
    /// What did not yet make a whole byte, in byte-nanoseconds a day.
    rest: u128,
    since_ns: u64,
}

impl Budget {
    /// A budget, 0 for none. A file that existed before begins with an empty bucket: nobody knows what was written to
    /// it today.
    pub(super) fn new(bytes_per_day: u64, empty: bool, now_ns: u64) -> Self {
        let mut budget = Self {
            bytes_per_day,
            tokens: 0,
            rest: 0,
            since_ns: now_ns,
        };
        if !empty {
            budget.tokens = budget.capacity();
        }
        budget
    }

    fn capacity(&self) -> u64 {
        self.bytes_per_day / 24
    }

    /// Begins with a full bucket: for a file that is new.
    pub(super) fn fill(&mut self) {
        self.tokens = self.capacity();
    }

    /// Lets flow in what belongs to the time since the last call.
    fn refill(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.since_ns);
        self.since_ns = self.since_ns.max(now_ns);
        let rate = u128::from(self.bytes_per_day - self.capacity());
        let flow = u128::from(elapsed_ns) * rate + self.rest;
        self.rest = flow % DAY_NS;
        let bytes = (flow / DAY_NS).min(u128::from(u64::MAX)) as u64;
        self.tokens = self.tokens.saturating_add(bytes).min(self.capacity());
    }

    /// Whether `bytes` can be spent now.
    pub(super) fn allows(&mut self, bytes: u64, now_ns: u64) -> bool {
        if self.bytes_per_day == 0 {
            return true;
        }
        self.refill(now_ns);
        bytes <= self.tokens
    }

    /// Spends. More than was allowed leaves nothing, and is asked for by nobody.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }
}

const CLASSES_COUNT: usize = 32;
/// Blocks of a class after which what was learnt counts half.
const SEEN_MAX: u32 = 1024;
/// Blocks of a class before anything is concluded.
const SEEN_MIN: u32 = 8;

/// Learns of which kinds of blocks were used again before memory gave them up. A kind is a place in the chain, by
/// powers of two, with a conversation or without.
#[derive(Debug)]
pub(super) struct ReuseFilter {
    seen: [u32; CLASSES_COUNT],
    reused: [u32; CLASSES_COUNT],
}

impl ReuseFilter {
    pub(super) const fn new() -> Self {
        Self {
            seen: [0; CLASSES_COUNT],
            reused: [0; CLASSES_COUNT],
        }
    }

    fn class(depth: u16, conversation: u32) -> usize {
        let place = (u32::from(depth) + 1).ilog2().min(15) as usize;
        place * 2 + usize::from(conversation != 0)
    }

    /// Notes what became of a block while it was in memory.
    pub(super) fn learn(&mut self, depth: u16, conversation: u32, uses: u16) {
        let class = Self::class(depth, conversation);
        self.seen[class] += 1;
        self.reused[class] += u32::from(uses != 0);
        if self.seen[class] >= SEEN_MAX {
            self.seen[class] /= 2;
            self.reused[class] /= 2;
        }
    }

    /// Whether a block of this kind is used again at least half as often as blocks are altogether.
    pub(super) fn predicts(&self, depth: u16, conversation: u32) -> bool {
        let class = Self::class(depth, conversation);
        if self.seen[class] < SEEN_MIN {
            return true;
        }
        let seen: u64 = self.seen.iter().map(|&count| u64::from(count)).sum();
        let reused: u64 = self.reused.iter().map(|&count| u64::from(count)).sum();
        2 * u64::from(self.reused[class]) * seen >= reused * u64::from(self.seen[class])
    }
}

/// Whether the tier's filter lets a block in that was used `uses` times since it was stored.
pub(super) fn admits(tier: &FileTier, filter: &ReuseFilter, uses: u16, depth: u16, conversation: u32) -> bool {
    match tier.admission {
        Admission::All => true,
        Admission::SecondHit => uses != 0,
        Admission::Reuse => uses != 0 || filter.predicts(depth, conversation),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const HOUR_NS: u64 = 3600 * 1_000_000_000;

    proptest! {
        /// Whoever spends whatever is allowed, whenever: no window of 24 hours sees more than the budget.
        #[test]
        fn no_day_sees_more_than_the_budget(
            bytes_per_day in 24_u64..1_000_000,
            steps in prop::collection::vec((0..3 * HOUR_NS, 1..100_000_u64), 1..200),
        ) {
            let mut budget = Budget::new(bytes_per_day, false, 0);
            let mut now_ns = 0;
            let mut spent: Vec<(u64, u64)> = Vec::new();
            for (elapsed_ns, bytes) in steps {
                now_ns += elapsed_ns;
                if budget.allows(bytes, now_ns) {
                    budget.spend(bytes);
                    spent.push((now_ns, bytes));
                }
                let recent = spent.iter().filter(|(at, _)| now_ns - at < 24 * HOUR_NS);
                let window: u64 = recent.map(|(_, bytes)| bytes).sum();
                prop_assert!(window <= bytes_per_day, "{window} of {bytes_per_day}");
            }
        }
    }

    #[test]
    fn a_budget_flows_back_and_a_file_that_was_there_begins_empty() {
        let mut budget = Budget::new(24_000, true, 0);
        assert!(!budget.allows(1, 0));
        assert!(budget.allows(900, HOUR_NS), "23 of 24 parts flow in over a day");
        assert!(!budget.allows(1001, 100 * HOUR_NS), "the bucket holds an hour's worth");
        budget.spend(900);
        assert!(!budget.allows(200, 100 * HOUR_NS));
        assert!(Budget::new(0, true, 0).allows(u64::MAX, 0));
    }

    #[test]
    fn kinds_that_are_never_used_again_are_not_predicted() {
        let mut filter = ReuseFilter::new();
        assert!(filter.predicts(3, 0), "nothing known");
        for _ in 0..100 {
            filter.learn(0, 7, 1);
            filter.learn(500, 0, 0);
        }
        assert!(filter.predicts(0, 7) && !filter.predicts(500, 0) && !filter.predicts(400, 0));
        let tier = FileTier {
            admission: Admission::Reuse,
            ..FileTier::NONE
        };
        assert!(admits(&tier, &filter, 1, 500, 0), "used again is used again");
        assert!(!admits(&tier, &filter, 0, 500, 0));
        let tier = FileTier {
            admission: Admission::SecondHit,
            ..FileTier::NONE
        };
        assert!(!admits(&tier, &filter, 0, 0, 7) && admits(&tier, &filter, 1, 0, 7));
    }
}
