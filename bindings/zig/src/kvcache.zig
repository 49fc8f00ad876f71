//! libkvcache for Zig: a cache engine for immutable blocks of bytes under 32-byte keys.
//!
//! This package wraps the C interface and adds nothing to it: no allocation, no locks, no state. The manual is
//! include/kvcache.h; what is said there about threads, memory and waiting holds here as well, and each function names
//! the one that it calls.
//!
//! Every status but KVC_OK is an error of the same name (error.Miss, error.Again, error.Stale; `Answer` has those that
//! a correct program meets, `Failure` the others). Engines, lanes and codecs are handles that are closed explicitly;
//! one that is closed already, or made up, is error.Handle or error.Stale and does no harm.

const std = @import("std");
const codecs = @import("codec.zig");
const engines = @import("engine.zig");
const lanes = @import("lane.zig");
const statuses = @import("status.zig");
const types = @import("types.zig");

/// The C interface as it is.
pub const c = @import("c.zig");
/// Deriving keys.
pub const keys = @import("keys.zig");
/// Between an inference engine's pages and a block.
pub const layout = @import("layout.zig");
/// Tables that some codecs need.
pub const tables = codecs.tables;

pub const Engine = engines.Engine;
pub const Lane = lanes.Lane;
pub const Codec = codecs.Codec;
pub const codecName = codecs.codecName;

pub const Answer = statuses.Answer;
pub const Failure = statuses.Failure;
pub const Error = statuses.Error;
pub const Status = statuses.Status;

pub const AcquireFlags = types.AcquireFlags;
pub const Admission = types.Admission;
pub const Block = types.Block;
pub const Capacity = types.Capacity;
pub const Clock = types.Clock;
pub const CodecConfig = types.CodecConfig;
pub const CodecDescription = types.CodecDescription;
pub const CodecId = types.CodecId;
pub const CodecInfo = types.CodecInfo;
pub const CodecLayer = types.CodecLayer;
pub const CodecSamples = types.CodecSamples;
pub const CodecSet = types.CodecSet;
pub const CodecTablesInfo = types.CodecTablesInfo;
pub const Component = types.Component;
pub const Config = types.Config;
pub const Copy = types.Copy;
pub const Damage = types.Damage;
pub const Diagnostics = types.Diagnostics;
pub const Done = types.Done;
pub const Dtype = types.Dtype;
pub const Event = types.Event;
pub const EventKind = types.EventKind;
pub const Geometry = types.Geometry;
pub const Histogram = types.Histogram;
pub const HugePages = types.HugePages;
pub const IoEngine = types.IoEngine;
pub const Item = types.Item;
pub const Key = types.Key;
pub const LaneId = types.LaneId;
pub const MatchFlags = types.MatchFlags;
pub const Op = types.Op;
pub const Opcode = types.Opcode;
pub const Operation = types.Operation;
pub const Order = types.Order;
pub const Paged = types.Paged;
pub const Pin = types.Pin;
pub const PinInfo = types.PinInfo;
pub const Plan = types.Plan;
pub const Planes = types.Planes;
pub const Policy = types.Policy;
pub const Prefault = types.Prefault;
pub const Prefetch = types.Prefetch;
pub const PutFlags = types.PutFlags;
pub const PutInfo = types.PutInfo;
pub const Reservation = types.Reservation;
pub const RetainFlags = types.RetainFlags;
pub const Rope = types.Rope;
pub const Stats = types.Stats;
pub const Switch = types.Switch;
pub const Ticket = types.Ticket;
pub const Tier = types.Tier;
pub const TierInfo = types.TierInfo;
pub const TierState = types.TierState;
pub const Tiers = types.Tiers;
pub const View = types.View;
pub const WritePolicy = types.WritePolicy;

/// "None of it" in those fields of the configuration where zero means a default.
pub const none: u64 = c.KVC_NONE;

/// Waits as long as it takes, where a function takes a time.
pub const forever: u64 = std.math.maxInt(u64);

/// The library's version as text, "0.1.0" for one. (kvc_version)
pub fn version() [:0]const u8 {
    return std.mem.span(c.kvc_version());
}

/// The version of the binary interface that the library was built with; this package is made for
/// `c.KVC_ABI_VERSION`. (kvc_abi_version)
pub fn abiVersion() u32 {
    return c.kvc_abi_version();
}

test {
    std.testing.refAllDecls(@This());
}
