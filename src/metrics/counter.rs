//! Counters: how often each thing happened since the engine opened.

use crate::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident, $prometheus:literal, $help:literal;)+) => {
        /// What is counted. The order is not part of any interface: C and Prometheus know counters by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter {
            $(#[doc = $help] $name,)+
        }

        impl Counter {
            /// Every counter, in the order of the declaration.
            pub const ALL: &'static [Counter] = &[$(Counter::$name),+];

            /// The name in the Prometheus text, with its unit and `_total`.
            pub const fn prometheus_name(self) -> &'static str {
                match self {
                    $(Counter::$name => concat!("kvcache_", $prometheus, "_total"),)+
                }
            }

            /// One sentence for people.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Counter::$name => $help,)+
                }
            }
        }
    };
}

counters! {
    MatchHits, "match_hits", "Keys that match found resident.";
    MatchMisses, "match_misses", "Keys that match did not find.";
    GetHits, "get_hits", "Blocks copied out by get.";
    GetMisses, "get_misses", "Keys that get did not find.";
    GetBytes, "get_bytes", "Bytes copied out by get.";
    Acquires, "acquires", "Blocks pinned by acquire.";
    AcquireMisses, "acquire_misses", "Keys that acquire did not find.";
    Releases, "releases", "Pins given back.";
    Reserves, "reserves", "Blocks reserved for a producer.";
    Commits, "commits", "Blocks that became readable.";
    CommitBytes, "commit_bytes", "Bytes of the blocks that became readable.";
    Aborts, "aborts", "Reservations given up by their producer.";
    PutsExisting, "puts_existing", "Puts and reserves answered with EXISTS.";
    PutsPending, "puts_pending", "Puts and reserves answered with PENDING.";
    Refusals, "refusals", "Calls refused with AGAIN: everything pinned or a bounded table full.";
    Evictions, "evictions", "Blocks that the policy evicted to make room.";
    EvictionsSwept, "evictions_swept", "Blocks that the lock-free sweep evicted, while another thread had the policy.";
    EvictionRollbacks, "eviction_rollbacks", "Evictions taken back because a reader held the block.";
    Frees, "frees", "Places given back by blocks that were evicted, removed or given up.";
    Removes, "removes", "Blocks removed by the caller.";
    Touches, "touches", "Blocks touched by the caller.";
    PinsExpired, "pins_expired", "Pins taken back after their time.";
    ReservationsExpired, "reservations_expired", "Reservations taken back after their time.";
    EventsLost, "events_lost", "Events that a writer gave up because its slot was still being written.";
    Ticks, "ticks", "Calls of tick.";
    OperationsSubmitted, "operations_submitted", "Operations taken from a lane.";
    OperationsCompleted, "operations_completed", "Operations completed on a lane.";
    OperationsCancelled, "operations_cancelled", "Operations cancelled before they began.";
    RemovesBelow, "removes_below", "Blocks removed by the caller that were not in memory.";
    Raises, "raises", "Blocks of which copying up from a file tier into memory was begun.";
    RaiseFailures, "raise_failures", "Blocks that no file tier could give back: failed reading or verification.";
    NvmeHits, "nvme_hits", "Blocks copied up from the NVMe tier.";
    NvmeWrites, "nvme_writes", "Blocks written to the NVMe tier.";
    NvmeWriteBytes, "nvme_write_bytes", "Bytes of the blocks written to the NVMe tier.";
    NvmeFileBytes, "nvme_file_bytes", "Bytes written to the NVMe tier's file, headers and padding included.";
    NvmeReadBytes, "nvme_read_bytes", "Bytes of the blocks read from the NVMe tier.";
    NvmeReinserts, "nvme_reinserts", "Blocks written to the NVMe tier again because they were hit there.";
    NvmeEvictions, "nvme_evictions", "Blocks that left the NVMe tier with their segment.";
    DiskHits, "disk_hits", "Blocks copied up from the disk tier.";
    DiskWrites, "disk_writes", "Blocks written to the disk tier.";
    DiskWriteBytes, "disk_write_bytes", "Bytes of the blocks written to the disk tier.";
    DiskFileBytes, "disk_file_bytes", "Bytes written to the disk tier's file, headers and padding included.";
    DiskReadBytes, "disk_read_bytes", "Bytes of the blocks read from the disk tier.";
    DiskReinserts, "disk_reinserts", "Blocks written to the disk tier again because they were hit there.";
    DiskEvictions, "disk_evictions", "Blocks that left the disk tier with their segment.";
    ChecksumFailures, "checksum_failures", "Blocks dropped because what a file held was not what was written.";
    IoErrors, "io_errors", "Requests to a file tier's device that failed after their retries.";
    IoRetries, "io_retries", "Requests to a file tier's device that were repeated.";
    WritesSkipped, "writes_skipped", "Blocks that memory gave up before they could be written down.";
    WritesRefused, "writes_refused", "Blocks that no file tier admitted: filter, endurance budget or no room.";
    Prefetches, "prefetches", "Blocks whose copying up was begun ahead of use.";
    Flushes, "flushes", "Calls of flush that made everything durable.";
    BlocksRecovered, "blocks_recovered", "Blocks found in the files when the engine was opened.";
    CodecFallbacks, "codec_fallbacks", "Times that a tier took a better codec because the error was above its bound.";
    QualityRefusals, "quality_refusals", "Times that a tier's codec was coarser than a block's namespace permits.";
    Transcodes, "transcodes", "Blocks that were encoded anew on their way from one file tier to another.";
    BlocksDamaged, "blocks_damaged", "Records and tables found damaged or half written when the engine was opened.";
    DedupHits, "dedup_hits", "Blocks that were committed into the slot of another block with the same bytes.";
    DedupCollisions, "dedup_collisions", "Comparisons of blocks with the same digest that found other bytes.";
    PrefetchWishes, "prefetch_wishes", "Wishes of prefetching: conversations, and blocks that follow a pattern.";
    PrefetchesUsed, "prefetches_used", "Blocks copied up ahead of use that were used.";
    PrefetchesLate, "prefetches_late", "Blocks that were wished and asked for before they could be copied up.";
    PrefetchesWasted, "prefetches_wasted", "Blocks copied up ahead of use and evicted without one.";
    PrefetchLeadMs, "prefetch_lead_ms", "Milliseconds from copying up ahead of use to the use, of all blocks together.";
    TuningTried, "tuning_tried", "Steps of a threshold that were tried.";
    TuningKept, "tuning_kept", "Steps of a threshold that served better and were kept.";
    TuningTakenBack, "tuning_taken_back", "Steps of a threshold that did not and were taken back.";
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// All counters, in stripes over borrowed words.
///
/// Any thread may add and read at any time; both are wait-free. Nothing is ordered by a counter: it is a number for
/// people, never a condition for code.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'m> {
    words: &'m [AtomicU64],
    stripe_mask: usize,
}

