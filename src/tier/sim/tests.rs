//! What every device promises, as a test that the tests of each device call; and the simulated device itself.

use super::*;
use std::vec;
use std::vec::Vec;

/// Memory for buffers, page-aligned.
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    skip: usize,
}

impl Buffers {
    /// `bytes` zero bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = vec![0; bytes + 4096];
        let skip = bytes.as_ptr().align_offset(4096);
        Self { bytes, skip }
    }

    /// The address of the byte at `offset`.
    pub(crate) fn at(&mut self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes.len() - 4096);
        self.bytes.as_mut_ptr().wrapping_add(self.skip + offset)
    }

    /// The bytes themselves.
    pub(crate) fn slice(&mut self, offset: usize, bytes: usize) -> &mut [u8] {
        let start = self.skip + offset;
        &mut self.bytes[start..start + bytes]
    }
}

/// Does one request and waits for it.
pub(crate) fn one(device: &dyn Device, kind: IoKind, offset: u64, buffer: *mut u8, bytes: u32) -> Result<u32, i32> {
    let io = Io {
        token: 0,
        kind,
        offset,
        buffer,
        bytes,
    };
    // SAFETY: I1, the callers wait here.
    assert!(unsafe { device.submit(&io) }, "refused");
    let mut done = [IoDone::EMPTY; 2];
    for _ in 0..100_000 {
        match device.reap(&mut done) {
            0 => device.wait(10_000_000),
            1 => {
                assert_eq!(done[0].token, 0);
                return done[0].result;
            }
            _ => panic!("reported twice"),
        }
    }
    panic!("never reported");
}

pub(crate) fn write(device: &dyn Device, offset: u64, bytes: &[u8]) -> Result<u32, i32> {
    let mut buffers = Buffers::new(bytes.len());
    buffers.slice(0, bytes.len()).copy_from_slice(bytes);
    one(device, IoKind::Write, offset, buffers.at(0), bytes.len() as u32)
}

pub(crate) fn read(device: &dyn Device, offset: u64, bytes: usize) -> Result<Vec<u8>, i32> {
    let mut buffers = Buffers::new(bytes);
    buffers.slice(0, bytes).fill(0xEE);
    let moved = one(device, IoKind::Read, offset, buffers.at(0), bytes as u32)?;
    Ok(buffers.slice(0, moved as usize).to_vec())
}

pub(crate) fn sync(device: &dyn Device) -> Result<u32, i32> {
    one(device, IoKind::Sync, 0, core::ptr::null_mut(), 0)
}

