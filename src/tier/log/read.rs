//! Reading a block: pieces of a frame each, on part boundaries, verified as they arrive and copied to their place.
//!
//! The first piece has header and part table; the others wait for it if they are faster. Its frame is kept until the
//! block is there. Blocks are begun in order, a block only when every piece of the one before it was requested: so
//! there is always a block whose pieces all have frames, and frames come back.

use super::lend::{NONE, Stage, Target, Use};
use super::record::{
    HEADER_BYTES, PARTS_MAX, RecordHeader, UNIT, part_checksum, parts_checksum, parts_count, payload_at,
};
use super::state::{Queue, Reading, SegmentUse, VERDICT_DAMAGED, VERDICT_GOOD, VERDICT_IO};
use super::victim::VICTIM_OWNER;
use super::{Log, LogEvent, ReadFault, ReadRequest, Refused};
use crate::budget::PARTS_COUNT_MAX;
use bytemuck::Zeroable;

/// Where a piece lies.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where its request begins, on the device's alignment.
    offset: u64,
    /// Bytes of the request.
    bytes: u64,
    /// Where its first part begins in the request.
    parts_at: usize,
    /// Its parts.
    first: u64,
    end: u64,
}

impl Log<'_> {
    /// Links the places for blocks being read.
    pub(super) fn readings_link(&mut self) {
        let count = self.readings.len() as u32;
        for (index, reading) in (1..).zip(self.readings.iter_mut()) {
            reading.next = if index < count { index } else { NONE };
        }
        self.reading_free = if count == 0 { NONE } else { 0 };
    }

    pub(super) fn read_begin(&mut self, request: &ReadRequest, target: Target) -> Result<(), Refused> {
        if self.health.offline {
            return Err(Refused::Offline);
        }
        let index = self.reading_free;
        let Some(place) = self.readings.get_mut(index as usize) else {
            return Err(Refused::Full);
        };
        self.reading_free = place.next;
        *place = Reading {
            offset: request.offset,
            tag: request.tag,
            key: request.key.words(),
            target,
            next: NONE,
            waiting: NONE,
            frame_first: NONE,
            segment: NONE,
            ..Reading::zeroed()
        };
        let segment = self
            .segment_of(request.offset)
            .filter(|_| request.offset.is_multiple_of(UNIT));
        let fits = segment.is_some_and(|segment| {
            let place = self.place(segment);
            let payload_bytes = u64::from(request.payload_bytes);
            let parts = parts_count(payload_bytes, place.part_bytes);
            let end = payload_at(payload_bytes, place.part_bytes)
                .checked_add(payload_bytes)
                .and_then(|bytes| bytes.checked_add(request.offset));
            parts <= PARTS_COUNT_MAX
                && payload_bytes <= place.block_bytes
                && request.offset >= place.records_start()
                && end.is_some_and(|end| end <= place.records_end() && end <= self.device_end())
        });
        let state = segment.and_then(|segment| self.segments.get_mut(segment as usize));
        match (state, segment) {
            (Some(state), Some(segment)) if fits && !matches!(state.state(), SegmentUse::Empty | SegmentUse::Freed) => {
                state.reads += 1;
                if let Some(reading) = self.readings.get_mut(index as usize) {
                    reading.segment = segment;
                    reading.counted = 1;
                }
                if let Some(before) = self.reading_queue.push(index) {
                    self.readings[before as usize].next = index;
                }
                self.readings_begin();
                self.submit_queued();
            }
            _ => {
                if let Some(reading) = self.readings.get_mut(index as usize) {
                    reading.verdict = VERDICT_DAMAGED;
                }
                self.reading_finish(index);
            }
        }
        Ok(())
    }

    /// The device's end, on its alignment.
    pub(super) fn device_end(&self) -> u64 {
        let bytes = self.device().bytes();
        bytes - bytes % self.alignment_bytes
    }

    /// Whether a frame can be taken to read.
    pub(super) fn can_read(&self) -> bool {
        let count = self.frames.count();
        let write_min = (count / 4).max(1);
        let reading = self.frames.reading();
        let free = self.frames.free_count();
        free != 0
            && reading < count.saturating_sub(write_min).max(1)
            && (reading < self.frames_read_min() || free > self.writer.wanted)
    }

    fn piece(&self, reading: &Reading, chunk: u64) -> Option<Piece> {
        let part_bytes = self.layout.part_bytes;
        let payload_bytes = u64::from(reading.target.bytes());
        let parts = parts_count(payload_bytes, part_bytes);
        let parts_per_frame = (self.layout.frame_bytes / part_bytes).max(1);
        let first = chunk * parts_per_frame;
        if first >= parts && chunk != 0 {
            return None;
        }
        let end = (first + parts_per_frame).min(parts);
        let payload = reading.offset + payload_at(payload_bytes, part_bytes);
        let parts_offset = payload + first * part_bytes;
        let from = if chunk == 0 { reading.offset } else { parts_offset };
        let to = payload + (end * part_bytes).min(payload_bytes);
        let offset = from - from % self.alignment_bytes;
        Some(Piece {
            offset,
            bytes: to.next_multiple_of(self.alignment_bytes) - offset,
            parts_at: (parts_offset - offset) as usize,
            first,
            end,
        })
    }

    /// Requests pieces while there are frames.
    pub(super) fn readings_begin(&mut self) {
        while let Some(index) = self.reading_queue.front() {
            let Some(reading) = self.readings.get(index as usize).copied() else {
                return;
            };
            let failed = reading.verdict > VERDICT_GOOD;
            let piece = match failed {
                true => None,
                false => self.piece(&reading, u64::from(reading.chunks_begun)),
            };
            let Some(piece) = piece else {
                self.reading_queue.pop(reading.next);
                self.readings[index as usize].next = NONE;
                // A block that failed before its last piece was requested.
                if reading.outstanding == 0 && failed {
                    self.reading_finish(index);
                }
                continue;
            };
            if !self.can_read() {
                return;
            }
            let Some(frame) = self.frames.take(Use::Read) else {
                return;
            };
            let state = self.frames.state_mut(frame);
            state.offset = piece.offset;
            state.bytes = piece.bytes as u32;
            state.owner = index;
            state.chunk = u32::from(reading.chunks_begun);
            if let Some(reading) = self.readings.get_mut(index as usize) {
                reading.chunks_begun += 1;
                reading.outstanding += 1;
            }
            self.enqueue(frame);
        }
    }

    fn is_queued(&self, index: u32) -> bool {
        self.reading_queue.front() == Some(index)
    }

    /// A frame that was read is there, or can't be read.
    pub(super) fn read_arrived(&mut self, frame: u32, tell: &mut dyn FnMut(LogEvent)) {
        let state = *self.frames.state(frame);
        if state.owner == VICTIM_OWNER {
            self.victim_arrived(frame);
            return;
        }
        let index = state.owner;
        let failed = self.frames.stage(frame) == Stage::Failed;
        let Some(reading) = self.readings.get_mut(index as usize) else {
            self.frames.give(frame);
            return;
        };
        reading.outstanding -= 1;
        if failed && reading.verdict <= VERDICT_GOOD {
            reading.verdict = VERDICT_IO;
            reading.os_error = state.os_error;
        }
        let verdict = reading.verdict;
        if verdict > VERDICT_GOOD {
            self.frames.give(frame);
            self.waiting_drop(index);
        } else if state.chunk == 0 {
            self.readings[index as usize].frame_first = frame;
            self.first_arrived(index, frame);
        } else if verdict == VERDICT_GOOD {
            self.parts_take(index, frame);
            self.frames.give(frame);
        } else {
            self.frames.state_mut(frame).next = reading.waiting;
            reading.waiting = frame;
        }
        self.reading_advance(index, tell);
    }

    /// Header and table are there: verifies them, then takes the parts that are there.
    fn first_arrived(&mut self, index: u32, frame: u32) {
        let good = self.first_is_good(index, frame);
        let Some(reading) = self.readings.get_mut(index as usize) else {
            return;
        };
        reading.verdict = if good { VERDICT_GOOD } else { VERDICT_DAMAGED };
        let mut waiting = core::mem::replace(&mut reading.waiting, NONE);
        if good {
            self.parts_take(index, frame);
        }
        while waiting != NONE {
            let next = self.frames.state(waiting).next;
            if good {
                self.parts_take(index, waiting);
            }
            self.frames.give(waiting);
            waiting = next;
        }
    }

    /// Gives back the frames that waited for a table that will not come.
    fn waiting_drop(&mut self, index: u32) {
        let Some(reading) = self.readings.get_mut(index as usize) else {
            return;
        };
        let mut waiting = core::mem::replace(&mut reading.waiting, NONE);
        while waiting != NONE {
            let next = self.frames.state(waiting).next;
            self.frames.give(waiting);
            waiting = next;
        }
    }

    fn header_of(&self, reading: &Reading, frame: u32) -> Option<RecordHeader> {
        let at = reading.offset.checked_sub(self.frames.state(frame).offset)? as usize;
        RecordHeader::decode(
            self.frames.range(frame, at..at + HEADER_BYTES),
            self.file_seed,
            reading.offset,
        )
    }

    fn table_of(&self, reading: &Reading, frame: u32) -> &[u8] {
        let parts = parts_count(u64::from(reading.target.bytes()), self.layout.part_bytes) as usize;
        let at = reading.offset.saturating_sub(self.frames.state(frame).offset) as usize + HEADER_BYTES;
        self.frames.range(frame, at..at + parts * 8)
    }

    fn first_is_good(&self, index: u32, frame: u32) -> bool {
        let Some(reading) = self.readings.get(index as usize) else {
            return false;
        };
        let Some(header) = self.header_of(reading, frame) else {
            return false;
        };
        !header.tombstone
            && header.is_readable()
            && header.info.key.words() == reading.key
            && header.payload_bytes == reading.target.bytes()
            && header.geometry_tag == super::format::take(&self.shape.geometry_digest, 0)
            && self.place(reading.segment).holds(reading.offset, &header)
            && parts_checksum(self.table_of(reading, frame)) == header.table_checksum
    }

    /// Verifies the parts of a piece and copies them to their places.
    fn parts_take(&mut self, index: u32, frame: u32) {
        let Some(reading) = self.readings.get(index as usize).copied() else {
            return;
        };
        let Some(header) = self.header_of(&reading, reading.frame_first) else {
            return;
        };
        let chunk = u64::from(self.frames.state(frame).chunk);
        let Some(piece) = self.piece(&reading, chunk) else {
            return;
        };
        let part_bytes = self.layout.part_bytes;
        let payload_bytes = u64::from(reading.target.bytes());
        let mut parts_done = reading.parts_done;
        let mut good = true;
        for part in piece.first..piece.end {
            let at = piece.parts_at + ((part - piece.first) * part_bytes) as usize;
            let bytes = part_bytes.min(payload_bytes - part * part_bytes) as usize;
            let source = self.frames.range(frame, at..at + bytes);
            let sum = super::format::word(self.table_of(&reading, reading.frame_first), part as usize * 8);
            if source.len() != bytes || part_checksum(source, header.record_sequence, part) != sum {
                good = false;
                break;
            }
            reading.target.write(part * part_bytes, source, self.copier);
            if let Some(word) = parts_done.get_mut(part as usize / 64) {
                *word |= 1 << (part % 64);
            }
        }
        if let Some(reading) = self.readings.get_mut(index as usize) {
            reading.parts_done = parts_done;
            if !good {
                reading.verdict = VERDICT_DAMAGED;
            }
        }
    }

    /// Tells how far a block is, and finishes it.
    fn reading_advance(&mut self, index: u32, tell: &mut dyn FnMut(LogEvent)) {
        let queued = self.is_queued(index);
        let part_bytes = self.layout.part_bytes;
        let Some(reading) = self.readings.get_mut(index as usize) else {
            return;
        };
        let payload_bytes = u64::from(reading.target.bytes());
        let parts = parts_count(payload_bytes, part_bytes);
        if reading.verdict > VERDICT_GOOD {
            if reading.outstanding == 0 && !queued {
                self.reading_finish(index);
            }
            return;
        }
        if reading.verdict != VERDICT_GOOD {
            return;
        }
        let before = reading.parts_ready;
        while usize::from(reading.parts_ready) < PARTS_MAX
            && reading.parts_done[usize::from(reading.parts_ready) / 64] >> (reading.parts_ready % 64) & 1 != 0
        {
            reading.parts_ready += 1;
        }
        let ready = u64::from(reading.parts_ready);
        if ready == parts {
            self.reading_finish(index);
        } else if reading.parts_ready != before {
            tell(LogEvent::Progress {
                tag: reading.tag,
                bytes_ready: (ready * part_bytes) as u32,
            });
        }
    }

    /// The outcome is known: to be told by the poll.
    fn reading_finish(&mut self, index: u32) {
        if let Some(reading) = self.readings.get_mut(index as usize) {
            reading.next = NONE;
        }
        if let Some(before) = self.reading_done.push(index) {
            self.readings[before as usize].next = index;
        }
    }

    /// Tells the outcomes.
    pub(super) fn readings_tell(&mut self, tell: &mut dyn FnMut(LogEvent)) {
        while let Some(index) = self.reading_done.front() {
            let Some(reading) = self.readings.get(index as usize).copied() else {
                return;
            };
            self.reading_done.pop(reading.next);
            let result = match reading.verdict {
                VERDICT_GOOD => self
                    .header_of(&reading, reading.frame_first)
                    .map_or(Err(ReadFault::Damaged), |header| Ok(header.info)),
                VERDICT_IO => Err(ReadFault::Io(reading.os_error)),
                _ => Err(ReadFault::Damaged),
            };
            self.reading_free(index);
            tell(LogEvent::Read {
                tag: reading.tag,
                result,
            });
        }
    }

    fn reading_free(&mut self, index: u32) {
        let free = self.reading_free;
        let Some(reading) = self.readings.get_mut(index as usize) else {
            return;
        };
        let (frame, segment, counted) = (reading.frame_first, reading.segment, reading.counted);
        *reading = Reading {
            next: free,
            ..Reading::zeroed()
        };
        self.reading_free = index;
        if frame != NONE {
            self.frames.give(frame);
        }
        if let Some(segment) = self.segments.get_mut(segment as usize)
            && counted != 0
        {
            segment.reads = segment.reads.saturating_sub(1);
        }
    }

    /// Tells of every block being read as failed; what comes back later finds nobody.
    pub(super) fn readings_fail(&mut self, tell: &mut dyn FnMut(LogEvent)) {
        self.readings_tell(tell);
        self.reading_queue = Queue::EMPTY;
        self.reading_done = Queue::EMPTY;
        for index in 0..self.readings.len() {
            // Every block that was not told yet counts in its segment.
            let reading = self.readings[index];
            if reading.counted != 0 {
                self.readings[index] = Reading::zeroed();
                tell(LogEvent::Read {
                    tag: reading.tag,
                    result: Err(ReadFault::Offline),
                });
            }
        }
    }
}
