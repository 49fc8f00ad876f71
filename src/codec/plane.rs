//! One plane: which codec does it, and whether it can.

use super::isa::Isa;
use super::scratch::Scratch;
use super::tables::Tables;
use super::{f8, i8, lz, n4, trellis, vq, xc};
use crate::config::{CodecChoice, CodecKind};
use crate::error::{ConfigError, Status};
use crate::geometry::{Dtype, PlaneShape};

/// Largest plane that is encoded; its length is a 32-bit number in the directory of a block.
const PLANE_BYTES_MAX: usize = 1 << 30;

/// Which plane it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Its shape.
    pub shape: PlaneShape,
    /// The layer, from 0.
    pub layer: usize,
    /// 0 for keys, 1 for values.
    pub plane: usize,
    /// Place of the first token in its sequence: rotary embeddings are undone by it.
    pub position: u64,
}

/// What a codec may be told beyond its kind; one byte in the directory of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// The trellis of 64 states.
    pub(crate) states_64: bool,
    /// The mean of each channel is taken off.
    pub(crate) mean: bool,
    /// Rate of `xc` in thousandths of a bit; only encoding needs it.
    pub(crate) xc_millibits: u32,
}

impl Settings {
    pub(crate) const fn flags(self) -> u8 {
        self.states_64 as u8 | (self.mean as u8) << 1
    }

    /// From the flags of a directory; `None` for flags that are not known.
    pub(crate) const fn of_flags(flags: u8) -> Option<Self> {
        if flags & !0b11 != 0 {
            return None;
        }
        Some(Self {
            states_64: flags & 1 != 0,
            mean: flags & 2 != 0,
            xc_millibits: 0,
        })
    }
}

/// Encodes and decodes single planes.
#[derive(Clone, Copy, Debug)]
pub struct PlaneCodec<'t> {
    kind: CodecKind,
    settings: Settings,
    tables: Option<Tables<'t>>,
    isa: Isa,
}

impl<'t> PlaneCodec<'t> {
    /// A codec for planes of this shape, with the settings of `choice` (its `key` and `value` are not looked at).
    ///
    /// # Errors
    /// [`Status::Config`] with the field (`head_dim`, `dtype`, `codec_tables`) that this codec can't take and what it
    /// can; [`Status::Conflict`] for tables of another shape; [`Status::Unsupported`] for `lz` in a build without the
    /// feature `zstd`.
    pub fn new(
        kind: CodecKind,
        choice: &CodecChoice,
        shape: &PlaneShape,
        tables: Option<Tables<'t>>,
        isa: Isa,
    ) -> Result<Self, ConfigError> {
        choice.validate()?;
        check(kind, shape, tables.as_ref())?;
        Ok(Self::unchecked(
            kind,
            Settings {
                states_64: choice.trellis_states == 64,
                mean: choice.key_mean,
                xc_millibits: choice.xc_millibits as u32,
            },
            tables,
            isa,
        ))
    }

    pub(super) const fn unchecked(kind: CodecKind, settings: Settings, tables: Option<Tables<'t>>, isa: Isa) -> Self {
        Self {
            kind,
            settings,
            tables,
            isa,
        }
    }

    /// Which codec it is.
    pub const fn kind(&self) -> CodecKind {
        self.kind
    }

    /// The settings for one plane: means are taken off keys only.
    pub(super) const fn settings_of(&self, plane: &Plane) -> Settings {
        Settings {
            mean: self.settings.mean && plane.plane == 0,
            ..self.settings
        }
    }

