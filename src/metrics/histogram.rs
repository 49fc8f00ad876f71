//! Latency histograms: how long each operation took, per tier.
//!
//! Log-linear buckets: every octave (from a power of two up to the next) is cut into [`BUCKETS_PER_OCTAVE`] equal
//! parts, so a bucket is never wider than an eighth of its smallest value. Below eight nanoseconds a bucket holds one
//! value. The idea is that of HdrHistogram, with the fewest bits that keep a quantile within 12.5 %.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::Tier;

/// Parts of one octave.
pub const BUCKETS_PER_OCTAVE: usize = 1 << OCTAVE_PART_BITS;

/// Buckets of one histogram.
pub const BUCKETS_COUNT: usize = (LATENCY_BITS - OCTAVE_PART_BITS + 1) as usize * BUCKETS_PER_OCTAVE;

/// The longest latency that has a bucket of its own, about 18 minutes; longer ones are counted there.
pub const LATENCY_NS_MAX: u64 = (1 << LATENCY_BITS) - 1;

/// Words of one histogram: the buckets, the sum, the maximum, and zeros up to a multiple of 128 bytes.
pub const HISTOGRAM_WORDS: usize = (BUCKETS_COUNT + 2).next_multiple_of(16);

const OCTAVE_PART_BITS: u32 = 3;
const LATENCY_BITS: u32 = 40;
const WORD_SUM: usize = BUCKETS_COUNT;
const WORD_MAX: usize = BUCKETS_COUNT + 1;

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal;)+) => {
        /// What is measured. The numbers are those of `kvcache.h` and never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Operation {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl Operation {
            /// Every operation, each at the place of its number.
            pub const ALL: &'static [Operation] = &[$(Operation::$name),+];

            /// The name in metrics: `get`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Operation::$name => $text,)+
                }
            }
        }
    };
}

operations! {
    /// Finding the longest resident prefix, one call.
    Match = 0, "match";
    /// Copying a block out.
    Get = 1, "get";
    /// Pinning a block.
    Acquire = 2, "acquire";
    /// Reserving room for a block, with the eviction that it may need.
    Reserve = 3, "reserve";
    /// Making a reserved block readable.
    Commit = 4, "commit";
    /// Copying a block in.
    Put = 5, "put";
    /// Removing a block.
    Remove = 6, "remove";
    /// Moving a block from or to a lower tier.
    Move = 7, "move";
    /// From submission on a lane to completion.
    Submit = 8, "submit";
    /// One call of tick.
    Tick = 9, "tick";
}

impl Operation {
    /// How many operations there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The number that crosses the C boundary.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The operation of a number, or `None` for a number that means nothing.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// The bucket of a latency.
const fn bucket_of(latency_ns: u64) -> usize {
    let latency_ns = if latency_ns > LATENCY_NS_MAX {
        LATENCY_NS_MAX
    } else {
        latency_ns
    };
    if latency_ns < BUCKETS_PER_OCTAVE as u64 {
        return latency_ns as usize;
    }
    let octave = latency_ns.ilog2() - OCTAVE_PART_BITS;
    // The leading one of the shifted value counts the first octave in.
    octave as usize * BUCKETS_PER_OCTAVE + (latency_ns >> octave) as usize
}

/// The largest latency of a bucket.
pub const fn bucket_latency_ns_max(bucket: usize) -> u64 {
    if bucket < BUCKETS_PER_OCTAVE {
        return bucket as u64;
    }
    let octave = bucket / BUCKETS_PER_OCTAVE - 1;
    let part = (bucket % BUCKETS_PER_OCTAVE + BUCKETS_PER_OCTAVE) as u64;
    ((part + 1) << octave) - 1
}

const _: () = assert!(bucket_of(u64::MAX) == BUCKETS_COUNT - 1);
const _: () = assert!(bucket_latency_ns_max(BUCKETS_COUNT - 1) == LATENCY_NS_MAX);

/// One histogram per operation and tier, in stripes over borrowed words.
///
/// Any thread may record and read at any time. Reading is wait-free; recording is two atomic additions and, where the
/// latency is a new maximum of its stripe, an atomic maximum, which is lock-free. Threads that record in the same
/// stripe share its lines: where that matters, give each its own, or record one call in many.
#[derive(Clone, Copy, Debug)]
pub struct Histograms<'m> {
    words: &'m [AtomicU64],
    stripe_mask: usize,
}

impl<'m> Histograms<'m> {
    /// Words of one stripe: a histogram for every operation and every tier.
    pub const WORDS_PER_STRIPE: usize = Operation::COUNT * Tier::ALL.len() * HISTOGRAM_WORDS;

    /// Histograms over `words`, which hold zeros or what an earlier value of this type left.
    ///
    /// Uses the largest power of two of stripes that fits; fewer words than one stripe turn recording off. The caller
    /// aligns `words` to 128 bytes, else stripes share cache lines (slower, not wrong).
    pub fn new(words: &'m [AtomicU64]) -> Self {
        let stripes_count = super::stripes_count(words.len(), Self::WORDS_PER_STRIPE);
        Self {
            words: &words[..stripes_count * Self::WORDS_PER_STRIPE],
            stripe_mask: stripes_count.saturating_sub(1),
        }
    }

