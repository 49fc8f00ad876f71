//! A configuration in a file: one JSON object with the names that the fields have in `kvc_config_t`, and the names that
//! choices have on the command line. What is not in it has its default; a number is what it says, 0 included.
//!
//! | kind | as |
//! | --- | --- |
//! | bytes | a number, or text with a unit: `"1GiB"` |
//! | other numbers | a number |
//! | yes or no | `true`, `false`, 1, 0 |
//! | choices | their names |
//! | `prefetch` | names with commas between them, or `"none"` |
//!
//! Paths, memory, geometries and codecs are a program's to give, and are refused here.

use std::fmt;
use std::fs;
use std::path::Path;

use kvcache::Config;
use kvcache::config::{Admission, Damage, FileTier, HugePages, IoEngine, PolicyKind, Prefault, Prefetch, WritePolicy};
use serde_json::Value;

use crate::size;

/// Why a file is no configuration: the file, the field, and what would be right.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Names of choices and their numbers.
type Names = &'static [(&'static str, u64)];

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Bytes,
    Count,
    Flag,
    Choice(Names),
    Modes,
}

/// A field: its name, what it holds, and where that goes.
struct Field {
    name: &'static str,
    kind: Kind,
    set: fn(&mut Config, u64),
}

const POLICIES: Names = &[
    ("lru", PolicyKind::Lru as u64),
    ("s3fifo", PolicyKind::S3Fifo as u64),
    ("lfu", PolicyKind::Lfu as u64),
    ("arc", PolicyKind::Arc as u64),
    ("sieve", PolicyKind::Sieve as u64),
    ("gdsf", PolicyKind::Gdsf as u64),
    ("importance", PolicyKind::Importance as u64),
    ("hazard", PolicyKind::Hazard as u64),
    ("adaptive", PolicyKind::Adaptive as u64),
];
const ADMISSIONS: Names = &[
    ("all", Admission::All as u64),
    ("second-hit", Admission::SecondHit as u64),
    ("reuse", Admission::Reuse as u64),
];
const WRITE_POLICIES: Names = &[
    ("back", WritePolicy::Back as u64),
    ("through", WritePolicy::Through as u64),
];
const DAMAGES: Names = &[("drop", Damage::Drop as u64), ("refuse", Damage::Refuse as u64)];
const IO_ENGINES: Names = &[
    ("auto", IoEngine::Auto as u64),
    ("uring", IoEngine::Uring as u64),
    ("positional", IoEngine::Positional as u64),
];
const HUGE_PAGES: Names = &[
    ("off", HugePages::Off as u64),
    ("advise", HugePages::Advise as u64),
    ("require", HugePages::Require as u64),
];
const PREFAULTS: Names = &[
    ("none", Prefault::None as u64),
    ("lazy", Prefault::Lazy as u64),
    ("all", Prefault::All as u64),
];
const CLOCKS: Names = &[("system", 0), ("ticks", 1)];
const MODES: Names = &[
    ("turns", Prefetch::TURNS),
    ("sequences", Prefetch::SEQUENCES),
    ("successors", Prefetch::SUCCESSORS),
];

/// Fields that only a program can give, and why.
const GIVEN: &[(&str, &str)] = &[
    ("struct_size", "it is the program's, like the struct"),
    ("memory", "memory is the program's to bring"),
    ("memory_bytes", "memory is the program's to bring"),
    ("geometries", "geometries are the program's to give"),
    ("geometries_count", "geometries are the program's to give"),
    ("nvme_path", "a path is the program's to give; kvcache replay has --dir"),
    ("disk_path", "a path is the program's to give; kvcache replay has --dir"),
    ("nvme_codec", "codecs are the program's to give"),
    ("disk_codec", "codecs are the program's to give"),
    ("codec_tables", "codecs are the program's to give"),
    ("codec_tables_bytes", "codecs are the program's to give"),
];

macro_rules! fields {
    ($($name:literal, $kind:expr, $set:expr;)+) => {
        &[$(Field { name: $name, kind: $kind, set: $set }),+]
    };
}

