//! Records: header, part table and part checksums, to bytes and back.
//!
//! A record's header is checksummed with the file's id and the record's place as the seed, so that a record that is
//! read from the wrong place or out of another file does not verify. Parts are checksummed with the record's sequence
//! and their number, so that parts of two records, or two parts of one, can't be exchanged.

use super::RecordInfo;
use super::format::{SEQUENCE_END, half, put, take, word};
use crate::budget::{PARTS_COUNT_MAX, RECORD_HEADER_BYTES, TABLE_ENTRY_BYTES};
use crate::config::CodecKind;
use crate::key::Key;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Records begin at multiples of this.
pub(crate) const UNIT: u64 = 64;
/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = RECORD_HEADER_BYTES as usize;
/// Bytes of an entry of a segment's table.
pub(crate) const ENTRY_BYTES: usize = TABLE_ENTRY_BYTES as usize;
/// Words of an entry.
pub(crate) const ENTRY_WORDS: usize = ENTRY_BYTES / 8;
/// Most parts of a record.
pub(crate) const PARTS_MAX: usize = PARTS_COUNT_MAX as usize;

const MAGIC: u32 = u32::from_le_bytes(*b"KVCR");
const KIND_BLOCK: u16 = 1;
const KIND_TOMBSTONE: u16 = 2;
const FLAG_COPY: u16 = 1;
const CHECKSUM_AT: usize = HEADER_BYTES - 8;

/// What begins a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// Whether it says that the key was removed.
    pub tombstone: bool,
    /// Whether it is a copy of a record in a segment that was being given up.
    pub copy: bool,
    /// Grows with every record.
    pub record_sequence: u64,
    /// The sequence of its segment.
    pub segment_sequence: u64,
    /// Bytes stored.
    pub payload_bytes: u32,
    /// The first eight bytes of the digest of the geometries.
    pub geometry_tag: [u8; 8],
    /// Checksum of the part table.
    pub table_checksum: u64,
    /// What it says about its block.
    pub info: RecordInfo,
}

/// The file's share of the seed of all its record headers.
pub(crate) fn file_seed(file_id: &[u8; 16]) -> u64 {
    word(file_id, 0)
}

/// Parts of a payload.
pub(crate) fn parts_count(payload_bytes: u64, part_bytes: u64) -> u64 {
    payload_bytes.div_ceil(part_bytes.max(1))
}

/// Bytes of a part table, padding included.
pub(crate) fn table_bytes(parts: u64) -> u64 {
    (parts * 8).next_multiple_of(UNIT)
}

/// Bytes of header and part table: where the payload begins in the record.
pub(crate) fn payload_at(payload_bytes: u64, part_bytes: u64) -> u64 {
    HEADER_BYTES as u64 + table_bytes(parts_count(payload_bytes, part_bytes))
}

/// Bytes of a record, padding included.
pub(crate) fn record_bytes(payload_bytes: u64, part_bytes: u64) -> u64 {
    (payload_at(payload_bytes, part_bytes) + payload_bytes).next_multiple_of(UNIT)
}

/// Checksum of part `number` of the record with this sequence.
pub(crate) fn part_checksum(part: &[u8], record_sequence: u64, number: u64) -> u64 {
    xxh3_64_with_seed(part, record_sequence ^ number << 48)
}

/// Checksum of a part table, padding left out.
pub(crate) fn parts_checksum(table: &[u8]) -> u64 {
    xxh3_64_with_seed(table, 0)
}

impl RecordHeader {
    /// As bytes, for the place at `offset` of the file.
    pub(crate) fn encode(&self, file_seed: u64, offset: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let kind = if self.tombstone { KIND_TOMBSTONE } else { KIND_BLOCK };
        let flags = if self.copy { FLAG_COPY } else { 0 };
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        put(&mut bytes, 4, &kind.to_le_bytes());
        put(&mut bytes, 6, &flags.to_le_bytes());
        put(&mut bytes, 8, &self.record_sequence.to_le_bytes());
        put(&mut bytes, 16, &self.segment_sequence.to_le_bytes());
        put(&mut bytes, 24, &self.info.key.bytes);
        put(&mut bytes, 56, &self.payload_bytes.to_le_bytes());
        put(&mut bytes, 60, &self.info.block_bytes.to_le_bytes());
        put(
            &mut bytes,
            64,
            &[self.info.geometry_id, self.info.codec, self.info.loss],
        );
        put(&mut bytes, 68, &[self.info.priority, u8::from(self.info.protected)]);
        put(&mut bytes, 70, &self.info.depth.to_le_bytes());
        put(&mut bytes, 72, &self.info.namespace.to_le_bytes());
        put(&mut bytes, 80, &self.info.conversation.to_le_bytes());
        put(&mut bytes, 84, &self.info.tokens.to_le_bytes());
        put(&mut bytes, 86, &[self.info.cost]);
        put(&mut bytes, 88, &self.info.expiry_left_s.to_le_bytes());
        put(&mut bytes, 96, &self.geometry_tag);
        put(&mut bytes, 112, &self.table_checksum.to_le_bytes());
        let sum = header_checksum(&bytes, file_seed, offset);
        put(&mut bytes, CHECKSUM_AT, &sum.to_le_bytes());
        bytes
    }

