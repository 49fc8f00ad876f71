//! The library as C sees it: the suite, plainly and under tools that watch memory; the proofs that nothing is allocated
//! after open; the key vectors; the examples.
#![cfg(all(feature = "capi", target_os = "linux"))]

#[path = "c/harness.rs"]
mod harness;

use std::path::PathBuf;
use std::process::Command;

use harness::{Profile, cargo, fail, installed, library, program, root, scratch, source, succeed};

/// The programs that use every function, and how many parts each has at least: memory alone, file tiers, codecs.
const SUITES: [(&str, u64); 3] = [("suite", 28), ("files", 20), ("codec", 11)];

/// One of [`SUITES`], compiled in its own way.
fn suite(name: &str, way: &str, profile: Profile, flags: &[&str]) -> PathBuf {
    program(&format!("{name}{way}"), &[source(&format!("{name}.c"))], profile, flags)
}

/// A command whose files go to the folder of the tests.
fn running(program: PathBuf) -> Command {
    in_scratch(Command::new(program))
}

fn in_scratch(mut command: Command) -> Command {
    command.env("TMPDIR", scratch("."));
    command
}

/// The number in front of a word of what a program printed.
fn number_before(printed: &str, word: &str) -> u64 {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let numbers = words
        .windows(2)
        .filter(|pair| pair[1].trim_matches(&[',', '(', ')'][..]) == word);
    let mut numbers = numbers.filter_map(|pair| pair[0].parse().ok());
    numbers
        .next()
        .unwrap_or_else(|| panic!("no number of {word}: {printed}"))
}

#[test]
fn the_suite_passes() {
    for (name, parts_count) in SUITES {
        let printed = succeed(&mut running(suite(name, "", Profile::Checked, &[])));
        assert!(number_before(&printed, "parts") >= parts_count, "{printed}");
        assert!(number_before(&printed, "checks") > 10_000, "{printed}");
    }
}

#[test]
fn the_suite_passes_with_the_library_as_it_is_shipped() {
    for (name, _) in SUITES {
        succeed(&mut running(suite(name, "-release", Profile::Release, &[])));
    }
}

#[test]
fn the_suite_passes_linked_with_the_static_library() {
    let archive = library(Profile::Release).join("libkvcache.a");
    for (name, _) in SUITES {
        let target = scratch(&format!("{name}-static"));
        let mut command = harness::compiler(false);
        command
            .args(["-std=c11", "-O1", "-pthread", "-I"])
            .arg(root().join("include"));
        command
            .args(harness::WARNINGS)
            .arg(source(&format!("{name}.c")))
            .arg(&archive)
            .arg("-o")
            .arg(&target);
        // The list of `Libs.private` in kvcache.pc.
        command.args(["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc"]);
        succeed(&mut command);
        succeed(&mut running(target));
    }
}

#[test]
fn the_suite_passes_under_the_address_and_undefined_behaviour_sanitizers() {
    let flags = [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
    ];
    for (name, _) in SUITES {
        succeed(&mut running(suite(name, "-sanitized", Profile::Checked, &flags)));
    }

    // The sanitizers do find what there is to find.
    let broken = scratch("broken.c");
    let text = "#include <stdlib.h>\nint main(void) { char *volatile p = malloc(1); free(p); return p[0] & 1; }\n";
    std::fs::write(&broken, text).unwrap();
    let printed = fail(&mut Command::new(program(
        "broken",
        &[broken],
        Profile::Checked,
        &flags[..1],
    )));
    assert!(printed.contains("heap-use-after-free"), "{printed}");
}

#[test]
fn the_suite_passes_under_valgrind() {
    if !installed("valgrind", "the suite was not run under valgrind") {
        return;
    }
    for (name, _) in SUITES {
        let mut command = in_scratch(Command::new("valgrind"));
        command.args([
            "--quiet",
            "--error-exitcode=9",
            "--leak-check=full",
            "--show-leak-kinds=definite",
        ]);
        command.args(["--errors-for-leak-kinds=definite", "--fair-sched=yes"]);
        // Training tables and searching trellises takes a quarter of an hour here unless they are optimised.
        let profile = match name {
            "codec" => Profile::Release,
            _ => Profile::Checked,
        };
        succeed(command.arg(suite(name, "-valgrind", profile, &[])));
    }
}

#[test]
fn nothing_calls_malloc_or_mmap_after_open_in_a_million_operations() {
    for profile in [Profile::Checked, Profile::Release] {
        let name = if profile == Profile::Checked {
            "malloc_count"
        } else {
            "malloc_count-release"
        };
        let counter = program(
            name,
            &[source("malloc_count.c"), source("malloc_wrap.c")],
            profile,
            &["-rdynamic"],
        );
        let printed = succeed(&mut Command::new(&counter));
        assert_eq!(number_before(&printed, "calls"), 0);
        assert!(number_before(&printed, "operations") >= 1_000_000, "{printed}");
        // The counter does count.
        for fault in ["malloc", "mmap", "thread"] {
            let printed = fail(Command::new(&counter).arg(fault));
            assert!(number_before(&printed, "calls") >= 1, "{fault}: {printed}");
            if profile == Profile::Release {
                break;
            }
        }
    }
}

