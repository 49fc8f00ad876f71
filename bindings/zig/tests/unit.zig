//! Each function of the package, on engines in memory: what it does and what it answers.

const std = @import("std");
const kvcache = @import("kvcache");
const common = @import("common.zig");

const Key = kvcache.Key;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;
const expectError = std.testing.expectError;

fn keysOf(comptime count: usize, first: u64) [count]Key {
    var keys: [count]Key = undefined;
    for (&keys, first..) |*key, number| key.* = common.keyOf(number);
    return keys;
}

test "put, get, match, remove" {
    const engine = try common.open(&common.small(16));
    defer engine.close() catch unreachable;
    var target: [common.block_bytes]u8 = undefined;
    const keys = keysOf(4, 0);
    try expectError(error.Miss, engine.get(&keys[0], &target, .auto));
    for (0..3) |number| try common.put(engine, number);
    try expectError(error.Exists, common.put(engine, 0));
    for (0..3, [_]kvcache.Copy{ .auto, .hot, .cold }) |number, copy| {
        const block = try engine.get(&keys[number], &target, copy);
        try expectEqual(common.block_bytes, block.len);
        try common.expectBlock(number, block);
    }
    try expectEqual(3, try engine.match(&keys, .{}));
    try expectEqual(3, try engine.match(&keys, .{ .touch = true }));
    try expectEqual(0, try engine.match(&.{}, .{}));
    var tiers: [4]kvcache.Tiers = undefined;
    try expectEqual(3, try engine.matchEach(&keys, .{}, &tiers));
    try expect(tiers[0].cpu and !tiers[0].nvme and tiers[2].any() and !tiers[3].any());
    try expectEqual(1, try engine.remove(keys[1..2]));
    try expectEqual(1, try engine.match(&keys, .{}));
    try expectEqual(2, try engine.touch(&keys));
    try expectEqual(2, try engine.retain(&keys, 90, 1000, .{ .protected = true }));
    try expectError(error.Argument, engine.retain(&keys, 101, 0, .{}));
}

test "reserve, commit, abort" {
    const engine = try common.open(&common.small(16));
    defer engine.close() catch unreachable;
    const keys = keysOf(3, 0);
    const first = try engine.reserve(&keys[0], 100, null);
    try expectEqual(100, first.bytes().len);
    try expectError(error.Pending, engine.reserve(&keys[0], 100, null));
    common.fill(0, first.bytes());
    try engine.commit(&first);
    try expectError(error.Exists, engine.reserve(&keys[0], 100, null));

    const second = try engine.reserve(&keys[1], 100, &.{ .parent = &keys[0], .chain_index = 1, .priority = 50 });
    common.fill(1, second.bytes());
    try expectError(error.Argument, engine.commitPart(&second, 0));
    try expectError(error.TooLarge, engine.commitPart(&second, 101));
    try engine.commitPart(&second, 60);
    const third = try engine.reserve(&keys[2], 100, null);
    try engine.abort(&third);

    const view = try engine.acquire(&keys[1], .{});
    try expectEqual(60, view.bytes().len);
    try common.expectBlock(1, view.bytes());
    const ready = try engine.viewReady(&view);
    try expect(ready.complete and ready.bytes == 60);
    try engine.release(&view);
    try expectError(error.Miss, engine.acquire(&keys[2], .{}));
}

test "batches" {
    const engine = try common.open(&common.small(16));
    defer engine.close() catch unreachable;
    const keys = keysOf(4, 0);
    var blocks: [4][common.block_bytes]u8 = undefined;
    var items: [4]kvcache.Item = undefined;
    for (&items, &blocks, keys, 0..) |*item, *block, key, number| {
        common.fill(number, block);
        item.* = .forPut(key, block);
    }
    try expectEqual(3, try engine.putMany(items[0..3], &.{ .namespace_id = 7, .tokens_count = 16 }));
    try expectEqual(common.block_bytes, try items[2].result());

    var targets: [4][common.block_bytes]u8 = undefined;
    for (&items, &targets, keys) |*item, *target, key| item.* = .forGet(key, target);
    try expectEqual(3, try engine.getMany(&items, .auto));
    for (0..3) |number| {
        try expectEqual(common.block_bytes, try items[number].result());
        try common.expectBlock(number, &targets[number]);
    }
    try expectError(error.Miss, items[3].result());
    try expectEqual(kvcache.Status.miss, items[3].status);

    var views_room: [4]kvcache.View = undefined;
    const views = try engine.acquireMany(&keys, &views_room);
    try expectEqual(3, views.len);
    for (views, 0..) |*view, number| try common.expectBlock(number, view.bytes());

    var pins: [2]kvcache.PinInfo = @splat(.{});
    try expectEqual(3, try engine.pins(&pins));
    try expect(pins[0].key.eql(keys[0]) or pins[0].key.eql(keys[1]) or pins[0].key.eql(keys[2]));
    try expectEqual(3, try engine.pins(&.{}));

    try expectEqual(3, try engine.releaseMany(views));
    try expectEqual(0, try engine.releaseMany(views));
    try expectEqual(0, try engine.pins(&pins));
    try expectEqual(3, try engine.namespaceClear(7));
    try expectEqual(0, try engine.match(&keys, .{}));
}

