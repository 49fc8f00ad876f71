//! The binary interface: the same names in the list, the header and the library, the same layouts in C and in Rust, and
//! a header that both languages take without a word.
#![cfg(all(feature = "capi", target_os = "linux"))]

#[path = "c/harness.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::mem::{offset_of, size_of};
use std::process::Command;

use harness::{Profile, WARNINGS, compiler, library, present, program, root, scratch, soname, succeed};
use kvcache::capi::*;

fn header() -> String {
    fs::read_to_string(root().join("include/kvcache.h")).unwrap()
}

/// The header without its comments.
fn code() -> String {
    let mut code = String::new();
    let header = header();
    let mut rest = header.as_str();
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").expect("a comment that ends").1;
    }
    code + rest
}

/// The checked-in list: names, and the version in which each appeared.
fn listed() -> BTreeMap<String, String> {
    let list = fs::read_to_string(root().join("bindings/c/symbols.txt")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pairs = lines.map(|line| line.split_once(' ').expect("a name and a version"));
    pairs.map(|(name, since)| (name.to_owned(), since.to_owned())).collect()
}

/// The names of all functions that the header declares.
fn declared() -> BTreeSet<String> {
    let code = code();
    let lines: Vec<&str> = code.lines().filter(|line| !line.starts_with('#')).collect();
    let code = lines.join("\n");
    let names = code
        .split(';')
        .filter_map(|text| text.split_once('(')?.0.split(['*', ' ', '\n']).next_back());
    // Names that end in a low line are the header's own affair.
    let functions = names.filter(|name| name.starts_with("kvc_") && !name.ends_with('_'));
    functions.map(str::to_owned).collect()
}

/// The names that a shared library offers.
fn exported() -> BTreeSet<String> {
    let file = library(Profile::Release).join("libkvcache.so");
    let listing = succeed(
        Command::new("nm")
            .args(["--dynamic", "--defined-only", "--format=posix"])
            .arg(file),
    );
    listing
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_list_the_header_and_the_library_name_the_same_functions() {
    let listed = listed();
    let names: BTreeSet<String> = listed.keys().cloned().collect();
    assert!(names.len() >= 66);
    assert_eq!(names, declared(), "bindings/c/symbols.txt and include/kvcache.h");
    assert_eq!(names, exported(), "bindings/c/symbols.txt and libkvcache.so");
    let version = format!(
        "{}.{}",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR")
    );
    let later: Vec<_> = listed.iter().filter(|(_, since)| **since > version).collect();
    assert!(later.is_empty(), "not before {version}: {later:?}");
}

#[test]
fn the_static_library_has_every_function() {
    let file = library(Profile::Release).join("libkvcache.a");
    let listing = succeed(
        Command::new("nm")
            .args(["--defined-only", "--extern-only", "--format=posix"])
            .arg(file),
    );
    let names = listing.lines().filter(|line| line.starts_with("kvc_"));
    let names: BTreeSet<String> = names.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, listed().into_keys().collect());
}

#[test]
fn the_shared_library_has_its_soname_and_needs_nothing_but_the_c_library() {
    let file = library(Profile::Release).join("libkvcache.so");
    let dynamic = succeed(Command::new("readelf").arg("-d").arg(file));
    let named = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(tag));
        lines
            .map(|line| line.split_once('[').unwrap().1.trim_end_matches(']').to_owned())
            .collect()
    };
    assert_eq!(named("(SONAME)"), [soname()]);
    for needed in named("(NEEDED)") {
        let known = [
            "libc.so",
            "libgcc_s.so",
            "ld-linux",
            "libm.so",
            "libpthread.so",
            "libdl.so",
        ];
        assert!(known.iter().any(|known| needed.starts_with(known)), "{needed}");
    }
    assert!(!dynamic.contains("TEXTREL"));
}

/// The size of what a function shows of a struct.
fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Every struct with its size, and every field with its place and its size, as Rust has them.
macro_rules! layouts {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {{
        let mut layouts = BTreeMap::new();
        $(
            layouts.insert(stringify!($name).to_owned(), (0, size_of::<$name>()));
            $(
                let size = size_of_field(|value: &$name| &value.$field);
                let name = concat!(stringify!($name), ".", stringify!($field)).to_owned();
                layouts.insert(name, (offset_of!($name, $field), size));
            )+
        )+
        layouts
    }};
}

