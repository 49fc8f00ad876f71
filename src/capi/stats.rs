//! Statistics.
//!
//! How often each thing happened, and what is the case now. This works at any time, also after a shutdown, costs the
//! hot path nothing that readers share, and allocates nothing. Numbers are each current; together they are no cut
//! through one instant.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. `growable!` asserts the layouts.

use super::growable::{Growable, growable, target, zeroed};
use super::guard::with_engine;
use super::types::kvc_engine_t;
use super::version::kvc_status_t;
use crate::engine::Stats;
use crate::metrics::Counter;

/// What happened since the engine was opened, and what is the case now. Initialise with `KVC_STATS_INIT`.
///
/// Fields that begin with "Now" go up and down; all others count from 0 and wrap at 2^64.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_stats_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Keys that match found resident.
    pub match_hits: u64,
    /// Keys that match did not find.
    pub match_misses: u64,
    /// Blocks copied out by get.
    pub get_hits: u64,
    /// Keys that get did not find.
    pub get_misses: u64,
    /// Bytes copied out by get.
    pub get_bytes: u64,
    /// Blocks pinned by acquire.
    pub acquires: u64,
    /// Keys that acquire did not find.
    pub acquire_misses: u64,
    /// Pins given back.
    pub releases: u64,
    /// Blocks reserved for a producer.
    pub reserves: u64,
    /// Blocks that became readable.
    pub commits: u64,
    /// Bytes of the blocks that became readable.
    pub commit_bytes: u64,
    /// Reservations given up by their producer.
    pub aborts: u64,
    /// Puts and reserves answered with EXISTS.
    pub puts_existing: u64,
    /// Puts and reserves answered with PENDING.
    pub puts_pending: u64,
    /// Calls refused with AGAIN: everything pinned or a bounded table full.
    pub refusals: u64,
    /// Blocks that the policy evicted to make room.
    pub evictions: u64,
    /// Blocks that the lock-free sweep evicted, while another thread had the policy.
    pub evictions_swept: u64,
    /// Evictions taken back because a reader held the block.
    pub eviction_rollbacks: u64,
    /// Places given back by blocks that were evicted, removed or given up.
    pub frees: u64,
    /// Blocks removed by the caller.
    pub removes: u64,
    /// Blocks touched by the caller.
    pub touches: u64,
    /// Pins taken back after their time.
    pub pins_expired: u64,
    /// Reservations taken back after their time.
    pub reservations_expired: u64,
    /// Events that a writer gave up because its slot was still being written.
    pub events_lost: u64,
    /// Calls of tick.
    pub ticks: u64,
    /// Operations taken from a lane.
    pub operations_submitted: u64,
    /// Operations completed on a lane.
    pub operations_completed: u64,
    /// Operations cancelled before they began.
    pub operations_cancelled: u64,
    /// Now: blocks in memory that can be read. `kvc_tier_get` says how many are in a file tier.
    pub blocks_resident: u64,
    /// Now: blocks that are being filled by their producer.
    pub blocks_reserved: u64,
    /// Slots of the memory tier.
    pub slots_count: u64,
    /// Now: slots of the memory tier that are free.
    pub slots_free: u64,
    /// Bytes of all slots.
    pub bytes_capacity: u64,
    /// Now: views that are held (`kvc_acquire`).
    pub pins_in_use: u64,
    /// Now: age in nanoseconds of the oldest of them.
    pub pins_age_ns_max: u64,
    /// Now: lanes that are open.
    pub lanes_open: u64,
    /// The number that the next event will have.
    pub event_sequence_next: u64,
    /// Blocks copied up from a file tier into memory.
    pub raises: u64,
    /// Blocks that could not be copied up: failed verification or reading, or no room.
    pub raise_failures: u64,
    /// Blocks copied up from the NVMe tier.
    pub nvme_hits: u64,
    /// Blocks written to the NVMe tier.
    pub nvme_writes: u64,
    /// Bytes of the blocks written to the NVMe tier.
    pub nvme_write_bytes: u64,
    /// Bytes written to the NVMe tier's file, headers and padding included.
    pub nvme_file_bytes: u64,
    /// Bytes of the blocks read from the NVMe tier.
    pub nvme_read_bytes: u64,
    /// Blocks written to the NVMe tier again because they were hit there.
    pub nvme_reinserts: u64,
    /// Blocks that left the NVMe tier with their segment.
    pub nvme_evictions: u64,
    /// Blocks copied up from the disk tier.
    pub disk_hits: u64,
    /// Blocks written to the disk tier.
    pub disk_writes: u64,
    /// Bytes of the blocks written to the disk tier.
    pub disk_write_bytes: u64,
    /// Bytes written to the disk tier's file, headers and padding included.
    pub disk_file_bytes: u64,
    /// Bytes of the blocks read from the disk tier.
    pub disk_read_bytes: u64,
    /// Blocks written to the disk tier again because they were hit there.
    pub disk_reinserts: u64,
    /// Blocks that left the disk tier with their segment.
    pub disk_evictions: u64,
    /// Blocks dropped because what a file held was not what was written.
    pub checksum_failures: u64,
    /// Requests to a file tier's device that failed after their retries.
    pub io_errors: u64,
    /// Requests to a file tier's device that were repeated.
    pub io_retries: u64,
    /// Blocks that memory gave up before they could be written down.
    pub writes_skipped: u64,
    /// Blocks that no file tier admitted: filter, endurance budget or no room.
    pub writes_refused: u64,
    /// Blocks whose copying up was begun ahead of use.
    pub prefetches: u64,
    /// Calls of flush that made everything durable.
    pub flushes: u64,
    /// Blocks found in the files when the engine was opened.
    pub blocks_recovered: u64,
    /// Records and tables found damaged or half written when the engine was opened.
    pub blocks_damaged: u64,
    /// Blocks removed by the caller that were not in memory.
    pub removes_below: u64,
    /// Times that a tier took a better codec because the error was above its bound.
    pub codec_fallbacks: u64,
    /// Times that a tier's codec was coarser than a block's namespace permits.
    pub quality_refusals: u64,
    /// Blocks that were encoded anew on their way from one file tier to another.
    pub transcodes: u64,
    /// Blocks that were committed into the slot of another block with the same bytes (`dedup`).
    pub dedup_hits: u64,
    /// Now: bytes of blocks in memory that share another block's slot instead of taking one of their own.
    pub dedup_bytes_saved: u64,
    /// Times that two blocks had the same digest and other bytes, and did not share a slot.
    pub dedup_collisions: u64,
    /// Wishes of prefetching: conversations, and blocks that follow a pattern.
    pub prefetch_wishes: u64,
    /// Blocks copied up ahead of use that were used.
    pub prefetches_used: u64,
    /// Blocks that were wished and asked for before they could be copied up.
    pub prefetches_late: u64,
    /// Blocks copied up ahead of use and evicted without one.
    pub prefetches_wasted: u64,
    /// Milliseconds from copying up ahead of use to the use, of all blocks together.
    pub prefetch_lead_ms: u64,
    /// Steps of a threshold that were tried (`tuning`).
    pub tuning_tried: u64,
    /// Steps that served better and were kept.
    pub tuning_kept: u64,
    /// Steps that did not and were taken back.
    pub tuning_taken_back: u64,
    /// Now: least probability at which a block is copied up ahead of use, in thousandths; 0 where prefetching is off.
    pub tuning_confidence_permille: u64,
    /// Now: hits that admission by reuse may cost, in thousandths; 0 where no file tier admits by reuse.
    pub tuning_admission_loss_permille: u64,
}