/// The same in a program that loads the library while it runs, as interpreters do.
#[test]
fn nothing_calls_malloc_or_mmap_where_the_library_is_loaded_later() {
    let folder = library(Profile::Release);
    let (plugin, loader) = (scratch("malloc_count.so"), scratch("loader"));
    let mut command = harness::compiler(false);
    command
        .args(["-std=c11", "-O1", "-pthread", "-shared", "-fPIC", "-Dmain=count", "-I"])
        .arg(root().join("include"));
    command
        .args(harness::WARNINGS)
        .arg(source("malloc_count.c"))
        .arg("-o")
        .arg(&plugin);
    command
        .arg("-L")
        .arg(folder)
        .arg("-lkvcache")
        .arg(format!("-Wl,-rpath,{}", folder.display()));
    succeed(&mut command);
    let mut command = harness::compiler(false);
    command
        .args(["-std=c11", "-O1", "-pthread", "-rdynamic"])
        .args(harness::WARNINGS);
    command
        .arg(source("loader.c"))
        .arg(source("malloc_wrap.c"))
        .arg("-o")
        .arg(&loader)
        .arg("-ldl");
    succeed(&mut command);
    let printed = succeed(Command::new(&loader).arg(&plugin));
    assert_eq!(number_before(&printed, "calls"), 0, "{printed}");
    let printed = fail(Command::new(&loader).arg(&plugin).arg("malloc"));
    assert!(number_before(&printed, "calls") >= 1, "{printed}");
}

#[test]
fn the_kernel_refuses_memory_after_open_and_nobody_notices() {
    for (name, profile) in [("seccomp", Profile::Checked), ("seccomp-release", Profile::Release)] {
        succeed(&mut Command::new(program(name, &[source("seccomp.c")], profile, &[])));
    }
}

#[test]
fn keys_are_those_of_the_vectors() {
    let vectors = program("vectors", &[source("vectors.c")], Profile::Checked, &[]);
    let printed = succeed(Command::new(vectors).arg(root().join("tests/vectors/keys.txt")));
    assert!(number_before(&printed, "keys") > 100);
}

#[test]
fn the_examples_in_c_do_what_they_say() {
    let example = |name: &str| root().join("examples").join(name).with_extension("c");
    let quickstart = program("quickstart", &[example("quickstart")], Profile::Release, &[]);
    let printed = succeed(&mut Command::new(quickstart));
    assert_eq!(printed.matches("hello, cache").count(), 2, "{printed}");
    let prefix_share = program("prefix_share", &[example("prefix_share")], Profile::Release, &[]);
    let printed = succeed(&mut Command::new(prefix_share));
    assert!(printed.contains("10 found,  3 computed"), "{printed}");

    // The same file as C++, which is the other language of the header.
    let (folder, target) = (library(Profile::Release), scratch("quickstart-plus-plus"));
    let mut command = harness::compiler(true);
    command
        .args(["-std=c++17", "-x", "c++", "-I"])
        .arg(root().join("include"))
        .args(harness::WARNINGS);
    command
        .arg(example("quickstart"))
        .arg("-o")
        .arg(&target)
        .arg("-L")
        .arg(folder)
        .arg("-lkvcache");
    succeed(command.arg(format!("-Wl,-rpath,{}", folder.display())));
    assert_eq!(succeed(&mut Command::new(target)).matches("hello, cache").count(), 2);
}

#[test]
fn the_example_in_rust_does_what_it_says() {
    let printed = succeed(&mut cargo(&["run", "--quiet", "--example", "quickstart"]));
    assert_eq!(printed.matches("hello, cache").count(), 2, "{printed}");
    assert!(printed.contains("match    2 of 2 blocks"), "{printed}");
}

#[test]
fn the_embedded_example_runs_on_libc_alone() {
    let arguments = ["build", "--quiet", "--profile", "embedded", "-p", "kvcache-embedded"];
    succeed(&mut cargo(&arguments));
    let embedded = scratch("target/embedded/kvcache-embedded");
    let printed = succeed(&mut Command::new(&embedded));
    assert!(
        printed.contains("resident and right") && printed.contains("cycles per"),
        "{printed}"
    );
    let dynamic = succeed(Command::new("readelf").arg("-d").arg(embedded));
    let needed: Vec<&str> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(needed.len() == 1 && needed[0].contains("libc.so"), "{needed:?}");
}
