//! Codecs: keys and values in fewer bytes, and the tables that some of them need.
//!
//! Encoding and decoding allocate nothing. The scratch that they work in is the caller's, one for each thread; its
//! content does not matter and is lost.

const std = @import("std");
const c = @import("c.zig");
const status = @import("status.zig");
const types = @import("types.zig");

const CodecConfig = types.CodecConfig;
const CodecDescription = types.CodecDescription;
const CodecId = types.CodecId;
const CodecInfo = types.CodecInfo;
const CodecSamples = types.CodecSamples;
const CodecTablesInfo = types.CodecTablesInfo;
const Diagnostics = types.Diagnostics;
const Error = status.Error;
const check = status.check;

/// The name of a codec, "t3" for one; "unknown" for a number that means nothing. (kvc_codec_name)
pub fn codecName(codec: CodecId) [:0]const u8 {
    return std.mem.span(c.kvc_codec_name(@backingInt(codec)));
}

/// A codec for blocks of one geometry. May be copied; open until `close`.
///
/// Any number of threads may use it at once, each with its own scratch. While it is closed no other thread may be in a
/// call on it; afterwards every call answers error.Handle.
pub const Codec = struct {
    handle: *c.kvc_codec_t,

    /// Says what a codec of this configuration needs and what it makes of a block. Obtains nothing; tables are not
    /// needed to know. (kvc_codec_describe)
    pub fn describe(config: *const CodecConfig, diagnostics: ?*Diagnostics) Error!CodecDescription {
        var description: CodecDescription = .{};
        try check(c.kvc_codec_describe(@ptrCast(config), @ptrCast(&description), @ptrCast(diagnostics)));
        return description;
    }

    /// Opens a codec; reads all of its tables once, to check them. The tables are lent to it until `close`, and must
    /// not change; everything else is borrowed. (kvc_codec_open)
    pub fn open(config: *const CodecConfig, diagnostics: ?*Diagnostics) Error!Codec {
        var handle: ?*c.kvc_codec_t = null;
        try check(c.kvc_codec_open(@ptrCast(config), &handle, @ptrCast(diagnostics)));
        return .{ .handle = handle orelse return error.Internal };
    }

    /// Closes the codec; its tables are the caller's again. (kvc_codec_close)
    pub fn close(self: Codec) Error!void {
        return check(c.kvc_codec_close(self.handle));
    }

    /// Encodes a block: answers the part of `code_out` that is its code.
    ///
    /// `position` is the place of the block's first token in its sequence. `before` is the coarsest codec that the
    /// block went through before, `.raw` if none. `CodecDescription` says how much room is always enough.
    /// error.TooSmall when the code does not fit, or the scratch is too small; error.Argument when `block` has another
    /// size than the geometry's. After an error what is in `code_out` is undefined. (kvc_codec_encode)
    pub fn encode(
        self: Codec,
        block: []const u8,
        position: u64,
        before: CodecId,
        code_out: []u8,
        scratch: []u8,
    ) Error![]u8 {
        var bytes: u64 = 0;
        try check(c.kvc_codec_encode(
            self.handle,
            block.ptr,
            block.len,
            position,
            @backingInt(before),
            code_out.ptr,
            code_out.len,
            scratch.ptr,
            scratch.len,
            &bytes,
        ));
        return code_out[0..bytes];
    }

    /// Decodes a block, also one that another codec of the same geometry encoded.
    ///
    /// error.Damaged for what is no code of a block of this geometry, error.Unsupported where the codec has not the
    /// tables that the code needs. After an error what is in `block_out` is undefined. (kvc_codec_decode)
    pub fn decode(self: Codec, code: []const u8, block_out: []u8, scratch: []u8) Error!void {
        return check(c.kvc_codec_decode(
            self.handle,
            code.ptr,
            code.len,
            block_out.ptr,
            block_out.len,
            scratch.ptr,
            scratch.len,
        ));
    }

    /// Decodes one layer alone, in the time of this layer; `code` is still the whole code. (kvc_codec_decode_layer)
    pub fn decodeLayer(self: Codec, code: []const u8, layer: u64, layer_out: []u8, scratch: []u8) Error!void {
        return check(c.kvc_codec_decode_layer(
            self.handle,
            code.ptr,
            code.len,
            layer,
            layer_out.ptr,
            layer_out.len,
            scratch.ptr,
            scratch.len,
        ));
    }

    /// Says what a code is, without decoding it. (kvc_codec_inspect)
    pub fn inspect(self: Codec, code: []const u8) Error!CodecInfo {
        var info: CodecInfo = .{};
        try check(c.kvc_codec_inspect(self.handle, code.ptr, code.len, @ptrCast(&info)));
        return info;
    }
};

