//! Figures, what was wanted of them, and how both are shown.

use std::borrow::Cow;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::copies::Copies;
use super::lookup::Lookups;
use super::machine::Machine;
use super::seals::Seals;

/// Everything that one run measured. The groups are flat in the JSON object, except the second state of the look-ups.
#[derive(Serialize)]
pub struct Report {
    /// What was measured.
    pub section: &'static str,
    /// Rounds that the medians were taken over.
    pub rounds_count: usize,
    /// Where.
    pub machine: Machine,
    /// Look-ups.
    #[serde(flatten)]
    pub lookups: Lookups,
    /// Copies.
    #[serde(flatten)]
    pub copies: Copies,
    /// Heap, kernel, metadata, opening.
    #[serde(flatten)]
    pub seals: Seals,
    /// The bounds.
    pub wanted: Vec<Wanted>,
}

/// One bound.
#[derive(Serialize)]
pub struct Wanted {
    /// What is bounded.
    pub field: Cow<'static, str>,
    /// What it came to.
    pub value: f64,
    /// `<=` or `>=`.
    pub relation: &'static str,
    /// The bound.
    pub bound: f64,
    /// Whether it holds.
    pub met: bool,
}

impl Wanted {
    /// A bound from above.
    pub fn at_most(field: impl Into<Cow<'static, str>>, value: f64, bound: f64) -> Self {
        Self {
            field: field.into(),
            value: rounded(value),
            relation: "<=",
            bound,
            met: value <= bound,
        }
    }

    /// A bound from below.
    pub fn at_least(field: impl Into<Cow<'static, str>>, value: f64, bound: f64) -> Self {
        Self {
            relation: ">=",
            met: value >= bound,
            ..Self::at_most(field, value, bound)
        }
    }
}

/// A report for people: every figure, then every bound.
pub fn text(report: &impl Serialize, wanted: &[Wanted]) -> String {
    let mut figures = Table::new();
    figures
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["figure", "value"]);
    if let Ok(Value::Object(fields)) = serde_json::to_value(report) {
        for (name, value) in fields.iter().filter(|(name, _)| *name != "wanted") {
            add(&mut figures, name, value);
        }
    }
    format!("{figures}\n{}\n", bounds(wanted))
}

/// Every bound.
pub fn bounds(wanted: &[Wanted]) -> Table {
    let mut bounds = Table::new();
    bounds
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["ratio or figure", "value", "wanted", ""]);
    for wanted in wanted {
        bounds.add_row([
            Cell::new(&wanted.field),
            right(format!("{:.3}", wanted.value)),
            right(format!("{} {}", wanted.relation, wanted.bound)),
            Cell::new(if wanted.met { "yes" } else { "NO" }),
        ]);
    }
    bounds
}

fn add(table: &mut Table, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                add(table, &format!("{name}.{field}"), value);
            }
        }
        Value::String(text) => {
            table.add_row([Cell::new(name), right(text.clone())]);
        }
        other => {
            table.add_row([Cell::new(name), right(other.to_string())]);
        }
    }
}

/// A cell with a number.
pub fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Three decimals: more would be noise.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
