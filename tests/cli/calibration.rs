//! `kvcache codec train`, `tables` and `eval`: samples of a model, tables from them, figures.

use std::fs;
use std::sync::OnceLock;

use serde_json::Value;

use super::codec::{code_bytes, refused, roundtrip};
use super::program::{Folder, Run, kvcache};
use super::samples::{SHAPE, Tensor, f16_bytes, model, numbers, of_f16, relative_error, safetensors};

fn train(folder: &Folder, samples: &str, more: &[&str]) -> Run {
    kvcache(&[&["codec", "train", "--out", &folder.path("tables"), samples], more].concat())
}

/// A folder with samples of a model of two layers, and tables trained on them, once for all tests.
fn trained(name: &str) -> (Folder, String) {
    static TABLES: OnceLock<Vec<u8>> = OnceLock::new();
    let folder = Folder::new(name);
    let samples = folder.write("samples.safetensors", &safetensors(&model(&[0, 1], true)));
    let bytes = TABLES.get_or_init(|| {
        let run = train(&folder, &samples, &["--rope", "none"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        fs::read(folder.path("tables")).unwrap()
    });
    let tables = folder.write("tables", bytes);
    (folder, tables)
}

#[test]
fn tables_are_trained_told_and_used() {
    let (folder, tables) = trained("codec-train");
    let described = kvcache(&["codec", "tables", &tables, "--json"]).json();
    let bytes = fs::read(&tables).unwrap();
    assert_eq!(described["bytes"], bytes.len());
    assert_eq!(described["layers"], 2);
    assert_eq!(described["heads"], SHAPE[2]);
    assert_eq!(described["dim"], SHAPE[3]);
    assert_eq!(described["tokens"], SHAPE[0] * SHAPE[1]);
    assert_eq!(described["rope"], "none");
    assert_eq!(described["codecs"], serde_json::json!(["vq", "xc"]));
    let run = kvcache(&["codec", "tables", &tables]);
    assert!(
        run.stdout.contains(described["digest"].as_str().unwrap()),
        "{}",
        run.stdout
    );

    let right = numbers(160 * 64, 64, 1);
    let input = folder.write("in", &f16_bytes(&right));
    let output = folder.path("out");
    let plane = ["k", "1", "160", "2", "32"];
    let mut sizes = Vec::new();
    for (name, bits, error) in [
        ("xc-4", 4.0, 0.2),
        ("xc-3", 3.0, 0.3),
        ("xc", 2.3, 0.4),
        ("xc1.5", 1.5, 0.7),
    ] {
        sizes.push(code_bytes(&roundtrip(
            name,
            &plane,
            &input,
            &output,
            &["--tables", &tables],
        )));
        let found = relative_error(&of_f16(&fs::read(&output).unwrap()), &right);
        assert!(found < error, "{name}: {found}");
        // Shares of the rate differ between keys and values.
        assert!(
            (sizes[sizes.len() - 1] * 8) as f64 <= 1.25 * bits * 10240.0,
            "{name}: {sizes:?}"
        );
    }
    assert!(sizes.is_sorted_by(|more, less| more > less), "{sizes:?}");
    let vq = code_bytes(&roundtrip("vq", &plane, &input, &output, &["--tables", &tables]));
    assert!((vq * 8) as f64 <= 2.51 * 10240.0, "{vq}");
    assert!(relative_error(&of_f16(&fs::read(&output).unwrap()), &right) < 0.6);

    // What the tables are not for.
    let with = ["--tables", tables.as_str()];
    refused(
        &roundtrip("vq", &["k", "2", "160", "2", "32"], &input, &output, &with),
        1,
        "layers 0 to 1",
    );
    refused(
        &roundtrip("xc", &["k", "0", "80", "4", "32"], &input, &output, &with),
        2,
        "kv_heads_count is 4",
    );
    refused(
        &roundtrip("vq", &["k", "0", "80", "2", "64"], &input, &output, &with),
        2,
        "head_dim is 64",
    );
}

#[test]
fn training_again_gives_the_same_tables_and_replaces_the_file_whole() {
    let (folder, tables) = trained("codec-again");
    let samples = folder.path("samples.safetensors");
    let first = fs::read(&tables).unwrap();
    assert_eq!(train(&folder, &samples, &["--rope", "none"]).code, Some(0));
    assert!(fs::read(&tables).unwrap() == first);
    // A training that fails leaves the file as it is.
    let bad = folder.write("bad", b"no samples");
    refused(&train(&folder, &bad, &[]), 1, "this is no safetensors file");
    assert!(fs::read(&tables).unwrap() == first);
    let only_vq = train(
        &folder,
        &samples,
        &["--rope", "half", "--theta", "5000", "--codecs", "vq"],
    );
    assert_eq!(only_vq.code, Some(0), "{}", only_vq.stderr);
    let described = kvcache(&["codec", "tables", &tables, "--json"]).json();
    assert_eq!(described["codecs"], serde_json::json!(["vq"]));
    assert_eq!(
        described["rope"],
        "half (pairs i and i + 16), theta 5000, 32 elements of a head"
    );
    let left: Vec<_> = fs::read_dir(folder.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
}

#[test]
fn damaged_tables_are_refused_everywhere() {
    let (folder, tables) = trained("codec-damage");
    let whole = fs::read(&tables).unwrap();
    let input = folder.write("in", &f16_bytes(&numbers(160 * 64, 64, 1)));
    let samples = folder.path("samples.safetensors");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let mut version = whole.clone();
    version[4] += 1;
    let longer = [&whole[..], &[0]].concat();
    let damaged = "these are no tables, or they are damaged";
    for (bytes, reason) in [
        (&flipped[..], damaged),
        (&whole[..whole.len() - 1], damaged),
        (&whole[..100], damaged),
        (&longer, damaged),
        (&[], damaged),
        (&version, "another version"),
    ] {
        let bad = folder.write("bad", bytes);
        refused(&kvcache(&["codec", "tables", &bad]), 1, reason);
        refused(&kvcache(&["codec", "eval", &samples, "--tables", &bad]), 1, reason);
        let plane = ["v", "0", "160", "2", "32"];
        refused(
            &roundtrip("xc", &plane, &input, &folder.path("out"), &["--tables", &bad]),
            1,
            reason,
        );
    }
}

#[test]
fn layers_without_samples_take_those_before_and_it_is_told() {
    let folder = Folder::new("codec-layers");
    let samples = folder.write("samples", &safetensors(&model(&[0, 2], false)));
    let run = train(&folder, &samples, &["--rope", "none"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("layer 1 those of layer 0\n"), "{}", run.stderr);
    assert!(run.stdout.contains("3 layers"), "{}", run.stdout);
    // Another file of the same model adds its tokens, one of another model does not.
    let twice = train(&folder, &samples, &[&samples, "--rope", "none"]);
    assert!(
        twice.stdout.contains(&format!("tokens  {}\n", 2 * SHAPE[0] * SHAPE[1])),
        "{}",
        twice.stdout
    );
    let other = folder.write("other", &safetensors(&model(&[0, 1], false)));
    refused(
        &train(&folder, &samples, &[&other]),
        1,
        "the files before are 4 sequences of 160 tokens",
    );
}

#[test]
fn samples_that_can_not_be_used_are_told_apart() {
    let folder = Folder::new("codec-samples");
    let changed = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let mut tensors = model(&[0, 1], true);
        change(&mut tensors);
        safetensors(&tensors)
    };
    let cut = |rows: usize| {
        move |tensors: &mut Vec<Tensor>| {
            for tensor in tensors {
                tensor.shape = vec![1, rows, tensor.shape[2], tensor.shape[3]];
                tensor.bytes.truncate(rows * tensor.shape[2] * tensor.shape[3] * 2);
            }
        }
    };
    let whole = changed(&|_| {});
    for (file, reason) in [
        (Vec::new(), "this is no safetensors file"),
        (whole[..whole.len() - 1].to_vec(), "this is no safetensors file"),
        (safetensors(&[]), "there is no tensor layerL.k"),
        (
            changed(&|tensors| tensors.retain(|tensor| tensor.name != "layer1.v")),
            "there is no tensor layer1.v",
        ),
        (
            changed(&|tensors| tensors[3].shape = vec![160, 4, 2, 32]),
            "layer1.k is [160, 4, 2, 32]",
        ),
        (
            changed(&|tensors| tensors[0].shape = vec![640, 64]),
            "the keys are [640, 64]",
        ),
        (changed(&|tensors| tensors[4].dtype = "BF16"), "layer1.v is BF16"),
        (
            changed(&|tensors| tensors[5].shape = vec![4, 160, 1, 128]),
            "layer1.q is [4, 160, 1, 128]",
        ),
        (
            changed(&|tensors| tensors[2].shape = vec![4, 160, 1, 128]),
            "1 heads of queries can't share 2 heads of keys and values",
        ),
        (
            changed(&|tensors| {
                for tensor in tensors {
                    tensor.dtype = "I16";
                }
            }),
            "the elements are I16; samples have F16 or BF16",
        ),
    ] {
        let path = folder.write("samples", &file);
        refused(&train(&folder, &path, &[]), 1, reason);
        refused(&kvcache(&["codec", "eval", &path]), 1, reason);
    }
    let few = folder.write("few", &changed(&cut(100)));
    refused(&train(&folder, &few, &[]), 2, "tokens is 100, permitted is 256");
    let good = folder.write("samples", &whole);
    refused(
        &train(&folder, &good, &["--theta", "0", "--rope", "half"]),
        1,
        "--theta is 0",
    );
    refused(
        &train(&folder, &good, &["--rope", "half", "--rope-dim", "34"]),
        1,
        "from 2 to 32",
    );
    refused(
        &train(&folder, &good, &["--codecs", "t4"]),
        2,
        "[possible values: vq, xc]",
    );
    refused(&kvcache(&["codec", "train", &good]), 2, "--out");
    let nowhere = folder.path("no/tables");
    refused(
        &kvcache(&["codec", "train", &good, "--out", &nowhere, "--rope", "none"]),
        1,
        "No such file",
    );
    assert!(!fs::exists(folder.path("tables")).unwrap());
}

fn row<'r>(report: &'r Value, codec: &str) -> &'r Value {
    let rows = report["codecs"].as_array().unwrap();
    rows.iter()
        .find(|row| row["codec"] == codec)
        .unwrap_or_else(|| panic!("{codec}: {report}"))
}

#[test]
fn codecs_are_measured_on_samples() {
    let (folder, tables) = trained("codec-eval");
    let samples = folder.path("samples.safetensors");
    let report = kvcache(&["codec", "eval", &samples, "--json"]).json();
    assert_eq!(report["skipped"], serde_json::json!([]));
    assert_eq!(report["evaluated"], "second half");
    assert_eq!(report["tables_from"], "trained on the first half");
    assert_eq!((&report["sequences"], &report["causal"]), (&2.into(), &true.into()));
    assert_eq!(report["codecs"].as_array().unwrap().len(), 12);
    for row in report["codecs"].as_array().unwrap() {
        let number = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field}: {row}"));
        let exact = ["raw", "lz"].contains(&row["codec"].as_str().unwrap());
        for field in ["relative_mse_k", "relative_mse_v", "attention_error"] {
            assert_eq!(number(field) == 0.0, exact, "{field} {row}");
            assert!(number(field) < 0.7, "{field} {row}");
        }
        assert!((0.7..1.0 + 1e-9).contains(&number("cosine_k")), "{row}");
        assert!(number("bits_in_block") > number("bits_per_element"), "{row}");
        assert!(number("encode_gbps") > 0.0 && number("decode_gbps") > 0.0);
    }
    let error = |codec: &str| row(&report, codec)["attention_error"].as_f64().unwrap();
    assert!(error("i8") < error("t4") && error("t4") < error("t3") && error("t3") < error("t2"));
    // A plane of 64 tokens, 2 heads of 32: a header of 32 bytes for four planes, an entry of 8 for each.
    let raw = row(&report, "raw");
    assert_eq!(raw["bits_per_element"], 16.0);
    let blocks = 2.0 * 3.0 / 160.0 / 2.0;
    let in_block = 16.0 + 16.0 * blocks * 16.0 / (2.0 * 32.0 * 2.0);
    assert!(
        (raw["bits_in_block"].as_f64().unwrap() - in_block).abs() < 1e-9,
        "{raw}"
    );

    let with_tables = kvcache(&[
        "codec", "eval", &samples, "--json", "--tables", &tables, "--codec", "xc-2,t3",
    ])
    .json();
    assert_eq!(with_tables["evaluated"], "all");
    assert_eq!(with_tables["codecs"].as_array().unwrap().len(), 2);
    assert!(row(&with_tables, "xc-2")["bits_per_element"].as_f64().unwrap() <= 2.05);
    let table = kvcache(&["codec", "eval", &samples]);
    assert!(
        table.stdout.contains("second half") && table.stdout.contains("xc-1.66"),
        "{}",
        table.stdout
    );
}

