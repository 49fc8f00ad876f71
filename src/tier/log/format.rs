//! The pages of the on-disk format: superblock, segment header and footer, to bytes and back.
//!
//! Little-endian, each with a checksum over all before it in its last eight bytes. Decoding takes any bytes and never
//! fails but by saying so. Records are in `record`; the drawing is in `docs/format.md`.

use xxhash_rust::xxh3::xxh3_64;

/// The format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a superblock copy, a segment header and a footer.
pub(crate) const PAGE: usize = 4096;
/// Where the second copy of the superblock is.
pub(crate) const SUPERBLOCK_B_OFFSET: u64 = 32 << 10;
/// Where the two copies of the opening mark are.
pub(crate) const OPENING_OFFSETS: [u64; 2] = [PAGE as u64, SUPERBLOCK_B_OFFSET + PAGE as u64];
/// Sequences are below this: a part's checksum uses the bits above for its number.
pub(crate) const SEQUENCE_END: u64 = 1 << 48;

const MAGIC_SUPERBLOCK: &[u8; 8] = b"KVCTIER1";
const MAGIC_SEGMENT: &[u8; 8] = b"KVCSEGM1";
const MAGIC_FOOTER: &[u8; 8] = b"KVCFOOT1";
const MAGIC_OPENING: &[u8; 8] = b"KVCOPEN1";
/// Bytes of an opening mark before its checksum: all of it lies in one sector.
const OPENING_BYTES: usize = 32;
const CHECKSUM_AT: usize = PAGE - 8;
/// Bytes of a superblock that are not zero, but for its checksum.
const SUPERBLOCK_FIELDS_BYTES: usize = 112;

/// `N` bytes at `at`; zeros where there are none.
pub(super) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|found| found.try_into().ok())
        .unwrap_or([0; N])
}

/// The number at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}

/// The half word at `at`.
pub(super) fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

/// Writes `source` at `at`; nothing where there is no room, which no caller lets happen.
pub(super) fn put(bytes: &mut [u8], at: usize, source: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + source.len()) {
        target.copy_from_slice(source);
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// What a page turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page<T> {
    /// Nothing was ever written there, or it was zeroed.
    Zero,
    /// Something that does not verify.
    Bad,
    /// This.
    Good(T),
}

impl<T> Page<T> {
    /// The content, if it verified.
    pub(crate) fn good(self) -> Option<T> {
        match self {
            Page::Good(value) => Some(value),
            _ => None,
        }
    }
}

fn seal(page: &mut [u8; PAGE]) {
    let sum = xxh3_64(page.get(..CHECKSUM_AT).unwrap_or_default());
    put(page, CHECKSUM_AT, &sum.to_le_bytes());
}

fn open<T>(page: &[u8], magic: &[u8; 8], decode: impl FnOnce(&[u8]) -> T) -> Page<T> {
    let Some(page) = page.get(..PAGE) else {
        return Page::Bad;
    };
    let verified = page.starts_with(magic)
        && page
            .get(..CHECKSUM_AT)
            .is_some_and(|body| xxh3_64(body) == word(page, CHECKSUM_AT));
    if verified {
        Page::Good(decode(page))
    } else if is_zero(page) {
        Page::Zero
    } else {
        Page::Bad
    }
}

/// The measures of a file that superblock and segment headers repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Which file it is.
    pub file_id: [u8; 16],
    /// Digest of the geometries.
    pub geometry_digest: [u8; 32],
    /// Most bytes of a block.
    pub block_bytes: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Segments in the file.
    pub segments_count: u64,
    /// Bytes of a part.
    pub part_bytes: u64,
}

impl Shape {
    /// Whether the numbers can be worked with at all; those of a file made by other means need not.
    pub(crate) fn is_sane(&self) -> bool {
        (4 * PAGE as u64..1 << 40).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(PAGE as u64)
            && (1..1 << 32).contains(&self.segments_count)
            && (1..1 << 40).contains(&self.part_bytes)
            && self.part_bytes.is_multiple_of(64)
    }

    fn decode(page: &[u8], id_at: usize, digest_at: usize, numbers_at: usize) -> Self {
        Self {
            file_id: take(page, id_at),
            geometry_digest: take(page, digest_at),
            block_bytes: word(page, numbers_at),
            segment_bytes: word(page, numbers_at + 8),
            segments_count: word(page, numbers_at + 16),
            part_bytes: word(page, numbers_at + 24),
        }
    }

