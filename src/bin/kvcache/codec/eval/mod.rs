//! `kvcache codec eval`: how good codecs are on samples of a model, and how fast.

mod attention;
mod measure;

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::codec::{CodecKind, Isa, Tables, train};
use kvcache::geometry::PlaneShape;
use serde::Serialize;

use super::coder::{Coder, explained, failed};
use super::name::{self, Codec, Element};
use super::roundtrip::check_layer;
use super::samples::SampleSet;
use super::tablefile::{self, Description, TableBytes};
use measure::Measured;

/// What is measured where nothing is asked for.
const CODECS: [&str; 12] = [
    "raw", "lz", "f8", "i8", "n4", "t4", "t3", "t2", "vq", "xc-3.0", "xc-2.3", "xc-1.66",
];

/// What to measure, on what.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// A file with samples of the model: safetensors with layerL.k, layerL.v and, for the error of attention, layerL.q,
    /// [sequences, tokens, heads, dim], F16 or BF16
    samples: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Tables for vq and xc; trained on the first half of the samples if not given
    #[arg(long, value_name = "FILE")]
    tables: Option<PathBuf>,
    /// A codec, more than one if given again; all if not given
    #[arg(long = "codec", value_name = "NAME", value_delimiter = ',', value_parser = str::parse::<Codec>)]
    codecs: Vec<Codec>,
    /// Tokens that are encoded together
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    tokens_per_block: u32,
    /// The type of an element; the file's if not given
    #[arg(long, value_enum)]
    dtype: Option<Element>,
    /// Every query sees every token: for encoders
    #[arg(long)]
    bidirectional: bool,
    /// Instructions to use: portable, avx2, avx512; the best that the machine has if not given
    #[arg(long, value_parser = name::isa)]
    isa: Option<Isa>,
}

#[derive(Serialize)]
struct Report {
    samples: String,
    layers: Vec<usize>,
    sequences: usize,
    tokens: usize,
    heads: usize,
    query_heads: usize,
    dim: usize,
    dtype: &'static str,
    tokens_per_block: u32,
    causal: bool,
    isa: &'static str,
    /// `all`, or `second half` where tables were trained on the first.
    evaluated: &'static str,
    /// A file, or `trained on the first half`; `None` where no codec needs any.
    tables_from: Option<String>,
    tables: Option<Description>,
    codecs: Vec<Row>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Row {
    codec: String,
    /// Codes with everything in them: scales, gains, ranges.
    bits_per_element: f64,
    /// With the header and the directory of each block.
    bits_in_block: f64,
    relative_mse_k: f64,
    relative_mse_v: f64,
    cosine_k: f64,
    cosine_v: f64,
    /// Root of the squared error of the output of attention over its squared norm, all layers; `None` without queries.
    attention_error: Option<f64>,
    encode_gbps: f64,
    decode_gbps: f64,
}

#[derive(Serialize)]
struct Skipped {
    codec: String,
    reason: String,
}

/// Measures and prints.
///
/// # Errors
/// What is wrong with the files.
pub fn run(args: &EvalArgs) -> Result<(), Box<dyn Error>> {
    let mut samples = SampleSet::read(&args.samples)?;
    if let Some(dtype) = args.dtype {
        samples = samples.converted(dtype.into());
    }
    let codecs = match args.codecs.is_empty() {
        true => CODECS.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
        false => args.codecs.clone(),
    };
    let mut skipped = Vec::new();
    let source = Source::new(args, &mut samples, &codecs, &mut skipped)?;
    let tables = source.open(args)?;
    let isa = args.isa.unwrap_or_else(Isa::detect);
    let rows = measure(args, &samples, &codecs, tables, isa, &mut skipped);
    let report = Report {
        samples: args.samples.display().to_string(),
        layers: samples.layers.keys().copied().collect(),
        sequences: samples.sequences,
        tokens: samples.tokens,
        heads: samples.heads,
        query_heads: samples.query_heads,
        dim: samples.dim,
        dtype: samples.dtype.name(),
        tokens_per_block: args.tokens_per_block,
        causal: !args.bidirectional,
        isa: isa.name(),
        evaluated: source.evaluated,
        tables_from: source.from.clone(),
        tables: tables.as_ref().map(Description::new),
        codecs: rows,
        skipped,
    };
    if args.json {
        crate::print_json(&report);
    } else {
        print!("{}", report.text());
    }
    match report.codecs.is_empty() {
        true => Err("none of the codecs could be measured".into()),
        false => Ok(()),
    }
}

/// Where the tables come from, and what is left to measure on.
struct Source {
    bytes: Option<TableBytes>,
    from: Option<String>,
    evaluated: &'static str,
}

impl Source {
    fn new(
        args: &EvalArgs,
        samples: &mut SampleSet,
        codecs: &[Codec],
        skipped: &mut Vec<Skipped>,
    ) -> Result<Self, String> {
        let mut kinds: Vec<CodecKind> = codecs.iter().map(|codec| codec.kind).collect();
        kinds.retain(|kind| kind.needs_tables());
        kinds.dedup();
        let mut source = Self {
            bytes: None,
            from: None,
            evaluated: "all",
        };
        if let Some(path) = &args.tables {
            source.bytes = Some(TableBytes::read(path)?);
            source.from = Some(path.display().to_string());
        } else if !kinds.is_empty() {
            let [first, second] = samples.halves();
            match train::train(&first.to_train(None), &kinds) {
                Ok(bytes) => {
                    source.bytes = Some(TableBytes::new(&bytes));
                    source.from = Some(String::from("trained on the first half"));
                    source.evaluated = "second half";
                    *samples = second;
                }
                Err(error) => skipped.push(Skipped {
                    codec: String::from("tables"),
                    reason: format!("the first half of the samples is not enough: {error}"),
                }),
            }
        }
        Ok(source)
    }

