//! What a file holds: every segment's header and footer first, then the tables in the order of the segments'
//! sequences, with as many requests under way as there are frames. Payload is not read, with two exceptions, which are
//! believed only when they verify:
//! - A record that may have been under way when the process ended. Requests end in any order, so that its header may be
//!   in the file without all of its payload. No two bytes under way are further apart than the frames of that process
//!   reach, which the segment's header says; counted back from the last header of a segment that has no table, that is
//!   where such records end. A table may have got there before what it speaks of, too: there it is counted back from
//!   the last record's end, in the last segments, behind which not so much was written. What a loss of power tore
//!   further back is found out when it is read.
//! - A copy that was made while its original's segment was given up, as long as it may not have been durable.
//!   Otherwise a crash between the two would leave a copy that is torn in the place of an original that is not.

use super::format::{
    self, Footer, OPENING_OFFSETS, OpeningMark, PAGE, Page, SEQUENCE_END, SegmentHeader, table_checksum,
    table_pages_bytes,
};
use super::lend::{NONE, Use};
use super::open::Blocking;
use super::record::{ENTRY_BYTES, ENTRY_WORDS, HEADER_BYTES, RecordHeader, TableEntry};
use super::scan::Scan;
use super::state::{
    FLAG_BEYOND, FLAG_FOOTER_BAD, FLAG_HEADER, FLAG_HEADER_BAD, FLAG_SCAN, FLAG_VOID, Queue, SegmentUse,
};
use super::{Log, OpenRefusal, OpenReport, Recovered};

/// Pages read around a segment's begin: the footer before it, its header, its first record.
const BORDER_PAGES: usize = 3;

/// The highest numbers seen.
#[derive(Default)]
struct Highest {
    opening: u64,
    segment_sequence: u64,
    record_sequence: u64,
    bytes_written: u64,
    /// Segments of lower sequence that have a table were written whole when the process ended.
    tail_sequence: u64,
}

/// What a scan found, kept where a table has its place.
#[derive(Default)]
struct ScanFound {
    count: usize,
    /// Where the last record begins, and where it ends.
    last: u64,
    end: u64,
}

/// What goes through the whole recovery.
struct Recovery<'r> {
    blocking: &'r Blocking,
    report: &'r mut OpenReport,
    show: &'r mut dyn FnMut(&Recovered),
    highest: Highest,
}

