//! Whole blocks: the codes of all planes behind a directory, so that a code can be read by itself.
//!
//! Little-endian. A header of 32 bytes, a directory of 8 bytes a plane (layer by layer, keys before values), and the
//! codes, one behind the other in the order of the directory:
//!
//! | at | bytes | header |
//! | ---: | ---: | --- |
//! | 0 | 2 | `KB` |
//! | 2 | 1 | version, 1 |
//! | 3 | 1 | the coarsest codec that the block had gone through before; 0 for none |
//! | 4 | 4 | planes |
//! | 8 | 4 | tokens at the beginning of the block that are kept exactly |
//! | 12 | 4 | 0 |
//! | 16 | 8 | place of the block's first token in its sequence |
//! | 24 | 8 | digest of the tables it was encoded with; 0 for none |
//!
//! | at | bytes | entry of the directory |
//! | ---: | ---: | --- |
//! | 0 | 4 | bytes of the plane's code, the exact tokens included |
//! | 4 | 1 | codec |
//! | 5 | 1 | settings: 1 trellis of 64 states, 2 means taken off |
//! | 6 | 2 | 0 |
//!
//! A plane's code begins with its exact tokens as they are; the codec's code of the other tokens follows. No plane's
//! code is longer than the plane: one that would be is kept `raw`. So the codes that are still to be decoded never take
//! more room than the planes that they stand for, and a block can be decoded within the memory that it is to lie in
//! ([`BlockCodec::decode_within`]).

use super::isa::Isa;
use super::plane::{Plane, PlaneCodec, Settings, check, check_shape};
use super::scratch::Scratch;
use super::tables::Tables;
use crate::budget::{
    BLOCK_CODE_ENTRY_BYTES, BLOCK_CODE_HEADER_BYTES, block_scratch_bytes, code_bytes_max, trellis_mean_bytes,
};
use crate::config::{CodecChoice, CodecKind};
use crate::copy::AUTO_BYTES_MIN;
use crate::error::{ConfigError, Status};
use crate::geometry::{Geometry, PlaneShape};

const MAGIC: [u8; 2] = *b"KB";
const VERSION: u8 = 1;

/// What a block's code says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCodeInfo {
    /// The coarsest codec of the planes.
    pub kind: CodecKind,
    /// The coarsest codec that the block had gone through before it was encoded.
    pub loss: CodecKind,
    /// Planes.
    pub planes_count: usize,
    /// Tokens at the beginning that are kept exactly.
    pub exact_tokens: usize,
    /// Place of the first token in its sequence.
    pub position: u64,
    /// Digest of the tables; 0 for none.
    pub tables_digest: u64,
}

/// An entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    bytes: usize,
    kind: CodecKind,
    settings: Settings,
}

impl Entry {
    fn encode(&self) -> [u8; BLOCK_CODE_ENTRY_BYTES] {
        let mut bytes = [0; BLOCK_CODE_ENTRY_BYTES];
        bytes[..4].copy_from_slice(&(self.bytes as u32).to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.settings.flags();
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, d, kind, flags, 0, 0] = bytes else {
            return None;
        };
        Some(Self {
            bytes: u32::from_le_bytes([a, b, c, d]) as usize,
            kind: CodecKind::from_code(u64::from(kind))?,
            settings: Settings::of_flags(flags)?,
        })
    }
}

/// What a codec makes of the blocks of a geometry; needs no tables to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCodecFacts {
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Most bytes of the code of a block: what a slot for one must have.
    pub code_bytes_max: usize,
    /// Bytes of memory that encoding and decoding take.
    pub scratch_bytes: usize,
    /// Thousandths of a bit per element of a block without exact tokens, header and directory and scales counted,
    /// rounded up: exact for codecs of a fixed rate, the rate asked for with `xc`, the most with `lz`.
    pub millibits: u64,
    /// Whether each block without exact tokens has a code of the same length.
    pub is_fixed_rate: bool,
    /// Whether a decoded block is the block that was encoded, bit by bit.
    pub is_exact: bool,
    /// Whether tables are needed.
    pub needs_tables: bool,
    /// Relative error to be expected of the coarsest plane, in thousandths.
    pub error_nominal_permille: u64,
}

