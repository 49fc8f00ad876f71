//! Each fault, and none.

use super::*;
use crate::tier::sim::SimOptions;
use crate::tier::sim::tests::{Buffers, SimStorage, contract, one, read, sync, write};
use std::vec;
use std::vec::Vec;

const BYTES: usize = 64 << 10;

/// A device of zeros with one fault for the first request of its kind, or of any.
fn with(kind: Option<IoKind>, fault: Fault, seed: u64, test: impl FnOnce(&Faults<'_, crate::tier::sim::SimDisk<'_>>)) {
    let mut storage = SimStorage::new(BYTES, 1 << 20, 4);
    let script = [FaultAt {
        kind,
        number: 0,
        count: 1,
        fault,
    }];
    let mut places = [FaultPlace::EMPTY; 4];
    let device = Faults::new(
        storage.device(SimOptions::default()),
        seed,
        FaultRates::default(),
        &script,
        &mut places,
    );
    test(&device);
    assert_eq!(device.counts().faults(), 1, "{fault:?}");
}

fn held(device: &Faults<'_, crate::tier::sim::SimDisk<'_>>) -> Vec<u8> {
    let mut held = vec![0; BYTES];
    device.device().peek(0, &mut held);
    held
}

#[test]
fn without_faults_it_does_what_a_device_does() {
    for seed in 0..5 {
        let mut storage = SimStorage::new(1 << 20, 1 << 18, 9);
        let mut places = [FaultPlace::EMPTY; 9];
        let device = Faults::new(
            storage.device(SimOptions::default()),
            seed,
            FaultRates::default(),
            &[],
            &mut places,
        );
        contract(&device, vec![0; 1 << 20], seed, 500, seed % 2 == 0);
        assert_eq!(device.counts().faults(), 0);
    }
}

#[test]
fn requests_that_are_only_late_do_what_a_device_does() {
    let mut storage = SimStorage::new(1 << 20, 1 << 18, 9);
    let mut places = [FaultPlace::EMPTY; 9];
    let rates = FaultRates {
        delay: 300_000,
        ..FaultRates::default()
    };
    let device = Faults::new(storage.device(SimOptions::default()), 1, rates, &[], &mut places);
    contract(&device, vec![0; 1 << 20], 1, 500, false);
    let counts = device.counts();
    assert!(counts.delays > 100 && counts.faults() == counts.delays, "{counts:?}");
}

#[test]
fn an_error_is_reported_and_nothing_done() {
    with(Some(IoKind::Write), Fault::Error(28), 0, |device| {
        assert_eq!(write(device, 0, &[1; 512]), Err(28));
        assert!(held(device).iter().all(|&byte| byte == 0));
        assert_eq!(write(device, 0, &[1; 512]), Ok(512));
    });
    with(Some(IoKind::Read), Fault::Error(5), 0, |device| {
        assert_eq!(write(device, 0, &[1; 512]), Ok(512));
        assert_eq!(read(device, 0, 512), Err(5));
        assert_eq!(read(device, 0, 512), Ok(vec![1; 512]));
    });
    with(Some(IoKind::Sync), Fault::Error(5), 0, |device| {
        assert_eq!(write(device, 0, &[1; 512]), Ok(512));
        assert_eq!(sync(device), Err(5));
        assert_eq!(device.device().unsynced_count(), 1);
        assert_eq!(sync(device), Ok(0));
        assert_eq!(device.device().unsynced_count(), 0);
    });
}

#[test]
fn an_error_may_be_reported_although_it_was_done() {
    with(None, Fault::ErrorDone(5), 0, |device| {
        assert_eq!(write(device, 512, &[1; 512]), Err(5));
        assert_eq!(held(device)[512..1024], [1; 512]);
    });
}

#[test]
fn a_short_transfer_moves_what_it_says() {
    for seed in 0..20 {
        with(Some(IoKind::Write), Fault::Short, seed, |device| {
            let moved = write(device, 0, &[1; 8192]).expect("a success") as usize;
            assert!(moved < 8192 && moved.is_multiple_of(512));
            let held = held(device);
            assert!(held[..moved].iter().all(|&byte| byte == 1) && held[moved..].iter().all(|&byte| byte == 0));
        });
        with(Some(IoKind::Read), Fault::Short, seed, |device| {
            assert!(read(device, 0, 8192).expect("a success").len() < 8192);
        });
    }
}