fn layouts_in_rust() -> BTreeMap<String, (usize, usize)> {
    layouts! {
        kvc_key_t { bytes }
        kvc_block_t { index, generation }
        kvc_pin_t { index, generation }
        kvc_lane_t { index, generation }
        kvc_ticket_t { index, generation }
        kvc_geometry_t { struct_size, layers_count, planes_count, kv_heads_count, head_dim, tokens_per_block, dtype }
        kvc_config_t {
            struct_size, block_bytes, cpu_bytes, policy, pins_count, stripes_count, lanes_count,
            lane_depth, events_count, workers_count, huge_pages, memory_lock, prefault, pin_expiry_ms,
            reservation_expiry_ms, hash_seed, latency_sample_count, clock, memory, memory_bytes,
            geometries, geometries_count,
            nvme_path, nvme_bytes, nvme_segment_bytes, nvme_blocks_count, nvme_depth, nvme_admission,
            nvme_endurance_bytes_per_day, nvme_promotion_hits, nvme_stall_ms, disk_path, disk_bytes,
            disk_segment_bytes, disk_blocks_count, disk_depth, disk_admission, disk_endurance_bytes_per_day,
            disk_promotion_hits, disk_stall_ms, write_policy, damage, io_engine, file_overwrite,
            slots_free_low_permille, slots_free_high_permille, write_wait_ms, nvme_codec, disk_codec, codec_tables,
            codec_tables_bytes, importance_count, dedup,
            codec_tables_bytes, prefetch, prefetch_conversations_count, prefetch_successors_count,
            prefetch_confidence_permille, prefetch_bytes, prefetch_bytes_per_second, admission_loss_permille, tuning,
        }
        kvc_component_t { name, tier, metadata, offset, count, bytes_each, bytes }
        kvc_plan_t {
            struct_size, bytes, metadata_bytes, metadata_bytes_per_block, blocks_count, slots_count,
            slot_bytes, memory_alignment_bytes, tier_bytes, components_count, components, file_bytes,
        }
        kvc_error_t { struct_size, status, value, value_min, value_max, os_error, field, message }
        kvc_item_t { key, data, bytes, bytes_out, status, flags }
        kvc_view_t { data, bytes, block, pin }
        kvc_reservation_t { data, bytes, block, reserved }
        kvc_put_info_t {
            struct_size, parent, chain_index, tokens_count, recompute_cost_us, conversation_id,
            namespace_id, priority, flags, expiry_ms, geometry_id, importance,
        }
        kvc_op_t { opcode, flags, user_data, keys, keys_count, data, bytes, info, block }
        kvc_done_t { user_data, ticket, status, opcode, result }
        kvc_stats_t {
            struct_size, match_hits, match_misses, get_hits, get_misses, get_bytes, acquires,
            acquire_misses, releases, reserves, commits, commit_bytes, aborts, puts_existing,
            puts_pending, refusals, evictions, evictions_swept, eviction_rollbacks, frees, removes,
            touches, pins_expired, reservations_expired, events_lost, ticks, operations_submitted,
            operations_completed, operations_cancelled, blocks_resident, blocks_reserved, slots_count,
            slots_free, bytes_capacity, pins_in_use, pins_age_ns_max, lanes_open, event_sequence_next,
            raises, raise_failures, nvme_hits, nvme_writes, nvme_write_bytes, nvme_file_bytes, nvme_read_bytes,
            nvme_reinserts, nvme_evictions, disk_hits, disk_writes, disk_write_bytes, disk_file_bytes,
            disk_read_bytes, disk_reinserts, disk_evictions, checksum_failures, io_errors, io_retries,
            writes_skipped, writes_refused, prefetches, flushes, blocks_recovered, blocks_damaged, removes_below,
            codec_fallbacks, quality_refusals, transcodes, dedup_hits, dedup_bytes_saved, dedup_collisions,
            codec_fallbacks, quality_refusals, transcodes, prefetch_wishes, prefetches_used, prefetches_late,
            prefetches_wasted, prefetch_lead_ms, tuning_tried, tuning_kept, tuning_taken_back,
            tuning_confidence_permille, tuning_admission_loss_permille,
        }
        kvc_capacity_t {
            struct_size, blocks_count, block_bytes, cpu_bytes, pins_count, lanes_count, lane_depth, bytes,
        }
        kvc_histogram_t {
            struct_size, count, latency_ns_sum, latency_ns_max, latency_ns_p50, latency_ns_p90,
            latency_ns_p99, latency_ns_p999,
        }
        kvc_event_t { sequence, time_ns, key, block, kind, tier }
        kvc_pin_info_t { struct_size, key, block, pin, age_ns }
        kvc_tier_t {
            struct_size, state, io_name, file_bytes, segments_count, segments_free, blocks_count_max,
            blocks_count, bytes_written, hits, read_bytes, writes, write_bytes, reinserts, evictions,
            codec_key, codec_value, blocks_coded, plain_bytes, coded_bytes, quality_samples_count, error_ppm_mean,
            error_ppm_max, codec_fallbacks_count,
        }
        kvc_paged_t {
            struct_size, pages_count, tokens_per_page, order, planes, page_stride_bytes,
            plane_stride_bytes, token_stride_bytes, head_stride_bytes, keys, keys_count, values,
            values_count,
        }
        kvc_codec_layer_t { layer_first, layer_last, codec_key, codec_value }
        kvc_codec_config_t {
            struct_size, geometry, codec_key, codec_value, exact_tokens, exact_layers_first, exact_layers_last,
            trellis_states, key_mean, xc_millibits, error_max_permille, layers_count, layers, codec_tables,
            codec_tables_bytes,
        }
        kvc_codec_description_t {
            struct_size, block_bytes, code_bytes_max, scratch_bytes, millibits, fixed_rate, exact, tables_needed,
            error_nominal_permille, instructions_name,
        }
        kvc_codec_info_t {
            struct_size, codec, codec_before, planes_count, exact_tokens, position, tables_digest,
        }
        kvc_codec_samples_t {
            struct_size, dtype, layers_count, kv_heads_count, head_dim, tokens_count, sequence_tokens_count, keys,
            values, codecs, rope, rope_theta, rope_dim,
        }
        kvc_codec_tables_info_t {
            struct_size, bytes, layers_count, planes_count, kv_heads_count, head_dim, tokens_count, codecs, rope,
            rope_theta, rope_dim, digest,
        }
    }
}

