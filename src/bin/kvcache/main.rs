//! The command-line program: plans, shows and measures the cache engine.
#![deny(unsafe_code)]

mod bench;
mod demo;
mod plan;
mod size;
mod sys;

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
    /// Shows the engine at work: blocks in and out, checked, evictions, views, prefixes, statistics
    Demo,
    /// Measures the engine against the least that its work can cost
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    match Command::parse().action {
        Action::Plan(args) => refused(plan::run(&args)),
        Action::Demo => outcome(demo::run()),
        Action::Bench(args) => outcome(bench::run(&args)),
    }
}

/// 2 for a configuration that was refused, with the field, the value and the permitted range.
fn refused(result: Result<(), kvcache::ConfigError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvcache: {error}");
            ExitCode::from(2)
        }
    }
}

/// 1 for whatever else went wrong.
fn outcome(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvcache: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("kvcache: {error}"),
    }
}
