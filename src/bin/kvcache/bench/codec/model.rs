//! The model whose blocks are encoded: an 8B model's geometry, made-up keys and values, and tables for them.
//!
//! All layers have the statistics of one, and the tables of all layers are those of one, so that they are trained in
//! seconds and yet are as large as real ones.

use std::error::Error;

use kvcache::codec::{CodecKind, Plane, Section, Tables, TablesInfo, TablesWriter, train};
use kvcache::geometry::PlaneShape;
use kvcache::layout::{Dtype, Geometry, Shape};

use crate::codec::synthetic;
use crate::codec::tablefile::TableBytes;

/// Tokens that tables are trained on.
const TRAINING_TOKENS: usize = 1024;
/// Blocks that differ; more of them are copies.
const BLOCKS: usize = 8;

/// 32 layers, 8 heads of 128, 16 tokens: blocks of 2 MiB.
///
/// # Errors
/// None: it is a geometry.
pub fn geometry(dtype: Dtype) -> Result<Geometry, kvcache::ConfigError> {
    Geometry::new(&Shape {
        layers_count: 32,
        planes_count: 2,
        kv_heads_count: 8,
        head_dim: 128,
        tokens_per_block: 16,
        dtype,
    })
}

/// The place of a block's first token in its sequence.
pub fn position(geometry: &Geometry, block: usize) -> u64 {
    (block % BLOCKS) as u64 * geometry.shape().tokens_per_block
}

/// Fills memory with blocks.
pub fn fill(geometry: &Geometry, blocks: &mut [u8]) {
    let block_bytes = geometry.block_bytes();
    let (first, rest) = blocks.split_at_mut(blocks.len().min(BLOCKS * block_bytes));
    for (number, plane) in first.chunks_exact_mut(geometry.plane_bytes()).enumerate() {
        let block = number * geometry.plane_bytes() / block_bytes;
        let place = Plane {
            shape: geometry.plane_shape(),
            layer: 0,
            plane: number % 2,
            position: position(geometry, block),
        };
        synthetic::fill(&place, number as u64 + 1, plane);
    }
    for target in rest.chunks_mut(first.len()) {
        target.copy_from_slice(&first[..target.len()]);
    }
}

/// Tables for `kinds`; those that this build does not train have no sections.
///
/// # Errors
/// The training's.
pub fn tables(geometry: &Geometry, kinds: &[CodecKind]) -> Result<TableBytes, Box<dyn Error>> {
    let shape = PlaneShape {
        tokens: TRAINING_TOKENS,
        ..geometry.plane_shape()
    };
    let planes = [0, 1].map(|plane| {
        let place = Plane {
            shape,
            layer: 0,
            plane,
            position: 0,
        };
        let mut bytes = vec![0; shape.bytes()];
        synthetic::fill(&place, 1 << 20, &mut bytes);
        bytes
    });
    let samples = train::Samples {
        dtype: shape.dtype,
        heads: shape.heads,
        dim: shape.dim,
        sequence_tokens: shape.tokens,
        layers: vec![[&planes[0], &planes[1]]],
        rope: Some(synthetic::rope(shape.dim)),
    };
    let one = TableBytes::new(&train::train(&samples, kinds)?);
    let layers = geometry.shape().layers_count as usize;
    let mut writer = TablesWriter::new(TablesInfo {
        layers,
        ..*one.open()?.info()
    });
    for section in sections(&one)? {
        (0..layers).for_each(|layer| {
            writer.add(Section {
                layer,
                ..section.clone()
            });
        });
    }
    let all = TableBytes::new(&writer.finish());
    let _: Tables<'_> = all.open()?;
    Ok(all)
}

/// The sections of tables, by their directory.
fn sections(tables: &TableBytes) -> Result<Vec<Section>, &'static str> {
    const COUNT_AT: usize = 56;
    const DIRECTORY_AT: usize = 128;
    const ENTRY_BYTES: usize = 24;
    let bytes = tables.bytes();
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|word| word.try_into().ok())
            .map(u64::from_le_bytes)
    };
    let count = word(COUNT_AT).map(|word| word as u32 as usize);
    (0..count.unwrap_or(0))
        .map(|number| {
            let at = DIRECTORY_AT + number * ENTRY_BYTES;
            let (start, length) = (word(at + 8)? as usize, word(at + 16)? as usize);
            Some(Section {
                kind: CodecKind::from_code(bytes[at].into())?,
                layer: 0,
                plane: bytes[at + 1].into(),
                bytes: bytes.get(start..start + length)?.to_vec(),
            })
        })
        .collect::<Option<_>>()
        .ok_or("the tables' directory can't be read")
}