    fn encode(&self, page: &mut [u8], id_at: usize, digest_at: usize, numbers_at: usize) {
        put(page, id_at, &self.file_id);
        put(page, digest_at, &self.geometry_digest);
        let numbers = [
            self.block_bytes,
            self.segment_bytes,
            self.segments_count,
            self.part_bytes,
        ];
        for (at, number) in (numbers_at..).step_by(8).zip(numbers) {
            put(page, at, &number.to_le_bytes());
        }
    }
}

/// The file's own description, kept twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// The format's version.
    pub version: u32,
    /// The tier's number, see [`crate::units::Tier`].
    pub tier: u32,
    /// The file's measures.
    pub shape: Shape,
    /// When it was made, in Unix seconds.
    pub created: u64,
}

impl Superblock {
    /// As bytes.
    pub(crate) fn encode(&self, page: &mut [u8; PAGE]) {
        page.fill(0);
        put(page, 0, MAGIC_SUPERBLOCK);
        put(page, 8, &self.version.to_le_bytes());
        put(page, 12, &(PAGE as u32).to_le_bytes());
        put(page, 32, &self.tier.to_le_bytes());
        self.shape.encode(page, 16, 40, 72);
        put(page, 104, &self.created.to_le_bytes());
        seal(page);
    }

    /// From bytes. Of another version, only the version means anything.
    pub(crate) fn decode(page: &[u8]) -> Page<Self> {
        open(page, MAGIC_SUPERBLOCK, |page| Self {
            version: half(page, 8),
            tier: half(page, 32),
            shape: Shape::decode(page, 16, 40, 72),
            created: word(page, 104),
        })
    }

    /// Whether the page is what a crash leaves of a superblock that was being written over zeros: its fields, its
    /// checksum, or nothing.
    pub(crate) fn is_unfinished(page: &[u8]) -> bool {
        let fields = page.get(..SUPERBLOCK_FIELDS_BYTES).unwrap_or(page);
        let between = page.get(SUPERBLOCK_FIELDS_BYTES..CHECKSUM_AT).unwrap_or_default();
        is_zero(between) && (is_zero(fields) || fields.starts_with(MAGIC_SUPERBLOCK))
    }
}

/// Written whenever a file is opened: the sequence of the first segment that this opening may begin. What an opening
/// wrote and lost in a crash bears sequences that no later opening uses again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpeningMark {
    /// Which file it is.
    pub file_id: [u8; 16],
    /// That sequence.
    pub first_sequence: u64,
}

impl OpeningMark {
    /// As bytes. No crash leaves half of it: it lies in one sector.
    pub(crate) fn encode(&self, page: &mut [u8; PAGE]) {
        page.fill(0);
        put(page, 0, MAGIC_OPENING);
        put(page, 8, &self.file_id);
        put(page, 24, &self.first_sequence.to_le_bytes());
        let sum = xxh3_64(page.get(..OPENING_BYTES).unwrap_or_default());
        put(page, OPENING_BYTES, &sum.to_le_bytes());
    }

    /// From bytes.
    pub(crate) fn decode(page: &[u8]) -> Page<Self> {
        let body = page.get(..OPENING_BYTES).unwrap_or_default();
        if body.starts_with(MAGIC_OPENING) && xxh3_64(body) == word(page, OPENING_BYTES) {
            Page::Good(Self {
                file_id: take(page, 8),
                first_sequence: word(page, 24),
            })
        } else if is_zero(page) {
            Page::Zero
        } else {
            Page::Bad
        }
    }
}

/// What begins a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The format's version.
    pub version: u32,
    /// Which segment of the file it is.
    pub index: u32,
    /// Grows with every segment that is begun.
    pub sequence: u64,
    /// Sequence of its first record.
    pub record_sequence: u64,
    /// The file's measures.
    pub shape: Shape,
    /// Bytes written to the file since it was made, before this segment.
    pub bytes_written: u64,
    /// When it was begun, in Unix seconds.
    pub unix_seconds: u64,
    /// Segments of lower sequence were given up, and what was copied out of them was durable.
    pub needed_from: u64,
    /// Segments up to this sequence were durable with all their records.
    pub durable_through: u64,
    /// Most bytes that were under way to the file at any time while the segment was written; 0 is not known.
    pub under_way_bytes: u64,
}