    /// How many stripes there are: a power of two, or 0 where recording is off.
    pub const fn stripes_count(&self) -> usize {
        self.words.len() / Self::WORDS_PER_STRIPE
    }

    /// Counts one operation that took `latency_ns`. `stripe` is any number that differs between threads; only its low
    /// bits matter.
    #[inline]
    pub fn record(&self, stripe: usize, operation: Operation, tier: Tier, latency_ns: u64) {
        let Some(words) = self.histogram(stripe & self.stripe_mask, operation, tier) else {
            return;
        };
        // Relaxed, all of them, without a partner: the words of a histogram publish nothing but themselves, and a
        // reader that sees a bucket without its sum is off by one operation.
        words[bucket_of(latency_ns)].fetch_add(1, Ordering::Relaxed);
        words[WORD_SUM].fetch_add(latency_ns, Ordering::Relaxed);
        if words[WORD_MAX].load(Ordering::Relaxed) < latency_ns {
            words[WORD_MAX].fetch_max(latency_ns, Ordering::Relaxed);
        }
    }

    /// The sum over all stripes as one value (2.4 KiB), from which quantiles are taken that agree with each other.
    pub fn snapshot(&self, operation: Operation, tier: Tier) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::EMPTY;
        for stripe in 0..self.stripes_count() {
            let Some(words) = self.histogram(stripe, operation, tier) else {
                continue;
            };
            for (total, word) in snapshot.buckets.iter_mut().zip(words) {
                // Relaxed, all of them, without a partner: see `record`.
                let count = word.load(Ordering::Relaxed);
                *total = total.wrapping_add(count);
                snapshot.count = snapshot.count.wrapping_add(count);
            }
            snapshot.sum_ns = snapshot.sum_ns.wrapping_add(words[WORD_SUM].load(Ordering::Relaxed));
            snapshot.latency_ns_max = snapshot.latency_ns_max.max(words[WORD_MAX].load(Ordering::Relaxed));
        }
        snapshot
    }

    #[inline]
    fn histogram(&self, stripe: usize, operation: Operation, tier: Tier) -> Option<&'m [AtomicU64; HISTOGRAM_WORDS]> {
        let place = (stripe * Operation::COUNT + operation as usize) * Tier::ALL.len() + tier as usize;
        self.words.get(place * HISTOGRAM_WORDS..)?.first_chunk()
    }
}

/// What a histogram held when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Operations recorded.
    pub count: u64,
    /// Their latencies together, in nanoseconds; wraps at 2^64.
    pub sum_ns: u64,
    /// The longest latency in nanoseconds, exact even beyond [`LATENCY_NS_MAX`]; 0 where nothing was recorded.
    pub latency_ns_max: u64,
    /// Operations per bucket; [`bucket_latency_ns_max`] gives a bucket's bound.
    pub buckets: [u64; BUCKETS_COUNT],
}

impl HistogramSnapshot {
    /// Nothing recorded.
    pub const EMPTY: Self = Self {
        count: 0,
        sum_ns: 0,
        latency_ns_max: 0,
        buckets: [0; BUCKETS_COUNT],
    };

