//! `kvcache tune`, and configurations in files: what is found, what is not claimed, what is refused.

use std::fs;

use serde_json::{Value, json};

use super::program::{Folder, Run, kvcache, trace};

const CHAT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/traces/mooncake-conversation-1500.jsonl.zst"
);

fn tune(path: &str, more: &[&str]) -> Run {
    kvcache(&[&["tune", "--trace", path][..], more].concat())
}

fn tune_json(path: &str, more: &[&str]) -> Value {
    let run = tune(path, &[more, &["--json"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{more:?}");
    run.json()
}

fn step<'j>(json: &'j Value, name: &str) -> &'j Value {
    let steps = json["steps"].as_array().unwrap();
    steps
        .iter()
        .find(|step| step["step"] == name)
        .unwrap_or_else(|| panic!("{name}: {json}"))
}

/// What is written can be read by plan and by replay, and says the same as the arguments that are shown.
#[test]
fn what_is_found_is_a_configuration_that_plan_and_replay_read() {
    let folder = Folder::new("tune");
    let out = folder.write("tuned.json", b"something older");
    let bounds = [
        "--capacity-blocks-max",
        "1000",
        "--tier2-blocks-max",
        "16000",
        "--out",
        &out,
    ];
    let json = tune_json(CHAT, &bounds);
    assert_eq!((&json["requests"], &json["unseen_slices"]), (&json!(1500), &json!(12)));
    let searched = json["searched_accesses"].as_f64().unwrap() / json["accesses"].as_f64().unwrap();
    assert!((searched - 0.6).abs() < 0.01, "{searched}");
    let second = step(&json, "second tier");
    assert_eq!((&second["from"], &second["taken"]), (&json!("none"), &json!(true)));
    assert!(
        second["unseen"]["gain"].as_f64() > second["unseen"]["gain_noise"].as_f64(),
        "{second}"
    );
    assert!(second["unseen"]["tier2_writes_after"].as_u64() > Some(0));
    for step in json["steps"].as_array().unwrap() {
        assert!(
            !step["reason"].as_str().unwrap().is_empty() && step["tried"].as_array().unwrap().len() > 1,
            "{step}"
        );
    }

    let written: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(written, json["configuration"]);
    let left: Vec<_> = fs::read_dir(folder.root()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let by_file = kvcache(&["plan", "--config", &out, "--json"]);
    assert_eq!(by_file.code, Some(0), "{}", by_file.stderr);
    let command = json["plan_command"].as_str().unwrap();
    let arguments: Vec<&str> = command.split(' ').skip(1).chain(["--json"]).collect();
    assert_eq!(by_file.json(), kvcache(&arguments).json(), "{command}");
    assert_eq!(by_file.json()["bytes"], json["memory_bytes"]);
    let other = kvcache(&["plan", "--config", &out, "--cpu-bytes", "1GiB", "--json"]);
    assert_eq!(other.json()["slots_bytes"], 1_u64 << 30);

    let replay = ["replay", "--metadata-only", "--trace", CHAT, "--config", &out, "--json"];
    let row = kvcache(&replay).json();
    assert_eq!(row["policy"], written["policy"]);
    assert_eq!(row["capacity_blocks"], written["cpu_bytes"].as_u64().unwrap() / 65_536);
    assert!(row["tier2_capacity_blocks"].as_u64() > Some(1000), "{row}");
    assert_eq!(row["admission"], written["nvme_admission"]);
    let flags = [
        "--policy",
        "lru",
        "--capacity-blocks",
        "500",
        "--tier2-blocks",
        "700",
        "--admission",
        "second-hit",
    ];
    let row = kvcache(&[&replay[..], &flags].concat()).json();
    let expected = json!(["lru", 500, 700, "second-hit"]);
    let fields = ["policy", "capacity_blocks", "tier2_capacity_blocks", "admission"].map(|field| row[field].clone());
    assert_eq!(json!(fields), expected);
}

/// The same trace twice: nothing of what is found is chance of the run.
#[test]
fn the_tables_show_what_was_tried_and_the_configuration() {
    let bounds = [
        "--capacity-blocks-max",
        "200",
        "--tier2-blocks-max",
        "0",
        "--requests",
        "600",
    ];
    let (first, second) = (tune(CHAT, &bounds), tune(CHAT, &bounds));
    assert_eq!(
        (first.code, &first.stdout),
        (Some(0), &second.stdout),
        "{}",
        first.stderr
    );
    for text in [
        "600 requests",
        "points for the doubling",
        "what each change gains on the unseen part",
        "all together",
        "kvcache plan --block-bytes 65536 --cpu-bytes ",
        "\"policy\": ",
    ] {
        assert!(first.stdout.contains(text), "{text}: {}", first.stdout);
    }
    assert!(
        !first.stdout.contains("second tier") && !first.stdout.contains("nvme"),
        "{}",
        first.stdout
    );
}

/// A second tier that gains much while it is searched for and nothing afterwards is not taken.
#[test]
fn what_does_not_hold_on_the_unseen_part_is_not_taken() {
    let folder = Folder::new("tune-unseen");
    let round = |n: u64| vec![4 * (n % 20), 4 * (n % 20) + 1, 4 * (n % 20) + 2];
    let new = |n: u64| vec![1000 + 3 * n, 1001 + 3 * n, 1002 + 3 * n];
    let requests: Vec<Vec<u64>> = (0..300).map(round).chain((0..200).map(new)).collect();
    let requests: Vec<&[u64]> = requests.iter().map(Vec::as_slice).collect();
    let bounds = ["--capacity-blocks-max", "1", "--tier2-blocks-max", "200"];

    let path = folder.write("turns.jsonl", trace(&requests).as_bytes());
    let json = tune_json(&path, &bounds);
    let second = step(&json, "second tier");
    assert!(second["tried"][0]["searched_ratio"].as_f64() < Some(0.1), "{second}");
    let ratios = second["tried"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tried| tried["searched_ratio"].as_f64().unwrap());
    assert!(ratios.fold(0.0, f64::max) > 0.8, "{second}");
    assert_eq!(
        (&second["taken"], &json["changes_taken"]),
        (&json!(false), &json!(0)),
        "{json}"
    );
    assert_ne!(second["from"], second["to"]);
    assert_eq!(
        json["configuration"],
        json!({"block_bytes": 65536, "cpu_bytes": 65536, "policy": "hazard"})
    );
    let text = tune(&path, &bounds).stdout;
    assert!(
        text.contains("no more than chance explains") && text.contains("the default is kept"),
        "{text}"
    );

    // Where it goes on as it was, it is taken.
    let requests: Vec<Vec<u64>> = (0..500).map(round).collect();
    let requests: Vec<&[u64]> = requests.iter().map(Vec::as_slice).collect();
    let path = folder.write("rounds.jsonl", trace(&requests).as_bytes());
    let json = tune_json(&path, &bounds);
    assert_eq!(step(&json, "second tier")["taken"], true, "{json}");
    assert!(json["together"]["ratio_after"].as_f64() > Some(0.9), "{json}");
}

#[test]
fn what_can_not_be_tuned_is_told_before_anything_is_written() {
    let folder = Folder::new("tune-bad");
    let blocks: Vec<[u64; 2]> = (0..100).map(|n| [n % 7, 9]).collect();
    let short: Vec<&[u64]> = blocks.iter().map(<[u64; 2]>::as_slice).collect();
    let short = folder.write("short.jsonl", trace(&short).as_bytes());
    let empty = folder.write("empty.jsonl", b"");
    let out = folder.path("tuned.json");
    let nowhere = folder.path("nowhere/tuned.json");
    let missing = folder.path("missing.jsonl");
    let cases: [(&[&str], i32, &str); 9] = [
        (&["tune"], 2, "--trace <FILE>"),
        (&["tune", "--trace", &missing], 1, "missing.jsonl: "),
        (&["tune", "--trace", &empty], 1, "there is no block in this trace"),
        (
            &["tune", "--trace", &short],
            1,
            "too short to hold a part of it out: of 100 requests 40 are left",
        ),
        (
            &["tune", "--trace", CHAT, "--out", &nowhere],
            1,
            "name a file in a folder where you may write",
        ),
        (&["tune", "--trace", CHAT, "--memory-bytes-max", "1KiB"], 2, "cpu_bytes"),
        (&["tune", "--trace", CHAT, "--nvme-bytes-max", "4KiB"], 2, "nvme_"),
        (&["tune", "--trace", CHAT, "--gain-min", "0"], 2, "more than 0"),
        (
            &[
                "tune",
                "--trace",
                CHAT,
                "--memory-bytes-max",
                "1GiB",
                "--capacity-blocks-max",
                "1",
            ],
            2,
            "cannot be used",
        ),
    ];
    for (arguments, code, reason) in cases {
        let with_out = [arguments, &["--out", &out]].concat();
        let run = kvcache(if arguments.contains(&"--out") {
            arguments
        } else {
            &with_out
        });
        assert_eq!(run.code, Some(code), "{arguments:?}: {}{}", run.stdout, run.stderr);
        assert!(
            run.stderr.contains(reason) && run.stdout.is_empty(),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(!fs::exists(&out).unwrap() && !fs::exists(&nowhere).unwrap());
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_field() {
    let folder = Folder::new("config-bad");
    for (text, reason) in [
        (
            r#"{"polcy": "lru"}"#,
            "polcy: there is no such field; the nearest is policy",
        ),
        (
            r#"{"policy": "lro"}"#,
            "policy: \"lro\" is not permitted; it takes one of \"lru\"",
        ),
        (r#"{"cpu_bytes": -1}"#, "cpu_bytes: -1 is not permitted"),
        (r#"{"nvme_path": "x"}"#, "nvme_path: not in a file"),
        (
            r#"{"block_bytes": 4096, "cpu_bytes": "1MiB", "lane_depth": 3}"#,
            "lane_depth",
        ),
        (r#"{"cpu_bytes": "1MiB"}"#, "block_bytes"),
        ("[1]", "a configuration is one JSON object"),
    ] {
        let path = folder.write("config.json", text.as_bytes());
        let run = kvcache(&["plan", "--config", &path]);
        assert_eq!(run.code, Some(2), "{text}: {}", run.stdout);
        assert!(
            run.stderr.contains(reason) && run.stdout.is_empty(),
            "{text}: {}",
            run.stderr
        );
    }
    let run = kvcache(&["plan", "--config", &folder.path("none.json")]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("none.json: "), "{}", run.stderr);
    assert_eq!(kvcache(&["plan", "--cpu-bytes", "1MiB"]).code, Some(2));
}

#[test]
fn a_replay_with_bytes_takes_its_tiers_from_a_configuration() {
    let folder = Folder::new("config-replay");
    let requests: Vec<Vec<u64>> = (0..60).map(|n| (0..10).map(|k| 10 * (n % 12) + k).collect()).collect();
    let requests: Vec<&[u64]> = requests.iter().map(Vec::as_slice).collect();
    let path = folder.write("trace.jsonl", trace(&requests).as_bytes());
    let config = folder.write(
        "config.json",
        br#"{"block_bytes": "4KiB", "cpu_bytes": "160KiB", "policy": "lru", "nvme_bytes": "16MiB"}"#,
    );
    let run = |more: &[&str]| {
        let arguments = [
            "replay",
            "--trace",
            &path,
            "--config",
            &config,
            "--json",
            "--io",
            "positional",
        ];
        let run = kvcache(&[&arguments[..], more].concat());
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
        run.json()
    };
    let json = run(&[]);
    assert_eq!(
        (&json["wrong_bytes"], &json["tiers"]["disk"]["io"]),
        (&json!(0), &json!("none"))
    );
    assert_eq!(
        (&json["tiers"]["nvme"]["io"], &json["misses"]),
        (&json!("pread"), &json!(120)),
        "{json}"
    );
    assert!(json["hits"]["nvme"].as_u64() > Some(100), "{json}");
    let memory_alone = run(&["--cpu-bytes", "1MiB", "--nvme-bytes", "0"]);
    assert_eq!(memory_alone["hits"], json!({ "cpu": 480, "nvme": 0, "disk": 0 }));
    let still = folder.write("still.json", br#"{"clock": "ticks"}"#);
    let run = kvcache(&["replay", "--trace", &path, "--config", &still]);
    assert!(run.code == Some(1) && run.stderr.contains("clock: "), "{}", run.stderr);
}