    fn open(&self, args: &EvalArgs) -> Result<Option<Tables<'_>>, String> {
        tablefile::open(args.tables.as_deref(), self.bytes.as_ref())
    }
}

/// A codec under way, or why it can't be measured.
type Attempt<'t> = Result<(Coder<'t>, Measured), String>;

/// Layer by layer, so that the outputs of attention need not be kept for all of them.
fn measure(
    args: &EvalArgs,
    samples: &SampleSet,
    codecs: &[Codec],
    tables: Option<Tables<'_>>,
    isa: Isa,
    skipped: &mut Vec<Skipped>,
) -> Vec<Row> {
    let shape = PlaneShape {
        dtype: samples.dtype,
        tokens: samples.tokens.min(args.tokens_per_block as usize),
        heads: samples.heads,
        dim: samples.dim,
    };
    let last = samples.layers.keys().next_back().copied().unwrap_or(0);
    let mut tried: Vec<(&Codec, Attempt<'_>)> = codecs
        .iter()
        .map(|codec| {
            let coder = Coder::new(codec, &shape, tables, isa).map_err(|error| explained(codec, error).to_string());
            let coder = check_layer(codec, last, tables.as_ref()).and(coder);
            (codec, coder.map(|coder| (coder, Measured::default())))
        })
        .collect();
    for (&number, layer) in &samples.layers {
        let [key, value] = &layer.planes;
        let outputs = |planes: [&[u8]; 2]| attention::outputs(samples, &layer.queries, planes, !args.bidirectional);
        let right = (!layer.queries.is_empty()).then(|| outputs([key, value]));
        for (codec, attempt) in &mut tried {
            let Ok((coder, measured)) = attempt else { continue };
            let mut plane = |plane| measured.plane(samples, coder, args.tokens_per_block as usize, (number, plane));
            match plane(0).and_then(|key| Ok([key, plane(1)?])) {
                Ok([key, value]) => {
                    if let Some(right) = &right {
                        measured.attention.add(outputs([&key, &value]), right.iter().copied());
                    }
                }
                Err(status) => *attempt = Err(failed(codec, status)),
            }
        }
    }
    let queries = samples.query_heads > 0;
    let mut rows = Vec::new();
    for (codec, attempt) in tried {
        match attempt {
            Ok((_, measured)) => rows.push(Row::new(codec, &measured, queries)),
            Err(reason) => skipped.push(Skipped {
                codec: codec.name.clone(),
                reason,
            }),
        }
    }
    rows
}

impl Row {
    fn new(codec: &Codec, measured: &Measured, queries: bool) -> Self {
        let [key, value] = &measured.planes;
        let gbps = |seconds: f64| measured.plane_bytes as f64 / seconds.max(1e-9) / 1e9;
        Self {
            codec: codec.name.clone(),
            bits_per_element: measured.bits(),
            bits_in_block: measured.bits_in_block(),
            relative_mse_k: key.difference.relative(),
            relative_mse_v: value.difference.relative(),
            cosine_k: key.cosine(),
            cosine_v: value.cosine(),
            attention_error: queries.then(|| measured.attention.relative().sqrt()),
            encode_gbps: gbps(measured.encode_seconds),
            decode_gbps: gbps(measured.decode_seconds),
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "codec",
            "bits",
            "in blocks",
            "K rel. MSE",
            "V rel. MSE",
            "K cosine",
            "V cosine",
            "attention error",
            "encode GB/s",
            "decode GB/s",
        ]);
        for row in &self.codecs {
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            table.add_row([
                Cell::new(&row.codec),
                right(format!("{:.3}", row.bits_per_element)),
                right(format!("{:.3}", row.bits_in_block)),
                right(format!("{:.6}", row.relative_mse_k)),
                right(format!("{:.6}", row.relative_mse_v)),
                right(format!("{:.5}", row.cosine_k)),
                right(format!("{:.5}", row.cosine_v)),
                right(
                    row.attention_error
                        .map_or(String::from("no queries"), |error| format!("{error:.4}")),
                ),
                right(format!("{:.3}", row.encode_gbps)),
                right(format!("{:.3}", row.decode_gbps)),
            ]);
        }
        let mut text = format!(
            "{}: {} sequences of {} tokens, {} heads of {} elements, {}, layers {:?}\n",
            self.samples, self.sequences, self.tokens, self.heads, self.dim, self.dtype, self.layers
        );
        text += &format!(
            "blocks of {} tokens; attention is {}; {}; measured on: {}\n",
            self.tokens_per_block,
            if self.causal { "causal" } else { "bidirectional" },
            self.isa,
            self.evaluated
        );
        if let (Some(from), Some(tables)) = (&self.tables_from, &self.tables) {
            text += &format!("tables: {from}; {}\n", tables.line());
        }
        text += &format!("{table}\n");
        for skipped in &self.skipped {
            text += &format!("not measured: {}: {}\n", skipped.codec, skipped.reason);
        }
        text
    }
}
