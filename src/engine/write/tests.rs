//! Blocks that share slots, in an engine.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::budget::Plan;
use crate::config::{Config, PolicyKind};
use crate::engine::Clock;
use proptest::prelude::*;

const BLOCK_BYTES: usize = 100;

fn key(number: u64) -> Key {
    Key::from_words([number, 1, 2, 3])
}

/// Runs `test` on an engine of `slots_count` slots whose digests have no more bits than `digest_mask`.
fn with_engine<R>(slots_count: u64, digest_mask: u64, test: impl FnOnce(&Engine<'_>) -> R) -> R {
    let config = Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: slots_count * 128,
        policy: PolicyKind::Lru,
        pins_count: 16,
        stripes_count: 1,
        lanes_count: 1,
        lane_depth: 8,
        events_count: 64,
        clock_ticks: true,
        dedup: true,
        ..Config::default()
    };
    let plan = Plan::compute(&config).unwrap();
    let mut bytes = vec![0xa5; plan.bytes() as usize + 4096];
    let before = bytes.as_ptr().align_offset(4096);
    let aligned = &mut bytes[before..][..plan.bytes() as usize];
    let mut engine = Engine::new(&config, aligned, Clock::Ticks).unwrap();
    engine.cpu.digest_mask = digest_mask;
    test(&engine)
}

fn put(engine: &Engine<'_>, number: u64, byte: u8) {
    let stored = engine.put(&key(number), &[byte; BLOCK_BYTES], &PutInfo::default());
    assert!(stored.is_ok(), "{stored:?}");
}

fn get(engine: &Engine<'_>, number: u64) -> Option<Vec<u8>> {
    let mut block = vec![0; BLOCK_BYTES];
    let bytes = engine.get(&key(number), &mut block, Temperature::Auto).ok()?;
    block.truncate(bytes as usize);
    Some(block)
}

#[test]
fn two_keys_share_one_slot_until_both_are_gone() {
    with_engine(4, u64::MAX, |engine| {
        put(engine, 1, 7);
        put(engine, 2, 7);
        let (first, second) = (engine.acquire(&key(1)).unwrap(), engine.acquire(&key(2)).unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr());
        drop(first);
        let stats = engine.stats();
        assert_eq!((stats.slots_free, stats.blocks_resident), (3, 2));
        assert_eq!((stats.counter(Counter::DedupHits), stats.dedup_bytes_saved), (1, 100));

        // The view holds the second block, and with it the bytes, whatever becomes of the keys.
        assert_eq!(engine.remove(&[key(1)]), 1);
        assert_eq!((engine.stats().slots_free, engine.stats().dedup_bytes_saved), (3, 0));
        assert_eq!(engine.remove(&[key(2)]), 1);
        assert_eq!(engine.stats().slots_free, 3);
        (10..13).for_each(|number| put(engine, number, number as u8));
        assert_eq!(second[..], [7; BLOCK_BYTES]);
        drop(second);
        assert_eq!(engine.stats().slots_free, 1);
    });
}

/// A slot with so many sharers that as many evictions free nothing: the put still finds room, and takes what is older
/// than what it leaves.
#[test]
fn eviction_goes_on_until_a_slot_is_free() {
    const SLOTS_COUNT: u64 = 100;
    with_engine(SLOTS_COUNT, u64::MAX, |engine| {
        (0..SLOTS_COUNT).for_each(|number| put(engine, number, 7));
        (0..SLOTS_COUNT - 1).for_each(|number| put(engine, 1000 + number, 100 + number as u8));
        assert_eq!(engine.stats().slots_free, 0);
        put(engine, 5000, 1);
        assert_eq!(engine.stats().counter(Counter::Evictions), SLOTS_COUNT);
        assert_eq!(get(engine, SLOTS_COUNT - 1), None);
        assert!(get(engine, 1000).is_some());
    });
}

