//! The program `kvcache` from outside: replay with and without payload, check, inspect, demo and codecs, their figures,
//! their errors and exit codes.
#![cfg(feature = "cli")]

mod cli {
    pub mod calibration;
    pub mod codec;
    pub mod files;
    pub mod hit_ratios;
    pub mod program;
    pub mod samples;
    pub mod simulate;
    pub mod tune;
}

use std::fs;

use cli::program::{Folder, Run, kvcache, line, trace};

/// What a trace of six requests must come to, all of it in memory.
///
/// | request | blocks | loaded |
/// | --- | --- | --- |
/// | 1 | 1 2 3 | – |
/// | 2 | 1 2 4 | 1 2 |
/// | 3 | 1 2 3 5 | 1 2 3 |
/// | 4 | 9 | – |
/// | 5 | 7 3 | – (3 is there, 7 is not) |
/// | 6 | 1 2 3 | 1 2 3 |
const SIX: [&[u64]; 6] = [&[1, 2, 3], &[1, 2, 4], &[1, 2, 3, 5], &[9], &[7, 3], &[1, 2, 3]];

fn replay_in_memory(folder: &Folder, name: &str, bytes: &[u8], more: &[&str]) -> Run {
    let path = folder.write(name, bytes);
    let mut arguments = vec!["replay", "--trace", &path, "--json", "--block-bytes", "4KiB"];
    arguments.extend(["--cpu-bytes", "1MiB", "--nvme-bytes", "0", "--disk-bytes", "0"]);
    arguments.extend(more);
    kvcache(&arguments)
}

