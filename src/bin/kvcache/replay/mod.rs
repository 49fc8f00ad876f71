//! `kvcache replay`: a trace of requests through the memory tier and the file tiers, with real bytes.
//!
//! For every request the longest prefix that is there is matched, its blocks are loaded and every byte of them is
//! checked, and the missing blocks are stored. The requests are read before the engine opens, so that from then on
//! nothing calls the heap: memory grows with `--requests`, eight bytes a block.

mod folder;
pub mod outcome;
mod progress;
mod run;
mod sizes;
mod table;

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kvcache::config::{Admission, IoEngine, WritePolicy};

use crate::configfile::ConfigFile;
use crate::plan::PolicyName;
use crate::simulate::choice::Choice;
use crate::simulate::{self, SimulateArgs};
use crate::size;
use crate::sys::process;
use crate::trace::Requests;

pub use outcome::Outcome;
pub use table::table;

/// Which blocks the file tiers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdmissionName {
    /// All
    All,
    /// Those that were used again
    SecondHit,
    /// Those of a kind that is asked for again
    Reuse,
}

/// When blocks are written to the first file tier.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WritePolicyName {
    /// When memory is about to give them up
    Back,
    /// As soon as they are committed
    Through,
}

/// How the NVMe tier's file is read and written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum IoName {
    /// io_uring where it is permitted, else pread and pwrite
    Auto,
    /// io_uring, or nothing
    Uring,
    /// pread and pwrite
    Positional,
}

/// How the trace's block numbers become keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeysName {
    /// A number stands for the block and all before it, as in Mooncake's traces
    Id,
    /// A number stands for the block alone: its key is chained to the one before it
    Chain,
}

/// What to replay, and on what.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The trace: JSON lines in the form of Mooncake, plain or zstd
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// A configuration as JSON, with the names of the fields of kvc_config_t; the other arguments go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for the tier files, nvme.kvc and disk.kvc; a second run goes on with what they hold [default: a temporary
    /// folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only the first so many requests of the trace
    #[arg(long, value_name = "COUNT")]
    requests: Option<usize>,
    /// Pass over so many requests first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    from: usize,
    /// Bytes of each block [default: 64KiB, or what the files in DIR hold]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    block_bytes: Option<u64>,
    /// Bytes of the memory tier's slots [default: a 32nd of all different blocks, at most 1 GiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    cpu_bytes: Option<u64>,
    /// Bytes of the NVMe tier's file, 0 for none [default: an eighth of all different blocks, at most 4 GiB; or that of
    /// the file in DIR]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    nvme_bytes: Option<u64>,
    /// Bytes of the disk tier's file, 0 for none [default: half of all different blocks, at most 8 GiB; or that of the
    /// file in DIR]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    disk_bytes: Option<u64>,
    /// How victims are chosen; in a sweep several [default: lru; in a sweep all]
    #[arg(long, value_name = "NAME[,NAME...]", value_delimiter = ',', value_parser = Choice::parser())]
    policy: Vec<Choice>,
    /// Which blocks the file tiers take [default: all]
    #[arg(long, value_enum)]
    admission: Option<AdmissionName>,
    /// When blocks are written to the first file tier [default: back]
    #[arg(long, value_enum)]
    write_policy: Option<WritePolicyName>,
    /// Most bytes written to each file in 24 hours [default: no bound]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    endurance_per_day: Option<u64>,
    /// How the NVMe tier's file is read and written [default: auto]
    #[arg(long, value_enum)]
    io: Option<IoName>,
    /// How the trace's block numbers become keys
    #[arg(long, value_enum, default_value_t = KeysName::Id)]
    keys: KeysName,
    /// Begin copying up all of a prefix's blocks before the first one is loaded
    #[arg(long)]
    prefetch: bool,
    /// Worker threads; 0: the replay drives the engine between its calls [default: 0]
    #[arg(long, value_name = "COUNT")]
    workers: Option<u64>,
    /// Overwrite files in DIR that hold something else
    #[arg(long)]
    overwrite: bool,
    /// Die of SIGKILL once so much of the requests is done, in percent, after printing what was counted
    #[arg(long, value_name = "PERCENT", requires = "dir", value_parser = clap::value_parser!(u8).range(1..=99))]
    kill_at: Option<u8>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// What was counted, for adding up several runs
    #[arg(long, hide = true)]
    counts: bool,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    simulate: SimulateArgs,
}

