//! Tables that were trained on samples of a model: one flat piece of bytes, versioned and checksummed.
//!
//! Little-endian throughout. A header of 128 bytes, a directory, and sections at multiples of 64 bytes:
//!
//! | at | bytes | header |
//! | ---: | ---: | --- |
//! | 0 | 4 | `KVCT` |
//! | 4 | 4 | version, 1 |
//! | 8 | 8 | bytes of everything |
//! | 16 | 4 | layers |
//! | 20 | 4 | planes of a layer |
//! | 24 | 4 | heads of keys and values |
//! | 28 | 4 | elements of a head |
//! | 32 | 8 | base of the rotary embedding, binary64; 0 without one |
//! | 40 | 4 | which elements are rotated together: 0 none, 1 `i` and `i + dim / 2`, 2 `2 i` and `2 i + 1` |
//! | 44 | 4 | elements of a head that are rotated |
//! | 48 | 8 | tokens of the samples |
//! | 56 | 4 | sections |
//! | 60 | 60 | 0 |
//! | 120 | 8 | XXH3 (64 bits, seed 0) of everything but these eight bytes |
//!
//! | at | bytes | entry of the directory |
//! | ---: | ---: | --- |
//! | 0 | 1 | codec |
//! | 1 | 1 | plane |
//! | 2 | 2 | layer |
//! | 4 | 4 | 0 |
//! | 8 | 8 | where the section begins |
//! | 16 | 8 | its bytes |

use crate::config::CodecKind;
use crate::error::{ConfigError, Status};
use crate::geometry::PlaneShape;
use xxhash_rust::xxh3::Xxh3;

#[cfg(feature = "std")]
mod file;
#[cfg(feature = "std")]
mod writer;

#[cfg(feature = "std")]
pub use file::{file_bytes, load};
#[cfg(feature = "std")]
pub use writer::{Section, TablesWriter};

pub(super) const MAGIC: [u8; 4] = *b"KVCT";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 128;
pub(super) const ENTRY_BYTES: usize = 24;
pub(super) const CHECKSUM_AT: usize = 120;
/// Alignment of the bytes, and of each section within them.
pub const TABLES_ALIGNMENT_BYTES: usize = 64;

/// Which elements a rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RopePairs {
    /// There is none.
    None = 0,
    /// `i` and `i + dim / 2` (Llama in the usual weights, GPT-NeoX).
    Half = 1,
    /// `2 i` and `2 i + 1` (GPT-J).
    Interleaved = 2,
}

/// The rotary embedding of the keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Which elements are turned together.
    pub pairs: RopePairs,
    /// The base of the frequencies.
    pub theta: f64,
    /// Elements of each head that are turned, an even number; the first ones.
    pub dim: usize,
}

impl Rope {
    /// No rotary embedding.
    pub const NONE: Self = Self {
        pairs: RopePairs::None,
        theta: 0.0,
        dim: 0,
    };
}

/// What tables say about themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TablesInfo {
    /// Bytes of everything.
    pub bytes: u64,
    /// Layers of the model.
    pub layers: usize,
    /// Planes of a layer: 2 for keys and values.
    pub planes: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of a head.
    pub dim: usize,
    /// The rotary embedding of the keys.
    pub rope: Rope,
    /// Tokens of the samples.
    pub tokens: u64,
    /// The checksum; block codes say by it which tables they need.
    pub digest: u64,
}

/// Checked tables over borrowed bytes.
#[derive(Clone, Copy)]
pub struct Tables<'t> {
    bytes: &'t [u8],
    info: TablesInfo,
    sections: usize,
}

impl core::fmt::Debug for Tables<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.info.fmt(formatter)
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut word = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        word.copy_from_slice(found);
    }
    word
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(word(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(word(bytes, at))
}

/// The checksum of tables: of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&bytes[..CHECKSUM_AT]);
    hasher.update(&bytes[CHECKSUM_AT + 8..]);
    hasher.digest()
}

