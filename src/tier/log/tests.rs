//! A device in memory that completes out of order, moves less than asked, fails, and crashes; and what every test of
//! the log needs.
//!
//! # Soundness
//! - **I1** A buffer is the device's from submit to report: that is the contract of `Device::submit`.
//! - **I2** Targets live until the outcome is told.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::tier::device::{Io, IoDone, IoKind};

/// Splitmix64: small, seeded, good enough to shuffle.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A write or a sync that was done.
#[derive(Clone)]
pub(super) struct Done {
    /// How much was done when it was submitted.
    submitted: usize,
    /// `None` is a sync.
    write: Option<(u64, Vec<u8>)>,
}

/// A request as it lies in the device.
struct Waiting {
    io: Io,
    submitted: usize,
}

// SAFETY: I1.
unsafe impl Send for Waiting {}

pub(super) struct State {
    pub(super) image: Vec<u8>,
    waiting: Vec<Waiting>,
    pub(super) journal: Vec<Done>,
    pub(super) random: Random,
    pub(super) requests: u64,
    pub(super) written_bytes: u64,
    pub(super) reads: u64,
    pub(super) read_bytes: u64,
    /// Requests that fail, by their number.
    pub(super) fails: fn(u64, &Io) -> bool,
    pub(super) fail_at: u64,
    /// What that request was.
    pub(super) failed_kind: Option<IoKind>,
    /// Of a hundred requests, so many move less than they should.
    pub(super) short_percent: u64,
    /// Reads are not reported.
    pub(super) holds_reads: bool,
    /// Nothing is ever reported.
    pub(super) stalled: bool,
    pub(super) ordered: bool,
    pub(super) keeps_journal: bool,
}

pub(super) struct Memory {
    pub(super) state: Mutex<State>,
    alignment: u64,
    depth: u32,
}