test "the plan is what is obtained, also in memory that the caller brings" {
    const config = common.small(16);
    const plan = try kvcache.Engine.plan(&config, null);
    try expectEqual(16, plan.slots_count);
    try expectEqual(4096, plan.memory_alignment_bytes);
    var sum: u64 = 0;
    for (plan.lines()) |*line| {
        try expect(line.text().len > 0);
        // Without file tiers nothing of theirs takes room.
        try expect(line.bytes == 0 or line.tierKind() == .cpu);
        sum += line.bytes;
    }
    try expectEqual(plan.bytes, sum);

    const memory = try std.testing.allocator.alignedAlloc(u8, .fromByteUnits(4096), plan.bytes);
    defer std.testing.allocator.free(memory);
    var with_memory = config;
    with_memory.memory = memory;
    const engine = try common.open(&with_memory);
    try common.put(engine, 1);
    const key = common.keyOf(1);
    const view = try engine.acquire(&key, .{});
    const place = @intFromPtr(view.bytes().ptr);
    try expect(place >= @intFromPtr(memory.ptr) and place < @intFromPtr(memory.ptr) + memory.len);
    try engine.release(&view);
    try expectEqual(plan.bytes, (try engine.capacity()).bytes);
    try engine.close();
}

test "a refused configuration says why" {
    var diagnostics: kvcache.Diagnostics = .{};
    var config = common.small(16);
    config.block_bytes = 0;
    try expectError(error.Config, kvcache.Engine.open(&config, &diagnostics));
    try expectEqualStrings("block_bytes", diagnostics.fieldName());
    try expectEqual(1, diagnostics.value_min);
    try expectEqual(@backingInt(kvcache.Status.config), diagnostics.status);
    try expect(std.mem.indexOf(u8, diagnostics.text(), "block_bytes") != null);
    config = common.small(16);
    config.policy = @fromBackingInt(99);
    try expectError(error.Config, kvcache.Engine.plan(&config, &diagnostics));
    try expectEqualStrings("policy", diagnostics.fieldName());
}

test "defaults, written out" {
    const config = try kvcache.Config.defaults();
    try expectEqual(0, config.block_bytes);
    try expectEqual(4096, config.pins_count);
    try expectEqual(kvcache.Policy.hazard, config.policy);
    try expectEqual(null, config.nvme_path);
    try expect(!config.dedup);
}

test "lanes in tick mode" {
    const engine = try common.open(&common.small(16));
    defer engine.close() catch unreachable;
    const lane = try engine.laneOpen();
    const keys = keysOf(2, 0);
    var source: [2 * common.block_bytes]u8 = undefined;
    for (0..2) |number| common.fill(number, source[number * common.block_bytes ..][0..common.block_bytes]);
    var target: [2 * common.block_bytes]u8 = undefined;
    var views: [2]kvcache.View = undefined;
    const ops = [_]kvcache.Op{
        try .put(&keys, &source, common.block_bytes, &.{ .tokens_count = 16 }, 10),
        .match(&keys, .{ .touch = true }, 11),
        try .get(&keys, &target, common.block_bytes, .hot, 12),
        try .acquire(&keys, &views, 13),
        .touch(&keys, 14),
        .prefetch(&keys, 15),
        .flush(16),
        .remove(&keys, 17),
    };
    try expectEqual(ops.len, try lane.submit(&ops));
    var done_room: [16]kvcache.Done = undefined;
    const done = try lane.reap(&done_room);
    try expectEqual(ops.len, done.len);
    for (done, 10..) |one, user_data| {
        try expectEqual(user_data, one.user_data);
        try expectEqual(ops[user_data - 10].opcode, one.opcode);
        switch (one.opcode) {
            .prefetch => try expectEqual(0, try one.outcome()),
            .flush => try expectError(error.Unsupported, one.outcome()),
            else => try expectEqual(2, try one.outcome()),
        }
    }
    try std.testing.expectEqualSlices(u8, &source, &target);
    for (&views, 0..) |*view, number| try common.expectBlock(number, view.bytes());
    try expectEqual(2, try engine.releaseMany(&views));

    var tickets: [2]kvcache.Ticket = undefined;
    const two = [_]kvcache.Op{ .match(&keys, .{}, 20), .match(&keys, .{}, 21) };
    try expectEqual(2, (try lane.submitTickets(&two, &tickets)).len);
    try lane.cancel(tickets[1]);
    const waited = try lane.wait(tickets[0], kvcache.forever);
    try expectEqual(20, waited.user_data);
    try expectEqual(0, try waited.outcome());
    const cancelled = try lane.wait(tickets[1], 0);
    try expectError(error.Cancelled, cancelled.outcome());
    try lane.close();
}