// The numbers come from the tables above, so that none is unknown to its choice.
const FIELDS: &[Field] = fields! {
    "block_bytes", Kind::Bytes, |config, value| config.block_bytes = value;
    "cpu_bytes", Kind::Bytes, |config, value| config.cpu_bytes = value;
    "policy", Kind::Choice(POLICIES), |config, code| config.policy = PolicyKind::from_code(code).unwrap_or_default();
    "pins_count", Kind::Count, |config, value| config.pins_count = value;
    "stripes_count", Kind::Count, |config, value| config.stripes_count = value;
    "lanes_count", Kind::Count, |config, value| config.lanes_count = value;
    "lane_depth", Kind::Count, |config, value| config.lane_depth = value;
    "events_count", Kind::Count, |config, value| config.events_count = value;
    "workers_count", Kind::Count, |config, value| config.workers_count = value;
    "huge_pages", Kind::Choice(HUGE_PAGES),
        |config, code| config.huge_pages = HugePages::from_code(code).unwrap_or_default();
    "memory_lock", Kind::Flag, |config, value| config.memory_lock = value != 0;
    "prefault", Kind::Choice(PREFAULTS), |config, code| config.prefault = Prefault::from_code(code).unwrap_or_default();
    "pin_expiry_ms", Kind::Count, |config, value| config.pin_expiry_ms = value;
    "reservation_expiry_ms", Kind::Count, |config, value| config.reservation_expiry_ms = value;
    "hash_seed", Kind::Count, |config, value| config.hash_seed = value;
    "latency_sample_count", Kind::Count, |config, value| config.latency_sample_count = value;
    "clock", Kind::Choice(CLOCKS), |config, code| config.clock_ticks = code != 0;
    "nvme_bytes", Kind::Bytes, |config, value| config.nvme.bytes = value;
    "nvme_segment_bytes", Kind::Bytes, |config, value| config.nvme.segment_bytes = value;
    "nvme_blocks_count", Kind::Count, |config, value| config.nvme.blocks_count = value;
    "nvme_depth", Kind::Count, |config, value| config.nvme.depth = value;
    "nvme_admission", Kind::Choice(ADMISSIONS), |config, code| admission(&mut config.nvme, code);
    "nvme_endurance_bytes_per_day", Kind::Bytes, |config, value| config.nvme.endurance_bytes_per_day = value;
    "nvme_promotion_hits", Kind::Count, |config, value| config.nvme.promotion_hits = value;
    "nvme_stall_ms", Kind::Count, |config, value| config.nvme.stall_ms = value;
    "disk_bytes", Kind::Bytes, |config, value| config.disk.bytes = value;
    "disk_segment_bytes", Kind::Bytes, |config, value| config.disk.segment_bytes = value;
    "disk_blocks_count", Kind::Count, |config, value| config.disk.blocks_count = value;
    "disk_depth", Kind::Count, |config, value| config.disk.depth = value;
    "disk_admission", Kind::Choice(ADMISSIONS), |config, code| admission(&mut config.disk, code);
    "disk_endurance_bytes_per_day", Kind::Bytes, |config, value| config.disk.endurance_bytes_per_day = value;
    "disk_promotion_hits", Kind::Count, |config, value| config.disk.promotion_hits = value;
    "disk_stall_ms", Kind::Count, |config, value| config.disk.stall_ms = value;
    "write_policy", Kind::Choice(WRITE_POLICIES),
        |config, code| config.write_policy = WritePolicy::from_code(code).unwrap_or_default();
    "damage", Kind::Choice(DAMAGES), |config, code| config.damage = Damage::from_code(code).unwrap_or_default();
    "io_engine", Kind::Choice(IO_ENGINES),
        |config, code| config.io_engine = IoEngine::from_code(code).unwrap_or_default();
    "file_overwrite", Kind::Flag, |config, value| config.file_overwrite = value != 0;
    "slots_free_low_permille", Kind::Count, |config, value| config.slots_free_low_permille = value;
    "slots_free_high_permille", Kind::Count, |config, value| config.slots_free_high_permille = value;
    "write_wait_ms", Kind::Count, |config, value| config.write_wait_ms = value;
    "importance_count", Kind::Count, |config, value| config.importance_count = value;
    "dedup", Kind::Flag, |config, value| config.dedup = value != 0;
    "prefetch", Kind::Modes,
        |config, mode| config.prefetch = config.prefetch.with_mode(mode).unwrap_or(config.prefetch);
    "prefetch_conversations_count", Kind::Count, |config, value| config.prefetch.conversations_count = value;
    "prefetch_successors_count", Kind::Count, |config, value| config.prefetch.successors_count = value;
    "prefetch_confidence_permille", Kind::Count, |config, value| config.prefetch.confidence_permille = value;
    "prefetch_bytes", Kind::Bytes, |config, value| config.prefetch.bytes = value;
    "prefetch_bytes_per_second", Kind::Bytes, |config, value| config.prefetch.bytes_per_second = value;
    "admission_loss_permille", Kind::Count, |config, value| config.admission_loss_permille = value;
    "tuning", Kind::Flag, |config, value| config.tuning = value != 0;
};

