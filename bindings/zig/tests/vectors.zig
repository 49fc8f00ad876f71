//! The shared key vectors, tests/vectors/keys.txt.

const std = @import("std");
const kvcache = @import("kvcache");

const text = @embedFile("keys.txt");

/// The bytes of a field of hexadecimal digits; '-' is an empty one.
fn bytesOf(field: []const u8, buffer: []u8) ![]u8 {
    if (std.mem.eql(u8, field, "-")) return buffer[0..0];
    return std.fmt.hexToBytes(buffer, field);
}

fn keyOf(field: []const u8) !kvcache.Key {
    var key: kvcache.Key = undefined;
    _ = try std.fmt.hexToBytes(&key.bytes, field);
    return key;
}

fn tokensOf(field: []const u8, tokens: []u32) ![]u32 {
    if (std.mem.eql(u8, field, "-")) return tokens[0..0];
    const count = field.len / 8;
    for (tokens[0..count], 0..) |*token, i| token.* = try std.fmt.parseInt(u32, field[i * 8 ..][0..8], 16);
    return tokens[0..count];
}

test "keys are those of the vectors" {
    var salt_buffer: [8192]u8 = undefined;
    var data_buffer: [8192]u8 = undefined;
    var tokens_buffer: [4096]u32 = undefined;
    var keys_buffer: [4096]kvcache.Key = undefined;
    var counts: [4]usize = @splat(0);
    var lines = std.mem.tokenizeScalar(u8, text, '\n');
    while (lines.next()) |line| {
        if (line[0] == '#') continue;
        errdefer std.debug.print("{s}\n", .{line[0..@min(line.len, 200)]});
        var fields = std.mem.splitScalar(u8, line, ' ');
        const kind = fields.first();
        if (std.mem.eql(u8, kind, "derive")) {
            counts[0] += 1;
            const namespace = try std.fmt.parseInt(u64, fields.next().?, 16);
            const salt = try bytesOf(fields.next().?, &salt_buffer);
            const data = try bytesOf(fields.next().?, &data_buffer);
            const key = try kvcache.keys.derive(namespace, salt, data);
            try std.testing.expect(key.eql(try keyOf(fields.next().?)));
        } else if (std.mem.eql(u8, kind, "root")) {
            counts[1] += 1;
            const namespace = try std.fmt.parseInt(u64, fields.next().?, 16);
            const salt = try bytesOf(fields.next().?, &salt_buffer);
            const key = try kvcache.keys.chainRoot(namespace, salt);
            try std.testing.expect(key.eql(try keyOf(fields.next().?)));
        } else if (std.mem.eql(u8, kind, "chain")) {
            counts[2] += 1;
            const parent = try keyOf(fields.next().?);
            const tokens = try tokensOf(fields.next().?, &tokens_buffer);
            const key = try kvcache.keys.chain(&parent, tokens);
            try std.testing.expect(key.eql(try keyOf(fields.next().?)));
        } else if (std.mem.eql(u8, kind, "many")) {
            counts[3] += 1;
            const parent = try keyOf(fields.next().?);
            const tokens_per_block = try std.fmt.parseInt(u64, fields.next().?, 16);
            const tokens = try tokensOf(fields.next().?, &tokens_buffer);
            const expected = fields.next().?;
            const keys = try kvcache.keys.chainMany(&parent, tokens, tokens_per_block, &keys_buffer);
            const count = if (std.mem.eql(u8, expected, "-")) 0 else expected.len / 64;
            try std.testing.expectEqual(count, keys.len);
            for (keys, 0..) |key, i| try std.testing.expect(key.eql(try keyOf(expected[i * 64 ..][0..64])));
        } else return error.UnknownKind;
        try std.testing.expectEqual(null, fields.next());
    }
    for (counts) |count| try std.testing.expect(count > 0);
}
