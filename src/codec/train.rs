//! Training of tables on samples of a model. Before an engine is opened: this allocates.

use super::tables::{Rope, Section, TablesInfo, TablesWriter};
use super::{vq, xc};
use crate::config::CodecKind;
use crate::error::{ConfigError, Status};
use crate::geometry::{Dtype, PlaneShape};
use std::vec::Vec;

/// Fewest tokens that tables are trained on.
pub const TOKENS_MIN: usize = 256;

/// Keys and values of a model.
#[derive(Clone, Debug)]
pub struct Samples<'s> {
    /// The type of an element: 16 bits.
    pub dtype: Dtype,
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of a head.
    pub dim: usize,
    /// Tokens of each sequence; positions begin anew with each.
    pub sequence_tokens: usize,
    /// Keys and values of each layer, `[sequences][tokens][heads][dim]`.
    pub layers: Vec<[&'s [u8]; 2]>,
    /// The rotary embedding that the keys went through; `None` to find it out.
    pub rope: Option<Rope>,
}

impl Samples<'_> {
    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        let bytes = self.layers.first().map_or(0, |layer| layer[0].len());
        bytes / (self.heads * self.dim * self.dtype.bytes() as usize).max(1)
    }

    /// The shape of all tokens of one plane.
    pub fn shape(&self) -> PlaneShape {
        PlaneShape {
            dtype: self.dtype,
            tokens: self.tokens(),
            heads: self.heads,
            dim: self.dim,
        }
    }
}

/// Most bytes that the tables come to that [`train`] makes of such samples.
pub fn bytes_max(layers: usize, heads: usize, dim: usize, kinds: &[CodecKind]) -> usize {
    // Codebooks of 1 KiB a channel; bases of up to 256 channels a group, there and back.
    let channels = heads.saturating_mul(dim);
    let section = channels.saturating_mul(2048).saturating_add(256 << 10);
    let codecs = [CodecKind::Vq, CodecKind::Xc]
        .iter()
        .filter(|kind| kinds.contains(kind));
    let sections = layers.saturating_mul(2 * codecs.count());
    sections.saturating_mul(section).saturating_add(4096)
}

/// Trains tables for `kinds` (those that need none are passed over) and returns them as bytes, as
/// [`super::Tables::open`] takes them once they lie aligned.
///
/// Deterministic: the same samples give the same tables.
///
/// # Errors
/// [`Status::Config`] with the field that is out of range (`dtype`, `head_dim`, `tokens`, `layers_count`);
/// [`Status::Conflict`] if the planes are not equally long.
pub fn train(samples: &Samples<'_>, kinds: &[CodecKind]) -> Result<Vec<u8>, ConfigError> {
    let refusal = |status, field, value: usize, value_min: usize, value_max: usize, reason| {
        ConfigError::new(status, field, value as u64, value_min as u64, value_max as u64, reason)
    };
    if !matches!(samples.dtype, Dtype::F16 | Dtype::Bf16) {
        let reason = "samples have elements of 16 bits: f16 (2) or bf16 (3)";
        return Err(refusal(Status::Config, "dtype", samples.dtype as usize, 2, 3, reason));
    }
    if !(32..=256).contains(&samples.dim) || !samples.dim.is_multiple_of(16) {
        let reason = "tables are for heads of 32 to 256 elements, in steps of 16";
        return Err(refusal(Status::Config, "head_dim", samples.dim, 32, 256, reason));
    }
    if !(1..=1024).contains(&samples.layers.len()) {
        let reason = "samples have keys and values of each layer";
        return Err(refusal(
            Status::Config,
            "layers_count",
            samples.layers.len(),
            1,
            1024,
            reason,
        ));
    }
    let tokens = samples.tokens();
    if tokens < TOKENS_MIN || samples.sequence_tokens == 0 {
        let reason = "tables are trained on at least 256 tokens; 10,000 are better";
        return Err(refusal(
            Status::Config,
            "tokens",
            tokens,
            TOKENS_MIN,
            usize::MAX,
            reason,
        ));
    }
    let bytes = samples.shape().bytes();
    if let Some(plane) = samples.layers.iter().flatten().find(|plane| plane.len() != bytes) {
        let reason = "the keys and values of all layers have the same number of tokens";
        return Err(refusal(Status::Conflict, "tokens", plane.len(), bytes, bytes, reason));
    }
    let rope = samples.rope.unwrap_or_else(|| xc::train::find_rope(samples));
    let mut writer = TablesWriter::new(TablesInfo {
        bytes: 0,
        layers: samples.layers.len(),
        planes: 2,
        heads: samples.heads,
        dim: samples.dim,
        rope,
        tokens: tokens as u64,
        digest: 0,
    });
    let mut sections: Vec<Section> = Vec::new();
    if kinds.contains(&CodecKind::Vq) {
        sections.extend(vq::train::sections(samples));
    }
    if kinds.contains(&CodecKind::Xc) {
        sections.extend(xc::train::sections(samples, &rope));
    }
    sections.into_iter().for_each(|section| writer.add(section));
    Ok(writer.finish())
}
