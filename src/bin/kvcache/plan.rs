//! `kvcache plan`: the exact bytes of everything, before anything exists.

use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::budget::Component;
use kvcache::config::{FileTier, PolicyKind};
use kvcache::units::{Bytes, Tier};
use kvcache::{Config, ConfigError, Plan};
use serde::Serialize;

use crate::size;

/// The policies by the names that users type.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PolicyName {
    /// Least recently used; of blocks used together the deeper in its chain first.
    Lru,
    /// Three first-in-first-out queues.
    S3fifo,
    /// Least frequently used, where old uses count less.
    Lfu,
    /// Recency against frequency, in a proportion that is learnt.
    Arc,
    /// One queue with a hand that passes over what was used.
    Sieve,
    /// Uses weighed by the cost of computing a block again.
    Gdsf,
    /// What is worth least to the caller goes first.
    Importance,
    /// What will be wanted last goes first, by what was learnt; of a prompt the tail first.
    Hazard,
    /// Whichever of hazard, s3fifo and lru does best on a sample of the keys.
    Adaptive,
}

impl From<PolicyName> for PolicyKind {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Lru => Self::Lru,
            PolicyName::S3fifo => Self::S3Fifo,
            PolicyName::Lfu => Self::Lfu,
            PolicyName::Arc => Self::Arc,
            PolicyName::Sieve => Self::Sieve,
            PolicyName::Gdsf => Self::Gdsf,
            PolicyName::Importance => Self::Importance,
            PolicyName::Hazard => Self::Hazard,
            PolicyName::Adaptive => Self::Adaptive,
        }
    }
}

/// What decides the plan. Everything else in the configuration costs no memory.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Most bytes of one block
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    block_bytes: u64,
    /// Bytes of the memory tier's slots
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    cpu_bytes: u64,
    /// How victims are chosen
    #[arg(long, value_enum, default_value_t = PolicyName::Hazard)]
    policy: PolicyName,
    /// Most views held at once [default: 4096]
    #[arg(long, value_name = "COUNT")]
    pins: Option<u64>,
    /// Sets of own cache lines for readers, a power of two [default: 64]
    #[arg(long, value_name = "COUNT")]
    stripes: Option<u64>,
    /// Most lanes open at once [default: 8]
    #[arg(long, value_name = "COUNT")]
    lanes: Option<u64>,
    /// Most operations in flight on a lane, a power of two [default: 256]
    #[arg(long, value_name = "COUNT")]
    lane_depth: Option<u64>,
    /// Events remembered for routers, a power of two [default: 1024]
    #[arg(long, value_name = "COUNT")]
    events: Option<u64>,
    /// Worker threads; 0 is tick mode [default: 0]
    #[arg(long, value_name = "COUNT")]
    workers: Option<u64>,
    #[command(flatten)]
    files: Box<FileArgs>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What decides the plan of the file tiers.
#[derive(Args, Debug)]
pub struct FileArgs {
    /// Bytes of the NVMe tier's file; 0 for none [default: 0]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    nvme_bytes: Option<u64>,
    /// Bytes of the NVMe tier that are written and given up together [default: by the file's size]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    nvme_segment_bytes: Option<u64>,
    /// Most blocks known in the NVMe tier [default: as many of the largest as there is room for]
    #[arg(long, value_name = "COUNT")]
    nvme_blocks: Option<u64>,
    /// Most requests to the NVMe tier's device under way [default: 32]
    #[arg(long, value_name = "COUNT")]
    nvme_depth: Option<u64>,
    /// Bytes of the disk tier's file; 0 for none [default: 0]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    disk_bytes: Option<u64>,
    /// Bytes of the disk tier that are written and given up together [default: by the file's size]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    disk_segment_bytes: Option<u64>,
    /// Most blocks known in the disk tier [default: as many of the largest as there is room for]
    #[arg(long, value_name = "COUNT")]
    disk_blocks: Option<u64>,
    /// Most requests to the disk tier's device under way [default: 32]
    #[arg(long, value_name = "COUNT")]
    disk_depth: Option<u64>,
}

impl PlanArgs {
    fn config(&self) -> Config {
        let default = Config::default();
        Config {
            block_bytes: self.block_bytes,
            cpu_bytes: self.cpu_bytes,
            policy: self.policy.into(),
            pins_count: self.pins.unwrap_or(default.pins_count),
            stripes_count: self.stripes.unwrap_or(default.stripes_count),
            lanes_count: self.lanes.unwrap_or(default.lanes_count),
            lane_depth: self.lane_depth.unwrap_or(default.lane_depth),
            events_count: self.events.unwrap_or(default.events_count),
            workers_count: self.workers.unwrap_or(default.workers_count),
            nvme: self.files.nvme(),
            disk: self.files.disk(),
            ..default
        }
    }
}

impl FileArgs {
    fn nvme(&self) -> FileTier {
        file_tier(
            self.nvme_bytes,
            self.nvme_segment_bytes,
            self.nvme_blocks,
            self.nvme_depth,
        )
    }

