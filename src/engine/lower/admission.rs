//! What a file tier takes: a filter by use, and a budget of bytes, since flash wears out.

use crate::config::{Admission, FileTier};
use crate::policy::{Departure, Reuse};

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

/// Whether the tier's filter lets a block in.
pub(super) fn admits(tier: &FileTier, filter: &Reuse, leaving: &Departure) -> bool {
    match tier.admission {
        Admission::All => true,
        Admission::SecondHit => leaving.uses != 0,
        Admission::Reuse => filter.admits(leaving),
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
    fn kinds_that_are_never_used_again_are_not_taken() {
        let block = |fingerprint, depth, uses| Departure {
            fingerprint,
            depth,
            uses,
            waited_ms: 60_000,
            tokens: 16,
            life: fingerprint as u32,
        };
        let mut filter = Reuse::new(1);
        let reuse = FileTier {
            admission: Admission::Reuse,
            ..FileTier::NONE
        };
        assert!(admits(&reuse, &filter, &block(0, 500, 0)), "nothing known");
        for fingerprint in 1..3000 {
            let leaving = block(fingerprint, if fingerprint % 2 == 0 { 0 } else { 500 }, 0);
            filter.left(&leaving);
            if leaving.depth == 0 {
                filter.hit(fingerprint);
            }
        }
        assert!(admits(&reuse, &filter, &block(0, 0, 0)));
        assert!(!admits(&reuse, &filter, &block(0, 500, 0)) && !admits(&reuse, &filter, &block(0, 400, 0)));
        assert!(
            admits(&reuse, &filter, &block(0, 500, 1)),
            "another kind, of which nothing is known"
        );
        let second = FileTier {
            admission: Admission::SecondHit,
            ..FileTier::NONE
        };
        assert!(!admits(&second, &filter, &block(0, 0, 0)) && admits(&second, &filter, &block(0, 0, 1)));
        assert!(admits(&FileTier::NONE, &filter, &block(0, 500, 0)), "all are all");
    }
}
