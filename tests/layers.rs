//! The rooms and the arrows between them, as `ARCHITECTURE.md` draws them: a room may use what lies below it and its
//! neighbours in the same row, and nothing above. And what goes with it: where `unsafe` may stand, where atomics may
//! come from, where `std` may be used.

mod source;

use source::{Source, files, has_word};

/// The rows from top to bottom.
const ROWS: &[&[&str]] = &[
    &["bin", "capi"],
    &["host"],
    &["engine"],
    &["tier", "prefetch", "index", "policy", "codec", "metrics"],
    &["layout", "block", "key", "arena", "budget", "sync", "copy"],
    &["config", "limits", "geometry", "error", "units"],
];

/// The last row that has the standard library as a matter of course.
const STD_ROW: usize = 1;

/// Files below it that use it where it is there, and why.
const STD_FILES: &[(&str, &str)] = &[
    (
        "src/arena/mapping.rs",
        "the mapping of an owned engine; only with the feature",
    ),
    (
        "src/copy/x86_64.rs",
        "asks the processor through it; without the feature by itself",
    ),
    (
        "src/codec/tables/file.rs",
        "a file of the system; only with the feature",
    ),
    (
        "src/codec/tables/writer.rs",
        "puts tables together; only with the feature",
    ),
    ("src/codec/train.rs", "training; only with the feature"),
    ("src/codec/vq/train", "training; only with the feature"),
    ("src/codec/xc/train", "training; only with the feature"),
    ("src/tier/disk/cache.rs", "a file of the system; only with the feature"),
    ("src/tier/disk/mod.rs", "a file of the system; only with the feature"),
    ("src/tier/file/mod.rs", "a file of the system; only with the feature"),
    ("src/tier/file/place.rs", "a file of the system; only with the feature"),
    (
        "src/tier/file/queue.rs",
        "requests to a file of the system; only with the feature",
    ),
    ("src/tier/nvme/mod.rs", "a file of the system; only with the feature"),
    ("src/tier/nvme/ring.rs", "a file of the system; only with the feature"),
];

/// Files that use atomics past the facade `sync::atomic`, and why they may.
const ATOMICS: &[(&str, &str)] = &[
    ("src/sync/", "the facade itself"),
    ("src/block/entry.rs", "fences, which the facade does not have"),
    (
        "src/arena/mod.rs",
        "touches pages of any part, atomics of loom among them",
    ),
    ("src/host/", "threads of the operating system, which loom does not run"),
    ("src/capi/", "a table of the process, which loom does not run"),
    ("src/bin/", "a program"),
];

/// The room of a file under `src`, or of a module path behind `crate::`.
fn room(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap_or(path);
    let end = below.find(['/', '.', ':']).unwrap_or(below.len());
    &below[..end]
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a line of code names by `crate::room` or `crate::{room, ...}`.
fn rooms_used(line: &str) -> Vec<&str> {
    let name_end = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => rooms.push(&rest[..name_end(rest)]),
            Some(group) => {
                // The names of the group itself, not of groups within.
                let mut depth = 0;
                for part in group.split(',') {
                    let name = part.trim_start();
                    if depth == 0 && !name.is_empty() {
                        rooms.push(&name[..name_end(name)]);
                    }
                    depth += part.matches('{').count() as i64 - part.matches('}').count() as i64;
                    if depth < 0 {
                        break;
                    }
                }
            }
        }
    }
    // A type that the root re-exports, `crate::Key`, belongs to no room.
    rooms.retain(|room| room.starts_with(|first: char| first.is_lowercase()));
    rooms
}

fn arrows(file: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let from = room(&file.path);
    let Some(from_row) = row(from) else {
        return vec![format!(
            "{}: the room `{from}` is in no row: give it one in tests/layers.rs",
            file.path
        )];
    };
    for (number, line) in file.code() {
        for to in rooms_used(&line) {
            match row(to) {
                None => faults.push(format!("{}:{number}: `crate::{to}` is in no row", file.path)),
                Some(to_row) if to_row < from_row => faults.push(format!(
                    "{}:{number}: `{from}` uses `{to}`, which lies above: pass it as an argument, or move it",
                    file.path
                )),
                Some(_) => {}
            }
        }
        let std = ["std::", "alloc::"].iter().any(|name| {
            line.match_indices(name)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        });
        if std && from_row > STD_ROW && !STD_FILES.iter().any(|(path, _)| file.path.starts_with(path)) {
            faults.push(format!(
                "{}:{number}: from `engine` down there is neither `std` nor `alloc`: use `core`, and storage that the \
                 caller gives",
                file.path
            ));
        }
        let facade = ATOMICS.iter().any(|(path, _)| file.path.starts_with(path));
        if line.contains("sync::atomic") && !line.contains("crate::sync::atomic") && !facade {
            faults.push(format!(
                "{}:{number}: atomics come from `crate::sync::atomic`, so that loom can model them",
                file.path
            ));
        }
    }
    faults
}

/// Whether the file, or a module that it is in, has `text`.
fn says(file: &Source, all: &[Source], text: &str) -> bool {
    let parents = file.path.match_indices('/').flat_map(|(at, _)| {
        let folder = &file.path[..at];
        [format!("{folder}/mod.rs"), format!("{folder}.rs")]
    });
    let parents: Vec<String> = parents.collect();
    file.text.contains(text)
        || all
            .iter()
            .any(|other| parents.contains(&other.path) && other.text.contains(text))
}

