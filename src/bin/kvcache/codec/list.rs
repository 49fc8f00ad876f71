//! `kvcache codec list`: what there is.

use std::error::Error;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use kvcache::codec::{CodecKind, Isa, Plane, code_bytes_max};
use kvcache::geometry::PlaneShape;
use kvcache::layout::Dtype;
use serde::Serialize;

use super::coder::Coder;
use super::name::Codec;
use super::synthetic;

/// How to list them.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// One JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// The plane that bits are told for, but for the elements of a head: a block of 64 tokens, 8 heads.
const TOKENS: usize = 64;
const HEADS: usize = 8;

#[derive(Serialize)]
struct Entry {
    codec: &'static str,
    number: u8,
    /// Everything counted, for blocks of 64 tokens and 8 heads of keys and values, bf16.
    bits_dim128: f64,
    bits_dim64: f64,
    /// Whether decoding gives back every bit.
    exact: bool,
    /// Expected relative error, per cent.
    error_nominal_percent: f64,
    needs_tables: bool,
    /// Elements of a head that it can take: from, to, in steps of.
    head_dim_min: usize,
    head_dim_max: usize,
    head_dim_step: usize,
    dtypes: &'static [&'static str],
    /// Whether this build can encode with it (with tables, where it needs them).
    available: bool,
    use_when: &'static str,
}

impl Entry {
    fn new(kind: CodecKind) -> Self {
        let (head_dim_min, head_dim_max, head_dim_step) = match kind {
            CodecKind::Raw | CodecKind::Lz | CodecKind::F8 => (1, 1 << 16, 1),
            _ => (32, 256, 16),
        };
        let (bits_dim128, available) = bits(kind, 128);
        Self {
            codec: kind.name(),
            number: kind as u8,
            bits_dim128,
            bits_dim64: bits(kind, 64).0,
            exact: kind.is_exact(),
            error_nominal_percent: kind.error_nominal_permille() as f64 / 10.0,
            needs_tables: kind.needs_tables(),
            head_dim_min,
            head_dim_max,
            head_dim_step,
            dtypes: match kind {
                CodecKind::Raw => &["f32", "f16", "bf16", "f8_e4m3", "f8_e5m2", "i8", "u8"],
                _ => &["f16", "bf16"],
            },
            available,
            use_when: use_when(kind),
        }
    }

    fn geometries(&self) -> String {
        match (self.codec, self.head_dim_step) {
            ("raw", _) => String::from("all"),
            (_, 1) => String::from("16 bits"),
            (_, step) => format!(
                "16 bits, heads of {} to {} by {step}",
                self.head_dim_min, self.head_dim_max
            ),
        }
    }
}

const fn use_when(kind: CodecKind) -> &'static str {
    match kind {
        CodecKind::Raw => "memory; wherever room is no matter",
        CodecKind::Lz => "nothing may change, but links or disks are slow",
        CodecKind::F8 => "the GPU engine computes in E4M3 anyway",
        CodecKind::I8 => "half the room at no loss that anyone sees: the first choice for NVMe",
        CodecKind::N4 => "a quarter of the room, cheapest to encode and decode",
        CodecKind::T4 => "a quarter of the room, least bits of its quality",
        CodecKind::T3 => "a fifth of the room: the first choice for disks",
        CodecKind::T2 => "a seventh of the room, where loss is better than computing again",
        CodecKind::Vq => "2 bits with codebooks of the model; cheap to decode",
        CodecKind::Xc => "cold tiers: 1 to 3 bits with least loss, slow, calibrated",
    }
}

/// Bits per element, everything counted, and whether this build can do it. Measured on Gaussian numbers; where that
/// needs tables, the rate or the bound.
fn bits(kind: CodecKind, dim: usize) -> (f64, bool) {
    let codec = Codec::plain(kind);
    let shape = PlaneShape {
        dtype: Dtype::Bf16,
        tokens: TOKENS,
        heads: HEADS,
        dim,
    };
    let of_bytes = |bytes: usize| bytes as f64 * 8.0 / shape.elements() as f64;
    match kind {
        CodecKind::Xc => return (codec.choice.xc_millibits as f64 / 1000.0, true),
        CodecKind::Vq => return (of_bytes(code_bytes_max(kind, &shape)), true),
        _ => {}
    }
    let plane = Plane {
        shape,
        layer: 0,
        plane: 1,
        position: 0,
    };
    let mut input = vec![0; shape.bytes()];
    synthetic::fill(&plane, 1, &mut input);
    let code = Coder::new(&codec, &shape, None, Isa::detect())
        .ok()
        .and_then(|mut coder| Some(coder.encode(&plane, &input).ok()?.len()));
    (
        of_bytes(code.unwrap_or_else(|| code_bytes_max(kind, &shape))),
        code.is_some(),
    )
}

/// Prints the list.
///
/// # Errors
/// None at present.
pub fn run(args: &ListArgs) -> Result<(), Box<dyn Error>> {
    let entries: Vec<Entry> = CodecKind::ALL.into_iter().map(Entry::new).collect();
    if args.json {
        crate::print_json(&entries);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "codec",
        "bits, dim 128",
        "dim 64",
        "error",
        "tables",
        "geometries",
        "when to use it",
    ]);
    for entry in &entries {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(entry.codec),
            right(format!("{:.2}", entry.bits_dim128)),
            right(format!("{:.2}", entry.bits_dim64)),
            right(match entry.exact {
                true => String::from("exact"),
                false => format!("{:.1} %", entry.error_nominal_percent),
            }),
            Cell::new(if entry.needs_tables { "needed" } else { "" }),
            Cell::new(entry.geometries()),
            Cell::new(match entry.available {
                true => entry.use_when,
                false => "(not in this build)",
            }),
        ]);
    }
    println!("{table}");
    println!(
        "Bits: bf16, blocks of {TOKENS} tokens, {HEADS} heads, everything counted; those of lz depend on the data, \
         those of xc are set (0.5 to 6).\nError: root of the squared error over the squared norm, as expected; \
         `kvcache codec eval SAMPLES` measures it."
    );
    Ok(())
}