impl BlockCodecFacts {
    /// For blocks of `geometry`, each plane as `choice` says.
    ///
    /// # Errors
    /// As [`BlockCodec::new`], but for tables.
    pub fn new(geometry: &Geometry, choice: &CodecChoice) -> Result<Self, ConfigError> {
        choice.validate()?;
        let shape = geometry.plane_shape();
        for kind in choice.kinds() {
            check_shape(kind, &shape)?;
        }
        let codec = BlockCodec {
            geometry: *geometry,
            choice: *choice,
            tables: None,
            isa: Isa::Portable,
        };
        let kinds = || (0..codec.planes_count()).map(|plane| codec.kind(plane));
        let bits = |plane| match codec.kind(plane) {
            CodecKind::Xc => shape.elements() as u64 * choice.xc_millibits / 1000,
            _ => 8 * codec.plane_bytes_max(plane, &shape) as u64,
        };
        let bits = 8 * codec.directory_end() as u64 + (0..codec.planes_count()).map(bits).sum::<u64>();
        let elements = (shape.elements() * codec.planes_count()) as u64;
        Ok(Self {
            block_bytes: geometry.block_bytes(),
            code_bytes_max: codec.code_bytes_max(),
            scratch_bytes: codec.scratch_bytes(),
            millibits: (bits * 1000).div_ceil(elements),
            is_fixed_rate: kinds().all(|kind| !matches!(kind, CodecKind::Lz | CodecKind::Xc)),
            is_exact: kinds().all(CodecKind::is_exact),
            needs_tables: kinds().any(CodecKind::needs_tables),
            error_nominal_permille: kinds().map(CodecKind::error_nominal_permille).max().unwrap_or(0),
        })
    }
}

/// Encodes and decodes blocks of one geometry.
#[derive(Clone, Copy, Debug)]
pub struct BlockCodec<'t> {
    geometry: Geometry,
    choice: CodecChoice,
    tables: Option<Tables<'t>>,
    isa: Isa,
}

impl<'t> BlockCodec<'t> {
    /// A codec for blocks of `geometry`, each plane as `choice` says.
    ///
    /// # Errors
    /// As [`PlaneCodec::new`]; [`Status::Conflict`] where tables are needed for a layer that they do not have.
    pub fn new(
        geometry: &Geometry,
        choice: &CodecChoice,
        tables: Option<Tables<'t>>,
        isa: Isa,
    ) -> Result<Self, ConfigError> {
        choice.validate()?;
        let shape = geometry.plane_shape();
        let layers_count = geometry.shape().layers_count;
        for kind in choice.kinds() {
            check(kind, &shape, tables.as_ref())?;
            if let Some(tables) = tables.as_ref().filter(|_| kind.needs_tables()) {
                let layers = tables.info().layers as u64;
                if layers < layers_count || (tables.info().planes as u64) < geometry.shape().planes_count {
                    return Err(ConfigError::new(
                        Status::Conflict,
                        "layers_count",
                        layers_count,
                        1,
                        layers,
                        "the tables were trained for fewer layers; train them on this model",
                    ));
                }
            }
        }
        Ok(Self::unchecked(geometry, choice, tables, isa))
    }

    /// As [`BlockCodec::new`], for what was checked before.
    pub(crate) const fn unchecked(
        geometry: &Geometry,
        choice: &CodecChoice,
        tables: Option<Tables<'t>>,
        isa: Isa,
    ) -> Self {
        Self {
            geometry: *geometry,
            choice: *choice,
            tables,
            isa,
        }
    }

    /// The geometry.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What is chosen.
    pub const fn choice(&self) -> &CodecChoice {
        &self.choice
    }

    /// Planes of a block.
    pub const fn planes_count(&self) -> usize {
        let shape = self.geometry.shape();
        (shape.layers_count * shape.planes_count) as usize
    }

    const fn directory_end(&self) -> usize {
        BLOCK_CODE_HEADER_BYTES + self.planes_count() * BLOCK_CODE_ENTRY_BYTES
    }

    fn kind(&self, plane: usize) -> CodecKind {
        let planes = self.geometry.shape().planes_count as usize;
        let layers = self.geometry.shape().layers_count as usize;
        self.choice.kind(layers, plane / planes, plane % planes)
    }

    /// Most bytes of the code of a block: what a slot for one must have. With codecs of a fixed rate the first block of
    /// a sequence, which has all of its exact tokens, needs no less.
    pub fn code_bytes_max(&self) -> usize {
        let exact_tokens = self.exact_tokens(0);
        let exact_bytes = exact_tokens * self.geometry.token_bytes();
        // A token takes no more when it is encoded than when it is kept: the most exact tokens make the longest code.
        let code = |plane| {
            let shape = self.plane_of(plane, exact_tokens, 0).shape;
            exact_bytes + self.plane_bytes_max(plane, &shape)
        };
        self.directory_end() + (0..self.planes_count()).map(code).sum::<usize>()
    }

