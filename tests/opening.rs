//! Opening reads metadata, and what may have been under way when the process ended: a file of 100 GiB whose segments
//! are full is opened by reading a thousandth of it.
//!
//! The file is sparse and lies in a map of the pages that are not zero. What an engine wrote into one segment is shown
//! in all of them, with headers and tables made to fit their places, as many records as a real segment has.

#[path = "common/contents.rs"]
#[allow(dead_code)]
mod contents;
#[path = "common/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use contents::mix;
use kvcache::config::FileTier;
use kvcache::engine::{Clock, Devices};
use kvcache::metrics::Counter;
use kvcache::tier::device::{Device, Io, IoDone, IoKind};
use kvcache::units::Tier;
use kvcache::{Config, Engine, Key, Plan};
use memory::Memory;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const PAGE: u64 = 4096;
const BLOCK_BYTES: u64 = 2 << 20;
const FILE_BYTES: u64 = 100 << 30;
const FILE_ID: [u8; 16] = [0x5c; 16];
const PARTS: u64 = BLOCK_BYTES / (128 << 10);

/// A sparse file in memory that counts what is read.
struct Sparse {
    bytes: u64,
    pages: Mutex<BTreeMap<u64, Box<[u8; PAGE as usize]>>>,
    done: Mutex<Vec<IoDone>>,
    read_bytes: AtomicU64,
    reads: AtomicU64,
}

impl Sparse {
    fn new(bytes: u64) -> Self {
        Self {
            bytes,
            pages: Mutex::default(),
            done: Mutex::default(),
            read_bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let mut pages = self.pages.lock().unwrap();
        assert!(offset.is_multiple_of(PAGE));
        for (page, chunk) in (offset / PAGE..).zip(bytes.chunks(PAGE as usize)) {
            let page = pages.entry(page).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[..chunk.len()].copy_from_slice(chunk);
        }
    }

    /// Anywhere.
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        let before = (offset % PAGE) as usize;
        let mut pages = vec![0; (before + bytes.len()).next_multiple_of(PAGE as usize)];
        self.read(offset - before as u64, &mut pages);
        put(&mut pages, before, bytes);
        self.write(offset - before as u64, &pages);
    }

    fn read(&self, offset: u64, target: &mut [u8]) {
        let pages = self.pages.lock().unwrap();
        for (page, chunk) in (offset / PAGE..).zip(target.chunks_mut(PAGE as usize)) {
            match pages.get(&page) {
                Some(found) => chunk.copy_from_slice(&found[..chunk.len()]),
                None => chunk.fill(0),
            }
        }
    }
}

impl Device for Sparse {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn alignment_bytes(&self) -> u64 {
        PAGE
    }

    fn depth(&self) -> u32 {
        64
    }

    fn name(&self) -> &'static str {
        "sparse"
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        if io.kind != IoKind::Sync {
            // SAFETY: the caller's promise: the buffer is valid, and this device's until the report.
            let buffer = unsafe { std::slice::from_raw_parts_mut(io.buffer, io.bytes as usize) };
            match io.kind {
                IoKind::Read => {
                    self.read_bytes.fetch_add(io.bytes.into(), Ordering::Relaxed);
                    self.reads.fetch_add(1, Ordering::Relaxed);
                    self.read(io.offset, buffer);
                }
                _ => self.write(io.offset, buffer),
            }
        }
        self.done.lock().unwrap().push(IoDone {
            token: io.token,
            result: Ok(if io.kind == IoKind::Sync { 0 } else { io.bytes }),
        });
        true
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let mut waiting = self.done.lock().unwrap();
        let count = waiting.len().min(done.len());
        for (place, report) in done.iter_mut().zip(waiting.drain(..count)) {
            *place = report;
        }
        count
    }

    fn wait(&self, _timeout_ns: u64) {}
}

fn config() -> Config {
    Config {
        block_bytes: BLOCK_BYTES,
        cpu_bytes: 4 * BLOCK_BYTES,
        pins_count: 8,
        stripes_count: 1,
        clock_ticks: true,
        nvme: FileTier {
            bytes: FILE_BYTES,
            depth: 64,
            ..FileTier::NONE
        },
        ..Config::default()
    }
}

