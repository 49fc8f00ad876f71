//! Builds the C library and C programs for the tests that need them, and runs them.
//!
//! The library is built by a cargo of its own, into a folder of its own: the one that runs the tests may be busy, and
//! does not build `libkvcache.so` for them. Where
//! valgrind is not installed, what is left out is said; with `KVC_CI=1` that is a failure.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What every C file of ours is compiled with.
pub const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

/// How the library is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// With the library's own assertions and overflow checks.
    Checked,
    /// As it is shipped.
    Release,
}

/// The folder of the package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for what the tests make, with `name` in it.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// A cargo command on this workspace, with a target folder apart.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command.arg("--target-dir").arg(scratch("target"));
    command
}

/// The folder that contains `libkvcache.so`, by its SONAME too, and `libkvcache.a`.
pub fn library(profile: Profile) -> &'static Path {
    static CHECKED: OnceLock<PathBuf> = OnceLock::new();
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    let (cell, name, arguments): (_, _, &[&str]) = match profile {
        Profile::Checked => (&CHECKED, "debug", &["build", "-p", "kvcache-c"]),
        Profile::Release => (&RELEASE, "release", &["build", "-p", "kvcache-c", "--release"]),
    };
    cell.get_or_init(|| {
        succeed(&mut cargo(arguments));
        let folder = scratch("target").join(name);
        let link = folder.join(soname());
        // Another test program may make the same link at the same time.
        match symlink("libkvcache.so", &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{}: {error}", link.display()),
            _ => folder,
        }
    })
}

/// The name under which programs ask for the shared library.
pub fn soname() -> String {
    format!(
        "libkvcache.so.{}.{}",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR")
    )
}

/// The compiler for C, or for C++.
pub fn compiler(plus_plus: bool) -> Command {
    let (variable, usual) = if plus_plus { ("CXX", "c++") } else { ("CC", "cc") };
    Command::new(env::var_os(variable).unwrap_or_else(|| usual.into()))
}

/// Compiles `sources` into a program that finds the shared library by itself.
pub fn program(name: &str, sources: &[PathBuf], profile: Profile, flags: &[&str]) -> PathBuf {
    let (target, folder) = (scratch(name), library(profile));
    let mut command = compiler(false);
    command
        .args(["-std=c11", "-g", "-O1", "-pthread"])
        .args(WARNINGS)
        .args(flags);
    command
        .arg("-I")
        .arg(root().join("include"))
        .arg("-I")
        .arg(root().join("tests/c"));
    command.args(sources).arg("-o").arg(&target);
    command
        .arg("-L")
        .arg(folder)
        .arg("-lkvcache")
        .arg(format!("-Wl,-rpath,{}", folder.display()));
    succeed(&mut command);
    target
}

/// A source file of the tests.
pub fn source(name: &str) -> PathBuf {
    root().join("tests/c").join(name)
}

/// Runs a command and returns what it printed; panics with everything it said unless it succeeds.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail, and returns everything it said.
pub fn fail(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        !output.status.success(),
        "{command:?} should have failed:\n{}",
        said(&output)
    );
    said(&output)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn said(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}{err}")
}

/// Whether a tool is there. Says what is left out if not.
pub fn present(tool: &str, left_out: &str) -> bool {
    let there = Command::new(tool)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: {tool} is not installed: {left_out}");
    }
    there
}

/// As [`present`], for a tool that a proof needs: where nothing may be left out, its absence is a failure.
pub fn installed(tool: &str, left_out: &str) -> bool {
    let there = present(tool, left_out);
    assert!(
        there || env::var_os("KVC_CI").is_none_or(|value| value != "1"),
        "{tool} is not installed: {left_out}"
    );
    there
}