#[test]
fn one_bit_flips() {
    for seed in 0..20 {
        with(Some(IoKind::Read), Fault::Flip, seed, |device| {
            let found = read(device, 0, 8192).expect("a success");
            assert_eq!(found.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!(read(device, 0, 8192), Ok(vec![0; 8192]));
        });
        with(Some(IoKind::Write), Fault::Flip, seed, |device| {
            let mut buffers = Buffers::new(8192);
            assert_eq!(one(device, IoKind::Write, 0, buffers.at(0), 8192), Ok(8192));
            // Of the caller's bytes nothing is to be seen.
            assert!(buffers.slice(0, 8192).iter().all(|&byte| byte == 0));
            assert_eq!(held(device).iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        });
    }
}

#[test]
fn a_torn_write_keeps_its_beginning_or_its_end() {
    let (mut beginnings, mut ends) = (0, 0);
    for seed in 0..40 {
        with(None, Fault::Torn, seed, |device| {
            assert_eq!(write(device, 4096, &[1; 8192]), Ok(8192));
            let held = held(device);
            let written = held.iter().filter(|&&byte| byte == 1).count();
            assert!(written < 8192 && written.is_multiple_of(512));
            if written != 0 {
                beginnings += u32::from(held[4096] == 1);
                ends += u32::from(held[4096 + 8191] == 1);
                assert!(held[4096] == 1 || held[4096 + 8191] == 1);
            }
        });
    }
    assert!(beginnings > 5 && ends > 5, "{beginnings} {ends}");
}

#[test]
fn a_misdirected_request_is_done_elsewhere() {
    for seed in 0..200 {
        with(Some(IoKind::Write), Fault::Misdirected, seed, |device| {
            assert_eq!(write(device, 1024, &[1; 512]), Ok(512));
            let held = held(device);
            assert_eq!(held.iter().filter(|&&byte| byte == 1).count(), 512);
            assert_eq!(held[1024], 0);
        });
        with(Some(IoKind::Read), Fault::Misdirected, seed, |device| {
            assert_eq!(write(device, 1024, &[1; 512]), Ok(512));
            assert_eq!(read(device, 1024, 512), Ok(vec![0; 512]));
            assert_eq!(read(device, 1024, 512), Ok(vec![1; 512]));
        });
    }
}

#[test]
fn a_lost_write_and_a_lost_sync_are_reported_done() {
    with(None, Fault::Lost, 0, |device| {
        assert_eq!(write(device, 0, &[1; 512]), Ok(512));
        assert!(held(device).iter().all(|&byte| byte == 0));
    });
    with(Some(IoKind::Sync), Fault::Lost, 0, |device| {
        assert_eq!(write(device, 0, &[1; 512]), Ok(512));
        assert_eq!(sync(device), Ok(0));
        assert_eq!(device.device().unsynced_count(), 1);
    });
}

#[test]
fn a_stalled_request_never_comes_back_and_keeps_its_place() {
    with(None, Fault::Stall, 0, |device| {
        let mut buffers = Buffers::new(512);
        let io = Io {
            token: 2,
            kind: IoKind::Read,
            offset: 0,
            buffer: buffers.at(0),
            bytes: 512,
        };
        // SAFETY: I1.
        unsafe {
            assert!(device.submit(&io));
            assert!(!device.submit(&io));
        }
        assert_eq!(
            (0..1000).map(|_| device.reap(&mut [IoDone::EMPTY; 4])).sum::<usize>(),
            0
        );
        // Others go on.
        assert_eq!(write(device, 0, &[1; 512]), Ok(512));
        device.forget();
        // SAFETY: I1.
        assert!(unsafe { device.submit(&io) });
    });
}

#[test]
fn a_sweep_reaches_every_request() {
    let mut storage = SimStorage::new(BYTES, 1 << 20, 4);
    let mut places = [FaultPlace::EMPTY; 4];
    let device = Faults::new(
        storage.device(SimOptions::default()),
        0,
        FaultRates::default(),
        &[],
        &mut places,
    );
    let steps = |device: &dyn Device| {
        [
            write(device, 0, &[1; 512]).is_ok(),
            read(device, 0, 512).is_ok(),
            write(device, 512, &[1; 512]).is_ok(),
            sync(device).is_ok(),
        ]
    };
    for number in 0..4 {
        let before = device.counts();
        device.inject(Some(FaultAt {
            kind: None,
            number: before.reads + before.writes + before.syncs + number,
            count: 1,
            fault: Fault::Error(5),
        }));
        let mut expected = [true; 4];
        expected[number as usize] = false;
        assert_eq!(steps(&device), expected);
    }
    let writes = device.counts().writes;
    device.inject(Some(FaultAt {
        kind: Some(IoKind::Write),
        number: writes + 1,
        count: u64::MAX,
        fault: Fault::Error(5),
    }));
    assert_eq!(steps(&device), [true, true, false, true]);
    assert_eq!(steps(&device), [false, true, false, true]);
    device.inject(None);
    assert_eq!(steps(&device), [true; 4]);
}

#[test]
fn rates_are_kept_and_the_seed_decides() {
    let run = |seed: u64| {
        let mut storage = SimStorage::new(BYTES, 1 << 20, 4);
        let mut places = [FaultPlace::EMPTY; 4];
        let rates = FaultRates {
            error: 100_000,
            short: 50_000,
            flip: 50_000,
            torn: 50_000,
            misdirected: 50_000,
            lost: 50_000,
            sync_lost: 200_000,
            ..FaultRates::default()
        };
        let device = Faults::new(storage.device(SimOptions::default()), seed, rates, &[], &mut places);
        let mut outcomes = Vec::new();
        for step in 0..2000_u32 {
            let offset = u64::from(step % 60) * 1024;
            outcomes.push(match step % 5 {
                0 | 2 => write(&device, offset, &[step as u8; 1024]),
                4 => sync(&device),
                _ => read(&device, offset, 1024).map(|bytes| bytes.iter().map(|&byte| u32::from(byte)).sum()),
            });
        }
        (outcomes, device.counts(), held(&device))
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert!(first == again);
    assert!(first.0 != other.0);
    let counts = first.1;
    assert_eq!((counts.writes, counts.reads, counts.syncs), (800, 800, 400));
    for (name, found, expected) in [
        ("errors", counts.errors, 200),
        ("shorts", counts.shorts, 80),
        ("flips", counts.flips, 80),
        ("torn", counts.torn, 40),
        ("misdirected", counts.misdirected, 80),
        ("lost", counts.lost, 40 + 80),
    ] {
        assert!(
            (expected / 2..expected * 2).contains(&found),
            "{name}: {found}, expected about {expected}"
        );
    }
    assert_eq!(counts.stalls + counts.delays, 0);
}
