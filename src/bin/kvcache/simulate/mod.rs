//! `kvcache replay --metadata-only`: a trace through policies that hold nothing but metadata.
//!
//! The policies are the engine's own code. A trace is read line by line, once for each policy and capacity, and nothing
//! of it is kept but a batch: memory is what the policies take. Two things need more: shares of the trace's unique
//! blocks, which a first pass counts, and `min`, which knows the whole trace.

pub mod admission;
pub mod choice;
mod min;
mod plot;
pub mod prefetch;
mod report;
pub mod score;
pub mod stream;
pub mod tiers;

use std::error::Error;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;
use kvcache::config::{PolicyKind, Prefetch};
use kvcache::policy::{Reuse, Shadow};

use crate::plan::PolicyName;
use crate::replay::AdmissionName;
use crate::trace::TraceError;
use choice::Choice;
use min::Whole;
use prefetch::{Ahead, Settings};
use report::{Report, Row};
use stream::{Census, Stream};
use tiers::Tiers;

pub use stream::Source;

/// Capacities of a sweep that names none, in percent of the trace's unique blocks.
const SWEEP_PERCENT: [f64; 7] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0];
/// Blocks that may wait for their use, for each block of the first tier, where nothing is said of it.
const ROOM_CAPACITIES: u32 = 10;
/// Most blocks of a tier.
pub const CAPACITY_MAX: i64 = 1 << 28;

/// What to simulate.
#[derive(Args, Debug)]
#[command(next_help_heading = "Without payload")]
pub struct SimulateArgs {
    /// The policies by themselves: no payload, no engine, a share of the time
    #[arg(
        long,
        conflicts_with_all = [
            "dir", "block_bytes", "cpu_bytes", "nvme_bytes", "disk_bytes", "write_policy", "endurance_per_day", "io",
            "prefetch", "workers", "overwrite", "kill_at", "counts",
        ]
    )]
    pub metadata_only: bool,
    /// Blocks that the cache holds
    #[arg(long, value_name = "COUNT[,COUNT...]", requires = "metadata_only", conflicts_with = "capacity_percent",
          value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=CAPACITY_MAX))]
    capacity_blocks: Vec<u32>,
    /// The same as a share of the trace's unique blocks, in percent
    #[arg(long, value_name = "PERCENT[,PERCENT...]", requires = "metadata_only", value_delimiter = ',',
          value_parser = percent)]
    capacity_percent: Vec<f64>,
    /// Blocks of a second tier below: what the first gives up is written to it unless it is there, what hits there is
    /// copied up and stays
    #[arg(long, value_name = "COUNT", requires = "metadata_only", conflicts_with = "tier2_percent",
          value_parser = clap::value_parser!(u32).range(1..=CAPACITY_MAX))]
    tier2_blocks: Option<u32>,
    /// The same as a share of the trace's unique blocks, in percent
    #[arg(long, value_name = "PERCENT", requires = "metadata_only", value_parser = percent)]
    tier2_percent: Option<f64>,
    /// Most blocks raised ahead of use that wait, beside the cache; 0 raises none [default: as --prefetch-percent, of a
    /// sweep 0]
    #[arg(long, value_name = "COUNT", requires = "metadata_only", conflicts_with = "prefetch_percent",
          value_parser = clap::value_parser!(u32).range(0..=CAPACITY_MAX))]
    prefetch_blocks: Option<u32>,
    /// The same as a share of the trace's unique blocks, in percent [default: ten times the cache's blocks]
    #[arg(long, value_name = "PERCENT", requires = "metadata_only", value_parser = percent)]
    prefetch_percent: Option<f64>,
    /// Least probability of being used, in thousandths, at which blocks are raised [default: 290, as the engine's]
    #[arg(long, value_name = "PERMILLE", requires = "metadata_only",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    prefetch_confidence: Option<u32>,
    /// All policies named (or all there are) at all capacities named [default: 0.25 to 25 percent]
    #[arg(long, requires = "metadata_only")]
    sweep: bool,
    /// Draws the sweep's hit ratios against the capacity, with the best possible ones: an SVG or a PNG
    #[arg(long, value_name = "FILE", requires = "sweep")]
    plot: Option<PathBuf>,
    /// Tokens of a full block [default: the power of two nearest to what the trace has for each block]
    #[arg(long, value_name = "COUNT", requires = "metadata_only", value_parser = clap::value_parser!(u64).range(1..))]
    block_tokens: Option<u64>,
}

