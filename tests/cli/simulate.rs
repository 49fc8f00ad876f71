//! `kvcache replay --metadata-only`: what it counts, what it prints and draws, what it refuses.

use std::fs;

use serde_json::{Value, json};

use super::program::{Folder, Run, kvcache, line, trace};

/// See `tests/cli.rs`: what it must come to where everything fits.
const SIX: [&[u64]; 6] = [&[1, 2, 3], &[1, 2, 4], &[1, 2, 3, 5], &[9], &[7, 3], &[1, 2, 3]];

fn simulate(path: &str, more: &[&str]) -> Run {
    kvcache(&[&["replay", "--trace", path, "--metadata-only"][..], more].concat())
}

fn simulate_json(path: &str, more: &[&str]) -> Value {
    let run = simulate(path, &[more, &["--json"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{more:?}");
    run.json()
}

#[test]
fn everything_that_fits_hits_as_with_payload_whatever_the_policy() {
    let folder = Folder::new("simulate-small");
    let plain = folder.write("trace.jsonl", trace(&SIX).as_bytes());
    let compressed = zstd::encode_all(trace(&SIX).as_bytes(), 3).unwrap();
    let compressed = folder.write("trace.jsonl.zst", &compressed);
    for path in [&plain, &compressed] {
        for policy in ["lru", "s3fifo", "min"] {
            let json = simulate_json(path, &["--policy", policy, "--capacity-percent", "100"]);
            for (field, value) in [
                ("policy", json!(policy)),
                ("capacity_blocks", json!(7)),
                ("capacity_percent", json!(100.0)),
                ("requests", json!(6)),
                ("accesses", json!(16)),
                ("block_hit_ratio", json!(9.0 / 16.0)),
                ("prefix_token_hit_ratio", json!(8.0 / 16.0)),
                ("tier2_hits", json!(0)),
                ("tier2_writes", json!(0)),
                ("prefetch_precision", json!(null)),
                ("prefetch_recall", json!(null)),
            ] {
                assert_eq!(json[field], value, "{policy} {field}");
            }
            let bytes = json["metadata_bytes_per_block"].as_f64();
            assert_eq!(bytes.is_none(), policy == "min");
            // Of so few blocks; the bound of a policy's own is its tests' business.
            assert!(bytes.is_none_or(|bytes| bytes > 0.0), "{json}");
            assert_eq!(json["ns_per_access_p50"].is_null(), policy == "min");
        }
    }
    let chained = simulate_json(&plain, &["--keys", "chain", "--capacity-percent", "100"]);
    assert_eq!(
        (&chained["block_hit_ratio"], &chained["capacity_blocks"]),
        (&json!(0.5), &json!(8))
    );
    let part = simulate_json(&plain, &["--from", "1", "--requests", "3", "--capacity-blocks", "9"]);
    assert_eq!((&part["requests"], &part["accesses"]), (&json!(2), &json!(7)));
    assert_eq!(
        (&part["block_hit_ratio"], &part["capacity_percent"]),
        (&json!(2.0 / 7.0), &json!(null))
    );
}

#[test]
fn a_short_last_block_counts_for_the_tokens_it_has() {
    let folder = Folder::new("simulate-tokens");
    let request = r#"{"timestamp":0,"input_length":600,"output_length":1,"hash_ids":[1,2]}"#;
    let other = r#"{"timestamp":0,"input_length":512,"output_length":1,"hash_ids":[1]}"#;
    let path = folder.write("trace.jsonl", format!("{request}\n{other}\n{request}\n").as_bytes());
    let wide = ["--capacity-blocks", "8", "--block-tokens", "512"];
    assert_eq!(simulate_json(&path, &wide)["prefix_token_hit_ratio"], 1112.0 / 1712.0);
    let narrow = ["--capacity-blocks", "8", "--block-tokens", "100"];
    assert_eq!(simulate_json(&path, &narrow)["prefix_token_hit_ratio"], 300.0 / 500.0);
}

#[test]
fn all_of_a_request_is_looked_up_before_anything_goes() {
    let folder = Folder::new("simulate-order");
    // At two blocks, 1 is there when the second request comes, though 3 and 4 push it out.
    let path = folder.write("trace.jsonl", trace(&[&[1, 2], &[3, 4, 1], &[5, 5]]).as_bytes());
    let json = simulate_json(&path, &["--capacity-blocks", "2"]);
    assert_eq!(json["block_hit_ratio"], 1.0 / 7.0);
    assert_eq!(json["prefix_token_hit_ratio"], 0.0);
}

#[test]
fn a_second_tier_takes_what_the_first_gives_up() {
    let folder = Folder::new("simulate-tiers");
    let requests: [&[u64]; 7] = [&[1], &[2], &[3], &[1], &[1], &[2], &[3]];
    let path = folder.write("trace.jsonl", trace(&requests).as_bytes());
    let sizes = ["--policy", "lru", "--capacity-blocks", "2", "--tier2-blocks", "4"];
    let lazy = simulate_json(&path, &sizes);
    assert_eq!((&lazy["tier2_hits"], &lazy["tier2_writes"]), (&json!(3), &json!(3)));
    assert_eq!(
        (&lazy["block_hit_ratio"], &lazy["tier2_capacity_blocks"]),
        (&json!(4.0 / 7.0), &json!(4))
    );
    assert_eq!(lazy["admission"], "all");
    // 1 was remembered when it came back, and is written when it goes again.
    let second = simulate_json(&path, &[&sizes[..], &["--admission", "second-hit"]].concat());
    assert_eq!((&second["tier2_hits"], &second["tier2_writes"]), (&json!(0), &json!(1)));
    assert_eq!(
        (&second["block_hit_ratio"], &second["admission"]),
        (&json!(1.0 / 7.0), &json!("second-hit"))
    );
    // Of so few blocks nothing is concluded: all are written.
    let reuse = simulate_json(&path, &[&sizes[..], &["--admission", "reuse"]].concat());
    assert_eq!((&reuse["tier2_hits"], &reuse["tier2_writes"]), (&json!(3), &json!(3)));
    assert_eq!(
        (&reuse["block_hit_ratio"], &reuse["admission"]),
        (&json!(4.0 / 7.0), &json!("reuse"))
    );
    let table = simulate(&path, &["--capacity-blocks", "2", "--tier2-percent", "100"]);
    assert!(
        table.stdout.contains("written") && table.stdout.contains("3 different ones"),
        "{}",
        table.stdout
    );
}

/// A conversation of ten blocks every two minutes, displaced by 60 of others each time.
#[test]
fn what_the_next_turn_needs_is_raised_beside_the_policy() {
    let folder = Folder::new("simulate-ahead");
    let mut text = String::new();
    for round in 0..200_u64 {
        let mut request = |time_ms: u64, session: u64, ids: Vec<u64>| {
            let tokens = ids.len() * 64;
            text += &format!(
                "{{\"timestamp\":{time_ms},\"input_length\":{tokens},\"output_length\":1,\"hash_ids\":{ids:?},\
                 \"session\":{session}}}\n"
            );
        };
        request(round * 120_000, 1, (0..10).collect());
        let first = 1000 + round * 60;
        request(round * 120_000 + 5_000, 100 + round, (first..first + 60).collect());
    }
    let path = folder.write("trace.jsonl", text.as_bytes());
    let sizes = ["--policy", "lru", "--capacity-blocks", "40"];
    let with = simulate_json(&path, &sizes);
    let without = simulate_json(&path, &[&sizes[..], &["--prefetch-blocks", "0"]].concat());
    assert_eq!(with["prefetch_capacity_blocks"], 400);
    assert!(with["prefetch_recall"].as_f64().unwrap() > 0.9, "{with}");
    assert!(with["prefetch_precision"].as_f64().unwrap() > 0.5, "{with}");
    assert!(with["prefetch_lead_ms_mean"].as_f64().unwrap() > 1000.0, "{with}");
    // All ten were stored by the first of 200 requests, and are never in the first tier when they are asked for.
    let asked = ["prefetch_used", "prefetch_missed"].map(|field| with[field].as_u64().unwrap());
    assert_eq!(asked.iter().sum::<u64>(), 1990);
    for field in ["prefix_token_hit_ratio", "block_hit_ratio"] {
        assert_eq!(with[field], without[field]);
    }
    for field in ["prefetch_precision", "prefetch_recall", "prefetch_waste"] {
        assert!(without[field].is_null(), "{field}");
    }
    let sure = simulate_json(&path, &[&sizes[..], &["--prefetch-confidence", "1000"]].concat());
    assert!(sure["prefetch_raised"].as_u64() <= with["prefetch_raised"].as_u64());
}

#[test]
fn a_sweep_is_all_policies_at_all_capacities() {
    let folder = Folder::new("simulate-sweep");
    let path = folder.write("trace.jsonl", trace(&SIX).as_bytes());
    let named = [
        "--sweep",
        "--policy",
        "s3fifo,min,lru,s3fifo",
        "--capacity-blocks",
        "2,7",
    ];
    let json = simulate_json(&path, &named);
    let rows: Vec<(&str, u64)> = json["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["policy"].as_str().unwrap(),
                row["capacity_blocks"].as_u64().unwrap(),
            )
        })
        .collect();
    let right = [
        ("s3fifo", 2),
        ("min", 2),
        ("lru", 2),
        ("s3fifo", 7),
        ("min", 7),
        ("lru", 7),
    ];
    assert_eq!(rows, right);
    assert_eq!(
        (&json["trace"], &json["block_tokens"]),
        (&json!("trace.jsonl"), &json!(512))
    );
    // 3 has two parents here: it stays for the fifth request, and a hit there is none of a prefix.
    assert_eq!(json["rows"][1]["block_hit_ratio"], 7.0 / 16.0);
    assert_eq!(json["rows"][1]["prefix_token_hit_ratio"], 5.0 / 16.0);

    let all = simulate_json(&path, &["--sweep", "--capacity-percent", "50"]);
    assert_eq!(all["blocks_unique"], 7);
    let policies: Vec<&str> = all["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["policy"].as_str())
        .collect();
    assert!(
        ["lru", "s3fifo", "min"].iter().all(|name| policies.contains(name)),
        "{policies:?}"
    );
    let table = simulate(&path, &["--sweep"]);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    assert_eq!(
        table.stdout.matches(" min ").count(),
        7 + 1,
        "one a capacity, and the column: {}",
        table.stdout
    );
}

#[test]
fn a_sweep_is_drawn_as_lines_or_as_pixels() {
    let folder = Folder::new("simulate-plot");
    let path = folder.write("trace.jsonl", trace(&SIX).as_bytes());
    let draw = |name: &str| {
        let file = folder.path(name);
        let run = simulate(
            &path,
            &[
                "--sweep",
                "--policy",
                "lru,s3fifo",
                "--capacity-blocks",
                "1,2,4,7",
                "--plot",
                &file,
            ],
        );
        (run, file)
    };
    let (run, file) = draw("plot.svg");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let svg = fs::read_to_string(file).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let at = |text: &str| {
        svg.find(&format!("\n{text}\n"))
            .unwrap_or_else(|| panic!("{text}: {svg}"))
    };
    assert!(at("min") < at("lru") && at("lru") < at("s3fifo"), "the best is on top");
    at("prefix-token hit ratio");
    at("capacity, blocks");
    at("trace.jsonl");
    // Each policy has its line through four points, and its points.
    assert_eq!(svg.matches("<circle").count(), 3 * 4);

    let (run, file) = draw("plot.png");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let png = fs::read(file).unwrap();
    assert!(
        png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 5000,
        "{}",
        png.len()
    );
    assert_eq!(png[16..24], [0, 0, 3, 192, 0, 0, 2, 88], "960 by 600");
    let (run, file) = draw("plot.pdf");
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(
        run.stderr.contains("must end in .svg or .png") && !fs::exists(file).unwrap(),
        "{}",
        run.stderr
    );
    let (run, _) = draw("no/plot.png");
    assert!(
        run.code == Some(1) && run.stderr.contains("No such file"),
        "{}",
        run.stderr
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let folder = Folder::new("simulate-refused");
    let path = folder.write("trace.jsonl", trace(&SIX).as_bytes());
    let alone = ["--capacity-blocks", "4"];
    for (arguments, code, reason) in [
        (vec![], 1, "--capacity-blocks or --capacity-percent"),
        (vec!["--capacity-blocks", "0"], 2, "0 is not in 1.."),
        (vec!["--capacity-blocks", "5000000000"], 2, "not in 1.."),
        (vec!["--capacity-blocks", "1,x"], 2, "invalid digit"),
        (vec!["--capacity-percent", "0"], 2, "more than 0 and at most 100"),
        (vec!["--capacity-percent", "100.1"], 2, "more than 0 and at most 100"),
        (vec!["--capacity-percent", "-1"], 2, "-1"),
        (vec!["--capacity-percent", "NaN"], 2, "more than 0 and at most 100"),
        (
            vec!["--capacity-percent", "1", "--capacity-blocks", "1"],
            2,
            "cannot be used with",
        ),
        (vec!["--capacity-blocks", "1,2"], 1, "several capacities are a --sweep"),
        (
            vec!["--policy", "lru,min", "--capacity-blocks", "1"],
            1,
            "several policies are a --sweep",
        ),
        (
            vec!["--policy", "best", "--capacity-blocks", "1"],
            2,
            "possible values: lru, s3fifo",
        ),
        (
            vec!["--tier2-percent", "101", "--capacity-blocks", "1"],
            2,
            "at most 100",
        ),
        (
            vec!["--tier2-blocks", "0", "--capacity-blocks", "1"],
            2,
            "0 is not in 1..",
        ),
        (
            vec!["--tier2-blocks", "1", "--tier2-percent", "1"],
            2,
            "cannot be used with",
        ),
        (
            vec!["--policy", "min", "--tier2-blocks", "4", "--capacity-blocks", "1"],
            1,
            "min knows one tier only",
        ),
        (
            vec!["--admission", "all", "--capacity-blocks", "1"],
            1,
            "--tier2-blocks",
        ),
        (vec!["--plot", "x.svg", "--capacity-blocks", "1"], 2, "--sweep"),
        (
            vec!["--block-tokens", "0", "--capacity-blocks", "1"],
            2,
            "--block-tokens",
        ),
        ([&alone[..], &["--dir", "x"]].concat(), 2, "cannot be used with"),
        (
            [&alone[..], &["--cpu-bytes", "1MiB"]].concat(),
            2,
            "cannot be used with",
        ),
        (
            [&alone[..], &["--nvme-bytes", "1MiB"]].concat(),
            2,
            "cannot be used with",
        ),
        (
            [&alone[..], &["--write-policy", "back"]].concat(),
            2,
            "cannot be used with",
        ),
        ([&alone[..], &["--prefetch"]].concat(), 2, "cannot be used with"),
        (
            [&alone[..], &["--from", "6"]].concat(),
            1,
            "there is no block in this trace",
        ),
    ] {
        let run = simulate(&path, &arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(code), ""),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(run.stderr.contains(reason), "{arguments:?}: {}", run.stderr);
    }
    // And what is for this mode alone.
    for (arguments, code, reason) in [
        (vec!["--capacity-blocks", "4"], 2, "--metadata-only"),
        (vec!["--capacity-percent", "4"], 2, "--metadata-only"),
        (vec!["--sweep"], 2, "--metadata-only"),
        (vec!["--tier2-percent", "4"], 2, "--metadata-only"),
        (vec!["--policy", "min"], 1, "--metadata-only"),
        (vec!["--policy", "lru,s3fifo"], 1, "--metadata-only --sweep"),
    ] {
        let run = kvcache(&[&["replay", "--trace", &path][..], &arguments].concat());
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
fn what_is_wrong_with_a_trace_is_told_with_its_line_here_too() {
    let folder = Folder::new("simulate-broken");
    let good = line(&[1, 2]);
    let cut = &good[..good.len() - 4];
    let long: Vec<u64> = (0..2000).collect();
    let compressed = zstd::encode_all(trace(&[&long[..]; 50]).as_bytes(), 3).unwrap();
    for (bytes, place, reason) in [
        (
            format!("{good}\n{cut}").into_bytes(),
            "trace:2:",
            "the file is cut off in this line",
        ),
        (
            format!("{good}\n\n{{}}\n").into_bytes(),
            "trace:3:",
            "missing field `timestamp`",
        ),
        (
            format!("{good}\n{}", good.replace("[1", "[-1")).into_bytes(),
            "trace:2:",
            "-1",
        ),
        (
            format!("{good}\n{good} x\n").into_bytes(),
            "trace:2:",
            "trailing characters",
        ),
        (Vec::new(), "trace: ", "there is no block in this trace"),
        (line(&[]).into_bytes(), "trace: ", "there is no block in this trace"),
        (
            compressed[..compressed.len() / 2].to_vec(),
            "trace:",
            "the compressed file is cut off here",
        ),
        (
            compressed[..compressed.len() - 1].to_vec(),
            "trace:",
            "the compressed file is cut off here",
        ),
    ] {
        let path = folder.write("trace", &bytes);
        for more in [&["--capacity-blocks", "4"][..], &["--sweep", "--policy", "lru,min"]] {
            let run = simulate(&path, more);
            assert_eq!(
                (run.code, run.stdout.as_str()),
                (Some(1), ""),
                "{reason}: {}",
                run.stderr
            );
            assert!(
                run.stderr.contains(place) && run.stderr.contains(reason),
                "{reason}: {}",
                run.stderr
            );
            assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        }
    }
    let missing = simulate(&folder.path("nothing"), &["--capacity-blocks", "4"]);
    assert!(
        missing.code == Some(1) && missing.stderr.contains("No such file"),
        "{}",
        missing.stderr
    );
}
