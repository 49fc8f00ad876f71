//! What is in a file: its segments and its newest records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::codec::CodecKind;
use kvcache::tier::log::RecordInfo;
use kvcache::units::Bytes;
use serde::Serialize;

use super::look::Look;
use super::refused;
use kvcache::tier::log::CheckItem;

/// What to show.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The file of an NVMe or disk tier
    file: PathBuf,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Most records shown, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Also a file that an engine has open
    #[arg(long)]
    force: bool,
}

/// Shows what a file holds. Exits with 2 where it is no tier file or can't be read.
pub fn inspect(args: &InspectArgs) -> ExitCode {
    let mut segments: Vec<Segment> = Vec::new();
    // By their sequences, so that the oldest is the first to go when there are more than are wanted.
    let mut newest = BTreeMap::new();
    let look = Look::at(&args.file, args.force, &mut |&item| {
        let (payload_bytes, place) = match item {
            CheckItem::Segment {
                index,
                sequence,
                sealed,
                durable,
            } => {
                return segments.push(Segment {
                    sequence,
                    index,
                    sealed,
                    durable,
                    records: 0,
                    bytes: 0,
                });
            }
            CheckItem::Block {
                payload_bytes,
                segment_sequence,
                record_sequence,
                ..
            } => (payload_bytes, (segment_sequence, record_sequence)),
            CheckItem::Tombstone {
                segment_sequence,
                record_sequence,
                ..
            } => (0, (segment_sequence, record_sequence)),
            CheckItem::Damage { .. } => return,
        };
        if let Some(segment) = segments.last_mut() {
            segment.records += 1;
            segment.bytes += u64::from(payload_bytes);
        }
        newest.insert(place, item);
        if newest.len() > args.limit {
            newest.pop_first();
        }
    });
    let look = match look {
        Ok(look) => look,
        Err(reason) => return refused(&reason),
    };
    segments.sort_by_key(|segment| segment.sequence);
    let contents = Contents {
        look: &look,
        contents: segments,
        newest: newest.values().rev().filter_map(Record::new).collect(),
    };
    if args.json {
        crate::print_json(&contents);
    } else {
        println!("{}\n    {}", look.identity(), look.line());
        println!("{}", contents.segments_table());
        println!("{}", contents.records_table());
    }
    ExitCode::SUCCESS
}

#[derive(Serialize)]
struct Contents<'l> {
    #[serde(flatten)]
    look: &'l Look,
    /// The segments in use, in the order in which they were written.
    contents: Vec<Segment>,
    /// The newest records, the newest first.
    newest: Vec<Record>,
}

#[derive(Serialize)]
struct Segment {
    sequence: u64,
    index: u64,
    sealed: bool,
    durable: bool,
    records: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Record {
    key: String,
    offset: u64,
    tombstone: bool,
    bytes: u32,
    stored_bytes: u32,
    codec: &'static str,
    codec_before: &'static str,
    depth: u16,
    tokens: u16,
    conversation: u32,
    namespace: u64,
    priority: u8,
    protected: bool,
    geometry: u8,
    expiry_left_s: u32,
}

impl Record {
    /// `None` for what is no record.
    fn new(item: &CheckItem) -> Option<Self> {
        let (key, offset, stored_bytes, info) = match *item {
            CheckItem::Block {
                offset,
                payload_bytes,
                info,
                ..
            } => (info.key, offset, payload_bytes, info),
            CheckItem::Tombstone { offset, key, .. } => (key, offset, 0, RecordInfo::default()),
            _ => return None,
        };
        Some(Self {
            key: key.to_string(),
            offset,
            tombstone: matches!(item, CheckItem::Tombstone { .. }),
            bytes: info.block_bytes,
            stored_bytes,
            codec: codec_name(info.codec),
            codec_before: codec_name(info.loss),
            depth: info.depth,
            tokens: info.tokens,
            conversation: info.conversation,
            namespace: info.namespace,
            priority: info.priority,
            protected: info.protected,
            geometry: info.geometry_id,
            expiry_left_s: info.expiry_left_s,
        })
    }
}

impl Contents<'_> {
    fn segments_table(&self) -> Table {
        let mut table = table(["sequence", "segment", "state", "records", "bytes"]);
        for segment in &self.contents {
            table.add_row([
                right(segment.sequence),
                right(segment.index),
                Cell::new(match (segment.sealed, segment.durable) {
                    (true, true) => "sealed, durable",
                    (true, false) => "sealed",
                    (false, _) => "open",
                }),
                right(segment.records),
                right(Bytes(segment.bytes)),
            ]);
        }
        table
    }

    fn records_table(&self) -> Table {
        let mut table = table([
            "newest records",
            "offset",
            "bytes",
            "stored",
            "codec",
            "depth",
            "tokens",
            "namespace",
            "priority",
        ]);
        for record in &self.newest {
            let bytes = match record.tombstone {
                true => String::from("removed"),
                false => record.bytes.to_string(),
            };
            table.add_row([
                Cell::new(&record.key),
                right(record.offset),
                right(bytes),
                right(record.stored_bytes),
                Cell::new(match (record.codec, record.codec_before) {
                    (codec, "raw") => codec.to_string(),
                    (codec, before) => format!("{codec} after {before}"),
                }),
                right(record.depth),
                right(record.tokens),
                right(record.namespace),
                right(match record.protected {
                    true => format!("{}, protected", record.priority),
                    false => record.priority.to_string(),
                }),
            ]);
        }
        table
    }
}

/// The name of a codec by its number in a record.
fn codec_name(code: u8) -> &'static str {
    CodecKind::from_code(u64::from(code)).map_or("unknown", CodecKind::name)
}

fn table<const COUNT: usize>(header: [&str; COUNT]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}
