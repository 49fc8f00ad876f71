//! Importance: what blocks are worth to the program, for `KVC_POLICY_IMPORTANCE`.
//!
//! A program that knows what it will need, as a training run knows the next epoch's samples, tells the engine. The
//! importance of a block is what the table in use says of its key, else what its put said (`importance` of
//! `kvc_put_info_t`), else 0; the lowest goes first.
//!
//! A new table is built beside the one in use: `kvc_importance_begin`, `kvc_importance_set` as often as is needed, and
//! `kvc_importance_swap` puts it in place at once. How many keys a table holds says `importance_count` of the
//! configuration.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`].

use super::arguments::values;
use super::guard::with_engine;
use super::types::{kvc_engine_t, kvc_key_t};
use super::version::kvc_status_t;

/// Begins a new importance table, empty, beside the one in use. One that was begun and not swapped in is dropped.
///
/// Threads: any, at once; one of them builds at a time. Does not wait; clears the table, about a millisecond for a
/// million keys.
///
/// Memory: nothing is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_AGAIN` while another thread is in one of the three calls; `KVC_E_UNSUPPORTED` where
/// `importance_count` is 0; `KVC_E_SHUTDOWN`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_importance_begin(engine: *const kvc_engine_t) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe { with_engine(engine, |cache| cache.importance_begin()) }
}

/// Sets the importance of keys in the table that was begun, whether such blocks are there or not.
///
/// The last importance of a key counts. Nothing is evicted by it before `kvc_importance_swap`.
///
/// Threads: any, at once; one of them builds at a time. Does not wait.
///
/// Memory: both arrays have `keys_count` elements and are borrowed.
///
/// Statuses: `KVC_OK`; `KVC_AGAIN` while another thread is in one of the three calls; `KVC_E_STALE` when no table was
/// begun; `KVC_E_TOO_LARGE` for more different keys than `importance_count`, of which those before are set;
/// `KVC_E_UNSUPPORTED` where that is 0; `KVC_E_SHUTDOWN`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_importance_set(
    engine: *const kvc_engine_t,
    keys: *const kvc_key_t,
    importances: *const u32,
    keys_count: u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (keys, importances) = (values(keys, keys_count)?, values(importances, keys_count)?);
            cache.importance_set(keys, importances)
        })
    }
}

/// Puts the table that was begun in the place of the one in use, all at once.
///
/// The policy learns of it in one go, about a microsecond for each block in memory, in this thread; where another one
/// is just choosing a victim, that one or the next does it before it chooses again.
///
/// Threads: any, at once. Does not wait.
///
/// Memory: nothing is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_AGAIN` while another thread is in one of the three calls; `KVC_E_STALE` when no table was
/// begun; `KVC_E_UNSUPPORTED` where `importance_count` is 0; `KVC_E_SHUTDOWN`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_importance_swap(engine: *const kvc_engine_t) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe { with_engine(engine, |cache| cache.importance_swap()) }
}
