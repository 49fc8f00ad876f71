//! Keeping and dropping: remove, touch, retain, clear.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`].

use super::arguments::{flags, output, values};
use super::guard::with_engine;
use super::types::{kvc_engine_t, kvc_key_t};
use super::version::kvc_status_t;
use super::writes::{expiry_ms, priority};

/// For `kvc_retain`: never evict the blocks while there is one without this flag that could be.
pub const KVC_RETAIN_PROTECTED: u32 = 1;

/// Removes blocks, from all tiers. From then on nobody finds them.
///
/// A block that somebody holds goes once the last view of it is released; it counts as removed. A block that is not
/// resident is passed over. What was in a file tier stays removed when the engine is opened again, once the next
/// `kvc_flush` answered `KVC_OK`; after a crash before that it may be there again.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`, also when none was resident.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_remove(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    removed_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (keys, removed_count_out) = (values(keys, keys_count)?, output(removed_count_out)?);
            removed_count_out.write(cache.remove(keys));
            Ok(())
        })
    }
}

/// Counts blocks as used now, so that they are evicted later, without reading them, in whichever tier they are.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`, also when none was resident; `touched_count_out` receives how many were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_touch(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    touched_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (keys, touched_count_out) = (values(keys, keys_count)?, output(touched_count_out)?);
            touched_count_out.write(cache.touch(keys));
            Ok(())
        })
    }
}

/// Changes how long resident blocks are kept: priority, protection and when both lapse.
///
/// `priority` is 0 (evicted first) to 100; `expiry_ms` is milliseconds from now, 0 for never, at most 400 days. Blocks
/// that are not resident are passed over.
///
/// Flags: `KVC_RETAIN_PROTECTED`.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`, also when none was resident; `retained_count_out` receives how many were; `KVC_E_ARGUMENT` for a
/// priority or an expiry outside its range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_retain(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    priority: u32,
    expiry_ms: u64,
    flags: u32,
    retained_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let protected = self::flags(flags, KVC_RETAIN_PROTECTED)? != 0;
            let (keys, retained_count_out) = (values(keys, keys_count)?, output(retained_count_out)?);
            let (priority, expiry_ms) = (self::priority(priority.into())?, self::expiry_ms(expiry_ms)?);
            retained_count_out.write(cache.retain(keys, priority, protected, expiry_ms)?);
            Ok(())
        })
    }
}

/// Removes every block that was put with this namespace (`namespace_id` of `kvc_put_info_t`).
///
/// Takes time proportional to the number of blocks there can be. Blocks put meanwhile may stay.
///
/// Threads: any, at once.
///
/// Memory: `removed_count_out` is borrowed.
///
/// Statuses: `KVC_OK`, also when there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_namespace_clear(
    engine: *const kvc_engine_t,
    namespace_id: u64,
    removed_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let removed_count_out = output(removed_count_out)?;
            removed_count_out.write(cache.namespace_clear(namespace_id));
            Ok(())
        })
    }
}

/// Bounds how much the blocks of a namespace may lose in the file tiers.
///
/// A tier whose codec is coarser than `error_max_permille`, as it is known or as samples show it, does not get them:
/// they are dropped there rather than degraded, and counted (`quality_refusals` of `kvc_stats_t`). 0 permits lossless
/// codecs only; UINT64_MAX takes the bound back. What is in a tier already stays. `kvc_flush` leaves out what no tier
/// is fine enough for.
///
/// Threads: any, at once. Does not wait.
///
/// Memory: nothing is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_ARGUMENT` for more than 1000; `KVC_E_UNSUPPORTED` without a file tier; `KVC_AGAIN` when
/// 64 namespaces have had a bound, or another thread is just setting one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_namespace_quality_set(
    engine: *const kvc_engine_t,
    namespace_id: u64,
    error_max_permille: u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let bound = Some(error_max_permille).filter(|bound| *bound != u64::MAX);
            cache.quality_floor_set(namespace_id, bound)
        })
    }
}
