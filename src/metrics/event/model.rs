//! The ring's protocol under loom: every interleaving of writers and a reader, in a ring so small that they collide.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib metrics::event::model`

use super::*;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use std::vec::Vec;

fn words(capacity: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new(
        (0..EventRing::words_count(capacity))
            .map(|_| AtomicU64::new(0))
            .collect(),
    )
}

/// An event all of whose words follow from one number, so that a mixture of two is seen.
fn event(number: u64) -> Event {
    Event {
        sequence: 0,
        time_ns: number,
        key: Key::from_words([number; 4]),
        block_index: BlockIndex(number as u32),
        block_generation: number as u32,
        kind: EventKind::Stored,
        tier: Tier::Cpu,
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Reads once and checks that nothing is torn; returns the numbers of the events.
fn read(ring: &EventRing<'_>, cursor: &mut u64) -> (Vec<u64>, u64) {
    let first = *cursor;
    let mut numbers = Vec::new();
    let read = ring.read_each(cursor, 4, |found| {
        assert_eq!(
            found,
            Event {
                sequence: found.sequence,
                ..event(found.time_ns)
            }
        );
        numbers.push(found.time_ns);
    });
    assert_eq!(numbers.len(), read.count);
    assert_eq!(*cursor - first, read.count as u64 + read.lost);
    (numbers, read.lost)
}

#[test]
fn a_reader_beside_a_writer_that_overwrites_sees_whole_events_only() {
    const CAPACITY: usize = 1;
    check(|| {
        let words = words(CAPACITY);
        let writer = thread::spawn({
            let words = Arc::clone(&words);
            move || {
                let ring = EventRing::new(&words, CAPACITY);
                assert!(ring.write(&event(1)));
                assert!(ring.write(&event(2)));
            }
        });
        let ring = EventRing::new(&words, CAPACITY);
        let mut cursor = 0;
        let (mut numbers, mut lost) = read(&ring, &mut cursor);
        writer.join().unwrap();
        let (rest, rest_lost) = read(&ring, &mut cursor);
        numbers.extend(rest);
        lost += rest_lost;
        // The last event is always there at the end; the first may have been overwritten.
        assert_eq!((numbers.len() as u64 + lost, cursor), (2, 2));
        assert_eq!(numbers.last(), Some(&2));
        assert!(numbers.is_sorted());
    });
}

#[test]
fn two_writers_of_one_slot_never_mix_and_what_is_given_up_is_known() {
    const CAPACITY: usize = 1;
    check(|| {
        let words = words(CAPACITY);
        let writers = [1, 2].map(|number| {
            let words = Arc::clone(&words);
            thread::spawn(move || EventRing::new(&words, CAPACITY).write(&event(number)))
        });
        let ring = EventRing::new(&words, CAPACITY);
        let mut cursor = 0;
        let (mut numbers, mut lost) = read(&ring, &mut cursor);
        let written = writers
            .map(|writer| writer.join().unwrap())
            .into_iter()
            .filter(|written| *written)
            .count();
        let (rest, rest_lost) = read(&ring, &mut cursor);
        numbers.extend(rest);
        lost += rest_lost;
        // Once every writer has returned, no event is waited for: each was read, or is known to be lost.
        assert_eq!((numbers.len() as u64 + lost, cursor), (2, 2));
        assert!((1..=2).contains(&written));
        assert!(numbers.len() <= written);
    });
}

#[test]
fn two_writers_of_two_slots_lose_nothing() {
    const CAPACITY: usize = 2;
    check(|| {
        let words = words(CAPACITY);
        let writers = [1, 2].map(|number| {
            let words = Arc::clone(&words);
            thread::spawn(move || assert!(EventRing::new(&words, CAPACITY).write(&event(number))))
        });
        let ring = EventRing::new(&words, CAPACITY);
        let mut cursor = 0;
        let (mut numbers, lost) = read(&ring, &mut cursor);
        assert_eq!(lost, 0);
        for writer in writers {
            writer.join().unwrap();
        }
        let (rest, lost) = read(&ring, &mut cursor);
        assert_eq!(lost, 0);
        numbers.extend(rest);
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
    });
}