fn admission(tier: &mut FileTier, code: u64) {
    tier.admission = Admission::from_code(code).unwrap_or_default();
}

/// What a file says.
#[derive(Default)]
pub struct ConfigFile {
    values: Vec<(&'static Field, u64)>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that can't be read or is no JSON object; a field that does not exist, or whose value is none.
    pub fn read(path: &Path) -> Result<Self, Refused> {
        let refused = |reason: String| Refused(format!("{}: {reason}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        Self::parse(&text).map_err(refused)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Value::Object(object) = serde_json::from_str(text).map_err(|error| error.to_string())? else {
            return Err(String::from(
                "a configuration is one JSON object, such as {\"block_bytes\": \"64KiB\", \"cpu_bytes\": \"1GiB\"}",
            ));
        };
        let values = object.iter().map(|(name, value)| {
            let field = FIELDS
                .iter()
                .find(|field| field.name == name)
                .ok_or_else(|| unknown(name))?;
            Ok((
                field,
                field.kind.number(value).map_err(|reason| format!("{name}: {reason}"))?,
            ))
        });
        Ok(Self {
            values: values.collect::<Result<_, String>>()?,
        })
    }

    /// Whether the file says something of this field.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(field, _)| field.name == name)
    }

    /// Writes what the file says into a configuration; the rest stays.
    pub fn apply(&self, config: &mut Config) {
        for (field, value) in &self.values {
            (field.set)(config, *value);
        }
    }
}

impl Kind {
    fn number(self, value: &Value) -> Result<u64, String> {
        let wrong = |right: &str| format!("{value} is not permitted; it takes {right}");
        match (self, value) {
            (Self::Bytes, Value::String(text)) => {
                size::parse(text).map_err(|reason| format!("{reason}; it takes bytes, as a number or as \"1GiB\""))
            }
            (Self::Bytes, _) => value
                .as_u64()
                .ok_or_else(|| wrong("bytes, as a whole number that is not negative or as \"1GiB\"")),
            (Self::Count, _) => value
                .as_u64()
                .ok_or_else(|| wrong("a whole number that is not negative")),
            (Self::Flag, Value::Bool(value)) => Ok(u64::from(*value)),
            (Self::Flag, _) => value
                .as_u64()
                .filter(|value| *value <= 1)
                .ok_or_else(|| wrong("true or false")),
            (Self::Choice(names), _) => value
                .as_str()
                .and_then(|text| names.iter().find(|(name, _)| *name == text))
                .map(|(_, code)| *code)
                .ok_or_else(|| wrong(&format!("one of {}", list(names)))),
            (Self::Modes, Value::String(text)) => prefetch_mode(text),
            (Self::Modes, _) => Err(wrong(&format!(
                "\"none\", or some of {} with commas between them",
                list(MODES)
            ))),
        }
    }
}

/// What is copied up ahead, of its names.
///
/// # Errors
/// A name that there is none of.
pub fn prefetch_mode(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    text.split(',').try_fold(0, |mode, part| {
        let known = MODES.iter().find(|(name, _)| *name == part.trim());
        known.map(|(_, bit)| mode | bit).ok_or_else(|| {
            format!(
                "{part:?} is not permitted; it takes \"none\", or some of {} with commas between them",
                list(MODES)
            )
        })
    })
}

fn list(names: Names) -> String {
    let names: Vec<String> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    names.join(", ")
}

/// What is said of a field that a file can't have.
fn unknown(name: &str) -> String {
    if let Some((_, reason)) = GIVEN.iter().find(|(given, _)| *given == name) {
        return format!("{name}: not in a file, since {reason}");
    }
    let near = FIELDS.iter().map(|field| (steps(name, field.name), field.name)).min();
    match near {
        Some((steps, right)) if steps <= name.len().div_ceil(3) => {
            format!("{name}: there is no such field; the nearest is {right}")
        }
        _ => {
            let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
            format!("{name}: there is no such field; there are {}", names.join(", "))
        }
    }
}

/// Letters to be changed, added or taken away until one text is the other (Levenshtein, 1966).
fn steps(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (place, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], place + 1);
        for (column, other) in to.chars().enumerate() {
            let changed = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_arrives_and_changes_something() {
        for field in FIELDS {
            let mut config = Config::default();
            let value = match field.kind {
                Kind::Bytes | Kind::Count => 77,
                Kind::Flag => 1,
                Kind::Modes => 7,
                // Each default is the first or the last.
                Kind::Choice(names) => names[names.len() / 2].1,
            };
            (field.set)(&mut config, value);
            let changed = format!("{config:?}");
            assert_ne!(changed, format!("{:?}", Config::default()), "{}", field.name);
            for other in FIELDS.iter().filter(|other| other.name != field.name) {
                assert_ne!(other.name, field.name);
            }
        }
    }

    #[test]
    fn names_of_choices_are_those_of_the_library() {
        for &policy in PolicyKind::ALL {
            assert!(POLICIES.contains(&(policy.name(), policy as u64)), "{policy:?}");
        }
        for choice in [Admission::All, Admission::SecondHit, Admission::Reuse] {
            assert!(ADMISSIONS.contains(&(choice.name(), choice as u64)), "{choice:?}");
        }
    }

    #[test]
    fn a_file_says_what_it_says_and_no_more() {
        let text = r#"{"block_bytes": "64KiB", "cpu_bytes": 1048576, "policy": "lru", "dedup": true, "clock": "ticks",
                       "lanes_count": 0, "nvme_admission": "reuse", "prefetch": "turns, successors"}"#;
        let file = ConfigFile::parse(text).unwrap();
        assert!(file.has("policy") && !file.has("nvme_bytes"));
        let mut config = Config::default();
        file.apply(&mut config);
        assert_eq!(
            (config.block_bytes, config.cpu_bytes, config.lanes_count),
            (65_536, 1 << 20, 0)
        );
        assert_eq!(
            (config.policy, config.nvme.admission),
            (PolicyKind::Lru, Admission::Reuse)
        );
        assert!(config.dedup && config.clock_ticks && config.prefetch.turns && config.prefetch.successors);
        assert!(!config.prefetch.sequences);
        assert_eq!(config.pins_count, Config::default().pins_count);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, field, right) in [
            (r#"{"polcy": "lru"}"#, "polcy", "the nearest is policy"),
            (r#"{"zebra": 1}"#, "zebra", "there are block_bytes, cpu_bytes"),
            (r#"{"policy": "lro"}"#, "policy", "\"lru\", \"s3fifo\""),
            (r#"{"policy": 1}"#, "policy", "one of \"lru\""),
            (
                r#"{"cpu_bytes": -1}"#,
                "cpu_bytes",
                "as a whole number that is not negative",
            ),
            (r#"{"cpu_bytes": "1 MB"}"#, "cpu_bytes", "KiB, MiB"),
            (r#"{"pins_count": 1.5}"#, "pins_count", "a whole number"),
            (r#"{"dedup": 2}"#, "dedup", "true or false"),
            (r#"{"prefetch": "turn"}"#, "prefetch", "\"turns\", \"sequences\""),
            (r#"{"prefetch": 3}"#, "prefetch", "\"none\""),
            (r#"{"nvme_path": "x"}"#, "nvme_path", "--dir"),
        ] {
            let reason = ConfigFile::parse(text).err().unwrap();
            assert!(
                reason.starts_with(&format!("{field}: ")) && reason.contains(right),
                "{reason}"
            );
        }
        for text in ["[]", "", "{", "7"] {
            assert!(ConfigFile::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn steps_are_counted() {
        for (from, to, count) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("polcy", "policy", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((steps(from, to), steps(to, from)), (count, count), "{from} {to}");
        }
    }
}
