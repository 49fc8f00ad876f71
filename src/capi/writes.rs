//! Writing: reserve, commit, put.
//!
//! `kvc_put` copies bytes in. `kvc_reserve` lends room to fill in place (by the program itself, a read from a file, a
//! device) and `kvc_commit` makes it readable, all at once; nobody sees a block before. Blocks are immutable: a second
//! put of the same key answers `KVC_EXISTS` and stores nothing, and while one producer fills a block, others get
//! `KVC_PENDING`, so that the same work is not done twice.
//!
//! A full tier evicts blocks by its policy. When nothing can be evicted because everything is held, the answer is
//! `KVC_AGAIN`. With file tiers, what has to go is written down first where that is still to do: the chapter Under
//! memory pressure says in which order, and how long a call waits for it.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`].

use core::ffi::c_void;

use super::arguments::{bytes, output, value, values_mut};
use super::growable::{growable, read};
use super::guard::with_engine;
use super::reads::{kvc_item_t, kvc_reservation_t};
use super::types::{kvc_engine_t, kvc_key_t};
use super::version::kvc_status_t;
use crate::block::PutInfo;
use crate::error::Status;
use crate::limits;

/// For `kvc_put_info_t`: never evict the block while there is one without this flag that could be.
pub const KVC_PUT_PROTECTED: u64 = 1;

/// What a put says about its block, for the policy to decide by. Initialise with `KVC_PUT_INFO_INIT`; everything may
/// stay zero.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_put_info_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Key of the block before this one in the request's chain; it need not be resident. NULL for none. Copied.
    pub parent: *const kvc_key_t,
    /// Place in the request's chain, from 0.
    pub chain_index: u64,
    /// Tokens in the block.
    pub tokens_count: u64,
    /// What computing the block again would cost, in microseconds.
    pub recompute_cost_us: u64,
    /// The conversation that the block belongs to; 0 for none.
    pub conversation_id: u64,
    /// The namespace that the block is cleared with (`kvc_namespace_clear`); any number.
    pub namespace_id: u64,
    /// Retention priority, 0 (evicted first) to 100.
    pub priority: u64,
    /// `KVC_PUT_PROTECTED` or 0.
    pub flags: u64,
    /// Milliseconds after which priority and protection lapse, at most 400 days; 0 for never.
    pub expiry_ms: u64,
    /// Which of the configuration's geometries the block has, from 1; 0 for plain bytes.
    pub geometry_id: u64,
    /// How much keeping the block is worth, 0 for nothing in particular, at most 2^32 - 1; what `KVC_POLICY_IMPORTANCE`
    /// goes by where its table does not have the key.
    pub importance: u64,
}

growable!(kvc_put_info_t = 88);

/// The engine's form of what a put says; NULL says nothing.
///
/// # Safety
/// I1 for `info` and its parent.
pub(super) unsafe fn put_info(info: *const kvc_put_info_t) -> Result<PutInfo, Status> {
    if info.is_null() {
        return Ok(PutInfo::default());
    }
    // SAFETY: I1, asked of the caller.
    let info = unsafe { read(info) }?;
    if info.flags & !KVC_PUT_PROTECTED != 0 {
        return Err(Status::Unsupported);
    }
    let parent = if info.parent.is_null() {
        None
    } else {
        // SAFETY: I1, asked of the caller.
        Some(*unsafe { value(info.parent) }?)
    };
    Ok(PutInfo {
        parent,
        chain_index: info.chain_index,
        tokens_count: info.tokens_count,
        recompute_cost_us: info.recompute_cost_us,
        conversation_id: info.conversation_id,
        namespace_id: info.namespace_id,
        priority: priority(info.priority)?,
        protected: info.flags & KVC_PUT_PROTECTED != 0,
        expiry_ms: expiry_ms(info.expiry_ms)?,
        geometry_id: u8::try_from(info.geometry_id).map_err(|_| Status::Argument)?,
        importance: u32::try_from(info.importance).map_err(|_| Status::Argument)?,
    })
}

/// A retention priority from outside.
pub(super) fn priority(value: u64) -> Result<u8, Status> {
    match u8::try_from(value) {
        Ok(value) if value <= limits::PRIORITY_MAX => Ok(value),
        _ => Err(Status::Argument),
    }
}

/// An expiry from outside.
pub(super) fn expiry_ms(value: u64) -> Result<u64, Status> {
    if value <= limits::EXPIRY_MS_MAX {
        Ok(value)
    } else {
        Err(Status::Argument)
    }
}

/// Lends room for a block of `bytes` bytes to its producer. Fill it, then `kvc_commit`; or give it up with `kvc_abort`.
///
/// Until then the block is not resident, and other producers of the same key get `KVC_PENDING`.
///
/// Threads: any, at once. Where there is room only after a block was written to a file tier, waits for that, at most
/// `write_wait_ms` of the configuration.
///
/// Memory: `key`, `info` and `reservation_out` are borrowed; `info` may be NULL. `reservation_out->data` is lent until
/// `kvc_commit` or `kvc_abort`; when the configuration sets `reservation_expiry_ms`, no longer than that.
///
/// Statuses: `KVC_OK`; `KVC_EXISTS`; `KVC_PENDING`; `KVC_AGAIN` when everything is held; `KVC_E_TOO_LARGE` for more
/// than `block_bytes` of the configuration; `KVC_E_ARGUMENT` for 0 bytes and for values of `info` outside their range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_reserve(
    engine: *const kvc_engine_t,
    key: *const kvc_key_t,
    bytes: u64,
    info: *const kvc_put_info_t,
    reservation_out: *mut kvc_reservation_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (key, reservation_out) = (value(key)?, output(reservation_out)?);
            let info = put_info(info)?;
            reservation_out.write(cache.reserve_raw(key, bytes, &info)?);
            Ok(())
        })
    }
}

