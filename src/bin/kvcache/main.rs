//! The command-line program: plans, shows and measures the cache engine.
#![deny(unsafe_code)]

mod bench;
mod codec;
mod configfile;
mod content;
mod demo;
mod latency;
mod plan;
mod replay;
mod simulate;
mod size;
mod sys;
mod tierfile;
mod trace;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: sys::allocator::Counting = sys::allocator::Counting;

/// A static-allocation cache engine for attention key/value blocks
#[derive(Parser)]
#[command(name = "kvcache", arg_required_else_help = true, disable_help_subcommand = true)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints the exact bytes of everything that an engine of this configuration will ever hold
    Plan(plan::PlanArgs),
    /// The main job: a real trace through memory, NVMe and disk, killed on the way, goes on with what the files hold
    Demo(demo::DemoArgs),
    /// Replays a trace of requests through memory, NVMe and disk with real bytes, and checks every one that comes back;
    /// or through policies alone, to compare them
    Replay(replay::ReplayArgs),
    /// Searches sizes, policy, admission and prefetching by replay, and keeps what holds on a part of the trace that it
    /// did not search
    Tune(tune::TuneArgs),
    /// Verifies the file of a tier: exits with 0 where all is well, 1 where something is damaged, 2 where it is none
    Check(tierfile::CheckArgs),
    /// Shows what is in the file of a tier: segments and the newest records
    Inspect(tierfile::InspectArgs),
    /// Lists, tries and compares the codecs that tiers can hold blocks in, and trains their tables
    Codec(codec::CodecArgs),
    /// Measures the engine against the least that its work can cost
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let action = Command::parse().action;
    // The demonstration has a folder to clean up first.
    if !matches!(action, Action::Demo(_)) {
        sys::process::end_with_reader();
    }
    match action {
        Action::Plan(args) => outcome(plan::run(&args)),
        Action::Demo(args) => outcome(demo::run(&args)),
        Action::Replay(args) => outcome(replay::run(&args)),
        Action::Tune(args) => outcome(tune::run(&args)),
        Action::Check(args) => tierfile::check(&args),
        Action::Inspect(args) => tierfile::inspect(&args),
        Action::Codec(args) => outcome(codec::run(&args)),
        Action::Bench(args) => outcome(bench::run(&args)),
    }
}

/// 2 for a configuration that was refused, with the field, the value and what is permitted; 1 for whatever else went
/// wrong.
fn outcome(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("kvcache: {error}");
    match error.is::<kvcache::ConfigError>() || error.is::<configfile::Refused>() {
        true => ExitCode::from(2),
        false => ExitCode::FAILURE,
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("kvcache: {error}"),
    }
}
