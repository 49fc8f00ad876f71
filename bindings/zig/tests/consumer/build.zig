const std = @import("std");

/// A program as a user of the package has it: what the README shows.
pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});
    const kvcache = b.dependency("kvcache", .{
        .target = target,
        .optimize = optimize,
        .libdir = b.option([]const u8, "libdir", "Folder with libkvcache.so"),
    });
    const program = b.addExecutable(.{
        .name = "consumer",
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/main.zig"),
            .target = target,
            .optimize = optimize,
            .imports = &.{.{ .name = "kvcache", .module = kvcache.module("kvcache") }},
        }),
    });
    const run = b.addRunArtifact(program);
    run.has_side_effects = true;
    b.step("run", "Run the program").dependOn(&run.step);
}
