"""What the header does not say: which numbers an enum takes together, which field takes which enum, what is
required, and the methods of structs."""

import re

SCALARS = {"uint8_t": "u8", "uint32_t": "u32", "int32_t": "i32", "uint64_t": "u64", "int64_t": "i64",
           "double": "f64", "char": "u8", "kvc_status_t": "kvc_status_t"}  # fmt: skip
OPAQUE = {"kvc_engine_t", "kvc_codec_t"}

# Names in types.zig where it is not the C name without kvc_ and _t.
TYPE_NAMES = {"kvc_tier_t": "TierInfo", "kvc_error_t": "Diagnostics", "kvc_lane_t": "LaneId"}

# Structs that have slices and booleans in Zig, and are turned into those of C by raw().
NATIVE = {"kvc_config_t", "kvc_paged_t", "kvc_codec_samples_t"}

# Enums: integer type, prefix of the constants, what they are, name of 0 where no constant has it.
ENUMS = {
    "Tier": ("u32", "KVC_TIER_", "A kind of tier.", None),
    "TierState": ("u64", "KVC_TIER_STATE_", "Whether a file tier works.", "unknown"),
    "Dtype": ("u64", "KVC_DTYPE_", "Type of one element of a key or a value.", "unset"),
    "CodecId": ("u64", "KVC_CODEC_", "How a plane is encoded.", None),
    "Policy": ("u64", "KVC_POLICY_", "How victims are chosen.", "default"),
    "HugePages": ("u64", "KVC_HUGE_PAGES_", "Huge pages for the engine's own mapping.", None),
    "Clock": ("u64", "KVC_CLOCK_", "Where the engine's time comes from.", None),
    "Prefault": ("u64", "KVC_PREFAULT_", "When pages are touched for the first time.", None),
    "Admission": ("u64", "KVC_ADMISSION_", "Which blocks a file tier takes.", "default"),
    "WritePolicy": ("u64", "KVC_WRITE_", "When blocks are written to the first file tier.", "default"),
    "Damage": ("u64", "KVC_DAMAGE_", "What opening does about a damaged file.", "default"),
    "IoEngine": ("u64", "KVC_IO_", "How the NVMe tier's file is read and written.", "default"),
    "Order": ("u64", "KVC_ORDER_", "How tokens and heads lie in a plane of a page.", "unset"),
    "Planes": ("u64", "KVC_PLANES_", "How keys and values lie to each other.", "unset"),
    "Rope": ("u64", "KVC_ROPE_", "The rotary embedding that keys went through.", None),
    "Operation": ("u32", "KVC_OPERATION_", "What is timed for the histograms.", None),
    "EventKind": ("u32", "KVC_EVENT_", "What happened to a block.", "unknown"),
    "Opcode": ("u32", "KVC_OP_", "What an operation of a lane does.", "unset"),
    "Copy": ("u32", "KVC_COPY_", "What becomes of bytes that are copied.", "auto"),
}

# The name of 0 in each enum.
ENUM_ZEROS = {}

# Flags: integer type, prefix of the constants, what they are. A constant is one bit.
FLAGS = {
    "MatchFlags": ("u32", "KVC_MATCH_", "Flags of match."),
    "AcquireFlags": ("u32", "KVC_ACQUIRE_", "Flags of acquire."),
    "RetainFlags": ("u32", "KVC_RETAIN_", "Flags of retain."),
    "PutFlags": ("u64", "KVC_PUT_", "Flags of a put."),
    "Prefetch": ("u64", "KVC_PREFETCH_", "What is copied up ahead of use."),
}

# Constants that begin with a prefix above and are none of its values.
NOT_VALUES = re.compile(r"_COUNT(_MAX)?$|^KVC_TIER_STATE_")

