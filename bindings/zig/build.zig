const std = @import("std");

/// What a user of the package gets is the module "kvcache"; everything else is for working on the package itself.
pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});
    const libdir = b.option([]const u8, "libdir", "Folder with libkvcache.so, where it is not the system's");

    const kvcache = b.addModule("kvcache", .{
        .root_source_file = b.path("src/kvcache.zig"),
        .target = target,
        .optimize = optimize,
        .link_libc = true,
    });
    if (libdir) |folder| {
        kvcache.addLibraryPath(.{ .cwd_relative = folder });
        kvcache.addRPath(.{ .cwd_relative = folder });
    }
    kvcache.linkSystemLibrary("kvcache", .{ .use_pkg_config = if (libdir == null) .yes else .no });

    // A program that depends on the package has no use for what follows, and only a part of its files.
    if (b.pkg_hash.len != 0) return;

    const check_step = b.step("check", "Compile everything and run nothing");
    const test_step = b.step("test", "Run all tests but the long ones");
    for ([_][]const u8{ "unit", "tiers", "misuse", "vectors", "layout" }) |name| {
        const module = b.createModule(.{
            .root_source_file = b.path(b.fmt("tests/{s}.zig", .{name})),
            .target = target,
            .optimize = optimize,
            .imports = &.{.{ .name = "kvcache", .module = kvcache }},
        });
        if (std.mem.eql(u8, name, "layout")) {
            module.addIncludePath(b.path("../../include"));
            module.addCSourceFile(.{
                .file = b.path("tests/layout.c"),
                .flags = &.{ "-std=c11", "-Wall", "-Wextra", "-Werror" },
            });
        }
        if (std.mem.eql(u8, name, "vectors")) {
            module.addAnonymousImport("keys.txt", .{ .root_source_file = b.path("../../tests/vectors/keys.txt") });
        }
        const compiled = b.addTest(.{ .name = name, .root_module = module });
        check_step.dependOn(&compiled.step);
        const run = b.addRunArtifact(compiled);
        run.has_side_effects = true;
        test_step.dependOn(&run.step);
    }

    const leak = b.addExecutable(.{
        .name = "leak",
        .root_module = b.createModule(.{
            .root_source_file = b.path("tests/leak.zig"),
            .target = target,
            .optimize = optimize,
            .imports = &.{.{ .name = "kvcache", .module = kvcache }},
        }),
    });
    check_step.dependOn(&leak.step);
    const leak_run = b.addRunArtifact(leak);
    leak_run.has_side_effects = true;
    b.step("leak", "Run the leak test, half a minute").dependOn(&leak_run.step);

    const samples_step = b.step("samples", "Build and run the samples, one after the other");
    var before: ?*std.Build.Step = null;
    for ([_][]const u8{ "quickstart", "tiers", "prefix_share", "offload" }) |name| {
        const compiled = b.addExecutable(.{
            .name = name,
            .root_module = b.createModule(.{
                .root_source_file = b.path(b.fmt("samples/{s}.zig", .{name})),
                .target = target,
                .optimize = optimize,
                .imports = &.{.{ .name = "kvcache", .module = kvcache }},
            }),
        });
        check_step.dependOn(&compiled.step);
        b.installArtifact(compiled);
        const run = b.addRunArtifact(compiled);
        run.has_side_effects = true;
        if (before) |step| run.step.dependOn(step);
        before = &run.step;
    }
    samples_step.dependOn(before.?);

    const bench = b.addExecutable(.{
        .name = "bench",
        .root_module = b.createModule(.{
            .root_source_file = b.path("bench/hit.zig"),
            .target = target,
            .optimize = optimize,
            .imports = &.{.{ .name = "kvcache", .module = kvcache }},
        }),
    });
    bench.root_module.addIncludePath(b.path("../../include"));
    bench.root_module.addCSourceFile(.{ .file = b.path("bench/hit.c"), .flags = &.{ "-std=c11", "-O3", "-Wall" } });
    check_step.dependOn(&bench.step);
    const bench_run = b.addRunArtifact(bench);
    bench_run.has_side_effects = true;
    b.step("bench", "Time a hit through acquire and release, beside C; -Doptimize=fast").dependOn(&bench_run.step);

    var paths: [6]std.Build.LazyPath = undefined;
    for (&paths, [_][]const u8{ "build.zig", "build.zig.zon", "src", "tests", "samples", "bench" }) |*path, name| {
        path.* = b.path(name);
    }
    const fmt = b.addFmt(.{ .paths = &paths, .check = true });
    b.step("fmt", "Check the formatting").dependOn(&fmt.step);
}
