//! File tiers: what memory gives up is found below, and after the engine was closed.

const std = @import("std");
const kvcache = @import("kvcache");
const common = @import("common.zig");

const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

fn withFiles(folder: *common.Folder) !kvcache.Config {
    var config = common.small(8);
    config.nvme_path = try folder.path(0, "nvme");
    config.nvme_bytes = 8 << 20;
    config.nvme_segment_bytes = 1 << 20;
    config.disk_path = try folder.path(1, "disk");
    config.disk_bytes = 8 << 20;
    config.disk_segment_bytes = 1 << 20;
    config.prefetch = .{ .turns = true };
    return config;
}

test "blocks outlast memory and the engine" {
    var folder: common.Folder = .{};
    try folder.init();
    defer folder.deinit();
    const config = try withFiles(&folder);
    var keys: [32]kvcache.Key = undefined;
    for (&keys, 0..) |*key, number| key.* = common.keyOf(number);

    const engine = try common.open(&config);
    for (0..32) |number| try common.put(engine, number);
    try expectEqual(32, try engine.match(&keys, .{}));
    _ = try engine.flush(kvcache.forever);
    var tiers: [32]kvcache.Tiers = undefined;
    try expectEqual(32, try engine.matchEach(&keys, .{}, &tiers));
    for (tiers) |one| try expect(one.nvme);
    const nvme = try engine.tier(.nvme);
    try expectEqual(kvcache.TierState.online, nvme.state);
    try expectEqual(32, nvme.blocks_count);
    try expect(nvme.ioText().len > 0);
    try expectError(error.Unsupported, engine.tier(@fromBackingInt(9)));
    try expectError(error.NoDevice, engine.tier(.remote));
    try engine.namespaceQualitySet(3, 10);
    try expectError(error.Argument, engine.namespaceQualitySet(3, 1001));
    try engine.namespaceQualitySet(3, null);
    try expectError(error.Miss, engine.prefetchCancel(12345));
    var diagnostics: kvcache.Diagnostics = .{};
    try expectError(error.FileBusy, kvcache.Engine.open(&config, &diagnostics));
    try std.testing.expectEqualStrings("nvme_path", diagnostics.fieldName());
    try engine.close();

    const again = try common.open(&config);
    var target: [common.block_bytes]u8 = undefined;
    for (&keys, 0..) |*key, number| try common.expectBlock(number, try again.get(key, &target, .auto));
    try expectEqual(32, (try again.stats()).blocks_recovered);
    try again.close();

    var larger = config;
    larger.block_bytes = 2 * common.block_bytes;
    try expectError(error.FileMismatch, kvcache.Engine.open(&larger, &diagnostics));
    try expect(diagnostics.text().len > 0);
}

test "a block is lent while it arrives" {
    var folder: common.Folder = .{};
    try folder.init();
    defer folder.deinit();
    const config = try withFiles(&folder);
    {
        const engine = try common.open(&config);
        for (0..4) |number| try common.put(engine, number);
        try engine.shutdown();
        try engine.close();
    }
    const engine = try common.open(&config);
    const key = common.keyOf(2);
    const view = try engine.acquire(&key, .{ .partial = true });
    while (true) {
        const ready = try engine.viewReady(&view);
        try common.expectBlock(2, view.bytes()[0..ready.bytes]);
        if (ready.complete) break;
        _ = try engine.tick(0);
    }
    try common.expectBlock(2, view.bytes());
    try engine.release(&view);

    const keys = [_]kvcache.Key{ common.keyOf(0), common.keyOf(1), common.keyOf(99) };
    try expectEqual(2, try engine.prefetch(&keys));
    var tiers: [3]kvcache.Tiers = @splat(.{});
    while (!(tiers[0].cpu and tiers[1].cpu)) {
        _ = try engine.tick(0);
        _ = try engine.matchEach(&keys, .{}, &tiers);
    }
    try expect(!tiers[2].any());
    try engine.close();
}
