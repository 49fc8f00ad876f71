//! Giving up a segment: its table is read and verified, its records are stepped through, and it is free.
//!
//! A segment without a table (left unsealed by a crash, or with a footer that can't be read) is scanned, a frame at a
//! time, and its table put together from the headers.

use core::ops::Range;

use super::format::{FORMAT_VERSION, Footer, PAGE, SegmentHeader, table_checksum, table_pages_bytes};
use super::lend::{Stage, Use};
use super::record::{ENTRY_BYTES, ENTRY_WORDS, TableEntry};
use super::scan::Scan;
use super::state::{FLAG_BEYOND, FLAG_SCAN, SegmentUse};
use super::{Log, VictimStep, format};

/// The owner of a frame that is read for the victim.
pub(super) const VICTIM_OWNER: u32 = u32::MAX - 2;

#[derive(Clone, Copy)]
enum Stride {
    /// So many bytes of table and footer were read.
    Table(u64),
    /// Looking for headers.
    Scan(Scan),
    /// The table is there.
    Ready,
    /// It can't be had.
    Lost,
}

/// The segment that is given up.
pub(super) struct Victim {
    segment: Option<u32>,
    stride: Stride,
    /// Grows with every victim, to tell frames of an earlier one.
    epoch: u32,
    /// A frame is under way.
    waits: bool,
    /// Entries of the table, and the next one.
    count: u64,
    next: u64,
}

impl Victim {
    pub(super) fn new() -> Self {
        Self {
            segment: None,
            stride: Stride::Lost,
            epoch: 0,
            waits: false,
            count: 0,
            next: 0,
        }
    }
}