impl SegmentHeader {
    /// As bytes.
    pub(crate) fn encode(&self, page: &mut [u8; PAGE]) {
        page.fill(0);
        put(page, 0, MAGIC_SEGMENT);
        put(page, 8, &self.version.to_le_bytes());
        put(page, 12, &self.index.to_le_bytes());
        put(page, 16, &self.sequence.to_le_bytes());
        put(page, 24, &self.record_sequence.to_le_bytes());
        self.shape.encode(page, 32, 48, 80);
        put(page, 112, &self.bytes_written.to_le_bytes());
        put(page, 120, &self.unix_seconds.to_le_bytes());
        put(page, 128, &self.needed_from.to_le_bytes());
        put(page, 136, &self.durable_through.to_le_bytes());
        put(page, 144, &self.under_way_bytes.to_le_bytes());
        seal(page);
    }

    /// From bytes.
    pub(crate) fn decode(page: &[u8]) -> Page<Self> {
        open(page, MAGIC_SEGMENT, |page| Self {
            version: half(page, 8),
            index: half(page, 12),
            sequence: word(page, 16),
            record_sequence: word(page, 24),
            shape: Shape::decode(page, 32, 48, 80),
            bytes_written: word(page, 112),
            unix_seconds: word(page, 120),
            needed_from: word(page, 128),
            durable_through: word(page, 136),
            under_way_bytes: word(page, 144),
        })
    }

    /// [`SegmentHeader::under_way_bytes`]; where that is not known, more than any segment has.
    pub(crate) fn under_way(&self) -> u64 {
        match self.under_way_bytes {
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    /// Whether it is the header of segment `index` of the file with this shape. The count of segments may have grown.
    pub(crate) fn belongs(&self, index: u64, shape: &Shape) -> bool {
        let same_shape = Shape {
            segments_count: shape.segments_count,
            ..self.shape
        };
        self.version == FORMAT_VERSION
            && u64::from(self.index) == index
            && same_shape == *shape
            && (1..SEQUENCE_END).contains(&self.sequence)
            && (1..SEQUENCE_END).contains(&self.record_sequence)
            // One more than its own: the segment was given up.
            && self.needed_from <= self.sequence + 1
            && self.durable_through < self.sequence
    }
}

/// What ends a sealed segment: where its table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The format's version.
    pub version: u32,
    /// Entries of the table.
    pub count: u32,
    /// Which segment of the file it is.
    pub index: u32,
    /// The segment's sequence.
    pub sequence: u64,
    /// Where the table is in the file.
    pub table_offset: u64,
    /// Bytes of the table.
    pub table_bytes: u64,
    /// Checksum of the table.
    pub table_checksum: u64,
}

impl Footer {
    /// As bytes.
    pub(crate) fn encode(&self, page: &mut [u8; PAGE]) {
        page.fill(0);
        put(page, 0, MAGIC_FOOTER);
        put(page, 8, &self.version.to_le_bytes());
        put(page, 12, &self.count.to_le_bytes());
        put(page, 16, &self.index.to_le_bytes());
        put(page, 24, &self.sequence.to_le_bytes());
        put(page, 32, &self.table_offset.to_le_bytes());
        put(page, 40, &self.table_bytes.to_le_bytes());
        put(page, 48, &self.table_checksum.to_le_bytes());
        seal(page);
    }

    /// From bytes.
    pub(crate) fn decode(page: &[u8]) -> Page<Self> {
        open(page, MAGIC_FOOTER, |page| Self {
            version: half(page, 8),
            count: half(page, 12),
            index: half(page, 16),
            sequence: word(page, 24),
            table_offset: word(page, 32),
            table_bytes: word(page, 40),
            table_checksum: word(page, 48),
        })
    }

    /// Whether it is the footer of segment `index`, which ends at `segment_end`, with its table where it must be.
    pub(crate) fn belongs(&self, index: u64, segment_end: u64) -> bool {
        let pages = table_pages_bytes(u64::from(self.count));
        self.version == FORMAT_VERSION
            && u64::from(self.index) == index
            && (1..SEQUENCE_END).contains(&self.sequence)
            && self.table_bytes == u64::from(self.count) * super::record::ENTRY_BYTES as u64
            && Some(self.table_offset) == segment_end.checked_sub(PAGE as u64 + pages)
    }
}

/// Bytes of a table of `count` entries, whole pages.
pub(crate) fn table_pages_bytes(count: u64) -> u64 {
    (count * super::record::ENTRY_BYTES as u64).next_multiple_of(PAGE as u64)
}

/// Checksum of a table.
pub(crate) fn table_checksum(table: &[u8]) -> u64 {
    xxh3_64(table)
}

#[cfg(all(test, not(loom)))]
mod tests;
