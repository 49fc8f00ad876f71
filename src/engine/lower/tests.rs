//! What happens between two steps of another thread, brought about one step at a time.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::block::entry::Phase;
use crate::block::{BlockRef, PutInfo};
use crate::config::Config;
use crate::copy::Temperature;
use crate::engine::Clock;
use crate::engine::evict::Evicted;
use crate::error::Status;
use crate::key::Key;
use crate::tier::device::IoKind;
use crate::tier::fault::{Fault, FaultAt, FaultPlace, FaultRates, Faults};
use crate::tier::sim::{SimDisk, SimMemory, SimOptions, SimRequest};

const BLOCK_BYTES: usize = 4096;
const SEGMENT_BYTES: u64 = 64 << 10;
/// More blocks than the file has room for.
const TWICE_AROUND: u64 = 300;

fn key(number: u64) -> Key {
    Key::from_words([number, 1, 2, 3])
}

fn contents(number: u64) -> Vec<u8> {
    let word = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    word.into_iter().cycle().take(BLOCK_BYTES).collect()
}

/// Runs `test` on an engine with one file tier of six segments, over a device that loses nothing.
fn with_engine(test: impl FnOnce(&Engine<'_>)) {
    with_device(|engine, _| test(engine));
}

/// As [`with_engine`], with the device, which has no faults but those that the test injects.
fn with_device(test: impl FnOnce(&Engine<'_>, &Faults<'_, SimDisk<'_>>)) {
    let config = Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: 16 * BLOCK_BYTES as u64,
        pins_count: 16,
        stripes_count: 1,
        lanes_count: 1,
        lane_depth: 8,
        events_count: 64,
        clock_ticks: true,
        nvme: FileTier {
            bytes: (64 << 10) + 6 * SEGMENT_BYTES,
            segment_bytes: SEGMENT_BYTES,
            blocks_count: 128,
            depth: 4,
            ..FileTier::NONE
        },
        write_wait_ms: 5,
        ..Config::default()
    };
    let plan = crate::budget::Plan::compute(&config).unwrap();
    let layout = plan.log(Tier::Nvme);
    let mut data = vec![0; layout.file_bytes() as usize];
    let mut journal = vec![0; 8 << 20];
    let mut requests = vec![SimRequest::EMPTY; layout.frames_count as usize];
    let memory = SimMemory {
        data: &mut data,
        journal: &mut journal,
        requests: &mut requests,
    };
    let mut places = vec![FaultPlace::EMPTY; layout.frames_count as usize];
    let disk = SimDisk::new(memory, SimOptions::default());
    let device = Faults::new(disk, 0, FaultRates::default(), &[], &mut places);
    let mut bytes = vec![0xa5; plan.bytes() as usize + 4096];
    let before = bytes.as_ptr().align_offset(4096);
    let devices = Devices {
        nvme: Some(&device),
        ..Devices::NONE
    };
    let aligned = &mut bytes[before..][..plan.bytes() as usize];
    let engine = Engine::with_devices(&config, aligned, Clock::Ticks, devices).unwrap();
    test(&engine, &device);
}

fn put(engine: &Engine<'_>, number: u64) -> BlockRef {
    engine
        .put(&key(number), &contents(number), &PutInfo::default())
        .unwrap()
}

fn pump(engine: &Engine<'_>) {
    for _ in 0..200 {
        engine.pump();
    }
}

/// Puts so much that the file is written twice around, if it can be.
fn churn(engine: &Engine<'_>, first: u64) {
    for number in first..first + TWICE_AROUND {
        put(engine, number);
        pump(engine);
    }
}

fn is_located(engine: &Engine<'_>, block: BlockRef) -> bool {
    engine.is_written(block.index, block.generation)
}

/// A block that is in memory and in the file is in somebody's hands, who took it by `take`, for as long as it takes to
/// write the file twice around; then he gives it back by `give`, and the next evictor leaves it to the file alone.
fn block_in_hands(take: impl FnOnce(&Engine<'_>, BlockRef), give: impl FnOnce(&Engine<'_>, BlockRef)) {
    with_engine(|engine| {
        let block = put(engine, 0);
        engine.flush(1_000_000_000).unwrap();
        assert!(is_located(engine, block));
        take(engine, block);
        churn(engine, 1000);
        give(engine, block);
        let evicted = engine.evict_block(block.index, block.generation, Counter::Evictions);
        assert_eq!(evicted, Evicted::Freed);
        let mut found = [0; BLOCK_BYTES];
        assert_eq!(
            engine.get(&key(0), &mut found, Temperature::Auto),
            Ok(BLOCK_BYTES as u64),
            "its segment was given up while it was in somebody's hands"
        );
        assert_eq!(found[..], contents(0));
        // What waited for it goes on.
        let written = engine.file_tier(Tier::Nvme).unwrap().bytes_written;
        churn(engine, 2000);
        let counted = engine.file_tier(Tier::Nvme).unwrap();
        assert!(counted.bytes_written > written + 6 * SEGMENT_BYTES, "{counted:?}");
        assert_eq!(engine.stats().counter(Counter::ChecksumFailures), 0);
    });
}

#[test]
fn a_block_that_an_evictor_gives_back_keeps_its_place() {
    block_in_hands(
        |engine, block| assert!(engine.entries[block.index as usize].condemn(block.generation)),
        |engine, block| assert!(engine.entries[block.index as usize].roll_back(block.generation)),
    );
}

#[test]
fn a_block_that_was_claimed_and_comes_back_keeps_its_place() {
    block_in_hands(
        |engine, block| assert!(engine.entries[block.index as usize].claim(block.generation, Phase::Resident)),
        |engine, block| engine.entries[block.index as usize].publish(block.generation, BLOCK_BYTES as u32, 1),
    );
}

/// A segment whose records can't be read is given up only when none of its blocks is in somebody's hands: a remover may
/// rely on the place of his for its tombstone, and what comes back must not keep it.
#[test]
fn a_block_in_hands_keeps_its_place_in_a_segment_that_is_lost() {
    with_device(|engine, device| {
        let block = put(engine, 0);
        engine.flush(1_000_000_000).unwrap();
        let entry = &engine.entries[block.index as usize];
        assert!(entry.claim(block.generation, Phase::Resident));
        // The table of the first segment that is given up, and then its headers, each as often as they are asked for.
        device.inject(Some(FaultAt {
            kind: Some(IoKind::Read),
            number: device.counts().reads,
            count: 8,
            fault: Fault::Error(5),
        }));
        churn(engine, 1000);
        assert_eq!(device.counts().errors, 8);
        assert!(
            is_located(engine, block),
            "its place was forgotten in a remover's hands"
        );

        entry.publish(block.generation, BLOCK_BYTES as u32, 1);
        churn(engine, 2000);
        let mut found = [0; BLOCK_BYTES];
        match engine.get(&key(0), &mut found, Temperature::Auto) {
            Ok(_) => assert_eq!(found[..], contents(0)),
            Err(status) => assert_eq!(status, Status::Miss),
        }
        let tier = engine.file_tier(Tier::Nvme).unwrap();
        assert!(!tier.offline && tier.bytes_written > 6 * SEGMENT_BYTES, "{tier:?}");
        assert_eq!(engine.stats().counter(Counter::ChecksumFailures), 0);
    });
}

/// Two lives of one key in two entries, and word that was left for a still earlier life of the second one: the
/// tombstone that the second life waits for stands behind that word.
#[test]
fn a_word_for_an_earlier_life_holds_no_tombstone_up() {
    with_engine(|engine| {
        // The place that the key gets if it can choose, and a neighbour that takes it.
        let place = put(engine, 0).index;
        engine.remove(&[key(0)]);
        let neighbour = (1..)
            .find(|&number| {
                let taken = put(engine, number).index == place;
                if !taken {
                    engine.remove(&[key(number)]);
                }
                taken
            })
            .unwrap();
        let first = put(engine, 0);
        assert_ne!(first.index, place);
        engine.flush(1_000_000_000).unwrap();
        assert!(is_located(engine, first));
        engine.remove(&[key(neighbour)]);
        pump(engine);
        assert_eq!(engine.entries[place as usize].state().phase(), Phase::Free);

        // As whoever lets go of the neighbour may do, just after the pump has freed it.
        engine.lower_write(place);
        engine.remove(&[key(0)]);
        assert!(engine.lower_holds(first.index, first.generation));
        let second = put(engine, 0);
        assert_eq!(second.index, place);
        pump(engine);
        assert!(
            !engine.lower_holds(first.index, first.generation),
            "its tombstone is not written"
        );
        assert!(!engine.io_under_way());
        engine.flush(1_000_000_000).unwrap();
        assert!(is_located(engine, second));
    });
}