/// What fits into the engine; does not change while it is open. Initialise with `KVC_CAPACITY_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_capacity_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Most blocks resident at once, in all tiers together.
    pub blocks_count: u64,
    /// Most bytes of one block.
    pub block_bytes: u64,
    /// Bytes of all slots of the memory tier.
    pub cpu_bytes: u64,
    /// Most views held at once.
    pub pins_count: u64,
    /// Most lanes open at once.
    pub lanes_count: u64,
    /// Most operations of one lane under way.
    pub lane_depth: u64,
    /// Bytes of everything in memory, as in the plan.
    pub bytes: u64,
}

growable!(kvc_stats_t = 304, kvc_capacity_t = 64);

/// Fills in a struct's counters, and says how many there are.
macro_rules! fill {
    ($target:ident, $stats:ident: $($field:ident = $counter:ident,)+) => {
        $($target.$field = $stats.counter(Counter::$counter);)+
        #[cfg(test)]
        const COUNTERS: &[Counter] = &[$(Counter::$counter),+];
    };
}

impl kvc_stats_t {
    fn new(stats: &Stats) -> Self {
        let mut target: Self = zeroed();
        fill! { target, stats:
        match_misses = MatchMisses,
        match_hits = MatchHits,
        get_hits = GetHits,
        get_misses = GetMisses,
        get_bytes = GetBytes,
        acquires = Acquires,
        acquire_misses = AcquireMisses,
        releases = Releases,
        reserves = Reserves,
        commits = Commits,
        commit_bytes = CommitBytes,
        aborts = Aborts,
        puts_existing = PutsExisting,
        puts_pending = PutsPending,
        refusals = Refusals,
        evictions = Evictions,
        evictions_swept = EvictionsSwept,
        eviction_rollbacks = EvictionRollbacks,
        frees = Frees,
        removes = Removes,
        touches = Touches,
        pins_expired = PinsExpired,
        reservations_expired = ReservationsExpired,
        events_lost = EventsLost,
        ticks = Ticks,
        operations_submitted = OperationsSubmitted,
        operations_completed = OperationsCompleted,
        operations_cancelled = OperationsCancelled,
        raises = Raises,
        raise_failures = RaiseFailures,
        nvme_hits = NvmeHits,
        nvme_writes = NvmeWrites,
        nvme_write_bytes = NvmeWriteBytes,
        nvme_file_bytes = NvmeFileBytes,
        nvme_read_bytes = NvmeReadBytes,
        nvme_reinserts = NvmeReinserts,
        nvme_evictions = NvmeEvictions,
        disk_hits = DiskHits,
        disk_writes = DiskWrites,
        disk_write_bytes = DiskWriteBytes,
        disk_file_bytes = DiskFileBytes,
        disk_read_bytes = DiskReadBytes,
        disk_reinserts = DiskReinserts,
        disk_evictions = DiskEvictions,
        checksum_failures = ChecksumFailures,
        io_errors = IoErrors,
        io_retries = IoRetries,
        writes_skipped = WritesSkipped,
        writes_refused = WritesRefused,
        prefetches = Prefetches,
        flushes = Flushes,
        blocks_recovered = BlocksRecovered,
        blocks_damaged = BlocksDamaged,
        codec_fallbacks = CodecFallbacks,
        quality_refusals = QualityRefusals,
        transcodes = Transcodes,
        removes_below = RemovesBelow,
        dedup_hits = DedupHits,
        dedup_collisions = DedupCollisions,
        prefetch_wishes = PrefetchWishes,
        prefetches_used = PrefetchesUsed,
        prefetches_late = PrefetchesLate,
        prefetches_wasted = PrefetchesWasted,
        prefetch_lead_ms = PrefetchLeadMs,
        tuning_tried = TuningTried,
        tuning_kept = TuningKept,
        tuning_taken_back = TuningTakenBack,
        }
        #[cfg(test)]
        tests::every_counter_is_there(COUNTERS);
        target.blocks_resident = stats.blocks_resident;
        target.blocks_reserved = stats.blocks_reserved;
        target.slots_free = stats.slots_free;
        target.pins_in_use = stats.pins_held;
        target.pins_age_ns_max = stats.pins_age_ns_max;
        target.lanes_open = stats.lanes_open;
        target.event_sequence_next = stats.event_sequence_next;
        target.dedup_bytes_saved = stats.dedup_bytes_saved;
        target.tuning_confidence_permille = stats.tuning_confidence_permille;
        target.tuning_admission_loss_permille = stats.tuning_admission_loss_permille;
        target
    }
}

