//! A hit through acquire and release: the binding beside C, in one process, turn by turn.
//!
//!     zig build bench -Doptimize=fast -Dlibdir=...
//!
//! Prints one JSON object. `over_c_ns` is the median, over all turns, of what a hit through the binding took longer
//! than one of the C loop right before or after it.

const std = @import("std");
const builtin = @import("builtin");
const kvcache = @import("kvcache");

const keys_count = 1024;
const block_bytes = 4096;
const hits_count = 2_000;
const turns_count = 4_001;

extern fn hit_c(engine: *const kvcache.c.kvc_engine_t, keys: [*]const kvcache.Key, count: u64, hits: u64) u64;

fn hitZig(engine: kvcache.Engine, keys: []const kvcache.Key, hits: u64) kvcache.Error!u64 {
    var sum: u64 = 0;
    var place: usize = 0;
    for (0..hits) |_| {
        const view = try engine.acquire(&keys[place], .{});
        sum += view.bytes()[0];
        try engine.release(&view);
        place = if (place + 1 < keys.len) place + 1 else 0;
    }
    return sum;
}

fn median(numbers: []f64) f64 {
    std.mem.sort(f64, numbers, {}, std.sort.asc(f64));
    return numbers[numbers.len / 2];
}

fn nanoseconds(io: std.Io) f64 {
    return @floatFromInt(std.Io.Clock.awake.now(io).nanoseconds);
}

pub fn main(init: std.process.Init) !void {
    const engine = try kvcache.Engine.open(&.{
        .block_bytes = block_bytes,
        .cpu_bytes = 2 * keys_count * block_bytes,
    }, null);
    const block: [block_bytes]u8 = @splat(1);
    var keys: [keys_count]kvcache.Key = undefined;
    for (&keys, 0..) |*key, number| {
        key.* = try kvcache.keys.derive(0, "bench", std.mem.asBytes(&@as(u64, number)));
        try engine.put(key, &block, null);
    }

    var c_ns: [turns_count]f64 = undefined;
    var zig_ns: [turns_count]f64 = undefined;
    var over_ns: [turns_count]f64 = undefined;
    for (0..turns_count + 5) |turn| {
        var took: [2]f64 = undefined;
        for (0..2) |part| {
            // Which of them goes first changes from turn to turn.
            const with_c = (part + turn) % 2 == 0;
            const begin = nanoseconds(init.io);
            const sum = if (with_c)
                hit_c(engine.handle, &keys, keys_count, hits_count)
            else
                try hitZig(engine, &keys, hits_count);
            took[@intFromBool(!with_c)] = (nanoseconds(init.io) - begin) / hits_count;
            if (sum != hits_count) return error.Different;
        }
        // The first turns warm up.
        if (turn < 5) continue;
        c_ns[turn - 5] = took[0];
        zig_ns[turn - 5] = took[1];
        over_ns[turn - 5] = took[1] - took[0];
    }
    try engine.close();

    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .initStreaming(.stdout(), init.io, &buffer);
    try stdout.interface.print(
        \\{{"language": "zig", "zig_version": "{s}", "optimize": "{t}", "measure": "hit through acquire/release",
        \\ "hits": {d}, "turns": {d}, "c_ns": {d:.2}, "zig_ns": {d:.2}, "over_c_ns": {d:.2}}}
        \\
    , .{
        builtin.zig_version_string, builtin.mode,    hits_count,       turns_count,
        median(&c_ns),              median(&zig_ns), median(&over_ns),
    });
    try stdout.interface.flush();
}