test "lanes with a worker tell by an event fd" {
    var config = common.small(16);
    config.workers_count = 1;
    const engine = try common.open(&config);
    const lane = try engine.laneOpen();
    const fd = try lane.eventFd();
    try common.put(engine, 0);
    const keys = keysOf(1, 0);
    try expectEqual(1, try lane.submit(&.{.match(&keys, .{}, 5)}));
    var fds = [_]std.c.pollfd{.{ .fd = fd, .events = std.c.POLL.IN, .revents = 0 }};
    try expectEqual(1, std.c.poll(&fds, 1, 60_000));
    var word: [8]u8 = undefined;
    try expectEqual(8, std.c.read(fd, &word, 8));
    var done: [2]kvcache.Done = undefined;
    const fetched = try lane.reap(&done);
    try expectEqual(1, fetched.len);
    try expectEqual(1, try fetched[0].outcome());
    try lane.close();
    try engine.close();
}

test "statistics, histograms, metrics, events" {
    var config = common.small(4);
    config.latency_sample_count = 1;
    const engine = try common.open(&config);
    defer engine.close() catch unreachable;
    var target: [common.block_bytes]u8 = undefined;
    for (0..6) |number| {
        try common.put(engine, number);
        const key = common.keyOf(number);
        _ = try engine.get(&key, &target, .auto);
    }
    const stats = try engine.stats();
    try expectEqual(6, stats.get_hits);
    try expectEqual(6 * common.block_bytes, stats.get_bytes);
    try expectEqual(2, stats.evictions);
    try expectEqual(4, (try engine.capacity()).blocks_count);
    try expectEqual(6, (try engine.histogram(.get, .cpu)).count);
    try expectError(error.Unsupported, engine.histogram(@fromBackingInt(99), .cpu));

    var buffer: [64 << 10]u8 = undefined;
    const text = try engine.metricsWrite(&buffer);
    try expect(std.mem.indexOf(u8, text, "kvcache_") != null);
    try expectEqual(0, text[text.len]);
    try expectError(error.TooSmall, engine.metricsWrite(buffer[0..10]));

    var sequence: u64 = 0;
    var events_room: [64]kvcache.Event = undefined;
    const read = try engine.eventsRead(&sequence, &events_room);
    try expectEqual(0, read.lost);
    try expectEqual(8, read.events.len);
    try expectEqual(kvcache.EventKind.stored, read.events[0].kind);
    try expect(read.events[0].key.eql(common.keyOf(0)));
    try expectEqual(kvcache.Tier.cpu, read.events[0].tier);
    try expectEqual(0, (try engine.eventsRead(&sequence, &events_room)).events.len);
}

test "time is what ticks say" {
    var config = common.small(4);
    config.clock = .ticks;
    config.pin_expiry_ms = 1;
    const engine = try common.open(&config);
    defer engine.close() catch unreachable;
    _ = try engine.tick(1_000);
    try common.put(engine, 0);
    const view = try engine.acquire(&common.keyOf(0), .{});
    var sequence: u64 = 0;
    var events_room: [4]kvcache.Event = undefined;
    try expectEqual(1, (try engine.eventsRead(&sequence, &events_room)).events.len);
    try expectEqual(1_000, events_room[0].time_ns);
    try expect(try engine.tick(5_000_000) > 0);
    try expectEqual(1, (try engine.stats()).pins_expired);
    try expectError(error.Stale, engine.release(&view));
}

