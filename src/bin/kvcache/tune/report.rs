//! What was found, as a table, as JSON, as a configuration and as arguments of `kvcache plan`.

use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::config::{Admission, Prefetch};
use kvcache::units::{Bytes, Tier};
use kvcache::{Config, ConfigError, Plan};
use serde::Serialize;

use super::field::Field;
use super::search::{Found, Search, Step, Tried, Unseen, name_of};
use crate::replay::AdmissionName;

/// A configuration in a file: what was settled, under the names of `kvc_config_t`.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    block_bytes: u64,
    cpu_bytes: u64,
    policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nvme_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nvme_admission: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admission_loss_permille: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefetch: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefetch_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefetch_confidence_permille: Option<u64>,
}

/// The smallest NVMe tier that knows so many blocks.
///
/// # Errors
/// The configuration is refused even so.
fn nvme_bytes(config: &Config, blocks: u32, bytes_max: Option<u64>) -> Result<u64, ConfigError> {
    const MIB: u64 = 1 << 20;
    let with = |bytes| {
        let mut config = *config;
        config.nvme.bytes = bytes;
        Plan::compute(&config)
    };
    let enough = |bytes| with(bytes).is_ok_and(|plan| plan.log(Tier::Nvme).blocks_count >= u64::from(blocks));
    let mut bytes = (u64::from(blocks) * config.block_bytes).next_multiple_of(MIB);
    while !enough(bytes) && bytes < kvcache::limits::FILE_BYTES_MAX {
        bytes = (bytes + bytes / 64 + MIB).next_multiple_of(MIB);
    }
    let bytes = bytes.min(bytes_max.unwrap_or(u64::MAX));
    with(bytes).map(|_| bytes)
}

impl Configuration {
    /// Of what was found, with what the engine will take for it.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn new(found: &Found, block_bytes: u64, nvme_bytes_max: Option<u64>) -> Result<(Self, Plan), ConfigError> {
        let setup = found.setup;
        let mut config = Config {
            block_bytes,
            policy: setup.policy.into(),
            ..Config::default()
        };
        config.cpu_bytes = u64::from(setup.blocks) * config.slot_bytes();
        let is_two = setup.below_blocks != 0;
        if is_two {
            config.nvme.bytes = nvme_bytes(&config, setup.below_blocks, nvme_bytes_max)?;
            config.nvme.admission = Admission::from(setup.rule.admission);
            config.admission_loss_permille = setup.rule.loss_permille;
        }
        if let Some(budget) = found.budget {
            config.prefetch = Prefetch {
                turns: true,
                bytes: u64::from(budget.room_blocks) * config.slot_bytes(),
                confidence_permille: u64::from(budget.confidence_permille),
                ..Prefetch::OFF
            };
        }
        let plan = Plan::compute(&config)?;
        let is_reuse = is_two && setup.rule.admission == AdmissionName::Reuse;
        let prefetch = Some(config.prefetch).filter(Prefetch::is_on);
        let configuration = Self {
            block_bytes,
            cpu_bytes: config.cpu_bytes,
            policy: name_of(&setup.policy),
            nvme_bytes: is_two.then_some(config.nvme.bytes),
            nvme_admission: is_two.then(|| name_of(&setup.rule.admission)),
            admission_loss_permille: is_reuse.then_some(config.admission_loss_permille),
            prefetch: prefetch.map(|_| "turns"),
            prefetch_bytes: prefetch.map(|prefetch| prefetch.bytes),
            prefetch_confidence_permille: prefetch.map(|prefetch| prefetch.confidence_permille),
        };
        Ok((configuration, plan))
    }

    /// The same as arguments of `kvcache plan`: the fields' names with dashes.
    pub fn arguments(&self) -> String {
        let mut text = String::from("kvcache plan");
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text += &format!(" --{name} {value}");
            }
        };
        add("block-bytes", Some(self.block_bytes.to_string()));
        add("cpu-bytes", Some(self.cpu_bytes.to_string()));
        add("policy", Some(self.policy.clone()));
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        add("nvme-bytes", number(self.nvme_bytes));
        add("nvme-admission", self.nvme_admission.clone());
        add("admission-loss-permille", number(self.admission_loss_permille));
        add("prefetch", self.prefetch.map(String::from));
        add("prefetch-bytes", number(self.prefetch_bytes));
        add(
            "prefetch-confidence-permille",
            number(self.prefetch_confidence_permille),
        );
        text
    }
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct TriedJson {
    name: String,
    searched_ratio: f64,
    searched_gain_of_doubling: Option<f64>,
    searched_tier2_writes: u64,
    searched_prefetch_waste: Option<f64>,
}