/// Every struct of the header with the names of its fields.
fn structs() -> Vec<(String, Vec<String>)> {
    let code = code();
    let mut structs = Vec::new();
    for definition in code.split("typedef struct ").skip(1) {
        let Some((name, body)) = definition.split_once(" {") else {
            continue;
        };
        if name.contains(';') {
            continue;
        }
        let fields = body
            .split_once('}')
            .unwrap()
            .0
            .split(';')
            .map(str::trim)
            .filter(|field| !field.is_empty());
        let names = fields.map(|field| {
            let name = field.split(['*', ' ']).next_back().unwrap();
            name.split('[').next().unwrap().to_owned()
        });
        structs.push((name.to_owned(), names.collect()));
    }
    structs
}

#[test]
fn structs_lie_in_c_as_they_lie_in_rust() {
    // A program that prints what the header's own compiler makes of them.
    let mut text = String::from("#include <stddef.h>\n#include <stdio.h>\n#include \"kvcache.h\"\nint main(void) {\n");
    for (name, fields) in structs() {
        writeln!(text, "    printf(\"{name} 0 %zu\\n\", sizeof({name}));").unwrap();
        for field in fields {
            let size = format!("sizeof((({name} *)0)->{field})");
            writeln!(
                text,
                "    printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), {size});"
            )
            .unwrap();
        }
    }
    text.push_str("    return 0;\n}\n");
    let source = scratch("layouts.c");
    fs::write(&source, text).unwrap();
    let printed = succeed(&mut Command::new(program("layouts", &[source], Profile::Release, &[])));
    let in_c: BTreeMap<String, (usize, usize)> = printed
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap().to_owned();
            let mut number = || words.next().unwrap().parse().unwrap();
            (name, (number(), number()))
        })
        .collect();
    let in_rust = layouts_in_rust();
    assert!(in_rust.len() > 200);
    for (name, layout) in &in_rust {
        assert_eq!(in_c.get(name), Some(layout), "{name}: place and size in C and in Rust");
    }
    let only_in_c: Vec<_> = in_c.keys().filter(|name| !in_rust.contains_key(*name)).collect();
    assert!(only_in_c.is_empty(), "{only_in_c:?}");
}

