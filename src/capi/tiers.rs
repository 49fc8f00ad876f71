//! File tiers: ahead of use, durable, in what state.
//!
//! The chapters Tiers, Durability and When a disk fails at the beginning say how the tiers below memory work.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. `growable!` asserts the layout.

use core::ffi::c_char;
use core::time::Duration;

use super::arguments::{flags, output, values};
use super::config::name;
use super::growable::{growable, target};
use super::guard::with_engine;
use super::types::{kvc_engine_t, kvc_key_t};
use super::version::kvc_status_t;
use crate::engine::{FileTierState, Stats};
use crate::error::Status;
use crate::metrics::Counter;
use crate::units::Tier;

/// The tier works.
pub const KVC_TIER_STATE_ONLINE: u64 = 1;
/// The tier's device failed or stalled; it is not used any more until the engine is opened again.
pub const KVC_TIER_STATE_OFFLINE: u64 = 2;

/// A file tier at present. Initialise with `KVC_TIER_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_tier_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Whether it works (`KVC_TIER_STATE_...`).
    pub state: u64,
    /// How its file is read and written, with a closing NUL byte: `"io_uring"`, `"pread"`, `"mmap"`.
    pub io_name: [c_char; 32],
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Segments of the file.
    pub segments_count: u64,
    /// Now: segments that hold nothing.
    pub segments_free: u64,
    /// Most blocks that can be in the tier.
    pub blocks_count_max: u64,
    /// Now: blocks in the tier.
    pub blocks_count: u64,
    /// Bytes written to the file since the engine was opened, headers and padding included.
    pub bytes_written: u64,
    /// Blocks copied up from the tier.
    pub hits: u64,
    /// Bytes of the blocks read from the tier.
    pub read_bytes: u64,
    /// Blocks written to the tier.
    pub writes: u64,
    /// Bytes of the blocks written to the tier.
    pub write_bytes: u64,
    /// Blocks written to the tier again because they were hit there.
    pub reinserts: u64,
    /// Blocks that left the tier with their segment.
    pub evictions: u64,
    /// Now: the codec of keys (`KVC_CODEC_...`), after the fallbacks that there were.
    pub codec_key: u64,
    /// Now: the codec of values.
    pub codec_value: u64,
    /// Blocks encoded for the tier.
    pub blocks_coded: u64,
    /// Bytes of those blocks, as put.
    pub plain_bytes: u64,
    /// Bytes of their codes: eight times this, over the elements in `plain_bytes`, are the bits per element.
    pub coded_bytes: u64,
    /// Blocks that were decoded again and compared since the codecs at present were taken: the first 16, then one of
    /// 64.
    pub quality_samples_count: u64,
    /// Mean relative error of the samples in millionths: the root of the squared error over the squared norm.
    pub error_ppm_mean: u64,
    /// Largest relative error of a sample in millionths.
    pub error_ppm_max: u64,
    /// How often the tier took a better codec because the samples' error was above `error_max_permille`.
    pub codec_fallbacks_count: u64,
}

growable!(kvc_tier_t = 144);

impl kvc_tier_t {
    fn new(tier: Tier, state: &FileTierState, stats: &Stats) -> Self {
        let disk = tier == Tier::Disk;
        let count = |nvme, of_disk| stats.counter(if disk { of_disk } else { nvme });
        Self {
            struct_size: 0,
            state: if state.offline {
                KVC_TIER_STATE_OFFLINE
            } else {
                KVC_TIER_STATE_ONLINE
            },
            io_name: name(state.io_name),
            file_bytes: state.file_bytes,
            segments_count: state.segments_count,
            segments_free: state.segments_free,
            blocks_count_max: state.blocks_count_max,
            blocks_count: state.blocks,
            bytes_written: state.bytes_written,
            hits: count(Counter::NvmeHits, Counter::DiskHits),
            read_bytes: count(Counter::NvmeReadBytes, Counter::DiskReadBytes),
            writes: count(Counter::NvmeWrites, Counter::DiskWrites),
            write_bytes: count(Counter::NvmeWriteBytes, Counter::DiskWriteBytes),
            reinserts: count(Counter::NvmeReinserts, Counter::DiskReinserts),
            evictions: count(Counter::NvmeEvictions, Counter::DiskEvictions),
            codec_key: state.codec.key as u64,
            codec_value: state.codec.value as u64,
            blocks_coded: state.codec.blocks_coded,
            plain_bytes: state.codec.plain_bytes,
            coded_bytes: state.codec.coded_bytes,
            quality_samples_count: state.codec.samples_count,
            error_ppm_mean: state.codec.error_ppm_mean,
            error_ppm_max: state.codec.error_ppm_max,
            codec_fallbacks_count: state.codec.fallbacks_count,
        }
    }
}

/// Says what a file tier (`KVC_TIER_NVME`, `KVC_TIER_DISK`) is and does at present.
///
/// Takes a few microseconds: it looks at every stripe.
///
/// Threads: any, at once.
///
/// Memory: `tier_out` is borrowed.
///
/// Statuses: `KVC_OK`, also for a tier that is offline; `KVC_E_NO_DEVICE` when the engine has no file tier of this
/// kind; `KVC_E_UNSUPPORTED` for a number that is no tier; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_tier_get(
    engine: *const kvc_engine_t,
    tier: u32,
    tier_out: *mut kvc_tier_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let tier_out = target(tier_out)?;
            let tier = Tier::ALL.get(tier as usize).copied().ok_or(Status::Unsupported)?;
            let state = cache.file_tier(tier).ok_or(Status::NoDevice)?;
            tier_out.write(&kvc_tier_t::new(tier, &state, &cache.stats()));
            Ok(())
        })
    }
}