/// Reads all counters and gauges.
///
/// Takes a few microseconds: it looks at every stripe and every pin.
///
/// Threads: any, at once.
///
/// Memory: `stats_out` is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_stats_get(engine: *const kvc_engine_t, stats_out: *mut kvc_stats_t) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let stats_out = target(stats_out)?;
            let mut stats = kvc_stats_t::new(&cache.stats());
            stats.slots_count = cache.plan().slots_count();
            stats.bytes_capacity = cache.capacity().bytes;
            stats_out.write(&stats);
            Ok(())
        })
    }
}

/// Says what fits.
///
/// Threads: any, at once.
///
/// Memory: `capacity_out` is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_capacity_get(
    engine: *const kvc_engine_t,
    capacity_out: *mut kvc_capacity_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let capacity_out = target(capacity_out)?;
            let capacity = cache.capacity();
            capacity_out.write(&kvc_capacity_t {
                struct_size: 0,
                blocks_count: capacity.blocks_count,
                block_bytes: capacity.block_bytes,
                cpu_bytes: capacity.bytes,
                pins_count: capacity.pins_count,
                lanes_count: capacity.lanes_count,
                lane_depth: capacity.lane_depth,
                bytes: capacity.arena_bytes,
            });
            Ok(())
        })
    }
}

// A program that was compiled against the first version has a shorter struct: what it has stays where it was.
const _: () = assert!(core::mem::offset_of!(kvc_stats_t, raises) as u64 == kvc_stats_t::SIZE_FIRST);

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn every_counter_is_there(counters: &[Counter]) {
        for counter in Counter::ALL {
            assert_eq!(
                counters.iter().filter(|other| *other == counter).count(),
                1,
                "{counter:?}"
            );
        }
    }

    /// The macro in `kvc_stats_t::new` asks each time; here it is asked once for sure.
    #[test]
    fn every_counter_has_a_field() {
        let config = crate::config::Config {
            block_bytes: 64,
            cpu_bytes: 4096,
            ..Default::default()
        };
        let cache = crate::host::Cache::open(&config).unwrap();
        let stats = kvc_stats_t::new(&cache.stats());
        assert_eq!((stats.ticks, stats.blocks_damaged), (0, 0));
        // A field for each counter, the size, and twelve that are no counters.
        assert_eq!(size_of::<kvc_stats_t>() / 8, 1 + Counter::COUNT + 12);
    }
}