/// Makes a reserved block readable.
///
/// `bytes` says how much was filled in, from the beginning, at most what was reserved; 0 means all of it.
///
/// With `dedup` the bytes are hashed and, where a block with the same digest is in memory, compared with it; if they
/// are the same the two blocks share that one's place.
///
/// Threads: any, at once; also another one than the one that reserved.
///
/// Memory: `reservation` is borrowed and not changed. Its data must not be written any more; with `dedup` it may be
/// another block's already, and is not to be read either.
///
/// Statuses: `KVC_OK`; `KVC_E_STALE` when it was committed or aborted already, or expired; `KVC_E_TOO_LARGE` for more
/// bytes than were reserved.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_commit(
    engine: *const kvc_engine_t,
    reservation: *const kvc_reservation_t,
    bytes: u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe { with_engine(engine, |cache| cache.commit_raw(value(reservation)?, bytes)) }
}

/// Gives a reservation up; the room is free again.
///
/// Threads: any, at once; also another one than the one that reserved.
///
/// Memory: `reservation` is borrowed and not changed. Its data must not be written any more.
///
/// Statuses: `KVC_OK`; `KVC_E_STALE` when it was committed or aborted already, or expired.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_abort(engine: *const kvc_engine_t, reservation: *const kvc_reservation_t) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe { with_engine(engine, |cache| cache.abort_raw(value(reservation)?)) }
}

/// Stores a block: reserve, copy and commit in one.
///
/// Threads: any, at once.
///
/// Memory: `key`, `source` and `info` are borrowed; `info` may be NULL.
///
/// Statuses: `KVC_OK`; `KVC_EXISTS`; `KVC_PENDING` while another producer fills it; `KVC_AGAIN` when everything is
/// held; `KVC_E_TOO_LARGE` for more than `block_bytes` of the configuration; `KVC_E_ARGUMENT` for 0 bytes and for
/// values of `info` outside their range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_put(
    engine: *const kvc_engine_t,
    key: *const kvc_key_t,
    source: *const c_void,
    source_bytes: u64,
    info: *const kvc_put_info_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (key, source) = (value(key)?, bytes(source, source_bytes)?);
            cache.put(key, source, &put_info(info)?).map(|_| ())
        })
    }
}

/// Stores a chain of blocks, in order: each item's parent is the item before it, and the first one's is that of `info`.
///
/// `info` says the rest about all of them; its `chain_index` is that of the first. Every item gets a status of its own,
/// as `kvc_put` would answer. Blocks that exist or are pending are passed over. At the first item that cannot be stored
/// for another reason the batch ends, because a chain with a hole is never matched beyond it; the items after it get
/// `KVC_CANCELLED`.
///
/// Threads: any, at once.
///
/// Memory: all pointers, also those in the items, are borrowed; `info` may be NULL.
///
/// Statuses: `KVC_OK` whatever became of the items; `stored_count_out` receives how many of them have `KVC_OK`.
/// `KVC_E_ARGUMENT` for values of `info` outside their range. After any other status than `KVC_OK` the items are as
/// they were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_put_many(
    engine: *const kvc_engine_t,
    items: *mut kvc_item_t,
    items_count: u64,
    info: *const kvc_put_info_t,
    stored_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (items, stored_count_out) = (values_mut(items, items_count)?, output(stored_count_out)?);
            let mut info = put_info(info)?;
            let mut stored_count = 0;
            let mut broken = false;
            for item in items {
                item.bytes_out = 0;
                if broken {
                    item.status = Status::Cancelled.code();
                    continue;
                }
                let key = *value(&raw const item.key)?;
                let result = super::arguments::flags(item.flags, 0)
                    .and_then(|_| bytes(item.data, item.bytes))
                    .and_then(|source| cache.put(&key, source, &info));
                match result {
                    Ok(_) => {
                        stored_count += 1;
                        item.bytes_out = item.bytes;
                    }
                    Err(Status::Exists | Status::Pending) => {}
                    Err(_) => broken = true,
                }
                item.status = result.err().unwrap_or(Status::Ok).code();
                info.parent = Some(key);
                info.chain_index = info.chain_index.saturating_add(1);
            }
            stored_count_out.write(stored_count);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::growable::zeroed;

    #[test]
    fn values_outside_their_range_are_refused() {
        type Change = fn(&mut kvc_put_info_t);
        let changes: [(Change, Result<(), Status>); 7] = [
            (|_| {}, Ok(())),
            (|info| info.priority = 100, Ok(())),
            (|info| info.priority = 101, Err(Status::Argument)),
            (|info| info.namespace_id = 1 << 32, Ok(())),
            (|info| info.geometry_id = 256, Err(Status::Argument)),
            (|info| info.expiry_ms = u64::MAX, Err(Status::Argument)),
            (|info| info.flags = 2, Err(Status::Unsupported)),
        ];
        for (change, expected) in changes {
            let mut info: kvc_put_info_t = zeroed();
            info.struct_size = size_of::<kvc_put_info_t>() as u64;
            change(&mut info);
            // SAFETY: the struct is there.
            assert_eq!(unsafe { put_info(&raw const info) }.map(|_| ()), expected);
        }
    }
}
