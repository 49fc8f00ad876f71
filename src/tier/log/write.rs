//! The write frontier: records into frames, frames into segments, full segments sealed.
//!
//! Whatever is written goes through frames, in the order of their tickets. Data fills a frame before it is submitted;
//! a push or a flush pads it to the device's alignment, and the next record begins behind that, in a new frame, so
//! that nothing that was written is ever written again.
//!
//! A segment is begun only when two things are durable: what was copied out of its last life, and the header of the
//! segment begun before it. So no crash takes the only copy of a block, or a tombstone while what it buried is left.

use super::format::{self, FORMAT_VERSION, Footer, PAGE, SegmentHeader, table_checksum, table_pages_bytes};
use super::lend::{Stage, Use};
use super::record::{
    ENTRY_BYTES, ENTRY_WORDS, HEADER_BYTES, PARTS_MAX, RecordHeader, TableEntry, part_checksum, parts_checksum,
    parts_count, record_bytes, table_bytes,
};
use super::state::{FLAG_BROKEN, FLAG_SCAN, Pending, Queue, SegmentUse};
use super::{Log, RecordInfo, Refused};
use crate::copy::Temperature;
use crate::key::Key;

const ZEROS: [u8; PAGE] = [0; PAGE];

/// The frontier.
pub(super) struct Writer {
    /// The segment that is being written.
    segment: Option<u32>,
    /// Where the next byte goes in the file.
    position: u64,
    /// Records in the segment.
    count: u64,
    /// The frame that is being filled.
    frame: Option<u32>,
    /// Bytes of table and footer written so far, of a segment that is being sealed.
    sealing: Option<u64>,
    /// Checksum of its table.
    sealing_checksum: u64,
    /// Frames in the order of their tickets that are not known to be written.
    pub(super) order: Queue,
    /// The last ticket given.
    pub(super) ticket: u64,
    /// Every frame up to this ticket is written, or failed.
    pub(super) written_through: u64,
    /// The last ticket up to that one that failed.
    pub(super) failed_last: u64,
    /// Tickets of the frames with tombstones that are not known to be written: none is before the first, none behind
    /// the last. The first is the highest number where there are none.
    tombstones: (u64, u64),
    /// Ticket of the frame with the header of the segment begun last.
    pub(super) header_ticket: u64,
    /// Sequences of the next record and the next segment.
    pub(super) record_sequence: u64,
    pub(super) segment_sequence: u64,
    /// Segments of lower sequence were given up, and what was copied out of them is durable.
    pub(super) needed_from: u64,
    /// Segments up to this sequence are durable.
    pub(super) durable_through: u64,
    /// Segments sealed last, with the ticket of their footer: for `durable_through`.
    sealed_last: [(u64, u64); 4],
    /// Bytes written to the file before it was opened.
    pub(super) bytes_before: u64,
    /// Frames that an append was refused for: reads leave so many alone.
    pub(super) wanted: u32,
    /// So many were free when the last poll ended.
    pub(super) offered: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            segment: None,
            position: 0,
            count: 0,
            frame: None,
            sealing: None,
            sealing_checksum: 0,
            order: Queue::EMPTY,
            ticket: 0,
            written_through: 0,
            failed_last: 0,
            tombstones: (u64::MAX, 0),
            header_ticket: 0,
            record_sequence: 1,
            segment_sequence: 1,
            needed_from: 0,
            durable_through: 0,
            sealed_last: [(0, 0); 4],
            bytes_before: 0,
            wanted: 0,
            offered: false,
        }
    }

    /// Whether something is staged or not known to be written.
    pub(super) fn owes(&self) -> bool {
        self.frame.is_some() || self.order.front().is_some() || self.sealing.is_some()
    }

    /// Whether a frame is being filled.
    pub(super) fn is_staged(&self) -> bool {
        self.frame.is_some()
    }

    /// Whether a segment is being sealed.
    pub(super) fn is_sealing(&self) -> bool {
        self.sealing.is_some()
    }
}

