//! One log over one device: blocks are appended to segments, segments are written in order and given up whole.
//!
//! The format is in `docs/format.md`. A log is single-threaded: whoever has the tier's turn calls it. It knows offsets,
//! records and their checksums; which block is where, who wants it and who has to go is the engine's business.

mod check;
mod format;
mod identify;
mod lend;
mod open;
mod poll;
mod read;
mod record;
mod recover;
mod scan;
mod state;
mod sync;
mod verify;
mod victim;
mod write;

#[cfg(all(test, not(loom)))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

pub use check::{CHECK_BUFFER_BYTES_MIN, CheckItem, CheckReport, FileIdentity, check};
pub use format::FORMAT_VERSION;

use crate::budget::LogLayout;
use crate::copy::Copier;
use crate::key::Key;
use crate::tier::device::Device;
use crate::units::Tier;
use format::Shape;
use lend::{Frames, NONE};
use state::{Parts, Pending, Queue, Reading, Ring, Segment};

/// What makes a file this engine's: everything in it must agree.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Which tier it is.
    pub tier: Tier,
    /// Random bytes for a file that is new; a file that exists keeps its own.
    pub file_id: [u8; 16],
    /// Digest of the configuration's geometries.
    pub geometry_digest: [u8; 32],
    /// Wall time in seconds, for people.
    pub unix_seconds: u64,
}

/// What a record says about its block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordInfo {
    /// The block's key.
    pub key: Key,
    /// Bytes of the block as its caller put it.
    pub block_bytes: u32,
    /// The geometry's number; 0 is plain bytes.
    pub geometry_id: u8,
    /// Retention priority.
    pub priority: u8,
    /// Whether it is protected.
    pub protected: bool,
    /// Code of the cost of computing it again.
    pub cost: u8,
    /// Place in its chain.
    pub depth: u16,
    /// Tokens in the block.
    pub tokens: u16,
    /// The conversation, folded.
    pub conversation: u32,
    /// Seconds that its retention still lasts; 0 is no end.
    pub expiry_left_s: u32,
    /// The namespace.
    pub namespace: u64,
    /// Code of the coarsest codec of the payload, which is the code of a block then; 0 is the block as it was put.
    pub codec: u8,
    /// Code of the coarsest codec that the block had gone through before.
    pub loss: u8,
}

/// A record found when the log was opened.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    /// What it says. Of a tombstone only the key counts.
    pub info: RecordInfo,
    /// Where it is.
    pub offset: u64,
    /// Bytes stored.
    pub payload_bytes: u32,
    /// Whether it says that the key was removed.
    pub tombstone: bool,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The file was new.
    pub created: bool,
    /// Segments that hold something.
    pub segments_used: u64,
    /// Of those, not sealed and so read record by record.
    pub segments_scanned: u64,
    /// Blocks shown.
    pub blocks: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Superblocks, segment headers, tables and records that did not verify.
    pub damaged: u64,
    /// Records that were passed over because they may have been under way when the process ended, and did not get into
    /// the file whole: no damage, and never refused.
    pub unfinished: u64,
}

/// Why a log can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenRefusal {
    /// It holds a tier with another value of this field.
    Mismatch {
        /// `version`, `geometry`, `block_bytes`, `segment_bytes`, `segments_count`, `part_bytes` or `tier`.
        field: &'static str,
        /// What the file holds; of the geometry digest the first eight bytes, big-endian.
        holds: u64,
        /// What was asked for.
        asked: u64,
    },
    /// It holds something, and no tier.
    Foreign,
    /// It is damaged, and that was to be refused.
    Damaged {
        /// How many structures did not verify.
        count: u64,
    },
    /// The device failed.
    Io {
        /// The operating system's error number.
        os_error: i32,
    },
}

/// Why something can't be begun now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No buffer or table place is free: poll and try again.
    Full,
    /// No segment is free: one has to be given up first.
    NoSegment,
    /// It fits into no segment.
    TooLarge,
    /// The log is offline.
    Offline,
}

/// Why a block could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// The device failed, with the operating system's error number, more often than it is asked again.
    Io(i32),
    /// Header, part table or a part did not verify, or the record is another one than was asked for.
    Damaged,
    /// The log went offline.
    Offline,
}

/// A block to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// The record's offset.
    pub offset: u64,
    /// Bytes stored.
    pub payload_bytes: u32,
    /// The key that it must have.
    pub key: Key,
    /// Where the payload goes.
    pub target: *mut u8,
    /// Comes back with the outcome.
    pub tag: u64,
}

/// What a poll tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LogEvent {
    /// A record is in the file (not yet durable); told in the order of the records.
    Written {
        /// As given to `append`.
        tag: u64,
        /// Where it is.
        offset: u64,
        /// Bytes stored.
        payload_bytes: u32,
    },
    /// A record could not be written.
    WriteFailed {
        /// As given to `append`.
        tag: u64,
    },
    /// The first bytes of a block that is being read are verified and in their place.
    Progress {
        /// As given to `read`.
        tag: u64,
        /// How many, from the first.
        bytes_ready: u32,
    },
    /// A block is read, or can't be.
    Read {
        /// As given to `read`.
        tag: u64,
        /// What its record says.
        result: Result<RecordInfo, ReadFault>,
    },
    /// The device failed or stalled too often; everything under way was told as failed.
    Offline,
}

/// A step through the records of the segment that is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VictimStep {
    /// Its table is still being read: poll and ask again.
    Pending,
    /// The next record.
    Record {
        /// Where it is.
        offset: u64,
        /// Bytes stored.
        payload_bytes: u32,
        /// What it says.
        info: RecordInfo,
        /// Whether it is a tombstone, which needs no further life.
        tombstone: bool,
    },
    /// There are no more.
    Done,
    /// Its table can't be read: its records are unknown, whatever points into it is to be forgotten.
    Lost,
}

