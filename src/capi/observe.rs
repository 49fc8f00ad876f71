//! Watching: latencies, metrics, events, who holds what.
//!
//! As the statistics, all of this works at any time, also after a shutdown, costs the hot path nothing that readers
//! share, and allocates nothing.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. `mirror!` and `growable!` assert the layouts.

use core::ffi::c_char;
use core::mem::{align_of, size_of};

use super::arguments::{mirror, output, values_mut};
use super::growable::{growable, target};
use super::guard::with_engine;
use super::types::{kvc_block_t, kvc_engine_t, kvc_key_t, kvc_pin_t};
use super::version::kvc_status_t;
use crate::block::{BlockRef, PinRef};
use crate::engine::PinInfo;
use crate::error::Status;
use crate::key::Key;
use crate::metrics::{BoundedText, Event, EventKind, Operation};
use crate::units::{BlockIndex, Tier};

/// Finding the longest resident prefix, one call.
pub const KVC_OPERATION_MATCH: u32 = 0;
/// Copying a block out.
pub const KVC_OPERATION_GET: u32 = 1;
/// Lending a block.
pub const KVC_OPERATION_ACQUIRE: u32 = 2;
/// Reserving room for a block, with the eviction that it may need.
pub const KVC_OPERATION_RESERVE: u32 = 3;
/// Making a reserved block readable.
pub const KVC_OPERATION_COMMIT: u32 = 4;
/// Copying a block in.
pub const KVC_OPERATION_PUT: u32 = 5;
/// Removing blocks.
pub const KVC_OPERATION_REMOVE: u32 = 6;
/// Copying a block between tiers: up into memory from the tier given, or down into it.
pub const KVC_OPERATION_MOVE: u32 = 7;
/// From submission on a lane to completion.
pub const KVC_OPERATION_SUBMIT: u32 = 8;
/// One call of tick.
pub const KVC_OPERATION_TICK: u32 = 9;
/// How many kinds of operations there are: they are numbers below this.
pub const KVC_OPERATIONS_COUNT: u32 = 10;

/// How long the timed operations of one kind took in one tier. Initialise with `KVC_HISTOGRAM_INIT`.
///
/// One operation of `latency_sample_count` (of the configuration) is timed. A quantile is never below the exact value
/// and at most one eighth above it. Everything is 0 where nothing was timed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_histogram_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Operations timed.
    pub count: u64,
    /// Their latencies together, in nanoseconds.
    pub latency_ns_sum: u64,
    /// The longest, in nanoseconds.
    pub latency_ns_max: u64,
    /// Half of them took no longer, in nanoseconds.
    pub latency_ns_p50: u64,
    /// 90 of 100 took no longer, in nanoseconds.
    pub latency_ns_p90: u64,
    /// 99 of 100 took no longer, in nanoseconds.
    pub latency_ns_p99: u64,
    /// 999 of 1000 took no longer, in nanoseconds.
    pub latency_ns_p999: u64,
}

/// The block became readable in the tier.
pub const KVC_EVENT_STORED: u32 = 1;
/// The caller removed the block, from all tiers.
pub const KVC_EVENT_REMOVED: u32 = 2;
/// The block left the tier, to make room in it; it may still be in another one.
pub const KVC_EVENT_EVICTED: u32 = 3;
/// The block was moved and is now in the tier given. Reserved: blocks are copied between tiers, which is stored in the
/// one and, later, evicted from the other.
pub const KVC_EVENT_MOVED: u32 = 4;
/// A view of the block was taken back after its time (`pin_expiry_ms`).
pub const KVC_EVENT_PIN_EXPIRED: u32 = 5;
/// What the tier's file held under this key was not what was written; the block was dropped there.
pub const KVC_EVENT_DAMAGED: u32 = 6;
/// The tier went offline: its device fails or stalls. The key is zero, and so is the block. All blocks that only this
/// tier held are gone, without an event of their own.
pub const KVC_EVENT_OFFLINE: u32 = 7;
/// The tier's codec was coarser on this model than `error_max_permille` permits: it takes the next better one from now
/// on. The key is that of the block that showed it.
pub const KVC_EVENT_CODEC_FALLBACK: u32 = 8;

/// One thing that happened to a block, for a router that follows which blocks are where.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_event_t {
    /// The event's number; the next event has the next one.
    pub sequence: u64,
    /// The engine's clock when it happened, in nanoseconds.
    pub time_ns: u64,
    /// The block's key.
    pub key: kvc_key_t,
    /// The block.
    pub block: kvc_block_t,
    /// What happened (`KVC_EVENT_...`).
    pub kind: u32,
    /// In which tier (`KVC_TIER_...`).
    pub tier: u32,
}

// Not a mirror of the library's own, which has enums. Mirrors itself, so that arrays can be written.
mirror!(
    kvc_event_t = kvc_event_t {
        sequence,
        time_ns,
        key,
        block,
        kind,
        tier
    }
);