impl Log<'_> {
    /// Appends a block: checksums it, copies it into frames, and submits those that are full. The payload is not
    /// needed any more when this returns. `Written` or `WriteFailed` follows, in order; a frame that is not full is
    /// submitted by the next append, `flush_begin`, `push`, or a poll some time later. `urgent` is for blocks of the
    /// segment that is given up: it may use the last free segment, and opening verifies what was copied before it
    /// believes it.
    ///
    /// # Errors
    /// [`Refused`]; nothing was changed then, but the segment may have been sealed.
    pub fn append(&mut self, info: &RecordInfo, payload: &[u8], tag: u64, urgent: bool) -> Result<(), Refused> {
        if self.pending_count >= self.pending.len() && !self.health.offline {
            return Err(Refused::Full);
        }
        if payload.len() as u64 > self.layout.block_bytes {
            return Err(Refused::TooLarge);
        }
        self.append_record(info, Some((payload, tag)), urgent, urgent)
    }

    /// As [`Log::append`], for a block that another tier gives up with its segment: opening verifies it before it
    /// believes it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn append_moved(&mut self, info: &RecordInfo, payload: &[u8], tag: u64) -> Result<(), Refused> {
        if self.pending_count >= self.pending.len() && !self.health.offline {
            return Err(Refused::Full);
        }
        if payload.len() as u64 > self.layout.block_bytes {
            return Err(Refused::TooLarge);
        }
        self.append_record(info, Some((payload, tag)), false, true)
    }

    /// Appends a tombstone: the key was removed. No event follows.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn append_tombstone(&mut self, key: &Key) -> Result<(), Refused> {
        let info = RecordInfo {
            key: *key,
            ..RecordInfo::default()
        };
        let before = self.writer.ticket;
        self.append_record(&info, None, false, false)?;
        let first = self.writer.tombstones.0.min(before);
        self.writer.tombstones = (first, self.writer.ticket);
        Ok(())
    }

    /// Most bytes that appending `payload_bytes` bytes (0: a tombstone) can add to `bytes_written`, now or later:
    /// record, padding, its share of header and table, a segment's begin or end that it may cause.
    pub fn append_cost_max(&self, payload_bytes: u64) -> u64 {
        let record = record_bytes(payload_bytes, self.layout.part_bytes);
        // Header, footer, and what a table's last page wastes.
        record + self.alignment_bytes + ENTRY_BYTES as u64 + 3 * PAGE as u64
    }

    /// Submits what is staged, however little, without making it durable: it is `Written` soon, and up to the device's
    /// alignment is wasted.
    pub fn push(&mut self) {
        let Some(index) = self.writer.frame else {
            return;
        };
        let filled = u64::from(self.frames.state(index).bytes);
        let padding = filled.next_multiple_of(self.alignment_bytes) - filled;
        self.counts.bytes_written += padding;
        self.stage_zeros(padding);
        self.frame_close();
    }

    fn append_record(
        &mut self,
        info: &RecordInfo,
        block: Option<(&[u8], u64)>,
        urgent: bool,
        copy: bool,
    ) -> Result<(), Refused> {
        if self.health.offline {
            return Err(Refused::Offline);
        }
        let payload = block.map_or(&[][..], |(payload, _)| payload);
        let (bytes, next) = self.room_make(payload.len() as u64, urgent)?;
        if let Some(index) = next {
            self.segment_begin(index);
        }
        self.record_stage(info, payload, block.map(|(_, tag)| tag), copy, bytes);
        if self.submits.front().is_some() {
            // The device works on it while the next record is staged.
            self.hand_over();
        }
        Ok(())
    }

    /// Whether a block of so many bytes could be appended now, so that a caller who has to encode it first need not do
    /// that in vain. Seals a segment in which it has no room, as appending does.
    ///
    /// # Errors
    /// What [`Log::append`] would answer.
    pub fn append_allows(&mut self, payload_bytes: u64, urgent: bool) -> Result<(), Refused> {
        if self.health.offline {
            return Err(Refused::Offline);
        }
        if self.pending_count >= self.pending.len() {
            return Err(Refused::Full);
        }
        self.room_make(payload_bytes, urgent).map(|_| ())
    }

    /// Makes sure that a record finds a segment and frames: its bytes, and the segment that it is to begin, if it is.
    fn room_make(&mut self, payload_bytes: u64, urgent: bool) -> Result<(u64, Option<u32>), Refused> {
        let parts = parts_count(payload_bytes, self.layout.part_bytes);
        let bytes = record_bytes(payload_bytes, self.layout.part_bytes);
        let page = PAGE as u64;
        if parts > PARTS_MAX as u64 || page + bytes.next_multiple_of(page) + 2 * page > self.layout.segment_bytes {
            return Err(Refused::TooLarge);
        }
        if !urgent && self.free.len() == 0 && self.layout.segments_count > 1 {
            // What is left of the last segment is for the blocks of the one that is given up to make room.
            return Err(Refused::NoSegment);
        }
        if self.writer.segment.is_some() && !self.has_room(bytes) {
            self.seal_begin();
            if !self.seal_step() {
                return Err(Refused::Full);
            }
        }
        let next = match self.writer.segment {
            Some(_) => None,
            None => Some(self.segment_next(urgent)?),
        };
        self.frames_reserve(bytes + next.map_or(0, |_| page))?;
        Ok((bytes, next))
    }

    /// Whether a record of so many bytes fits into the segment, with its table.
    fn has_room(&self, bytes: u64) -> bool {
        let Some(index) = self.writer.segment else {
            return false;
        };
        let page = PAGE as u64;
        let end = self.segment_start(index) + self.layout.segment_bytes;
        // A segment without a header takes nothing more.
        self.writer.sealing.is_none()
            && !self
                .segments
                .get(index as usize)
                .is_some_and(|segment| segment.has(FLAG_BROKEN))
            && self.writer.count < self.layout.segment_records_max
            && (self.writer.position + bytes).next_multiple_of(page) + table_pages_bytes(self.writer.count + 1) + page
                <= end
    }

    /// The free segment that is written next.
    fn segment_next(&mut self, urgent: bool) -> Result<u32, Refused> {
        let kept = u64::from(!urgent).min(self.layout.segments_count.saturating_sub(1)) as usize;
        match self.free.front() {
            Some(index) if self.free.len() > kept => match self.segment_is_ready(index) {
                true => Ok(index),
                false => Err(Refused::Full),
            },
            _ => Err(Refused::NoSegment),
        }
    }

    /// The ticket that must be durable before this free segment is written; 0 for none.
    pub(super) fn segment_needs(&self, index: u32) -> u64 {
        match self.segments.get(index as usize) {
            Some(segment) if segment.state() == SegmentUse::Freed => segment.barrier.max(self.writer.header_ticket),
            _ => 0,
        }
    }

    fn segment_is_ready(&self, index: u32) -> bool {
        let reads = self.segments.get(index as usize).map_or(0, |segment| segment.reads);
        reads == 0 && self.segment_needs(index) <= self.syncs.durable
    }

    /// Makes sure that so many more bytes find frames.
    fn frames_reserve(&mut self, bytes: u64) -> Result<(), Refused> {
        let frame_bytes = self.layout.frame_bytes;
        let room = self.writer.frame.map_or(0, |index| {
            frame_bytes.saturating_sub(u64::from(self.frames.state(index).bytes))
        });
        let needed = bytes.saturating_sub(room).div_ceil(frame_bytes) as u32;
        let most = self.frames.count() - self.frames_read_min();
        if needed > most {
            return Err(Refused::TooLarge);
        }
        if needed > self.frames_writable() {
            self.writer.wanted = self.writer.wanted.max(needed);
            return Err(Refused::Full);
        }
        self.writer.wanted = 0;
        Ok(())
    }

    /// Frames that reads always have.
    pub(super) fn frames_read_min(&self) -> u32 {
        (self.frames.count() / 4).max(2).min(self.frames.count())
    }

    /// Frames that can be written into now.
    pub(super) fn frames_writable(&self) -> u32 {
        let most = self.frames.count() - self.frames_read_min();
        most.saturating_sub(self.frames.writing()).min(self.frames.free_count())
    }

    /// Most bytes under way to the file at any time: frames are given back in the order of their tickets, so that no
    /// two of those that are not known to be written are further apart.
    pub(super) fn under_way_bytes_max(&self) -> u64 {
        u64::from(self.frames.count() - self.frames_read_min()) * self.layout.frame_bytes
    }

    fn segment_begin(&mut self, index: u32) {
        let sequence = self.writer.segment_sequence;
        self.free.pop();
        let needs = self.segments.get(index as usize).map_or(0, |segment| segment.sequence);
        // It was given up, and its barrier is durable; so it is with all before it.
        self.writer.needed_from = self.writer.needed_from.max(needs + u64::from(needs != 0));
        self.durable_note();
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            index,
            sequence,
            record_sequence: self.writer.record_sequence,
            shape: self.shape,
            bytes_written: self.writer.bytes_before + self.counts.bytes_written,
            unix_seconds: self.identity.unix_seconds,
            needed_from: self.freed_through(),
            durable_through: self.writer.durable_through,
            under_way_bytes: self.under_way_bytes_max(),
        };
        let mut page = [0; PAGE];
        header.encode(&mut page);
        if let Some(segment) = self.segments.get_mut(index as usize) {
            segment.sequence = sequence;
            segment.flags = 0;
            segment.count = 0;
            segment.set_state(SegmentUse::Open);
        }
        self.writer.segment_sequence = sequence + 1;
        self.writer.segment = Some(index);
        self.writer.position = self.segment_start(index);
        self.writer.count = 0;
        self.counts.bytes_written += PAGE as u64;
        self.stage(&page);
        self.writer.header_ticket = self.writer.ticket;
    }

    /// The first sequence that is needed: segments given up whose barrier is durable are not.
    fn freed_through(&self) -> u64 {
        let mut needed_from = self.writer.needed_from;
        // Those that are free, in the order in which they were given up; usually one.
        for place in 0..self.free.len().min(4) {
            let freed = self
                .free
                .get(place)
                .and_then(|index| self.segments.get(index as usize))
                .filter(|segment| segment.state() == SegmentUse::Freed && segment.barrier <= self.syncs.durable);
            if let Some(segment) = freed {
                needed_from = needed_from.max(segment.sequence + u64::from(segment.sequence != 0));
            }
        }
        needed_from
    }

    /// Brings `durable_through` up to date.
    fn durable_note(&mut self) {
        for (sequence, ticket) in self.writer.sealed_last {
            if ticket <= self.syncs.durable {
                self.writer.durable_through = self.writer.durable_through.max(sequence);
            }
        }
    }

    /// Stages a record: room and frames are there.
    fn record_stage(&mut self, info: &RecordInfo, payload: &[u8], tag: Option<u64>, copy: bool, bytes: u64) {
        let sequence = self.writer.record_sequence;
        let offset = self.writer.position;
        let segment = self.writer.segment.unwrap_or_default();
        let first = self.writer.ticket + u64::from(self.writer.frame.is_none());
        let parts = parts_count(payload.len() as u64, self.layout.part_bytes);
        let (table_used, table_padded) = (parts as usize * 8, table_bytes(parts) as usize);
        // Header and table are filled in at the end, before any of these frames is submitted: so each part is read
        // from memory once, to be copied, and checksummed out of the cache.
        let begins = self.frame_current();
        self.stage_zeros((HEADER_BYTES + table_padded) as u64);
        let mut table = [0; PARTS_MAX * 8];
        for (number, part) in (0..).zip(payload.chunks(self.layout.part_bytes as usize)) {
            self.stage(part);
            let sum = part_checksum(part, sequence, number);
            format::put(&mut table, number as usize * 8, &sum.to_le_bytes());
        }
        self.stage_zeros(bytes - (HEADER_BYTES + table_padded + payload.len()) as u64);
        let header = RecordHeader {
            tombstone: tag.is_none(),
            copy,
            record_sequence: sequence,
            segment_sequence: self
                .segments
                .get(segment as usize)
                .map_or(0, |segment| segment.sequence),
            payload_bytes: payload.len() as u32,
            geometry_tag: format::take(&self.shape.geometry_digest, 0),
            table_checksum: parts_checksum(table.get(..table_used).unwrap_or_default()),
            info: *info,
        };
        let header = header.encode(self.file_seed, offset);
        if let Some((frame, at)) = begins {
            let (frame, at) = self.fill_in(frame, at, &header);
            self.fill_in(frame, at, table.get(..table_used).unwrap_or_default());
        }
        self.counts.bytes_written += bytes;

        let entry = self.writer.count as usize * ENTRY_WORDS;
        if let Some(words) = self.table.get_mut(entry..entry + ENTRY_WORDS) {
            TableEntry::encode(offset, &header, bytemuck::cast_slice_mut(words));
        }
        self.writer.count += 1;
        self.writer.record_sequence += 1;
        if let Some(tag) = tag {
            let place = (self.pending_first + self.pending_count) % self.pending.len().max(1);
            if let Some(pending) = self.pending.get_mut(place) {
                *pending = Pending {
                    tag,
                    offset,
                    first,
                    last: self.writer.ticket,
                    payload_bytes: payload.len() as u32,
                    padding: 0,
                };
                self.pending_count += 1;
            }
        }
    }

    /// Copies `source` to the frontier.
    fn stage(&mut self, source: &[u8]) {
        let mut rest = source;
        while !rest.is_empty() {
            let Some((index, filled)) = self.frame_current() else {
                return;
            };
            let room = (self.layout.frame_bytes as usize).saturating_sub(filled);
            let (now, later) = rest.split_at(rest.len().min(room));
            let copier = self.copier;
            if let Some(target) = self.frames.bytes_mut(index).get_mut(filled..filled + now.len()) {
                copier.copy_slice(now, target, Temperature::Cold);
            }
            rest = later;
            self.frames.state_mut(index).bytes += now.len() as u32;
            self.writer.position += now.len() as u64;
            if now.len() == room {
                self.frame_close();
            }
        }
    }

    /// Writes `source` over what was staged at `at` of a frame and goes on in the frames behind it, none of which was
    /// submitted. Returns where it ended.
    fn fill_in(&mut self, mut frame: u32, mut at: usize, source: &[u8]) -> (u32, usize) {
        let frame_bytes = self.layout.frame_bytes as usize;
        let mut rest = source;
        while !rest.is_empty() {
            if at == frame_bytes {
                (frame, at) = (self.frames.state(frame).follower, 0);
            }
            let (now, later) = rest.split_at(rest.len().min(frame_bytes - at));
            format::put(self.frames.bytes_mut(frame), at, now);
            at += now.len();
            rest = later;
        }
        (frame, at)
    }

    fn stage_zeros(&mut self, bytes: u64) {
        let mut rest = bytes as usize;
        while rest != 0 {
            let now = rest.min(PAGE);
            self.stage(ZEROS.get(..now).unwrap_or_default());
            rest -= now;
        }
    }

    /// The frame that is being filled, and how far; a new one if there is none.
    fn frame_current(&mut self) -> Option<(u32, usize)> {
        if let Some(index) = self.writer.frame {
            return Some((index, self.frames.state(index).bytes as usize));
        }
        let index = self.frame_new(self.writer.position)?;
        self.writer.frame = Some(index);
        Some((index, 0))
    }

    /// A frame with the next ticket.
    pub(super) fn frame_new(&mut self, offset: u64) -> Option<u32> {
        let index = self.frames.take(Use::Write)?;
        self.writer.ticket += 1;
        let ticket = self.writer.ticket;
        let segment = self.writer.segment.unwrap_or_default();
        let begins = offset == self.segment_start(segment);
        let state = self.frames.state_mut(index);
        state.ticket = ticket;
        state.offset = offset;
        state.owner = segment;
        state.chunk = u32::from(begins);
        if let Some(before) = self.writer.order.push(index) {
            self.frames.state_mut(before).follower = index;
        }
        Some(index)
    }

    /// Submits the frame that is being filled.
    fn frame_close(&mut self) {
        if let Some(index) = self.writer.frame.take() {
            self.enqueue(index);
        }
    }

    /// Begins to seal the segment that is being written.
    fn seal_begin(&mut self) {
        if self.writer.sealing.is_some() {
            return;
        }
        self.push();
        let words = self.writer.count as usize * ENTRY_WORDS;
        let table: &[u8] = bytemuck::cast_slice(self.table.get(..words).unwrap_or_default());
        self.writer.sealing_checksum = table_checksum(table);
        self.writer.sealing = Some(0);
        self.counts.bytes_written += table_pages_bytes(self.writer.count) + PAGE as u64;
    }

    /// Goes on sealing with the frames that there are; true when nothing is being sealed any more.
    pub(super) fn seal_step(&mut self) -> bool {
        let (Some(mut done), Some(segment)) = (self.writer.sealing, self.writer.segment) else {
            return true;
        };
        let page = PAGE as u64;
        let pages = table_pages_bytes(self.writer.count);
        let end = self.segment_start(segment) + self.layout.segment_bytes;
        let start = end - page - pages;
        while done < pages + page {
            if self.frames_writable() == 0 {
                self.writer.sealing = Some(done);
                return false;
            }
            let Some(index) = self.frame_new(start + done) else {
                return false;
            };
            let now = (pages + page - done).min(self.layout.frame_bytes);
            let table: &[u8] = bytemuck::cast_slice(
                self.table
                    .get(..self.writer.count as usize * ENTRY_WORDS)
                    .unwrap_or_default(),
            );
            let rest = table.get(done as usize..).unwrap_or_default();
            let rest = rest.get(..now as usize).unwrap_or(rest);
            let memory = self.frames.bytes_mut(index);
            if let Some(target) = memory.get_mut(..now as usize) {
                target.fill(0);
            }
            format::put(memory, 0, rest);
            if done + now == pages + page {
                let footer = Footer {
                    version: FORMAT_VERSION,
                    count: self.writer.count as u32,
                    index: segment,
                    sequence: self
                        .segments
                        .get(segment as usize)
                        .map_or(0, |segment| segment.sequence),
                    table_offset: start,
                    table_bytes: self.writer.count * ENTRY_BYTES as u64,
                    table_checksum: self.writer.sealing_checksum,
                };
                let mut page = [0; PAGE];
                footer.encode(&mut page);
                format::put(memory, now as usize - PAGE, &page);
            }
            self.frames.state_mut(index).bytes = now as u32;
            self.enqueue(index);
            done += now;
        }
        self.segment_sealed(segment);
        true
    }

    fn segment_sealed(&mut self, index: u32) {
        if let Some(segment) = self.segments.get_mut(index as usize) {
            segment.set_state(SegmentUse::Sealed);
            segment.barrier = self.writer.ticket;
            segment.count = self.writer.count as u16;
            self.writer.sealed_last.rotate_left(1);
            self.writer.sealed_last[3] = (segment.sequence, self.writer.ticket);
        }
        self.sealed.push(index);
        self.writer.sealing = None;
        self.writer.segment = None;
    }

    /// Takes note of the frames that are written, in their order.
    pub(super) fn writes_settle(&mut self, tell: &mut dyn FnMut(super::LogEvent)) {
        while let Some(index) = self.writer.order.front() {
            let stage = self.frames.stage(index);
            if stage == Stage::Open {
                break;
            }
            let state = *self.frames.state(index);
            self.writer.order.pop(state.follower);
            self.frames.give(index);
            let ticket = state.ticket;
            let failed = stage == Stage::Failed;
            if let Some(segment) = self.segments.get_mut(state.owner as usize) {
                // Without its header in the file, opening may not find what is in a segment.
                if failed && state.chunk != 0 {
                    segment.flags |= FLAG_BROKEN;
                }
                if failed {
                    segment.flags |= FLAG_SCAN;
                }
                if failed || segment.has(FLAG_BROKEN) {
                    self.writer.failed_last = ticket;
                    let (first, last) = self.writer.tombstones;
                    if (first..=last).contains(&ticket) {
                        // Nobody is told of a tombstone, and nobody writes it again: what was removed would come back.
                        self.health.fail();
                    }
                }
            }
            if ticket >= self.writer.tombstones.1 {
                self.writer.tombstones.0 = u64::MAX;
            }
            self.writer.written_through = ticket;
            self.pending_settle(ticket, tell);
            self.flushes_settle(ticket);
        }
    }

    fn pending_settle(&mut self, ticket: u64, tell: &mut dyn FnMut(super::LogEvent)) {
        while self.pending_count != 0 {
            let Some(pending) = self.pending.get(self.pending_first).copied() else {
                return;
            };
            if pending.last > ticket {
                return;
            }
            self.pending_first = (self.pending_first + 1) % self.pending.len();
            self.pending_count -= 1;
            tell(if self.writer.failed_last >= pending.first {
                super::LogEvent::WriteFailed { tag: pending.tag }
            } else {
                super::LogEvent::Written {
                    tag: pending.tag,
                    offset: pending.offset,
                    payload_bytes: pending.payload_bytes,
                }
            });
        }
    }

    /// Tells of every record under way as failed.
    pub(super) fn pending_fail(&mut self, tell: &mut dyn FnMut(super::LogEvent)) {
        while self.pending_count != 0 {
            let tag = self.pending.get(self.pending_first).map_or(0, |pending| pending.tag);
            self.pending_first = (self.pending_first + 1) % self.pending.len();
            self.pending_count -= 1;
            tell(super::LogEvent::WriteFailed { tag });
        }
    }
}
