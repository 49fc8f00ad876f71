//! Codecs: GB/s of 16-bit data, encoded and decoded, beside the streaming copy of the same moment.
//!
//! Blocks are those of an 8B model, 2 MiB, and lie in memory that no cache holds, as the codes and the targets do.
//! Copy, encoding, decoding with one and with two threads take turns round by round; what counts are the medians of
//! the rounds' ratios. One thread's figures are over the time that it had a processor, so that other programs do not
//! count; two threads are compared with one over all time, and over their own.

mod model;
mod work;

use std::error::Error;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use kvcache::codec::{BlockCodec, CodecKind, Isa, Tables};
use kvcache::layout::Dtype;
use serde::Serialize;

use super::machine::{self, Machine};
use super::median;
use super::report::{Wanted, bounds, right, rounded};
use crate::codec::name::Codec;
use work::{Memory, Subject};

/// What is measured where nothing is asked for.
const CODECS: [&str; 11] = ["raw", "lz", "f8", "i8", "n4", "t4", "t4-64", "t3", "t2", "vq", "xc"];
/// A codec that takes longer gets no more rounds than it needs.
const CODEC_SECONDS_MAX: Duration = Duration::from_millis(1200);
const ROUNDS_MIN: usize = 3;

/// Everything that one run measured.
#[derive(Serialize)]
pub struct Report {
    section: &'static str,
    rounds_count: usize,
    machine: Machine,
    /// The instructions that the codecs used.
    isa: &'static str,
    geometry: &'static str,
    data: &'static str,
    block_bytes: usize,
    /// Bytes of the tables of vq and xc.
    tables_bytes: usize,
    codecs: Vec<Row>,
    skipped: Vec<Skipped>,
    seconds: f64,
    wanted: Vec<Wanted>,
}

#[derive(Serialize)]
struct Row {
    codec: String,
    dtype: &'static str,
    /// Everything counted.
    bits_per_element: f64,
    /// Root of the squared error over the squared norm, of a block of this data.
    relative_error: f64,
    /// The streaming copy between the rounds; one thread, over the time that it had a processor, as the next two.
    copy_gbps: f64,
    encode_gbps: f64,
    decode_gbps: f64,
    encode_over_copy: f64,
    decode_over_copy: f64,
    /// Over all time.
    decode_2threads_gbps: f64,
    decode_2threads_over_1: f64,
    /// The same over the time that the threads had processors: what is left where other programs take some of it.
    decode_2threads_over_1_own: f64,
    /// While a block was encoded and decoded.
    heap_calls: u64,
    rounds: usize,
}

#[derive(Serialize)]
struct Skipped {
    codec: String,
    reason: String,
}

/// Measures.
///
/// # Errors
/// The system's.
pub fn measure(rounds: usize, codecs: &[Codec], isa: Isa) -> Result<Report, Box<dyn Error>> {
    let begun = Instant::now();
    let codecs = match codecs.is_empty() {
        true => CODECS.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
        false => codecs.to_vec(),
    };
    let mut kinds: Vec<CodecKind> = codecs.iter().map(|codec| codec.kind).collect();
    kinds.retain(|kind| kind.needs_tables());
    let geometry = model::geometry(Dtype::Bf16)?;
    let table_bytes = match kinds.is_empty() {
        true => None,
        false => Some(model::tables(&geometry, &kinds)?),
    };
    let tables = table_bytes.as_ref().map(|bytes| bytes.open()).transpose()?;
    let mut memory = Memory::new(&geometry)?;
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for dtype in [Dtype::Bf16, Dtype::F16] {
        if dtype != Dtype::Bf16 {
            memory.refill(&model::geometry(dtype)?);
        }
        for codec in &codecs {
            match one(codec, dtype, tables, isa, rounds, &mut memory) {
                Ok(row) => rows.push(row),
                Err(error) => skipped.push(Skipped {
                    codec: format!("{} {dtype}", codec.name),
                    reason: error.to_string(),
                }),
            }
        }
    }
    Ok(Report {
        section: "codec",
        rounds_count: rounds,
        machine: machine::describe(machine::huge_pages_bytes())?,
        isa: isa.name(),
        geometry: "32 layers, keys and values, 8 heads of 128, 16 tokens a block",
        data: "made up: Gaussian, a scale per channel, outlier channels, neighbouring tokens alike, keys rotated",
        block_bytes: geometry.block_bytes(),
        tables_bytes: table_bytes.as_ref().map_or(0, |bytes| bytes.bytes().len()),
        wanted: rows.iter().flat_map(wanted).collect(),
        codecs: rows,
        skipped,
        seconds: rounded(begun.elapsed().as_secs_f64()),
    })
}