/// How the best of a step did.
#[derive(Debug, Serialize)]
struct UnseenJson {
    ratio_before: f64,
    ratio_after: f64,
    gain: f64,
    /// `null` where nothing can be said of it.
    gain_noise: Option<f64>,
    slices_more: usize,
    slices_less: usize,
    tier2_writes_before: u64,
    tier2_writes_after: u64,
    prefetch_waste: Option<f64>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    step: &'static str,
    counted: &'static str,
    from: String,
    to: String,
    taken: bool,
    reason: String,
    tried: Vec<TriedJson>,
    unseen: Option<UnseenJson>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    trace: String,
    requests: u64,
    accesses: u64,
    block_tokens: u64,
    searched_requests: u64,
    searched_accesses: u64,
    searched_blocks_unique: u64,
    unseen_requests: u64,
    unseen_slices: usize,
    changes_taken: usize,
    together: UnseenJson,
    steps: Vec<StepJson>,
    configuration: Configuration,
    plan_command: String,
    memory_bytes: u64,
}

impl UnseenJson {
    fn new(unseen: &Unseen, in_memory: bool) -> Self {
        let ratio = |tally: &super::field::Tally| match in_memory {
            true => tally.block_hit_ratio(),
            false => tally.prefix_token_hit_ratio(),
        };
        Self {
            ratio_before: ratio(&unseen.before),
            ratio_after: ratio(&unseen.after),
            gain: unseen.ratio.mean,
            gain_noise: Some(unseen.ratio.noise).filter(|noise| noise.is_finite()),
            slices_more: unseen.ratio.more,
            slices_less: unseen.ratio.less,
            tier2_writes_before: unseen.before.writes,
            tier2_writes_after: unseen.after.writes,
            prefetch_waste: Some(unseen.after.waste()).filter(|_| unseen.after.raised > 0),
        }
    }
}

impl StepJson {
    fn new(step: &Step) -> Self {
        let tried = |tried: &Tried| TriedJson {
            name: tried.name.clone(),
            searched_ratio: tried.ratio,
            searched_gain_of_doubling: tried.doubling,
            searched_tier2_writes: tried.writes,
            searched_prefetch_waste: tried.waste,
        };
        Self {
            step: step.name,
            counted: step.counted,
            from: step.from.clone(),
            to: step.to.clone(),
            taken: step.taken,
            reason: step.reason.clone(),
            tried: step.tried.iter().map(tried).collect(),
            unseen: step
                .unseen
                .as_ref()
                .map(|unseen| UnseenJson::new(unseen, step.name == "prefetch")),
        }
    }
}

impl Report {
    /// Of a search that is done.
    pub fn new(
        trace: String,
        field: &Field,
        search: &Search,
        together: &Unseen,
        (configuration, plan): (Configuration, Plan),
    ) -> Self {
        Self {
            trace,
            requests: field.all.requests,
            accesses: field.all.accesses,
            block_tokens: field.block_tokens,
            searched_requests: field.searched.requests,
            searched_accesses: field.searched.accesses,
            searched_blocks_unique: field.searched.unique.unwrap_or(0),
            unseen_requests: field.all.requests - field.searched.requests,
            unseen_slices: field.slices(),
            changes_taken: search.steps.iter().filter(|step| step.taken).count(),
            together: UnseenJson::new(together, false),
            steps: search.steps.iter().map(StepJson::new).collect(),
            plan_command: configuration.arguments(),
            configuration,
            memory_bytes: plan.bytes(),
        }
    }

