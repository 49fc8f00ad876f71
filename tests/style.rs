//! Style that the compiler and the formatter do not see to. Each message names the better choice.

mod source;

use source::{Source, files, has_word};

const LINE_CHARACTERS_MAX: usize = 120;
const FILE_LINES_MAX: usize = 700;

/// Everything that people write.
fn written() -> Vec<Source> {
    let endings = [
        ".rs", ".c", ".h", ".hpp", ".py", ".sh", ".toml", ".md", "Makefile", ".ci/run",
    ];
    let mut all = files("", &endings);
    all.retain(|file| file.path != "include/kvcache.h" && !file.path.ends_with(".lock"));
    assert!(
        all.iter().any(|file| file.path == "src/lib.rs"),
        "the sources were not found"
    );
    all
}

/// Words that leave work to nobody; in halves, since this file is written, too.
const MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("#[ig", "nore"),
];

/// Places of one machine.
const PLACES: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/kv"),
];

/// Rooms in which a failure is a status and never a panic.
const NO_PANIC: &[&str] = &["src/engine/", "src/tier/", "src/capi/"];

fn faults(file: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let path = &file.path;
    let is = |ending: &str| path.ends_with(ending);
    let wrapped = [".rs", ".c", ".h", ".hpp"].into_iter().any(is);
    for (number, line) in (1..).zip(file.text.lines()) {
        let mut fault = |what: &str| faults.push(format!("{path}:{number}: {what}"));
        if line.contains('\t') && !is("Makefile") {
            fault("a tab: use four spaces");
        }
        if line.ends_with([' ', '\t']) {
            fault("blanks at the end of the line: remove them");
        }
        let table = line.trim_start().starts_with("//! |");
        if line.chars().count() > LINE_CHARACTERS_MAX && wrapped && !table {
            fault(&format!("more than {LINE_CHARACTERS_MAX} characters: break the line"));
        }
        for mark in MARKS.iter().filter(|mark| line.contains(**mark)) {
            if mark.ends_with(|c: char| !c.is_alphanumeric()) || mark.starts_with('#') || has_word(line, mark) {
                fault(&format!("`{mark}`: do it, or write down as a fact what is not there"));
            }
        }
        for place in PLACES.iter().filter(|place| line.contains(**place)) {
            fault(&format!(
                "`{place}` is one machine's: use a relative path or a temporary folder"
            ));
        }
    }
    if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
        faults.push(format!("{path}: end the file with one line feed"));
    }
    if is(".rs") {
        let lines_count = file.text.lines().count();
        if lines_count > FILE_LINES_MAX {
            faults.push(format!(
                "{path}: {lines_count} lines: split it, one purpose a file ({FILE_LINES_MAX} at most)"
            ));
        }
        if !file.text.starts_with("//!") {
            faults.push(format!(
                "{path}: begin with `//!` and a sentence on what the file is for"
            ));
        }
    }
    if NO_PANIC.iter().any(|room| path.starts_with(room)) && !is("tests.rs") && !is("model.rs") {
        for (number, line) in file.code() {
            if line.contains(".unwrap()") || line.contains(".expect(") {
                faults.push(format!("{path}:{number}: answer with a status where this could panic"));
            }
        }
    }
    faults
}

#[test]
fn files_are_tidy() {
    let faults: Vec<String> = written().iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The rules above, each broken once.
#[test]
fn each_rule_can_be_broken() {
    let long = format!("//! {}\n", "long ".repeat(30).trim_end());
    let many = format!("//! Many.\n{}", "fn f() {}\n".repeat(FILE_LINES_MAX));
    for (path, text) in [
        ("src/a.rs", "//! A.\n\tfn f() {}\n".to_string()),
        ("src/a.rs", "//! A. \n".to_string()),
        ("src/a.rs", long),
        ("src/a.rs", many),
        ("src/a.rs", format!("//! A {}.\n", MARKS[0])),
        ("src/a.rs", format!("//! A {}.\n", PLACES[0])),
        ("src/a.rs", "fn f() {}\n".to_string()),
        ("src/a.rs", "//! A.".to_string()),
        ("src/a.rs", "//! A.\n\n".to_string()),
        ("src/engine/a.rs", "//! A.\nfn f() { g().unwrap() }\n".to_string()),
        ("src/capi/a.rs", "//! A.\nfn f() { g().expect(\"b\") }\n".to_string()),
    ] {
        assert_eq!(faults(&Source::new(path, &text)).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("Makefile", "all:\n\ttrue\n"),
        ("src/a.rs", "//! A.\nfn f() { g().unwrap() }\n"),
        (
            "src/engine/a.rs",
            "//! A.\n#[cfg(test)]\nmod tests {\n    fn f() { g().unwrap() }\n}\n",
        ),
    ] {
        assert_eq!(faults(&Source::new(path, text)), Vec::<String>::new());
    }
}