fn unsafety(file: &Source, all: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    let lines: Vec<&str> = file.text.lines().collect();
    let code = file.code();
    let unsafe_lines = code.iter().filter(|(_, line)| has_word(line, "unsafe"));
    let unsafe_lines: Vec<&(usize, String)> = unsafe_lines.filter(|(_, line)| !line.contains("#[unsafe(")).collect();
    if unsafe_lines.is_empty() {
        return faults;
    }
    if !says(file, all, "allow(unsafe_code") {
        faults.push(format!(
            "{}: has unsafe code and no `#![allow(unsafe_code)]`",
            file.path
        ));
    }
    if !says(file, all, "# Soundness") {
        faults.push(format!(
            "{}: has unsafe code and no `# Soundness` section with its invariants",
            file.path
        ));
    }
    for (number, line) in unsafe_lines {
        let block = line.contains("unsafe {") || line.contains("unsafe impl");
        let above = &lines[number.saturating_sub(9)..number - 1];
        if block && !above.iter().any(|line| line.contains("// SAFETY:")) {
            faults.push(format!("{}:{number}: an unsafe block without `// SAFETY:`", file.path));
        }
    }
    faults
}

fn sources() -> Vec<Source> {
    let all = files("src", &[".rs"]);
    assert!(all.len() > 30, "the sources were not found");
    all
}

/// Modules in files of their own that only tests have.
fn is_test(file: &Source) -> bool {
    file.path.ends_with("/tests.rs") || file.path.ends_with("/model.rs")
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn arrows_point_down() {
    let all = sources();
    // The root names all rooms, and programs are crates of their own.
    let elsewhere = |file: &&Source| file.path == "src/lib.rs" || file.path.starts_with("src/bin/") || is_test(file);
    let files = all.iter().filter(|file| !elsewhere(file));
    assert_none(files.flat_map(arrows).collect());
}

#[test]
fn unsafe_code_is_where_it_says_so_and_says_why() {
    let all = sources();
    assert_none(all.iter().flat_map(|file| unsafety(file, &all)).collect());
}

#[test]
fn the_root_denies_unsafe_code_and_the_standard_library() {
    let all = sources();
    let root = all
        .iter()
        .find(|file| file.path == "src/lib.rs")
        .expect("there is a root");
    for attribute in ["#![no_std]", "#![deny(unsafe_code)]"] {
        assert!(root.text.contains(attribute), "src/lib.rs has no {attribute}");
    }
    for file in &all {
        for (number, line) in file.code().iter().filter(|(_, line)| line.contains("extern crate")) {
            let before = file.text.lines().nth(number - 2).unwrap_or_default();
            let guarded = line.contains("extern crate std;") && before.contains("feature = \"std\"");
            assert!(guarded, "{}:{number}: {line}", file.path);
        }
    }
}

/// The rules above, each broken once.
#[test]
fn each_rule_can_be_broken() {
    let broken = |path: &str, text: &str| {
        let file = Source::new(path, text);
        let mut faults = arrows(&file);
        faults.extend(unsafety(&file, &[]));
        faults
    };
    for (path, text) in [
        ("src/index/mod.rs", "use crate::engine::Engine;"),
        ("src/units.rs", "pub fn of(key: &crate::key::Key) {}"),
        ("src/sync/ring.rs", "use crate::{block::BlockRef, engine::Clock};"),
        ("src/attic/mod.rs", ""),
        ("src/engine/mod.rs", "use crate::attic::Thing;"),
        ("src/engine/mod.rs", "use std::vec::Vec;"),
        ("src/policy/mod.rs", "fn f() { alloc::vec::Vec::new(); }"),
        ("src/engine/mod.rs", "use core::sync::atomic::AtomicU64;"),
        (
            "src/tier/mod.rs",
            "//! # Soundness\nfn f() {\n    // SAFETY: none\n    unsafe { g() }\n}",
        ),
        (
            "src/tier/mod.rs",
            "#![allow(unsafe_code)]\nfn f() {\n    // SAFETY: none\n    unsafe { g() }\n}",
        ),
        (
            "src/tier/mod.rs",
            "//! # Soundness\n#![allow(unsafe_code)]\nfn f() {\n    unsafe { g() }\n}",
        ),
    ] {
        assert_eq!(broken(path, text).len(), 1, "{path}: {text}: {:?}", broken(path, text));
    }
    for (path, text) in [
        ("src/engine/mod.rs", "use crate::index::Index; // crate::capi, std::vec"),
        (
            "src/index/mod.rs",
            "use crate::{policy::Lru, sync::{ring::Ring, turn::Turn}, units::Tier};",
        ),
        (
            "src/index/mod.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n    use std::vec;\n}",
        ),
        (
            "src/index/mod.rs",
            "const TEXT: &str = \"crate::capi and std::vec and unsafe { }\";",
        ),
        ("src/host/mod.rs", "use std::sync::atomic::AtomicU32;"),
    ] {
        assert_eq!(broken(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