/// Runs `steps` requests, as many at once as the device takes, against a model in memory that begins with what the
/// device holds: `held`. Ends with nothing under way and every byte compared.
pub(crate) fn contract(device: &dyn Device, held: Vec<u8>, seed: u64, steps: u32, registered: bool) -> Vec<u8> {
    const FRAME: usize = 64 << 10;
    let mut model = held;
    assert_eq!(model.len() as u64, device.bytes());
    let alignment = device.alignment_bytes();
    assert!(alignment.is_power_of_two() && alignment <= 4096);
    assert_ne!(device.name(), "");
    let depth = device.depth() as usize;
    let mut buffers = Buffers::new(depth * FRAME);
    if registered {
        // SAFETY: I1; the devices of these tests take nothing after the last request was reported.
        unsafe { device.register(buffers.at(0), (depth * FRAME) as u64) };
    }
    let mut random = Random::new(seed);
    let mut under_way: Vec<Option<Io>> = vec![None; depth];
    let mut begun = 0;
    let mut idle = 0;
    while begun < steps || under_way.iter().any(Option::is_some) {
        for _ in 0..random.below(4) {
            let Some(token) = under_way.iter().position(Option::is_none).filter(|_| begun < steps) else {
                break;
            };
            let kind = match random.below(16) {
                0 => IoKind::Sync,
                1..8 => IoKind::Write,
                _ => IoKind::Read,
            };
            let pages = (FRAME as u64 / alignment).min(device.bytes() / alignment);
            let bytes = (1 + random.below(pages)) * alignment;
            let offset = random.below((device.bytes() - bytes) / alignment + 1) * alignment;
            let clash = |other: &Io| {
                other.kind != IoKind::Sync
                    && (kind, other.kind) != (IoKind::Read, IoKind::Read)
                    && offset < other.offset + u64::from(other.bytes)
                    && other.offset < offset + bytes
            };
            if kind != IoKind::Sync && under_way.iter().flatten().any(clash) {
                continue;
            }
            let range = offset as usize..(offset + bytes) as usize;
            let frame = buffers.slice(token * FRAME, bytes as usize);
            match kind {
                IoKind::Write => {
                    frame.fill_with(|| random.next() as u8);
                    model[range].copy_from_slice(frame);
                }
                _ => frame.fill(0xEE),
            }
            let io = Io {
                token: token as u32,
                kind,
                offset,
                buffer: buffers.at(token * FRAME),
                bytes: bytes as u32,
            };
            // SAFETY: I1, the frame belongs to the token until it is reported.
            assert!(unsafe { device.submit(&io) }, "refused below its depth");
            under_way[token] = Some(io);
            begun += 1;
            if under_way.iter().all(Option::is_some) {
                // SAFETY: as above.
                assert!(!unsafe { device.submit(&io) }, "took more than its depth");
            }
        }
        let mut done = [IoDone::EMPTY; 8];
        let room = random.below(9) as usize;
        let count = device.reap(&mut done[..room]);
        assert!(count <= room);
        for done in &done[..count] {
            let io = under_way[done.token as usize].take().expect("reported once");
            let bytes = if io.kind == IoKind::Sync { 0 } else { io.bytes };
            assert_eq!(done.result, Ok(bytes), "{io:?}");
            if io.kind == IoKind::Read {
                let frame = buffers.slice(done.token as usize * FRAME, io.bytes as usize);
                let start = io.offset as usize;
                assert!(frame == &model[start..start + frame.len()], "{io:?}");
            }
        }
        idle = if count == 0 { idle + 1 } else { 0 };
        assert!(idle < 100_000, "nothing is ever reported");
        if count == 0 && under_way.iter().any(Option::is_some) {
            device.wait(1_000_000);
        }
    }
    assert_eq!(device.reap(&mut [IoDone::EMPTY; 4]), 0);
    for (index, expected) in model.chunks(FRAME).enumerate() {
        let offset = (index * FRAME) as u64;
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let rest = expected.len() - found.len();
            let part = read(device, offset + found.len() as u64, rest).expect("readable");
            assert_ne!(part.len(), 0);
            found.extend(part);
        }
        assert!(found == expected, "at {offset}");
    }
    model
}

/// The memory of a simulated device.
pub(crate) struct SimStorage {
    pub(crate) data: Vec<u8>,
    pub(crate) journal: Vec<u8>,
    pub(crate) requests: Vec<SimRequest>,
}

impl SimStorage {
    pub(crate) fn new(data: usize, journal: usize, depth: usize) -> Self {
        Self {
            data: vec![0; data],
            journal: vec![0; journal],
            requests: vec![SimRequest::EMPTY; depth],
        }
    }

    pub(crate) fn device(&mut self, options: SimOptions) -> SimDisk<'_> {
        SimDisk::new(
            SimMemory {
                data: &mut self.data,
                journal: &mut self.journal,
                requests: &mut self.requests,
            },
            options,
        )
    }
}

#[test]
fn does_what_a_device_does() {
    for seed in 0..20 {
        let mut storage = SimStorage::new(1 << 20, 300 << 10, 1 + seed as usize);
        let device = storage.device(SimOptions {
            seed,
            delay_reaps: seed as u32 % 7,
            reorder: seed % 2 == 0,
            ..SimOptions::default()
        });
        contract(&device, vec![0; 1 << 20], seed, 500, seed % 3 == 0);
    }
}

