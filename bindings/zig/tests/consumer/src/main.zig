const std = @import("std");
const kvcache = @import("kvcache");

pub fn main() !void {
    var diagnostics: kvcache.Diagnostics = .{};
    const engine = kvcache.Engine.open(&.{
        .block_bytes = 64 << 10,
        .cpu_bytes = 64 << 20,
    }, &diagnostics) catch |err| {
        std.debug.print("{s}\n", .{diagnostics.text()});
        return err;
    };

    const key = try kvcache.keys.derive(0, "", "greeting");
    try engine.put(&key, "hello, cache", null);

    // The block itself, in place.
    const view = try engine.acquire(&key, .{});
    std.debug.print("{s}\n", .{view.bytes()});
    try engine.release(&view);

    try engine.close();
}
