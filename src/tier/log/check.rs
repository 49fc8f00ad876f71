//! Verifying a whole file, payload included, without a configuration: for tools.
//!
//! The file says itself what it is. Every segment that counts is walked, by its table or by a scan, and every part of
//! every record is read and compared with its checksum. Nothing is written.

use super::format::{
    FORMAT_VERSION, Footer, OPENING_OFFSETS, OpeningMark, PAGE, Page, SUPERBLOCK_B_OFFSET, SegmentHeader, Shape,
    Superblock, table_pages_bytes, word,
};
use super::lend::read_whole;
use super::record::{
    ENTRY_BYTES, HEADER_BYTES, PARTS_MAX, RecordHeader, SegmentPlace, TableEntry, file_seed, parts_checksum,
    parts_count, payload_at,
};
use super::scan::Scan;
use super::{Key, RecordInfo};
use crate::budget::SUPERBLOCK_AREA_BYTES;
use crate::tier::device::Device;
use xxhash_rust::xxh3::Xxh3;

/// Least bytes of the buffer of [`check`].
pub const CHECK_BUFFER_BYTES_MIN: usize = 64 << 10;
/// How far a file without a superblock is searched for a segment's header.
const PROBE_BYTES_MAX: u64 = 1 << 30;

/// What a file says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The format's version; of another than [`FORMAT_VERSION`] nothing else counts.
    pub version: u32,
    /// The tier's number, see [`crate::units::Tier`]; not known where only a segment's header is left.
    pub tier: Option<u32>,
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
    /// When it was made, in Unix seconds.
    pub created: u64,
}

/// Something found by [`check`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CheckItem {
    /// A segment that counts; its records follow.
    Segment {
        /// Which of the file.
        index: u64,
        /// Its sequence.
        sequence: u64,
        /// Whether it has a table that verifies.
        sealed: bool,
        /// Whether the file says that it was durable when a later segment was begun: what does not verify in it is
        /// damage for sure, and not what a crash left of blocks that were never flushed.
        durable: bool,
    },
    /// A block whose payload verified. The same key may come again; the highest record sequence counts.
    Block {
        /// The record's place in the file.
        offset: u64,
        /// Bytes stored.
        payload_bytes: u32,
        /// What it says.
        info: RecordInfo,
        /// The sequence of its segment; orders records before the next does.
        segment_sequence: u64,
        /// The record's sequence.
        record_sequence: u64,
    },
    /// A record that says that a key was removed.
    Tombstone {
        /// The record's place in the file.
        offset: u64,
        /// The key.
        key: Key,
        /// The sequence of its segment.
        segment_sequence: u64,
        /// The record's sequence.
        record_sequence: u64,
    },
    /// Something that does not verify.
    Damage {
        /// Where in the file.
        offset: u64,
        /// What it should have been.
        what: &'static str,
    },
}

/// What [`check`] found in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What the file says that it is; `None` where it is nothing of this engine's.
    pub identity: Option<FileIdentity>,
    /// Where there is no identity: whether all places looked at were zero.
    pub blank: bool,
    /// Segments that count.
    pub segments_used: u64,
    /// Of those, without a table.
    pub segments_scanned: u64,
    /// Segments that were given up and not written again yet.
    pub segments_given_up: u64,
    /// Records of blocks that verified.
    pub blocks: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Records that say that a key was removed.
    pub tombstones: u64,
    /// What did not verify.
    pub damaged: u64,
    /// Of those, in segments that may not have been durable, or where it may have been under way when a process ended:
    /// a crash leaves such, too.
    pub damaged_unflushed: u64,
    /// Reads that failed on the device.
    pub io_errors: u64,
}

/// Verifies the file on `device`. `buffer` lies in what the device was told of by `register`, and has at least
/// [`CHECK_BUFFER_BYTES_MIN`] bytes. One request at a time; each is waited for, however long it takes.
pub fn check(device: &dyn Device, buffer: &mut [u8], show: &mut dyn FnMut(CheckItem)) -> CheckReport {
    let skip = buffer.as_ptr().align_offset(PAGE).min(buffer.len());
    let buffer = buffer.get_mut(skip..).unwrap_or_default();
    let usable = buffer.len() - buffer.len() % PAGE;
    let mut checker = Checker {
        device,
        alignment: device.alignment_bytes().clamp(1, PAGE as u64),
        device_end: device.bytes() - device.bytes() % device.alignment_bytes().clamp(1, PAGE as u64),
        buffer: buffer.get_mut(..usable).unwrap_or_default(),
        show,
        report: CheckReport::default(),
        durable: true,
    };
    if checker.buffer.len() < 4 * PAGE {
        checker.report.io_errors += 1;
        return checker.report;
    }
    checker.run();
    checker.report
}

