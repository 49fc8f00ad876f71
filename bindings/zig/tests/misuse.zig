//! Wrong uses: each gets a clear error, and nothing else happens.

const std = @import("std");
const kvcache = @import("kvcache");
const common = @import("common.zig");

const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;

test "use after close" {
    const engine = try common.open(&common.small(4));
    const lane = try engine.laneOpen();
    try lane.close();
    try engine.close();
    const key = common.keyOf(0);
    var target: [16]u8 = undefined;
    try expectError(error.Handle, engine.close());
    try expectError(error.Handle, engine.get(&key, &target, .auto));
    try expectError(error.Handle, engine.acquire(&key, .{}));
    try expectError(error.Handle, engine.put(&key, "x", null));
    try expectError(error.Handle, engine.match(&.{key}, .{}));
    try expectError(error.Handle, engine.stats());
    try expectError(error.Handle, engine.tick(0));
    try expectError(error.Handle, engine.laneOpen());
    try expectError(error.Handle, lane.eventFd());
    try expectError(error.Handle, lane.submit(&.{.flush(0)}));
}

test "an engine in use is not closed" {
    const engine = try common.open(&common.small(4));
    try common.put(engine, 0);
    const key = common.keyOf(0);
    const view = try engine.acquire(&key, .{});
    try expectError(error.Busy, engine.close());
    try common.expectBlock(0, view.bytes());
    try engine.release(&view);
    const lane = try engine.laneOpen();
    try expectError(error.Busy, engine.close());
    try lane.close();
    const room = try engine.reserve(&common.keyOf(1), 16, null);
    try expectError(error.Busy, engine.close());
    try engine.abort(&room);
    try engine.close();
}

test "double release, commit and abort" {
    const engine = try common.open(&common.small(4));
    defer engine.close() catch unreachable;
    try common.put(engine, 0);
    const key = common.keyOf(0);
    const view = try engine.acquire(&key, .{});
    try engine.release(&view);
    try expectError(error.Stale, engine.release(&view));
    try expectError(error.Stale, engine.viewReady(&view));
    const again = try engine.acquire(&key, .{});
    // The place of the pin is used again; the old view is stale all the same.
    try expectError(error.Stale, engine.release(&view));
    try engine.release(&again);
    const room = try engine.reserve(&common.keyOf(1), 16, null);
    @memset(room.bytes(), 1);
    try engine.commit(&room);
    try expectError(error.Stale, engine.commit(&room));
    try expectError(error.Stale, engine.abort(&room));
    const nothing = std.mem.zeroes(kvcache.c.kvc_view_t);
    try expectEqual(kvcache.c.KVC_E_STALE, kvcache.c.kvc_release(engine.handle, &nothing));
}

test "a view of another engine" {
    const one = try common.open(&common.small(4));
    defer one.close() catch unreachable;
    const other = try common.open(&common.small(4));
    defer other.close() catch unreachable;
    try common.put(one, 0);
    const key = common.keyOf(0);
    const view = try one.acquire(&key, .{});
    try expectError(error.Stale, other.release(&view));
    try one.release(&view);
}

test "stale tickets and lanes" {
    const engine = try common.open(&common.small(4));
    defer engine.close() catch unreachable;
    const lane = try engine.laneOpen();
    const keys = [_]kvcache.Key{common.keyOf(0)};
    var tickets: [1]kvcache.Ticket = undefined;
    _ = try lane.submitTickets(&.{.match(&keys, .{}, 1)}, &tickets);
    try expectError(error.Busy, lane.close());
    _ = try lane.wait(tickets[0], kvcache.forever);
    try expectError(error.Stale, lane.wait(tickets[0], 0));
    try expectError(error.Stale, lane.cancel(tickets[0]));
    try expectError(error.Stale, lane.wait(.{}, 0));
    try lane.close();
    try expectError(error.Stale, lane.close());
    var done: [1]kvcache.Done = undefined;
    try expectError(error.Stale, lane.reap(&done));
    const later = try engine.laneOpen();
    try expectError(error.Stale, lane.submit(&.{.flush(0)}));
    try later.close();
}