fn one(
    codec: &Codec,
    dtype: Dtype,
    tables: Option<Tables<'_>>,
    isa: Isa,
    rounds: usize,
    memory: &mut Memory,
) -> Result<Row, Box<dyn Error>> {
    let geometry = model::geometry(dtype)?;
    let block_codec = BlockCodec::new(&geometry, &codec.choice, tables, isa)?;
    let mut subject = Subject::new(&block_codec, memory)?;
    let (heap_calls, relative_error) = subject.check()?;
    let mut columns: [Vec<f64>; 6] = Default::default();
    let begun = Instant::now();
    for round in 0..rounds {
        if round >= ROUNDS_MIN && begun.elapsed() > CODEC_SECONDS_MAX {
            break;
        }
        columns[0].push(subject.copy());
        columns[1].push(subject.encode()?);
        let one = subject.decode(1)?;
        columns[2].push(one.own);
        columns[3].push(one.all);
        let two = subject.decode(2)?;
        columns[4].push(two.all);
        columns[5].push(two.own);
    }
    let figure = |column: usize| rounded(median(&mut columns[column].clone()));
    let ratio = |above: usize, below: usize| {
        let pairs = columns[above].iter().zip(&columns[below]);
        let mut ratios: Vec<f64> = pairs.map(|(above, below)| above / below).collect();
        (median(&mut ratios) * 1e4).round() / 1e4
    };
    Ok(Row {
        codec: codec.name.clone(),
        dtype: dtype.name(),
        bits_per_element: (subject.bits() * 1e4).round() / 1e4,
        relative_error,
        copy_gbps: figure(0),
        encode_gbps: figure(1),
        decode_gbps: figure(2),
        encode_over_copy: ratio(1, 0),
        decode_over_copy: ratio(2, 0),
        decode_2threads_gbps: figure(4),
        decode_2threads_over_1: ratio(4, 3),
        decode_2threads_over_1_own: ratio(5, 2),
        heap_calls,
        rounds: columns[0].len(),
    })
}

/// The least ratios to the copy: encoding, decoding.
fn least(codec: &str) -> Option<[f64; 2]> {
    match codec {
        "f8" | "i8" => Some([0.25, 0.5]),
        "n4" => Some([0.08, 0.4]),
        "t4" | "t3" | "t2" => Some([0.01, 0.2]),
        "t4-64" | "t3-64" | "t2-64" => Some([0.03, 0.2]),
        "lz" => Some([0.04, 0.12]),
        _ if codec.starts_with("xc") => Some([0.01, 0.02]),
        _ => None,
    }
}

fn wanted(row: &Row) -> Vec<Wanted> {
    let name = format!("{} {}", row.codec, row.dtype);
    let Some([encode, decode]) = least(&row.codec) else {
        return vec![Wanted::at_most(
            format!("{name}: heap_calls"),
            row.heap_calls as f64,
            0.0,
        )];
    };
    vec![
        Wanted::at_least(format!("{name}: encode / copy"), row.encode_over_copy, encode),
        Wanted::at_least(format!("{name}: decode / copy"), row.decode_over_copy, decode),
        Wanted::at_least(
            format!("{name}: decode, 2 threads / 1"),
            row.decode_2threads_over_1,
            1.9,
        ),
        Wanted::at_most(format!("{name}: heap_calls"), row.heap_calls as f64, 0.0),
    ]
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "codec",
            "dtype",
            "bits",
            "error",
            "copy GB/s",
            "encode",
            "decode",
            "encode / copy",
            "decode / copy",
            "2 threads / 1",
            "(own time)",
            "heap calls",
        ]);
        for row in &self.codecs {
            table.add_row([
                right(row.codec.clone()),
                right(row.dtype.into()),
                right(format!("{:.3}", row.bits_per_element)),
                right(format!("{:.4}", row.relative_error)),
                right(format!("{:.2}", row.copy_gbps)),
                right(format!("{:.3}", row.encode_gbps)),
                right(format!("{:.3}", row.decode_gbps)),
                right(format!("{:.4}", row.encode_over_copy)),
                right(format!("{:.4}", row.decode_over_copy)),
                right(format!("{:.2}", row.decode_2threads_over_1)),
                right(format!("{:.2}", row.decode_2threads_over_1_own)),
                right(row.heap_calls.to_string()),
            ]);
        }
        let mut text = format!(
            "{}, {}, {} rounds, {:.0} s\n{}; {}\n{table}\n",
            self.machine.processor, self.isa, self.rounds_count, self.seconds, self.geometry, self.data
        );
        for skipped in &self.skipped {
            text += &format!("not measured: {}: {}\n", skipped.codec, skipped.reason);
        }
        text + &format!("{}\n", bounds(&self.wanted))
    }
}