    /// What is written to a file.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}: {} requests, {} blocks of {} tokens\nsearched on the first {} requests ({} blocks, {} different \
             ones); gains are shown on the other {}, in {} slices\n",
            self.trace,
            self.requests,
            self.accesses,
            self.block_tokens,
            self.searched_requests,
            self.searched_accesses,
            self.searched_blocks_unique,
            self.unseen_requests,
            self.unseen_slices,
        );
        for step in &self.steps {
            text += &format!("\n{}\n{}\n", step.step, step.table());
            text += &match step.taken {
                true => format!("taken: {} → {}: {}\n", step.from, step.to, step.reason),
                false if step.from == step.to => format!("kept: {}: {}\n", step.from, step.reason),
                false => format!("kept: {}, not {}: {}\n", step.from, step.to, step.reason),
            };
        }
        text += &format!("\nwhat each change gains on the unseen part\n{}\n", self.table());
        if self.changes_taken == 0 {
            text += "nothing is gained by a change: the default is kept\n";
        }
        text + &format!(
            "the engine will take {} of memory: {}",
            Bytes(self.memory_bytes),
            self.plan_command
        )
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "change",
            "from",
            "to",
            "hits before",
            "after",
            "points",
            "± chance",
            "slices",
            "written",
            "after",
            "",
        ]);
        for step in &self.steps {
            if let Some(unseen) = &step.unseen {
                let verdict = if step.taken { "taken" } else { "not taken" };
                table.add_row(unseen.cells(step.step, &step.from, &step.to, verdict));
            }
        }
        table.add_row(self.together.cells("all together", "default", "as taken", ""));
        table
    }
}

impl UnseenJson {
    fn cells(&self, name: &str, from: &str, to: &str, verdict: &str) -> Vec<Cell> {
        vec![
            Cell::new(name),
            Cell::new(from),
            Cell::new(to),
            right(format!("{:.4}", self.ratio_before)),
            right(format!("{:.4}", self.ratio_after)),
            right(format!("{:+.2}", 100.0 * self.gain)),
            right(
                self.gain_noise
                    .map_or_else(|| String::from("–"), |noise| format!("{:.2}", 100.0 * noise)),
            ),
            right(format!("{}+ {}-", self.slices_more, self.slices_less)),
            right(self.tier2_writes_before),
            right(self.tier2_writes_after),
            Cell::new(verdict),
        ]
    }
}

impl StepJson {
    /// What was tried, on the searched part.
    fn table(&self) -> Table {
        let is_sizes = self.tried.iter().any(|tried| tried.searched_gain_of_doubling.is_some());
        let is_ahead = self.step == "prefetch";
        let has_writes = self.tried.iter().any(|tried| tried.searched_tier2_writes != 0);
        let mut header = vec![
            "tried on the searched part",
            if is_ahead {
                "blocks in memory"
            } else {
                "prefix tokens hit"
            },
        ];
        header.extend(is_sizes.then_some("points for the doubling"));
        header.extend(is_ahead.then_some("raised in vain"));
        header.extend(has_writes.then_some("written"));
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
        for tried in &self.tried {
            let mut cells = vec![Cell::new(&tried.name), right(format!("{:.4}", tried.searched_ratio))];
            let or_none = |value: Option<String>| right(value.unwrap_or_else(|| String::from("–")));
            if is_sizes {
                cells.push(or_none(
                    tried
                        .searched_gain_of_doubling
                        .map(|gain| format!("{:+.2}", 100.0 * gain)),
                ));
            }
            if is_ahead {
                cells.push(or_none(
                    tried
                        .searched_prefetch_waste
                        .map(|waste| format!("{:.1} %", 100.0 * waste)),
                ));
            }
            if has_writes {
                cells.push(right(tried.searched_tier2_writes));
            }
            table.add_row(cells);
        }
        table
    }
}

fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}