    /// Most bytes of the code of a plane of this shape, which is never longer than the plane.
    fn plane_bytes_max(&self, plane: usize, shape: &PlaneShape) -> usize {
        let (kind, planes) = (self.kind(plane), self.geometry.shape().planes_count as usize);
        let trellis = matches!(kind, CodecKind::T4 | CodecKind::T3 | CodecKind::T2);
        let has_means = self.choice.key_mean && plane.is_multiple_of(planes);
        let means = if trellis && !has_means {
            trellis_mean_bytes(shape)
        } else {
            0
        };
        (code_bytes_max(kind, shape) - means).min(shape.bytes())
    }

    /// Bytes of memory that encoding and decoding take; any code that fits the geometry can be decoded with it.
    pub fn scratch_bytes(&self) -> usize {
        block_scratch_bytes(&self.geometry, &self.choice)
    }

    /// Tokens of a block at `position` that are kept exactly.
    fn exact_tokens(&self, position: u64) -> usize {
        let left = self.choice.exact_tokens.saturating_sub(position);
        left.min(self.geometry.shape().tokens_per_block) as usize
    }

    fn plane_of(&self, plane: usize, exact_tokens: usize, position: u64) -> Plane {
        let planes = self.geometry.shape().planes_count as usize;
        let shape = self.geometry.plane_shape();
        Plane {
            shape: PlaneShape {
                tokens: shape.tokens - exact_tokens,
                ..shape
            },
            layer: plane / planes,
            plane: plane % planes,
            position: position.saturating_add(exact_tokens as u64),
        }
    }