/// The figures of a codec that keeps nothing but what it says follow from the samples alone.
#[test]
fn errors_are_those_of_the_definition() {
    let folder = Folder::new("codec-figures");
    let samples = folder.write("samples", &safetensors(&model(&[0, 1], true)));
    let eval = |more: &[&str]| {
        let report = kvcache(&[&["codec", "eval", &samples, "--json", "--codec", "t2"], more].concat()).json();
        row(&report, "t2").clone()
    };
    let causal = eval(&[]);
    // One sequence of one layer through `roundtrip`, block by block, must come to what `eval` says of all.
    let (output, [sequences, tokens, heads, dim]) = (folder.path("out"), SHAPE);
    let mut found = Vec::new();
    let mut right = Vec::new();
    let mut bytes = 0;
    for tensor in model(&[0, 1], false).iter().filter(|tensor| tensor.name.ends_with('k')) {
        for sequence in tensor.bytes.chunks_exact(tokens * heads * dim * 2) {
            for block in sequence.chunks(64 * heads * dim * 2) {
                let count = (block.len() / (heads * dim * 2)).to_string();
                let plane = ["k", "0", &count, "2", "32"];
                bytes += code_bytes(&roundtrip("t2", &plane, &folder.write("in", block), &output, &[]));
                found.extend(of_f16(&fs::read(&output).unwrap()));
                right.extend(of_f16(block));
            }
        }
    }
    let error = relative_error(&found, &right);
    let told = causal["relative_mse_k"].as_f64().unwrap();
    assert!((told - error * error).abs() < 1e-9 * told, "{told} {error}");
    let bits = (bytes * 8) as f64 / (2 * sequences * tokens * heads * dim) as f64;
    assert!(
        (causal["bits_per_element"].as_f64().unwrap() - bits).abs() < 1e-9,
        "{bits}"
    );

    let bidirectional = eval(&["--bidirectional"]);
    assert_eq!(bidirectional["relative_mse_k"], causal["relative_mse_k"]);
    assert_ne!(bidirectional["attention_error"], causal["attention_error"]);
    assert!(eval(&["--tokens-per-block", "160"])["bits_per_element"].as_f64() < causal["bits_per_element"].as_f64());
    assert_ne!(eval(&["--dtype", "bf16"])["relative_mse_k"], causal["relative_mse_k"]);
    assert_eq!(
        eval(&["--isa", "portable"])["attention_error"],
        causal["attention_error"]
    );
}

#[test]
fn what_can_not_be_measured_is_left_out_and_said() {
    let folder = Folder::new("codec-skip");
    let samples = folder.write("samples", &safetensors(&model(&[0], false)));
    let report = kvcache(&["codec", "eval", &samples, "--json", "--codec", "i8"]).json();
    assert_eq!(row(&report, "i8")["attention_error"], Value::Null);
    let mut small = model(&[0], true);
    for tensor in &mut small {
        tensor.shape = vec![4, 160, tensor.shape[2] * 2, 16];
    }
    let samples = folder.write("small", &safetensors(&small));
    let report = kvcache(&["codec", "eval", &samples, "--json"]).json();
    let names: Vec<&Value> = report["codecs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["codec"])
        .collect();
    assert_eq!(names, ["raw", "lz", "f8"]);
    let skipped = report["skipped"].to_string();
    assert!(skipped.contains("t4") && skipped.contains("32 to 256"), "{skipped}");
    let run = kvcache(&["codec", "eval", &samples, "--codec", "t4"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("none of the codecs could be measured"),
        "{}",
        run.stderr
    );
}
