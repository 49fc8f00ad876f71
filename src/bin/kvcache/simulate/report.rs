//! What simulations counted, as JSON and as a table.

use std::time::Duration;

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::choice::Choice;
use super::score::Score;
use super::stream::Census;
use super::tiers::Tiers;
use super::{Capacity, Setting};

/// One policy at one capacity.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The policy's name.
    pub policy: String,
    /// Blocks that the cache holds: of the first tier, where there are two.
    pub capacity_blocks: u32,
    /// The same in percent of the trace's unique blocks, where it was asked for so.
    pub capacity_percent: Option<f64>,
    /// Requests replayed.
    requests: u64,
    /// Blocks of all requests.
    accesses: u64,
    /// Share of the tokens that hit, in any tier, with everything before them in their request.
    pub prefix_token_hit_ratio: f64,
    /// Share of the blocks that were in any tier when their request came.
    block_hit_ratio: f64,
    /// See [`Tiers::ns_per_access_p50`]; nothing for `min`.
    ns_per_access_p50: Option<f64>,
    /// Bytes that the policy takes for each block of its capacity; nothing for `min`.
    metadata_bytes_per_block: Option<f64>,
    /// Blocks of the second tier; 0: there is none.
    tier2_capacity_blocks: u32,
    /// Which blocks the second tier takes.
    admission: Option<String>,
    /// Blocks that hit in the second tier.
    tier2_hits: u64,
    /// Blocks written to the second tier.
    tier2_writes: u64,
    /// Most blocks raised ahead of use that wait; 0: none are raised.
    prefetch_capacity_blocks: u32,
    /// Share of the blocks raised ahead of use that were used.
    prefetch_precision: Option<f64>,
    /// Share of the first tier's misses of blocks that are below it that were raised by then.
    prefetch_recall: Option<f64>,
    /// Share of the blocks raised ahead of use that were given up unused.
    prefetch_waste: Option<f64>,
    /// Time from raising to use, on average.
    prefetch_lead_ms_mean: Option<f64>,
    /// Blocks raised ahead of use.
    prefetch_raised: u64,
    /// Of those, the ones used.
    prefetch_used: u64,
    /// Of those, the ones given up unused.
    prefetch_wasted: u64,
    /// Blocks asked for that were below the first tier and not raised.
    prefetch_missed: u64,
    /// Time of the whole simulation, reading included.
    seconds: f64,
}

impl Row {
    pub(super) fn new(choice: Choice, capacity: Capacity, score: Score, time: Duration) -> Self {
        Self {
            policy: choice.name(),
            capacity_blocks: capacity.blocks,
            capacity_percent: capacity.percent,
            requests: 0,
            accesses: score.accesses,
            prefix_token_hit_ratio: score.prefix_token_hit_ratio(),
            block_hit_ratio: score.block_hit_ratio(),
            ns_per_access_p50: None,
            metadata_bytes_per_block: None,
            tier2_capacity_blocks: 0,
            admission: None,
            tier2_hits: 0,
            tier2_writes: 0,
            prefetch_capacity_blocks: 0,
            prefetch_precision: None,
            prefetch_recall: None,
            prefetch_waste: None,
            prefetch_lead_ms_mean: None,
            prefetch_raised: 0,
            prefetch_used: 0,
            prefetch_wasted: 0,
            prefetch_missed: 0,
            seconds: time.as_secs_f64(),
        }
    }

    /// Adds what only a policy that ran has.
    pub(super) fn measured(&mut self, tiers: &Tiers, prefetch_blocks: u32) {
        self.prefetch_capacity_blocks = prefetch_blocks;
        self.ns_per_access_p50 = Some(tiers.ns_per_access_p50());
        self.metadata_bytes_per_block = Some(tiers.metadata_bytes_per_block());
        if let Some(below) = tiers.below() {
            self.tier2_hits = below.hits;
            self.tier2_writes = below.writes;
        }
        if let Some(counts) = tiers.ahead() {
            self.prefetch_precision = counts.precision();
            self.prefetch_recall = counts.recall();
            self.prefetch_waste = counts.waste();
            self.prefetch_lead_ms_mean = counts.lead_ms_mean();
            self.prefetch_raised = counts.raised;
            self.prefetch_used = counts.used;
            self.prefetch_wasted = counts.wasted;
            self.prefetch_missed = counts.missed;
        }
    }
}

/// All rows of a run, and what they have in common.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The trace's file.
    pub trace: String,
    requests: u64,
    accesses: u64,
    blocks_unique: Option<u64>,
    block_tokens: u64,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(setting: &Setting, census: &Census, mut rows: Vec<Row>) -> Self {
        for row in &mut rows {
            row.requests = census.requests;
            if let Some((capacity, admission)) = setting.below {
                row.tier2_capacity_blocks = capacity.blocks;
                row.admission = admission.to_possible_value().map(|value| value.get_name().into());
            }
        }
        let name = setting.source.path.file_name().unwrap_or_default();
        Self {
            trace: name.to_string_lossy().into_owned(),
            requests: census.requests,
            accesses: census.accesses,
            blocks_unique: census.unique,
            block_tokens: setting.block_tokens,
            rows,
        }
    }

    /// By capacity, then as the policies were named.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// For people.
    pub fn table(&self) -> String {
        let two_tiers = self.rows.iter().any(|row| row.tier2_capacity_blocks != 0);
        let mut header = vec![
            "capacity",
            "policy",
            "prefix tokens hit",
            "of min",
            "blocks hit",
            "ns/access",
            "B/block",
        ];
        if two_tiers {
            header.extend(["tier 2", "hits there", "written"]);
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
        for row in &self.rows {
            let capacity = match row.capacity_percent {
                Some(percent) => format!("{percent} %, {}", row.capacity_blocks),
                None => row.capacity_blocks.to_string(),
            };
            let best = self
                .rows
                .iter()
                .find(|other| other.policy == Choice::Min.name() && other.capacity_blocks == row.capacity_blocks);
            let of_min = best.map(|best| ratio(row.prefix_token_hit_ratio / best.prefix_token_hit_ratio));
            let mut cells = vec![
                right(capacity),
                Cell::new(&row.policy),
                right(ratio(row.prefix_token_hit_ratio)),
                right(of_min.unwrap_or_else(none)),
                right(ratio(row.block_hit_ratio)),
                right(row.ns_per_access_p50.map_or_else(none, |ns| format!("{ns:.0}"))),
                right(
                    row.metadata_bytes_per_block
                        .map_or_else(none, |bytes| format!("{bytes:.1}")),
                ),
            ];
            if two_tiers {
                cells.extend([
                    right(row.tier2_capacity_blocks),
                    right(row.tier2_hits),
                    right(row.tier2_writes),
                ]);
            }
            table.add_row(cells);
        }
        let mut text = format!(
            "{table}\n{}: {} requests, {} blocks of {} tokens",
            self.trace, self.requests, self.accesses, self.block_tokens
        );
        if let Some(unique) = self.blocks_unique {
            text += &format!(", {unique} different ones");
        }
        text
    }
}

fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

fn ratio(share: f64) -> String {
    match share.is_finite() {
        true => format!("{share:.4}"),
        false => none(),
    }
}

fn none() -> String {
    String::from("–")
}
