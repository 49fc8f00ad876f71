//! Choosing codecs: which codec encodes which planes.
//!
//! Chapter Codecs says what each of them is. The same choice serves a codec of its own (`kvc_codec_open`) and a file
//! tier of an engine (`nvme_codec`, `disk_codec` of `kvc_config_t`).
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]; `growable!` and the assertions below see to the layouts.

use core::ffi::c_void;

use super::super::config::{boolean, choice, or};
use super::super::geometry::kvc_geometry_t;
use super::super::growable::growable;
use crate::codec::{CodecChoice, CodecKind, LayerCodec};
use crate::error::{ConfigError, Status};

/// The bytes as they are.
pub const KVC_CODEC_RAW: u64 = 0;
/// Lossless: byte planes, the one with the exponents compressed.
pub const KVC_CODEC_LZ: u64 = 1;
/// 8 bits, E4M3, without a scale.
pub const KVC_CODEC_F8: u64 = 2;
/// Integers of 8 bits, a scale per vector.
pub const KVC_CODEC_I8: u64 = 3;
/// Rotated, 16 levels per element, a scale per 32 elements.
pub const KVC_CODEC_N4: u64 = 4;
/// Rotated, coded along a trellis, 4 bits.
pub const KVC_CODEC_T4: u64 = 5;
/// Rotated, coded along a trellis, 3 bits.
pub const KVC_CODEC_T3: u64 = 6;
/// Rotated, coded along a trellis, 2 bits.
pub const KVC_CODEC_T2: u64 = 7;
/// Codebooks that were trained on samples, 2 bits. Needs tables.
pub const KVC_CODEC_VQ: u64 = 8;
/// Transform coder, calibrated on samples, at a chosen rate. Needs tables.
pub const KVC_CODEC_XC: u64 = 9;
/// How many codecs there are: they are the numbers below this.
pub const KVC_CODECS_COUNT: u32 = 10;

/// Most exceptions for layers in a `kvc_codec_config_t`.
pub const KVC_CODEC_LAYERS_COUNT_MAX: u32 = 8;

/// Layers that are encoded in another way than the rest.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_codec_layer_t {
    /// First layer, from 0.
    pub layer_first: u32,
    /// Last layer, itself included.
    pub layer_last: u32,
    /// The codec of their keys (`KVC_CODEC_...`).
    pub codec_key: u32,
    /// The codec of their values.
    pub codec_value: u32,
}

/// How blocks are encoded. Initialise with `KVC_CODEC_CONFIG_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_codec_config_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// What the blocks consist of. Required.
    pub geometry: *const kvc_geometry_t,
    /// The codec of keys (`KVC_CODEC_...`), and of the one plane of geometries that have one. Default `KVC_CODEC_RAW`.
    pub codec_key: u64,
    /// The codec of values. Default `KVC_CODEC_RAW`.
    pub codec_value: u64,
    /// Tokens at the beginning of each sequence that are kept exactly, at most 65535. Default 0.
    pub exact_tokens: u64,
    /// Layers at the beginning that are kept exactly, at most 1024; they go before `layers`. Default 0.
    pub exact_layers_first: u64,
    /// Layers at the end that are kept exactly, at most 1024; they go before `layers`. Default 0.
    pub exact_layers_last: u64,
    /// States of the trellis of t4, t3 and t2: 256, or 64, which encodes faster and loses a little. Default 256.
    pub trellis_states: u64,
    /// 1 to have t4, t3 and t2 take the mean of each channel off the keys of a block first, else 0. Default 0.
    pub key_mean: u64,
    /// Rate of xc in thousandths of a bit per element, 500 to 6000. Default 2300.
    pub xc_millibits: u64,
    /// Relative error, in thousandths, that a sampled block may have before a tier takes the next better codec, at most
    /// 1000; 0 is no bound. Tiers look at it, `kvc_codec_encode` does not. Default 0.
    pub error_max_permille: u64,
    /// How many of `layers` are filled in, at most 8. Default 0.
    pub layers_count: u64,
    /// Exceptions; a later one goes before an earlier one.
    pub layers: [kvc_codec_layer_t; 8],
    /// Tables for vq and xc, at a multiple of 64 bytes, or NULL.
    pub codec_tables: *const c_void,
    /// Bytes of the tables.
    pub codec_tables_bytes: u64,
}

growable!(kvc_codec_config_t = 240);

// No padding: the array is a whole number of words.
const _: () = {
    assert!(size_of::<kvc_codec_layer_t>() == 16);
    assert!(KVC_CODECS_COUNT as usize == CodecKind::ALL.len());
    assert!(KVC_CODEC_LAYERS_COUNT_MAX as usize == crate::config::LAYER_CODECS_COUNT_MAX);
};

/// The codec of a number.
pub(in crate::capi) fn kind(field: &'static str, code: u64) -> Result<CodecKind, ConfigError> {
    choice(field, code, KVC_CODEC_XC, CodecKind::from_code(code))
}

impl kvc_codec_layer_t {
    fn checked(&self) -> Result<LayerCodec, ConfigError> {
        let layer = |field, value: u32| {
            u16::try_from(value)
                .ok()
                .filter(|layer| *layer < 1 << 10)
                .ok_or(ConfigError::new(
                    Status::Config,
                    field,
                    value.into(),
                    0,
                    (1 << 10) - 1,
                    "there are at most 1024 layers",
                ))
        };
        Ok(LayerCodec {
            layer_first: layer("layer_first", self.layer_first)?,
            layer_last: layer("layer_last", self.layer_last)?,
            key: kind("codec_key", self.codec_key.into())?,
            value: kind("codec_value", self.codec_value.into())?,
        })
    }
}

impl kvc_codec_config_t {
    /// What is chosen, each field in its range.
    pub(in crate::capi) fn choice(&self) -> Result<CodecChoice, ConfigError> {
        let default = CodecChoice::RAW;
        let mut chosen = CodecChoice {
            key: kind("codec_key", self.codec_key)?,
            value: kind("codec_value", self.codec_value)?,
            layers: default.layers,
            exact_tokens: self.exact_tokens,
            exact_layers_first: self.exact_layers_first,
            exact_layers_last: self.exact_layers_last,
            trellis_states: or(self.trellis_states, default.trellis_states),
            key_mean: choice("key_mean", self.key_mean, 1, boolean(self.key_mean))?,
            xc_millibits: or(self.xc_millibits, default.xc_millibits),
            error_max_permille: self.error_max_permille,
        };
        if self.layers_count > KVC_CODEC_LAYERS_COUNT_MAX.into() {
            return Err(ConfigError::new(
                Status::Config,
                "layers_count",
                self.layers_count,
                0,
                KVC_CODEC_LAYERS_COUNT_MAX.into(),
                "a codec has at most 8 exceptions for layers",
            ));
        }
        let given = self.layers.iter().take(self.layers_count as usize);
        for (slot, layer) in chosen.layers.iter_mut().zip(given) {
            *slot = Some(layer.checked()?);
        }
        chosen.validate()?;
        Ok(chosen)
    }
}