    /// Encodes a block whose first token is the `position`th of its sequence, from 0, and which went through the codec
    /// `loss` before. Returns the length of the code.
    ///
    /// # Errors
    /// [`Status::Argument`] if `block` is not as long as the geometry says; [`Status::TooSmall`] if the code does not
    /// fit into `code` or the scratch is too small.
    pub fn encode(
        &self,
        block: &[u8],
        position: u64,
        loss: CodecKind,
        code: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Result<usize, Status> {
        if block.len() != self.geometry.block_bytes() {
            return Err(Status::Argument);
        }
        let mut scratch = scratch.lend();
        let shape = self.geometry.plane_shape();
        let exact_tokens = self.exact_tokens(position);
        let exact_bytes = exact_tokens * self.geometry.token_bytes();
        let mut end = self.directory_end();
        if code.len() < end {
            return Err(Status::TooSmall);
        }
        let spare = scratch.take::<u8>(shape.bytes() + 64)?;
        for (number, input) in block.chunks_exact(shape.bytes()).enumerate() {
            let plane = self.plane_of(number, exact_tokens, position);
            let mut kind = self.kind(number);
            // Codes that may be that much longer than the plane are those of a fixed rate: they always are.
            if code_bytes_max(kind, &plane.shape) > spare.len() {
                kind = CodecKind::Raw;
            }
            let codec = PlaneCodec::unchecked(kind, self.settings(), self.tables, self.isa);
            let rest = &input[exact_bytes..];
            let start = end + exact_bytes;
            // In its place where there is room for the longest code, which need not be the room that the code takes.
            let most = code_bytes_max(kind, &plane.shape);
            let coded = match (kind, code.get_mut(start..start + most)) {
                (CodecKind::Raw, _) => rest.len(),
                (_, Some(target)) => codec.encode(&plane, rest, target, &mut scratch)?,
                (_, None) => {
                    let coded = codec.encode(&plane, rest, spare, &mut scratch)?;
                    if coded < rest.len() {
                        let target = code.get_mut(start..start + coded).ok_or(Status::TooSmall)?;
                        target.copy_from_slice(&spare[..coded]);
                    }
                    coded
                }
            };
            if coded >= rest.len() {
                kind = CodecKind::Raw;
                let target = code.get_mut(start..start + rest.len()).ok_or(Status::TooSmall)?;
                target.copy_from_slice(rest);
            }
            let bytes = exact_bytes + coded.min(rest.len());
            code[end..start].copy_from_slice(&input[..exact_bytes]);
            let settings = match kind {
                CodecKind::Raw => Settings::default(),
                _ => codec.settings_of(&plane),
            };
            let entry = Entry { bytes, kind, settings };
            let at = BLOCK_CODE_HEADER_BYTES + number * BLOCK_CODE_ENTRY_BYTES;
            code[at..at + BLOCK_CODE_ENTRY_BYTES].copy_from_slice(&entry.encode());
            end += bytes;
        }
        let digest = self.tables.map_or(0, |tables| tables.info().digest);
        let header = &mut code[..BLOCK_CODE_HEADER_BYTES];
        header.fill(0);
        header[..2].copy_from_slice(&MAGIC);
        header[2] = VERSION;
        header[3] = loss as u8;
        header[4..8].copy_from_slice(&(self.planes_count() as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(exact_tokens as u32).to_le_bytes());
        header[16..24].copy_from_slice(&position.to_le_bytes());
        header[24..32].copy_from_slice(&digest.to_le_bytes());
        Ok(end)
    }

    fn settings(&self) -> Settings {
        Settings {
            states_64: self.choice.trellis_states == 64,
            mean: self.choice.key_mean,
            xc_millibits: self.choice.xc_millibits as u32,
        }
    }

    /// What a code says about itself, if it fits this geometry. The codes of the planes are not looked at.
    ///
    /// # Errors
    /// [`Status::Damaged`]; [`Status::Unsupported`] for a version that is not known, or where the code needs tables
    /// that this codec does not have.
    pub fn inspect(&self, code: &[u8]) -> Result<BlockCodeInfo, Status> {
        let (header, rest) = code.split_at_checked(BLOCK_CODE_HEADER_BYTES).ok_or(Status::Damaged)?;
        if header[..2] != MAGIC {
            return Err(Status::Damaged);
        }
        if header[2] != VERSION {
            return Err(Status::Unsupported);
        }
        if header[12..16] != [0; 4] {
            return Err(Status::Damaged);
        }
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let mut info = BlockCodeInfo {
            kind: CodecKind::Raw,
            loss: CodecKind::from_code(u64::from(header[3])).ok_or(Status::Damaged)?,
            planes_count: word(4) as usize,
            exact_tokens: word(8) as usize,
            position: long(16),
            tables_digest: long(24),
        };
        let shape = self.geometry.plane_shape();
        if info.planes_count != self.planes_count() || info.exact_tokens > shape.tokens {
            return Err(Status::Damaged);
        }
        let directory = rest
            .get(..info.planes_count * BLOCK_CODE_ENTRY_BYTES)
            .ok_or(Status::Damaged)?;
        let exact_bytes = info.exact_tokens * self.geometry.token_bytes();
        let mut end = self.directory_end();
        let mut checked = [false; CodecKind::ALL.len()];
        for entry in directory.chunks_exact(BLOCK_CODE_ENTRY_BYTES) {
            let entry = Entry::decode(entry).ok_or(Status::Damaged)?;
            if entry.bytes > shape.bytes() || entry.bytes < exact_bytes {
                return Err(Status::Damaged);
            }
            if !core::mem::replace(&mut checked[entry.kind as usize], true) {
                check(entry.kind, &shape, self.tables.as_ref()).map_err(|_| Status::Unsupported)?;
            }
            if entry.kind.needs_tables() && self.tables.map(|tables| tables.info().digest) != Some(info.tables_digest) {
                return Err(Status::Unsupported);
            }
            if entry.kind.error_nominal_permille() >= info.kind.error_nominal_permille() && entry.kind != CodecKind::Raw
            {
                info.kind = entry.kind;
            }
            end += entry.bytes;
        }
        if end == code.len() {
            Ok(info)
        } else {
            Err(Status::Damaged)
        }
    }

    /// Decodes a whole block.
    ///
    /// # Errors
    /// [`Status::Argument`] if `block` is not as long as the geometry says; [`Status::TooSmall`] for the scratch;
    /// [`Status::Damaged`] and [`Status::Unsupported`] as [`BlockCodec::inspect`]. `block` holds anything then.
    pub fn decode(&self, code: &[u8], block: &mut [u8], scratch: &mut Scratch<'_>) -> Result<BlockCodeInfo, Status> {
        if block.len() != self.geometry.block_bytes() {
            return Err(Status::Argument);
        }
        let info = self.inspect(code)?;
        let mut at = self.directory_end();
        for (number, output) in block.chunks_exact_mut(self.geometry.plane_bytes()).enumerate() {
            let entry = self.entry(code, number)?;
            self.decode_plane(&info, number, &entry, &code[at..at + entry.bytes], output, scratch)?;
            at += entry.bytes;
        }
        Ok(info)
    }

    /// Decodes one layer alone, into as many bytes as a layer has.
    ///
    /// # Errors
    /// As [`BlockCodec::decode`]; [`Status::Argument`] for a layer that there is not, too.
    pub fn decode_layer(
        &self,
        code: &[u8],
        layer: usize,
        output: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Result<BlockCodeInfo, Status> {
        if layer as u64 >= self.geometry.shape().layers_count || output.len() != self.geometry.layer_bytes() {
            return Err(Status::Argument);
        }
        let info = self.inspect(code)?;
        let planes = self.geometry.shape().planes_count as usize;
        let mut at = self.directory_end();
        for number in 0..layer * planes {
            at += self.entry(code, number)?.bytes;
        }
        for (plane, output) in output.chunks_exact_mut(self.geometry.plane_bytes()).enumerate() {
            let entry = self.entry(code, layer * planes + plane)?;
            let number = layer * planes + plane;
            self.decode_plane(&info, number, &entry, &code[at..at + entry.bytes], output, scratch)?;
            at += entry.bytes;
        }
        Ok(info)
    }

    /// Decodes a block in place: the code is the last `code_bytes` bytes of `memory`, the block is to be its first.
    /// Tells after each layer how many bytes of the block are ready.
    ///
    /// # Errors
    /// As [`BlockCodec::decode`]; [`Status::Argument`] if `memory` is shorter than a block or the code is longer than
    /// `memory`.
    pub fn decode_within(
        &self,
        memory: &mut [u8],
        code_bytes: usize,
        scratch: &mut Scratch<'_>,
        mut ready: impl FnMut(usize),
    ) -> Result<BlockCodeInfo, Status> {
        let block_bytes = self.geometry.block_bytes();
        if memory.len() < block_bytes || code_bytes > memory.len() {
            return Err(Status::Argument);
        }
        let mut scratch = scratch.lend();
        let start = memory.len() - code_bytes;
        let info = self.inspect(&memory[start..])?;
        // The first planes are written over the directory, and each plane over its own code.
        let directory = scratch.take::<u8>(self.directory_end())?;
        directory.copy_from_slice(&memory[start..start + self.directory_end()]);
        let plane_bytes = self.geometry.plane_bytes();
        let spare = scratch.take::<u8>(plane_bytes)?;
        let planes = self.geometry.shape().planes_count as usize;
        let mut at = start + self.directory_end();
        for number in 0..self.planes_count() {
            let entry = self.entry(directory, number)?;
            let code = &mut spare[..entry.bytes];
            code.copy_from_slice(&memory[at..at + entry.bytes]);
            at += entry.bytes;
            let output = &mut memory[number * plane_bytes..(number + 1) * plane_bytes];
            self.decode_plane(&info, number, &entry, code, output, &mut scratch)?;
            if (number + 1).is_multiple_of(planes) {
                ready((number + 1) * plane_bytes);
            }
        }
        Ok(info)
    }

    fn entry(&self, directory: &[u8], number: usize) -> Result<Entry, Status> {
        let at = BLOCK_CODE_HEADER_BYTES + number * BLOCK_CODE_ENTRY_BYTES;
        directory
            .get(at..at + BLOCK_CODE_ENTRY_BYTES)
            .and_then(Entry::decode)
            .ok_or(Status::Damaged)
    }

    fn decode_plane(
        &self,
        info: &BlockCodeInfo,
        number: usize,
        entry: &Entry,
        code: &[u8],
        output: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Result<(), Status> {
        scratch.stream(self.geometry.block_bytes() >= AUTO_BYTES_MIN);
        let plane = self.plane_of(number, info.exact_tokens, info.position);
        let exact_bytes = info.exact_tokens * self.geometry.token_bytes();
        let (exact, rest) = output.split_at_mut(exact_bytes);
        exact.copy_from_slice(&code[..exact_bytes]);
        PlaneCodec::unchecked(entry.kind, entry.settings, self.tables, self.isa).decode(
            &plane,
            &code[exact_bytes..],
            rest,
            scratch,
        )
    }
}

#[cfg(test)]
mod tests;
