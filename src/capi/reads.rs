//! Reading: match, get, acquire.
//!
//! `kvc_match` asks how much of a chain of keys is resident, without touching payload. `kvc_get` copies a block into
//! the caller's buffer. `kvc_acquire` lends the block itself: nothing is copied, and the block stays where it is,
//! readable and unchanged, until `kvc_release`.
//!
//! Resident is a block in any tier. One that is in a file tier only is copied up into memory when it is got or
//! acquired, and the call waits for that; on a lane (`KVC_OP_GET`, `KVC_OP_ACQUIRE`) nobody has to wait. `kvc_prefetch`
//! begins it ahead of use. With `KVC_ACQUIRE_PARTIAL` a block is lent while it is still arriving, so that its first
//! layers can be used before its last are there.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. `mirror!` asserts the layouts.

use core::ffi::c_void;
use core::slice;

use super::arguments::{buffer, flags, mirror, output, output_optional, value, values, values_mut};
use super::guard::with_engine;
use super::types::{kvc_block_t, kvc_engine_t, kvc_key_t, kvc_pin_t};
use super::version::kvc_status_t;

use crate::copy::Temperature;
use crate::engine::{RawReservation, RawView};
use crate::error::Status;
use crate::host::Cache;

/// For match: count the resident blocks as used, so that they are evicted later. Without it, match only looks.
pub const KVC_MATCH_TOUCH: u32 = 1;

/// For copies: the bytes are read soon by this core and shall be in its cache.
pub const KVC_COPY_HOT: u32 = 1;
/// For copies: the bytes are not read soon and shall not displace what is in the cache. Without `KVC_COPY_HOT` and
/// `KVC_COPY_COLD` the size of the block decides.
pub const KVC_COPY_COLD: u32 = 2;

/// For acquire: lend a block of a file tier at once, while it is still arriving; `kvc_view_ready` says how much of it
/// is there.
pub const KVC_ACQUIRE_PARTIAL: u32 = 1;

/// A block that the engine lends: `bytes` bytes at `data`, readable and unchanged until `kvc_release`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_view_t {
    /// The block's bytes, aligned to at least 64.
    pub data: *const c_void,
    /// How many there are.
    pub bytes: u64,
    /// The block.
    pub block: kvc_block_t,
    /// What holds it.
    pub pin: kvc_pin_t,
}

mirror!(
    kvc_view_t = RawView {
        data,
        bytes,
        block,
        pin
    }
);

/// Room for a block that the engine lends to its producer until `kvc_commit` or `kvc_abort`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_reservation_t {
    /// Where the block's bytes go, aligned to at least 64. What is there before is undefined.
    pub data: *mut c_void,
    /// Room in bytes: what was asked for.
    pub bytes: u64,
    /// The block to be.
    pub block: kvc_block_t,
    /// Zero.
    pub reserved: u64,
}

mirror!(
    kvc_reservation_t = RawReservation {
        data,
        bytes,
        block,
        reserved
    }
);

/// One item of a batch of gets or puts: a key, where its bytes are or go, and what became of it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_item_t {
    /// The block's key.
    pub key: kvc_key_t,
    /// Get: where the bytes go. Put: where they are; not written.
    pub data: *mut c_void,
    /// Get: room in bytes at `data`. Put: bytes of the block.
    pub bytes: u64,
    /// Written by the library. Get: bytes of the block if the status is `KVC_OK`, else 0. Put: bytes stored.
    pub bytes_out: u64,
    /// Written by the library: what became of this item.
    pub status: kvc_status_t,
    /// Zero.
    pub flags: u32,
}

mirror!(
    kvc_item_t = kvc_item_t {
        key,
        data,
        bytes,
        bytes_out,
        status,
        flags
    }
);

/// Most blocks of a batch that are copied up ahead of their turn.
const AHEAD_COUNT_MAX: u64 = 16;

/// How many of a batch are copied up ahead of their turn: none without a file tier, and no more than leave half of its
/// requests to others.
fn ahead_count(cache: &Cache) -> usize {
    let config = cache.config();
    let files = [config.nvme, config.disk];
    let depths = files.iter().filter(|file| file.bytes != 0).map(|file| file.depth / 2);
    depths.min().unwrap_or(0).min(AHEAD_COUNT_MAX) as usize
}

/// The copy's temperature that the flags of a get ask for.
pub(super) fn temperature(given: u32) -> Result<Temperature, Status> {
    match flags(given, KVC_COPY_HOT | KVC_COPY_COLD)? {
        0 => Ok(Temperature::Auto),
        KVC_COPY_HOT => Ok(Temperature::Hot),
        KVC_COPY_COLD => Ok(Temperature::Cold),
        _ => Err(Status::Argument),
    }
}