#[test]
fn a_journal_that_is_too_small_makes_writes_durable_early_and_loses_nothing() {
    for (seed, journal) in [0, 31, 600, 5000, 70_000].into_iter().enumerate() {
        let mut storage = SimStorage::new(256 << 10, journal, 8);
        let device = storage.device(SimOptions {
            seed: seed as u64,
            ..SimOptions::default()
        });
        let model = contract(&device, vec![0; 256 << 10], seed as u64, 400, false);
        assert_eq!(sync(&device), Ok(0));
        assert_eq!(device.unsynced_count(), 0);
        device.crash(9);
        let mut held = vec![0; 256 << 10];
        device.peek(0, &mut held);
        assert!(held == model);
    }
}

/// What a sector may hold after a loss of power: what the last sync made of it, or any write since.
fn sector_is(held: &[u8], sector: usize, possible: &[Vec<u8>]) -> Option<usize> {
    let range = sector * 512..(sector + 1) * 512;
    possible
        .iter()
        .position(|version| version[range.clone()] == held[range.clone()])
}

#[test]
fn a_loss_of_power_keeps_what_was_synced_and_any_part_of_the_rest() {
    const BYTES: usize = 64 << 10;
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let mut storage = SimStorage::new(BYTES, 1 << 20, 4);
        let device = storage.device(SimOptions {
            seed,
            ..SimOptions::default()
        });
        let mut random = Random::new(seed);
        let mut versions = vec![vec![0; BYTES]];
        for step in 0..12_u8 {
            if step == 6 {
                assert_eq!(sync(&device), Ok(0));
                versions.drain(..versions.len() - 1);
                continue;
            }
            let sectors = 1 + random.below(16) as usize;
            let start = random.below((BYTES / 512 - sectors) as u64) as usize * 512;
            let mut next = versions.last().expect("one").clone();
            next[start..start + sectors * 512].fill(step + 1);
            assert_eq!(
                write(&device, start as u64, &next[start..start + sectors * 512]),
                Ok(sectors as u32 * 512)
            );
            versions.push(next);
        }
        assert_eq!(device.unsynced_count(), 5);
        device.crash(seed);
        let mut held = vec![0; BYTES];
        device.peek(0, &mut held);
        for sector in 0..BYTES / 512 {
            assert!(
                sector_is(&held, sector, &versions).is_some(),
                "seed {seed}: sector {sector} holds what never was"
            );
        }
        // The last write, which nothing covers.
        let (before, after) = (&versions[versions.len() - 2], &versions[versions.len() - 1]);
        let touched: Vec<usize> = (0..BYTES / 512).filter(|s| before[s * 512] != after[s * 512]).collect();
        let new = touched.iter().filter(|&&s| held[s * 512] == after[s * 512]).count();
        match new {
            0 => lost += 1,
            _ if new == touched.len() => kept += 1,
            _ => torn += 1,
        }
        // What is left is durable now.
        device.crash(seed + 1);
        let mut again = vec![0; BYTES];
        device.peek(0, &mut again);
        assert!(again == held);
    }
    std::println!("the last write was lost {lost} times, kept {kept}, torn {torn}");
    assert!(lost > 20 && kept > 20 && torn > 20);
}