/// Where all that could go shares the slot of a view, there is no room, and saying so takes an end.
#[test]
fn nothing_is_free_where_a_view_holds_what_all_share() {
    with_engine(2, u64::MAX, |engine| {
        put(engine, 1, 7);
        put(engine, 2, 7);
        put(engine, 4, 9);
        let other = engine.acquire(&key(4)).unwrap();
        let view = engine.acquire(&key(1)).unwrap();
        let refused = engine.put(&key(3), &[1], &PutInfo::default());
        assert_eq!(refused, Err(Status::Again));
        assert_eq!(view[..], [7; BLOCK_BYTES]);
        drop(view);
        put(engine, 3, 8);
        assert_eq!(get(engine, 3), Some(vec![8; BLOCK_BYTES]));
        drop(other);
    });
}

/// With as many blocks as the plan has room for the next ones take slots of their own: sharing ends, nothing else does.
#[test]
fn no_more_blocks_share_than_the_plan_has_room_for() {
    with_engine(10, u64::MAX, |engine| {
        (0..11).for_each(|number| put(engine, number, 7));
        let stats = engine.stats();
        assert_eq!((stats.slots_free, stats.blocks_resident), (9, 11));
        (11..20).for_each(|number| put(engine, number, 7));
        let stats = engine.stats();
        assert_eq!((stats.slots_free, stats.blocks_resident), (0, 20));
        assert_eq!(stats.counter(Counter::Evictions), 0);
        assert!((0..20).all(|number| get(engine, number) == Some(vec![7; BLOCK_BYTES])));
        (20..60).for_each(|number| put(engine, number, 7));
        assert_eq!(get(engine, 59), Some(vec![7; BLOCK_BYTES]));
        let all: Vec<Key> = (0..60).map(key).collect();
        assert_eq!(engine.remove(&all), engine.stats().counter(Counter::Removes));
        let stats = engine.stats();
        assert_eq!(
            (stats.slots_free, stats.blocks_resident, stats.dedup_bytes_saved),
            (10, 0, 0)
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Every block is read back as it was put, also where all digests are the same and the bytes differ in one place
    /// only; and only blocks with the same bytes share.
    #[test]
    fn bytes_are_compared_whatever_the_digests_say(
        digest_mask in prop::sample::select(vec![0, 1, u64::MAX]),
        slots_count in prop::sample::select(vec![3_u64, 12]),
        puts in prop::collection::vec((0_u64..12, 96..BLOCK_BYTES + 1, 98..=BLOCK_BYTES), 1..80),
    ) {
        with_engine(slots_count, digest_mask, |engine| {
            let mut known: Vec<Option<Vec<u8>>> = vec![None; 12];
            let mut collided = false;
            for (number, place, bytes) in puts {
                let mut block = vec![5; bytes];
                if let Some(byte) = block.get_mut(place) {
                    *byte = 6;
                }
                engine.remove(&[key(number)]);
                engine.put(&key(number), &block, &PutInfo::default()).unwrap();
                known[number as usize] = Some(block);
                let mut distinct: Vec<&Vec<u8>> = Vec::new();
                let mut resident = 0;
                for (number, wanted) in known.iter().enumerate() {
                    let Some(found) = get(engine, number as u64) else { continue };
                    assert_eq!(Some(&found), wanted.as_ref(), "key {number}");
                    let wanted = wanted.as_ref().unwrap();
                    resident += 1;
                    if !distinct.contains(&wanted) {
                        distinct.push(wanted);
                    }
                }
                let stats = engine.stats();
                assert_eq!(stats.blocks_resident, resident);
                let used = slots_count - stats.slots_free;
                // Of as many slots as keys none is wanting, and neither are references.
                if slots_count == 12 {
                    assert_eq!(used, distinct.len() as u64, "as many slots as there are different blocks");
                }
                assert!(used >= distinct.len() as u64);
                collided |= stats.counter(Counter::DedupCollisions) != 0;
            }
            assert!(digest_mask != u64::MAX || !collided);
        });
    }
}
