//! `kvcache plan`: the exact bytes of everything, before anything exists.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::budget::Component;
use kvcache::config::{Admission, PolicyKind};
use kvcache::units::{Bytes, Tier};
use kvcache::{Config, Plan};
use serde::Serialize;

use crate::configfile::{self, ConfigFile, Refused};
use crate::replay::AdmissionName;
use crate::size;

/// The policies by the names that users type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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

impl From<PolicyKind> for PolicyName {
    fn from(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::Lru => Self::Lru,
            PolicyKind::S3Fifo => Self::S3fifo,
            PolicyKind::Lfu => Self::Lfu,
            PolicyKind::Arc => Self::Arc,
            PolicyKind::Sieve => Self::Sieve,
            PolicyKind::Gdsf => Self::Gdsf,
            PolicyKind::Importance => Self::Importance,
            PolicyKind::Hazard => Self::Hazard,
            PolicyKind::Adaptive => Self::Adaptive,
        }
    }
}

/// What decides the plan, and what `kvcache tune` finds out. Everything else in the configuration costs no memory.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// A configuration as JSON, with the names of the fields of kvc_config_t; the other arguments go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Most bytes of one block
    #[arg(long, value_name = "SIZE", value_parser = size::parse, required_unless_present = "config")]
    block_bytes: Option<u64>,
    /// Bytes of the memory tier's slots
    #[arg(long, value_name = "SIZE", value_parser = size::parse, required_unless_present = "config")]
    cpu_bytes: Option<u64>,
    /// How victims are chosen [default: hazard]
    #[arg(long, value_enum)]
    policy: Option<PolicyName>,
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
    /// Which blocks the NVMe tier takes [default: all]
    #[arg(long, value_enum)]
    nvme_admission: Option<AdmissionName>,
    /// Which blocks the disk tier takes [default: all]
    #[arg(long, value_enum)]
    disk_admission: Option<AdmissionName>,
    /// Share of a file tier's hits that admission by reuse may cost, in thousandths [default: 50]
    #[arg(long, value_name = "PERMILLE")]
    admission_loss_permille: Option<u64>,
    /// What is copied up ahead of its use: turns, sequences, successors, or none [default: none]
    #[arg(long, value_name = "NAME[,NAME...]", value_parser = configfile::prefetch_mode)]
    prefetch: Option<u64>,
    /// Conversations that prefetching remembers [default: 4096]
    #[arg(long, value_name = "COUNT")]
    prefetch_conversations_count: Option<u64>,
    /// Successors that prefetching remembers [default: 65536]
    #[arg(long, value_name = "COUNT")]
    prefetch_successors_count: Option<u64>,
    /// Least probability of being used at which a block is copied up ahead, in thousandths [default: 500]
    #[arg(long, value_name = "PERMILLE")]
    prefetch_confidence_permille: Option<u64>,
    /// Most bytes of blocks copied up ahead and not used yet [default: an eighth of the memory tier]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    prefetch_bytes: Option<u64>,
}

/// Sets what was asked for.
fn set(field: &mut u64, asked: Option<u64>) {
    *field = asked.unwrap_or(*field);
}

impl PlanArgs {
    /// What the file says, and what the arguments say otherwise.
    fn config(&self) -> Result<Config, Refused> {
        let mut config = Config::default();
        if let Some(path) = &self.config {
            ConfigFile::read(path)?.apply(&mut config);
        }
        set(&mut config.block_bytes, self.block_bytes);
        set(&mut config.cpu_bytes, self.cpu_bytes);
        config.policy = self.policy.map_or(config.policy, PolicyKind::from);
        set(&mut config.pins_count, self.pins);
        set(&mut config.stripes_count, self.stripes);
        set(&mut config.lanes_count, self.lanes);
        set(&mut config.lane_depth, self.lane_depth);
        set(&mut config.events_count, self.events);
        set(&mut config.workers_count, self.workers);
        self.files.set(&mut config);
        Ok(config)
    }
}

impl FileArgs {
    fn set(&self, config: &mut Config) {
        let (nvme, disk) = (&mut config.nvme, &mut config.disk);
        set(&mut nvme.bytes, self.nvme_bytes);
        set(&mut nvme.segment_bytes, self.nvme_segment_bytes);
        set(&mut nvme.blocks_count, self.nvme_blocks);
        set(&mut nvme.depth, self.nvme_depth);
        set(&mut disk.bytes, self.disk_bytes);
        set(&mut disk.segment_bytes, self.disk_segment_bytes);
        set(&mut disk.blocks_count, self.disk_blocks);
        set(&mut disk.depth, self.disk_depth);
        nvme.admission = self.nvme_admission.map_or(nvme.admission, Admission::from);
        disk.admission = self.disk_admission.map_or(disk.admission, Admission::from);
        set(&mut config.admission_loss_permille, self.admission_loss_permille);
        let prefetch = &mut config.prefetch;
        if let Some(changed) = self.prefetch.and_then(|mode| prefetch.with_mode(mode)) {
            *prefetch = changed;
        }
        set(&mut prefetch.conversations_count, self.prefetch_conversations_count);
        set(&mut prefetch.successors_count, self.prefetch_successors_count);
        set(&mut prefetch.confidence_permille, self.prefetch_confidence_permille);
        set(&mut prefetch.bytes, self.prefetch_bytes);
    }
}

/// Prints the plan.
///
/// # Errors
/// The field of the configuration that is wrong, or of the file that holds it.
pub fn run(args: &PlanArgs) -> Result<(), Box<dyn Error>> {
    let plan = Plan::compute(&args.config()?)?;
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