# Types of fields that are not what the declaration says, by field or by struct and field.
FIELD_TYPES = {
    "policy": "Policy", "huge_pages": "HugePages", "prefault": "Prefault", "clock": "Clock",
    "nvme_admission": "Admission", "disk_admission": "Admission", "write_policy": "WritePolicy", "damage": "Damage",
    "io_engine": "IoEngine", "prefetch": "Prefetch", "memory_lock": "bool", "file_overwrite": "bool", "dedup": "bool",
    "tuning": "bool",
    "dtype": "Dtype", "order": "Order", "planes": "Planes", "rope": "Rope", "state": "TierState",
    "opcode": "Opcode", "status": "Status", "kind": "EventKind", "event.tier": "Tier", "put_info.flags": "PutFlags",
    "codec_config.codec_key": "CodecId", "codec_config.codec_value": "CodecId", "codec_config.key_mean": "Switch",
    "tier.codec_key": "CodecId", "tier.codec_value": "CodecId", "codec_info.codec": "CodecId",
    "codec_info.codec_before": "CodecId", "codec_description.fixed_rate": "Switch",
    "codec_description.exact": "Switch", "codec_description.tables_needed": "Switch", "component.metadata": "Switch",
    "codec_samples.codecs": "CodecSet", "codec_tables_info.codecs": "CodecSet", "error.status": "i64",
    "view.data": "[*]align(64) const u8", "reservation.data": "[*]align(64) u8",
    "op.keys": "?[*]const Key", "config.memory": "[]align(4096) u8", "config.codec_tables": "[]const u8",
    "paged.keys": "[]const *anyopaque", "paged.values": "[]const *anyopaque",
    "codec_samples.keys": "[]const *const anyopaque", "codec_samples.values": "[]const *const anyopaque",
    "codec_config.codec_tables": "?[*]align(64) const u8",
}  # fmt: skip

# Fields with another name in Zig.
FIELD_NAMES = {"view.bytes": "len", "reservation.bytes": "len"}

# Required fields that Zig does not insist on: looked at only in some uses.
NOT_REQUIRED = {"codec_config.geometry"}

# Structs that only the library fills in, or that a function makes: no field has a default.
NO_DEFAULTS = {"kvc_view_t", "kvc_reservation_t"}

