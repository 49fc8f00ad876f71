//! Memory stays flat: 100,000 rounds of get, acquire and release, and rounds of open and close.
//!
//! What is measured is the resident memory of this process (VmRSS), after a warm-up that touches everything once. The
//! bound is 1 MiB: a leak of 16 bytes a round would be 1.6 MB, and what moves besides is a page here and there.

const std = @import("std");
const kvcache = @import("kvcache");
const common = @import("common.zig");

const rounds_count = 100_000;
const growth_bytes_max = 1 << 20;

fn residentBytes() !u64 {
    var buffer: [4096]u8 = undefined;
    const text = try std.Io.Dir.cwd().readFile(std.testing.io, "/proc/self/status", &buffer);
    const begin = std.mem.indexOf(u8, text, "VmRSS:") orelse return error.NoResidentSize;
    var words = std.mem.tokenizeAny(u8, text[begin + "VmRSS:".len ..], " \t\n");
    return 1024 * try std.fmt.parseInt(u64, words.next().?, 10);
}

fn expectFlat(what: []const u8, rounds: u64, before: u64, after: u64) !void {
    std.debug.print("{s}: {d} rounds, {d} KiB resident before, {d} KiB after\n", .{
        what,
        rounds,
        before >> 10,
        after >> 10,
    });
    try std.testing.expect(after <= before + growth_bytes_max);
}

test "hits" {
    const engine = try common.open(&common.small(64));
    for (0..64) |number| try common.put(engine, number);
    var before: u64 = 0;
    var target: [common.block_bytes]u8 = undefined;
    for (0..rounds_count + 1000) |round| {
        if (round == 1000) before = try residentBytes();
        const number = round % 64;
        const key = common.keyOf(number);
        const copied = try engine.get(&key, &target, .auto);
        const view = try engine.acquire(&key, .{});
        try std.testing.expectEqual(copied[round % common.block_bytes], view.bytes()[round % common.block_bytes]);
        try engine.release(&view);
    }
    try expectFlat("get, acquire, release", rounds_count, before, try residentBytes());
    const stats = try engine.stats();
    try std.testing.expectEqual(0, stats.pins_in_use);
    try std.testing.expectEqual(rounds_count + 1000, stats.releases);
    try engine.close();
}

test "operations of a lane" {
    const engine = try common.open(&common.small(64));
    for (0..64) |number| try common.put(engine, number);
    const lane = try engine.laneOpen();
    var before: u64 = 0;
    for (0..rounds_count / 10 + 1000) |round| {
        if (round == 1000) before = try residentBytes();
        const keys = [_]kvcache.Key{common.keyOf(round % 64)};
        var views: [1]kvcache.View = undefined;
        try std.testing.expectEqual(1, try lane.submit(&.{try .acquire(&keys, &views, round)}));
        var done: [4]kvcache.Done = undefined;
        const fetched = try lane.reap(&done);
        try std.testing.expectEqual(1, fetched.len);
        try std.testing.expectEqual(1, try fetched[0].outcome());
        try engine.release(&views[0]);
    }
    try expectFlat("submit, reap, release", rounds_count / 10, before, try residentBytes());
    try lane.close();
    try engine.close();
}

test "engines" {
    const config: kvcache.Config = .{
        .block_bytes = common.block_bytes,
        .cpu_bytes = 4 * common.block_bytes,
        .pins_count = 16,
        .stripes_count = 1,
        .lanes_count = 1,
        .lane_depth = 1,
        .events_count = kvcache.none,
    };
    // Rounds until the time is over: opening maps and unmaps memory, which takes as long as the system likes.
    const io = std.testing.io;
    const begin = std.Io.Clock.awake.now(io).nanoseconds;
    var before: u64 = 0;
    var round: u64 = 0;
    while (round < rounds_count + 2000) : (round += 1) {
        // The places of the library's table of engines are used in turn: all of them once, and some more.
        if (round == 2000) before = try residentBytes();
        if (round > 3000 and std.Io.Clock.awake.now(io).nanoseconds - begin > 20 * std.time.ns_per_s) break;
        const engine = try common.open(&config);
        try common.put(engine, round);
        const key = common.keyOf(round);
        const view = try engine.acquire(&key, .{});
        try engine.release(&view);
        try engine.close();
    }
    try expectFlat("open, put, acquire, release, close", round - 2000, before, try residentBytes());
}
