//! An inference engine hands its paged keys and values to the cache and takes them back into other pages.
//!
//! The pages are those of vLLM with FlashAttention, [2][page][token][head][element] for each layer. Gather copies the
//! pages of one block straight into room that the cache lends; scatter copies straight out of the block that it lends.

const std = @import("std");
const kvcache = @import("kvcache");

const layers_count = 4;
const heads_count = 2;
const head_dim = 64;
const tokens_per_block = 32;
const pages_count = 64;
const tokens_per_page = 16;
const pages_per_block = tokens_per_block / tokens_per_page;
const page_elements = tokens_per_page * heads_count * head_dim;
const blocks_count = 8;

/// What a model would compute: different for each layer, plane, token and element of each block.
fn computed(block: u64, layer: u64, plane: u64, place: u64) u16 {
    const number = ((block * layers_count + layer) * 2 + plane) * pages_per_block * page_elements + place;
    return @truncate(((number + 1) *% 0x9e3779b97f4a7c15) >> 48);
}

/// The pages of one block in a request's block table.
fn part(table: []const u32, block: usize) []const u32 {
    return table[block * pages_per_block ..][0..pages_per_block];
}

/// The element of a plane at this place of a block whose pages these are.
fn index(pages: []const u32, plane: usize, place: usize) usize {
    const page = pages[place / page_elements];
    return (plane * pages_count + page) * page_elements + place % page_elements;
}

pub fn main(init: std.process.Init) !void {
    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .initStreaming(.stdout(), init.io, &buffer);
    const out = &stdout.interface;

    const geometry: kvcache.Geometry = .{
        .layers_count = layers_count,
        .kv_heads_count = heads_count,
        .head_dim = head_dim,
        .tokens_per_block = tokens_per_block,
        .dtype = .bf16,
    };
    const block_bytes = try kvcache.layout.blockBytes(&geometry);
    var diagnostics: kvcache.Diagnostics = .{};
    const engine = kvcache.Engine.open(&.{
        .block_bytes = block_bytes,
        .cpu_bytes = 16 * block_bytes,
        .geometries = &.{geometry},
    }, &diagnostics) catch |err| {
        std.debug.print("{s}\n", .{diagnostics.text()});
        return err;
    };

    const Layer = [2 * pages_count * page_elements]u16;
    const layers = try init.arena.allocator().create([layers_count]Layer);
    var buffers: [layers_count]*anyopaque = undefined;
    for (&buffers, layers) |*place, *layer| place.* = layer;
    const paged: kvcache.Paged = .{
        .pages_count = pages_count,
        .tokens_per_page = tokens_per_page,
        .order = .nhd,
        .planes = .outer,
        .keys = &buffers,
    };

    // The block table of the request: its pages are strewn over the pool.
    var table: [blocks_count * pages_per_block]u32 = undefined;
    var table_later: [blocks_count * pages_per_block]u32 = undefined;
    for (&table, &table_later, 0..) |*page, *page_later, i| {
        page.* = @intCast(i * 37 % pages_count);
        page_later.* = @intCast((i * 29 + 5) % pages_count);
    }

    // The model computes the prompt.
    for (0..blocks_count) |block| {
        for (layers, 0..) |*layer, number| {
            for (0..2) |plane| {
                for (0..pages_per_block * page_elements) |place|
                    layer[index(part(&table, block), plane, place)] = computed(block, number, plane, place);
            }
        }
    }

    // Offload: pages to blocks.
    var tokens: [blocks_count * tokens_per_block]u32 = undefined;
    for (&tokens, 1000..) |*token, number| token.* = @intCast(number);
    const root = try kvcache.keys.chainRoot(0, "offload");
    var keys: [blocks_count]kvcache.Key = undefined;
    _ = try kvcache.keys.chainMany(&root, &tokens, tokens_per_block, &keys);
    for (&keys, 0..) |*key, block| {
        const room = try engine.reserve(key, block_bytes, &.{
            .parent = if (block > 0) &keys[block - 1] else &root,
            .chain_index = block,
            .tokens_count = tokens_per_block,
            .geometry_id = 1,
        });
        try kvcache.layout.gather(&geometry, &paged, part(&table, block), 0, .auto, room.bytes());
        try engine.commit(&room);
    }
    try out.print("offload  {d} blocks of {d} bytes from {d} pages\n", .{ blocks_count, block_bytes, table.len });

    // The request was preempted and its pages went to others; it comes back with other pages.
    for (layers) |*layer| @memset(layer, 0xffff);
    var views_room: [blocks_count]kvcache.View = undefined;
    const views = try engine.acquireMany(&keys, &views_room);
    if (views.len != blocks_count) return error.Different;
    for (views, 0..) |*view, block|
        try kvcache.layout.scatter(&geometry, &paged, part(&table_later, block), 0, .auto, view.bytes());
    _ = try engine.releaseMany(views);
    try out.print("load     {d} blocks into {d} other pages\n", .{ blocks_count, table_later.len });

    var wrong: u64 = 0;
    for (0..blocks_count) |block| {
        for (layers, 0..) |*layer, number| {
            for (0..2) |plane| {
                for (0..pages_per_block * page_elements) |place| {
                    const element = layer[index(part(&table_later, block), plane, place)];
                    if (element != computed(block, number, plane, place)) wrong += 1;
                }
            }
        }
    }
    try out.print("verify   {d} elements wrong\n", .{wrong});
    try engine.close();
    if (wrong != 0) {
        try out.flush();
        return error.Different;
    }
    try out.print("offload: ok\n", .{});
    try out.flush();
}