test "wrong sizes" {
    const engine = try common.open(&common.small(4));
    defer engine.close() catch unreachable;
    try common.put(engine, 0);
    const keys = [_]kvcache.Key{ common.keyOf(0), common.keyOf(1) };
    var target: [common.block_bytes]u8 = @splat(7);
    try expectError(error.TooSmall, engine.get(&keys[0], target[0 .. target.len - 1], .auto));
    for (target) |byte| try expectEqual(7, byte);
    const large: [common.block_bytes + 1]u8 = @splat(1);
    try expectError(error.TooLarge, engine.put(&keys[1], &large, null));
    try expectError(error.TooLarge, engine.reserve(&keys[1], common.block_bytes + 1, null));
    try expectError(error.Argument, engine.put(&keys[1], "", null));
    try expectError(error.Argument, engine.reserve(&keys[1], 0, null));
    try expectError(error.Argument, engine.put(&keys[1], "x", &.{ .priority = 101 }));

    // Slices that must be as long as another are refused before the library sees them.
    var tiers: [1]kvcache.Tiers = undefined;
    try expectError(error.Argument, engine.matchEach(&keys, .{}, &tiers));
    var views: [1]kvcache.View = undefined;
    try expectError(error.TooSmall, engine.acquireMany(&keys, &views));
    try expectError(error.Argument, engine.importanceSet(&keys, &.{1}));
    try expectError(error.TooSmall, kvcache.Op.acquire(&keys, &views, 0));
    try expectError(error.TooSmall, kvcache.Op.get(&keys, &target, common.block_bytes, .auto, 0));
    try expectError(error.TooSmall, kvcache.Op.put(&keys, &target, common.block_bytes, null, 0));
    try expectError(error.TooSmall, kvcache.Op.put(&keys, &target, std.math.maxInt(u64), null, 0));
    var tickets: [0]kvcache.Ticket = .{};
    const lane = try engine.laneOpen();
    try expectError(error.TooSmall, lane.submitTickets(&.{.match(&keys, .{}, 0)}, &tickets));
    try expectError(error.Unsupported, lane.submit(&.{.{ .opcode = @fromBackingInt(77) }}));
    try lane.close();

    var room: [1]kvcache.Key = undefined;
    const tokens: [32]u32 = @splat(1);
    try expectError(error.TooSmall, kvcache.keys.chainMany(&keys[0], &tokens, 16, &room));
    try expectError(error.Argument, kvcache.keys.chainMany(&keys[0], &tokens, 0, &room));
}

test "everything held" {
    const engine = try common.open(&common.small(2));
    defer engine.close() catch unreachable;
    var views: [2]kvcache.View = undefined;
    for (&views, 0..) |*view, number| {
        try common.put(engine, number);
        view.* = try engine.acquire(&common.keyOf(number), .{});
    }
    try expectError(error.Again, common.put(engine, 2));
    try expectEqual(2, try engine.releaseMany(&views));
    try common.put(engine, 2);
}

const Shared = struct {
    lane: kvcache.Lane,
    stop: std.atomic.Value(bool) = .init(false),
    busy: std.atomic.Value(u64) = .init(0),
    other: std.atomic.Value(u64) = .init(0),

    fn run(self: *Shared) void {
        const keys = [_]kvcache.Key{common.keyOf(0)} ++ [_]kvcache.Key{common.keyOf(1)};
        var done: [8]kvcache.Done = undefined;
        while (!self.stop.load(.monotonic)) {
            if (self.lane.submit(&.{.match(&keys, .{}, 0)})) |_| {} else |err| self.count(err);
            if (self.lane.reap(&done)) |_| {} else |err| self.count(err);
        }
    }

    fn count(self: *Shared, err: kvcache.Error) void {
        _ = switch (err) {
            error.Busy => self.busy.fetchAdd(1, .monotonic),
            error.Again => 0,
            else => self.other.fetchAdd(1, .monotonic),
        };
        if (self.busy.load(.monotonic) > 0) self.stop.store(true, .monotonic);
    }
};

test "two threads on one lane" {
    const engine = try common.open(&common.small(4));
    const lane = try engine.laneOpen();
    var shared: Shared = .{ .lane = lane };
    const one = try std.Thread.spawn(.{}, Shared.run, .{&shared});
    const two = try std.Thread.spawn(.{}, Shared.run, .{&shared});
    one.join();
    two.join();
    // They went on until one of them was refused.
    try expect(shared.busy.load(.monotonic) > 0);
    try expectEqual(0, shared.other.load(.monotonic));
    var done: [64]kvcache.Done = undefined;
    while ((try lane.reap(&done)).len > 0) {}
    try lane.close();
    try engine.close();
}

test "an engine of a parent process" {
    const engine = try common.open(&common.small(4));
    try common.put(engine, 0);
    const key = common.keyOf(0);
    const child: i32 = @intCast(std.os.linux.fork());
    if (child == 0) {
        var target: [common.block_bytes]u8 = undefined;
        const refused = if (engine.get(&key, &target, .auto)) |_| false else |err| err == error.Forked;
        const close_refused = if (engine.close()) |_| false else |err| err == error.Forked;
        // A child may have an engine of its own.
        const own = kvcache.Engine.open(&common.small(4), null) catch std.c._exit(3);
        common.put(own, 1) catch std.c._exit(4);
        own.close() catch std.c._exit(5);
        std.c._exit(if (refused and close_refused) 0 else 6);
    }
    var status: c_int = -1;
    try expectEqual(child, std.c.waitpid(child, &status, 0));
    try expectEqual(0, status);
    var target: [common.block_bytes]u8 = undefined;
    try common.expectBlock(0, try engine.get(&key, &target, .auto));
    try engine.close();
}

test "handles that are none" {
    var not_an_engine: u64 = 0;
    const engine: kvcache.Engine = .{ .handle = @ptrCast(&not_an_engine) };
    try expectError(error.Handle, engine.stats());
    const codec: kvcache.Codec = .{ .handle = @ptrCast(&not_an_engine) };
    try expectError(error.Handle, codec.inspect("code"));
    try expectError(error.Handle, codec.close());
}
