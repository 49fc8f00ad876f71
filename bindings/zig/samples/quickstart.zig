//! Open an engine, put a block, read it back twice, close.

const std = @import("std");
const kvcache = @import("kvcache");

pub fn main(init: std.process.Init) !void {
    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .initStreaming(.stdout(), init.io, &buffer);
    const out = &stdout.interface;

    var diagnostics: kvcache.Diagnostics = .{};
    const engine = kvcache.Engine.open(&.{
        .block_bytes = 64 << 10,
        .cpu_bytes = 64 << 20,
    }, &diagnostics) catch |err| {
        std.debug.print("{s}\n", .{diagnostics.text()});
        return err;
    };

    const text = "hello, cache";
    const key = try kvcache.keys.derive(0, "", "greeting");
    try engine.put(&key, text, null);

    // A copy.
    var room: [64]u8 = undefined;
    const copied = try engine.get(&key, &room, .auto);
    try out.print("get      KVC_OK, {d} bytes: {s}\n", .{ copied.len, copied });
    if (!std.mem.eql(u8, copied, text)) return error.Different;

    // The block itself, in place.
    {
        const view = try engine.acquire(&key, .{});
        defer engine.release(&view) catch unreachable;
        try out.print("acquire  KVC_OK, {d} bytes: {s}\n", .{ view.len, view.bytes() });
        if (!std.mem.eql(u8, view.bytes(), text)) return error.Different;
    }

    const stats = try engine.stats();
    try out.print("stats    {d} of {d} blocks, {d} hit by get, {d} acquired\n", .{
        stats.blocks_resident,
        stats.slots_count,
        stats.get_hits,
        stats.acquires,
    });

    try engine.close();
    try out.print("close    KVC_OK\n", .{});
    try out.print("quickstart: ok\n", .{});
    try out.flush();
}
