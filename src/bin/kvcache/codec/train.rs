//! `kvcache codec train`: tables from samples.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kvcache::codec::{CodecKind, Rope, RopePairs, train};

use super::samples::SampleSet;
use super::tablefile::{self, Description, TableBytes};

/// What to train, on what.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Files with samples of the model: safetensors with layerL.k and layerL.v, [sequences, tokens, heads, dim], F16 or
    /// BF16, keys as they are kept (after the rotary embedding)
    #[arg(required = true)]
    samples: Vec<PathBuf>,
    /// Where the tables go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The codecs that they are for
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Trained::Vq, Trained::Xc])]
    codecs: Vec<Trained>,
    /// The rotary embedding of the keys; found out from the keys if not given
    #[arg(long, value_enum)]
    rope: Option<RopeArg>,
    /// The base of its frequencies
    #[arg(long, default_value_t = 10000.0, requires = "rope")]
    theta: f64,
    /// How many elements of each head are rotated, the first ones; all of them if not given
    #[arg(long, value_name = "ELEMENTS", requires = "rope")]
    rope_dim: Option<usize>,
}

/// Codecs with tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Trained {
    /// Codebooks
    Vq,
    /// The transform coder
    Xc,
}

impl From<Trained> for CodecKind {
    fn from(trained: Trained) -> Self {
        match trained {
            Trained::Vq => Self::Vq,
            Trained::Xc => Self::Xc,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RopeArg {
    /// There is none
    None,
    /// Pairs i and i + dim / 2 (Llama, Qwen, NeoX)
    Half,
    /// Pairs 2 i and 2 i + 1 (GPT-J)
    Interleaved,
}

/// Trains, writes, and tells what came of it.
///
/// # Errors
/// What is wrong with the samples; the system's.
pub fn run(args: &TrainArgs) -> Result<(), Box<dyn Error>> {
    tablefile::check_folder(&args.out)?;
    let mut sets = args.samples.iter().map(|path| Ok((path, SampleSet::read(path)?)));
    let (_, mut samples) = sets.next().ok_or("there are no samples")??;
    for set in sets {
        let (path, more) = set.map_err(|error: String| error)?;
        samples
            .append(more)
            .map_err(|reason| format!("{}: {reason}", path.display()))?;
    }
    let rope = rope(args, samples.dim)?;
    eprintln!("samples: {}", samples.describe());
    if let Some(note) = samples.stand_ins_note() {
        eprintln!("note: {note}");
    }
    let kinds: Vec<CodecKind> = args.codecs.iter().map(|&trained| trained.into()).collect();
    let begun = Instant::now();
    let bytes = TableBytes::new(&train::train(&samples.to_train(rope), &kinds)?);
    let tables = bytes.open()?;
    if let Some(missing) = kinds
        .iter()
        .find(|kind| !tablefile::codecs(&tables).any(|found| found == **kind))
    {
        return Err(format!("this build does not train the codec {}", missing.name()).into());
    }
    tablefile::write(&args.out, bytes.bytes())?;
    eprintln!("trained in {:.1} s", begun.elapsed().as_secs_f64());
    println!("{}", Description::new(&tables).text());
    Ok(())
}

fn rope(args: &TrainArgs, head_dim: usize) -> Result<Option<Rope>, String> {
    let Some(pairs) = args.rope else { return Ok(None) };
    let dim = args.rope_dim.unwrap_or(head_dim);
    let pairs = match pairs {
        RopeArg::None => return Ok(Some(Rope::NONE)),
        RopeArg::Half => RopePairs::Half,
        RopeArg::Interleaved => RopePairs::Interleaved,
    };
    if !args.theta.is_finite() || args.theta <= 1.0 {
        return Err(format!(
            "--theta is {}; the base of the frequencies is more than 1",
            args.theta
        ));
    }
    if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) {
        return Err(format!(
            "--rope-dim is {dim}; it is an even number from 2 to {head_dim}, the elements of a head"
        ));
    }
    Ok(Some(Rope {
        pairs,
        theta: args.theta,
        dim,
    }))
}
