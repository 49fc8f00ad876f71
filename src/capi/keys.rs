//! Keys: deriving 32 bytes from whatever names a block.
//!
//! Keys are derived with SHA-256, so two different inputs never share a key in practice, and tenants with different
//! namespaces or secret salts can neither collide nor probe each other's blocks. The exact definition, for other
//! languages to reproduce (test vectors come with the source, in `tests/vectors/`):
//!
//! ```text
//! derive      SHA-256("kvcache:bytes:v1" | namespace, 8 bytes | salt_bytes, 8 bytes | salt | bytes)
//! chain_root  SHA-256("kvcache:root_:v1" | namespace, 8 bytes | salt_bytes, 8 bytes | salt)
//! chain       SHA-256("kvcache:chain:v1" | parent, 32 bytes | tokens, 4 bytes each)
//! ```
//!
//! with integers little-endian. A chain names the blocks of a prompt: the key of each block is derived from the key
//! before it and the block's own tokens, so it stands for everything up to its end. Two prompts share keys
//! exactly as far as their blocks agree, and no further. Put into the root's salt whatever else makes blocks differ:
//! the model, its revision, an adapter, the geometry.
//!
//! These functions have no engine, may always be called from any number of threads at once, and only borrow their
//! pointers. All of them answer `KVC_OK`, `KVC_E_NULL`, `KVC_E_ARGUMENT` for misaligned pointers and impossible
//! counts, and what is listed.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`].

use core::ffi::c_void;
use core::num::NonZeroUsize;

use super::arguments::{bytes, output, value, values, values_mut};
use super::guard::plain;
use super::types::kvc_key_t;
use super::version::kvc_status_t;
use crate::error::Status;
use crate::key::Key;

/// Derives the key of any string of bytes within a namespace and under a salt.
///
/// The way in for names that are not 32 bytes long: an engine's own hash with a group number, a file name with an
/// offset. The salt may be empty (NULL, 0), and so may the bytes.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_key_derive(
    namespace_id: u64,
    salt: *const c_void,
    salt_bytes: u64,
    data: *const c_void,
    data_bytes: u64,
    key_out: *mut kvc_key_t,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller.
        let (salt, data, key_out) = unsafe { (bytes(salt, salt_bytes)?, bytes(data, data_bytes)?, output(key_out)?) };
        key_out.write(Key::derive(namespace_id, salt, data));
        Ok(())
    })
}

/// Derives the parent of the first block of every chain in this namespace and under this salt.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_key_chain_root(
    namespace_id: u64,
    salt: *const c_void,
    salt_bytes: u64,
    key_out: *mut kvc_key_t,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller.
        let (salt, key_out) = unsafe { (bytes(salt, salt_bytes)?, output(key_out)?) };
        key_out.write(Key::chain_root(namespace_id, salt));
        Ok(())
    })
}

/// Derives the key of the block that holds these tokens and follows the block `parent`.
///
/// `key_out` may be `parent`.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_key_chain(
    parent: *const kvc_key_t,
    tokens: *const u32,
    tokens_count: u64,
    key_out: *mut kvc_key_t,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller. The parent is copied before anything is written.
        let (parent, tokens, key_out) = unsafe { (*value(parent)?, values(tokens, tokens_count)?, output(key_out)?) };
        key_out.write(Key::chain(&parent, tokens));
        Ok(())
    })
}

/// Derives the keys of all full blocks of a prompt, the first one chained to `parent`.
///
/// There are `tokens_count / tokens_per_block` of them; tokens after the last full block have no key yet. To go on
/// later, pass the last key as the parent and the tokens from there on.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed. `keys_out` has room for `keys_capacity` keys.
///
/// Statuses: `KVC_OK`; `KVC_E_ARGUMENT` when `tokens_per_block` is 0; `KVC_E_TOO_SMALL` when there are more full blocks
/// than `keys_capacity`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_key_chain_many(
    parent: *const kvc_key_t,
    tokens: *const u32,
    tokens_count: u64,
    tokens_per_block: u64,
    keys_out: *mut kvc_key_t,
    keys_capacity: u64,
    keys_count_out: *mut u64,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller. The parent is copied: it may lie among the outputs.
        let parent = unsafe { *value(parent)? };
        // SAFETY: I1, asked of the caller.
        let (tokens, keys_out, keys_count_out) = unsafe {
            (
                values(tokens, tokens_count)?,
                values_mut(keys_out, keys_capacity)?,
                output(keys_count_out)?,
            )
        };
        let tokens_per_block = usize::try_from(tokens_per_block)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(Status::Argument)?;
        if tokens.len() / tokens_per_block > keys_out.len() {
            return Err(Status::TooSmall);
        }
        let keys_count = Key::chain_many(&parent, tokens, tokens_per_block, keys_out);
        keys_count_out.write(keys_count as u64);
        Ok(())
    })
}