METHODS = {
    "kvc_ticket_t": """
    /// The struct of C.
    pub fn raw(self: Ticket) c.kvc_ticket_t {
        return .{ .index = self.index, .generation = self.generation };
    }
""",
    "kvc_lane_t": """
    /// The struct of C.
    pub fn raw(self: LaneId) c.kvc_lane_t {
        return .{ .index = self.index, .generation = self.generation };
    }
""",
    "kvc_key_t": """
    /// Whether both are the same key.
    pub fn eql(self: Key, other: Key) bool {
        return std.mem.eql(u8, &self.bytes, &other.bytes);
    }
""",
    "kvc_view_t": """
    /// The block's bytes: readable and unchanged until the view is released. With `AcquireFlags.partial` only as many
    /// of them as `Engine.viewReady` says.
    pub fn bytes(self: *const View) []align(64) const u8 {
        return self.data[0..self.len];
    }
""",
    "kvc_reservation_t": """
    /// The room to fill in, until commit or abort. What is there before is undefined.
    pub fn bytes(self: *const Reservation) []align(64) u8 {
        return self.data[0..self.len];
    }
""",
    "kvc_item_t": """
    /// An item for `Engine.getMany`: the block of `key` goes to the beginning of `target`.
    pub fn forGet(key: Key, target: []u8) Item {
        return .{ .key = key, .data = target.ptr, .bytes = target.len };
    }

    /// An item for `Engine.putMany`: `source` is stored under `key`.
    pub fn forPut(key: Key, source: []const u8) Item {
        return .{ .key = key, .data = @constCast(source.ptr), .bytes = source.len };
    }

    /// After the batch: the bytes got or stored, or what kept this item from it.
    pub fn result(self: *const Item) Error!u64 {
        try self.status.check();
        return self.bytes_out;
    }
""",
    "kvc_done_t": """
    /// The operation's count or number of bytes, or what kept it from being done.
    pub fn outcome(self: *const Done) Error!u64 {
        try self.status.check();
        return self.result;
    }
""",
    "kvc_error_t": """
    /// Why the configuration was refused, as a sentence; empty where it was not.
    pub fn text(self: *const Diagnostics) []const u8 {
        return std.mem.sliceTo(&self.message, 0);
    }

    /// The field that was refused; empty where it was none.
    pub fn fieldName(self: *const Diagnostics) []const u8 {
        return std.mem.sliceTo(&self.field, 0);
    }
""",
    "kvc_component_t": """
    /// What it is, as text.
    pub fn text(self: *const Component) []const u8 {
        return std.mem.sliceTo(&self.name, 0);
    }

    /// The tier it belongs to.
    pub fn tierKind(self: *const Component) Tier {
        return @fromBackingInt(@intCast(self.tier));
    }
""",
    "kvc_plan_t": """
    /// The components that are filled in.
    pub fn lines(self: *const Plan) []const Component {
        return self.components[0..@min(self.components_count, self.components.len)];
    }
""",
    "kvc_tier_t": """
    /// How the file is read and written, as text.
    pub fn ioText(self: *const TierInfo) []const u8 {
        return std.mem.sliceTo(&self.io_name, 0);
    }
""",
    "kvc_codec_description_t": """
    /// The instructions that this machine has for it, as text.
    pub fn instructionsText(self: *const CodecDescription) []const u8 {
        return std.mem.sliceTo(&self.instructions_name, 0);
    }
""",
    "kvc_codec_layer_t": """
    /// Layers `first` to `last`, both included, with the codecs of their keys and values.
    pub fn init(first: u32, last: u32, key: CodecId, value: CodecId) CodecLayer {
        return .{
            .layer_first = first,
            .layer_last = last,
            .codec_key = @intCast(@backingInt(key)),
            .codec_value = @intCast(@backingInt(value)),
        };
    }
""",
    "kvc_op_t": """
    /// Counts the resident prefix of `keys`, as `Engine.match`.
    pub fn match(keys: []const Key, flags: MatchFlags, user_data: u64) Op {
        return over(.match, keys, @bitCast(flags), user_data);
    }

    /// Copies the block of each key, the i-th to `target[i * bytes_each ..]`. `target` must have room for all of them.
    pub fn get(keys: []const Key, target: []u8, bytes_each: u64, copy: Copy, user_data: u64) Error!Op {
        if (!fits(target.len, keys.len, bytes_each)) return error.TooSmall;
        var op = over(.get, keys, @backingInt(copy), user_data);
        op.data = target.ptr;
        op.bytes = bytes_each;
        return op;
    }

    /// Stores a chain of blocks, the i-th from `source[i * bytes_each ..]`. `info` is copied by submit.
    pub fn put(keys: []const Key, source: []const u8, bytes_each: u64, info: ?*const PutInfo, user_data: u64) Error!Op {
        if (!fits(source.len, keys.len, bytes_each)) return error.TooSmall;
        var op = over(.put, keys, 0, user_data);
        op.data = @constCast(source.ptr);
        op.bytes = bytes_each;
        op.info = info;
        return op;
    }

    /// Removes the blocks of `keys`.
    pub fn remove(keys: []const Key, user_data: u64) Op {
        return over(.remove, keys, 0, user_data);
    }

    /// Counts the blocks of `keys` as used now.
    pub fn touch(keys: []const Key, user_data: u64) Op {
        return over(.touch, keys, 0, user_data);
    }

    /// Lends the blocks of the resident prefix of `keys`; `views` has room for one view a key.
    pub fn acquire(keys: []const Key, views: []View, user_data: u64) Error!Op {
        if (views.len < keys.len) return error.TooSmall;
        var op = over(.acquire, keys, 0, user_data);
        op.data = @ptrCast(views.ptr);
        op.bytes = keys.len * @sizeOf(View);
        return op;
    }

    /// Begins copying the blocks of `keys` up into memory.
    pub fn prefetch(keys: []const Key, user_data: u64) Op {
        return over(.prefetch, keys, 0, user_data);
    }

    /// Makes durable what was committed or removed before it begins.
    pub fn flush(user_data: u64) Op {
        return over(.flush, &.{}, 0, user_data);
    }

    fn over(opcode: Opcode, keys: []const Key, flags: u32, user_data: u64) Op {
        return .{
            .opcode = opcode,
            .flags = flags,
            .user_data = user_data,
            .keys = if (keys.len == 0) null else keys.ptr,
            .keys_count = keys.len,
        };
    }

    fn fits(room: usize, count: usize, bytes_each: u64) bool {
        const needed = std.math.mul(u64, count, bytes_each) catch return false;
        return needed <= room;
    }
""",
    "kvc_codec_config_t": """
    /// Adds an exception for some layers; a later one goes before an earlier one. error.TooLarge when there are
    /// eight already.
    pub fn layerAdd(self: *CodecConfig, layer: CodecLayer) Error!void {
        if (self.layers_count >= self.layers.len) return error.TooLarge;
        self.layers[self.layers_count] = layer;
        self.layers_count += 1;
    }

    /// Takes the tables, which stay lent until the codec is closed.
    pub fn tablesSet(self: *CodecConfig, tables: []align(64) const u8) void {
        self.codec_tables = tables.ptr;
        self.codec_tables_bytes = tables.len;
    }
""",
}