/// The memory of a log, out of the plan.
pub struct LogMemory<'m> {
    /// [`LogLayout::words_count`] words, zero.
    pub words: &'m mut [u64],
    /// As many frames as the layout has, of [`LogLayout::frame_stride_bytes`] bytes each, page-aligned.
    pub frames: *mut u8,
}

/// How much was done, since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Bytes handed to the device to be written, headers, tables and padding included.
    pub bytes_written: u64,
    /// Requests that were repeated.
    pub io_retries: u64,
    /// Requests that failed for good.
    pub io_errors: u64,
}

/// A log.
pub struct Log<'m> {
    layout: LogLayout,
    identity: Identity,
    /// The measures of the file; its id is known once it was opened.
    shape: Shape,
    file_seed: u64,
    alignment_bytes: u64,
    frames: Frames<'m>,
    /// Frames to be submitted.
    submits: Queue,
    segments: &'m mut [Segment],
    sealed: Ring<'m>,
    free: Ring<'m>,
    readings: &'m mut [Reading],
    reading_free: u32,
    /// Blocks of which not every piece was requested.
    reading_queue: Queue,
    /// Blocks whose outcome is known and not told.
    reading_done: Queue,
    pending: &'m mut [Pending],
    pending_first: usize,
    pending_count: usize,
    table: &'m mut [u64],
    victim_table: &'m mut [u64],
    writer: write::Writer,
    syncs: sync::Syncs,
    victim: victim::Victim,
    health: poll::Health,
    counts: LogCounts,
    copier: Copier,
}

impl<'m> Log<'m> {
    /// A log over `device`; nothing is read or written yet. `frames` of the memory was registered with the device, and
    /// is the log's alone for as long as the device has requests under way.
    ///
    /// # Panics
    /// When the memory has fewer words than the layout says.
    pub fn new(
        device: &'m dyn Device,
        layout: LogLayout,
        identity: Identity,
        stall_ms: u64,
        memory: LogMemory<'m>,
    ) -> Self {
        let parts = Parts::cut(&layout, memory.words);
        let mut log = Self {
            shape: Shape {
                file_id: identity.file_id,
                geometry_digest: identity.geometry_digest,
                block_bytes: layout.block_bytes,
                segment_bytes: layout.segment_bytes,
                segments_count: layout.segments_count,
                part_bytes: layout.part_bytes,
            },
            file_seed: record::file_seed(&identity.file_id),
            alignment_bytes: device.alignment_bytes().clamp(1, format::PAGE as u64),
            frames: Frames::new(memory.frames, layout.frame_stride_bytes, parts.frames, device),
            submits: Queue::EMPTY,
            segments: parts.segments,
            sealed: Ring::new(parts.sealed),
            free: Ring::new(parts.free),
            readings: parts.reads,
            reading_free: NONE,
            reading_queue: Queue::EMPTY,
            reading_done: Queue::EMPTY,
            pending: parts.pending,
            pending_first: 0,
            pending_count: 0,
            table: parts.table,
            victim_table: parts.victim_table,
            writer: write::Writer::new(),
            syncs: sync::Syncs::new(),
            victim: victim::Victim::new(),
            health: poll::Health::new(stall_ms.saturating_mul(1_000_000)),
            counts: LogCounts::default(),
            copier: Copier::detect(),
            layout,
            identity,
        };
        log.readings_link();
        log
    }

    /// The device: a waiter's way to wait until there may be something to poll.
    pub fn device(&self) -> &'m dyn Device {
        self.frames.device()
    }

    /// Whether nothing is under way or staged. While the device keeps a request for ever, this stays false, also of a
    /// log that is offline: the frames of such a request are not the caller's to reuse.
    pub fn is_idle(&self) -> bool {
        let busy = self.frames.under_way() != 0
            || self.submits.front().is_some()
            || self.reading_queue.front().is_some()
            || self.reading_done.front().is_some();
        let owes = self.pending_count != 0 || self.writer.owes() || self.syncs.owes();
        !busy && (self.health.offline || !owes)
    }

    /// Whether it went offline.
    pub fn is_offline(&self) -> bool {
        self.health.offline
    }

    /// Segments that hold nothing and can be written, now or once their last readers are done.
    pub fn segments_free(&self) -> u64 {
        self.free.len() as u64
    }

    /// Counts since open.
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// The layout that it was made with.
    pub fn layout(&self) -> &LogLayout {
        &self.layout
    }

    /// Where a segment begins in the file.
    fn segment_start(&self, index: u32) -> u64 {
        crate::budget::SUPERBLOCK_AREA_BYTES + u64::from(index) * self.layout.segment_bytes
    }

    /// Which segment an offset is in.
    fn segment_of(&self, offset: u64) -> Option<u32> {
        let index = offset.checked_sub(crate::budget::SUPERBLOCK_AREA_BYTES)? / self.layout.segment_bytes.max(1);
        (index < self.layout.segments_count).then_some(index as u32)
    }

    /// Where a segment's records may be, and what they must say.
    fn place(&self, index: u32) -> record::SegmentPlace {
        let start = self.segment_start(index);
        record::SegmentPlace {
            start,
            end: start + self.layout.segment_bytes,
            sequence: self.segments.get(index as usize).map_or(0, |segment| segment.sequence),
            file_seed: self.file_seed,
            part_bytes: self.layout.part_bytes,
            block_bytes: self.layout.block_bytes,
        }
    }
}