impl SimulateArgs {
    fn says_capacity(&self) -> bool {
        !self.capacity_blocks.is_empty() || !self.capacity_percent.is_empty()
    }
}

/// A share of something in percent.
fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("permitted is more than 0 and at most 100".into()),
    }
}

/// A capacity, as it was asked for and in blocks.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    blocks: u32,
    percent: Option<f64>,
}

impl Capacity {
    fn of_percent(percent: f64, unique: u64) -> Self {
        let blocks = (unique as f64 * percent / 100.0) as u64;
        Self {
            blocks: blocks.clamp(1, CAPACITY_MAX as u64) as u32,
            percent: Some(percent),
        }
    }

    fn of_blocks(blocks: u32) -> Self {
        Self { blocks, percent: None }
    }
}

/// Everything that the rows of a run have in common.
struct Setting<'a> {
    source: &'a Source,
    block_tokens: u64,
    accesses: u64,
    below: Option<(Capacity, AdmissionName)>,
    loss_permille: u64,
    ahead: Foresight,
}

/// What is raised ahead of use.
#[derive(Clone, Copy)]
struct Foresight {
    /// Most raised blocks that wait; `None`: as a multiple of the first tier's.
    blocks: Option<u32>,
    confidence_permille: u32,
}

impl Foresight {
    fn settings(&self, capacity: u32, accesses: u64) -> Option<Settings> {
        let room_blocks = self.blocks.unwrap_or(capacity.saturating_mul(ROOM_CAPACITIES));
        (room_blocks != 0).then_some(Settings {
            room_blocks,
            accesses,
            confidence_permille: self.confidence_permille,
        })
    }
}

/// What a configuration says where the arguments say nothing; nothing by default.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// The policy.
    pub policy: Option<PolicyKind>,
    /// Blocks of the first tier.
    pub capacity_blocks: Option<u32>,
    /// Blocks of the second.
    pub below_blocks: Option<u32>,
    /// What is written to it.
    pub admission: Option<AdmissionName>,
    /// Hits that admission by reuse may cost, in thousandths.
    pub loss_permille: u64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            policy: None,
            capacity_blocks: None,
            below_blocks: None,
            admission: None,
            loss_permille: Reuse::LOSS_PERMILLE,
        }
    }
}