/// A view that is held.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_pin_info_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// The key of the block held.
    pub key: kvc_key_t,
    /// The block held.
    pub block: kvc_block_t,
    /// The pin.
    pub pin: kvc_pin_t,
    /// How long it has been held, in nanoseconds; 0 for a view taken a moment ago.
    pub age_ns: u64,
}

growable!(kvc_histogram_t = 64, kvc_pin_info_t = 64);

/// Reads how long the operations of one kind (`KVC_OPERATION_...`) took in one tier (`KVC_TIER_...`).
///
/// Threads: any, at once.
///
/// Memory: `histogram_out` is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_UNSUPPORTED` for an operation or a tier that this version does not know; `KVC_E_ARGUMENT`
/// and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_histogram_get(
    engine: *const kvc_engine_t,
    operation: u32,
    tier: u32,
    histogram_out: *mut kvc_histogram_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let histogram_out = target(histogram_out)?;
            let operation = Operation::from_code(operation).ok_or(Status::Unsupported)?;
            let tier = Tier::ALL.get(tier as usize).copied().ok_or(Status::Unsupported)?;
            let latency = cache.latency(operation, tier);
            let quantile = |parts_per_million| latency.quantile_ns(parts_per_million).unwrap_or(0);
            histogram_out.write(&kvc_histogram_t {
                struct_size: 0,
                count: latency.count,
                latency_ns_sum: latency.sum_ns,
                latency_ns_max: latency.latency_ns_max,
                latency_ns_p50: quantile(500_000),
                latency_ns_p90: quantile(900_000),
                latency_ns_p99: quantile(990_000),
                latency_ns_p999: quantile(999_000),
            });
            Ok(())
        })
    }
}

/// Writes all metrics as the text that a Prometheus scraper reads, with a closing NUL byte.
///
/// 64 KiB are always enough for an engine of this version.
///
/// Threads: any, at once.
///
/// Memory: `buffer` and `bytes_out` are borrowed.
///
/// Statuses: `KVC_OK`; `bytes_out` receives the length of the text without the NUL byte; `KVC_E_TOO_SMALL` when the
/// buffer has not room for both, and then what is in the buffer is undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_metrics_write(
    engine: *const kvc_engine_t,
    buffer: *mut c_char,
    buffer_bytes: u64,
    bytes_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let bytes_out = output(bytes_out)?;
            let buffer = values_mut(buffer.cast::<u8>(), buffer_bytes)?;
            let (end, room) = buffer.split_last_mut().ok_or(Status::TooSmall)?;
            // The length of the text is not known before it is written, and may be another one the next time.
            let mut text = BoundedText::new(room);
            // A bounded text does not fail, it stops.
            let _ = cache.metrics_write(&mut text);
            if !text.is_complete() {
                return Err(Status::TooSmall);
            }
            let bytes = text.bytes_written();
            match room.get_mut(bytes) {
                Some(after) => *after = 0,
                None => *end = 0,
            }
            bytes_out.write(bytes as u64);
            Ok(())
        })
    }
}

/// Events that are converted at a time, on the stack.
const CHUNK_COUNT: usize = 16;

/// Reads events, oldest first, as many as `events_out` has room for.
///
/// `sequence_inout` is the reader's own place: begin with 0, and pass it again each time. Every reader has its own;
/// reading takes nothing away. Events that the ring has overwritten before this reader came are counted in
/// `lost_count_out`; so the reader knows when to compare its picture with the engine (`kvc_match_each`). With
/// `events_count` of `KVC_NONE` there are none.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed. `events_out` has `capacity` elements, of which `count_out` are written.
///
/// Statuses: `KVC_OK`, also when there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_events_read(
    engine: *const kvc_engine_t,
    sequence_inout: *mut u64,
    events_out: *mut kvc_event_t,
    capacity: u64,
    count_out: *mut u64,
    lost_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let mut sequence = *super::arguments::value(sequence_inout.cast_const())?;
            let sequence_inout = output(sequence_inout)?;
            let events_out = values_mut(events_out, capacity)?;
            let (count_out, lost_count_out) = (output(count_out)?, output(lost_count_out)?);
            let (mut count, mut lost_count) = (0, 0);
            let mut chunk = [EVENT_EMPTY; CHUNK_COUNT];
            for targets in events_out.chunks_mut(CHUNK_COUNT) {
                let chunk = chunk.get_mut(..targets.len()).unwrap_or_default();
                let read = cache.events_read(&mut sequence, chunk);
                for (target, event) in targets.iter_mut().zip(chunk.iter().take(read.count)) {
                    *target = kvc_event_t::new(event);
                }
                count += read.count as u64;
                lost_count += read.lost;
                if read.count < targets.len() {
                    break;
                }
            }
            sequence_inout.write(sequence);
            count_out.write(count);
            lost_count_out.write(lost_count);
            Ok(())
        })
    }
}