impl<'t> Tables<'t> {
    /// Checks tables. Reads all of `bytes`, once.
    ///
    /// # Errors
    /// [`Status::Argument`] if the bytes do not begin at a multiple of [`TABLES_ALIGNMENT_BYTES`];
    /// [`Status::Unsupported`] for another version; [`Status::Damaged`] for everything else that is wrong.
    pub fn open(bytes: &'t [u8]) -> Result<Self, Status> {
        if !bytes.as_ptr().addr().is_multiple_of(TABLES_ALIGNMENT_BYTES) {
            return Err(Status::Argument);
        }
        if bytes.len() < HEADER_BYTES || bytes[..4] != MAGIC {
            return Err(Status::Damaged);
        }
        if u32_at(bytes, 4) != VERSION {
            return Err(Status::Unsupported);
        }
        let digest = u64_at(bytes, CHECKSUM_AT);
        if u64_at(bytes, 8) != bytes.len() as u64 || checksum(bytes) != digest {
            return Err(Status::Damaged);
        }
        let rope = Rope {
            pairs: match u32_at(bytes, 40) {
                0 => RopePairs::None,
                1 => RopePairs::Half,
                2 => RopePairs::Interleaved,
                _ => return Err(Status::Damaged),
            },
            theta: f64::from_bits(u64_at(bytes, 32)),
            dim: u32_at(bytes, 44) as usize,
        };
        let info = TablesInfo {
            bytes: bytes.len() as u64,
            layers: u32_at(bytes, 16) as usize,
            planes: u32_at(bytes, 20) as usize,
            heads: u32_at(bytes, 24) as usize,
            dim: u32_at(bytes, 28) as usize,
            rope,
            tokens: u64_at(bytes, 48),
            digest,
        };
        let rope_fits = rope.dim.is_multiple_of(2) && rope.dim <= info.dim && rope.theta.is_finite();
        let sections = u32_at(bytes, 56) as usize;
        let tables = Self { bytes, info, sections };
        let directory_end = sections
            .checked_mul(ENTRY_BYTES)
            .map(|directory| HEADER_BYTES + directory)
            .filter(|end| *end <= bytes.len());
        let sections_fit = directory_end.is_some_and(|directory_end| {
            (0..sections).all(|section| {
                let (key, start, length) = tables.entry(section);
                // They are searched by halves.
                let in_order = section == 0 || tables.entry(section - 1).0 < key;
                in_order
                    && start % TABLES_ALIGNMENT_BYTES as u64 == 0
                    && start >= directory_end as u64
                    && start.checked_add(length).is_some_and(|end| end <= bytes.len() as u64)
            })
        });
        if rope_fits && sections_fit {
            Ok(tables)
        } else {
            Err(Status::Damaged)
        }
    }

    /// The bytes that they lie in.
    pub const fn bytes(&self) -> &'t [u8] {
        self.bytes
    }

    /// What they say about themselves.
    pub const fn info(&self) -> &TablesInfo {
        &self.info
    }

    /// `(codec, plane, layer)` as one number, where the section begins, and its bytes.
    fn entry(&self, section: usize) -> (u32, u64, u64) {
        let at = HEADER_BYTES + section * ENTRY_BYTES;
        (
            u32_at(self.bytes, at),
            u64_at(self.bytes, at + 8),
            u64_at(self.bytes, at + 16),
        )
    }

    /// Whether there is a section for this codec.
    pub fn has(&self, kind: CodecKind) -> bool {
        (0..self.sections).any(|section| self.entry(section).0 & 0xFF == kind as u32)
    }

    /// The section of a codec for one plane of one layer.
    pub(crate) fn section(&self, kind: CodecKind, layer: usize, plane: usize) -> Option<&'t [u8]> {
        let wanted = key(kind, layer, plane);
        // Sections are in the order of their first words.
        let (mut low, mut high) = (0, self.sections);
        while low < high {
            let middle = usize::midpoint(low, high);
            let (found, start, length) = self.entry(middle);
            match found.cmp(&wanted) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
                core::cmp::Ordering::Equal => return self.bytes.get(start as usize..(start + length) as usize),
            }
        }
        None
    }

    /// Whether these tables are for planes of this shape and have what the codec needs.
    ///
    /// # Errors
    /// [`Status::Conflict`] with the field, its value and what the tables are for.
    pub(crate) fn fits(&self, kind: CodecKind, shape: &PlaneShape) -> Result<(), ConfigError> {
        let refusal = |field, value: usize, right: usize, reason| {
            ConfigError::new(
                Status::Conflict,
                field,
                value as u64,
                right as u64,
                right as u64,
                reason,
            )
        };
        let info = &self.info;
        if shape.heads != info.heads {
            let reason = "the tables were trained for another number of heads; train them on this model";
            return Err(refusal("kv_heads_count", shape.heads, info.heads, reason));
        }
        if shape.dim != info.dim {
            let reason = "the tables were trained for another size of heads; train them on this model";
            return Err(refusal("head_dim", shape.dim, info.dim, reason));
        }
        let complete =
            (0..info.layers).all(|layer| (0..info.planes).all(|plane| self.section(kind, layer, plane).is_some()));
        if !complete {
            let reason = "the tables have no section for this codec; train them with this version";
            return Err(refusal("codec_tables", 0, 1, reason));
        }
        Ok(())
    }
}

/// The first word of a directory entry.
const fn key(kind: CodecKind, layer: usize, plane: usize) -> u32 {
    kind as u32 | (plane as u32) << 8 | (layer as u32) << 16
}

#[cfg(test)]
pub(super) mod tests;
