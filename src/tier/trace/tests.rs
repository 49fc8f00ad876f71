//! What is written down.

use super::*;
use crate::tier::fault::{Fault, FaultAt, FaultPlace, FaultRates, Faults};
use crate::tier::sim::SimOptions;
use crate::tier::sim::tests::{SimStorage, contract, read, write};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// Runs `steps` requests on a device with faults that harm nothing: the digest, and what was kept.
fn run(seed: u64, steps: u32, kept: usize) -> (u64, Vec<TraceEntry>) {
    let mut storage = SimStorage::new(256 << 10, 1 << 18, 6);
    let mut places = [FaultPlace::EMPTY; 6];
    let mut entries = vec![TraceEntry::EMPTY; kept];
    let rates = FaultRates {
        delay: 100_000,
        ..FaultRates::default()
    };
    let options = SimOptions {
        seed,
        ..SimOptions::default()
    };
    let faults = Faults::new(storage.device(options), seed, rates, &[], &mut places);
    let device = Traced::new(faults, &mut entries);
    contract(&device, vec![0; 256 << 10], 7, steps, false);
    assert!(device.count() >= 2 * u64::from(steps));
    (device.digest(), device.entries().collect())
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let first = run(1, 500, 100);
    assert_eq!(first.1.len(), 100);
    assert!(first == run(1, 500, 100));
    // How much is kept does not matter to the digest.
    assert_eq!(first.0, run(1, 500, 0).0);
    assert_ne!(first.0, run(2, 500, 0).0);
    assert_ne!(first.0, run(1, 501, 0).0);
}

#[test]
fn entries_say_what_happened_and_the_oldest_go() {
    let mut storage = SimStorage::new(8192, 1 << 16, 2);
    let script = [FaultAt {
        kind: Some(IoKind::Read),
        number: 0,
        count: 1,
        fault: Fault::Error(5),
    }];
    let mut places = [FaultPlace::EMPTY; 2];
    let faults = Faults::new(
        storage.device(SimOptions::default()),
        0,
        FaultRates::default(),
        &script,
        &mut places,
    );
    let mut entries = [TraceEntry::EMPTY; 3];
    let device = Traced::new(faults, &mut entries);
    assert_eq!(device.entries().count(), 0);
    assert_eq!(write(&device, 512, &[1; 1024]), Ok(1024));
    assert_eq!(device.entries().count(), 2);
    assert_eq!(read(&device, 0, 512), Err(5));
    assert_eq!(device.count(), 4);
    assert_eq!(device.entry(0), None);
    assert_eq!(device.entry(4), None);
    let said: Vec<String> = device.entries().map(|entry| entry.to_string().trim().into()).collect();
    assert_eq!(
        said,
        [
            "1 [  0]   done 1024",
            "2 [  0] read 512 at 0",
            "3 [  0]   failed, error 5",
        ]
    );
}

#[test]
fn the_digest_covers_the_bytes_that_are_written() {
    let digest = |byte: u8| {
        let mut storage = SimStorage::new(8192, 1 << 16, 2);
        let device = Traced::new(storage.device(SimOptions::default()), &mut []);
        assert_eq!(write(&device, 512, &[byte; 1024]), Ok(1024));
        device.digest()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}