impl<'m> Counters<'m> {
    /// Words of one stripe: whole pairs of cache lines (128 bytes), because processors fetch lines in pairs.
    pub const WORDS_PER_STRIPE: usize = Counter::COUNT.next_multiple_of(16);

    /// Counters over `words`, which hold zeros or what an earlier value of this type left.
    ///
    /// Uses the largest power of two of stripes that fits; fewer words than one stripe turn counting off. The caller
    /// aligns `words` to 128 bytes, else stripes share cache lines (slower, not wrong).
    pub fn new(words: &'m [AtomicU64]) -> Self {
        let stripes_count = super::stripes_count(words.len(), Self::WORDS_PER_STRIPE);
        Self {
            words: &words[..stripes_count * Self::WORDS_PER_STRIPE],
            stripe_mask: stripes_count.saturating_sub(1),
        }
    }

    /// How many stripes there are: a power of two, or 0 where counting is off.
    pub const fn stripes_count(&self) -> usize {
        self.words.len() / Self::WORDS_PER_STRIPE
    }

    /// Adds `amount`. `stripe` is any number that differs between threads; only its low bits matter. Wraps at 2^64.
    #[inline]
    pub fn add(&self, stripe: usize, counter: Counter, amount: u64) {
        let index = (stripe & self.stripe_mask) * Self::WORDS_PER_STRIPE + counter as usize;
        if let Some(word) = self.words.get(index) {
            // Relaxed, without a partner: a count publishes nothing but itself.
            word.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The sum over all stripes. Never less than an earlier answer to the same thread, until it wraps.
    pub fn total(&self, counter: Counter) -> u64 {
        self.words
            .chunks_exact(Self::WORDS_PER_STRIPE)
            // Relaxed, without a partner: see `add`.
            .map(|stripe| stripe[counter as usize].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread;
    use std::vec::Vec;

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn names_differ_and_every_counter_stands_at_its_place() {
        let names: BTreeSet<_> = Counter::ALL.iter().map(|counter| counter.prometheus_name()).collect();
        assert_eq!(names.len(), Counter::COUNT);
        for (place, &counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter as usize, place);
            assert!(counter.prometheus_name().ends_with("_total"));
            assert!(counter.help().ends_with('.') && !counter.help().contains(['\\', '\n']));
        }
        assert!(Counters::WORDS_PER_STRIPE.is_multiple_of(16));
    }

    #[test]
    fn a_total_is_the_sum_of_all_stripes_and_of_one_counter_only() {
        let words = words(4 * Counters::WORDS_PER_STRIPE);
        let counters = Counters::new(&words);
        assert_eq!(counters.stripes_count(), 4);
        for (place, &counter) in Counter::ALL.iter().enumerate() {
            for stripe in [0, 1, 2, 3, 4, usize::MAX] {
                counters.add(stripe, counter, place as u64 + 1);
            }
        }
        for (place, &counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counters.total(counter), 6 * (place as u64 + 1));
        }
    }

    #[test]
    fn stripes_are_a_power_of_two_and_none_is_off() {
        for (words_count, stripes_count) in [
            (0, 0),
            (Counters::WORDS_PER_STRIPE - 1, 0),
            (Counters::WORDS_PER_STRIPE, 1),
            (3 * Counters::WORDS_PER_STRIPE + 5, 2),
            (8 * Counters::WORDS_PER_STRIPE, 8),
        ] {
            let words = words(words_count);
            let counters = Counters::new(&words);
            assert_eq!(counters.stripes_count(), stripes_count);
            for stripe in 0..20 {
                counters.add(stripe, Counter::Ticks, 1);
            }
            assert_eq!(counters.total(Counter::Ticks), if stripes_count == 0 { 0 } else { 20 });
        }
    }

    #[test]
    fn no_addition_is_lost_between_threads() {
        const ADDS_COUNT: u64 = 20_000;
        let words = words(2 * Counters::WORDS_PER_STRIPE);
        let counters = Counters::new(&words);
        thread::scope(|scope| {
            for stripe in 0..3 {
                scope.spawn(move || (0..ADDS_COUNT).for_each(|_| counters.add(stripe, Counter::GetHits, 1)));
            }
        });
        assert_eq!(counters.total(Counter::GetHits), 3 * ADDS_COUNT);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use std::vec::Vec;

    /// Two threads that share a stripe and a reader: no addition is lost, and the total never goes back.
    #[test]
    fn no_count_is_lost_and_totals_only_grow() {
        loom::model(|| {
            let words: Vec<AtomicU64> = (0..Counters::WORDS_PER_STRIPE).map(|_| AtomicU64::new(0)).collect();
            let words = Arc::new(words);
            let adders: [_; 2] = core::array::from_fn(|stripe| {
                let words = words.clone();
                loom::thread::spawn(move || {
                    let counters = Counters::new(&words);
                    counters.add(stripe, Counter::GetHits, 1);
                    counters.add(stripe, Counter::GetHits, 2);
                })
            });
            let counters = Counters::new(&words);
            let (first, second) = (counters.total(Counter::GetHits), counters.total(Counter::GetHits));
            assert!(first <= second && second <= 6);
            for adder in adders {
                adder.join().unwrap();
            }
            assert_eq!(counters.total(Counter::GetHits), 6);
            assert_eq!(counters.total(Counter::GetMisses), 0, "a neighbour was counted");
        });
    }
}
