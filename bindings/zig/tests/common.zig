//! What the tests share: keys and blocks that follow from a number, small engines, temporary folders.

const std = @import("std");
const kvcache = @import("kvcache");

/// Bytes of a block of the small engines.
pub const block_bytes = 4096;

/// A new folder in TMPDIR or /tmp, removed at the end.
pub const Folder = struct {
    name: [128]u8 = undefined,
    len: usize = 0,
    paths: [4][256]u8 = undefined,

    pub fn init(self: *Folder) !void {
        var random: [8]u8 = undefined;
        std.testing.io.random(&random);
        const where = if (std.c.getenv("TMPDIR")) |text| std.mem.span(text) else "/tmp";
        self.len = (try std.fmt.bufPrint(&self.name, "{s}/kvcache-zig-{x}", .{ where, &random })).len;
        try std.Io.Dir.cwd().createDir(std.testing.io, self.name[0..self.len], .fromMode(0o700));
    }

    pub fn deinit(self: *Folder) void {
        std.Io.Dir.cwd().deleteTree(std.testing.io, self.name[0..self.len]) catch {};
    }

    /// The path of a file in the folder; `place` is a number below 4 of its own for each name.
    pub fn path(self: *Folder, place: usize, file: []const u8) ![:0]const u8 {
        return std.fmt.bufPrintSentinel(&self.paths[place], "{s}/{s}", .{ self.name[0..self.len], file }, 0);
    }
};

pub fn keyOf(number: u64) kvcache.Key {
    return kvcache.keys.derive(1, "suite", std.mem.asBytes(&number)) catch unreachable;
}

pub fn byteOf(number: u64, place: u64) u8 {
    return @truncate(((number +% 1) *% 0x9e3779b97f4a7c15 +% place *% 0xc2b2ae3d27d4eb4f) >> 56);
}

pub fn fill(number: u64, bytes: []u8) void {
    for (bytes, 0..) |*byte, place| byte.* = byteOf(number, place);
}

pub fn expectBlock(number: u64, bytes: []const u8) !void {
    for (bytes, 0..) |byte, place| try std.testing.expectEqual(byteOf(number, place), byte);
}

/// A configuration of `slots` blocks, in memory only.
pub fn small(slots: u64) kvcache.Config {
    return .{ .block_bytes = block_bytes, .cpu_bytes = slots * block_bytes };
}

pub fn open(config: *const kvcache.Config) !kvcache.Engine {
    var diagnostics: kvcache.Diagnostics = .{};
    return kvcache.Engine.open(config, &diagnostics) catch |err| {
        std.debug.print("{s}\n", .{diagnostics.text()});
        return err;
    };
}

/// Stores block `number`.
pub fn put(engine: kvcache.Engine, number: u64) !void {
    var block: [block_bytes]u8 = undefined;
    fill(number, &block);
    const key = keyOf(number);
    return engine.put(&key, &block, null);
}
