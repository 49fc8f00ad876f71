//! `kvcache codec roundtrip`: one plane, encoded and decoded.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kvcache::codec::{Isa, Plane, Tables};
use kvcache::geometry::PlaneShape;

use super::coder::{Coder, explained, failed};
use super::name::{self, Codec, Element};
use super::tablefile;

/// What to encode, and how.
#[derive(Args, Debug)]
pub struct RoundtripArgs {
    /// The codec: raw, lz, f8, i8, n4, t4, t3, t2, vq, xc; with settings t4-64, t4-mean, xc-2.3
    #[arg(value_parser = str::parse::<Codec>)]
    name: Codec,
    /// Keys or values
    #[arg(value_enum)]
    kind: Kind,
    /// The layer that they belong to, from 0
    layer: usize,
    /// Tokens
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Heads of keys and values
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    heads: u32,
    /// Elements of a head
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    dim: u32,
    /// The elements, [tokens][heads][dim], 16 bits each, little-endian
    r#in: PathBuf,
    /// Where the decoded elements go
    out: PathBuf,
    /// The type of an element
    #[arg(long, value_enum, default_value_t = Element::F16)]
    dtype: Element,
    /// Tables that were trained on samples of the model
    #[arg(long, value_name = "FILE")]
    tables: Option<PathBuf>,
    /// t4, t3, t2: states of the trellis, 256 or 64
    #[arg(long, value_name = "COUNT", value_parser = ["64", "256"])]
    states: Option<String>,
    /// t4, t3, t2: takes the mean of each channel off the keys first
    #[arg(long)]
    mean: bool,
    /// xc: bits per element
    #[arg(long, value_parser = name::millibits)]
    bits: Option<u64>,
    /// Place of the first token in its sequence
    #[arg(long, value_name = "TOKEN", default_value_t = 0)]
    position: u64,
    /// Instructions to use: portable, avx2, avx512; the best that the machine has if not given
    #[arg(long, value_parser = name::isa)]
    isa: Option<Isa>,
}

/// Which plane.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Keys
    #[value(alias = "key", alias = "keys")]
    K,
    /// Values
    #[value(alias = "value", alias = "values")]
    V,
}

/// Encodes, decodes, writes, and prints the bytes of the code as its last word.
///
/// # Errors
/// What is wrong with the arguments or the files.
pub fn run(args: &RoundtripArgs) -> Result<(), Box<dyn Error>> {
    let codec = settled(args)?;
    let shape = shape(args)?;
    let table_bytes = tablefile::read(args.tables.as_deref())?;
    let tables = tablefile::open(args.tables.as_deref(), table_bytes.as_ref())?;
    check_layer(&codec, args.layer, tables.as_ref())?;
    let input = read(&args.r#in, args, &shape)?;
    let plane = Plane {
        shape,
        layer: args.layer,
        plane: args.kind as usize,
        position: args.position,
    };
    let isa = args.isa.unwrap_or_else(Isa::detect);
    let coder = || Coder::new(&codec, &shape, tables, isa).map_err(|error| explained(&codec, error));
    let code = coder()?
        .encode(&plane, &input)
        .map_err(|status| failed(&codec, status))?
        .to_vec();
    let mut output = vec![0; input.len()];
    // Another coder: nothing but the code goes from one to the other.
    coder()?
        .decode(&plane, &code, &mut output)
        .map_err(|status| failed(&codec, status))?;
    fs::write(&args.out, &output).map_err(|error| format!("{}: {error}", args.out.display()))?;
    let bits = code.len() as f64 * 8.0 / shape.elements() as f64;
    println!(
        "{}: {bits:.4} bits per element, bytes of the code: {}",
        codec.name,
        code.len()
    );
    Ok(())
}

/// The codec with the settings of the options.
fn settled(args: &RoundtripArgs) -> Result<Codec, String> {
    let mut codec = args.name.clone();
    let option = if args.states.is_some() { "--states" } else { "--mean" };
    if (args.states.is_some() || args.mean) && !codec.is_trellis() {
        return Err(format!(
            "{option} is for t4, t3 and t2; {} has no such setting",
            codec.name
        ));
    }
    if args.bits.is_some() && codec.kind != kvcache::codec::CodecKind::Xc {
        return Err(format!("--bits is for xc; {} has no such setting", codec.name));
    }
    if let Some(states) = &args.states {
        codec.choice.trellis_states = if states == "64" { 64 } else { 256 };
    }
    codec.choice.key_mean |= args.mean;
    codec.choice.xc_millibits = args.bits.unwrap_or(codec.choice.xc_millibits);
    Ok(codec)
}

fn shape(args: &RoundtripArgs) -> Result<PlaneShape, String> {
    let [tokens, heads, dim] = [args.tokens, args.heads, args.dim];
    let elements = u64::from(tokens)
        .checked_mul(u64::from(heads))
        .and_then(|rows| rows.checked_mul(u64::from(dim)));
    if elements.is_none_or(|elements| elements > 1 << 32) {
        return Err(format!(
            "{tokens} tokens x {heads} heads x {dim} elements are too many for one plane"
        ));
    }
    Ok(PlaneShape {
        dtype: args.dtype.into(),
        tokens: tokens as usize,
        heads: heads as usize,
        dim: dim as usize,
    })
}

/// A codec with tables can do the layers that they were trained for.
pub fn check_layer(codec: &Codec, layer: usize, tables: Option<&Tables<'_>>) -> Result<(), String> {
    let layers = tables
        .filter(|_| codec.kind.needs_tables())
        .map_or(usize::MAX, |tables| tables.info().layers);
    if layer < layers {
        return Ok(());
    }
    Err(format!(
        "there is no layer {layer} in these tables: they are for layers 0 to {}",
        layers.saturating_sub(1)
    ))
}

fn read(path: &Path, args: &RoundtripArgs, shape: &PlaneShape) -> Result<Vec<u8>, String> {
    let input = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if input.len() == shape.bytes() {
        return Ok(input);
    }
    Err(format!(
        "{}: the file has {} bytes; {} tokens x {} heads x {} elements of {} are {} bytes",
        path.display(),
        input.len(),
        args.tokens,
        args.heads,
        args.dim,
        shape.dtype,
        shape.bytes()
    ))
}