    /// Encodes `input`, the plane's bytes, and returns the length of the code.
    ///
    /// # Errors
    /// [`Status::Argument`] if `input` is not as long as the plane; [`Status::TooSmall`] if `code` is shorter than
    /// [`code_bytes_max`](super::code_bytes_max) or the scratch than [`scratch_bytes`](super::scratch_bytes).
    pub fn encode(
        &self,
        plane: &Plane,
        input: &[u8],
        code: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Result<usize, Status> {
        let shape = &plane.shape;
        if input.len() != shape.bytes() {
            return Err(Status::Argument);
        }
        if shape.tokens == 0 {
            return Ok(0);
        }
        let settings = &self.settings_of(plane);
        let code = code
            .get_mut(..crate::budget::code_bytes_max(self.kind, shape))
            .ok_or(Status::TooSmall)?;
        let tables = self.tables.as_ref();
        match self.kind {
            CodecKind::Raw => {
                code.copy_from_slice(input);
                Ok(input.len())
            }
            CodecKind::Lz => lz::encode(self.isa, shape, input, code, scratch),
            CodecKind::F8 => f8::encode(self.isa, shape, input, code),
            CodecKind::I8 => i8::encode(self.isa, shape, input, code, &mut scratch.lend()),
            CodecKind::N4 => n4::encode(self.isa, shape, input, code, &mut scratch.lend()),
            CodecKind::T4 => trellis::encode(self.isa, 4, settings, shape, input, code, &mut scratch.lend()),
            CodecKind::T3 => trellis::encode(self.isa, 3, settings, shape, input, code, &mut scratch.lend()),
            CodecKind::T2 => trellis::encode(self.isa, 2, settings, shape, input, code, &mut scratch.lend()),
            CodecKind::Vq => vq::encode(
                self.isa,
                tables.ok_or(Status::Unsupported)?,
                plane,
                input,
                code,
                &mut scratch.lend(),
            ),
            CodecKind::Xc => {
                let tables = tables.ok_or(Status::Unsupported)?;
                xc::encode(self.isa, tables, settings, plane, input, code, &mut scratch.lend())
            }
        }
    }

    /// Decodes a code into `output`, the plane's bytes. On an error `output` holds anything.
    ///
    /// # Errors
    /// [`Status::Argument`] if `output` is not as long as the plane; [`Status::TooSmall`] if the scratch is too small;
    /// [`Status::Damaged`] if the code can't be one.
    pub fn decode(
        &self,
        plane: &Plane,
        code: &[u8],
        output: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Result<(), Status> {
        let shape = &plane.shape;
        if output.len() != shape.bytes() {
            return Err(Status::Argument);
        }
        if code.len() > crate::budget::code_bytes_max(self.kind, shape) {
            return Err(Status::Damaged);
        }
        if shape.tokens == 0 {
            return Ok(());
        }
        let settings = &self.settings_of(plane);
        let tables = self.tables.as_ref();
        match self.kind {
            CodecKind::Raw if code.len() == output.len() => {
                output.copy_from_slice(code);
                Ok(())
            }
            CodecKind::Raw => Err(Status::Damaged),
            CodecKind::Lz => lz::decode(self.isa, shape, code, output, scratch),
            CodecKind::F8 => f8::decode(self.isa, shape, code, output),
            CodecKind::I8 => i8::decode(self.isa, shape, code, output, &mut scratch.lend()),
            CodecKind::N4 => n4::decode(self.isa, shape, code, output, &mut scratch.lend()),
            CodecKind::T4 => trellis::decode(self.isa, 4, settings, shape, code, output, &mut scratch.lend()),
            CodecKind::T3 => trellis::decode(self.isa, 3, settings, shape, code, output, &mut scratch.lend()),
            CodecKind::T2 => trellis::decode(self.isa, 2, settings, shape, code, output, &mut scratch.lend()),
            CodecKind::Vq => vq::decode(
                self.isa,
                tables.ok_or(Status::Unsupported)?,
                plane,
                code,
                output,
                &mut scratch.lend(),
            ),
            CodecKind::Xc => xc::decode(
                self.isa,
                tables.ok_or(Status::Unsupported)?,
                plane,
                code,
                output,
                &mut scratch.lend(),
            ),
        }
    }
}

/// Whether a codec can take planes of this shape, and whether the tables are there that it needs.
///
/// # Errors
/// As [`PlaneCodec::new`].
pub(super) fn check(kind: CodecKind, shape: &PlaneShape, tables: Option<&Tables<'_>>) -> Result<(), ConfigError> {
    check_shape(kind, shape)?;
    if !kind.needs_tables() {
        return Ok(());
    }
    tables
        .ok_or(ConfigError::new(
            Status::Config,
            "codec_tables",
            0,
            1,
            1,
            "this codec needs tables that were trained on samples of the model",
        ))?
        .fits(kind, shape)
}

/// Whether a codec can take planes of this shape, if it has the tables that it needs.
///
/// # Errors
/// As [`PlaneCodec::new`], but for tables.
pub(super) fn check_shape(kind: CodecKind, shape: &PlaneShape) -> Result<(), ConfigError> {
    let refusal = |field, value, value_min, value_max, reason| {
        ConfigError::new(Status::Config, field, value, value_min, value_max, reason)
    };
    if kind == CodecKind::Raw {
        return Ok(());
    }
    if kind == CodecKind::Lz && !cfg!(feature = "zstd") {
        return Err(ConfigError {
            status: Status::Unsupported,
            ..refusal(
                "codec",
                kind as u64,
                0,
                0,
                "this build has no lz; build it with the feature zstd",
            )
        });
    }
    let dtype = shape.dtype.code();
    if !matches!(shape.dtype, Dtype::F16 | Dtype::Bf16) {
        let reason = "codecs take elements of 16 bits: f16 (2) and bf16 (3); raw takes all";
        return Err(refusal("dtype", dtype, Dtype::F16.code(), Dtype::Bf16.code(), reason));
    }
    let dim = shape.dim as u64;
    let (dim_min, dim_max, step, reason) = match kind {
        CodecKind::Raw | CodecKind::Lz | CodecKind::F8 => (1, 1 << 16, 1, ""),
        CodecKind::I8
        | CodecKind::N4
        | CodecKind::T4
        | CodecKind::T3
        | CodecKind::T2
        | CodecKind::Vq
        | CodecKind::Xc => (
            32,
            256,
            16,
            "this codec takes heads of 32 to 256 elements, in steps of 16; raw, lz and f8 take all",
        ),
    };
    if !(dim_min..=dim_max).contains(&dim) || !dim.is_multiple_of(step) {
        return Err(refusal("head_dim", dim, dim_min, dim_max, reason));
    }
    if shape.bytes() > PLANE_BYTES_MAX {
        let reason = "a plane (keys or values of one layer) has at most 1 GiB; take fewer tokens per block";
        return Err(refusal("tokens_per_block", shape.tokens as u64, 1, 1, reason));
    }
    Ok(())
}