    fn disk(&self) -> FileTier {
        file_tier(
            self.disk_bytes,
            self.disk_segment_bytes,
            self.disk_blocks,
            self.disk_depth,
        )
    }
}

/// A file tier that costs what is said here, and the rest by default.
fn file_tier(bytes: Option<u64>, segment_bytes: Option<u64>, blocks: Option<u64>, depth: Option<u64>) -> FileTier {
    let default = FileTier::NONE;
    FileTier {
        bytes: bytes.unwrap_or(default.bytes),
        segment_bytes: segment_bytes.unwrap_or(default.segment_bytes),
        blocks_count: blocks.unwrap_or(default.blocks_count),
        depth: depth.unwrap_or(default.depth),
        ..default
    }
}

/// Prints the plan.
///
/// # Errors
/// The field of the configuration that is wrong.
pub fn run(args: &PlanArgs) -> Result<(), ConfigError> {
    let plan = Plan::compute(&args.config())?;
    if args.json {
        crate::print_json(&PlanJson::new(&plan));
    } else {
        println!("{}", table(&plan));
        println!("{}", totals(&plan));
    }
    Ok(())
}

/// The components that there are.
fn parts(plan: &Plan) -> impl Iterator<Item = &Component> {
    plan.components().iter().filter(|component| component.bytes != 0)
}

/// The tiers that have a file, and its bytes.
fn files(plan: &Plan) -> impl Iterator<Item = (Tier, u64)> {
    let tiers = Tier::ALL.into_iter().map(|tier| (tier, plan.file_bytes(tier)));
    tiers.filter(|(_, bytes)| *bytes != 0)
}

/// The plan as a table.
pub fn table(plan: &Plan) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "component",
        "tier",
        "count",
        "bytes each",
        "bytes",
        "share",
    ]);
    for component in parts(plan) {
        table.add_row([
            Cell::new(component.name),
            Cell::new(component.tier.name()),
            number(component.count),
            number(component.bytes_each),
            number(component.bytes),
            number(share(component.bytes, plan)),
        ]);
    }
    table
}

/// What the components add up to, in lines; then the files, which are no memory.
pub fn totals(plan: &Plan) -> String {
    let line = |name: &str, bytes: u64| format!("{name:<22}{:>12}  {bytes:>20} bytes\n", Bytes(bytes).to_string());
    let mut lines = line("metadata", plan.metadata_bytes());
    if plan.buffers_bytes() != 0 {
        lines += &line("buffers", plan.buffers_bytes());
    }
    lines += &line("slots", plan.slots_bytes());
    lines += &line("total", plan.bytes());
    for (tier, bytes) in files(plan) {
        lines += &line(&format!("file of {}", tier.name()), bytes);
    }
    format!(
        "{lines}{:<22}{:>12.1}  bytes of key, index, state and policy\n{:<22}{:>12}",
        "metadata per block",
        plan.metadata_bytes_per_block(),
        "blocks",
        plan.blocks_count(),
    )
}

fn number(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

fn share(bytes: u64, plan: &Plan) -> String {
    match 100.0 * bytes as f64 / plan.bytes() as f64 {
        ..0.01 => String::from("< 0.01 %"),
        percent => format!("{percent:.2} %"),
    }
}

#[derive(Serialize)]
struct PlanJson {
    blocks_count: u64,
    slots_count: u64,
    slot_bytes: u64,
    metadata_bytes: u64,
    buffers_bytes: u64,
    slots_bytes: u64,
    bytes: u64,
    metadata_bytes_per_block: f64,
    files: Vec<FileJson>,
    components: Vec<ComponentJson>,
}

#[derive(Serialize)]
struct FileJson {
    tier: &'static str,
    bytes: u64,
    segment_bytes: u64,
    segments_count: u64,
    blocks_count: u64,
}

#[derive(Serialize)]
struct ComponentJson {
    name: &'static str,
    tier: &'static str,
    metadata: bool,
    offset: u64,
    count: u64,
    bytes_each: u64,
    bytes: u64,
}

impl PlanJson {
    fn new(plan: &Plan) -> Self {
        Self {
            blocks_count: plan.blocks_count(),
            slots_count: plan.slots_count(),
            slot_bytes: plan.slot_bytes(),
            metadata_bytes: plan.metadata_bytes(),
            buffers_bytes: plan.buffers_bytes(),
            slots_bytes: plan.slots_bytes(),
            bytes: plan.bytes(),
            metadata_bytes_per_block: plan.metadata_bytes_per_block(),
            files: files(plan)
                .map(|(tier, bytes)| FileJson {
                    tier: tier.name(),
                    bytes,
                    segment_bytes: plan.log(tier).segment_bytes,
                    segments_count: plan.log(tier).segments_count,
                    blocks_count: plan.log(tier).blocks_count,
                })
                .collect(),
            components: parts(plan)
                .map(|component| ComponentJson {
                    name: component.name,
                    tier: component.tier.name(),
                    metadata: component.metadata,
                    offset: component.offset,
                    count: component.count,
                    bytes_each: component.bytes_each,
                    bytes: component.bytes,
                })
                .collect(),
        }
    }
}
