//! A cache of three tiers: memory, an NVMe file, a disk file. Put more than memory holds, flush, close; open again and
//! find every block.

const std = @import("std");
const kvcache = @import("kvcache");

const block_bytes = 64 << 10;
const blocks_count = 256;

fn keyOf(number: u64) !kvcache.Key {
    return kvcache.keys.derive(0, "tiers", std.mem.asBytes(&number));
}

fn byteOf(number: u64, place: u64) u8 {
    return @truncate((number *% 0x9e3779b97f4a7c15 +% place *% 0xc2b2ae3d27d4eb4f) >> 56);
}

fn open(nvme: [:0]const u8, disk: [:0]const u8) !kvcache.Engine {
    var diagnostics: kvcache.Diagnostics = .{};
    return kvcache.Engine.open(&.{
        .block_bytes = block_bytes,
        .cpu_bytes = 64 * block_bytes,
        .nvme_path = nvme,
        .nvme_bytes = 32 << 20,
        .disk_path = disk,
        .disk_bytes = 64 << 20,
    }, &diagnostics) catch |err| {
        std.debug.print("{s}\n", .{diagnostics.text()});
        return err;
    };
}

pub fn main(init: std.process.Init) !void {
    const io = init.io;
    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .initStreaming(.stdout(), io, &buffer);
    const out = &stdout.interface;

    // A new folder, removed at the end.
    const arena = init.arena.allocator();
    const where = init.environ_map.get("TMPDIR") orelse "/tmp";
    var random: [8]u8 = undefined;
    io.random(&random);
    const folder = try std.fmt.allocPrint(arena, "{s}/kvcache-tiers-{x}", .{ where, &random });
    try std.Io.Dir.cwd().createDir(io, folder, .fromMode(0o700));
    defer std.Io.Dir.cwd().deleteTree(io, folder) catch {};
    const nvme = try std.fmt.allocPrintSentinel(arena, "{s}/nvme", .{folder}, 0);
    const disk = try std.fmt.allocPrintSentinel(arena, "{s}/disk", .{folder}, 0);

    {
        const engine = try open(nvme, disk);
        var block: [block_bytes]u8 = undefined;
        for (0..blocks_count) |number| {
            for (&block, 0..) |*byte, place| byte.* = byteOf(number, place);
            const key = try keyOf(number);
            try engine.put(&key, &block, null);
        }
        const stats = try engine.stats();
        try out.print("put      {d} blocks, memory holds {d}\n", .{ blocks_count, stats.slots_count });
        _ = try engine.flush(kvcache.forever);
        try out.print("flush    KVC_OK\n", .{});
        try engine.close();
        try out.print("close    KVC_OK\n", .{});
    }

    const engine = try open(nvme, disk);
    var found: u64 = 0;
    var wrong: u64 = 0;
    for (0..blocks_count) |number| {
        const key = try keyOf(number);
        const view = engine.acquire(&key, .{}) catch |err| switch (err) {
            error.Miss => continue,
            else => return err,
        };
        found += 1;
        var same = view.len == block_bytes;
        for (view.bytes(), 0..) |byte, place| same = same and byte == byteOf(number, place);
        if (!same) wrong += 1;
        try engine.release(&view);
    }
    try out.print("reopen   {d} of {d} blocks found, {d} wrong\n", .{ found, blocks_count, wrong });
    try engine.close();
    if (found != blocks_count or wrong != 0) {
        try out.flush();
        return error.Different;
    }
    try out.print("tiers: ok\n", .{});
    try out.flush();
}
