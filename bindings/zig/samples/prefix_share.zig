//! Two requests share the beginning of their prompts: the second one finds the blocks of the first and computes only
//! what is different.
//!
//! Each prompt is cut into blocks of 16 tokens, and each block's key is chained to the one before, so equal keys mean
//! equal prompts up to there. Blocks go in without a copy (reserve, fill in place, commit) and come out without one
//! (acquire). "Computing" is a function of the block's key here, so that every byte can be checked.

const std = @import("std");
const kvcache = @import("kvcache");

const tokens_per_block = 16;
const blocks_count_max = 16;

/// What a model would compute for the block.
fn computed(key: *const kvcache.Key, place: usize) u8 {
    return key.bytes[place % 32] +% @as(u8, @truncate(place / 32));
}

/// Serves one request: takes what is there, computes and stores the rest. Returns how many blocks were computed.
fn serve(out: *std.Io.Writer, engine: kvcache.Engine, block_bytes: u64, tokens: []const u32) !usize {
    // What makes the blocks of two models different belongs into the salt of the root.
    const root = try kvcache.keys.chainRoot(0, "llama-3.1-8b bf16 16x32x8x128");
    var keys_room: [blocks_count_max]kvcache.Key = undefined;
    const keys = try kvcache.keys.chainMany(&root, tokens, tokens_per_block, &keys_room);

    // The longest prefix that is there stays where it is until it is released.
    var views_room: [blocks_count_max]kvcache.View = undefined;
    const shared = try engine.acquireMany(keys, &views_room);
    for (shared, keys[0..shared.len], 0..) |*view, *key, i| {
        for (view.bytes(), 0..) |byte, place| {
            if (byte != computed(key, place)) {
                std.debug.print("block {d} came back wrong\n", .{i});
                return error.Different;
            }
        }
    }

    for (shared.len..keys.len) |i| {
        const info: kvcache.PutInfo = .{
            .parent = if (i > 0) &keys[i - 1] else &root,
            .chain_index = i,
            .tokens_count = tokens_per_block,
        };
        const room = engine.reserve(&keys[i], block_bytes, &info) catch |err| switch (err) {
            // Another request was quicker with this block.
            error.Exists, error.Pending => continue,
            else => return err,
        };
        for (room.bytes(), 0..) |*byte, place| byte.* = computed(&keys[i], place);
        try engine.commit(&room);
    }
    _ = try engine.releaseMany(shared);
    const left = keys.len - shared.len;
    try out.print("{d: >3} tokens: {d: >2} blocks, {d: >2} found, {d: >2} computed\n", .{
        tokens.len,
        keys.len,
        shared.len,
        left,
    });
    return left;
}

pub fn main(init: std.process.Init) !void {
    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .initStreaming(.stdout(), init.io, &buffer);
    const out = &stdout.interface;

    const block_bytes = try kvcache.layout.blockBytes(&.{
        .layers_count = 4,
        .kv_heads_count = 2,
        .head_dim = 64,
        .tokens_per_block = tokens_per_block,
        .dtype = .bf16,
    });
    var diagnostics: kvcache.Diagnostics = .{};
    const engine = kvcache.Engine.open(&.{
        .block_bytes = block_bytes,
        .cpu_bytes = 64 * block_bytes,
    }, &diagnostics) catch |err| {
        std.debug.print("{s}\n", .{diagnostics.text()});
        return err;
    };

    // One system prompt of 160 tokens, two questions.
    var first: [224]u32 = undefined;
    var second: [208]u32 = undefined;
    for (&first, 1000..) |*token, number| token.* = @intCast(number);
    for (&second, 0..) |*token, i| token.* = @intCast(if (i < 160) 1000 + i else 5000 + i);

    const computed_first = try serve(out, engine, block_bytes, &first);
    const computed_second = try serve(out, engine, block_bytes, &second);
    const computed_again = try serve(out, engine, block_bytes, &first);
    try engine.close();
    if (computed_first != 14 or computed_second != 3 or computed_again != 0) {
        try out.flush();
        return error.Different;
    }
    try out.print("prefix_share: ok\n", .{});
    try out.flush();
}
