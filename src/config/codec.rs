//! Which codec a file tier holds its blocks in.

use super::{error, range};
use crate::error::{ConfigError, Status};

/// How a plane (the keys or the values of one layer) is encoded. The number is the one in block codes, in files and in
/// `kvc_config_t`, and never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum CodecKind {
    /// The bytes as they are.
    #[default]
    Raw = 0,
    /// Lossless: byte planes, the one with the exponents compressed.
    Lz = 1,
    /// E4M3 without a scale: 8 bits.
    F8 = 2,
    /// Integers of 8 bits, a scale per vector.
    I8 = 3,
    /// Sixteen levels per element of the rotated vector, a scale per 32 channels.
    N4 = 4,
    /// Trellis-coded, 4 bits.
    T4 = 5,
    /// Trellis-coded, 3 bits.
    T3 = 6,
    /// Trellis-coded, 2 bits.
    T2 = 7,
    /// Product codebooks trained on samples, 2 bits.
    Vq = 8,
    /// Transform coder with tables from calibration, at a chosen rate.
    Xc = 9,
}

impl CodecKind {
    /// Every codec, by number.
    pub const ALL: [Self; 10] = [
        Self::Raw,
        Self::Lz,
        Self::F8,
        Self::I8,
        Self::N4,
        Self::T4,
        Self::T3,
        Self::T2,
        Self::Vq,
        Self::Xc,
    ];

    /// The codec of a number from outside.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u64 == code)
    }

    /// The name used by the command line and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lz => "lz",
            Self::F8 => "f8",
            Self::I8 => "i8",
            Self::N4 => "n4",
            Self::T4 => "t4",
            Self::T3 => "t3",
            Self::T2 => "t2",
            Self::Vq => "vq",
            Self::Xc => "xc",
        }
    }

    /// Whether a decoded block is the block that was encoded, bit by bit.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Raw | Self::Lz)
    }

    /// Whether encoding and decoding need tables that were trained on samples of the model.
    pub const fn needs_tables(self) -> bool {
        matches!(self, Self::Vq | Self::Xc)
    }

    /// Relative error to be expected, in thousandths: the root of the squared error over the squared norm, as measured
    /// on rotated Gaussian vectors. What codecs are ranked by; `xc` counts as at its default rate.
    pub const fn error_nominal_permille(self) -> u64 {
        match self {
            Self::Raw | Self::Lz => 0,
            Self::I8 => 6,
            Self::F8 => 27,
            Self::N4 => 74,
            Self::T4 => 77,
            Self::Xc => 130,
            Self::T3 => 143,
            Self::T2 => 273,
            Self::Vq => 290,
        }
    }

    /// The codec to take when this one turned out too coarse for a model: the next that is better and needs no tables.
    /// `None` for those that lose nothing.
    pub const fn better(self) -> Option<Self> {
        match self {
            Self::Raw | Self::Lz => None,
            Self::F8 | Self::I8 => Some(Self::Lz),
            Self::N4 | Self::T4 => Some(Self::I8),
            Self::T3 | Self::Xc => Some(Self::T4),
            Self::T2 | Self::Vq => Some(Self::T3),
        }
    }
}

/// Layers that are encoded in another way than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCodec {
    /// First layer, from 0.
    pub layer_first: u16,
    /// Last layer, itself included.
    pub layer_last: u16,
    /// The codec of their keys.
    pub key: CodecKind,
    /// The codec of their values.
    pub value: CodecKind,
}

/// Most exceptions for layers.
pub const LAYER_CODECS_COUNT_MAX: usize = 8;

/// How blocks with a geometry are encoded. Blocks without one are plain bytes and stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecChoice {
    /// The codec of keys, and of the one plane of geometries that have one.
    pub key: CodecKind,
    /// The codec of values.
    pub value: CodecKind,
    /// Exceptions; a later one goes before an earlier one.
    pub layers: [Option<LayerCodec>; LAYER_CODECS_COUNT_MAX],
    /// Tokens at the beginning of each sequence that are kept exactly: attention sinks.
    pub exact_tokens: u64,
    /// Layers at the beginning that are kept exactly.
    pub exact_layers_first: u64,
    /// Layers at the end that are kept exactly.
    pub exact_layers_last: u64,
    /// States of the trellis of `t4`, `t3` and `t2`: 256, or 64, which encodes faster and loses a fifth of the gain.
    pub trellis_states: u64,
    /// Whether `t4`, `t3` and `t2` take the mean of each channel off the keys of a block first.
    pub key_mean: bool,
    /// Rate of `xc` in thousandths of a bit per element.
    pub xc_millibits: u64,
    /// Relative error in thousandths that a sampled block may have before the next better codec is taken; 0 is no
    /// bound.
    pub error_max_permille: u64,
}