impl Log<'_> {
    /// Begins to give up the oldest sealed segment; false if there is none, or one is being given up.
    pub fn victim_begin(&mut self) -> bool {
        if self.victim.segment.is_some() || self.health.offline {
            return false;
        }
        // What is still on its way to the file can't be read from it.
        let written = self.sealed.front().and_then(|index| self.segments.get(index as usize));
        if written.is_none_or(|segment| segment.barrier > self.writer.written_through) {
            return false;
        }
        let Some(index) = self.sealed.pop() else {
            return false;
        };
        let place = self.place(index);
        let Some(segment) = self.segments.get_mut(index as usize) else {
            return false;
        };
        segment.set_state(SegmentUse::Victim);
        let known = !segment.has(FLAG_SCAN) && u64::from(segment.count) <= self.layout.segment_records_max;
        self.victim = Victim {
            segment: Some(index),
            stride: if known {
                Stride::Table(0)
            } else {
                Stride::Scan(Scan::new(place))
            },
            epoch: self.victim.epoch.wrapping_add(1),
            waits: false,
            count: if known { u64::from(segment.count) } else { 0 },
            next: 0,
        };
        self.victim_step();
        self.submit_queued();
        true
    }

    /// The next record of the segment that is given up. The order is that in which they were appended.
    pub fn victim_next(&mut self) -> VictimStep {
        if self.victim.segment.is_none() {
            return VictimStep::Done;
        }
        match self.victim.stride {
            _ if self.health.offline => VictimStep::Lost,
            Stride::Lost => VictimStep::Lost,
            Stride::Table(_) | Stride::Scan(_) => VictimStep::Pending,
            Stride::Ready => self.victim_entry(),
        }
    }

    /// The record that was told last is the next one again, for who can't deal with it yet.
    pub fn victim_again(&mut self) {
        self.victim.next = self.victim.next.saturating_sub(1);
    }

    /// The offsets of the segment that is given up, for those who forget what points into it.
    pub fn victim_range(&self) -> Range<u64> {
        self.victim.segment.map_or(0..0, |index| {
            let start = self.segment_start(index);
            start..start + self.layout.segment_bytes
        })
    }

    /// Says in the header of the segment that is given up that it is not needed, so that opening passes it over, and
    /// all older ones, once that is durable.
    /// False if there is no frame for it now: poll and ask again. What was moved must be durable before.
    pub fn victim_retire(&mut self) -> bool {
        let Some(segment) = self.victim.segment else {
            return true;
        };
        if self.health.offline {
            return true;
        }
        let sequence = self
            .segments
            .get(segment as usize)
            .map_or(0, |segment| segment.sequence);
        self.push();
        if self.frames_writable() == 0 {
            return false;
        }
        let Some(frame) = self.frame_new(self.segment_start(segment)) else {
            return false;
        };
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            index: segment,
            sequence,
            record_sequence: self.writer.record_sequence,
            shape: self.shape,
            bytes_written: self.writer.bytes_before + self.counts.bytes_written,
            unix_seconds: self.identity.unix_seconds,
            needed_from: sequence + 1,
            durable_through: self.writer.durable_through.min(sequence.saturating_sub(1)),
            under_way_bytes: self.under_way_bytes_max(),
        };
        let mut page = [0; PAGE];
        header.encode(&mut page);
        format::put(self.frames.bytes_mut(frame), 0, &page);
        let state = self.frames.state_mut(frame);
        state.bytes = PAGE as u32;
        // No part of the segment that is being written, whatever becomes of it.
        (state.owner, state.chunk) = (segment, 0);
        self.counts.bytes_written += PAGE as u64;
        self.enqueue(frame);
        true
    }

    /// Ends giving up: the segment is free, and written again as soon as no read of it is under way and everything
    /// appended so far is durable. Nothing points into it any more.
    pub fn victim_end(&mut self) {
        let Some(index) = self.victim.segment.take() else {
            return;
        };
        self.victim.epoch = self.victim.epoch.wrapping_add(1);
        self.victim.waits = false;
        let ticket = self.writer.ticket;
        let Some(segment) = self.segments.get_mut(index as usize) else {
            return;
        };
        segment.barrier = ticket;
        segment.set_state(SegmentUse::Freed);
        if !segment.has(FLAG_BEYOND) {
            self.free.push(index);
        }
    }

    fn victim_entry(&mut self) -> VictimStep {
        let Some(index) = self.victim.segment else {
            return VictimStep::Done;
        };
        let place = self.place(index);
        while self.victim.next < self.victim.count {
            let at = self.victim.next as usize * ENTRY_WORDS;
            self.victim.next += 1;
            let words = self.victim_table.get(at..at + ENTRY_WORDS).unwrap_or_default();
            // The table was verified; an entry that does not fit is of no use to anybody.
            if let Some(entry) = TableEntry::decode(bytemuck::cast_slice(words), &place) {
                return VictimStep::Record {
                    offset: entry.offset,
                    payload_bytes: entry.header.payload_bytes,
                    info: entry.header.info,
                    tombstone: entry.header.tombstone,
                };
            }
        }
        VictimStep::Done
    }

    /// Requests the next piece of the table.
    pub(super) fn victim_step(&mut self) {
        let Some(index) = self.victim.segment else {
            return;
        };
        if self.victim.waits {
            return;
        }
        let end = self.segment_start(index) + self.layout.segment_bytes;
        let (from, to) = match self.victim.stride {
            Stride::Table(done) => (end - PAGE as u64 - table_pages_bytes(self.victim.count) + done, end),
            Stride::Scan(scan) => match scan.wants() {
                Some(position) => (position - position % self.alignment_bytes, end),
                None => {
                    self.victim.stride = Stride::Ready;
                    return;
                }
            },
            Stride::Ready | Stride::Lost => return,
        };
        let bytes = to
            .min(self.device_end())
            .saturating_sub(from)
            .min(self.layout.frame_bytes);
        if bytes == 0 {
            self.victim_failed();
            return;
        }
        if !self.can_read() {
            return;
        }
        let Some(frame) = self.frames.take(Use::Read) else {
            return;
        };
        let state = self.frames.state_mut(frame);
        state.offset = from;
        state.bytes = bytes as u32;
        state.owner = VICTIM_OWNER;
        state.chunk = self.victim.epoch;
        self.victim.waits = true;
        self.enqueue(frame);
    }

    /// A piece of the victim's table is there, or can't be read.
    pub(super) fn victim_arrived(&mut self, frame: u32) {
        let state = *self.frames.state(frame);
        if state.chunk == self.victim.epoch
            && let Some(index) = self.victim.segment
        {
            self.victim.waits = false;
            match (self.frames.stage(frame), self.victim.stride) {
                (Stage::Done, Stride::Table(done)) => self.table_take(index, frame, done),
                (Stage::Done, Stride::Scan(scan)) => self.scan_take(frame, scan),
                _ => self.victim_failed(),
            }
        }
        self.frames.give(frame);
        self.victim_step();
    }

    /// What was tried did not work: a scan after the table, nothing after a scan.
    fn victim_failed(&mut self) {
        let Some(index) = self.victim.segment else {
            return;
        };
        self.victim.count = 0;
        self.victim.stride = match self.victim.stride {
            Stride::Table(_) => Stride::Scan(Scan::new(self.place(index))),
            Stride::Scan(scan) if scan.wants().is_some_and(|wanted| wanted >= self.device_end()) => Stride::Ready,
            _ => Stride::Lost,
        };
    }

    fn table_take(&mut self, index: u32, frame: u32, done: u64) {
        let pages = table_pages_bytes(self.victim.count);
        let end = self.segment_start(index) + self.layout.segment_bytes;
        let bytes = self.frames.state(frame).bytes as usize;
        let source = self.frames.range(frame, 0..bytes);
        let table: &mut [u8] = bytemuck::cast_slice_mut(self.victim_table);
        let room = (pages.saturating_sub(done) as usize).min(bytes);
        format::put(table, done as usize, source.get(..room).unwrap_or_default());
        if done + (bytes as u64) < pages + PAGE as u64 {
            self.victim.stride = Stride::Table(done + bytes as u64);
            return;
        }
        let footer = Footer::decode(source.get(bytes.saturating_sub(PAGE)..).unwrap_or_default()).good();
        let used = table
            .get(..self.victim.count as usize * ENTRY_BYTES)
            .unwrap_or_default();
        let sequence = self.segments.get(index as usize).map_or(0, |segment| segment.sequence);
        let good = footer.is_some_and(|footer| {
            footer.belongs(u64::from(index), end)
                && footer.sequence == sequence
                && u64::from(footer.count) == self.victim.count
                && table_checksum(used) == footer.table_checksum
        });
        if good {
            self.victim.stride = Stride::Ready;
        } else {
            self.victim_failed();
        }
    }

    fn scan_take(&mut self, frame: u32, mut scan: Scan) {
        let state = *self.frames.state(frame);
        let place_seed = self.file_seed;
        let bytes = self.frames.range(frame, 0..state.bytes as usize);
        let wanted = scan.wants();
        while let Some(entry) = scan.next(bytes, state.offset) {
            let at = self.victim.count as usize * ENTRY_WORDS;
            let Some(words) = self.victim_table.get_mut(at..at + ENTRY_WORDS) else {
                self.victim.stride = Stride::Lost;
                return;
            };
            let header = entry.header.encode(place_seed, entry.offset);
            TableEntry::encode(entry.offset, &header, bytemuck::cast_slice_mut(words));
            self.victim.count += 1;
        }
        // The device ends within a header.
        if scan.wants() == wanted {
            scan.end();
        }
        self.victim.stride = Stride::Scan(scan);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
