//! `kvcache codec list` and `roundtrip`, `kvcache bench codec`: what they print, what they write, what they refuse.

use std::fs;

use super::program::{Folder, Run, kvcache};
use super::samples::{bf16_bytes, f16_bytes, numbers, of_f16, relative_error};

const NAMES: [&str; 10] = ["raw", "lz", "f8", "i8", "n4", "t4", "t3", "t2", "vq", "xc"];
const PLANE: [&str; 5] = ["k", "0", "24", "2", "64"];
const ELEMENTS: usize = 24 * 2 * 64;

/// `roundtrip NAME PLANE... IN OUT MORE...`
pub fn roundtrip(name: &str, plane: &[&str], input: &str, output: &str, more: &[&str]) -> Run {
    kvcache(&[&["codec", "roundtrip", name], plane, &[input, output], more].concat())
}

/// The last word that was printed: the bytes of the code.
pub fn code_bytes(run: &Run) -> usize {
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    run.stdout.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// That it ended with this code, printed nothing, and complained about this.
pub fn refused(run: &Run, code: i32, reason: &str) {
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(code), ""),
        "{reason}: {}",
        run.stderr
    );
    assert!(run.stderr.contains(reason), "{reason}: {}", run.stderr);
}

#[test]
fn every_codec_is_listed_with_its_bits() {
    let json = kvcache(&["codec", "list", "--json"]).json();
    let entries = json.as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry["codec"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    for (number, entry) in entries.iter().enumerate() {
        let name = names[number];
        let bits = |field: &str| entry[field].as_f64().unwrap();
        let range = match name {
            "raw" => 16.0..=16.0,
            "lz" => 8.0..=16.0,
            "f8" => 8.0..=8.0,
            "i8" => 8.1..=8.25,
            "n4" => 4.4..=4.5,
            "t4" => 4.0..=4.3,
            "t3" => 3.0..=3.3,
            _ => 2.0..=2.3,
        };
        assert!(range.contains(&bits("bits_dim128")), "{name} {}", bits("bits_dim128"));
        assert!(bits("bits_dim64") >= bits("bits_dim128"), "{name}");
        assert_eq!(entry["number"], number);
        assert_eq!(entry["exact"], number < 2);
        assert_eq!(bits("error_nominal_percent") == 0.0, number < 2, "{name}");
        assert_eq!(entry["needs_tables"], number >= 8);
        assert_eq!(entry["available"], true, "{name}");
        assert!(!entry["use_when"].as_str().unwrap().is_empty());
    }
    let run = kvcache(&["codec", "list"]);
    for name in NAMES {
        assert!(
            run.stdout.lines().any(|line| line.contains(&format!("│ {name} "))),
            "{name}"
        );
    }
    assert_eq!(run.code, Some(0));
}

#[test]
fn exact_codecs_give_back_every_bit_of_any_plane() {
    let folder = Folder::new("codec-exact");
    let every_bit: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let input = folder.write("in", &every_bit);
    let output = folder.path("out");
    for (name, dtype) in [("raw", "f16"), ("raw", "bf16"), ("lz", "f16"), ("lz", "bf16")] {
        for plane in [["k", "3", "512", "2", "64"], ["v", "0", "1", "1", "65536"]] {
            let bytes = code_bytes(&roundtrip(name, &plane, &input, &output, &["--dtype", dtype]));
            assert!(bytes <= every_bit.len() + 64, "{name} {bytes}");
            assert!(fs::read(&output).unwrap() == every_bit, "{name} {dtype}");
        }
    }
}

#[test]
fn lossy_codecs_stay_within_their_bits_and_errors_on_every_instruction_set() {
    let folder = Folder::new("codec-lossy");
    let right = numbers(ELEMENTS, 64, 1);
    let input = folder.write("in", &f16_bytes(&right));
    let (output, other) = (folder.path("out"), folder.path("other"));
    for (name, bits, error) in [
        ("f8", 8.0, 0.035),
        ("i8", 8.25, 0.008),
        ("n4", 4.5, 0.09),
        ("t4", 4.7, 0.09),
        ("t4-64", 4.7, 0.1),
        ("t4-mean", 5.6, 0.1),
        ("t3", 3.7, 0.17),
        ("t2", 2.7, 0.32),
    ] {
        let run = roundtrip(name, &PLANE, &input, &output, &[]);
        let bytes = code_bytes(&run);
        assert!(run.stdout.starts_with(&format!("{name}: ")), "{}", run.stdout);
        assert!((bytes * 8) as f64 <= bits * ELEMENTS as f64, "{name}: {bytes}");
        let decoded = fs::read(&output).unwrap();
        let found = relative_error(&of_f16(&decoded), &right);
        assert!(found > error / 10.0 && found <= error, "{name}: {found}");
        let portable = roundtrip(name, &PLANE, &input, &other, &["--isa", "portable"]);
        assert_eq!(code_bytes(&portable), bytes);
        assert!(
            fs::read(&other).unwrap() == decoded,
            "{name}: the portable version differs"
        );
    }
}

#[test]
fn settings_are_options_as_well_as_parts_of_names() {
    let folder = Folder::new("codec-settings");
    let input = folder.write("in", &f16_bytes(&numbers(ELEMENTS, 64, 2)));
    let (output, other) = (folder.path("out"), folder.path("other"));
    let mut decoded = Vec::new();
    for (name, option) in [
        ("t3-64", &["--states", "64"][..]),
        ("t3-mean", &["--mean"]),
        ("t3-256", &[]),
    ] {
        let named = code_bytes(&roundtrip(name, &PLANE, &input, &output, &[]));
        let optional = code_bytes(&roundtrip("t3", &PLANE, &input, &other, option));
        assert_eq!(named, optional, "{name}");
        assert!(fs::read(&output).unwrap() == fs::read(&other).unwrap(), "{name}");
        decoded.push(fs::read(&output).unwrap());
    }
    assert!(
        decoded[0] != decoded[2] && decoded[1] != decoded[2],
        "settings change something"
    );
    // Means are taken off keys only.
    let value = ["v", "0", "24", "2", "64"];
    roundtrip("t3", &value, &input, &output, &["--mean"]);
    assert!(fs::read(&output).unwrap() == decoded[2]);
}

#[test]
fn elements_of_either_type_are_read_as_such() {
    let folder = Folder::new("codec-dtype");
    // Far beyond the range of binary16.
    let right: Vec<f32> = numbers(ELEMENTS, 64, 3).iter().map(|number| number * 1e20).collect();
    let bytes = bf16_bytes(&right);
    let (input, output) = (folder.write("in", &bytes), folder.path("out"));
    code_bytes(&roundtrip("i8", &PLANE, &input, &output, &["--dtype", "bf16"]));
    let wide = |bytes: &[u8]| -> Vec<f32> {
        bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32())
            .collect()
    };
    let error = relative_error(&wide(&fs::read(&output).unwrap()), &right);
    assert!(error < 0.01, "{error}");
}