/// Simulates and prints. `policies` may be empty: the default, or all in a sweep.
///
/// # Errors
/// Arguments that contradict each other; a trace or a file for the drawing that can't be used.
pub fn run(
    args: &SimulateArgs,
    source: &Source,
    policies: &[Choice],
    admission: Option<AdmissionName>,
    defaults: &Defaults,
    json: bool,
) -> Result<(), Box<dyn Error>> {
    let plot = args.plot.as_deref().map(plot::Format::of).transpose()?;
    let tier2_blocks = args
        .tier2_blocks
        .or(defaults.below_blocks.filter(|_| args.tier2_percent.is_none()));
    let two_tiers = tier2_blocks.is_some() || args.tier2_percent.is_some();
    if admission.is_some() && !two_tiers {
        return Err("--admission is for a second tier: say --tier2-blocks or --tier2-percent".into());
    }
    let policies = chosen_policies(args, policies, defaults, plot.is_some(), two_tiers)?;
    let own_size = defaults
        .capacity_blocks
        .filter(|_| !args.sweep && !args.says_capacity());
    let percents = match own_size {
        Some(_) => Vec::new(),
        None => chosen_percents(args)?,
    };

    let counted = !percents.is_empty() || args.tier2_percent.is_some() || args.prefetch_percent.is_some();
    let census = Census::take(source, counted)?;
    let unique = census.unique.unwrap_or(0);
    let mut capacities: Vec<Capacity> = percents.iter().map(|&of| Capacity::of_percent(of, unique)).collect();
    capacities.extend(
        args.capacity_blocks
            .iter()
            .copied()
            .chain(own_size)
            .map(Capacity::of_blocks),
    );
    let below = match (args.tier2_percent, tier2_blocks) {
        (Some(percent), _) => Some(Capacity::of_percent(percent, unique)),
        (None, blocks) => blocks.map(Capacity::of_blocks),
    };
    let ahead_asked = args.prefetch_confidence.is_some();
    let ahead = match (args.prefetch_percent, args.prefetch_blocks) {
        (Some(percent), _) => Some(Capacity::of_percent(percent, unique).blocks),
        (None, None) if args.sweep && !ahead_asked => Some(0),
        (None, blocks) => blocks,
    };
    let setting = Setting {
        source,
        block_tokens: args.block_tokens.unwrap_or(census.block_tokens),
        accesses: census.accesses,
        below: below.map(|below| (below, admission.or(defaults.admission).unwrap_or(AdmissionName::All))),
        loss_permille: defaults.loss_permille,
        ahead: Foresight {
            blocks: ahead,
            confidence_permille: args
                .prefetch_confidence
                .unwrap_or(Prefetch::OFF.confidence_permille as u32),
        },
    };
    let rows = simulate(&setting, &policies, &capacities)?;
    let report = Report::new(&setting, &census, rows);
    if let (Some(path), Some(format)) = (&args.plot, plot) {
        plot::draw(path, format, &report)?;
    }
    match (json, args.sweep) {
        (true, true) => crate::print_json(&report),
        (true, false) => report.rows().first().into_iter().for_each(crate::print_json),
        (false, _) => println!("{}", report.table()),
    }
    Ok(())
}

/// The policies of a run, each once.
fn chosen_policies(
    args: &SimulateArgs,
    named: &[Choice],
    defaults: &Defaults,
    plot: bool,
    two_tiers: bool,
) -> Result<Vec<Choice>, String> {
    let default = defaults.policy.map_or(PolicyName::Hazard, PolicyName::from);
    let mut policies = match (named.is_empty(), args.sweep) {
        (false, _) => named.to_vec(),
        (true, true) => Choice::all(),
        (true, false) => vec![Choice::Policy(default)],
    };
    if plot {
        policies.push(Choice::Min);
    }
    if two_tiers {
        if named.iter().any(|choice| choice.is_min()) {
            return Err("min knows one tier only: leave --tier2-blocks and --tier2-percent out, or min".into());
        }
        policies.retain(|choice| !choice.is_min());
    }
    let mut names = Vec::new();
    policies.retain(|choice| {
        let new = !names.contains(&choice.name());
        names.push(choice.name());
        new
    });
    if !args.sweep && policies.len() > 1 {
        return Err("several policies are a --sweep".into());
    }
    Ok(policies)
}

/// The capacities in percent; none where they are in blocks.
fn chosen_percents(args: &SimulateArgs) -> Result<Vec<f64>, String> {
    if !args.sweep && args.capacity_blocks.len().max(args.capacity_percent.len()) > 1 {
        return Err("several capacities are a --sweep".into());
    }
    if args.says_capacity() {
        return Ok(args.capacity_percent.clone());
    }
    match args.sweep {
        true => Ok(SWEEP_PERCENT.into()),
        false => Err("say how large the cache is: --capacity-blocks or --capacity-percent".into()),
    }
}