/// Counts the keys at the beginning of the list whose blocks are resident: the longest resident prefix.
///
/// Resident is a block in whichever tier; `kvc_match_each` says in which. Keys after the first that is not resident do
/// not count, resident or not. The answer is a snapshot: a block may be evicted right afterwards, and one in a file
/// tier may turn out damaged when it is read. To keep it, use `kvc_acquire_many`.
///
/// Flags: `KVC_MATCH_TOUCH`.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`, also for a count of 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_match(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    flags: u32,
    matched_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let touch = super::arguments::flags(flags, KVC_MATCH_TOUCH)? != 0;
            let (keys, matched_count_out) = (values(keys, keys_count)?, output(matched_count_out)?);
            matched_count_out.write(cache.match_prefix(keys, touch));
            Ok(())
        })
    }
}

/// Says for each key in which tiers its block is resident.
///
/// For hybrid models, whose layers keep different parts of a prompt, a prefix is not enough. `tiers_out[i]` becomes the
/// sum of `1 << KVC_TIER_...` over the tiers that have block i: 2 for the memory of the host, 4 for the NVMe tier, 8
/// for the disk tier, 0 for not resident.
///
/// Flags: `KVC_MATCH_TOUCH`.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed. `tiers_out` has `keys_count` elements.
///
/// Statuses: `KVC_OK`, also when none is resident.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_match_each(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    flags: u32,
    tiers_out: *mut u8,
    resident_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let touch = super::arguments::flags(flags, KVC_MATCH_TOUCH)? != 0;
            let keys = values(keys, keys_count)?;
            let (tiers_out, resident_count_out) = (values_mut(tiers_out, keys_count)?, output(resident_count_out)?);
            resident_count_out.write(cache.match_each(keys, touch, tiers_out));
            Ok(())
        })
    }
}

/// Copies a block into the caller's buffer. A block that is in a file tier only is copied up into memory first, and
/// stays there, as the tier's `promotion_hits` say; it stays in the file too.
///
/// Flags: `KVC_COPY_HOT` or `KVC_COPY_COLD`.
///
/// Threads: any, at once. Waits for a block below memory until it is there, or until the device fails or makes no
/// progress for `..._stall_ms` of the configuration. A block in memory is never waited for.
///
/// Memory: all pointers are borrowed; `target` need not be initialised. Nothing is written to it unless the status is
/// `KVC_OK`.
///
/// Statuses: `KVC_OK`; `KVC_MISS`, also while a producer still fills it, and when what the file held could not be read
/// or was not what was written (the block is dropped then); `KVC_E_TOO_SMALL` when the block has more than
/// `target_bytes` bytes; `KVC_AGAIN` when more copies are under way than there are pins for, or when everything in
/// memory is held and there is no room to copy the block up; `KVC_E_ARGUMENT` for both flags at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_get(
    engine: *const kvc_engine_t,
    key: *const kvc_key_t,
    target: *mut c_void,
    target_bytes: u64,
    flags: u32,
    bytes_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let temperature = temperature(flags)?;
            let (key, bytes_out) = (value(key)?, output(bytes_out)?);
            let target = buffer(target, target_bytes)?;
            bytes_out.write(cache.get_raw(key, target, target_bytes, temperature)?);
            Ok(())
        })
    }
}

/// Copies many blocks, each into its own buffer. Every item gets a status of its own, as `kvc_get` would answer. Blocks
/// below memory are copied up ahead of their turn, several at once.
///
/// Flags: `KVC_COPY_HOT` or `KVC_COPY_COLD`, for all items. The `flags` of the items must be zero.
///
/// Threads: any, at once. Waits as `kvc_get` does.
///
/// Memory: all pointers, also those in the items, are borrowed.
///
/// Statuses: `KVC_OK` whatever became of the items; `hits_count_out` receives how many of them have `KVC_OK`. After any
/// other status the items are as they were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_get_many(
    engine: *const kvc_engine_t,
    items: *mut kvc_item_t,
    items_count: u64,
    flags: u32,
    hits_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let temperature = temperature(flags)?;
            let (items, hits_count_out) = (values_mut(items, items_count)?, output(hits_count_out)?);
            let mut hits_count = 0;
            // So many blocks ahead of the one that is copied are on their way up: not all at once, or those of a long
            // list would push each other out before they are copied.
            let ahead = ahead_count(cache);
            for item in items.iter().take(ahead) {
                cache.prefetch(slice::from_ref(value(&raw const item.key)?));
            }
            for place in 0..items.len() {
                if let Some(item) = items.get(place + ahead).filter(|_| ahead != 0) {
                    cache.prefetch(slice::from_ref(value(&raw const item.key)?));
                }
                let Some(item) = items.get_mut(place) else { break };
                let result = super::arguments::flags(item.flags, 0)
                    .and_then(|_| buffer(item.data, item.bytes))
                    .and_then(|target| {
                        let key = value(&raw const item.key)?;
                        cache.get_raw(key, target, item.bytes, temperature)
                    });
                hits_count += u64::from(result.is_ok());
                item.bytes_out = result.unwrap_or(0);
                item.status = result.err().unwrap_or(Status::Ok).code();
            }
            hits_count_out.write(hits_count);
            Ok(())
        })
    }
}