struct Checker<'c> {
    device: &'c dyn Device,
    alignment: u64,
    device_end: u64,
    buffer: &'c mut [u8],
    show: &'c mut dyn FnMut(CheckItem),
    report: CheckReport,
    /// Whether what is looked at was durable for sure.
    durable: bool,
}

/// What the borders of a segment say.
struct Borders {
    sequence: u64,
    /// Entries of its table.
    sealed: Option<Footer>,
    /// Most bytes that were under way while it was written.
    under_way: u64,
}

impl Checker<'_> {
    fn damage(&mut self, offset: u64, what: &'static str) {
        self.report.damaged += 1;
        self.report.damaged_unflushed += u64::from(!self.durable);
        (self.show)(CheckItem::Damage { offset, what });
    }

    /// Bytes of the file, at most two pages less than the buffer; beyond the device's end zeros. `None` if they can't
    /// be read.
    fn bytes(&mut self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let before = (offset % self.alignment) as usize;
        let from = offset - before as u64;
        let all = (before + bytes).next_multiple_of(self.alignment as usize);
        let there = self.device_end.saturating_sub(from).min(all as u64) as usize;
        let target = self.buffer.get_mut(..all)?;
        let (found, beyond) = target.split_at_mut_checked(there)?;
        beyond.fill(0);
        if !found.is_empty() && read_whole(self.device, found, from).is_err() {
            self.report.io_errors += 1;
            return None;
        }
        self.buffer.get(before..before + bytes)
    }

    fn page<T: Copy>(&mut self, offset: u64, decode: fn(&[u8]) -> Page<T>) -> Page<T> {
        self.bytes(offset, PAGE).map_or(Page::Bad, decode)
    }

    fn run(&mut self) {
        let Some(shape) = self.identify() else {
            return;
        };
        let whole = SUPERBLOCK_AREA_BYTES.saturating_add(shape.segments_count.saturating_mul(shape.segment_bytes));
        if self.device_end < whole {
            self.damage(
                self.device_end,
                "the end of the file, which was longer when it was made",
            );
        }
        let (mut needed_from, mut durable_through) = (0, 0);
        for index in 0..shape.segments_count {
            let start = SUPERBLOCK_AREA_BYTES + index * shape.segment_bytes;
            if start >= self.device_end {
                break;
            }
            if let Page::Good(header) = self.page(start, SegmentHeader::decode)
                && header.belongs(index, &shape)
            {
                needed_from = needed_from.max(header.needed_from);
                durable_through = durable_through.max(header.durable_through);
            }
        }
        for index in 0..shape.segments_count {
            let start = SUPERBLOCK_AREA_BYTES + index * shape.segment_bytes;
            if start >= self.device_end {
                break;
            }
            let borders = self.borders(index, &shape);
            self.durable = true;
            if borders.sequence == 0 {
                continue;
            }
            if borders.sequence < needed_from {
                self.report.segments_given_up += 1;
                continue;
            }
            self.durable = borders.sequence <= durable_through;
            self.segment(index, start, &shape, &borders);
            self.durable = true;
        }
    }

    fn identify(&mut self) -> Option<Shape> {
        let mut identity = None;
        self.report.blank = true;
        for offset in [0, SUPERBLOCK_B_OFFSET] {
            match self.page(offset, Superblock::decode) {
                Page::Good(found) => {
                    identity = identity.or(Some((found.version, Some(found.tier), found.created, found.shape)));
                }
                Page::Bad => {
                    self.report.blank = false;
                    self.damage(offset, "a superblock");
                }
                Page::Zero => {}
            }
        }
        if identity.is_some() {
            for offset in [0, SUPERBLOCK_B_OFFSET] {
                if self.page(offset, Superblock::decode) == Page::Zero {
                    self.damage(offset, "a superblock");
                }
            }
        }
        let identity = identity.or_else(|| self.probe());
        let (version, tier, created, shape) = identity?;
        self.report.blank = false;
        self.report.identity = Some(FileIdentity {
            version,
            tier,
            file_id: shape.file_id,
            geometry_digest: shape.geometry_digest,
            block_bytes: shape.block_bytes,
            segment_bytes: shape.segment_bytes,
            segments_count: shape.segments_count,
            part_bytes: shape.part_bytes,
            created,
        });
        if version != FORMAT_VERSION {
            return None;
        }
        if !shape.is_sane() {
            self.damage(0, "a superblock whose numbers are possible");
            return None;
        }
        for offset in OPENING_OFFSETS {
            if self.page(offset, OpeningMark::decode) == Page::Bad {
                self.damage(offset, "the mark of an opening");
            }
        }
        Some(shape)
    }

    /// Looks for a segment's header, page by page.
    fn probe(&mut self) -> Option<(u32, Option<u32>, u64, Shape)> {
        let mut offset = SUPERBLOCK_AREA_BYTES;
        let end = self.device_end.min(PROBE_BYTES_MAX);
        let window = self.buffer.len().saturating_sub(2 * PAGE);
        while offset < end {
            let pages = self.bytes(offset, window).unwrap_or_default();
            let mut blank = true;
            for (number, page) in (0..).zip(pages.chunks_exact(PAGE)) {
                let at = offset + number * PAGE as u64;
                match SegmentHeader::decode(page) {
                    Page::Good(header) => {
                        let place = header
                            .shape
                            .segment_bytes
                            .checked_mul(u64::from(header.index))
                            .and_then(|start| start.checked_add(SUPERBLOCK_AREA_BYTES));
                        if place == Some(at) {
                            return Some((header.version, None, header.unix_seconds, header.shape));
                        }
                        blank = false;
                    }
                    Page::Bad => blank = false,
                    Page::Zero => {}
                }
            }
            self.report.blank &= blank;
            offset += window as u64;
        }
        None
    }

    /// Looks at header, footer and first record of a segment.
    fn borders(&mut self, index: u64, shape: &Shape) -> Borders {
        let start = SUPERBLOCK_AREA_BYTES + index * shape.segment_bytes;
        let end = start + shape.segment_bytes;
        let header = self.page(start, SegmentHeader::decode);
        let header_good = header.good().filter(|header| header.belongs(index, shape));
        let footer = match end <= self.device_end {
            true => self.page(end - PAGE as u64, Footer::decode),
            false => Page::Zero,
        };
        let footer_good = footer.good().filter(|footer| footer.belongs(index, end));
        let first = start + PAGE as u64;
        let seed = file_seed(&shape.file_id);
        let sequence = match header_good {
            Some(header) => header.sequence,
            None => self
                .bytes(first, HEADER_BYTES)
                .and_then(|bytes| RecordHeader::decode(bytes, seed, first))
                .map_or(0, |record| record.segment_sequence),
        };
        let in_use = sequence != 0 || footer_good.is_some();
        if header_good.is_none() && (header != Page::Zero || in_use) {
            self.damage(start, "a segment's header");
        }
        if footer_good.is_none() && footer != Page::Zero {
            self.damage(end - PAGE as u64, "a segment's footer");
        }
        let sealed = footer_good.filter(|footer| footer.sequence >= sequence);
        Borders {
            sequence: sealed.map_or(sequence, |footer| footer.sequence),
            sealed,
            under_way: header_good.map_or(u64::MAX, |header| header.under_way()),
        }
    }

    fn segment(&mut self, index: u64, start: u64, shape: &Shape, borders: &Borders) {
        let place = SegmentPlace {
            start,
            end: start + shape.segment_bytes,
            sequence: borders.sequence,
            file_seed: file_seed(&shape.file_id),
            part_bytes: shape.part_bytes,
            block_bytes: shape.block_bytes,
        };
        let table = borders.sealed.filter(|footer| {
            let good = self.table_verifies(footer);
            if !good {
                self.damage(footer.table_offset, "a segment's table");
            }
            good
        });
        self.report.segments_used += 1;
        self.report.segments_scanned += u64::from(table.is_none());
        (self.show)(CheckItem::Segment {
            index,
            sequence: borders.sequence,
            sealed: table.is_some(),
            durable: self.durable,
        });
        match table {
            Some(footer) => self.table(&footer, &place, shape),
            None => self.scan(&place, shape, borders.under_way),
        }
    }

    fn table_verifies(&mut self, footer: &Footer) -> bool {
        let mut sum = Xxh3::new();
        let window = self.buffer.len().saturating_sub(2 * PAGE) as u64;
        let mut done = 0;
        while done < footer.table_bytes {
            let now = window.min(footer.table_bytes - done);
            let Some(bytes) = self.bytes(footer.table_offset + done, now as usize) else {
                return false;
            };
            sum.update(bytes);
            done += now;
        }
        sum.digest() == footer.table_checksum && table_pages_bytes(u64::from(footer.count)) >= footer.table_bytes
    }

    fn table(&mut self, footer: &Footer, place: &SegmentPlace, shape: &Shape) {
        for number in 0..u64::from(footer.count) {
            let at = footer.table_offset + number * ENTRY_BYTES as u64;
            let entry = self
                .bytes(at, ENTRY_BYTES)
                .map(|bytes| (word(bytes, 0), TableEntry::decode(bytes, place)));
            match entry {
                Some((_, Some(entry))) => self.record(&entry, place, shape),
                // An entry that opening found to be a copy that was never finished.
                Some((0, None)) => {}
                _ => self.damage(at, "an entry of a segment's table"),
            }
        }
    }

    /// Where the last record begins of a segment that has no table.
    fn last_record(&mut self, place: &SegmentPlace) -> u64 {
        let mut scan = Scan::new(*place);
        let window = self.buffer.len().saturating_sub(2 * PAGE);
        let errors = self.report.io_errors;
        let mut last = place.start;
        while let Some(position) = scan.wants() {
            if position >= self.device_end {
                break;
            }
            let bytes = (place.end - position).min(window as u64) as usize;
            match self.bytes(position, bytes).map(|found| scan.next(found, position)) {
                Some(Some(entry)) => last = entry.offset,
                Some(None) if scan.wants() == Some(position) => break,
                Some(None) => {}
                None => scan.skip_to(position + bytes as u64),
            }
        }
        // They are counted when it is looked at for good.
        self.report.io_errors = errors;
        last
    }

    /// A segment without a table. What may have been under way when the process ended is as a crash leaves it, also
    /// where an opening has made it durable since.
    fn scan(&mut self, place: &SegmentPlace, shape: &Shape, under_way: u64) {
        let from = self.last_record(place).saturating_sub(under_way);
        let durable = self.durable;
        let mut scan = Scan::new(*place);
        let window = self.buffer.len().saturating_sub(2 * PAGE);
        let mut damaged = 0;
        while let Some(position) = scan.wants() {
            if position >= self.device_end {
                break;
            }
            let bytes = (place.end - position).min(window as u64) as usize;
            let found = match self.bytes(position, bytes) {
                Some(found) => scan.next(found, position),
                None => {
                    self.damage(position, "a range that can be read");
                    scan.skip_to(position + bytes as u64);
                    continue;
                }
            };
            if scan.damaged() != damaged {
                damaged = scan.damaged();
                self.durable = durable && position + HEADER_BYTES as u64 <= from;
                self.damage(position, "a record's header");
            }
            if let Some(entry) = found {
                self.durable = durable && entry.end(place.part_bytes) <= from;
                self.record(&entry, place, shape);
            }
            self.durable = durable;
            if found.is_none() && scan.wants() == Some(position) {
                break;
            }
        }
    }

    fn record(&mut self, entry: &TableEntry, place: &SegmentPlace, shape: &Shape) {
        let header = &entry.header;
        let offset = entry.offset;
        let written = header.encode(place.file_seed, offset);
        let same = self.bytes(offset, HEADER_BYTES).is_some_and(|found| {
            // What this version does not know may differ.
            found == written || RecordHeader::decode(found, place.file_seed, offset) == Some(*header)
        });
        if !same {
            return self.damage(offset, "a record's header");
        }
        if header.tombstone {
            self.report.tombstones += 1;
            return (self.show)(CheckItem::Tombstone {
                offset,
                key: header.info.key,
                segment_sequence: header.segment_sequence,
                record_sequence: header.record_sequence,
            });
        }
        if header.geometry_tag != super::format::take(&shape.geometry_digest, 0) {
            return self.damage(offset, "a record of this file's geometry");
        }
        if let Some((at, what)) = self.payload_fault(entry, place.part_bytes) {
            return self.damage(at, what);
        }
        self.report.blocks += 1;
        self.report.bytes += u64::from(header.payload_bytes);
        (self.show)(CheckItem::Block {
            offset,
            payload_bytes: header.payload_bytes,
            info: header.info,
            segment_sequence: header.segment_sequence,
            record_sequence: header.record_sequence,
        });
    }

    /// What of a record does not verify behind its header, and where.
    fn payload_fault(&mut self, entry: &TableEntry, part_bytes: u64) -> Option<(u64, &'static str)> {
        let payload_bytes = u64::from(entry.header.payload_bytes);
        let parts = parts_count(payload_bytes, part_bytes);
        let mut table = [0; PARTS_MAX * 8];
        let at = entry.offset + HEADER_BYTES as u64;
        let fault = Some((at, "a record's part table"));
        let Some(table) = table.get_mut(..parts as usize * 8) else {
            return fault;
        };
        match self.bytes(at, table.len()) {
            Some(found) => table.copy_from_slice(found),
            None => return fault,
        }
        if parts_checksum(table) != entry.header.table_checksum {
            return fault;
        }
        let payload = entry.offset + payload_at(payload_bytes, part_bytes);
        let window = self.buffer.len().saturating_sub(2 * PAGE) as u64;
        for part in 0..parts {
            let mut sum = Xxh3::with_seed(entry.header.record_sequence ^ part << 48);
            let from = part * part_bytes;
            let to = payload_bytes.min(from + part_bytes);
            let mut done = from;
            while done < to {
                let now = window.min(to - done);
                let Some(bytes) = self.bytes(payload + done, now as usize) else {
                    return Some((payload + done, "payload that can be read"));
                };
                sum.update(bytes);
                done += now;
            }
            if sum.digest() != word(table, part as usize * 8) {
                return Some((payload + from, "a part of a record's payload"));
            }
        }
        None
    }
}