/// What a chunk of events holds before it is read into.
const EVENT_EMPTY: Event = Event {
    sequence: 0,
    time_ns: 0,
    key: Key::from_words([0; 4]),
    block_index: BlockIndex(0),
    block_generation: 0,
    kind: EventKind::Stored,
    tier: Tier::Cpu,
};

impl kvc_event_t {
    fn new(event: &Event) -> Self {
        Self {
            sequence: event.sequence,
            time_ns: event.time_ns,
            key: kvc_key_t { bytes: event.key.bytes },
            block: kvc_block_t {
                index: event.block_index.0,
                generation: event.block_generation,
            },
            kind: event.kind.code(),
            tier: event.tier as u32,
        }
    }
}

/// Lists the views that are held, as many as there is room for: to find callers that forgot to release.
///
/// Set `struct_size` of the first element (`KVC_PIN_INFO_INIT`): it holds for all of them, and the library writes it to
/// every element that it fills in. Fields that the library does not know become zero.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed. `pins_out` has `capacity` elements; what is in elements that are not filled in is
/// undefined afterwards.
///
/// Statuses: `KVC_OK`; `count_out` receives how many views are held, which may be more than `capacity`.
/// `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_pins_get(
    engine: *const kvc_engine_t,
    pins_out: *mut kvc_pin_info_t,
    capacity: u64,
    count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let count_out = output(count_out)?;
            if capacity == 0 {
                count_out.write(cache.pins(&mut []));
                return Ok(());
            }
            let stride = target(pins_out)?.size();
            let bytes = capacity.checked_mul(stride as u64).ok_or(Status::Argument)?;
            let all = values_mut(pins_out.cast::<u8>(), bytes)?.as_mut_ptr();
            // The engine's records are shorter than the caller's, so there is room for them in the same place; then
            // they are spread out, from the last to the first, so that none is overwritten before it is read.
            let records = all.cast::<PinInfo>();
            for place in 0..capacity as usize {
                records.add(place).write(PIN_EMPTY);
            }
            let count = cache.pins(core::slice::from_raw_parts_mut(records, capacity as usize));
            for place in (0..count.min(capacity) as usize).rev() {
                let info = kvc_pin_info_t::new(&records.add(place).read(), stride);
                let target = all.add(place * stride);
                target.write_bytes(0, stride);
                target.cast::<kvc_pin_info_t>().write(info);
            }
            // The first element's size is how the caller knows the stride the next time.
            pins_out.cast::<u64>().write(stride as u64);
            count_out.write(count);
            Ok(())
        })
    }
}

const PIN_EMPTY: PinInfo = PinInfo {
    block: BlockRef {
        index: 0,
        generation: 0,
    },
    pin: PinRef {
        index: 0,
        generation: 0,
    },
    key: Key::from_words([0; 4]),
    age_ns: 0,
};

const _: () = {
    assert!(size_of::<PinInfo>() as u64 <= <kvc_pin_info_t as super::growable::Growable>::SIZE_FIRST);
    assert!(align_of::<PinInfo>() <= align_of::<kvc_pin_info_t>());
    assert!(size_of::<kvc_event_t>() == 64);
};

impl kvc_pin_info_t {
    fn new(info: &PinInfo, struct_size: usize) -> Self {
        Self {
            struct_size: struct_size as u64,
            key: kvc_key_t { bytes: info.key.bytes },
            block: kvc_block_t {
                index: info.block.index,
                generation: info.block.generation,
            },
            pin: kvc_pin_t {
                index: info.pin.index,
                generation: info.pin.generation,
            },
            age_ns: info.age_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_events_are_the_same_numbers_in_c() {
        let operations = [
            KVC_OPERATION_MATCH,
            KVC_OPERATION_GET,
            KVC_OPERATION_ACQUIRE,
            KVC_OPERATION_RESERVE,
            KVC_OPERATION_COMMIT,
            KVC_OPERATION_PUT,
            KVC_OPERATION_REMOVE,
            KVC_OPERATION_MOVE,
            KVC_OPERATION_SUBMIT,
            KVC_OPERATION_TICK,
        ];
        assert_eq!(operations.len(), KVC_OPERATIONS_COUNT as usize);
        for (place, code) in operations.into_iter().enumerate() {
            assert_eq!(Operation::from_code(code), Some(Operation::ALL[place]));
        }
        assert_eq!(Operation::ALL.len(), operations.len());
        let events = [
            KVC_EVENT_STORED,
            KVC_EVENT_REMOVED,
            KVC_EVENT_EVICTED,
            KVC_EVENT_MOVED,
            KVC_EVENT_PIN_EXPIRED,
            KVC_EVENT_DAMAGED,
            KVC_EVENT_OFFLINE,
            KVC_EVENT_CODEC_FALLBACK,
        ];
        assert_eq!(EventKind::ALL.len(), events.len());
        for (place, code) in events.into_iter().enumerate() {
            assert_eq!(EventKind::from_code(code), Some(EventKind::ALL[place]));
        }
    }
}