#[test]
fn what_can_not_be_encoded_is_refused_with_what_can() {
    let folder = Folder::new("codec-refused");
    let input = folder.write("in", &f16_bytes(&numbers(ELEMENTS, 64, 4)));
    let output = folder.path("out");
    let missing = folder.path("nothing");
    for (name, plane, input, more, code, reason) in [
        (
            "t5",
            PLANE,
            &input,
            &[][..],
            2,
            "raw, lz, f8, i8, n4, t4, t3, t2, vq, xc",
        ),
        (
            "t4",
            ["q", "0", "24", "2", "64"],
            &input,
            &[],
            2,
            "[possible values: k, v]",
        ),
        ("t4", ["k", "-1", "24", "2", "64"], &input, &[], 2, "-1"),
        ("t4", ["k", "0", "0", "2", "64"], &input, &[], 2, "0 is not in 1.."),
        (
            "t4",
            ["k", "0", "25", "2", "64"],
            &input,
            &[],
            1,
            "the file has 6144 bytes",
        ),
        (
            "t4",
            ["k", "0", "25", "2", "64"],
            &input,
            &[],
            1,
            "25 tokens x 2 heads x 64 elements of f16 are 6400",
        ),
        (
            "raw",
            ["k", "0", "4294967295", "4294967295", "9"],
            &input,
            &[],
            1,
            "too many",
        ),
        ("t4", ["k", "0", "192", "1", "16"], &input, &[], 2, "32 to 256"),
        (
            "i8",
            ["k", "0", "64", "1", "48"],
            &input,
            &["--dtype", "f32"],
            2,
            "[possible values: f16, bf16]",
        ),
        (
            "n4",
            ["k", "0", "1", "3", "1024"],
            &input,
            &[],
            2,
            "head_dim is 1024, permitted is 32 to 256",
        ),
        ("vq", PLANE, &input, &[], 1, "kvcache codec train"),
        ("xc-2", PLANE, &input, &[], 1, "needs tables"),
        ("xc-9", PLANE, &input, &[], 2, "0.5 to 6 bits"),
        ("i8", PLANE, &input, &["--mean"], 1, "--mean is for t4, t3 and t2"),
        (
            "i8",
            PLANE,
            &input,
            &["--states", "64"],
            1,
            "--states is for t4, t3 and t2",
        ),
        (
            "t4",
            PLANE,
            &input,
            &["--states", "128"],
            2,
            "[possible values: 64, 256]",
        ),
        ("t4", PLANE, &input, &["--bits", "2"], 1, "--bits is for xc"),
        ("t4", PLANE, &input, &["--isa", "mmx"], 2, "this machine has portable"),
        ("t4", PLANE, &missing, &[], 1, "No such file"),
        ("vq", PLANE, &input, &["--tables", &missing], 1, "No such file"),
        (
            "vq",
            PLANE,
            &input,
            &["--tables", &input],
            1,
            "these are no tables, or they are damaged",
        ),
    ] {
        refused(&roundtrip(name, &plane, input, &output, more), code, reason);
    }
    refused(
        &roundtrip("raw", &PLANE, &input, &folder.path("no/out"), &[]),
        1,
        "no/out: No such file",
    );
    assert!(!fs::exists(&output).unwrap(), "nothing is written");
}

#[test]
fn codecs_are_timed_beside_the_copy() {
    let run = kvcache(&[
        "bench", "codec", "--json", "--rounds", "1", "--codec", "raw,i8", "--isa", "portable",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json = run.json();
    assert_eq!(
        (&json["isa"], &json["block_bytes"]),
        (&"portable".into(), &(2 << 20).into())
    );
    assert_eq!(json["skipped"], serde_json::json!([]));
    let rows = json["codecs"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "two codecs, two types");
    for row in rows {
        for field in [
            "copy_gbps",
            "encode_gbps",
            "decode_gbps",
            "encode_over_copy",
            "decode_2threads_over_1",
        ] {
            assert!(row[field].as_f64().unwrap() > 0.0, "{field} {row}");
        }
        assert_eq!(row["heap_calls"], 0, "{row}");
        assert_eq!(row["relative_error"] == 0.0, row["codec"] == "raw", "{row}");
        assert!(row["relative_error"].as_f64().unwrap() < 0.02, "{row}");
    }
    refused(
        &kvcache(&["bench", "codec", "--codec", "x"]),
        2,
        "there is no such codec",
    );
}
