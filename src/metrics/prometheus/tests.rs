//! The text against what a scraper accepts.

use super::*;
use crate::metrics::text::BoundedText;
use crate::sync::atomic::AtomicU64;
use std::borrow::ToOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

/// A metric family: its type and its series in order, each with name, labels and value.
struct Family {
    kind: String,
    series: Vec<(String, BTreeMap<String, String>, f64)>,
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn parse_labels(mut text: &str, line: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, rest) = text
            .split_once("=\"")
            .unwrap_or_else(|| panic!("no label value: {line}"));
        assert!(is_name(name) && !name.starts_with("__"), "label name {name:?}: {line}");
        let (value, rest) = rest
            .split_once('"')
            .unwrap_or_else(|| panic!("label value does not end: {line}"));
        assert!(!value.contains('\\'), "the library's labels need no escapes: {line}");
        assert!(
            labels.insert(name.to_owned(), value.to_owned()).is_none(),
            "label twice: {line}"
        );
        if rest.is_empty() {
            return labels;
        }
        text = rest
            .strip_prefix(',')
            .unwrap_or_else(|| panic!("no comma between labels: {line}"));
    }
}

/// A strict reading of the exposition format: HELP, then TYPE, then the series of that family and no other.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n') && !text.contains("\n\n") && text.is_ascii());
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
            let kind_line = lines.next().expect("a TYPE line after HELP");
            let kind = kind_line
                .strip_prefix(&std::format!("# TYPE {name} "))
                .expect("TYPE of the same name");
            assert!(["counter", "gauge", "summary"].contains(&kind), "{kind_line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{kind_line}");
            current = name.to_owned();
            let family = Family {
                kind: kind.to_owned(),
                series: Vec::new(),
            };
            assert!(
                families.insert(current.clone(), family).is_none(),
                "family twice: {line}"
            );
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (
                name,
                parse_labels(labels.strip_suffix('}').expect("a closing brace"), line),
            ),
            None => (series, BTreeMap::new()),
        };
        assert!(is_name(name), "{line}");
        let family = families.get_mut(&current).expect("a family before its series");
        let suffix = name
            .strip_prefix(current.as_str())
            .unwrap_or_else(|| panic!("{line} in {current}"));
        match family.kind.as_str() {
            "summary" => {
                assert!(["", "_sum", "_count"].contains(&suffix), "{line}");
                assert_eq!(suffix.is_empty(), labels.contains_key("quantile"), "{line}");
            }
            _ => assert!(suffix.is_empty() && !labels.contains_key("quantile"), "{line}"),
        }
        assert!(seen.insert((name.to_owned(), labels.clone())), "series twice: {line}");
        assert!(
            value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'),
            "{line}"
        );
        family
            .series
            .push((name.to_owned(), labels, value.parse().expect("a number")));
    }
    families
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

struct Storage {
    counters: Vec<AtomicU64>,
    histograms: Vec<AtomicU64>,
}

impl Storage {
    fn new() -> Self {
        Self {
            counters: words(2 * Counters::WORDS_PER_STRIPE),
            histograms: words(Histograms::WORDS_PER_STRIPE),
        }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            counters: Counters::new(&self.counters),
            histograms: Histograms::new(&self.histograms),
            gauges: Gauges::default(),
            tiers: [None; Tier::ALL.len()],
        }
    }
}

fn text_of(snapshot: &Snapshot<'_>) -> String {
    let mut text = String::new();
    snapshot.write_prometheus(&mut text).unwrap();
    text
}

fn value(families: &BTreeMap<String, Family>, family: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    families[family]
        .series
        .iter()
        .find(|series| series.0 == name && series.1 == labels)
        .map(|series| series.2)
}

#[test]
fn a_fresh_engine_has_every_family_and_no_series_of_what_it_does_not_have() {
    let storage = Storage::new();
    let families = parse(&text_of(&storage.snapshot()));
    assert_eq!(
        families.len(),
        Counter::COUNT + ENGINE_GAUGES.len() + TIER_GAUGES.len() + 2
    );
    for &counter in Counter::ALL {
        assert_eq!(
            value(&families, counter.prometheus_name(), counter.prometheus_name(), &[]),
            Some(0.0)
        );
    }
    for (name, ..) in ENGINE_GAUGES {
        assert_eq!(value(&families, name, name, &[]), Some(0.0));
    }
    for (name, ..) in TIER_GAUGES {
        assert!(families[*name].series.is_empty());
    }
    assert!(families[LATENCY].series.is_empty() && families[LATENCY_MAX].series.is_empty());
}

