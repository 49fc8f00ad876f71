//! Keys: deriving 32 bytes from whatever names a block.
//!
//! No engine is needed, and any number of threads may call these at once. What exactly is hashed says the chapter Keys
//! of the manual, include/kvcache.h.

const c = @import("c.zig");
const status = @import("status.zig");
const types = @import("types.zig");

const Error = status.Error;
const Key = types.Key;
const check = status.check;

/// The key of any string of bytes within a namespace and under a salt; both strings may be empty. (kvc_key_derive)
pub fn derive(namespace_id: u64, salt: []const u8, data: []const u8) Error!Key {
    var key: Key = undefined;
    try check(c.kvc_key_derive(namespace_id, salt.ptr, salt.len, data.ptr, data.len, @ptrCast(&key)));
    return key;
}

/// The parent of the first block of every chain in this namespace and under this salt. Put into the salt whatever
/// makes blocks differ besides their tokens: the model, its revision, an adapter, the geometry. (kvc_key_chain_root)
pub fn chainRoot(namespace_id: u64, salt: []const u8) Error!Key {
    var key: Key = undefined;
    try check(c.kvc_key_chain_root(namespace_id, salt.ptr, salt.len, @ptrCast(&key)));
    return key;
}

/// The key of the block that holds these tokens and follows the block `parent`. (kvc_key_chain)
pub fn chain(parent: *const Key, tokens: []const u32) Error!Key {
    var key: Key = undefined;
    try check(c.kvc_key_chain(@ptrCast(parent), tokens.ptr, tokens.len, @ptrCast(&key)));
    return key;
}

/// The keys of all full blocks of a prompt, the first one chained to `parent`: the part of `keys_out` that was
/// written, tokens.len / tokens_per_block keys. To go on later, pass the last of them as the parent and the tokens
/// from there on.
///
/// error.TooSmall when `keys_out` has not room for them, error.Argument when tokens_per_block is 0.
/// (kvc_key_chain_many)
pub fn chainMany(parent: *const Key, tokens: []const u32, tokens_per_block: u64, keys_out: []Key) Error![]Key {
    var count: u64 = 0;
    try check(c.kvc_key_chain_many(
        @ptrCast(parent),
        tokens.ptr,
        tokens.len,
        tokens_per_block,
        @ptrCast(keys_out.ptr),
        keys_out.len,
        &count,
    ));
    return keys_out[0..count];
}