/// Lends a block to the caller, without copying it. Release the view with `kvc_release`.
///
/// A held block is neither evicted nor moved. It may be removed meanwhile (`kvc_remove`): then nobody finds it any
/// more, and its memory is reused after the last view is released.
///
/// A block that is in a file tier only is copied up into memory first, and the call waits for that. With
/// `KVC_ACQUIRE_PARTIAL` it does not: the view is of the block's whole length, and only as many bytes of it may be read
/// as `kvc_view_ready` says.
///
/// Flags: `KVC_ACQUIRE_PARTIAL`.
///
/// Threads: any, at once. Waits as `kvc_get` does; with `KVC_ACQUIRE_PARTIAL` it does not wait.
///
/// Memory: `key` and `view_out` are borrowed. `view_out->data` is lent until `kvc_release`; do not write to it. When
/// the configuration sets `pin_expiry_ms`, no longer than that.
///
/// Statuses: `KVC_OK`; `KVC_MISS`, also while a producer still fills it, and when what the file held could not be read
/// or was not what was written; `KVC_AGAIN` when all pins are in use, or there is no room to copy the block up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_acquire(
    engine: *const kvc_engine_t,
    key: *const kvc_key_t,
    flags: u32,
    view_out: *mut kvc_view_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let partial = super::arguments::flags(flags, KVC_ACQUIRE_PARTIAL)? != 0;
            let (key, view_out) = (value(key)?, output(view_out)?);
            view_out.write(if partial {
                cache.acquire_partial_raw(key)?
            } else {
                cache.acquire_raw(key)?
            });
            Ok(())
        })
    }
}

/// Says how many bytes of a block that was acquired with `KVC_ACQUIRE_PARTIAL` are there and verified, from its first
/// byte on. The number only grows.
///
/// In tick mode the block arrives in `kvc_tick` and in calls that wait; this call moves it on too. Ask again until the
/// answer is no longer `KVC_PENDING`, and use the layers that are there meanwhile.
///
/// Threads: any, at once. Does not wait.
///
/// Memory: `view` and `bytes_ready_out` are borrowed.
///
/// Statuses: `KVC_OK` when all bytes are there, also for a view that was acquired without the flag; `KVC_PENDING` while
/// they arrive; in both cases `bytes_ready_out` receives how many are there. `KVC_MISS` when the rest could not be read
/// or was not what was written, or the block was removed before it had arrived: release the view, its bytes are
/// worthless, also those that were ready. `KVC_E_STALE` when the view was released already, expired, or never was a
/// view of this engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_view_ready(
    engine: *const kvc_engine_t,
    view: *const kvc_view_t,
    bytes_ready_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (view, bytes_ready_out) = (value(view)?, output(bytes_ready_out)?);
            let (result, bytes) = match cache.view_ready(view) {
                Ok(bytes) => (Ok(()), bytes),
                Err((Status::Pending, bytes)) => (Err(Status::Pending), bytes),
                Err((status, _)) => return Err(status),
            };
            bytes_ready_out.write(bytes);
            result
        })
    }
}

/// Lends the blocks of the longest resident prefix of the list: `kvc_match` and `kvc_acquire` in one.
///
/// Stops at the first block that is not resident or cannot be copied up, or when the pins run out. Views of that many
/// blocks are written. Blocks below memory are copied up, several at once, and waited for.
///
/// Flags: none yet.
///
/// Threads: any, at once. Waits as `kvc_get` does.
///
/// Memory: all pointers are borrowed; `views_out` has `keys_count` elements. The data of the views is lent until they
/// are released.
///
/// Statuses: `KVC_OK`, also for a count of 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_acquire_many(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    keys_count: u64,
    flags: u32,
    views_out: *mut kvc_view_t,
    views_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            super::arguments::flags(flags, 0)?;
            let keys = values(keys, keys_count)?;
            let (views_out, views_count_out) = (values_mut(views_out, keys_count)?, output(views_count_out)?);
            views_count_out.write(cache.acquire_prefix_raw(keys, views_out));
            Ok(())
        })
    }
}

/// Gives a view back.
///
/// Threads: any, at once; also another one than the one that acquired.
///
/// Memory: `view` is borrowed and not changed. Its data must not be used any more.
///
/// Statuses: `KVC_OK`; `KVC_E_STALE` when it was released already, expired, or never was a view of this engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_release(engine: *const kvc_engine_t, view: *const kvc_view_t) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe { with_engine(engine, |cache| cache.release_raw(value(view)?)) }
}

/// Gives many views back.
///
/// Threads: any, at once.
///
/// Memory: `views` is borrowed and not changed; the data of the views must not be used any more. `released_count_out`
/// may be NULL.
///
/// Statuses: `KVC_OK`; a view that was stale is passed over, so that `released_count_out` is less than `views_count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_release_many(
    engine: *const kvc_engine_t,
    views: *const kvc_view_t,
    views_count: u64,
    released_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (views, released_count_out) = (values(views, views_count)?, output_optional(released_count_out)?);
            let released = views.iter().filter(|view| cache.release_raw(view).is_ok());
            released_count_out.write(released.count() as u64);
            Ok(())
        })
    }
}