/// Tables of codecs: trained once on keys and values of a model, kept in a file, lent to codecs.
pub const tables = struct {
    /// What tables must be aligned to.
    pub const alignment = 64;

    /// Most bytes of tables that are trained on such samples, whose keys and values are not looked at.
    /// (kvc_codec_train_bytes_max)
    pub fn trainBytesMax(samples: *const CodecSamples, diagnostics: ?*Diagnostics) Error!u64 {
        const raw = samples.raw();
        var bytes: u64 = 0;
        try check(c.kvc_codec_train_bytes_max(&raw, &bytes, @ptrCast(diagnostics)));
        return bytes;
    }

    /// Trains tables: answers the part of `tables_out` that they take. Takes seconds to many minutes, and memory for
    /// the samples of two layers. error.Argument when there are not as many keys or values as layers. (kvc_codec_train)
    pub fn train(
        samples: *const CodecSamples,
        tables_out: []align(alignment) u8,
        diagnostics: ?*Diagnostics,
    ) Error![]align(alignment) u8 {
        if (samples.keys.len != samples.layers_count or samples.values.len != samples.layers_count)
            return error.Argument;
        const raw = samples.raw();
        var bytes: u64 = 0;
        try check(c.kvc_codec_train(&raw, tables_out.ptr, tables_out.len, &bytes, @ptrCast(diagnostics)));
        return tables_out[0..bytes];
    }

    /// Checks tables and says what they are. Reads all of them. (kvc_codec_tables_check)
    pub fn inspect(bytes: []align(alignment) const u8) Error!CodecTablesInfo {
        var info: CodecTablesInfo = .{};
        try check(c.kvc_codec_tables_check(bytes.ptr, bytes.len, @ptrCast(&info)));
        return info;
    }

    /// Writes tables to a file, durably and in one step. (kvc_codec_tables_save)
    pub fn save(path: [:0]const u8, bytes: []align(alignment) const u8, diagnostics: ?*Diagnostics) Error!void {
        return check(c.kvc_codec_tables_save(path.ptr, bytes.ptr, bytes.len, @ptrCast(diagnostics)));
    }

    /// Bytes of the tables in a file. Reads its header only. (kvc_codec_tables_file_bytes)
    pub fn fileBytes(path: [:0]const u8, diagnostics: ?*Diagnostics) Error!u64 {
        var bytes: u64 = 0;
        try check(c.kvc_codec_tables_file_bytes(path.ptr, &bytes, @ptrCast(diagnostics)));
        return bytes;
    }

    /// Reads tables from a file and checks them: answers the part of `tables_out` that they take.
    /// (kvc_codec_tables_load)
    pub fn load(
        path: [:0]const u8,
        tables_out: []align(alignment) u8,
        diagnostics: ?*Diagnostics,
    ) Error![]align(alignment) u8 {
        var bytes: u64 = 0;
        try check(c.kvc_codec_tables_load(path.ptr, tables_out.ptr, tables_out.len, &bytes, @ptrCast(diagnostics)));
        return tables_out[0..bytes];
    }
};
