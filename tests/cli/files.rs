//! The program with tier files: what a second run finds, what a killed one leaves, what damage does.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::program::{Folder, Run, kvcache, kvcache_in, trace};

/// Requests of a trace that does not fit into memory: 400 blocks of 16 KiB, three times over.
const REQUESTS: u64 = 60;
const BLOCKS_PER_REQUEST: u64 = 20;
const BLOCKS: u64 = 400;
const SIZES: [&str; 8] = [
    "--block-bytes",
    "16KiB",
    "--cpu-bytes",
    "1MiB",
    "--nvme-bytes",
    "4MiB",
    "--disk-bytes",
    "16MiB",
];
/// Bytes of a tier file before the first record: the superblocks, and the first segment's header.
const FIRST_RECORD_OFFSET: u64 = (64 << 10) + 4096;

/// A folder with a trace in it.
fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    let requests: Vec<Vec<u64>> = (0..REQUESTS)
        .map(|request| {
            let first = request * BLOCKS_PER_REQUEST % BLOCKS;
            (first..first + BLOCKS_PER_REQUEST).collect()
        })
        .collect();
    let requests: Vec<&[u64]> = requests.iter().map(Vec::as_slice).collect();
    folder.write("trace.jsonl", trace(&requests).as_bytes());
    folder
}

fn replay(folder: &Folder, more: &[&str]) -> Run {
    let (trace, dir) = (folder.path("trace.jsonl"), folder.path("tiers"));
    let arguments = ["replay", "--trace", &trace, "--dir", &dir, "--json"];
    kvcache(&[&arguments[..], more].concat())
}

/// Of a field, the value; of everything that must be nothing, that it is.
fn right(run: &Run) -> serde_json::Value {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json = run.json();
    for field in ["wrong_bytes", "checksum_failures", "io_errors", "heap_calls_after_open"] {
        assert_eq!(json[field], 0, "{field}");
    }
    assert_eq!(json["offline"], serde_json::json!([]));
    assert_eq!(json["flush"], "KVC_OK");
    json
}

fn number(json: &serde_json::Value, pointer: &str) -> u64 {
    json.pointer(pointer)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_else(|| panic!("{pointer}: {json}"))
}

#[test]
fn blocks_come_from_every_tier_and_a_second_run_goes_on() {
    let folder = prepared("second-run");
    let first = right(&replay(&folder, &SIZES));
    assert_eq!(number(&first, "/recovered_blocks"), 0);
    assert_eq!(number(&first, "/misses"), BLOCKS, "all tiers together hold every block");
    let [nvme, disk] = ["nvme", "disk"].map(|tier| number(&first, &format!("/hits/{tier}")));
    assert!(nvme + disk > BLOCKS && disk > 0, "{first}");
    assert!(number(&first, "/tiers/nvme/bytes_written") >= BLOCKS * (16 << 10));
    assert!(first["tiers"]["disk"]["p99_us"].as_f64().unwrap() > 0.0);

    // The sizes come from the files.
    let second = right(&replay(&folder, &["--cpu-bytes", "1MiB"]));
    assert_eq!(number(&second, "/block_bytes"), 16 << 10);
    assert_eq!(number(&second, "/recovered_blocks"), BLOCKS);
    assert_eq!(number(&second, "/misses"), 0);
    assert_eq!(
        number(&second, "/hits/cpu") + number(&second, "/hits/nvme") + number(&second, "/hits/disk"),
        { REQUESTS * BLOCKS_PER_REQUEST }
    );
}

#[test]
fn workers_and_prefetching_and_every_policy_give_right_bytes() {
    let folder = prepared("choices");
    for more in [
        &["--workers", "2"][..],
        &["--prefetch"],
        &["--prefetch", "--workers", "1", "--write-policy", "through"],
        &["--io", "positional", "--policy", "s3fifo"],
        &["--admission", "second-hit"],
        &["--admission", "reuse", "--keys", "chain"],
    ] {
        let json = right(&replay(&folder, &[&SIZES[..], more].concat()));
        assert_eq!(number(&json, "/requests"), REQUESTS, "{more:?}");
    }
}

#[test]
fn a_killed_replay_is_gone_on_with() {
    let folder = prepared("killed");
    let killed = replay(&folder, &[&SIZES[..], &["--kill-at", "50"]].concat());
    assert_eq!((killed.code, killed.signal), (None, Some(9)), "{}", killed.stderr);
    assert_eq!(killed.json()["killed"], true);
    assert_eq!(number(&killed.json(), "/requests"), REQUESTS / 2);
    for file in ["tiers/nvme.kvc", "tiers/disk.kvc"] {
        // A crash leaves some blocks half written that were never flushed, and no other damage.
        let json = kvcache(&["check", &folder.path(file), "--json"]).json();
        assert_eq!(json["damaged"], json["damaged_unflushed"], "{json}");
    }
    let rest = right(&replay(&folder, &[&SIZES[..], &["--from", "30"]].concat()));
    assert_eq!(number(&rest, "/requests"), REQUESTS / 2);
    assert!(number(&rest, "/recovered_blocks") > BLOCKS / 2, "{rest}");
}

