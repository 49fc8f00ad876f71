//! A program that depends on the package.

const std = @import("std");
const kvcache = @import("kvcache");

pub fn main() !void {
    const engine = try kvcache.Engine.open(&.{ .block_bytes = 4096, .cpu_bytes = 1 << 20 }, null);
    const key = try kvcache.keys.derive(0, "", "greeting");
    try engine.put(&key, "hello", null);
    var buffer: [4096]u8 = undefined;
    if (!std.mem.eql(u8, "hello", try engine.get(&key, &buffer, .auto))) return error.Different;
    try engine.close();
}