impl Memory {
    pub(super) fn new(image: Vec<u8>, seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                image,
                waiting: Vec::new(),
                journal: Vec::new(),
                random: Random(seed),
                requests: 0,
                written_bytes: 0,
                reads: 0,
                read_bytes: 0,
                fails: |_, _| false,
                fail_at: 0,
                failed_kind: None,
                short_percent: 0,
                holds_reads: false,
                stalled: false,
                ordered: false,
                keeps_journal: false,
            }),
            alignment: 512,
            depth: 8,
        }
    }

    pub(super) fn with_alignment(mut self, alignment: u64) -> Self {
        self.alignment = alignment;
        self
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Device for Memory {
    fn bytes(&self) -> u64 {
        self.lock().image.len() as u64
    }

    fn alignment_bytes(&self) -> u64 {
        self.alignment
    }

    fn depth(&self) -> u32 {
        self.depth
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= self.depth as usize {
            return false;
        }
        assert!(io.token < self.depth, "a token beyond the depth");
        assert!(
            state.waiting.iter().all(|waiting| waiting.io.token != io.token),
            "a token used twice"
        );
        if io.kind != IoKind::Sync {
            let aligned = |value: u64| value.is_multiple_of(self.alignment);
            assert!(
                aligned(io.offset) && aligned(u64::from(io.bytes)) && io.bytes != 0,
                "{io:?}"
            );
            assert!(aligned(io.buffer as u64), "{io:?}");
        }
        let submitted = state.journal.len();
        state.waiting.push(Waiting { io: *io, submitted });
        true
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.stalled {
            return 0;
        }
        let mut count = 0;
        while count < done.len() && !state.waiting.is_empty() {
            if !state.ordered && state.random.chance(25) {
                break;
            }
            let place = match state.ordered {
                true => 0,
                false => state.random.below(state.waiting.len() as u64) as usize,
            };
            if state.holds_reads && state.waiting[place].io.kind == IoKind::Read {
                if state.waiting.iter().all(|waiting| waiting.io.kind == IoKind::Read) {
                    break;
                }
                state.waiting.rotate_left(1);
                continue;
            }
            let Waiting { io, submitted } = state.waiting.remove(place);
            state.requests += 1;
            if state.requests == state.fail_at {
                state.failed_kind = Some(io.kind);
            }
            let fails = (state.fails)(state.requests, &io) || state.requests == state.fail_at;
            let result = if fails {
                Err(5)
            } else {
                let left = (state.image.len() as u64)
                    .saturating_sub(io.offset)
                    .min(u64::from(io.bytes)) as usize;
                let short = state.random.chance(state.short_percent);
                // Never so little that nothing counts, which is a failure.
                let least = left.min(self.alignment as usize);
                let bytes = match short {
                    true => least + state.random.below((left - least) as u64 + 1) as usize,
                    false => left,
                };
                let at = (io.offset as usize).min(state.image.len());
                match io.kind {
                    IoKind::Read => {
                        // SAFETY: I1.
                        let buffer = unsafe { core::slice::from_raw_parts_mut(io.buffer, bytes) };
                        buffer.copy_from_slice(&state.image[at..at + bytes]);
                        state.reads += 1;
                        state.read_bytes += bytes as u64;
                    }
                    IoKind::Write => {
                        // SAFETY: I1.
                        let buffer = unsafe { core::slice::from_raw_parts(io.buffer, bytes) };
                        state.image[at..at + bytes].copy_from_slice(buffer);
                        state.written_bytes += bytes as u64;
                        if state.keeps_journal {
                            let write = Some((io.offset, buffer.to_vec()));
                            state.journal.push(Done { submitted, write });
                        }
                    }
                    IoKind::Sync => {
                        if state.keeps_journal {
                            state.journal.push(Done { submitted, write: None });
                        }
                    }
                }
                Ok(bytes as u32)
            };
            done[count] = IoDone {
                token: io.token,
                result,
            };
            count += 1;
        }
        count
    }

    fn wait(&self, _timeout_ns: u64) {}
}

/// What a crash leaves when of what was not durable exactly the writes are there whose place `keeps`.
pub(super) fn crashed_keeping(base: &[u8], journal: &[Done], done: usize, keeps: impl Fn(u64) -> bool) -> Vec<u8> {
    let mut image = base.to_vec();
    let syncs = journal[..done].iter().filter(|entry| entry.write.is_none());
    let covered = syncs.map(|sync| sync.submitted).max().unwrap_or(0);
    for (number, entry) in journal[..done].iter().enumerate() {
        if let Some((offset, bytes)) = &entry.write
            && (number < covered || keeps(*offset))
        {
            image[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
    }
    image
}

/// What a crash leaves of `base` when `done` of the journal were done: everything durable, and of the rest any of it,
/// in sectors.
pub(super) fn crashed(base: &[u8], journal: &[Done], done: usize, random: &mut Random) -> Vec<u8> {
    let mut image = base.to_vec();
    let covered = journal[..done]
        .iter()
        .filter(|entry| entry.write.is_none())
        .map(|sync| sync.submitted)
        .max()
        .unwrap_or(0);
    for (number, entry) in journal.iter().enumerate() {
        let Some((offset, bytes)) = &entry.write else {
            continue;
        };
        let at = *offset as usize;
        if number < covered {
            image[at..at + bytes.len()].copy_from_slice(bytes);
        } else if entry.submitted <= done {
            // Done but not durable, or under way.
            let kept = random.below(3);
            for (sector, bytes) in bytes.chunks(512).enumerate() {
                if kept == 0 || kept == 1 && random.chance(50) {
                    let at = at + sector * 512;
                    image[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
    }
    image
}

/// A small log: parts of 1 KiB, frames of 8 KiB.
pub(super) fn layout(segments_count: u64) -> LogLayout {
    LogLayout {
        block_bytes: 20_000,
        segment_bytes: 64 << 10,
        segments_count,
        part_bytes: 1024,
        frame_bytes: 8192,
        frame_stride_bytes: 8192 + 8192,
        frames_count: 10,
        segment_records_max: 64,
        pending_count: 16,
        reads_count: 6,
        blocks_count: 1000,
        transfer_bytes: 20480,
    }
}

pub(super) fn identity() -> Identity {
    Identity {
        tier: Tier::Nvme,
        file_id: *b"0123456789abcdef",
        geometry_digest: [7; 32],
        unix_seconds: 1_000,
    }
}

/// Room for frames, aligned to pages.
pub(super) struct Room {
    words: Vec<u64>,
    frames: Vec<u8>,
}

impl Room {
    pub(super) fn new(layout: &LogLayout) -> Self {
        Self {
            words: vec![0; layout.words_count() as usize],
            frames: vec![0; (layout.frames_count * layout.frame_stride_bytes) as usize + 4096],
        }
    }

    pub(super) fn log<'m>(&'m mut self, device: &'m Memory, layout: LogLayout, identity: Identity) -> Log<'m> {
        self.words.fill(0);
        let skip = self.frames.as_ptr().align_offset(4096);
        let memory = LogMemory {
            words: &mut self.words,
            frames: self.frames[skip..].as_mut_ptr(),
        };
        Log::new(device, layout, identity, 1000, memory)
    }
}

/// The payload of a version of a key: every byte depends on both.
pub(super) fn payload(key: u64, version: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(key << 32 ^ version);
    (0..bytes).map(|_| random.next() as u8).collect()
}

pub(super) fn key(number: u64) -> Key {
    Key::from_words([number, !number, number << 7, 42])
}

pub(super) fn info(number: u64, bytes: usize) -> RecordInfo {
    RecordInfo {
        key: key(number),
        block_bytes: bytes as u32,
        geometry_id: 1,
        priority: 50,
        protected: number.is_multiple_of(2),
        cost: 3,
        depth: number as u16,
        tokens: 16,
        conversation: 99,
        expiry_left_s: 5,
        namespace: number << 40,
        codec: 0,
        loss: 0,
    }
}

/// Polls until nothing happens and nothing is under way any more; what was told.
pub(super) fn settle(log: &mut Log<'_>) -> Vec<LogEvent> {
    let mut events = Vec::new();
    let mut quiet = 0;
    for _ in 0..100_000 {
        let work = log.poll(0, &mut |event| events.push(event));
        quiet = if work == 0 { quiet + 1 } else { 0 };
        if quiet > 50 {
            return events;
        }
    }
    panic!("the log does not come to rest");
}

/// Flushes and waits; whether it succeeded.
pub(super) fn flush(log: &mut Log<'_>, events: &mut Vec<LogEvent>) -> bool {
    let number = log.flush_begin();
    for _ in 0..100_000 {
        log.poll(0, &mut |event| events.push(event));
        if let Some(done) = log.flushed(number) {
            return done;
        }
    }
    panic!("a flush does not end");
}

/// Reads a block.
pub(super) fn read(
    log: &mut Log<'_>,
    number: u64,
    offset: u64,
    bytes: u32,
) -> Result<(RecordInfo, Vec<u8>), ReadFault> {
    read_telling(log, number, offset, bytes, &mut |_| {})
}

/// Reads a block, and tells of everything else.
pub(super) fn read_telling(
    log: &mut Log<'_>,
    number: u64,
    offset: u64,
    bytes: u32,
    tell: &mut dyn FnMut(LogEvent),
) -> Result<(RecordInfo, Vec<u8>), ReadFault> {
    let mut target = vec![0; bytes as usize];
    let request = ReadRequest {
        offset,
        payload_bytes: bytes,
        key: key(number),
        target: target.as_mut_ptr(),
        tag: 77,
    };
    // SAFETY: I2, below.
    unsafe { log.read(&request) }.expect("there is room for one");
    let mut result = None;
    let mut ready = 0;
    for _ in 0..100_000 {
        log.poll(0, &mut |event| match event {
            LogEvent::Read { tag: 77, result: told } => result = Some(told),
            LogEvent::Progress { tag: 77, bytes_ready } => {
                assert!(bytes_ready > ready && bytes_ready < bytes);
                ready = bytes_ready;
            }
            other => tell(other),
        });
        if let Some(result) = result {
            return result.map(|info| (info, target));
        }
    }
    panic!("a read does not end");
}

/// Where each key's last record is, after opening.
pub(super) fn open(log: &mut Log<'_>) -> Result<(OpenReport, HashMap<Key, Recovered>), OpenRefusal> {
    let mut found = HashMap::new();
    let report = log.open(false, false, &mut |record| {
        match record.tombstone {
            true => found.remove(&record.info.key),
            false => found.insert(record.info.key, *record),
        };
    })?;
    Ok((report, found))
}

pub(super) fn blank(layout: &LogLayout) -> Vec<u8> {
    vec![0; layout.file_bytes() as usize]
}

#[test]
fn what_was_appended_is_read_and_recovered() {
    for alignment in [1, 512, 4096] {
        let layout = layout(8);
        let device = Memory::new(blank(&layout), 1).with_alignment(alignment);
        let mut room = Room::new(&layout);
        let mut places = HashMap::new();
        let sizes = [0, 1, 64, 1000, 1024, 1025, 5000, 8192, 16_384, 20_000];
        {
            let mut log = room.log(&device, layout, identity());
            let (report, found) = open(&mut log).unwrap();
            assert!(report.created && found.is_empty());
            for (number, bytes) in (0..).zip(sizes) {
                log.append(&info(number, bytes), &payload(number, 0, bytes), number, false)
                    .unwrap();
                settle(&mut log);
            }
            let mut events = Vec::new();
            assert!(flush(&mut log, &mut events));
            assert!(log.is_idle());
            // What was not told while settling is told by now.
            log.append(&info(100, 3), b"abc", 100, false).unwrap();
            assert!(flush(&mut log, &mut events));
            let Some(LogEvent::Written { tag: 100, offset, .. }) = events.last() else {
                panic!("{events:?}");
            };
            assert_eq!(read(&mut log, 100, *offset, 3).unwrap().1, b"abc");
            // Another key's block is there, another length, another place.
            assert_eq!(read(&mut log, 101, *offset, 3), Err(ReadFault::Damaged));
            assert_eq!(read(&mut log, 100, *offset, 4), Err(ReadFault::Damaged));
            assert_eq!(read(&mut log, 100, *offset + 64, 3), Err(ReadFault::Damaged));
            assert_eq!(read(&mut log, 100, u64::MAX - 63, 3), Err(ReadFault::Damaged));
        }
        let mut log = room.log(&device, layout, identity());
        let (report, found) = open(&mut log).unwrap();
        assert_eq!(
            (report.created, report.damaged, report.segments_used),
            (false, 0, 1 + u64::from(report.segments_used > 1))
        );
        for (number, bytes) in (0..).zip(sizes) {
            let place = found[&key(number)];
            places.insert(number, place.offset);
            assert_eq!(place.payload_bytes as usize, bytes);
            assert_eq!(place.info, info(number, bytes));
            let (told, contents) = read(&mut log, number, place.offset, place.payload_bytes).unwrap();
            assert_eq!(told, info(number, bytes));
            assert!(contents == payload(number, 0, bytes));
        }
        assert_eq!(places.len(), sizes.len());
    }
}