test "importance decides what goes" {
    var config = common.small(3);
    config.policy = .importance;
    config.importance_count = 16;
    const engine = try common.open(&config);
    defer engine.close() catch unreachable;
    const keys = keysOf(4, 0);
    try expectError(error.Stale, engine.importanceSwap());
    try engine.importanceBegin();
    try engine.importanceSet(&keys, &.{ 5, 1, 9, 7 });
    try engine.importanceSwap();
    for (0..4) |number| try common.put(engine, number);
    var tiers: [4]kvcache.Tiers = undefined;
    try expectEqual(3, try engine.matchEach(&keys, .{}, &tiers));
    try expect(!tiers[1].any());
}

test "after a shutdown there is no new work" {
    const engine = try common.open(&common.small(4));
    try common.put(engine, 0);
    try engine.shutdown();
    try expectError(error.Shutdown, common.put(engine, 1));
    try expectError(error.Shutdown, engine.laneOpen());
    const key = common.keyOf(0);
    const view = try engine.acquire(&key, .{});
    try engine.release(&view);
    try engine.close();
}

const geometry: kvcache.Geometry = .{
    .layers_count = 2,
    .kv_heads_count = 2,
    .head_dim = 32,
    .tokens_per_block = 8,
    .dtype = .bf16,
};
const geometry_bytes = 2 * 2 * 2 * 32 * 8 * 2;
const layer_bytes = geometry_bytes / 2;

test "gather and scatter are each other's way back" {
    try expectEqual(geometry_bytes, try kvcache.layout.blockBytes(&geometry));
    // Four pages of four tokens, keys and values in buffers of their own; the block has pages 3 and 1.
    var buffers: [4][4 * 4 * 2 * 32 * 2]u8 = undefined;
    for (&buffers, 0..) |*buffer, number| common.fill(number, buffer);
    const keys = [_]*anyopaque{ &buffers[0], &buffers[1] };
    const values = [_]*anyopaque{ &buffers[2], &buffers[3] };
    const paged: kvcache.Paged = .{
        .pages_count = 4,
        .tokens_per_page = 4,
        .order = .nhd,
        .planes = .separate,
        .keys = &keys,
        .values = &values,
    };
    const pages = [_]u32{ 3, 1 };
    var block: [geometry_bytes]u8 = undefined;
    try kvcache.layout.gather(&geometry, &paged, &pages, 0, .auto, &block);
    const page_bytes = 4 * 2 * 32 * 2;
    try std.testing.expectEqualSlices(u8, buffers[0][3 * page_bytes ..][0..page_bytes], block[0..page_bytes]);
    var layer: [layer_bytes]u8 = undefined;
    try kvcache.layout.gatherLayer(&geometry, &paged, &pages, 0, 1, .hot, &layer);
    try std.testing.expectEqualSlices(u8, block[layer_bytes..], &layer);

    const before = buffers;
    for (&buffers) |*buffer| @memset(buffer[page_bytes..][0..page_bytes], 0);
    try kvcache.layout.scatterLayer(&geometry, &paged, &pages, 0, 1, .cold, &layer);
    try std.testing.expectEqualSlices(u8, &before[1], &buffers[1]);
    try kvcache.layout.scatter(&geometry, &paged, &pages, 0, .auto, &block);
    for (&before, &buffers) |*expected, *buffer| try std.testing.expectEqualSlices(u8, expected, buffer);

    try expectError(error.Argument, kvcache.layout.gather(&geometry, &paged, &.{ 3, 4 }, 0, .auto, &block));
    try expectError(error.TooSmall, kvcache.layout.gather(&geometry, &paged, &pages, 0, .auto, block[1..]));
    try expectError(error.Argument, kvcache.layout.gatherLayer(&geometry, &paged, &pages, 0, 2, .auto, &layer));
}