impl CodecChoice {
    /// Nothing is encoded.
    pub const RAW: Self = Self {
        key: CodecKind::Raw,
        value: CodecKind::Raw,
        layers: [None; LAYER_CODECS_COUNT_MAX],
        exact_tokens: 0,
        exact_layers_first: 0,
        exact_layers_last: 0,
        trellis_states: 256,
        key_mean: false,
        xc_millibits: 2300,
        error_max_permille: 0,
    };

    /// Everything in one codec.
    pub const fn all(kind: CodecKind) -> Self {
        Self {
            key: kind,
            value: kind,
            ..Self::RAW
        }
    }

    /// Whether anything is encoded at all.
    pub fn is_raw(&self) -> bool {
        self.kinds().all(|kind| kind == CodecKind::Raw)
    }

    /// Every codec that is named, some more than once.
    pub fn kinds(&self) -> impl Iterator<Item = CodecKind> + '_ {
        let layers = self.layers.iter().flatten().flat_map(|layer| [layer.key, layer.value]);
        [self.key, self.value].into_iter().chain(layers)
    }

    /// The nominal error of the coarsest codec that is named.
    pub fn error_nominal_permille(&self) -> u64 {
        self.kinds().map(CodecKind::error_nominal_permille).max().unwrap_or(0)
    }

    /// The codec of one plane: keys are plane 0, values plane 1.
    pub fn kind(&self, layers_count: usize, layer: usize, plane: usize) -> CodecKind {
        if (layer as u64) < self.exact_layers_first
            || (layers_count.saturating_sub(layer + 1) as u64) < self.exact_layers_last
        {
            return CodecKind::Raw;
        }
        let exception = self
            .layers
            .iter()
            .rev()
            .flatten()
            .find(|choice| (usize::from(choice.layer_first)..=usize::from(choice.layer_last)).contains(&layer));
        let (key, value) = exception.map_or((self.key, self.value), |choice| (choice.key, choice.value));
        if plane == 0 { key } else { value }
    }

    /// Checks every field by itself.
    ///
    /// # Errors
    /// The first field that is outside its range, under its name in `kvc_codec_config_t`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        range("exact_tokens", self.exact_tokens, 0, u64::from(u16::MAX))?;
        range("exact_layers_first", self.exact_layers_first, 0, 1 << 10)?;
        range("exact_layers_last", self.exact_layers_last, 0, 1 << 10)?;
        if !matches!(self.trellis_states, 64 | 256) {
            return Err(ConfigError {
                reason: "the trellis has 64 or 256 states",
                ..error("trellis_states", self.trellis_states, 64, 256)
            });
        }
        range("xc_millibits", self.xc_millibits, 500, 6000)?;
        range("error_max_permille", self.error_max_permille, 0, 1000)?;
        for layer in self.layers.iter().flatten() {
            if layer.layer_last < layer.layer_first {
                return Err(ConfigError {
                    status: Status::Conflict,
                    reason: "the last layer of an exception is not before its first",
                    ..error(
                        "layer_last",
                        u64::from(layer.layer_last),
                        u64::from(layer.layer_first),
                        1 << 10,
                    )
                });
            }
        }
        Ok(())
    }
}

impl Default for CodecChoice {
    fn default() -> Self {
        Self::RAW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_found_by_their_numbers() {
        for (code, kind) in CodecKind::ALL.into_iter().enumerate() {
            assert_eq!(CodecKind::from_code(code as u64), Some(kind));
            assert_eq!(kind.is_exact(), kind.better().is_none());
        }
        assert_eq!(CodecKind::from_code(10), None);
    }

    #[test]
    fn falling_back_ends_and_gets_better_all_the_way() {
        for mut kind in CodecKind::ALL {
            while let Some(better) = kind.better() {
                assert!(better.error_nominal_permille() < kind.error_nominal_permille());
                assert!(!better.needs_tables());
                kind = better;
            }
            assert!(kind.is_exact());
        }
    }

    #[test]
    fn exact_layers_go_before_exceptions_and_later_exceptions_before_earlier_ones() {
        let mut choice = CodecChoice {
            exact_layers_first: 1,
            exact_layers_last: 2,
            ..CodecChoice::all(CodecKind::T3)
        };
        let exception = |layer_first, layer_last, key| {
            Some(LayerCodec {
                layer_first,
                layer_last,
                key,
                value: CodecKind::T2,
            })
        };
        choice.layers[0] = exception(0, 5, CodecKind::I8);
        choice.layers[1] = exception(4, 4, CodecKind::N4);
        let keys: [CodecKind; 8] = core::array::from_fn(|layer| choice.kind(8, layer, 0));
        use CodecKind::{I8, N4, Raw, T2, T3};
        assert_eq!(keys, [Raw, I8, I8, I8, N4, I8, Raw, Raw]);
        assert_eq!((choice.kind(8, 1, 1), choice.kind(9, 6, 1)), (T2, T3));
    }
}