fn open(config: &Config, device: &Sparse, look: impl FnOnce(&Engine<'_>)) {
    let mut memory = Memory::new(Plan::compute(config).unwrap().bytes());
    let devices = Devices {
        nvme: Some(device),
        disk: None,
        file_ids: [FILE_ID; 2],
        unix_seconds: 0,
        tables: None,
    };
    let engine = Engine::with_devices(config, memory.page_aligned(), Clock::Ticks, devices)
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    look(&engine);
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn seal(page: &mut [u8]) {
    let sum = xxh3_64(&page[..PAGE as usize - 8]);
    put(page, PAGE as usize - 8, &sum.to_le_bytes());
}

fn key(number: u64) -> Key {
    Key::from_words([mix(number), number, 1, 1])
}

/// Header, table and footer of a full segment, after `docs/format.md`; of the payload that they speak of, zeros, what
/// `whole` segments need so that they verify.
fn segment_write(device: &Sparse, first_header: &[u8], index: u64, segment_bytes: u64, count: u64, whole: bool) {
    let start = (64 << 10) + index * segment_bytes;
    let (sequence, record_first) = (index + 1, index * count + 1);
    let mut header = first_header.to_vec();
    put(&mut header, 12, &(index as u32).to_le_bytes());
    put(&mut header, 16, &sequence.to_le_bytes());
    put(&mut header, 24, &record_first.to_le_bytes());
    put(&mut header, 112, &(index * segment_bytes).to_le_bytes());
    seal(&mut header);
    device.write(start, &header);
    let record_bytes = (128 + PARTS * 8 + BLOCK_BYTES).next_multiple_of(64);
    let file_seed = u64::from_le_bytes(FILE_ID[..8].try_into().unwrap());
    let mut table = Vec::new();
    for number in 0..count {
        let offset = start + PAGE + number * record_bytes;
        let mut record = [0; 128];
        let key = key(index * count + number);
        put(&mut record, 0, b"KVCR");
        put(&mut record, 4, &1_u16.to_le_bytes());
        put(&mut record, 8, &(record_first + number).to_le_bytes());
        put(&mut record, 16, &sequence.to_le_bytes());
        for (at, word) in key.words().iter().enumerate() {
            put(&mut record, 24 + 8 * at, &word.to_le_bytes());
        }
        put(&mut record, 56, &(BLOCK_BYTES as u32).to_le_bytes());
        put(&mut record, 60, &(BLOCK_BYTES as u32).to_le_bytes());
        // The first bytes of the digest of the configuration's geometries, as the header has them.
        record[96..104].copy_from_slice(&first_header[48..56]);
        let zeros = [0; 128 << 10];
        let parts = (0..PARTS).map(|part| xxh3_64_with_seed(&zeros, (record_first + number) ^ part << 48));
        let parts: Vec<u8> = if whole {
            parts.flat_map(u64::to_le_bytes).collect()
        } else {
            Vec::new()
        };
        put(&mut record, 112, &xxh3_64(&parts).to_le_bytes());
        let sum = xxh3_64_with_seed(&record[..120], file_seed ^ offset);
        put(&mut record, 120, &sum.to_le_bytes());
        if whole {
            device.write_at(offset, &[&record[..], &parts[..]].concat());
        }
        table.extend(offset.to_le_bytes());
        table.extend(record);
    }
    let footer_at = start + segment_bytes - PAGE;
    let table_at = footer_at - (table.len() as u64).next_multiple_of(PAGE);
    device.write(table_at, &table);
    let mut footer = [0; PAGE as usize];
    put(&mut footer, 0, b"KVCFOOT1");
    put(&mut footer, 8, &1_u32.to_le_bytes());
    put(&mut footer, 12, &(count as u32).to_le_bytes());
    put(&mut footer, 16, &(index as u32).to_le_bytes());
    put(&mut footer, 24, &sequence.to_le_bytes());
    put(&mut footer, 32, &table_at.to_le_bytes());
    put(&mut footer, 40, &(table.len() as u64).to_le_bytes());
    put(&mut footer, 48, &xxh3_64(&table).to_le_bytes());
    seal(&mut footer);
    device.write(footer_at, &footer);
}

#[test]
fn a_hundred_gibibytes_are_opened_by_their_metadata() {
    let config = config();
    let layout = Plan::compute(&config).unwrap().log(Tier::Nvme);
    let device = Sparse::new(layout.file_bytes());
    // An engine makes the file and begins its first segment, whose header is the pattern for all.
    open(&config, &device, |engine| {
        engine
            .put(&key(u64::MAX), &[1; 100], &kvcache::block::PutInfo::default())
            .unwrap();
        engine.flush(1_000_000_000).unwrap();
    });
    let mut header = vec![0; PAGE as usize];
    device.read(64 << 10, &mut header);
    assert_eq!(header[..8], *b"KVCSEGM1");
    let count = layout.segment_bytes / (BLOCK_BYTES + 4096) - 1;
    for index in 0..layout.segments_count {
        let whole = index + 2 >= layout.segments_count;
        segment_write(&device, &header, index, layout.segment_bytes, count, whole);
    }
    device.read_bytes.store(0, Ordering::Relaxed);
    device.reads.store(0, Ordering::Relaxed);
    let began = Instant::now();
    let mut blocks = 0;
    open(&config, &device, |engine| {
        blocks = engine.file_tier(Tier::Nvme).unwrap().blocks;
        let stats = engine.stats();
        assert_eq!(stats.counter(Counter::BlocksDamaged), 0);
        assert_eq!(stats.counter(Counter::BlocksRecovered), layout.segments_count * count);
        assert_eq!(
            engine.match_prefix(&[key(0), key(layout.segments_count * count - 1)], false),
            2
        );
    });
    let (read_bytes, reads) = (
        device.read_bytes.load(Ordering::Relaxed),
        device.reads.load(Ordering::Relaxed),
    );
    println!(
        "{} GiB, {} segments, {blocks} blocks: {read_bytes} bytes in {reads} reads, {:?}",
        layout.file_bytes() >> 30,
        layout.segments_count,
        began.elapsed()
    );
    // Superblocks and marks; of each segment the pages around its begin, its table and its footer; of the last two what
    // the frames reach.
    let table_pages = (count * 136).div_ceil(PAGE) + 1;
    let metadata = 16 * PAGE + (layout.segments_count + 1) * (3 + table_pages) * PAGE;
    let bound = metadata + 2 * layout.frames_count * layout.frame_bytes;
    assert!(
        read_bytes <= bound,
        "{read_bytes} bytes were read, {metadata} are metadata, and {bound} with what may have been under way"
    );
    assert!(
        blocks * BLOCK_BYTES > 90 << 30,
        "the file is nearly empty: {blocks} blocks"
    );
}