    /// The latency within which `parts_per_million` of the operations stayed (500 000 is the median), in nanoseconds;
    /// `None` where nothing was recorded.
    ///
    /// The nearest-rank quantile, rounded up to the bound of its bucket: at most 12.5 % above the exact value and
    /// never below it. Latencies above [`LATENCY_NS_MAX`] count as that. 0 gives the first, a million and more the
    /// last operation.
    pub fn quantile_ns(&self, parts_per_million: u32) -> Option<u64> {
        let ranks = u128::from(self.count) * u128::from(parts_per_million.min(1_000_000));
        let rank = ranks.div_ceil(1_000_000).max(1);
        let mut count = 0_u128;
        for (bucket, &operations) in self.buckets.iter().enumerate() {
            count += u128::from(operations);
            if count >= rank {
                // The maximum may lag behind the buckets; a quantile above the bucket's range would be worse.
                let bound = bucket_latency_ns_max(bucket);
                return Some(if bucket_of(self.latency_ns_max) == bucket {
                    self.latency_ns_max.min(bound)
                } else {
                    bound
                });
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;
    use std::vec::Vec;

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn every_operation_is_found_by_its_number() {
        for (place, &operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(operation.code() as usize, place);
            assert_eq!(Operation::from_code(operation.code()), Some(operation));
        }
        assert_eq!(Operation::from_code(Operation::COUNT as u32), None);
    }

    #[test]
    fn buckets_follow_each_other_without_gap_and_none_is_wider_than_an_eighth() {
        let mut first = 0_u64;
        for bucket in 0..BUCKETS_COUNT {
            let last = bucket_latency_ns_max(bucket);
            assert!(last >= first);
            assert_eq!(bucket_of(first), bucket, "first of {bucket}");
            assert_eq!(bucket_of(last), bucket, "last of {bucket}");
            assert!((last - first) * 8 <= first, "bucket {bucket} from {first} to {last}");
            first = last + 1;
        }
        assert_eq!(first, LATENCY_NS_MAX + 1);
    }

    #[test]
    fn operations_and_tiers_do_not_share_a_histogram() {
        let words = words(2 * Histograms::WORDS_PER_STRIPE);
        let histograms = Histograms::new(&words);
        assert_eq!(histograms.stripes_count(), 2);
        let mut latency_ns = 0;
        for &operation in Operation::ALL {
            for tier in Tier::ALL {
                latency_ns += 1;
                histograms.record(0, operation, tier, latency_ns);
                histograms.record(1, operation, tier, 2 * latency_ns);
            }
        }
        latency_ns = 0;
        for &operation in Operation::ALL {
            for tier in Tier::ALL {
                latency_ns += 1;
                let snapshot = histograms.snapshot(operation, tier);
                assert_eq!((snapshot.count, snapshot.sum_ns), (2, 3 * latency_ns));
                assert_eq!(snapshot.latency_ns_max, 2 * latency_ns);
            }
        }
    }

    #[test]
    fn nothing_recorded_has_no_quantile_and_no_words_record_nothing() {
        assert_eq!(HistogramSnapshot::EMPTY.quantile_ns(500_000), None);
        let histograms = Histograms::new(&[]);
        histograms.record(3, Operation::Get, Tier::Cpu, 5);
        assert_eq!(histograms.snapshot(Operation::Get, Tier::Cpu), HistogramSnapshot::EMPTY);
    }

    #[test]
    fn latencies_beyond_the_range_count_in_the_last_bucket() {
        let words = words(Histograms::WORDS_PER_STRIPE);
        let histograms = Histograms::new(&words);
        histograms.record(0, Operation::Tick, Tier::Remote, 1 << 50);
        let snapshot = histograms.snapshot(Operation::Tick, Tier::Remote);
        assert_eq!(snapshot.quantile_ns(500_000), Some(LATENCY_NS_MAX));
        assert_eq!((snapshot.latency_ns_max, snapshot.sum_ns), (1 << 50, 1 << 50));
    }

    #[test]
    fn no_record_is_lost_between_threads() {
        const RECORDS_COUNT: u64 = 10_000;
        let words = words(2 * Histograms::WORDS_PER_STRIPE);
        let histograms = Histograms::new(&words);
        thread::scope(|scope| {
            for stripe in 0..3 {
                scope.spawn(move || {
                    (0..RECORDS_COUNT).for_each(|ns| histograms.record(stripe, Operation::Get, Tier::Cpu, ns));
                });
            }
        });
        let snapshot = histograms.snapshot(Operation::Get, Tier::Cpu);
        assert_eq!(snapshot.count, 3 * RECORDS_COUNT);
        assert_eq!(snapshot.sum_ns, 3 * (RECORDS_COUNT - 1) * RECORDS_COUNT / 2);
        assert_eq!(snapshot.latency_ns_max, RECORDS_COUNT - 1);
    }

    /// Latencies of every magnitude, not only the large ones that a uniform choice gives.
    fn latency() -> impl Strategy<Value = u64> {
        (0_u32..41, any::<u64>()).prop_map(|(bits, word)| word & ((1 << bits) - 1))
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_an_eighth_above_the_exact_one(
            mut latencies in prop::collection::vec(latency(), 1..400),
            parts_per_million in prop_oneof![0_u32..1_000_001, Just(500_000), Just(990_000), Just(u32::MAX)],
        ) {
            let words = words(2 * Histograms::WORDS_PER_STRIPE);
            let histograms = Histograms::new(&words);
            for (stripe, &latency_ns) in latencies.iter().enumerate() {
                histograms.record(stripe, Operation::Put, Tier::Nvme, latency_ns);
            }
            let snapshot = histograms.snapshot(Operation::Put, Tier::Nvme);
            latencies.sort_unstable();

            let count = latencies.len() as u64;
            let rank = (count * u64::from(parts_per_million.min(1_000_000))).div_ceil(1_000_000).max(1);
            let exact = latencies[rank as usize - 1];
            let quantile = snapshot.quantile_ns(parts_per_million).unwrap();
            prop_assert!(quantile >= exact && (quantile - exact) * 8 <= exact, "{} for {}", quantile, exact);
            prop_assert_eq!(snapshot.count, count);
            prop_assert_eq!(snapshot.sum_ns, latencies.iter().sum::<u64>());
            prop_assert_eq!(snapshot.latency_ns_max, *latencies.last().unwrap());
            prop_assert_eq!(snapshot.quantile_ns(1_000_000), latencies.last().copied());
        }
    }
}