impl Log<'_> {
    /// A new file: all segments are empty.
    pub(super) fn segments_new(&mut self) {
        for index in 0..self.segments.len() as u32 {
            let end = self.segment_start(index) + self.layout.segment_bytes;
            if end <= self.device_end() {
                self.free.push(index);
            }
        }
    }

    /// Reads what the file holds, and shows its records.
    pub(super) fn recover(
        &mut self,
        blocking: &Blocking,
        report: &mut OpenReport,
        show: &mut dyn FnMut(&Recovered),
    ) -> Result<(), OpenRefusal> {
        let mut recovery = Recovery {
            blocking,
            report,
            show,
            highest: Highest::default(),
        };
        self.openings_read(&mut recovery)?;
        self.borders_read(&mut recovery)?;
        self.segments_sort(&mut recovery);
        self.tail_find(&mut recovery)?;
        self.tables_show(&mut recovery)?;
        let highest = recovery.highest;
        self.writer.record_sequence = highest.record_sequence + 1;
        // A crash may have taken the headers of as many segments as there are, begun since the last opening. None of
        // their sequences comes again, so that no record of theirs is taken for one of a segment to come.
        let used = highest.segment_sequence.max(highest.opening);
        self.writer.segment_sequence = used + self.layout.segments_count + 2;
        self.writer.durable_through = highest.segment_sequence;
        self.writer.bytes_before = highest.bytes_written;
        Ok(())
    }

    /// Reads the marks of earlier openings.
    fn openings_read(&mut self, recovery: &mut Recovery<'_>) -> Result<(), OpenRefusal> {
        for offset in OPENING_OFFSETS {
            let succeeded = self.read_now(recovery.blocking.scratch, offset, PAGE as u64)?;
            match OpeningMark::decode(self.frames.range(recovery.blocking.scratch, 0..PAGE)) {
                Page::Good(mark)
                    if succeeded && mark.file_id == self.shape.file_id && mark.first_sequence < SEQUENCE_END =>
                {
                    recovery.highest.opening = recovery.highest.opening.max(mark.first_sequence);
                }
                Page::Zero if succeeded => {}
                _ => recovery.report.damaged += 1,
            }
        }
        Ok(())
    }

    /// Reads header and footer of every segment.
    fn borders_read(&mut self, recovery: &mut Recovery<'_>) -> Result<(), OpenRefusal> {
        let count = self.layout.segments_count;
        let mut line = Queue::EMPTY;
        let mut next = 0;
        loop {
            while next <= count {
                let Some(frame) = self.frames.take(Use::Read) else {
                    break;
                };
                let offset = self.segment_start(next as u32) - PAGE as u64;
                self.line_up(&mut line, frame, offset, (BORDER_PAGES * PAGE) as u64, next as u32);
                next += 1;
            }
            let Some(frame) = line.front() else {
                return Ok(());
            };
            let succeeded = self.wait_for(frame)?;
            line.pop(self.frames.state(frame).follower);
            self.border_note(frame, succeeded, recovery);
            self.frames.give(frame);
        }
    }

    /// Requests a frame and appends it to those that are waited for.
    fn line_up(&mut self, line: &mut Queue, frame: u32, offset: u64, bytes: u64, owner: u32) {
        let there = self.read_prepare(frame, offset, bytes);
        let state = self.frames.state_mut(frame);
        state.owner = owner;
        state.follower = NONE;
        if let Some(before) = line.push(frame) {
            self.frames.state_mut(before).follower = frame;
        }
        if there {
            self.enqueue(frame);
            self.submit_queued();
        }
    }

    /// Takes note of the pages around the begin of a segment.
    fn border_note(&mut self, frame: u32, succeeded: bool, recovery: &mut Recovery<'_>) {
        let index = self.frames.state(frame).owner;
        let page = |number: usize| match succeeded {
            true => self.frames.range(frame, number * PAGE..(number + 1) * PAGE),
            false => &[][..],
        };
        if let Some(before) = index.checked_sub(1) {
            let footer = Footer::decode(page(0));
            let end = self.segment_start(index);
            if let Some(segment) = self.segments.get_mut(before as usize) {
                match footer {
                    Page::Good(footer) if footer.belongs(u64::from(before), end) => {
                        segment.barrier = footer.sequence;
                        match u16::try_from(footer.count) {
                            Ok(count) if u64::from(count) <= self.layout.segment_records_max => segment.count = count,
                            _ => segment.flags |= FLAG_SCAN,
                        }
                    }
                    Page::Zero => {}
                    _ => segment.flags |= FLAG_FOOTER_BAD,
                }
            }
        }
        let start = self.segment_start(index);
        let Some(segment) = self.segments.get_mut(index as usize) else {
            return;
        };
        match SegmentHeader::decode(page(1)) {
            Page::Good(header) if header.belongs(u64::from(index), &self.shape) => {
                segment.flags |= FLAG_HEADER;
                segment.sequence = header.sequence;
                let highest = &mut recovery.highest;
                highest.bytes_written = highest
                    .bytes_written
                    .max(header.bytes_written.saturating_add(self.layout.segment_bytes));
                highest.record_sequence = highest.record_sequence.max(header.record_sequence - 1);
                self.writer.needed_from = self.writer.needed_from.max(header.needed_from);
                self.writer.durable_through = self.writer.durable_through.max(header.durable_through);
            }
            other => {
                if other != Page::Zero {
                    segment.flags |= FLAG_HEADER_BAD;
                }
                // Its first record still says whose it is.
                let first = start + PAGE as u64;
                if let Some(header) = RecordHeader::decode(page(2), self.file_seed, first) {
                    segment.sequence = header.segment_sequence;
                }
            }
        }
    }

    /// Says of each segment what it is, and orders them.
    fn segments_sort(&mut self, recovery: &mut Recovery<'_>) {
        let device_end = self.device_end();
        for index in 0..self.segments.len() as u32 {
            let end = self.segment_start(index) + self.layout.segment_bytes;
            let needed_from = self.writer.needed_from;
            let Some(segment) = self.segments.get_mut(index as usize) else {
                break;
            };
            let footer_sequence = core::mem::take(&mut segment.barrier);
            let headless = !segment.has(FLAG_HEADER) && (footer_sequence != 0 || segment.sequence != 0);
            let bad = [headless || segment.has(FLAG_HEADER_BAD), segment.has(FLAG_FOOTER_BAD)];
            recovery.report.damaged += bad.iter().filter(|bad| **bad).count() as u64;
            let sealed = footer_sequence != 0 && footer_sequence >= segment.sequence;
            segment.sequence = segment.sequence.max(footer_sequence);
            segment.flags &= FLAG_SCAN;
            if !sealed {
                segment.flags |= FLAG_SCAN;
                segment.count = 0;
            }
            if end > device_end {
                segment.flags |= FLAG_BEYOND;
            }
            let highest = &mut recovery.highest;
            highest.segment_sequence = highest.segment_sequence.max(segment.sequence);
            if segment.sequence >= needed_from.max(1) {
                segment.set_state(SegmentUse::Sealed);
                recovery.report.segments_used += 1;
                recovery.report.segments_scanned += u64::from(segment.has(FLAG_SCAN));
                self.sealed.push(index);
                continue;
            }
            segment.set_state(match segment.sequence {
                0 => SegmentUse::Empty,
                _ => SegmentUse::Freed,
            });
            if !segment.has(FLAG_BEYOND) {
                self.free.push(index);
            }
        }
        let segments = &*self.segments;
        let order = |index: u32| {
            (
                segments.get(index as usize).map_or(0, |segment| segment.sequence),
                index,
            )
        };
        self.sealed.sort_by_key(order);
        self.free.sort_by_key(order);
    }

    /// Finds the segments whose ends may have been under way when the process ended, table or not: those behind which,
    /// by their headers, less was written than can be under way.
    fn tail_find(&mut self, recovery: &mut Recovery<'_>) -> Result<(), OpenRefusal> {
        let written = recovery.highest.bytes_written.saturating_sub(self.layout.segment_bytes);
        let mut next = written;
        recovery.highest.tail_sequence = u64::MAX;
        for place in (0..self.sealed.len()).rev() {
            let Some(index) = self.sealed.get(place) else { break };
            let sequence = self.segments.get(index as usize).map_or(0, |segment| segment.sequence);
            if sequence <= self.writer.durable_through {
                break;
            }
            let header = self.header_now(index, recovery.blocking)?;
            let under_way = self.under_way_sealed(header.as_ref());
            if written.saturating_sub(next) >= under_way {
                break;
            }
            recovery.highest.tail_sequence = sequence;
            next = header.map_or(next, |header| header.bytes_written.min(next));
        }
        Ok(())
    }

    /// Shows the records of all segments in order. Tables are read ahead; a segment that has none is scanned when
    /// nothing else is under way.
    fn tables_show(&mut self, recovery: &mut Recovery<'_>) -> Result<(), OpenRefusal> {
        let mut line = Queue::EMPTY;
        let (mut next, mut asked, mut taken, mut complete) = (0, 0, 0, true);
        loop {
            while let Some(index) = self.sealed.get(next) {
                let Some(segment) = self.segments.get(index as usize).copied() else {
                    break;
                };
                if segment.has(FLAG_SCAN) {
                    if line.front().is_some() {
                        break;
                    }
                    self.scan_show(index, recovery)?;
                    next += 1;
                    continue;
                }
                let Some(frame) = self.frames.take(Use::Read) else {
                    break;
                };
                let pages = table_pages_bytes(u64::from(segment.count));
                let all = pages + PAGE as u64;
                let offset = self.segment_start(index) + self.layout.segment_bytes - all + asked;
                let bytes = (all - asked).min(self.layout.frame_bytes);
                self.line_up(&mut line, frame, offset, bytes, index);
                self.frames.state_mut(frame).chunk = bytes as u32;
                asked += bytes;
                if asked == all {
                    asked = 0;
                    next += 1;
                }
            }
            let Some(frame) = line.front() else {
                return Ok(());
            };
            complete &= self.wait_for(frame)?;
            let state = *self.frames.state(frame);
            line.pop(state.follower);
            let count = self
                .segments
                .get(state.owner as usize)
                .map_or(0, |segment| segment.count);
            let pages = table_pages_bytes(u64::from(count));
            let bytes = u64::from(state.chunk);
            let source = self.frames.range(frame, 0..bytes as usize);
            let room = pages.saturating_sub(taken).min(bytes) as usize;
            let table: &mut [u8] = bytemuck::cast_slice_mut(self.victim_table);
            format::put(table, taken as usize, source.get(..room).unwrap_or_default());
            taken += bytes;
            let mut good = complete;
            if taken == pages + PAGE as u64 {
                let used = table.get(..usize::from(count) * ENTRY_BYTES).unwrap_or_default();
                let footer = Footer::decode(source.get(bytes as usize - PAGE..).unwrap_or_default()).good();
                good &= footer.is_some_and(|footer| footer.table_checksum == table_checksum(used));
            }
            self.frames.give(frame);
            if taken == pages + PAGE as u64 {
                (taken, complete) = (0, true);
                if good {
                    self.table_show(state.owner, recovery)?;
                } else {
                    recovery.report.damaged += 1;
                    recovery.report.segments_scanned += 1;
                    if let Some(segment) = self.segments.get_mut(state.owner as usize) {
                        segment.flags |= FLAG_SCAN;
                    }
                    self.scan_show(state.owner, recovery)?;
                }
            }
        }
    }

    /// Shows the records of a table that verified.
    fn table_show(&mut self, index: u32, recovery: &mut Recovery<'_>) -> Result<(), OpenRefusal> {
        let place = self.place(index);
        let count = self.segments.get(index as usize).map_or(0, |segment| segment.count);
        let verify = place.sequence > self.writer.durable_through;
        let (from, end) = match place.sequence >= recovery.highest.tail_sequence {
            true => self.table_tail(index, recovery.blocking)?,
            false => (u64::MAX, 0),
        };
        for number in 0..usize::from(count) {
            let words = self
                .victim_table
                .get(number * ENTRY_WORDS..(number + 1) * ENTRY_WORDS)
                .unwrap_or_default();
            match TableEntry::decode(bytemuck::cast_slice(words), &place) {
                Some(entry) => {
                    let verify = match entry.end(place.part_bytes) > from {
                        true => Some(end),
                        false => (verify && entry.header.copy).then_some(0),
                    };
                    if !self.record_show(&entry, verify, recovery)?
                        && let Some(segment) = self.segments.get_mut(index as usize)
                    {
                        segment.flags |= FLAG_VOID;
                        segment.barrier = from;
                    }
                }
                // An entry that an earlier opening took out.
                None if words.first() == Some(&0) => {}
                None => recovery.report.damaged += 1,
            }
        }
        Ok(())
    }

    /// Shows the records of a segment by its records' headers. Those that may have been under way when the process
    /// ended are verified; which these are is known only once the last header is found.
    fn scan_show(&mut self, index: u32, recovery: &mut Recovery<'_>) -> Result<(), OpenRefusal> {
        let mut scan = Scan::new(self.place(index));
        let end = self.segment_start(index) + self.layout.segment_bytes;
        let frame = recovery.blocking.scratch;
        let under_way = self
            .header_now(index, recovery.blocking)?
            .map_or(u64::MAX, |header| header.under_way());
        let mut found = ScanFound::default();
        while let Some(position) = scan.wants() {
            let offset = position - position % self.alignment_bytes;
            let bytes = (end - offset).min(self.layout.frame_bytes);
            if offset >= self.device_end() {
                break;
            }
            if !self.read_now(frame, offset, bytes)? {
                // What can't be read is stepped over.
                recovery.report.damaged += 1;
                scan.skip_to(offset + bytes);
                continue;
            }
            while let Some(at) = scan.wants() {
                let damaged = scan.damaged();
                let next = scan.next(self.frames.range(frame, 0..bytes as usize), offset);
                if scan.damaged() != damaged {
                    self.scan_keep(index, &mut found, at, None, recovery)?;
                }
                let Some(entry) = next else { break };
                self.scan_keep(index, &mut found, entry.offset, Some(&entry), recovery)?;
            }
            if scan.wants() == Some(position) {
                break;
            }
        }
        let from = found.last.saturating_sub(under_way);
        self.kept_show(index, &mut found, from, recovery)
    }

    /// Keeps what a scan found until all of it is: a record, or the place of a header that does not verify.
    fn scan_keep(
        &mut self,
        index: u32,
        found: &mut ScanFound,
        offset: u64,
        entry: Option<&TableEntry>,
        recovery: &mut Recovery<'_>,
    ) -> Result<(), OpenRefusal> {
        if (found.count + 1) * ENTRY_WORDS > self.victim_table.len() {
            // More than this configuration puts into a segment: all of them may have been under way, for all it knows.
            self.kept_show(index, found, 0, recovery)?;
        }
        let at = found.count * ENTRY_WORDS;
        if let Some(words) = self.victim_table.get_mut(at..at + ENTRY_WORDS) {
            let header = entry.map_or([0; HEADER_BYTES], |entry| {
                entry.header.encode(self.file_seed, entry.offset)
            });
            TableEntry::encode(offset, &header, bytemuck::cast_slice_mut(words));
            found.count += 1;
        }
        if let Some(entry) = entry {
            found.last = offset;
            found.end = entry.end(self.layout.part_bytes);
        }
        Ok(())
    }

    /// Shows what a scan found; what ends behind `from` may have been under way.
    fn kept_show(
        &mut self,
        index: u32,
        found: &mut ScanFound,
        from: u64,
        recovery: &mut Recovery<'_>,
    ) -> Result<(), OpenRefusal> {
        let place = self.place(index);
        for number in 0..core::mem::take(&mut found.count) {
            let words = self
                .victim_table
                .get(number * ENTRY_WORDS..(number + 1) * ENTRY_WORDS)
                .unwrap_or_default();
            let bytes: &[u8] = bytemuck::cast_slice(words);
            match TableEntry::decode(bytes, &place) {
                Some(entry) => {
                    let end = entry.end(place.part_bytes);
                    let verify = match end > from {
                        true => Some(found.end),
                        false => entry.header.copy.then_some(end),
                    };
                    self.record_show(&entry, verify, recovery)?;
                }
                None if format::word(bytes, 0) + HEADER_BYTES as u64 > from => recovery.report.unfinished += 1,
                None => recovery.report.damaged += 1,
            }
        }
        Ok(())
    }

    /// Shows a record. False if it does not verify where that is asked for; `verify` is as of
    /// [`Log::payload_verifies`].
    fn record_show(
        &mut self,
        entry: &TableEntry,
        verify: Option<u64>,
        recovery: &mut Recovery<'_>,
    ) -> Result<bool, OpenRefusal> {
        let header = &entry.header;
        let highest = &mut recovery.highest;
        highest.record_sequence = highest.record_sequence.max(header.record_sequence);
        if let Some(ahead) = verify.filter(|_| !header.tombstone)
            && !self.payload_verifies(entry, ahead, recovery.blocking)?
        {
            recovery.report.unfinished += 1;
            return Ok(false);
        }
        let readable = header.tombstone || header.is_readable();
        if !readable || header.geometry_tag != format::take(&self.shape.geometry_digest, 0) {
            recovery.report.damaged += u64::from(!header.tombstone);
            if !header.tombstone {
                return Ok(true);
            }
        }
        if !header.tombstone {
            recovery.report.blocks += 1;
            recovery.report.bytes += u64::from(header.payload_bytes);
        }
        (recovery.show)(&Recovered {
            info: header.info,
            offset: entry.offset,
            payload_bytes: header.payload_bytes,
            tombstone: header.tombstone,
        });
        Ok(true)
    }

    /// Takes what does not verify out of the tables of their segments, which are durable from now on and believed. A
    /// crash on the way leaves a table that does not verify, and the segment is scanned.
    pub(super) fn tables_mend(&mut self, blocking: &Blocking, out: u32) -> Result<(), OpenRefusal> {
        for index in 0..self.segments.len() as u32 {
            let Some(segment) = self
                .segments
                .get_mut(index as usize)
                .filter(|segment| segment.has(FLAG_VOID))
            else {
                continue;
            };
            segment.flags &= !FLAG_VOID;
            let from = core::mem::take(&mut segment.barrier);
            let count = u64::from(segment.count);
            let end = self.segment_start(index) + self.layout.segment_bytes;
            let start = end - PAGE as u64 - table_pages_bytes(count);
            let mut pages = (start..end).step_by(PAGE);
            let read = pages.try_fold(true, |read, offset| {
                let succeeded = self.read_now(blocking.scratch, offset, PAGE as u64)?;
                let table: &mut [u8] = bytemuck::cast_slice_mut(self.victim_table);
                // The footer comes last, and behind the table there may be no room.
                if offset + (PAGE as u64) < end {
                    format::put(
                        table,
                        (offset - start) as usize,
                        self.frames.range(blocking.scratch, 0..PAGE),
                    );
                }
                Ok::<_, OpenRefusal>(read && succeeded)
            })?;
            let Some(footer) = Footer::decode(self.frames.range(blocking.scratch, 0..PAGE)).good() else {
                continue;
            };
            if !read {
                continue;
            }
            self.entries_take_out(index, from, blocking)?;
            let table: &[u8] = bytemuck::cast_slice(self.victim_table);
            let table_checksum = table_checksum(table.get(..count as usize * ENTRY_BYTES).unwrap_or_default());
            for offset in (start..end - PAGE as u64).step_by(PAGE) {
                let mut page = [0; PAGE];
                let table: &[u8] = bytemuck::cast_slice(self.victim_table);
                let at = (offset - start) as usize;
                format::put(&mut page, 0, table.get(at..at + PAGE).unwrap_or_default());
                self.write_now(out, offset, &page)?;
            }
            let mut page = [0; PAGE];
            Footer {
                table_checksum,
                ..footer
            }
            .encode(&mut page);
            self.write_now(out, end - PAGE as u64, &page)?;
        }
        Ok(())
    }

    /// Takes what does not verify out of the table that was read: copies, and what ends behind `from`.
    fn entries_take_out(&mut self, index: u32, from: u64, blocking: &Blocking) -> Result<(), OpenRefusal> {
        let place = self.place(index);
        let count = self.segments.get(index as usize).map_or(0, |segment| segment.count);
        for number in 0..usize::from(count) {
            let range = number * ENTRY_WORDS..(number + 1) * ENTRY_WORDS;
            let words = self.victim_table.get(range.clone()).unwrap_or_default();
            let Some(entry) = TableEntry::decode(bytemuck::cast_slice(words), &place) else {
                continue;
            };
            if (entry.header.copy || entry.end(place.part_bytes) > from)
                && !entry.header.tombstone
                && !self.payload_verifies(&entry, 0, blocking)?
                && let Some(words) = self.victim_table.get_mut(range)
            {
                words.fill(0);
            }
        }
        Ok(())
    }
}
