//! Finding the records of a segment that has no table: header by header, jumping from each to the next.
//!
//! Where no header verifies, the scan goes on in steps of 64 bytes to the segment's end: behind a flush there is a gap,
//! behind a crash there are holes, and behind a damaged header more records. Records of an earlier life of the segment
//! say another sequence. Pure: whoever scans brings the bytes.

use super::record::{HEADER_BYTES, RecordHeader, SegmentPlace, TableEntry, UNIT, record_bytes};

/// A scan of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    place: SegmentPlace,
    /// Where a header is looked for next.
    position: u64,
    /// Whether one must be there, because a record ends there.
    expected: bool,
    /// Headers that did not verify where something of one was.
    damaged: u64,
}

impl Scan {
    /// A scan from the segment's first record on.
    pub(crate) fn new(place: SegmentPlace) -> Self {
        Self {
            position: place.records_start(),
            place,
            expected: true,
            damaged: 0,
        }
    }

    /// Where the bytes must begin that are needed next; `None` at the end.
    pub(crate) fn wants(&self) -> Option<u64> {
        (self.position + HEADER_BYTES as u64 <= self.place.records_end()).then_some(self.position)
    }

    /// Headers that did not verify where something of one was.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Steps over what can't be read.
    pub(crate) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position.next_multiple_of(UNIT));
        self.expected = false;
    }

    /// Gives up: nothing more is wanted.
    pub(crate) fn end(&mut self) {
        self.position = self.place.records_end();
    }

    /// The next record within `bytes`, which lie at `offset` of the file; `None` when others are wanted.
    pub(crate) fn next(&mut self, bytes: &[u8], offset: u64) -> Option<TableEntry> {
        while self.wants().is_some() {
            let at = self.position.checked_sub(offset)? as usize;
            let header = bytes.get(at..at.checked_add(HEADER_BYTES)?)?;
            let found = RecordHeader::decode(header, self.place.file_seed, self.position)
                .filter(|header| self.place.holds(self.position, header));
            if let Some(header) = found {
                let entry = TableEntry {
                    offset: self.position,
                    header,
                };
                self.position += record_bytes(u64::from(header.payload_bytes), self.place.part_bytes);
                self.expected = true;
                return Some(entry);
            }
            if self.expected && RecordHeader::was_one(header, self.place.sequence) {
                self.damaged += 1;
            }
            self.expected = false;
            self.position += UNIT;
        }
        None
    }
}