#[test]
fn every_number_comes_out_under_its_name() {
    let storage = Storage::new();
    let mut snapshot = storage.snapshot();
    for (place, &counter) in Counter::ALL.iter().enumerate() {
        snapshot.counters.add(place, counter, place as u64 + 1);
    }
    snapshot.gauges = Gauges {
        pin_age_ns_max: 1_500_000_001,
        blocks_resident: 7,
        ..Gauges::default()
    };
    snapshot.tiers[Tier::Cpu as usize] = Some(TierGauges {
        bytes_used: 4096,
        ..TierGauges::default()
    });
    snapshot.tiers[Tier::Nvme as usize] = Some(TierGauges {
        slots_free: 9,
        ..TierGauges::default()
    });
    for &operation in Operation::ALL {
        for tier in Tier::ALL {
            for latency_ns in [1_000_000_000, 1_000_000_000, 1_000_000_000, 3_000_000_000] {
                snapshot.histograms.record(0, operation, tier, latency_ns);
            }
        }
    }

    let families = parse(&text_of(&snapshot));
    for (place, &counter) in Counter::ALL.iter().enumerate() {
        let name = counter.prometheus_name();
        assert_eq!(value(&families, name, name, &[]), Some((place + 1) as f64));
    }
    let gauge = |name, labels| value(&families, name, name, labels).unwrap();
    assert_eq!(gauge("kvcache_pin_age_max_seconds", &[]), 1.500_000_001);
    assert_eq!(gauge("kvcache_blocks_resident", &[]), 7.0);
    assert_eq!(gauge("kvcache_tier_used_bytes", &[("tier", "cpu")]), 4096.0);
    assert_eq!(gauge("kvcache_tier_used_bytes", &[("tier", "nvme")]), 0.0);
    assert_eq!(gauge("kvcache_tier_slots_free", &[("tier", "nvme")]), 9.0);
    assert_eq!(families["kvcache_tier_slots_free"].series.len(), 2);
    for &operation in Operation::ALL {
        for tier in Tier::ALL {
            let labels = [("operation", operation.name()), ("tier", tier.name())];
            let latency = |name, labels: &[_]| value(&families, LATENCY, name, labels).unwrap();
            assert_eq!(latency("kvcache_operation_latency_seconds_sum", &labels), 6.0);
            assert_eq!(latency("kvcache_operation_latency_seconds_count", &labels), 4.0);
            let quantile = |quantile| latency(LATENCY, &[labels[0], labels[1], ("quantile", quantile)]);
            assert!((1.0..=1.125).contains(&quantile("0.5")), "{}", quantile("0.5"));
            assert_eq!((quantile("0.9"), quantile("0.99")), (3.0, 3.0));
            assert_eq!(value(&families, LATENCY_MAX, LATENCY_MAX, &labels), Some(3.0));
        }
    }
}

#[test]
fn a_bounded_text_tells_the_size_that_is_then_enough() {
    let storage = Storage::new();
    let snapshot = storage.snapshot();
    snapshot.histograms.record(0, Operation::Get, Tier::Cpu, 17);
    let whole = text_of(&snapshot);

    let mut measure = BoundedText::new(&mut []);
    snapshot.write_prometheus(&mut measure).unwrap();
    assert_eq!(measure.bytes_needed(), whole.len() as u64);

    let mut buffer = std::vec![0; whole.len()];
    let mut text = BoundedText::new(&mut buffer);
    snapshot.write_prometheus(&mut text).unwrap();
    assert!(text.is_complete());
    assert_eq!(text.written(), whole.as_bytes());

    let mut text = BoundedText::new(&mut buffer[1..]);
    snapshot.write_prometheus(&mut text).unwrap();
    assert!(!text.is_complete() && whole.as_bytes().starts_with(text.written()));
    assert_eq!(text.bytes_needed(), whole.len() as u64);
}