    /// From the bytes at `offset` of the file, if they verify.
    pub(crate) fn decode(bytes: &[u8], file_seed: u64, offset: u64) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        // First what is wrong nearly everywhere that no record is.
        if half(bytes, 0) != MAGIC || header_checksum(bytes, file_seed, offset) != word(bytes, CHECKSUM_AT) {
            return None;
        }
        let kind = u16::from_le_bytes(take(bytes, 4));
        let header = Self {
            tombstone: kind == KIND_TOMBSTONE,
            copy: u16::from_le_bytes(take(bytes, 6)) & FLAG_COPY != 0,
            record_sequence: word(bytes, 8),
            segment_sequence: word(bytes, 16),
            payload_bytes: half(bytes, 56),
            geometry_tag: take(bytes, 96),
            table_checksum: word(bytes, 112),
            info: RecordInfo {
                key: Key::from(take::<32>(bytes, 24)),
                block_bytes: half(bytes, 60),
                geometry_id: take::<1>(bytes, 64)[0],
                priority: take::<1>(bytes, 68)[0],
                protected: take::<1>(bytes, 69)[0] != 0,
                cost: take::<1>(bytes, 86)[0],
                depth: u16::from_le_bytes(take(bytes, 70)),
                tokens: u16::from_le_bytes(take(bytes, 84)),
                conversation: half(bytes, 80),
                expiry_left_s: half(bytes, 88),
                namespace: word(bytes, 72),
                codec: take::<1>(bytes, 65)[0],
                loss: take::<1>(bytes, 66)[0],
            },
        };
        let sequences =
            (1..SEQUENCE_END).contains(&header.record_sequence) && (1..SEQUENCE_END).contains(&header.segment_sequence);
        let known = matches!(kind, KIND_BLOCK | KIND_TOMBSTONE) && (kind == KIND_BLOCK || header.payload_bytes == 0);
        (sequences && known).then_some(header)
    }

    /// Whether the payload is of a kind that is known: a block as it was put, or a code, which is shorter.
    pub(crate) fn is_readable(&self) -> bool {
        let known = |code: u8| CodecKind::from_code(u64::from(code)).is_some();
        let plain = self.payload_bytes == self.info.block_bytes;
        known(self.info.codec) && known(self.info.loss) && plain == (self.info.codec == 0)
    }

    /// Whether the bytes, which do not verify, were once a header of this segment.
    pub(crate) fn was_one(bytes: &[u8], segment_sequence: u64) -> bool {
        half(bytes, 0) == MAGIC && word(bytes, 16) == segment_sequence
    }
}

fn header_checksum(bytes: &[u8], file_seed: u64, offset: u64) -> u64 {
    xxh3_64_with_seed(bytes.get(..CHECKSUM_AT).unwrap_or_default(), file_seed ^ offset)
}

/// An entry of a segment's table: where a record is, and its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableEntry {
    /// The record's place.
    pub offset: u64,
    /// Its header.
    pub header: RecordHeader,
}

impl TableEntry {
    /// As bytes, of an encoded header.
    pub(crate) fn encode(offset: u64, header: &[u8; HEADER_BYTES], entry: &mut [u8]) {
        put(entry, 0, &offset.to_le_bytes());
        put(entry, 8, header);
    }

    /// Where the record ends.
    pub(crate) fn end(&self, part_bytes: u64) -> u64 {
        self.offset + record_bytes(u64::from(self.header.payload_bytes), part_bytes)
    }

    /// From bytes, if the header verifies for that place and the record lies within `records` of the segment.
    pub(crate) fn decode(entry: &[u8], place: &SegmentPlace) -> Option<Self> {
        let offset = word(entry, 0);
        let header = RecordHeader::decode(entry.get(8..)?, place.file_seed, offset)?;
        place.holds(offset, &header).then_some(Self { offset, header })
    }
}

/// Where a segment's records may lie, and what they must say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentPlace {
    /// First byte of the segment.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// Its sequence.
    pub sequence: u64,
    /// The file's share of the seed.
    pub file_seed: u64,
    /// The file's bytes of a part.
    pub part_bytes: u64,
    /// The file's most bytes of a block.
    pub block_bytes: u64,
}

impl SegmentPlace {
    /// Where the first record is.
    pub(crate) fn records_start(&self) -> u64 {
        self.start + super::format::PAGE as u64
    }

    /// Where the last record ends at the latest: before the footer.
    pub(crate) fn records_end(&self) -> u64 {
        self.end.saturating_sub(super::format::PAGE as u64)
    }

    /// Whether a record of this segment can be at `offset`.
    pub(crate) fn holds(&self, offset: u64, header: &RecordHeader) -> bool {
        header.segment_sequence == self.sequence
            && offset.is_multiple_of(UNIT)
            && offset >= self.records_start()
            && u64::from(header.payload_bytes) <= self.block_bytes
            && parts_count(u64::from(header.payload_bytes), self.part_bytes) <= PARTS_COUNT_MAX
            && offset
                .checked_add(record_bytes(u64::from(header.payload_bytes), self.part_bytes))
                .is_some_and(|end| end <= self.records_end())
    }
}