/// Fields of growable structs have 64 bits, hot structs have no padding: both follow from the layouts.
#[test]
fn structs_have_no_padding_and_growable_ones_only_fields_of_64_bits() {
    let layouts = layouts_in_rust();
    for (name, fields) in structs() {
        let places = fields.iter().map(|field| (field, layouts[&format!("{name}.{field}")]));
        let mut end = 0;
        for (field, (offset, size)) in places {
            assert_eq!(offset, end, "a gap before {name}.{field}");
            end = offset + size;
            assert!(fields[0] != "struct_size" || size % 8 == 0, "{name}.{field}");
        }
        assert_eq!(end, layouts[&name].1, "a gap at the end of {name}");
    }
}

/// A program in C and in C++ that uses every initializer.
fn initializers(plus_plus: bool) -> String {
    let header = header();
    let mut text = String::from("#include <string.h>\n#include \"kvcache.h\"\n#include \"kvcache.h\"\n");
    text.push_str("static const char zeros[4096] = {0};\nint main(void) {\n");
    let mut count = 0;
    for line in header.lines() {
        let Some((name, rest)) = line
            .strip_prefix("#define ")
            .and_then(|rest| rest.split_once(" KVC_SIZED_("))
        else {
            continue;
        };
        let of = rest.trim_end_matches(')');
        writeln!(text, "    {{\n        {of} value = {name};").unwrap();
        writeln!(text, "        if (value.struct_size != sizeof({of})) return 1;").unwrap();
        let cast = if plus_plus {
            "reinterpret_cast<const char *>(&value)"
        } else {
            "(const char *)&value"
        };
        writeln!(
            text,
            "        if (memcmp({cast} + 8, zeros, sizeof value - 8) != 0) return 2;\n    }}"
        )
        .unwrap();
        count += 1;
    }
    assert!(count >= 16);
    text + "    return 0;\n}\n"
}

#[test]
fn the_header_is_c11_and_cpp17_without_a_warning_and_its_initializers_work() {
    let header = root().join("include/kvcache.h");
    let further = ["-Wconversion", "-Wshadow", "-Wstrict-aliasing"];
    for (plus_plus, language, standards) in [
        (false, "c", &["c11", "c17"][..]),
        (true, "c++", &["c++11", "c++17", "c++20"][..]),
    ] {
        for standard in standards {
            let source = scratch(if plus_plus {
                "initializers.cpp"
            } else {
                "initializers.c"
            });
            fs::write(&source, initializers(plus_plus)).unwrap();
            let target = scratch(&format!("initializers-{standard}"));
            let flags = |command: &mut Command| {
                command.arg(format!("-std={standard}")).args(WARNINGS).args(further);
                command.arg("-I").arg(root().join("include"));
            };
            let mut command = compiler(plus_plus);
            flags(&mut command);
            succeed(command.arg(&source).arg("-o").arg(&target));
            succeed(&mut Command::new(target));
            if present("clang", "the header was not compiled by clang") {
                let mut command = Command::new("clang");
                flags(&mut command);
                succeed(command.args(["-fsyntax-only", "-x", language]).arg(&header));
            }
        }
    }
}

#[test]
fn pkg_config_gives_what_a_program_needs() {
    let template = fs::read_to_string(root().join("bindings/c/kvcache.pc.in")).unwrap();
    let file = template
        .replace("@PREFIX@", "/opt/kvcache")
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    assert!(!file.contains('@'), "{file}");
    let folder = scratch("pkgconfig");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("kvcache.pc"), file).unwrap();
    if !present("pkg-config", "kvcache.pc was not read") {
        return;
    }
    let ask = |flag: &str| {
        succeed(
            Command::new("pkg-config")
                .env("PKG_CONFIG_PATH", &folder)
                .args([flag, "kvcache"]),
        )
    };
    assert_eq!(ask("--modversion").trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(ask("--cflags").trim(), "-I/opt/kvcache/include");
    assert_eq!(ask("--libs").trim(), "-L/opt/kvcache/lib -lkvcache");
}