/// All policies at all capacities, the rows by capacity.
fn simulate(setting: &Setting, policies: &[Choice], capacities: &[Capacity]) -> Result<Vec<Row>, Box<dyn Error>> {
    let online = |capacity: &Capacity| -> Vec<(PolicyName, Capacity)> {
        let policy = |choice: &Choice| match choice {
            Choice::Policy(policy) => Some((*policy, *capacity)),
            Choice::Min => None,
        };
        policies.iter().filter_map(policy).collect()
    };
    let jobs: Vec<(PolicyName, Capacity)> = capacities.iter().flat_map(online).collect();
    let mut rows = in_parallel(&jobs, |&(policy, capacity)| one(setting, policy, capacity))?.into_iter();
    let mut mins = Vec::new();
    if policies.iter().any(|choice| choice.is_min()) {
        let whole = Whole::read(setting.source)?;
        for capacity in capacities {
            let begin = Instant::now();
            let score = whole.min(capacity.blocks, setting.block_tokens);
            mins.push(Row::new(Choice::Min, *capacity, score, begin.elapsed()));
        }
    }
    let mut mins = mins.into_iter();
    let mut all = Vec::new();
    for _ in capacities {
        for choice in policies {
            all.extend(if choice.is_min() { mins.next() } else { rows.next() });
        }
    }
    Ok(all)
}

/// Does the jobs, as many at a time as there are processors, and keeps their order.
pub fn in_parallel<J: Sync, R: Send>(
    jobs: &[J],
    work: impl Fn(&J) -> Result<R, TraceError> + Sync,
) -> Result<Vec<R>, TraceError> {
    let results: Vec<Mutex<Option<Result<R, TraceError>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        // Relaxed: a number is handed out once whatever the order; the scope's end is what hands the results over.
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < jobs.len()) {
            let result = work(&jobs[number]);
            if result.is_err() {
                next.store(jobs.len(), Ordering::Relaxed);
            }
            if let Ok(mut slot) = results[number].lock() {
                *slot = Some(result);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    let results = results.into_iter().filter_map(|slot| slot.into_inner().ok().flatten());
    results.collect()
}

/// One policy at one capacity.
fn one(setting: &Setting, policy: PolicyName, capacity: Capacity) -> Result<Row, TraceError> {
    let begin = Instant::now();
    let near = Memory::new(policy, capacity.blocks);
    let below = setting
        .below
        .map(|(capacity, admission)| (Memory::new(policy, capacity.blocks), admission));
    let mut tiers = Tiers::new(near.shadow(), setting.block_tokens);
    if let Some((memory, name)) = &below {
        let rule = match name {
            AdmissionName::Reuse => admission::reuse(memory.capacity, setting.loss_permille),
            name => admission::admission(*name, memory.capacity),
        };
        tiers = tiers.with_below(capacity.blocks, memory.shadow(), rule);
    }
    let ahead = setting.ahead.settings(capacity.blocks, setting.accesses);
    if let Some(settings) = ahead {
        tiers = tiers.with_ahead(Ahead::new(settings));
    }
    let mut stream = Stream::open(setting.source)?;
    while let Some(batch) = stream.next()? {
        tiers.run(batch);
    }
    let mut row = Row::new(Choice::Policy(policy), capacity, tiers.score(), begin.elapsed());
    row.measured(&tiers, ahead.map_or(0, |settings| settings.room_blocks));
    Ok(row)
}

/// What a shadow lives in.
pub struct Memory {
    policy: PolicyName,
    capacity: u32,
    words: Vec<AtomicU64>,
    halves: Vec<AtomicU32>,
}

impl Memory {
    /// An empty one.
    pub fn new(policy: PolicyName, capacity: u32) -> Self {
        let storage = Shadow::storage(policy.into(), capacity);
        Self {
            policy,
            capacity,
            words: (0..storage.words).map(|_| AtomicU64::new(0)).collect(),
            halves: (0..storage.halves).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The shadow over it.
    pub fn shadow(&self) -> Shadow<'_> {
        Shadow::new(self.policy.into(), self.capacity, &self.words, &self.halves)
    }
}