#[test]
fn a_small_trace_gives_the_figures_that_it_must_plain_and_compressed() {
    let folder = Folder::new("small");
    let plain = trace(&SIX);
    let compressed = zstd::encode_all(plain.as_bytes(), 3).unwrap();
    for (name, bytes) in [("trace.jsonl", plain.as_bytes()), ("trace.jsonl.zst", &compressed)] {
        let run = replay_in_memory(&folder, name, bytes, &[]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{name}");
        let json = run.json();
        for (field, value) in [
            ("requests", 6),
            ("blocks_accessed", 16),
            ("misses", 8),
            ("wrong_bytes", 0),
            ("checksum_failures", 0),
            ("heap_calls_after_open", 0),
            ("recovered_blocks", 0),
            ("io_errors", 0),
        ] {
            assert_eq!(json[field], value, "{field}");
        }
        assert_eq!(json["hits"], serde_json::json!({ "cpu": 8, "nvme": 0, "disk": 0 }));
        assert_eq!(json["block_hit_ratio"], 9.0 / 16.0);
        assert_eq!(json["prefix_token_hit_ratio"], 8.0 / 16.0);
        assert_eq!(json["offline"], serde_json::json!([]));
        for tier in ["cpu", "nvme", "disk"] {
            for field in ["read_gbps", "write_gbps", "p50_us", "p99_us"] {
                let figure = json["tiers"][tier][field].as_f64().unwrap();
                assert_eq!(figure > 0.0, tier == "cpu", "{tier} {field} {figure}");
            }
        }
        assert_eq!(json["tiers"]["cpu"]["bytes_written"], 7 * 4096);
        assert_eq!(json["tiers"]["nvme"]["io"], "none");
    }
}

#[test]
fn chained_keys_tell_the_same_number_behind_another_one_apart() {
    let folder = Folder::new("chain");
    let run = replay_in_memory(&folder, "trace.jsonl", trace(&SIX).as_bytes(), &["--keys", "chain"]);
    assert_eq!(run.json()["block_hit_ratio"], 8.0 / 16.0);
    assert_eq!(run.json()["misses"], 8);
}

#[test]
fn a_part_of_a_trace_is_a_trace() {
    let folder = Folder::new("part");
    let parts = ["--from", "1", "--requests", "3"];
    let json = replay_in_memory(&folder, "trace.jsonl", trace(&SIX).as_bytes(), &parts).json();
    assert_eq!(json["requests"], 2);
    assert_eq!((&json["hits"]["cpu"], &json["misses"]), (&2.into(), &5.into()));
    let table = kvcache(&["replay", "--trace", &folder.path("trace.jsonl"), "--requests", "x"]);
    assert_eq!(table.code, Some(2));
}

#[test]
fn the_table_shows_the_tiers_and_what_must_be_zero() {
    let folder = Folder::new("table");
    let path = folder.write("trace.jsonl", trace(&SIX).as_bytes());
    let sizes = ["--cpu-bytes", "1MiB", "--nvme-bytes", "0", "--disk-bytes", "0"];
    let run = kvcache(&[&["replay", "--trace", &path][..], &sizes].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let zero = |name: &str| {
        run.stdout
            .lines()
            .any(|line| line.starts_with(name) && line.ends_with(" 0"))
    };
    assert!(zero("wrong bytes") && zero("heap calls after open") && zero("checksum failures"));
    assert!(
        run.stdout.contains("cpu") && !run.stdout.contains("nvme"),
        "{}",
        run.stdout
    );
}

#[test]
fn what_is_wrong_with_a_trace_is_told_with_its_line() {
    let folder = Folder::new("broken");
    let good = line(&[1, 2]);
    let cut = &good[..good.len() - 4];
    for (text, place, reason) in [
        (format!("{good}\n{cut}"), "trace:2:", "the file is cut off in this line"),
        (format!("{good}\n{cut}\n{good}\n"), "trace:2:", "the line is cut off"),
        (format!("{good}\n\n{{}}\n"), "trace:3:", "missing field `timestamp`"),
        (
            good.replace("hash_ids", "hashes"),
            "trace:1:",
            "missing field `hash_ids`",
        ),
        (format!("{good}\n{}", good.replace("[1", "[-1")), "trace:2:", "-1"),
        (good.replace("[1", "[\"a\""), "trace:1:", "invalid type"),
        (format!("{good}\n{good} x\n"), "trace:2:", "trailing characters"),
        (String::from("hello\n"), "trace:1:1", "expected value"),
        (String::from("\u{0}\u{1}"), "trace:1:1", "expected value"),
        (String::new(), "trace: ", "there is no block in this trace"),
        (line(&[]), "trace: ", "there is no block in this trace"),
    ] {
        let run = replay_in_memory(&folder, "trace", text.as_bytes(), &[]);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(1), ""),
            "{text:?}: {}",
            run.stderr
        );
        assert!(
            run.stderr.contains(place) && run.stderr.contains(reason),
            "{text:?}: {}",
            run.stderr
        );
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn a_compressed_trace_that_is_cut_off_is_told() {
    let folder = Folder::new("cut");
    let lines: Vec<Vec<u64>> = (0..2000).map(|first| (first..first + 20).collect()).collect();
    let lines: Vec<&[u64]> = lines.iter().map(Vec::as_slice).collect();
    let compressed = zstd::encode_all(trace(&lines).as_bytes(), 3).unwrap();
    for bytes in [compressed.len() / 2, compressed.len() - 1, 5] {
        let run = replay_in_memory(&folder, "trace.zst", &compressed[..bytes], &[]);
        assert_eq!(run.code, Some(1));
        assert!(
            run.stderr.contains("the compressed file is cut off here"),
            "{}",
            run.stderr
        );
    }
    let mut flipped = compressed.clone();
    flipped[compressed.len() / 2] ^= 1;
    let run = replay_in_memory(&folder, "trace.zst", &flipped, &[]);
    assert_eq!((run.code, run.stderr.lines().count()), (Some(1), 1), "{}", run.stderr);
}

#[test]
fn what_can_not_be_replayed_is_refused() {
    let folder = Folder::new("refused");
    let path = folder.write("trace.jsonl", trace(&SIX).as_bytes());
    let missing = folder.path("nothing");
    for (arguments, code, reason) in [
        (vec!["--trace", &missing], 1, "No such file"),
        (vec!["--trace", &path, "--from", "6"], 1, "there are only 6 requests"),
        (vec!["--trace", &path, "--cpu-bytes", "1"], 2, "cpu_bytes is 1"),
        (vec!["--trace", &path, "--kill-at", "50"], 2, "--dir"),
        (vec!["--trace", &path, "--kill-at", "100", "--dir", "x"], 2, "100"),
        (vec!["--trace", &path, "--nvme-bytes", "much"], 2, "much"),
        (vec![], 2, "--trace"),
    ] {
        let run = kvcache(&[&["replay"][..], &arguments].concat());
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(code), ""),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(run.stderr.contains(reason), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn what_is_no_tier_file_is_told_from_damage() {
    let folder = Folder::new("garbage");
    let noise: Vec<u8> = (0_u32..1 << 20)
        .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8)
        .collect();
    let files = [
        folder.path("nothing"),
        folder.write("empty", b""),
        folder.write("short", b"KVCTIER1"),
        folder.write("zeros", &vec![0; 1 << 20]),
        folder.write("noise", &noise),
        folder.path("."),
    ];
    for file in &files {
        for command in ["check", "inspect"] {
            for more in [&[][..], &["--json"], &["--force"]] {
                let run = kvcache(&[&[command, file.as_str()][..], more].concat());
                assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{command} {file}");
                assert!(run.stderr.contains(file), "{}", run.stderr);
            }
        }
    }
    // Looking changes nothing, and makes nothing.
    assert_eq!(fs::read(&files[4]).unwrap(), noise);
    assert!(!fs::exists(&files[0]).unwrap());
}
