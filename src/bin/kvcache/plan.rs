//! `kvcache plan`: the exact bytes of everything, before anything exists.

use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::config::PolicyKind;
use kvcache::units::Bytes;
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
}

impl From<PolicyName> for PolicyKind {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Lru => Self::Lru,
            PolicyName::S3fifo => Self::S3Fifo,
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
    #[arg(long, value_enum, default_value_t = PolicyName::Lru)]
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
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
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
            ..default
        }
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
    for component in plan.components().iter().filter(|component| component.bytes != 0) {
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

/// What the components add up to, in lines.
pub fn totals(plan: &Plan) -> String {
    let slots_bytes = plan.bytes() - plan.metadata_bytes();
    let line = |name: &str, bytes: u64| format!("{name:<22}{:>12}  {bytes:>20} bytes\n", Bytes(bytes).to_string());
    format!(
        "{}{}{}{:<22}{:>12.1}  bytes of key, index, state and policy\n{:<22}{:>12}",
        line("metadata", plan.metadata_bytes()),
        line("slots", slots_bytes),
        line("total", plan.bytes()),
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
    slots_bytes: u64,
    bytes: u64,
    metadata_bytes_per_block: f64,
    components: Vec<ComponentJson>,
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
            slots_bytes: plan.bytes() - plan.metadata_bytes(),
            bytes: plan.bytes(),
            metadata_bytes_per_block: plan.metadata_bytes_per_block(),
            components: plan
                .components()
                .iter()
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