test "a lossless codec brings every bit back" {
    var config: kvcache.CodecConfig = .{ .geometry = &geometry, .codec_key = .lz, .codec_value = .lz };
    try config.layerAdd(.init(1, 1, .raw, .raw));
    const sizes = try kvcache.Codec.describe(&config, null);
    try expectEqual(geometry_bytes, sizes.block_bytes);
    try expectEqual(kvcache.Switch.on, sizes.exact);
    try expect(sizes.instructionsText().len > 0);
    const codec = try kvcache.Codec.open(&config, null);
    const gpa = std.testing.allocator;
    const room = try gpa.alloc(u8, sizes.code_bytes_max);
    defer gpa.free(room);
    const scratch = try gpa.alloc(u8, sizes.scratch_bytes);
    defer gpa.free(scratch);
    var block: [geometry_bytes]u8 = undefined;
    common.fill(1, &block);
    const code = try codec.encode(&block, 16, .raw, room, scratch);
    const info = try codec.inspect(code);
    try expectEqual(4, info.planes_count);
    try expectEqual(16, info.position);
    var back: [geometry_bytes]u8 = undefined;
    try codec.decode(code, &back, scratch);
    try std.testing.expectEqualSlices(u8, &block, &back);
    try codec.decodeLayer(code, 1, back[0..layer_bytes], scratch);
    try std.testing.expectEqualSlices(u8, block[layer_bytes..], back[0..layer_bytes]);
    try expectError(error.Damaged, codec.decode(code[0 .. code.len - 1], &back, scratch));
    try expectError(error.Argument, codec.encode(block[1..], 0, .raw, room, scratch));
    try codec.close();
    try expectError(error.Handle, codec.close());
    try expectEqualStrings("t3", kvcache.codecName(.t3));
    try expectEqualStrings("unknown", kvcache.codecName(@fromBackingInt(99)));

    var diagnostics: kvcache.Diagnostics = .{};
    config.codec_key = .vq;
    try expectError(error.Config, kvcache.Codec.open(&config, &diagnostics));
    try expect(diagnostics.text().len > 0);
}

test "tables are trained, kept in a file and used" {
    const gpa = std.testing.allocator;
    const tokens = 256;
    const elements = try gpa.alloc(u16, 2 * tokens * 32);
    defer gpa.free(elements);
    var state: u64 = 1;
    for (elements) |*element| {
        // Numbers between 1 and 2, positive and negative.
        state = state *% 6364136223846793005 +% 1442695040888963407;
        element.* = @truncate(0x3f80 | (state >> 40 & 0x7f) | (state >> 20 & 0x8000));
    }
    const keys = [_]*const anyopaque{elements.ptr};
    const values = [_]*const anyopaque{elements.ptr + tokens * 32};
    var samples: kvcache.CodecSamples = .{
        .dtype = .bf16,
        .layers_count = 1,
        .kv_heads_count = 1,
        .head_dim = 32,
        .tokens_count = tokens,
        .keys = &keys,
        .values = &values,
        .codecs = .{ .xc = true },
        .rope = .none,
    };
    var diagnostics: kvcache.Diagnostics = .{};
    const capacity = try kvcache.tables.trainBytesMax(&samples, &diagnostics);
    const room = try gpa.alignedAlloc(u8, .fromByteUnits(kvcache.tables.alignment), capacity);
    defer gpa.free(room);
    try expectError(error.TooSmall, kvcache.tables.train(&samples, room[0 .. capacity - 1], null));
    const trained = try kvcache.tables.train(&samples, room, &diagnostics);
    const info = try kvcache.tables.inspect(trained);
    try expectEqual(trained.len, info.bytes);
    try expectEqual(32, info.head_dim);
    try expect(info.codecs.xc and !info.codecs.vq);

    var folder: common.Folder = .{};
    try folder.init();
    defer folder.deinit();
    const path = try folder.path(0, "model.kvct");
    try expectError(error.File, kvcache.tables.fileBytes(path, &diagnostics));
    try expect(diagnostics.os_error != 0);
    try kvcache.tables.save(path, trained, null);
    try expectEqual(trained.len, try kvcache.tables.fileBytes(path, null));
    const again = try gpa.alignedAlloc(u8, .fromByteUnits(kvcache.tables.alignment), trained.len + 64);
    defer gpa.free(again);
    const loaded = try kvcache.tables.load(path, again, null);
    try std.testing.expectEqualSlices(u8, trained, loaded);

    const one: kvcache.Geometry = .{
        .layers_count = 1,
        .kv_heads_count = 1,
        .head_dim = 32,
        .tokens_per_block = 16,
        .dtype = .bf16,
    };
    var config: kvcache.CodecConfig = .{ .geometry = &one, .codec_key = .xc, .codec_value = .xc };
    config.tablesSet(loaded);
    const codec = try kvcache.Codec.open(&config, &diagnostics);
    try codec.close();
    samples.layers_count = 2;
    try expectError(error.Argument, kvcache.tables.train(&samples, room, null));
    loaded[loaded.len / 2] ^= 1;
    try expectError(error.Damaged, kvcache.tables.inspect(loaded));
}
