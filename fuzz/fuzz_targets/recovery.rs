//! Any bytes as a tier's file: an engine opens over them or refuses, in bounded time and without a panic; what it then
//! reads is right, since contents follow from keys; and a file that it refuses is as it was.
//!
//! The first byte chooses the options of opening and whether the file is empty but for the rest of the input, or what
//! an engine left, edited as the rest of the input says. Checksums of pages can be mended by an edit, so that what lies
//! behind them is reached; those of records never are, and so nothing wrong may be read.
//!
//! With `KVC_RECOVERY_CANARY` set, a record is forged with all of its checksums: that must be seen.
#![no_main]

#[path = "../../tests/common/contents.rs"]
#[allow(dead_code)]
mod contents;
mod input;
#[path = "../../tests/common/memory.rs"]
mod memory;

use std::cell::RefCell;
use std::sync::OnceLock;

use contents::{difference, fill, mix};
use input::Input;
use kvcache::block::PutInfo;
use kvcache::config::{Damage, FileTier, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::engine::{Clock, Devices};
use kvcache::tier::sim::{SimDisk, SimMemory, SimOptions, SimRequest};
use kvcache::units::Tier;
use kvcache::{Config, Engine, Key, Plan, Status};
use libfuzzer_sys::fuzz_target;
use memory::Memory;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const KEYS_COUNT: u64 = 24;
const BLOCK_BYTES: u64 = 3_000;
const SEGMENT_BYTES: u64 = 28 << 10;
const PAGE_BYTES: usize = 4096;
const RECORD_MAGIC: &[u8; 4] = b"KVCR";
const FILE_ID: [u8; 16] = [7; 16];

fn config() -> Config {
    Config {
        block_bytes: BLOCK_BYTES,
        cpu_bytes: 4 * 4096,
        pins_count: 4,
        stripes_count: 1,
        clock_ticks: true,
        nvme: FileTier {
            bytes: (64 << 10) + 5 * SEGMENT_BYTES,
            segment_bytes: SEGMENT_BYTES,
            blocks_count: 40,
            depth: 4,
            stall_ms: 100,
            ..FileTier::NONE
        },
        write_policy: WritePolicy::Through,
        write_wait_ms: 10,
        ..Config::default()
    }
}

fn key(number: u64) -> Key {
    Key::from_words([mix(number), number, 3, 5])
}

fn bytes(number: u64) -> usize {
    1 + (mix(number) % BLOCK_BYTES) as usize
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::new(Plan::compute(&config()).expect("it is valid").bytes()));
}

/// Opens an engine over a file and has `work` done with it; what it was refused with, if it was.
fn with_engine(
    config: &Config,
    data: &mut [u8],
    alignment_bytes: u64,
    work: impl FnOnce(&Engine<'_>),
) -> Result<(), Status> {
    let mut journal = vec![0; 256 << 10];
    let frames_count = Plan::compute(config).expect("it is valid").log(Tier::Nvme).frames_count;
    let mut requests = vec![SimRequest::EMPTY; frames_count as usize];
    let memory = SimMemory {
        data,
        journal: &mut journal,
        requests: &mut requests,
    };
    let options = SimOptions {
        alignment_bytes,
        delay_reaps: 0,
        ..SimOptions::default()
    };
    let device = SimDisk::new(memory, options);
    let devices = Devices {
        nvme: Some(&device),
        disk: None,
        file_ids: [FILE_ID; 2],
        unix_seconds: 1,
        tables: None,
    };
    MEMORY.with_borrow_mut(
        |memory| match Engine::with_devices(config, memory.page_aligned(), Clock::Ticks, devices) {
            Ok(engine) => {
                work(&engine);
                engine.quiesce();
                Ok(())
            }
            Err(refusal) => {
                assert!(!refusal.field.is_empty() && !refusal.reason.is_empty());
                Err(refusal.status)
            }
        },
    )
}

fn put(engine: &Engine<'_>, number: u64) {
    let mut block = [0; BLOCK_BYTES as usize];
    fill(&mut block[..bytes(number)], number);
    let answer = engine.put(&key(number), &block[..bytes(number)], &PutInfo::default());
    assert!(
        matches!(answer, Ok(_) | Err(Status::Exists | Status::Again)),
        "{answer:?}"
    );
}

fn read_all(engine: &Engine<'_>) {
    let mut block = [0; BLOCK_BYTES as usize];
    for number in 0..KEYS_COUNT {
        match engine.get(&key(number), &mut block, Temperature::Auto) {
            Ok(length) => {
                assert_eq!(length as usize, bytes(number), "wrong bytes: the length of {number}");
                let wrong = difference(&block[..length as usize], number);
                assert_eq!(wrong, None, "wrong bytes under {number}");
            }
            Err(status) => assert!(matches!(status, Status::Miss | Status::Again), "{status}"),
        }
    }
}

/// What an engine leaves that was busy: sealed segments and an open one, tombstones, segments given up.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let config = config();
        let mut data = vec![0; Plan::compute(&config).expect("it is valid").file_bytes(Tier::Nvme) as usize];
        let opened = with_engine(&config, &mut data, 512, |engine| {
            for number in (0..KEYS_COUNT).chain(0..KEYS_COUNT) {
                put(engine, number);
                engine.tick(1_000_000 * number, |_| {});
                if number % 5 == 0 {
                    engine.flush(1_000_000_000).expect("the device works");
                }
                if number % 7 == 3 {
                    engine.remove(&[key(number)]);
                }
            }
            engine.flush(1_000_000_000).expect("the device works");
        });
        opened.expect("the file is new");
        data
    })
}

