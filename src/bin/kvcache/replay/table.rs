//! What a replay counted, for people.

use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::units::Bytes;

use super::outcome::{Outcome, TIER_NAMES};

/// The tiers as a table, and what concerns all of them in lines below it.
pub fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "tier", "through", "hits", "read", "GB/s", "p50", "p99", "written", "GB/s", "blocks",
    ]);
    for (place, (name, tier)) in TIER_NAMES.into_iter().zip(&outcome.tiers).enumerate() {
        if tier.io == "none" {
            continue;
        }
        let io = if tier.offline {
            format!("{}, OFFLINE", tier.io)
        } else {
            tier.io.clone()
        };
        let time = |share: f64| match tier.hits {
            0 => String::from("–"),
            _ => microseconds(tier.load_times.percentile_us(share)),
        };
        table.add_row([
            Cell::new(name),
            Cell::new(io),
            right(tier.hits),
            right(Bytes(tier.bytes_read)),
            right(rate(outcome.read_gbps(place))),
            right(time(0.5)),
            right(time(0.99)),
            right(Bytes(tier.bytes_written)),
            right(rate(outcome.write_gbps(place))),
            right(tier.blocks),
        ]);
    }
    let mut text = table.to_string();
    for (name, value) in lines(outcome) {
        text += &format!("\n{name:<24}{value}");
    }
    text
}

/// What concerns all tiers. What is rarely anything is left out where it is nothing.
fn lines(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let mut lines = vec![
        (
            "requests",
            format!("{}, {} blocks", outcome.requests, outcome.blocks_accessed),
        ),
        (
            "loaded",
            format!(
                "{} blocks, {:.1} % of the tokens; {} missing and stored",
                outcome.hits(),
                percent(outcome.tokens_hit, outcome.tokens_accessed),
                outcome.misses
            ),
        ),
        (
            "opened in",
            format!(
                "{:.1} ms, {} blocks recovered",
                outcome.opened_ns as f64 / 1e6,
                outcome.recovered_blocks
            ),
        ),
        ("took", format!("{:.1} s", outcome.run_ns as f64 / 1e9)),
    ];
    if outcome.flush_ns != 0 && outcome.flush != "KVC_E_UNSUPPORTED" {
        lines.push((
            "flush",
            format!(
                "{}, {} blocks in {:.1} ms",
                outcome.flush,
                outcome.flushed_blocks,
                outcome.flush_ns as f64 / 1e6
            ),
        ));
    }
    for (name, count) in [
        ("damaged at open", outcome.damaged),
        ("repeated I/O", outcome.io_retries),
        ("failed I/O", outcome.io_errors),
        ("not stored", outcome.stores_refused),
        ("given up unwritten", outcome.writes_skipped),
        ("not admitted below", outcome.writes_refused),
    ] {
        if count != 0 {
            lines.push((name, count.to_string()));
        }
    }
    lines.push(("checksum failures", outcome.checksum_failures.to_string()));
    lines.push(("wrong bytes", outcome.wrong_bytes.to_string()));
    lines.push(("heap calls after open", outcome.heap_calls_after_open.to_string()));
    lines
}

fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

fn rate(gbps: f64) -> String {
    match gbps {
        0.0 => String::from("–"),
        _ => format!("{gbps:.2}"),
    }
}

fn microseconds(us: f64) -> String {
    match us {
        ..10.0 => format!("{us:.1} µs"),
        ..10_000.0 => format!("{us:.0} µs"),
        _ => format!("{:.0} ms", us / 1000.0),
    }
}
