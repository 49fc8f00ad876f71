//! Records whose payload is read when the file is opened.

use super::format::{self, PAGE, SegmentHeader};
use super::lend::Stage;
use super::open::Blocking;
use super::record::{
    ENTRY_WORDS, HEADER_BYTES, PARTS_MAX, TableEntry, part_checksum, parts_checksum, parts_count, payload_at,
};
use super::{Log, OpenRefusal};

impl Log<'_> {
    /// The header of a segment as it is in the file; `None` where it is lost.
    pub(super) fn header_now(&mut self, index: u32, blocking: &Blocking) -> Result<Option<SegmentHeader>, OpenRefusal> {
        let start = self.segment_start(index);
        let sequence = self.segments.get(index as usize).map_or(0, |segment| segment.sequence);
        if !self.read_now(blocking.second, start, PAGE as u64)? {
            return Ok(None);
        }
        let header = SegmentHeader::decode(self.frames.range(blocking.second, 0..PAGE)).good();
        Ok(header.filter(|header| header.belongs(u64::from(index), &self.shape) && header.sequence == sequence))
    }

    /// Most bytes that were under way while a segment was written that has a table. Where its header does not say so,
    /// they are taken to be as many as now: of segments without a table, which are verified whole then, there is one,
    /// and of these as many as the file has.
    pub(super) fn under_way_sealed(&self, header: Option<&SegmentHeader>) -> u64 {
        match header.map_or(0, |header| header.under_way_bytes) {
            0 => self.under_way_bytes_max(),
            bytes => bytes,
        }
    }

    /// Where in the segment of the table that was read begins what may have been under way, and where its records end.
    pub(super) fn table_tail(&mut self, index: u32, blocking: &Blocking) -> Result<(u64, u64), OpenRefusal> {
        let header = self.header_now(index, blocking)?;
        let place = self.place(index);
        let count = self.segments.get(index as usize).map_or(0, |segment| segment.count);
        let used = self.victim_table.get(..usize::from(count) * ENTRY_WORDS);
        let entries = used.unwrap_or_default().chunks_exact(ENTRY_WORDS);
        let end = entries
            .filter_map(|words| TableEntry::decode(bytemuck::cast_slice(words), &place))
            .map(|entry| entry.end(place.part_bytes))
            .max()
            .unwrap_or(place.start);
        Ok((end.saturating_sub(self.under_way_sealed(header.as_ref())), end))
    }

    /// Whether the record is in the file as its header says, from the part table to the last part. Reads as far ahead
    /// as `ahead`, for records behind this one that are to be verified, too.
    pub(super) fn payload_verifies(
        &mut self,
        entry: &TableEntry,
        ahead: u64,
        blocking: &Blocking,
    ) -> Result<bool, OpenRefusal> {
        let part_bytes = self.layout.part_bytes;
        let header = &entry.header;
        let payload_bytes = u64::from(header.payload_bytes);
        let parts = parts_count(payload_bytes, part_bytes);
        let ahead = ahead.max(entry.end(part_bytes));
        let mut table = [0; PARTS_MAX * 8];
        let Some(table) = table.get_mut(..parts as usize * 8) else {
            return Ok(false);
        };
        let written = header.encode(self.file_seed, entry.offset);
        let bytes = (HEADER_BYTES + table.len()) as u64;
        let at_table = self.bytes_now(blocking.second, entry.offset, bytes, ahead)?;
        let Some((found, parts_found)) = at_table.and_then(|bytes| bytes.split_at_checked(HEADER_BYTES)) else {
            return Ok(false);
        };
        table.copy_from_slice(parts_found);
        if found != written || parts_checksum(table) != header.table_checksum {
            return Ok(false);
        }
        let payload = entry.offset + payload_at(payload_bytes, part_bytes);
        for part in 0..parts {
            let bytes = part_bytes.min(payload_bytes - part * part_bytes);
            let found = self.bytes_now(blocking.second, payload + part * part_bytes, bytes, ahead)?;
            let sum = format::word(table, part as usize * 8);
            if found.is_none_or(|found| part_checksum(found, header.record_sequence, part) != sum) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes of the file, at most a part and what goes before it; `None` if they can't be read. What the frame still
    /// has of them is not read again.
    fn bytes_now(&mut self, frame: u32, offset: u64, bytes: u64, ahead: u64) -> Result<Option<&[u8]>, OpenRefusal> {
        let end = offset + bytes;
        let state = self.frames.state(frame);
        let has = self.frames.stage(frame) == Stage::Done
            && state.offset <= offset
            && end <= state.offset + u64::from(state.bytes);
        if !has {
            let from = offset - offset % self.alignment_bytes;
            // A frame has room beside its bytes for what lies before them up to the alignment.
            let to = ahead.min(from + self.layout.frame_bytes + PAGE as u64).max(end);
            let all = (to - from).next_multiple_of(self.alignment_bytes);
            if !self.read_now(frame, from, all)? {
                return Ok(None);
            }
        }
        let before = offset - self.frames.state(frame).offset;
        let found = self.frames.range(frame, before as usize..(before + bytes) as usize);
        Ok(Some(found))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
