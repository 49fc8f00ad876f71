//! The declarations are those of the header: every size, offset and constant is what a C compiler says, and layout.c,
//! which is compiled into this test, has the signatures.

const std = @import("std");
const kvcache = @import("kvcache");
const ours = @import("layout_entries.zig");

const Entry = extern struct { name: [*:0]const u8, value: u64 };

extern const layout_entries: [*:0]const Entry;
extern const layout_entries_count: u64;

test "sizes, offsets and constants equal those of C" {
    const theirs = @extern([*]const Entry, .{ .name = "layout_entries" })[0..layout_entries_count];
    try std.testing.expectEqual(theirs.len, ours.entries.len);
    for (theirs, ours.entries) |from_c, from_zig| {
        try std.testing.expectEqualStrings(std.mem.span(from_c.name), from_zig.name);
        errdefer std.debug.print("{s}\n", .{from_zig.name});
        try std.testing.expectEqual(from_c.value, from_zig.value);
        if (from_zig.typed) |typed| try std.testing.expectEqual(from_c.value, typed);
    }
}

/// Every number of a native struct arrives in the field of the same name of C's, and no field is forgotten.
fn expectCarried(comptime Native: type, comptime Raw: type, native: *Native) !void {
    comptime var number: u64 = 1000;
    inline for (comptime std.meta.fieldNames(Native)) |name| {
        if (@FieldType(Native, name) == u64) {
            number += 1;
            @field(native, name) = number;
        }
    }
    const raw: Raw = native.raw();
    number = 1000;
    var carried: usize = 0;
    inline for (comptime std.meta.fieldNames(Native)) |name| {
        if (@FieldType(Native, name) == u64) {
            number += 1;
            carried += 1;
            try std.testing.expectEqual(number, @field(raw, name));
        } else if (@FieldType(Raw, name) == u64) {
            errdefer std.debug.print("{s}\n", .{name});
            try std.testing.expect(@field(raw, name) != 0);
        } else if (@typeInfo(@FieldType(Raw, name)) != .float) {
            errdefer std.debug.print("{s}\n", .{name});
            try std.testing.expect(@field(raw, name) != null);
        }
    }
    try std.testing.expect(carried > 3);
    try std.testing.expectEqual(@as(u64, @sizeOf(Raw)), raw.struct_size);
    inline for (comptime std.meta.fieldNames(Raw)) |name| {
        const length = comptime std.mem.endsWith(u8, name, "_count") or std.mem.endsWith(u8, name, "_bytes");
        const known = comptime @hasField(Native, name) or std.mem.eql(u8, name, "struct_size");
        if (!known) {
            errdefer std.debug.print("{s}\n", .{name});
            try std.testing.expect(length);
            try std.testing.expect(@field(raw, name) != 0);
        }
    }
}

test "a configuration is carried over whole" {
    var memory: [4096]u8 align(4096) = undefined;
    const geometries = [_]kvcache.Geometry{.{
        .layers_count = 1,
        .kv_heads_count = 1,
        .head_dim = 32,
        .tokens_per_block = 16,
        .dtype = .f16,
    }};
    const codec: kvcache.CodecConfig = .{};
    var config: kvcache.Config = .{
        .block_bytes = 1,
        .cpu_bytes = 1,
        .policy = .lru,
        .huge_pages = .require,
        .memory_lock = true,
        .prefault = .all,
        .clock = .ticks,
        .memory = &memory,
        .geometries = &geometries,
        .nvme_path = "a",
        .nvme_admission = .reuse,
        .disk_path = "b",
        .disk_admission = .second_hit,
        .write_policy = .through,
        .damage = .refuse,
        .io_engine = .positional,
        .file_overwrite = true,
        .nvme_codec = &codec,
        .disk_codec = &codec,
        .codec_tables = "tables",
        .dedup = true,
        .tuning = true,
        .prefetch = .{ .successors = true, .turns = true },
    };
    try expectCarried(kvcache.Config, kvcache.c.kvc_config_t, &config);
    const raw = config.raw();
    try std.testing.expectEqual(kvcache.c.KVC_HUGE_PAGES_REQUIRE, raw.huge_pages);
    try std.testing.expectEqual(kvcache.c.KVC_PREFETCH_TURNS | kvcache.c.KVC_PREFETCH_SUCCESSORS, raw.prefetch);
    try std.testing.expectEqual(@as(u64, 6), raw.codec_tables_bytes);
    const back = kvcache.Config.fromRaw(&raw);
    try std.testing.expectEqual(config.write_wait_ms, back.write_wait_ms);
    try std.testing.expectEqual(kvcache.Prefault.all, back.prefault);
    try std.testing.expect(back.dedup and back.prefetch.turns and !back.prefetch.sequences);
}

test "pages and samples are carried over whole" {
    var byte: u8 = 0;
    const places = [_]*anyopaque{&byte};
    var paged: kvcache.Paged = .{
        .pages_count = 1,
        .tokens_per_page = 1,
        .order = .nhd,
        .planes = .separate,
        .keys = &places,
        .values = &places,
    };
    try expectCarried(kvcache.Paged, kvcache.c.kvc_paged_t, &paged);
    const constant = [_]*const anyopaque{&byte};
    var samples: kvcache.CodecSamples = .{
        .dtype = .f16,
        .layers_count = 1,
        .kv_heads_count = 1,
        .head_dim = 32,
        .tokens_count = 256,
        .keys = &constant,
        .values = &constant,
        .codecs = .{ .vq = true, .xc = true },
        .rope = .half,
        .rope_theta = 10000,
    };
    try expectCarried(kvcache.CodecSamples, kvcache.c.kvc_codec_samples_t, &samples);
    const codecs = samples.raw().codecs;
    try std.testing.expectEqual(@as(u64, 1 << kvcache.c.KVC_CODEC_VQ | 1 << kvcache.c.KVC_CODEC_XC), codecs);
}

test "every status has the name that the library gives it, and an error of its own" {
    var count: usize = 0;
    var number: i32 = -1000;
    while (number < 1000) : (number += 1) {
        const status: kvcache.Status = @fromBackingInt(number);
        const text = status.name();
        const known = !std.mem.eql(u8, text, "KVC_UNKNOWN");
        const tag = std.enums.tagName(kvcache.Status, status);
        try std.testing.expectEqual(known, tag != null);
        if (!known) {
            try std.testing.expectError(error.Unknown, status.check());
            continue;
        }
        count += 1;
        const short = text[if (std.mem.startsWith(u8, text, "KVC_E_")) 6 else 4..];
        try std.testing.expect(std.ascii.eqlIgnoreCase(short, tag.?));
        if (number == 0) {
            try status.check();
            continue;
        }
        const err = status.toError();
        try std.testing.expectEqual(status, kvcache.Status.fromError(err));
        var letters: [64]u8 = undefined;
        const joined = letters[0..std.mem.replacementSize(u8, short, "_", "")];
        _ = std.mem.replace(u8, short, "_", "", joined);
        try std.testing.expect(std.ascii.eqlIgnoreCase(joined, @errorName(err)));
    }
    try std.testing.expectEqual(std.meta.fieldNames(kvcache.Status).len, count);
}

test "the library is the one that the package is made for" {
    try std.testing.expectEqual(@as(u32, kvcache.c.KVC_ABI_VERSION), kvcache.abiVersion());
    try std.testing.expect(std.mem.startsWith(u8, kvcache.version(), "0.1."));
}
