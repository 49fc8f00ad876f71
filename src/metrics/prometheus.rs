//! The text that a Prometheus scraper reads (exposition format 0.0.4).
//!
//! Base units throughout: seconds and bytes. Latencies are summaries with the quantiles 0.5, 0.9 and 0.99; an operation
//! that was never recorded in a tier has no series.

use core::fmt::{self, Write};

use crate::metrics::counter::{Counter, Counters};
use crate::metrics::histogram::{HistogramSnapshot, Histograms, Operation};
use crate::units::Tier;

#[cfg(all(test, not(loom)))]
mod tests;

/// Quantiles of the latency summaries: the label and the parts per million.
const QUANTILES: [(&str, u32); 3] = [("0.5", 500_000), ("0.9", 900_000), ("0.99", 990_000)];

const LATENCY: &str = "kvcache_operation_latency_seconds";
const LATENCY_MAX: &str = "kvcache_operation_latency_max_seconds";

/// How a number is written.
#[derive(Clone, Copy)]
enum Unit {
    Number,
    /// Nanoseconds, written as seconds.
    Nanoseconds,
}

macro_rules! gauges {
    (
        $(#[doc = $doc:literal])+ $name:ident, $table:ident:
        $($field:ident, $unit:ident, $prometheus:literal, $help:literal;)+
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $help] pub $field: u64,)+
        }

        const $table: &[(&str, &str, Unit, fn(&$name) -> u64)] =
            &[$((concat!("kvcache_", $prometheus), $help, Unit::$unit, |gauges| gauges.$field)),+];
    };
}

gauges! {
    /// What the engine as a whole holds at the moment of the call. Fields with `_ns` in their names are
    /// nanoseconds here and seconds in the text.
    Gauges, ENGINE_GAUGES:
    engine_generation, Number, "engine_generation", "Which opening of this process the engine is.";
    uptime_ns, Nanoseconds, "uptime_seconds", "Time since the engine opened.";
    blocks_capacity, Number, "blocks_capacity", "Blocks that the block table can hold.";
    blocks_resident, Number, "blocks_resident", "Blocks that can be read.";
    reservations_open, Number, "reservations_open", "Blocks being filled by a producer.";
    pins_capacity, Number, "pins_capacity", "Pins that can be held at once.";
    pins_held, Number, "pins_held", "Pins held.";
    pin_age_ns_max, Nanoseconds, "pin_age_max_seconds", "Age of the oldest pin.";
    lanes_capacity, Number, "lanes_capacity", "Lanes that can be open at once.";
    lanes_open, Number, "lanes_open", "Lanes open.";
    operations_in_flight, Number, "operations_in_flight", "Operations submitted and not yet completed.";
    events_capacity, Number, "events_capacity", "Events that the event ring holds.";
    event_sequence_next, Number, "event_sequence_next", "The number that the next event will have.";
    dedup_bytes_saved, Number, "dedup_saved_bytes", "Bytes of blocks in memory that share another block's slot.";
}

gauges! {
    /// What one tier holds at the moment of the call.
    TierGauges, TIER_GAUGES:
    bytes_capacity, Number, "tier_capacity_bytes", "Bytes for blocks in the tier.";
    bytes_used, Number, "tier_used_bytes", "Bytes of the tier that hold blocks.";
    slots_capacity, Number, "tier_slots_capacity", "Slots for blocks in the tier.";
    slots_free, Number, "tier_slots_free", "Slots of the tier that are free.";
    blocks_resident, Number, "tier_blocks_resident", "Blocks that the tier holds.";
}

/// Everything that is written.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'s> {
    /// How often each thing happened.
    pub counters: Counters<'s>,
    /// How long operations took.
    pub histograms: Histograms<'s>,
    /// What the engine holds.
    pub gauges: Gauges,
    /// What each tier holds, by the tier's number; `None` for a tier that the engine does not have.
    pub tiers: [Option<TierGauges>; Tier::ALL.len()],
}

impl Snapshot<'_> {
    /// Writes the exposition text to `target`. Fails only where `target` does.
    ///
    /// Counters and histograms are read while it writes, so two calls may give texts of different lengths. Takes about
    /// 3 KiB of stack; allocates nothing.
    pub fn write_prometheus(&self, target: &mut impl Write) -> fmt::Result {
        for &counter in Counter::ALL {
            let name = counter.prometheus_name();
            write_head(target, name, "counter", counter.help())?;
            writeln!(target, "{name} {}", self.counters.total(counter))?;
        }
        for (name, help, unit, value) in ENGINE_GAUGES {
            write_head(target, name, "gauge", help)?;
            writeln!(target, "{name} {}", Value(value(&self.gauges), *unit))?;
        }
        for (name, help, unit, value) in TIER_GAUGES {
            write_head(target, name, "gauge", help)?;
            for (tier, gauges) in Tier::ALL.into_iter().zip(&self.tiers) {
                if let Some(gauges) = gauges {
                    writeln!(
                        target,
                        "{name}{{tier=\"{}\"}} {}",
                        tier.name(),
                        Value(value(gauges), *unit)
                    )?;
                }
            }
        }
        self.write_latencies(target)
    }

    fn write_latencies(&self, target: &mut impl Write) -> fmt::Result {
        write_head(
            target,
            LATENCY,
            "summary",
            "Time that an operation took, by the tier that served it.",
        )?;
        self.each_recorded(|labels, histogram| {
            for (label, parts_per_million) in QUANTILES {
                let quantile_ns = histogram.quantile_ns(parts_per_million).unwrap_or(0);
                let value = Value(quantile_ns, Unit::Nanoseconds);
                writeln!(target, "{LATENCY}{{{labels},quantile=\"{label}\"}} {value}")?;
            }
            writeln!(
                target,
                "{LATENCY}_sum{{{labels}}} {}",
                Value(histogram.sum_ns, Unit::Nanoseconds)
            )?;
            writeln!(target, "{LATENCY}_count{{{labels}}} {}", histogram.count)
        })?;
        write_head(
            target,
            LATENCY_MAX,
            "gauge",
            "The longest time that an operation took since the engine opened.",
        )?;
        self.each_recorded(|labels, histogram| {
            let value = Value(histogram.latency_ns_max, Unit::Nanoseconds);
            writeln!(target, "{LATENCY_MAX}{{{labels}}} {value}")
        })
    }

    fn each_recorded(&self, mut each: impl FnMut(Labels, &HistogramSnapshot) -> fmt::Result) -> fmt::Result {
        for &operation in Operation::ALL {
            for tier in Tier::ALL {
                let histogram = self.histograms.snapshot(operation, tier);
                if histogram.count != 0 {
                    each(Labels(operation, tier), &histogram)?;
                }
            }
        }
        Ok(())
    }
}

fn write_head(target: &mut impl Write, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(target, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// The labels of a latency series. The names are ours and need no escaping.
#[derive(Clone, Copy)]
struct Labels(Operation, Tier);

impl fmt::Display for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "operation=\"{}\",tier=\"{}\"", self.0.name(), self.1.name())
    }
}

struct Value(u64, Unit);

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Unit::Number => write!(formatter, "{}", self.0),
            // Exact, where a floating point number of seconds would not be.
            Unit::Nanoseconds => write!(formatter, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000),
        }
    }
}