impl ReplayArgs {
    /// The engine's policy, if one was asked for.
    ///
    /// # Errors
    /// More than one, or one that knows the future.
    fn engine_policy(&self) -> Result<Option<PolicyName>, String> {
        match self.policy[..] {
            [] => Ok(None),
            [Choice::Policy(policy)] => Ok(Some(policy)),
            [Choice::Min] => Err("--policy min is for --metadata-only".into()),
            _ => Err("several policies are for --metadata-only --sweep".into()),
        }
    }
}

/// Replays and prints.
///
/// # Errors
/// A trace, a configuration or files that can't be used; bytes that were wrong.
pub fn run(args: &ReplayArgs) -> Result<(), Box<dyn Error>> {
    let file = args
        .config
        .as_deref()
        .map(ConfigFile::read)
        .transpose()?
        .unwrap_or_default();
    if args.simulate.metadata_only {
        let source = simulate::Source {
            path: args.trace.clone(),
            from: args.from,
            requests_max: args.requests.unwrap_or(usize::MAX),
            keys: args.keys,
        };
        let defaults = sizes::defaults(&file)?;
        return simulate::run(
            &args.simulate,
            &source,
            &args.policy,
            args.admission,
            &defaults,
            args.json,
        );
    }
    args.engine_policy()?;
    let requests = Requests::read(&args.trace, args.requests.unwrap_or(usize::MAX))?;
    if args.from >= requests.list().len() {
        let count = requests.list().len();
        return Err(format!("--from {}: there are only {count} requests", args.from).into());
    }
    let folder = folder::Folder::open(args.dir.as_deref())?;
    let config = sizes::config(args, &file, &requests, &folder)?;
    let last_words = |outcome: &Outcome| print(args, outcome);
    let ending = args.kill_at.map(|percent| run::Ending {
        requests_count: (requests.list().len() * usize::from(percent) / 100).max(args.from + 1),
        last_words: &last_words,
    });
    process::catch_interrupts();
    let outcome = run::run(args, &config, &requests, &folder, ending.as_ref())?;
    drop(folder);
    print(args, &outcome);
    match (outcome.wrong_bytes, outcome.interrupted) {
        (0, false) => Ok(()),
        (0, true) => Err("interrupted; the figures are of what was done".into()),
        (count, _) => Err(format!("{count} bytes were wrong").into()),
    }
}

fn print(args: &ReplayArgs, outcome: &Outcome) {
    if args.counts {
        crate::print_json(outcome);
    } else if args.json {
        crate::print_json(&outcome.report());
    } else {
        println!("{}", table(outcome));
    }
}

impl From<AdmissionName> for Admission {
    fn from(name: AdmissionName) -> Self {
        match name {
            AdmissionName::All => Self::All,
            AdmissionName::SecondHit => Self::SecondHit,
            AdmissionName::Reuse => Self::Reuse,
        }
    }
}

impl From<Admission> for AdmissionName {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::All => Self::All,
            Admission::SecondHit => Self::SecondHit,
            Admission::Reuse => Self::Reuse,
        }
    }
}

impl From<WritePolicyName> for WritePolicy {
    fn from(name: WritePolicyName) -> Self {
        match name {
            WritePolicyName::Back => Self::Back,
            WritePolicyName::Through => Self::Through,
        }
    }
}

impl From<IoName> for IoEngine {
    fn from(name: IoName) -> Self {
        match name {
            IoName::Auto => Self::Auto,
            IoName::Uring => Self::Uring,
            IoName::Positional => Self::Positional,
        }
    }
}
