//! How a file tier is laid out: a pure function of the configuration.

use crate::config::Config;
use crate::limits::{PAGE_BYTES, SEGMENT_BYTES_MAX};
use crate::units::Tier;

/// Bytes of the file before the first segment: two copies of the superblock.
pub const SUPERBLOCK_AREA_BYTES: u64 = 64 << 10;
/// Least bytes of a part, the unit in which a block's payload is verified.
pub const PART_BYTES_MIN: u64 = 128 << 10;
/// Most parts of a block.
pub const PARTS_COUNT_MAX: u64 = 256;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: u64 = 128;
/// Bytes of an entry of a segment's table: where a record is, and its header.
pub const TABLE_ENTRY_BYTES: u64 = 136;

/// Words of 8 bytes that the log keeps for each segment; asserted by the tier room, as the next three.
pub const SEGMENT_WORDS: u64 = 4;
/// For each frame.
pub const FRAME_WORDS: u64 = 8;
/// For each block that is being read.
pub const READ_WORDS: u64 = 16;
/// For each record written and not yet reported.
pub const PENDING_WORDS: u64 = 5;

/// A file tier's numbers; all zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLayout {
    /// Most bytes of a block.
    pub block_bytes: u64,
    /// Bytes of a segment, a multiple of 4096.
    pub segment_bytes: u64,
    /// Segments in the file.
    pub segments_count: u64,
    /// Bytes of a part.
    pub part_bytes: u64,
    /// Bytes of the log that one frame holds; a multiple of `part_bytes`.
    pub frame_bytes: u64,
    /// Bytes from one frame to the next: room for what lies before and behind up to the device's alignment.
    pub frame_stride_bytes: u64,
    /// Frames. No more requests than frames are under way, and no more than the device takes.
    pub frames_count: u64,
    /// Most records of one segment.
    pub segment_records_max: u64,
    /// Most records written and not yet reported.
    pub pending_count: u64,
    /// Most blocks being read at once.
    pub reads_count: u64,
    /// Most blocks known in the tier.
    pub blocks_count: u64,
    /// Bytes of a transfer buffer: one block, rounded up to a page.
    pub transfer_bytes: u64,
}

impl LogLayout {
    /// The layout of `tier`. Meaningful once the configuration was checked.
    pub(super) fn compute(config: &Config, tier: Tier) -> Self {
        let (file, block_bytes) = match tier {
            Tier::Nvme => (&config.nvme, config.block_bytes),
            _ => (&config.disk, config.block_bytes),
        };
        if file.bytes == 0 {
            return Self::default();
        }
        let part_bytes = block_bytes
            .div_ceil(PARTS_COUNT_MAX)
            .next_power_of_two()
            .max(PART_BYTES_MIN);
        let frame_bytes = part_bytes.max(256 << 10);
        let segment_bytes = match file.segment_bytes {
            0 => Self::segment_bytes_default(file.bytes, block_bytes),
            bytes => bytes,
        };
        // A block of an eighth of the usual size, and never less than half a kibibyte: with smaller ones a segment is
        // sealed before it is full.
        let segment_records_max = (segment_bytes / (block_bytes / 8).max(512)).clamp(64, 16384);
        let blocks_count = match file.blocks_count {
            0 => (file.bytes / super::codec::tier_block_bytes(config, &file.codec).max(512)).max(1),
            count => count,
        };
        Self {
            block_bytes,
            segment_bytes,
            segments_count: file.bytes.saturating_sub(SUPERBLOCK_AREA_BYTES) / segment_bytes,
            part_bytes,
            frame_bytes,
            frame_stride_bytes: frame_bytes + 2 * PAGE_BYTES,
            frames_count: Self::frames_count(block_bytes, frame_bytes, file.depth),
            segment_records_max,
            pending_count: 1024,
            reads_count: file.depth,
            blocks_count,
            transfer_bytes: block_bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES,
        }
    }

    /// As many as requests, but room for one record of the largest block and a segment's header beside the quarter
    /// that is kept for reads: a record is staged whole, so that its block is not needed any more.
    fn frames_count(block_bytes: u64, frame_bytes: u64, depth: u64) -> u64 {
        let needed = (Self::record_bytes_max(block_bytes) + PAGE_BYTES).div_ceil(frame_bytes) + 1;
        depth.max(needed + needed.div_ceil(3) + 2)
    }

    /// A 64th of the file, within 16 and 64 MiB, but room for at least two of the largest blocks where a segment may be
    /// so large; small files are cut into eight.
    fn segment_bytes_default(file_bytes: u64, block_bytes: u64) -> u64 {
        let bytes = (file_bytes / 64).clamp(16 << 20, 64 << 20).min(file_bytes / 8);
        let least = 2 * Self::record_bytes_max(block_bytes) + 4 * PAGE_BYTES;
        bytes.max(least).min(SEGMENT_BYTES_MAX).div_ceil(PAGE_BYTES) * PAGE_BYTES
    }

    /// Bytes of a segment that has room for one record of the largest block, its header and its table.
    pub fn segment_bytes_min(block_bytes: u64) -> u64 {
        (Self::record_bytes_max(block_bytes) + 4 * PAGE_BYTES).div_ceil(PAGE_BYTES) * PAGE_BYTES
    }

    /// Most bytes of a record of `block_bytes` bytes.
    pub fn record_bytes_max(block_bytes: u64) -> u64 {
        RECORD_HEADER_BYTES + PARTS_COUNT_MAX * 8 + block_bytes + 64
    }

    /// Whether there is such a tier.
    pub fn exists(&self) -> bool {
        self.segments_count != 0
    }

    /// Words of 8 bytes of the log's state.
    pub fn words_count(&self) -> u64 {
        self.segments_count * SEGMENT_WORDS
            + self.frames_count * FRAME_WORDS
            + self.reads_count * READ_WORDS
            + self.pending_count * PENDING_WORDS
            + self.table_words_count() * 2
    }

    /// Words of one segment's table, whole pages.
    pub fn table_words_count(&self) -> u64 {
        (self.segment_records_max * TABLE_ENTRY_BYTES).div_ceil(PAGE_BYTES) * PAGE_BYTES / 8
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        if self.exists() {
            SUPERBLOCK_AREA_BYTES + self.segments_count * self.segment_bytes
        } else {
            0
        }
    }
}