#[test]
fn a_temporary_folder_is_gone_afterwards() {
    let folder = prepared("temporary");
    let (trace, temporary) = (folder.path("trace.jsonl"), folder.root().join("temporary"));
    fs::create_dir(&temporary).unwrap();
    let arguments = ["replay", "--trace", &trace, "--json"];
    right(&kvcache_in(&temporary, &[&arguments[..], &SIZES].concat()));
    let refused = kvcache_in(&temporary, &[&arguments[..], &["--cpu-bytes", "1"]].concat());
    assert_eq!(refused.code, Some(2));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn check_finds_damage_and_the_replay_never_hands_it_out() {
    let folder = prepared("damage");
    right(&replay(&folder, &SIZES));
    let path = folder.path("tiers/disk.kvc");
    let clean = kvcache(&["check", &path, "--json"]);
    assert_eq!(
        (clean.code, number(&clean.json(), "/damaged")),
        (Some(0), 0),
        "{}",
        clean.stdout
    );
    assert!(number(&clean.json(), "/blocks") > 0);
    assert_eq!(clean.json()["tier"], "disk");

    // A bit in the payload of the first record of each segment.
    let (segment_bytes, segments) = (
        number(&clean.json(), "/segment_bytes"),
        number(&clean.json(), "/segments"),
    );
    let file = File::options().read(true).write(true).open(&path).unwrap();
    for segment in 0..segments {
        let offset = FIRST_RECORD_OFFSET + segment * segment_bytes + 8000;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    }
    let damaged = kvcache(&["check", &path, "--json"]);
    assert_eq!(damaged.code, Some(1), "{}", damaged.stdout);
    let count = number(&damaged.json(), "/damaged");
    assert!(count >= 1 && count <= segments, "{}", damaged.stdout);
    assert!(number(&damaged.json(), "/damages/0/offset") >= FIRST_RECORD_OFFSET);
    assert!(kvcache(&["check", &path]).stdout.contains("DAMAGED"));

    let again = replay(&folder, &SIZES);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(number(&again.json(), "/wrong_bytes"), 0);
}

#[test]
fn a_file_in_use_is_told_and_looked_at_only_when_forced() {
    let folder = prepared("in-use");
    right(&replay(&folder, &SIZES));
    let path = folder.path("tiers/nvme.kvc");
    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    for command in ["check", "inspect"] {
        let refused = kvcache(&[command, &path]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
        let forced = kvcache(&[command, &path, "--json", "--force"]);
        assert_eq!(forced.code, Some(0), "{}", forced.stderr);
        assert_eq!(forced.json()["in_use"], true);
    }
    // Nor does a second engine get it.
    let second = replay(&folder, &SIZES);
    assert_eq!(second.code, Some(2));
    assert!(second.stderr.contains("KVC_E_FILE_BUSY"), "{}", second.stderr);
}

#[test]
fn inspect_shows_segments_and_the_newest_records() {
    let folder = prepared("inspect");
    right(&replay(&folder, &SIZES));
    let path = folder.path("tiers/nvme.kvc");
    let run = kvcache(&["inspect", &path, "--json", "--limit", "3"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json = run.json();
    let newest = json["newest"].as_array().unwrap();
    assert_eq!(newest.len(), 3);
    for record in newest {
        assert_eq!(record["key"].as_str().unwrap().len(), 64);
        assert_eq!((&record["bytes"], &record["tokens"]), (&(16 << 10).into(), &512.into()));
    }
    let segments = json["contents"].as_array().unwrap();
    let records: u64 = segments
        .iter()
        .map(|segment| segment["records"].as_u64().unwrap())
        .sum();
    assert!(
        records >= 3 && segments.len() as u64 == number(&json, "/segments_used"),
        "{json}"
    );
    let text = kvcache(&["inspect", &path, "--limit", "1"]).stdout;
    assert!(
        text.contains(newest[0]["key"].as_str().unwrap()) && text.contains("sealed"),
        "{text}"
    );
}

#[test]
fn a_file_of_another_shape_is_refused_and_left_alone() {
    let folder = prepared("shape");
    right(&replay(&folder, &SIZES));
    let path = folder.path("tiers/nvme.kvc");
    let before = fs::read(&path).unwrap();
    let other = [&["--block-bytes", "8KiB"][..], &SIZES[2..]].concat();
    let refused = replay(&folder, &other);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("KVC_E_FILE_MISMATCH"), "{}", refused.stderr);
    assert!(fs::read(&path).unwrap() == before, "a refused file changes nothing");
    let told = [&other[..], &["--overwrite"]].concat();
    assert_eq!(number(&right(&replay(&folder, &told)), "/recovered_blocks"), 0);
}

#[test]
fn the_demonstration_runs_and_leaves_nothing() {
    let folder = Folder::new("demo");
    let run = kvcache_in(folder.root(), &["demo", "--requests", "40"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for text in [
        "killed by SIGKILL after 20 requests",
        "blocks recovered",
        "0 heap calls after open, 0 wrong bytes",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
}
