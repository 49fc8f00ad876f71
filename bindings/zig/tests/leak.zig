//! Memory stays flat: 100,000 rounds of get, acquire and release, and rounds of open and close.
//!
//! What is measured is the resident memory of this process (VmRSS), after a warm-up that touches everything once. The
//! bound is 1 MiB: a leak of 16 bytes a round would be 1.6 MB, and what moves besides is a page here and there. The
//! rounds of open and close end after 20 seconds, since how long the system takes to map memory differs much.

const std = @import("std");
const kvcache = @import("kvcache");
const common = @import("common.zig");

const rounds_count = 100_000;
const growth_bytes_max = 1 << 20;

fn residentBytes(io: std.Io) !u64 {
    var buffer: [4096]u8 = undefined;
    const text = try std.Io.Dir.cwd().readFile(io, "/proc/self/status", &buffer);
    const begin = std.mem.indexOf(u8, text, "VmRSS:") orelse return error.NoResidentSize;
    var words = std.mem.tokenizeAny(u8, text[begin + "VmRSS:".len ..], " \t\n");
    return 1024 * try std.fmt.parseInt(u64, words.next().?, 10);
}

fn expect(condition: bool) !void {
    if (!condition) return error.Wrong;
}

fn expectFlat(out: *std.Io.Writer, what: []const u8, rounds: u64, before: u64, after: u64) !void {
    const numbers = .{ what, rounds, before >> 10, after >> 10 };
    try out.print("leak     {s}: {d} rounds, {d} KiB resident before, {d} KiB after\n", numbers);
    try out.flush();
    if (after > before + growth_bytes_max) return error.Leak;
}

fn hits(io: std.Io, out: *std.Io.Writer) !void {
    const engine = try common.open(&common.small(64));
    for (0..64) |number| try common.put(engine, number);
    var before: u64 = 0;
    var target: [common.block_bytes]u8 = undefined;
    for (0..rounds_count + 1000) |round| {
        if (round == 1000) before = try residentBytes(io);
        const key = common.keyOf(round % 64);
        const copied = try engine.get(&key, &target, .auto);
        const view = try engine.acquire(&key, .{});
        try expect(copied[round % common.block_bytes] == view.bytes()[round % common.block_bytes]);
        try engine.release(&view);
    }
    try expectFlat(out, "get, acquire, release", rounds_count, before, try residentBytes(io));
    const stats = try engine.stats();
    try expect(stats.pins_in_use == 0 and stats.releases == rounds_count + 1000);
    try engine.close();
}

fn operations(io: std.Io, out: *std.Io.Writer) !void {
    const engine = try common.open(&common.small(64));
    for (0..64) |number| try common.put(engine, number);
    const lane = try engine.laneOpen();
    var before: u64 = 0;
    for (0..rounds_count + 1000) |round| {
        if (round == 1000) before = try residentBytes(io);
        const keys = [_]kvcache.Key{common.keyOf(round % 64)};
        var views: [1]kvcache.View = undefined;
        try expect(try lane.submit(&.{try .acquire(&keys, &views, round)}) == 1);
        var done: [4]kvcache.Done = undefined;
        const fetched = try lane.reap(&done);
        try expect(fetched.len == 1 and try fetched[0].outcome() == 1);
        try engine.release(&views[0]);
    }
    try expectFlat(out, "submit, reap, release", rounds_count, before, try residentBytes(io));
    try lane.close();
    try engine.close();
}

fn engines(io: std.Io, out: *std.Io.Writer) !void {
    const config: kvcache.Config = .{
        .block_bytes = common.block_bytes,
        .cpu_bytes = 4 * common.block_bytes,
        .pins_count = 16,
        .stripes_count = 1,
        .lanes_count = 1,
        .lane_depth = 1,
        .events_count = kvcache.none,
    };
    const begin = std.Io.Clock.awake.now(io).nanoseconds;
    var before: u64 = 0;
    var round: u64 = 0;
    // The places of the library's table of engines are used in turn: the warm-up uses all of them.
    while (round < rounds_count + 2000) : (round += 1) {
        if (round == 2000) before = try residentBytes(io);
        if (round > 3000 and std.Io.Clock.awake.now(io).nanoseconds - begin > 20 * std.time.ns_per_s) break;
        const engine = try common.open(&config);
        try common.put(engine, round);
        const key = common.keyOf(round);
        const view = try engine.acquire(&key, .{});
        try engine.release(&view);
        try engine.close();
    }
    try expectFlat(out, "open, put, acquire, release, close", round - 2000, before, try residentBytes(io));
}

pub fn main(init: std.process.Init) !void {
    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .initStreaming(.stdout(), init.io, &buffer);
    try hits(init.io, &stdout.interface);
    try operations(init.io, &stdout.interface);
    try engines(init.io, &stdout.interface);
}