/// A place in a file of `length` bytes, often near the begin of a page.
fn place(input: &mut Input<'_>, length: usize) -> usize {
    let word = input.word() as usize;
    match word % 4 {
        0 => (word >> 8) % length,
        _ => ((word >> 8) % (length / PAGE_BYTES) * PAGE_BYTES + (word >> 40) % 256).min(length - 1),
    }
}

fn page_mend(page: &mut [u8]) {
    let sum = xxh3_64(&page[..PAGE_BYTES - 8]);
    page[PAGE_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
}

/// Changes a file as the input says.
fn edit(data: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..16 {
        if input.0.is_empty() {
            return;
        }
        let kind = input.byte();
        let length = data.len();
        let at = place(input, length);
        let count = (1 << (input.byte() % 17)).min(length - at);
        match kind % 8 {
            0 => data[at] = input.byte(),
            1 => data[at] ^= 1 << (input.byte() % 8),
            2 => data[at..at + count].fill(0),
            3 => {
                let from = place(input, length);
                let count = count.min(length - from);
                data.copy_within(from..from + count, at);
            }
            4 => {
                for byte in &mut data[at..(at + 8).min(length)] {
                    *byte = input.byte();
                }
            }
            5 => {
                let page = at / PAGE_BYTES * PAGE_BYTES;
                page_mend(&mut data[page..page + PAGE_BYTES]);
            }
            6 => {
                // A number that is wrong behind a checksum that is right.
                let page = at / PAGE_BYTES * PAGE_BYTES;
                let field = page + usize::from(input.byte()) % 32 * 4;
                let number = input.number().to_le_bytes();
                data[field..field + 8].copy_from_slice(&number);
                page_mend(&mut data[page..page + PAGE_BYTES]);
            }
            _ => data.truncate((at / PAGE_BYTES).max(17) * PAGE_BYTES),
        }
    }
}

/// Makes a record say something else, and every checksum agree.
fn forge(data: &mut [u8]) {
    let half = |data: &[u8], at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes")) as usize;
    let word = |data: &[u8], at: usize| u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"));
    let file_seed = u64::from_le_bytes(FILE_ID[..8].try_into().expect("eight bytes"));
    for record in ((64 << 10) + PAGE_BYTES..data.len() - PAGE_BYTES).step_by(64) {
        let payload_bytes = half(data, record + 56);
        let good =
            xxh3_64_with_seed(&data[record..record + 120], file_seed ^ record as u64) == word(data, record + 120);
        if data[record..record + 4] != *RECORD_MAGIC || payload_bytes == 0 || !good {
            continue;
        }
        let payload = record + 128 + 64;
        data[payload] ^= 1;
        let sum = xxh3_64_with_seed(&data[payload..payload + payload_bytes], word(data, record + 8));
        data[record + 128..record + 136].copy_from_slice(&sum.to_le_bytes());
        let sum = xxh3_64(&data[record + 128..record + 136]);
        data[record + 112..record + 120].copy_from_slice(&sum.to_le_bytes());
        let sum = xxh3_64_with_seed(&data[record..record + 120], file_seed ^ record as u64);
        data[record + 120..record + 128].copy_from_slice(&sum.to_le_bytes());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let options = input.byte();
    let mut config = config();
    config.damage = if options & 1 != 0 { Damage::Refuse } else { Damage::Drop };
    config.file_overwrite = options & 2 != 0;
    let alignment_bytes = if options & 4 != 0 { 512 } else { 4096 };
    let mut data = image().to_vec();
    if options & 0x18 == 0 {
        data.fill(0);
        let at = place(&mut input, data.len());
        let count = input.0.len().min(data.len() - at);
        data[at..at + count].copy_from_slice(&input.0[..count]);
    } else {
        edit(&mut data, &mut input);
    }
    if std::env::var_os("KVC_RECOVERY_CANARY").is_some() {
        forge(&mut data);
    }
    let before = data.clone();
    let opened = with_engine(&config, &mut data, alignment_bytes, |engine| {
        read_all(engine);
        for number in 0..KEYS_COUNT / 2 {
            put(engine, number);
        }
        engine.remove(&[key(KEYS_COUNT - 1)]);
        // A file that is too short has no room for all of it.
        let _ = engine.flush(100_000_000);
        read_all(engine);
    });
    match opened {
        Ok(()) => {
            // What was repaired and written holds, and is not foreign.
            config.damage = Damage::Drop;
            let again = with_engine(&config, &mut data, alignment_bytes, read_all);
            assert_eq!(again, Ok(()), "what was opened can be opened");
        }
        Err(status) => {
            let refusals = [
                Status::FileMismatch,
                Status::FileForeign,
                Status::FileDamaged,
                Status::File,
            ];
            assert!(refusals.contains(&status), "{status}");
            assert!(data == before, "refused, and changed: {status}");
        }
    }
});
