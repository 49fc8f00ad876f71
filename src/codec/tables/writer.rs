//! Puts tables together.

use super::{
    CHECKSUM_AT, ENTRY_BYTES, HEADER_BYTES, MAGIC, TABLES_ALIGNMENT_BYTES, TablesInfo, VERSION, checksum, key,
};
use crate::config::CodecKind;
use std::vec::Vec;

/// What one codec needs for one plane of one layer.
#[derive(Clone, Debug)]
pub struct Section {
    /// The codec.
    pub kind: CodecKind,
    /// The layer, from 0.
    pub layer: usize,
    /// 0 for keys, 1 for values.
    pub plane: usize,
    /// Its bytes, as that codec lays them out.
    pub bytes: Vec<u8>,
}

/// Collects sections.
#[derive(Debug)]
pub struct TablesWriter {
    info: TablesInfo,
    sections: Vec<Section>,
}

impl TablesWriter {
    /// For a model; `bytes` and `digest` of `info` are not looked at.
    pub const fn new(info: TablesInfo) -> Self {
        Self {
            info,
            sections: Vec::new(),
        }
    }

    /// Adds a section.
    pub fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The tables as bytes, to be written to a file as they are.
    pub fn finish(mut self) -> Vec<u8> {
        let first = |section: &Section| key(section.kind, section.layer, section.plane);
        self.sections.sort_by_key(first);
        let mut bytes = Vec::from([0; HEADER_BYTES]);
        bytes.resize(HEADER_BYTES + self.sections.len() * ENTRY_BYTES, 0);
        for (number, section) in self.sections.iter().enumerate() {
            bytes.resize(bytes.len().next_multiple_of(TABLES_ALIGNMENT_BYTES), 0);
            let (start, at) = (bytes.len() as u64, HEADER_BYTES + number * ENTRY_BYTES);
            bytes[at..at + 4].copy_from_slice(&first(section).to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&start.to_le_bytes());
            bytes[at + 16..at + 24].copy_from_slice(&(section.bytes.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&section.bytes);
        }
        let info = &self.info;
        let length = bytes.len() as u64;
        let mut put = |at: usize, word: &[u8]| bytes[at..at + word.len()].copy_from_slice(word);
        put(0, &MAGIC);
        put(4, &VERSION.to_le_bytes());
        put(8, &length.to_le_bytes());
        put(16, &(info.layers as u32).to_le_bytes());
        put(20, &(info.planes as u32).to_le_bytes());
        put(24, &(info.heads as u32).to_le_bytes());
        put(28, &(info.dim as u32).to_le_bytes());
        put(32, &info.rope.theta.to_bits().to_le_bytes());
        put(40, &(info.rope.pairs as u32).to_le_bytes());
        put(44, &(info.rope.dim as u32).to_le_bytes());
        put(48, &info.tokens.to_le_bytes());
        put(56, &(self.sections.len() as u32).to_le_bytes());
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}
