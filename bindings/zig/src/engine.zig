//! The engine: opening and closing, reading, writing, keeping, watching.

const c = @import("c.zig");
const lanes = @import("lane.zig");
const status = @import("status.zig");
const types = @import("types.zig");

const AcquireFlags = types.AcquireFlags;
const Capacity = types.Capacity;
const Config = types.Config;
const Copy = types.Copy;
const Diagnostics = types.Diagnostics;
const Error = status.Error;
const Event = types.Event;
const Histogram = types.Histogram;
const Item = types.Item;
const Key = types.Key;
const Lane = lanes.Lane;
const MatchFlags = types.MatchFlags;
const Operation = types.Operation;
const PinInfo = types.PinInfo;
const Plan = types.Plan;
const PutInfo = types.PutInfo;
const Reservation = types.Reservation;
const RetainFlags = types.RetainFlags;
const Stats = types.Stats;
const Tier = types.Tier;
const TierInfo = types.TierInfo;
const Tiers = types.Tiers;
const View = types.View;
const check = status.check;

/// An open engine. May be copied; open until `close`.
///
/// Any number of threads may call its methods at once, but for `shutdown` and `close`: during these no other thread may
/// be in a call on it. Afterwards, every call answers error.Handle. Calls without a time to wait never wait for a
/// device, but for `get`, `getMany`, `acquire` and `acquireMany` of blocks that are below memory, and `put`, `putMany`
/// and `reserve` where something has to be written down first.
///
/// Each call can also answer error.Handle, error.Forked in a child process of the one that opened the engine,
/// error.Shutdown where it would begin new work after `shutdown`, error.Internal, and error.Poisoned ever after.
pub const Engine = struct {
    handle: *c.kvc_engine_t,

    /// Computes the exact bytes of everything that an engine of this configuration would ever hold. Obtains nothing.
    /// (kvc_plan_compute)
    pub fn plan(config: *const Config, diagnostics: ?*Diagnostics) Error!Plan {
        const raw = config.raw();
        var computed: Plan = .{};
        try check(c.kvc_plan_compute(&raw, @ptrCast(&computed), @ptrCast(diagnostics)));
        return computed;
    }

    /// Opens an engine: obtains what the plan says, reads what the files of its tiers hold, starts the workers if
    /// there are to be any. What was refused, and why, is in `diagnostics`.
    ///
    /// The configuration and what it points to are borrowed, but for its memory, which is lent until `close`. Of the
    /// functions with an engine only this one allocates. (kvc_engine_open)
    pub fn open(config: *const Config, diagnostics: ?*Diagnostics) Error!Engine {
        const raw = config.raw();
        var handle: ?*c.kvc_engine_t = null;
        try check(c.kvc_engine_open(&raw, &handle, @ptrCast(diagnostics)));
        return .{ .handle = handle orelse return error.Internal };
    }

    /// Winds the engine up: refuses new work, completes what lanes have queued, makes durable what can be.
    /// (kvc_shutdown)
    pub fn shutdown(self: Engine) Error!void {
        return check(c.kvc_shutdown(self.handle));
    }

    /// Closes the engine and gives its memory and its files back. What no file holds is lost: `flush` or `shutdown`
    /// before, to find it again. error.Busy while there are views, reservations, open lanes or operations under way;
    /// the engine stays open then. (kvc_close)
    pub fn close(self: Engine) Error!void {
        return check(c.kvc_close(self.handle));
    }

    // Reading.

    /// Counts the keys at the beginning of the list whose blocks are resident, in whichever tier. (kvc_match)
    pub fn match(self: Engine, keys: []const Key, flags: MatchFlags) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_match(self.handle, @ptrCast(keys.ptr), keys.len, @bitCast(flags), &count));
        return @intCast(count);
    }

    /// Says for each key in which tiers its block is, and answers how many are in any. `tiers_out` has as many
    /// elements as `keys`, else error.Argument. (kvc_match_each)
    pub fn matchEach(self: Engine, keys: []const Key, flags: MatchFlags, tiers_out: []Tiers) Error!usize {
        if (tiers_out.len != keys.len) return error.Argument;
        var count: u64 = 0;
        const tiers: [*c]u8 = @ptrCast(tiers_out.ptr);
        try check(c.kvc_match_each(self.handle, @ptrCast(keys.ptr), keys.len, @bitCast(flags), tiers, &count));
        return @intCast(count);
    }

    /// Copies a block to the beginning of `target`, and answers that part of it. error.Miss; error.TooSmall when the
    /// block has more bytes; error.Again when there is no room to copy it up. Nothing is written then. (kvc_get)
    pub fn get(self: Engine, key: *const Key, target: []u8, copy: Copy) Error![]u8 {
        var bytes: u64 = 0;
        try check(c.kvc_get(self.handle, @ptrCast(key), target.ptr, target.len, @backingInt(copy), &bytes));
        return target[0..bytes];
    }

    /// Copies many blocks, each to where its item says (`Item.forGet`), and answers how many there were;
    /// `Item.result` says what became of each. (kvc_get_many)
    pub fn getMany(self: Engine, items: []Item, copy: Copy) Error!usize {
        var hits: u64 = 0;
        try check(c.kvc_get_many(self.handle, @ptrCast(items.ptr), items.len, @backingInt(copy), &hits));
        return @intCast(hits);
    }

    /// Lends a block without copying it: `View.bytes` are readable and unchanged until `release`. With `.partial` a
    /// block of a file tier is lent while it is still arriving, see `viewReady`. error.Miss; error.Again when all pins
    /// are in use or there is no room to copy it up. (kvc_acquire)
    pub inline fn acquire(self: Engine, key: *const Key, flags: AcquireFlags) Error!View {
        var lent: View = undefined;
        try check(c.kvc_acquire(self.handle, @ptrCast(key), @bitCast(flags), @ptrCast(&lent)));
        // Word by word, which volatile keeps: one wide load right after the library's narrower stores would wait for
        // them, several nanoseconds of each hit.
        const words: *volatile [4]u64 = @ptrCast(&lent);
        var view: View = undefined;
        const words_out: *[4]u64 = @ptrCast(&view);
        inline for (words_out, 0..) |*word, i| word.* = words[i];
        return view;
    }

    /// How much of a block that was acquired with `.partial` is there.
    pub const Ready = struct {
        /// Bytes that are there and verified, from the first on.
        bytes: u64,
        /// Whether that is all of them.
        complete: bool,
    };

    /// Says how many bytes of a view are there, and moves its arrival on. error.Miss when the rest could not be read:
    /// release the view, its bytes are worthless. (kvc_view_ready)
    pub fn viewReady(self: Engine, view: *const View) Error!Ready {
        var bytes: u64 = 0;
        const answered = c.kvc_view_ready(self.handle, @ptrCast(view), &bytes);
        if (answered == c.KVC_PENDING) return .{ .bytes = bytes, .complete = false };
        try check(answered);
        return .{ .bytes = bytes, .complete = true };
    }

    /// Lends the blocks of the longest resident prefix of the list: the part of `views_out` that was written. It has
    /// room for one view a key, else error.TooSmall. (kvc_acquire_many)
    pub fn acquireMany(self: Engine, keys: []const Key, views_out: []View) Error![]View {
        if (views_out.len < keys.len) return error.TooSmall;
        var count: u64 = 0;
        const views: [*c]c.kvc_view_t = @ptrCast(views_out.ptr);
        try check(c.kvc_acquire_many(self.handle, @ptrCast(keys.ptr), keys.len, 0, views, &count));
        return views_out[0..count];
    }

    /// Gives a view back, from any thread; its bytes must not be used any more. error.Stale when that was done
    /// already, or it expired. (kvc_release)
    pub inline fn release(self: Engine, view: *const View) Error!void {
        return check(c.kvc_release(self.handle, @ptrCast(view)));
    }

    /// Gives many views back, and answers how many were still held. (kvc_release_many)
    pub fn releaseMany(self: Engine, views: []const View) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_release_many(self.handle, @ptrCast(views.ptr), views.len, &count));
        return @intCast(count);
    }

    // Writing.

    /// Lends room for a block of `bytes` bytes to its producer: fill `Reservation.bytes`, then `commit` or `abort`.
    /// error.Exists; error.Pending while another producer fills it; error.Again when everything is held;
    /// error.TooLarge. (kvc_reserve)
    pub fn reserve(self: Engine, key: *const Key, bytes: u64, info: ?*const PutInfo) Error!Reservation {
        var reservation: Reservation = undefined;
        try check(c.kvc_reserve(self.handle, @ptrCast(key), bytes, @ptrCast(info), @ptrCast(&reservation)));
        return reservation;
    }

    /// Makes a reserved block readable, whole. Its bytes must not be written any more. (kvc_commit)
    pub fn commit(self: Engine, reservation: *const Reservation) Error!void {
        return check(c.kvc_commit(self.handle, @ptrCast(reservation), 0));
    }

    /// Makes the first `bytes` bytes of a reserved block readable as a block of that length; error.Argument for 0.
    /// (kvc_commit)
    pub fn commitPart(self: Engine, reservation: *const Reservation, bytes: u64) Error!void {
        if (bytes == 0) return error.Argument;
        return check(c.kvc_commit(self.handle, @ptrCast(reservation), bytes));
    }

    /// Gives a reservation up. Its bytes must not be written any more. (kvc_abort)
    pub fn abort(self: Engine, reservation: *const Reservation) Error!void {
        return check(c.kvc_abort(self.handle, @ptrCast(reservation)));
    }

    /// Stores a block: reserve, copy and commit in one, with the same errors. (kvc_put)
    pub fn put(self: Engine, key: *const Key, source: []const u8, info: ?*const PutInfo) Error!void {
        return check(c.kvc_put(self.handle, @ptrCast(key), source.ptr, source.len, @ptrCast(info)));
    }

    /// Stores a chain of blocks in order (`Item.forPut`), each the parent of the next, and answers how many were
    /// stored; `Item.result` says what became of each. (kvc_put_many)
    pub fn putMany(self: Engine, items: []Item, info: ?*const PutInfo) Error!usize {
        var stored: u64 = 0;
        try check(c.kvc_put_many(self.handle, @ptrCast(items.ptr), items.len, @ptrCast(info), &stored));
        return @intCast(stored);
    }

    // Keeping and dropping.

    /// Removes blocks from all tiers, and answers how many there were. (kvc_remove)
    pub fn remove(self: Engine, keys: []const Key) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_remove(self.handle, @ptrCast(keys.ptr), keys.len, &count));
        return @intCast(count);
    }

    /// Counts blocks as used now, and answers how many there were. (kvc_touch)
    pub fn touch(self: Engine, keys: []const Key) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_touch(self.handle, @ptrCast(keys.ptr), keys.len, &count));
        return @intCast(count);
    }

    /// Changes how long resident blocks are kept, and answers how many there were. `priority` is 0 (evicted first) to
    /// 100; `expiry_ms` is milliseconds from now, 0 for never. (kvc_retain)
    pub fn retain(self: Engine, keys: []const Key, priority: u32, expiry_ms: u64, flags: RetainFlags) Error!usize {
        var count: u64 = 0;
        const raw: [*c]const c.kvc_key_t = @ptrCast(keys.ptr);
        try check(c.kvc_retain(self.handle, raw, keys.len, priority, expiry_ms, @bitCast(flags), &count));
        return @intCast(count);
    }

    /// Removes every block that was put with this namespace, and answers how many there were. (kvc_namespace_clear)
    pub fn namespaceClear(self: Engine, namespace_id: u64) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_namespace_clear(self.handle, namespace_id, &count));
        return @intCast(count);
    }

    /// Bounds how much the blocks of a namespace may lose in the file tiers, in thousandths; null takes the bound
    /// back. (kvc_namespace_quality_set)
    pub fn namespaceQualitySet(self: Engine, namespace_id: u64, error_max_permille: ?u64) Error!void {
        return check(c.kvc_namespace_quality_set(self.handle, namespace_id, error_max_permille orelse c.KVC_NONE));
    }

    /// Begins a new importance table, empty, beside the one in use. (kvc_importance_begin)
    pub fn importanceBegin(self: Engine) Error!void {
        return check(c.kvc_importance_begin(self.handle));
    }

    /// Sets the importance of keys in the table that was begun: as many as there are keys, else error.Argument.
    /// (kvc_importance_set)
    pub fn importanceSet(self: Engine, keys: []const Key, importances: []const u32) Error!void {
        if (importances.len != keys.len) return error.Argument;
        return check(c.kvc_importance_set(self.handle, @ptrCast(keys.ptr), importances.ptr, keys.len));
    }

    /// Puts the table that was begun in the place of the one in use. (kvc_importance_swap)
    pub fn importanceSwap(self: Engine) Error!void {
        return check(c.kvc_importance_swap(self.handle));
    }

    // File tiers.

    /// Says what a file tier is and does at present. error.NoDevice when there is none of this kind. (kvc_tier_get)
    pub fn tier(self: Engine, kind: Tier) Error!TierInfo {
        var info: TierInfo = .{};
        try check(c.kvc_tier_get(self.handle, @backingInt(kind), @ptrCast(&info)));
        return info;
    }

    /// Begins copying blocks up into memory, does not wait, and answers how many are on their way because of it.
    /// (kvc_prefetch)
    pub fn prefetch(self: Engine, keys: []const Key) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_prefetch(self.handle, @ptrCast(keys.ptr), keys.len, 0, &count));
        return @intCast(count);
    }

    /// Says that a conversation is over, or paused: nothing is copied up for it before its next request.
    /// (kvc_prefetch_cancel)
    pub fn prefetchCancel(self: Engine, conversation_id: u64) Error!void {
        return check(c.kvc_prefetch_cancel(self.handle, conversation_id));
    }

    /// Makes durable everything that was committed or removed before the call, and answers how many blocks had to be
    /// written. 0 does not wait, std.math.maxInt(u64) waits as long as the device makes progress. error.Timeout,
    /// error.Endurance, error.Offline; error.Unsupported without a file tier. (kvc_flush)
    pub fn flush(self: Engine, timeout_ns: u64) Error!usize {
        var count: u64 = 0;
        try check(c.kvc_flush(self.handle, timeout_ns, &count));
        return @intCast(count);
    }

    // Lanes and ticks.

    /// Opens a lane; error.Again when lanes_count of them are open. (kvc_lane_open)
    pub fn laneOpen(self: Engine) Error!Lane {
        var id: types.LaneId = .{};
        try check(c.kvc_lane_open(self.handle, @ptrCast(&id)));
        return .{ .engine = self.handle, .id = id };
    }

    /// Does the engine's work in tick mode, and answers how many things were done. `now_ns` is the engine's time with
    /// `Clock.ticks`, else 0. (kvc_tick)
    pub fn tick(self: Engine, now_ns: u64) Error!usize {
        var progress: u64 = 0;
        try check(c.kvc_tick(self.handle, now_ns, &progress));
        return @intCast(progress);
    }

    // Watching.

    /// All counters and gauges. (kvc_stats_get)
    pub fn stats(self: Engine) Error!Stats {
        var read: Stats = .{};
        try check(c.kvc_stats_get(self.handle, @ptrCast(&read)));
        return read;
    }

    /// What fits. (kvc_capacity_get)
    pub fn capacity(self: Engine) Error!Capacity {
        var read: Capacity = .{};
        try check(c.kvc_capacity_get(self.handle, @ptrCast(&read)));
        return read;
    }

    /// How long the operations of one kind took in one tier. (kvc_histogram_get)
    pub fn histogram(self: Engine, operation: Operation, kind: Tier) Error!Histogram {
        var read: Histogram = .{};
        try check(c.kvc_histogram_get(self.handle, @backingInt(operation), @backingInt(kind), @ptrCast(&read)));
        return read;
    }

    /// Writes all metrics as the text that a Prometheus scraper reads: the part of `buffer` with the text, a NUL byte
    /// behind it. 64 KiB are always enough, else error.TooSmall. (kvc_metrics_write)
    pub fn metricsWrite(self: Engine, buffer: []u8) Error![:0]u8 {
        var bytes: u64 = 0;
        try check(c.kvc_metrics_write(self.handle, buffer.ptr, buffer.len, &bytes));
        return buffer[0..bytes :0];
    }

    /// What a reader of events got.
    pub const Events = struct {
        /// The part of the reader's array that was written.
        events: []Event,
        /// How many were overwritten before this reader came.
        lost: u64,
    };

    /// Reads events, oldest first, as many as there is room for. `sequence` is the reader's own place, 0 at first.
    /// (kvc_events_read)
    pub fn eventsRead(self: Engine, sequence: *u64, events_out: []Event) Error!Events {
        var count: u64 = 0;
        var lost: u64 = 0;
        const events: [*c]c.kvc_event_t = @ptrCast(events_out.ptr);
        try check(c.kvc_events_read(self.handle, sequence, events, events_out.len, &count, &lost));
        return .{ .events = events_out[0..count], .lost = lost };
    }

    /// Lists the views that are held, as many as there is room for, and answers how many there are: maybe more.
    /// (kvc_pins_get)
    pub fn pins(self: Engine, pins_out: []PinInfo) Error!usize {
        var count: u64 = 0;
        if (pins_out.len > 0) pins_out[0].struct_size = @sizeOf(PinInfo);
        try check(c.kvc_pins_get(self.handle, @ptrCast(pins_out.ptr), pins_out.len, &count));
        return @intCast(count);
    }
};
