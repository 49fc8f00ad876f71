//! Files with tables.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use kvcache::Status;
use kvcache::codec::{CodecChoice, CodecKind, Isa, PlaneCodec, Rope, RopePairs, Tables};
use kvcache::geometry::PlaneShape;
use kvcache::layout::Dtype;
use serde::Serialize;

/// Alignment that tables ask for.
const ALIGNMENT_BYTES: usize = 64;

/// The bytes of tables, aligned.
pub struct TableBytes {
    bytes: Vec<u8>,
    start: usize,
}

impl TableBytes {
    /// A copy at an aligned place.
    pub fn new(tables: &[u8]) -> Self {
        let mut bytes = vec![0; tables.len() + ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES).min(ALIGNMENT_BYTES);
        bytes[start..start + tables.len()].copy_from_slice(tables);
        bytes.truncate(start + tables.len());
        Self { bytes, start }
    }

    /// From a file.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::new(&bytes))
    }

    /// As they go into a file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The tables, checked.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(&self) -> Result<Tables<'_>, &'static str> {
        Tables::open(self.bytes()).map_err(|status| match status {
            Status::Unsupported => "these tables are of another version; train them anew with this program",
            _ => "these are no tables, or they are damaged; train them anew",
        })
    }
}

/// The tables of a file that may not have been named.
///
/// # Errors
/// The system's, with the path.
pub fn read(path: Option<&Path>) -> Result<Option<TableBytes>, String> {
    path.map(TableBytes::read).transpose()
}

/// The tables, checked, if there are any.
///
/// # Errors
/// What is wrong with them, with the path.
pub fn open<'b>(path: Option<&Path>, bytes: Option<&'b TableBytes>) -> Result<Option<Tables<'b>>, String> {
    let place = path.map(Path::display);
    let opened = bytes.map(TableBytes::open).transpose();
    opened.map_err(|reason| match place {
        Some(place) => format!("{place}: {reason}"),
        None => reason.into(),
    })
}

/// The folder that a file is, or will be, in.
fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Checks that a file could be written there, before there is something to write.
///
/// # Errors
/// The system's, with the path.
pub fn check_folder(path: &Path) -> Result<(), String> {
    let found = fs::read_dir(folder(path));
    found.map(drop).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes tables so that there is either the file that was there before or the whole new one.
///
/// # Errors
/// The system's, with the path.
pub fn write(path: &Path, tables: &[u8]) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let folder = folder(path);
    let name = path
        .file_name()
        .ok_or_else(|| format!("{}: this is no name of a file", path.display()))?;
    let temporary = folder.join(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = File::create_new(&temporary)
        .and_then(|mut file| {
            file.write_all(tables)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(told)
}

/// What tables say about themselves.
#[derive(Serialize)]
pub struct Description {
    bytes: u64,
    digest: String,
    layers: usize,
    heads: usize,
    dim: usize,
    rope: String,
    tokens: u64,
    codecs: Vec<&'static str>,
}

impl Description {
    /// Of checked tables.
    pub fn new(tables: &Tables<'_>) -> Self {
        let info = tables.info();
        Self {
            bytes: info.bytes,
            digest: format!("{:016x}", info.digest),
            layers: info.layers,
            heads: info.heads,
            dim: info.dim,
            rope: rope(&info.rope),
            tokens: info.tokens,
            codecs: codecs(tables).map(CodecKind::name).collect(),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        format!(
            "{} bytes, {} tokens, rope {}, digest {}",
            self.bytes, self.tokens, self.rope, self.digest
        )
    }

    /// Line by line.
    pub fn text(&self) -> String {
        let codecs = match self.codecs.is_empty() {
            true => String::from("none"),
            false => self.codecs.join(", "),
        };
        format!(
            "codecs  {codecs}\nmodel   {} layers, {} heads of {} elements\nrope    {}\ntokens  {}\nbytes   {}\n\
             digest  {}",
            self.layers, self.heads, self.dim, self.rope, self.tokens, self.bytes, self.digest
        )
    }
}

/// The codecs that tables have all sections for.
pub fn codecs<'t>(tables: &Tables<'t>) -> impl Iterator<Item = CodecKind> + 't {
    let tables = *tables;
    let shape = PlaneShape {
        dtype: Dtype::Bf16,
        tokens: 1,
        heads: tables.info().heads,
        dim: tables.info().dim,
    };
    let has = move |kind: &CodecKind| {
        PlaneCodec::new(*kind, &CodecChoice::all(*kind), &shape, Some(tables), Isa::Portable).is_ok()
    };
    CodecKind::ALL
        .into_iter()
        .filter(|kind| kind.needs_tables())
        .filter(has)
}

fn rope(rope: &Rope) -> String {
    let (pairs, example) = match rope.pairs {
        RopePairs::None => return String::from("none"),
        RopePairs::Half => ("half", format!("i and i + {}", rope.dim / 2)),
        RopePairs::Interleaved => ("interleaved", String::from("2 i and 2 i + 1")),
    };
    format!(
        "{pairs} (pairs {example}), theta {}, {} elements of a head",
        rope.theta, rope.dim
    )
}

/// Which file to look at.
#[derive(Args, Debug)]
pub struct TablesArgs {
    /// A file with tables
    file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Checks a file with tables and tells what is in it.
///
/// # Errors
/// What is wrong with it.
pub fn describe(args: &TablesArgs) -> Result<(), Box<dyn Error>> {
    let bytes = TableBytes::read(&args.file)?;
    let tables = bytes
        .open()
        .map_err(|reason| format!("{}: {reason}", args.file.display()))?;
    let description = Description::new(&tables);
    if args.json {
        crate::print_json(&description);
    } else {
        println!("{}", description.text());
    }
    Ok(())
}
