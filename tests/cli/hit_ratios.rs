//! What every policy comes to on excerpts of traces, compared with what is written down.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::program::{Folder, kvcache, trace};

const CAPACITY_PERCENT: &str = "1,5,25";
const ITEMS: u64 = 1500;
const EPOCHS: u64 = 8;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn snapshot() -> PathBuf {
    root().join("tests/traces/hit-ratios.txt")
}

/// Epochs over all items, each in an order of its own (Fisher and Yates), one item a request.
fn shuffled() -> String {
    let mut state = 3_u64;
    let mut random = |below: u64| {
        // Knuth's MMIX; its upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut items: Vec<u64> = (0..ITEMS).collect();
    let mut requests = Vec::new();
    for _ in 0..EPOCHS {
        for last in (1..items.len()).rev() {
            items.swap(last, random(last as u64 + 1) as usize);
        }
        requests.extend(items.iter().map(|&item| [item]));
    }
    let requests: Vec<&[u64]> = requests.iter().map(|request| &request[..]).collect();
    trace(&requests)
}

/// The rows of a sweep, each as a line.
fn rows(trace: &str, path: &str, more: &[&str], line: impl Fn(&[Value], &Value) -> String) -> String {
    let sweep = ["replay", "--trace", path, "--metadata-only", "--sweep", "--json"];
    let run = kvcache(&[&sweep[..], more].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json = run.json();
    let rows = json["rows"].as_array().unwrap();
    let lines = rows.iter().map(|row| {
        let policy = row["policy"].as_str().unwrap();
        let capacity = format!("{} {}", row["capacity_percent"], row["capacity_blocks"]);
        format!("{trace} {capacity} {policy} {}\n", line(rows, row))
    });
    lines.collect()
}

fn ratio(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap()
}

fn one_tier(rows: &[Value], row: &Value) -> String {
    let best = |other: &&Value| other["policy"] == "min" && other["capacity_blocks"] == row["capacity_blocks"];
    let best = rows.iter().find(best).unwrap();
    let ratios = ["prefix_token_hit_ratio", "block_hit_ratio"].map(|field| {
        assert!(ratio(row, field) <= ratio(best, field), "more than possible: {row}");
        format!("{:.6}", ratio(row, field))
    });
    ratios.join(" ")
}

fn two_tiers(_: &[Value], row: &Value) -> String {
    format!(
        "{} {:.6} {} {}",
        row["admission"].as_str().unwrap(),
        ratio(row, "prefix_token_hit_ratio"),
        row["tier2_hits"],
        row["tier2_writes"]
    )
}

fn measured() -> String {
    let folder = Folder::new("hit-ratios");
    let path = |path: &str| root().join(path).to_str().unwrap().to_owned();
    let traces = [
        (
            "conversation",
            path("examples/traces/mooncake-conversation-1500.jsonl.zst"),
        ),
        ("agentic", path("tests/traces/agentic-300.jsonl.zst")),
        ("training", folder.write("training.jsonl", shuffled().as_bytes())),
    ];
    let mut text =
        String::from("trace capacity_percent capacity_blocks policy prefix_token_hit_ratio block_hit_ratio\n");
    for (name, path) in &traces {
        text += &rows(name, path, &["--capacity-percent", CAPACITY_PERCENT], one_tier);
    }
    text +=
        "\ntrace capacity_percent capacity_blocks policy admission prefix_token_hit_ratio tier2_hits tier2_writes\n";
    for (name, path) in &traces[..2] {
        for admission in ["all", "second-hit"] {
            let tiers = [
                "--policy",
                "lru",
                "--capacity-percent",
                "5",
                "--tier2-percent",
                "50",
                "--admission",
                admission,
            ];
            text += &rows(name, path, &tiers, two_tiers);
        }
    }
    text
}

#[test]
fn hit_ratios_are_what_they_were() {
    let found = measured();
    if std::env::var_os("KVC_SNAPSHOT_WRITE").is_some() {
        fs::write(snapshot(), &found).unwrap();
    }
    let right = fs::read_to_string(snapshot()).unwrap();
    let changed: Vec<String> = right
        .lines()
        .filter(|line| !found.lines().any(|other| other == *line))
        .map(|line| format!("- {line}"))
        .chain(
            found
                .lines()
                .filter(|line| !right.lines().any(|other| other == *line))
                .map(|line| format!("+ {line}")),
        )
        .collect();
    assert!(
        found == right,
        "{}\nif that is meant: KVC_SNAPSHOT_WRITE=1 cargo test --features cli --test cli hit_ratios",
        changed.join("\n")
    );
}
