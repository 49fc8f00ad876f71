//! `kvcache tune`: policy, sizes, admission and prefetching for a trace, by replay without payload.
//!
//! What it finds it finds on the first part of the trace, and what it says of a gain it has seen on the rest.

mod field;
mod noise;
mod report;
mod search;
mod trial;

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use clap::Args;
use kvcache::units::Tier;
use kvcache::{Config, Plan};

use crate::replay::KeysName;
use crate::simulate::{CAPACITY_MAX, Source};
use crate::size;
use field::Field;
use report::{Configuration, Report};
use search::{Bounds, Search};

/// What to search, and within what bounds.
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// The trace: JSON lines in the form of Mooncake, plain or zstd
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Most bytes of the memory tier's slots; bookkeeping comes on top [default: all different blocks]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "capacity_blocks_max")]
    memory_bytes_max: Option<u64>,
    /// The same in blocks
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=CAPACITY_MAX))]
    capacity_blocks_max: Option<u32>,
    /// Most bytes of a second tier's file, 0 for no such tier [default: all different blocks]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "tier2_blocks_max")]
    nvme_bytes_max: Option<u64>,
    /// The same in blocks
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=CAPACITY_MAX))]
    tier2_blocks_max: Option<u32>,
    /// Bytes of each block
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "64KiB")]
    block_bytes: u64,
    /// How much of the trace is searched, in percent of its blocks; the rest shows what holds
    #[arg(long, value_name = "PERCENT", default_value_t = 60, value_parser = clap::value_parser!(u8).range(10..=90))]
    search_percent: u8,
    /// Points of the hit ratio that doubling a tier has to gain, and that a filter of writes may cost
    #[arg(long, value_name = "POINTS", default_value_t = 1.0, value_parser = points)]
    gain_min: f64,
    /// Only the first so many requests of the trace
    #[arg(long, value_name = "COUNT")]
    requests: Option<usize>,
    /// Pass over so many requests first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    from: usize,
    /// How the trace's block numbers become keys
    #[arg(long, value_enum, default_value_t = KeysName::Id)]
    keys: KeysName,
    /// Tokens of a full block [default: the power of two nearest to what the trace has for each block]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    block_tokens: Option<u64>,
    /// Where the configuration goes, as JSON [default: it is only shown]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if points > 0.0 && points <= 50.0 => Ok(points),
        _ => Err("permitted is more than 0 and at most 50".into()),
    }
}

/// Searches, prints, and writes the configuration.
///
/// # Errors
/// A trace that can't be used or is too short, a file that can't be written, sizes that the engine refuses.
pub fn run(args: &TuneArgs) -> Result<(), Box<dyn Error>> {
    // Sizes and the place for the result are looked at before minutes go by.
    let config = Config {
        block_bytes: args.block_bytes,
        cpu_bytes: 1 << 30,
        ..Config::default()
    };
    Plan::compute(&Config {
        cpu_bytes: args.memory_bytes_max.unwrap_or(config.slot_bytes()),
        ..config
    })?;
    if let Some(path) = &args.out {
        writable(path)?;
    }
    let below_bytes = args.nvme_bytes_max.filter(|bytes| *bytes != 0);
    let below_blocks = match below_bytes {
        Some(bytes) => {
            let mut config = config;
            config.nvme.bytes = bytes;
            Some(Plan::compute(&config)?.log(Tier::Nvme).blocks_count)
        }
        None => args.nvme_bytes_max.or(args.tier2_blocks_max.map(u64::from)),
    };
    let source = Source {
        path: args.trace.clone(),
        from: args.from,
        requests_max: args.requests.unwrap_or(usize::MAX),
        keys: args.keys,
    };
    let field = Field::cut(source, args.search_percent, args.block_tokens)?;
    let unique = field.searched.unique.unwrap_or(1);
    let blocks = |count: u64| count.min(CAPACITY_MAX as u64) as u32;
    let memory_blocks = args.memory_bytes_max.map(|bytes| bytes / config.slot_bytes());
    let bounds = Bounds {
        blocks_max: blocks(
            memory_blocks
                .or(args.capacity_blocks_max.map(u64::from))
                .unwrap_or(unique),
        ),
        below_blocks_max: blocks(below_blocks.unwrap_or(unique)),
        gain_min: args.gain_min / 100.0,
    };
    let mut search = Search::new(&field, bounds);
    let together = search.run()?;
    let configuration = Configuration::new(&search.found, args.block_bytes, below_bytes)?;
    let name = args
        .trace
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let report = Report::new(name, &field, &search, &together, configuration);
    let configuration = serde_json::to_string_pretty(report.configuration())? + "\n";
    if let Some(path) = &args.out {
        replace(path, &configuration)?;
    }
    match (args.json, &args.out) {
        (true, _) => crate::print_json(&report),
        (false, Some(path)) => println!("{}\nwritten to {}", report.text(), path.display()),
        (false, None) => print!("{}\n\n{configuration}", report.text()),
    }
    Ok(())
}

/// The path of what is written before it takes its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn unwritable(path: &Path, error: &std::io::Error) -> String {
    format!(
        "--out {}: {error}; name a file in a folder where you may write",
        path.display()
    )
}

/// Whether a file can be written there; leaves nothing behind.
fn writable(path: &Path) -> Result<(), String> {
    if path.exists() {
        let opened = OpenOptions::new().write(true).open(path);
        return opened.map(drop).map_err(|error| unwritable(path, &error));
    }
    let part = beside(path);
    let made = OpenOptions::new().write(true).create_new(true).open(&part);
    made.and_then(|_| fs::remove_file(&part))
        .map_err(|error| unwritable(path, &error))
}

/// Puts a file in place whole or not at all; what is no plain file is written to.
fn replace(path: &Path, text: &str) -> Result<(), String> {
    let written = match path.exists() && !path.is_file() {
        true => fs::write(path, text),
        false => {
            let part = beside(path);
            fs::write(&part, text).and_then(|()| fs::rename(&part, path))
        }
    };
    written.map_err(|error| unwritable(path, &error))
}