/// Begins copying blocks up from the file tiers into memory, and does not wait: for blocks that are needed soon.
///
/// Blocks that are in memory already, or nowhere, are passed over. What finds no room in memory, or no free request, is
/// not begun. A block that was begun is not held: it may be evicted again before it is used. In tick mode it arrives in
/// `kvc_tick` and in calls that wait.
///
/// Flags: none yet.
///
/// Threads: any, at once. Does not wait.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`; `begun_count_out` receives how many are on their way because of this call, 0 without a file
/// tier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_prefetch(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    flags: u32,
    begun_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            self::flags(flags, 0)?;
            let (keys, begun_count_out) = (values(keys, keys_count)?, output(begun_count_out)?);
            begun_count_out.write(cache.prefetch(keys));
            Ok(())
        })
    }
}

/// Says that a conversation is over, or paused: the wish for its blocks is dropped, and none is made before its next
/// request (`KVC_PREFETCH_TURNS`). What is on its way already arrives.
///
/// `conversation_id` is that of `kvc_put_info_t`.
///
/// Threads: any, at once. Does not wait.
///
/// Memory: borrows nothing.
///
/// Statuses: `KVC_OK`; `KVC_MISS` if no such conversation is remembered; `KVC_AGAIN` while a tick is learning.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_prefetch_cancel(engine: *const kvc_engine_t, conversation_id: u64) -> kvc_status_t {
    // SAFETY: I1, asked of the caller.
    unsafe {
        with_engine(engine, |cache| match cache.prefetch_cancel(conversation_id) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::Miss),
            Err(status) => Err(status),
        })
    }
}

/// Makes everything durable that was committed or removed before the call.
///
/// Every block that no file tier holds is written to the first one, whatever its admission filter says; then the files
/// are synced (`fdatasync`). After `KVC_OK` the blocks survive the process being killed and the machine losing power,
/// as far as the device keeps its promises. Blocks that the tier gives up later to make room are not kept by it.
///
/// `timeout_ns` 0 does not wait: what can be begun is begun. UINT64_MAX waits as long as the device makes progress.
///
/// Threads: any, at once. Waits for the files' devices.
///
/// Memory: `blocks_written_out` is borrowed.
///
/// Statuses: `KVC_OK`; `blocks_written_out` receives how many blocks had to be written; `KVC_TIMEOUT`, and writing goes
/// on; `KVC_E_ENDURANCE` when the endurance budget does not allow all of it: what fitted is durable; `KVC_E_OFFLINE`
/// when the tier is offline; `KVC_E_UNSUPPORTED` without a file tier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_flush(
    engine: *const kvc_engine_t,
    timeout_ns: u64,
    blocks_written_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let blocks_written_out = output(blocks_written_out)?;
            blocks_written_out.write(cache.flush(Duration::from_nanos(timeout_ns))?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::{KVC_TIER_CPU, KVC_TIER_DISK, KVC_TIER_NVME};
    use crate::config::Config;
    use crate::engine::CodecState;
    use crate::host::Cache;
    use std::boxed::Box;

    #[test]
    fn an_engine_without_file_tiers_says_so() {
        let config = Config {
            block_bytes: 64,
            cpu_bytes: 4096,
            ..Config::default()
        };
        let engine = crate::capi::registry::insert(Box::new(Cache::open(&config).unwrap()));
        let engine = engine.ok().unwrap();
        let mut tier = kvc_tier_t {
            struct_size: size_of::<kvc_tier_t>() as u64,
            ..crate::capi::growable::zeroed()
        };
        let mut count = 9;
        // SAFETY: everything is there, and this test alone has the engine.
        unsafe {
            for (number, status) in [
                (KVC_TIER_NVME, Status::NoDevice),
                (KVC_TIER_DISK, Status::NoDevice),
                (KVC_TIER_CPU, Status::NoDevice),
                (99, Status::Unsupported),
            ] {
                assert_eq!(kvc_tier_get(engine, number, &raw mut tier), status.code());
            }
            assert_eq!(kvc_flush(engine, 0, &raw mut count), Status::Unsupported.code());
            assert_eq!(count, 9);
            let key = kvc_key_t { bytes: [1; 32] };
            assert_eq!(
                kvc_prefetch(engine, &raw const key, 1, 1, &raw mut count),
                Status::Unsupported.code()
            );
            assert_eq!(kvc_prefetch(engine, &raw const key, 1, 0, &raw mut count), 0);
            assert_eq!(count, 0);
            assert_eq!(crate::capi::kvc_close(engine), 0);
        }
    }

    #[test]
    fn figures_are_those_of_the_tier_that_is_asked_for() {
        let config = Config {
            block_bytes: 64,
            cpu_bytes: 4096,
            ..Config::default()
        };
        let state = FileTierState {
            io_name: "pread",
            offline: true,
            file_bytes: 1,
            segments_count: 2,
            segments_free: 3,
            blocks_count_max: 4,
            blocks: 5,
            bytes_written: 6,
            codec: CodecState::default(),
        };
        let stats = Cache::open(&config).unwrap().stats();
        let tier = kvc_tier_t::new(Tier::Disk, &state, &stats);
        assert_eq!(
            (tier.state, tier.file_bytes, tier.segments_count),
            (KVC_TIER_STATE_OFFLINE, 1, 2)
        );
        assert_eq!((tier.segments_free, tier.blocks_count_max), (3, 4));
        assert_eq!((tier.blocks_count, tier.bytes_written), (5, 6));
        let text = tier.io_name.map(|byte| byte as u8);
        assert!(text.starts_with(b"pread\0"));
    }
}