#[test]
fn a_sync_covers_only_what_was_reported_before_it_was_submitted() {
    let mut lost = 0;
    for seed in 0..32 {
        let mut storage = SimStorage::new(8192, 1 << 16, 4);
        let device = storage.device(SimOptions {
            seed,
            ..SimOptions::default()
        });
        let mut buffers = Buffers::new(8192);
        buffers.slice(0, 8192).fill(7);
        let io = |token, kind, at: *mut u8| Io {
            token,
            kind,
            offset: u64::from(token) * 512,
            buffer: at,
            bytes: 512,
        };
        assert_eq!(write(&device, 0, &[7; 512]), Ok(512));
        // SAFETY: I1.
        unsafe {
            assert!(device.submit(&io(1, IoKind::Write, buffers.at(512))));
            assert!(device.submit(&io(2, IoKind::Sync, buffers.at(0))));
        }
        let mut done = [IoDone::EMPTY; 4];
        let mut count = 0;
        while count < 2 {
            count += device.reap(&mut done);
        }
        assert_eq!(device.unsynced_count(), 1);
        device.crash(seed);
        let mut held = [0; 1024];
        device.peek(0, &mut held);
        assert_eq!(held[..512], [7; 512]);
        lost += u32::from(held[512..] == [0; 512]);
    }
    assert!(lost > 5, "the write beside the sync was lost {lost} times of 32");
}

#[test]
fn a_killed_process_loses_nothing_that_was_done() {
    let (mut done_count, mut lost_count) = (0, 0);
    for seed in 0..64 {
        let mut storage = SimStorage::new(8192, 1 << 16, 4);
        let device = storage.device(SimOptions::default());
        assert_eq!(write(&device, 0, &[1; 4096]), Ok(4096));
        let mut buffers = Buffers::new(4096);
        buffers.slice(0, 4096).fill(2);
        let io = Io {
            token: 1,
            kind: IoKind::Write,
            offset: 4096,
            buffer: buffers.at(0),
            bytes: 4096,
        };
        // SAFETY: I1.
        assert!(unsafe { device.submit(&io) });
        device.kill(seed);
        // Nothing is reported, and the place is free.
        assert_eq!((0..100).map(|_| device.reap(&mut [IoDone::EMPTY; 4])).sum::<usize>(), 0);
        assert_eq!(read(&device, 0, 4096), Ok(vec![1; 4096]));
        match read(&device, 4096, 4096).expect("readable") {
            all if all == [2; 4096] => done_count += 1,
            none if none == [0; 4096] => lost_count += 1,
            _ => panic!("torn"),
        }
    }
    assert!(
        done_count > 10 && lost_count > 10,
        "{done_count} done, {lost_count} lost"
    );
}

#[test]
fn the_power_goes_at_the_chosen_write() {
    let mut storage = SimStorage::new(64 << 10, 1 << 20, 4);
    let device = storage.device(SimOptions::default());
    for limit in 0..5 {
        device.power_off_after(limit);
        let mut written = 0;
        while write(&device, written * 4096, &[limit as u8 + 1; 4096]).is_ok() {
            written += 1;
        }
        assert_eq!(written, limit);
        assert!(device.is_off());
        assert_eq!(read(&device, 0, 512), Err(EIO));
        assert_eq!(sync(&device), Err(EIO));
        device.crash(limit);
        assert!(!device.is_off());
        assert_eq!(write(&device, 0, &[0; 64 << 10]), Ok(64 << 10));
        assert_eq!(sync(&device), Ok(0));
    }
}

#[test]
fn what_lies_outside_or_is_not_aligned_fails() {
    let mut storage = SimStorage::new(8192, 1 << 16, 4);
    let device = storage.device(SimOptions::default());
    for (offset, bytes) in [(8192, 512), (7680, 1024), (1, 512), (512, 100), (u64::MAX - 511, 512)] {
        assert_eq!(read(&device, offset, bytes), Err(EINVAL), "{bytes} at {offset}");
        assert_eq!(
            write(&device, offset, &vec![1; bytes]),
            Err(EINVAL),
            "{bytes} at {offset}"
        );
    }
    let io = Io {
        token: 4,
        ..SimRequest::EMPTY.io
    };
    // SAFETY: I1, no buffer.
    assert!(!unsafe { device.submit(&io) });
    device.poke(8000, &[3; 1000]);
    let mut held = [0; 8192];
    device.peek(0, &mut held);
    assert_eq!((held[7999], held[8000], held[8191]), (0, 3, 3));
}
