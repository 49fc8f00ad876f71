//! `kvcache bench`: the engine against the least that its work can cost, in one run.
//!
//! Machines are shared and noisy: between two runs every figure may move by half. So what is compared is measured
//! alternately, round by round (look-ups one by one even sample by sample), and what counts are the ratios.

mod codec;
mod copies;
mod floor;
mod lookup;
mod machine;
mod report;
mod seals;
mod tiers;

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kvcache::codec::Isa;
use serde::Serialize;

use crate::codec::name::{self, Codec};
use report::{Report, Wanted};

/// What to measure.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Section {
    /// Look-ups, copies, heap and system calls, the time to open
    Core,
    /// The NVMe tier beside raw I/O: throughput, one cold block, hits in memory meanwhile
    Tiers,
    /// Codecs: encoding and decoding on one core beside the streaming copy, on two cores, heap calls
    Codec,
}

/// How to measure.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value_t = Section::Core)]
    section: Section,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Rounds in which everything is measured once; the medians count
    #[arg(long, value_name = "COUNT", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// For the tiers: the folder whose file system is measured; needs some 6 GB
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// For the codecs: which, more than one if given again; all if not given
    #[arg(long = "codec", value_name = "NAME", value_delimiter = ',', value_parser = str::parse::<Codec>)]
    codecs: Vec<Codec>,
    /// For the codecs: instructions to use, portable, avx2 or avx512; the best that the machine has if not given
    #[arg(long, value_parser = name::isa)]
    isa: Option<Isa>,
}

/// Measures and prints.
///
/// # Errors
/// The system's, or an engine that answers wrongly.
pub fn run(args: &BenchArgs) -> Result<(), Box<dyn Error>> {
    let rounds = usize::from(args.rounds);
    match args.section {
        Section::Core => {
            let report = core(rounds)?;
            show(&report, &report.wanted, args.json);
        }
        Section::Tiers => {
            let report = tiers::measure(rounds, &args.dir)?;
            show(&report, &report.wanted, args.json);
        }
        Section::Codec => {
            let report = codec::measure(rounds, &args.codecs, args.isa.unwrap_or_else(Isa::detect))?;
            match args.json {
                true => crate::print_json(&report),
                false => print!("{}", report.text()),
            }
        }
    }
    Ok(())
}

fn show(figures: &impl Serialize, wanted: &[Wanted], json: bool) {
    if json {
        crate::print_json(figures);
    } else {
        print!("{}", report::text(figures, wanted));
    }
}

fn core(rounds: usize) -> Result<Report, Box<dyn Error>> {
    // First of all: it forks, and the fewer pages there are the better.
    let seals = seals::measure()?;
    let lookups = lookup::measure(rounds)?;
    let copies = copies::measure(rounds)?;
    let churned = &lookups.churned;
    let fresh = &lookups.fresh;
    let wanted = vec![
        Wanted::at_most("match_ns_per_key / floor_ns_per_key", fresh.match_ratio, 2.0),
        Wanted::at_most(
            "hit_serialised_p50_ns / floor_serialised_p50_ns",
            fresh.hit_p50_ratio,
            1.5,
        ),
        Wanted::at_most(
            "hit_serialised_p99_ns / floor_serialised_p99_ns",
            fresh.hit_p99_ratio,
            1.3,
        ),
        Wanted::at_most("churned: match_ns_per_key / floor_ns_per_key", churned.match_ratio, 2.0),
        Wanted::at_most("churned: hit_serialised_p50_ns / floor_…", churned.hit_p50_ratio, 1.5),
        Wanted::at_most("churned: hit_serialised_p99_ns / floor_…", churned.hit_p99_ratio, 1.3),
        Wanted::at_least("get_cold_2mib_gbps / stream_copy_2mib_gbps", copies.get_ratio, 0.95),
        Wanted::at_least("get_cold_2mib_gbps / memcpy_2mib_gbps", copies.memcpy_ratio, 1.5),
        Wanted::at_least("get_hot_2threads / get_hot_1thread", copies.hot_ratio, 1.8),
        Wanted::at_most("heap_calls_per_op", seals.heap_calls_per_op, 0.0),
        Wanted::at_most("syscalls_per_hit", seals.syscalls_per_hit, 0.0),
        Wanted::at_most("metadata_bytes_per_block", seals.metadata_bytes_per_block, 128.0),
        Wanted::at_most("open_16gib_ms", seals.open_16gib_ms, 100.0),
    ];
    Ok(Report {
        section: "core",
        rounds_count: rounds,
        machine: machine::describe(lookups.huge_pages_bytes)?,
        lookups,
        copies,
        seals,
        wanted,
    })
}

/// The middle of `values`.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
