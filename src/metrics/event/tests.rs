//! The event ring against a naive log, and from several threads.

use super::*;
use core::sync::atomic::{AtomicBool, AtomicUsize};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::thread;
use std::vec::Vec;

fn words(capacity: usize) -> Vec<AtomicU64> {
    (0..EventRing::words_count(capacity))
        .map(|_| AtomicU64::new(0))
        .collect()
}

/// An event all of whose words follow from one number, so that a mixture of two is seen.
fn event(number: u64) -> Event {
    Event {
        sequence: 0,
        time_ns: number,
        key: Key::from_words([number, !number, number.rotate_left(7), number ^ 0x5555]),
        block_index: BlockIndex(number as u32),
        block_generation: !number as u32,
        kind: EventKind::ALL[number as usize % EventKind::ALL.len()],
        tier: Tier::ALL[number as usize % Tier::ALL.len()],
    }
}

fn numbered(sequence: u64, number: u64) -> Event {
    Event {
        sequence,
        ..event(number)
    }
}

fn read_all(ring: &EventRing<'_>, cursor: &mut u64) -> (Vec<Event>, u64) {
    let mut events = Vec::new();
    let read = ring.read_each(cursor, usize::MAX, |event| events.push(event));
    assert_eq!(read.count, events.len());
    (events, read.lost)
}

/// The state that a writer leaves who is stopped right after its claim.
fn stop_a_writer_in_the_middle(ring: &EventRing<'_>) -> u64 {
    let sequence = ring.head.unwrap().fetch_add(1, Ordering::Relaxed);
    ring.slots[ring.place(sequence)][0].store(2 * sequence + 1, Ordering::Relaxed);
    sequence
}

/// What that writer does when it goes on.
fn finish(ring: &EventRing<'_>, sequence: u64, number: u64) {
    let [stamp, payload @ ..] = &ring.slots[ring.place(sequence)];
    for (target, word) in payload.iter().zip(event(number).words()) {
        target.store(word, Ordering::Release);
    }
    stamp.store(2 * sequence + 2, Ordering::Release);
}

#[test]
fn a_slot_is_a_cache_line_and_kinds_have_their_numbers() {
    assert_eq!(SLOT_WORDS * 8, 64);
    assert_eq!(EventRing::words_count(0), 0);
    assert_eq!(EventRing::words_count(4), 44);
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_code(kind.code()), Some(kind));
    }
    assert_eq!(EventKind::from_code(0), None);
    for capacity in 0..9 {
        assert_eq!(EventRing::new(&words(capacity), capacity).capacity(), capacity);
        assert_eq!(EventRing::new(&words(8), capacity).capacity(), capacity.min(8));
    }
    assert_eq!(EventRing::new(&words(1)[1..], 4).capacity(), 0);
}

#[test]
fn a_ring_that_is_off_takes_everything_and_holds_nothing() {
    let ring = EventRing::new(&[], 4);
    assert!(ring.write(&event(1)));
    let mut cursor = 0;
    assert_eq!(read_all(&ring, &mut cursor), (Vec::new(), 0));
    assert_eq!((cursor, ring.next_sequence()), (0, 0));
}

#[test]
fn a_cursor_ahead_of_the_ring_reads_nothing_and_stays() {
    let words = words(4);
    let ring = EventRing::new(&words, 4);
    assert!(ring.write(&event(1)));
    let mut cursor = 17;
    assert_eq!(read_all(&ring, &mut cursor), (Vec::new(), 0));
    assert_eq!(cursor, 17);
}

#[test]
fn a_reader_stops_before_an_event_that_is_being_written_and_goes_on_when_it_is_there() {
    let words = words(4);
    let ring = EventRing::new(&words, 4);
    assert!(ring.write(&event(10)));
    let stopped = stop_a_writer_in_the_middle(&ring);
    assert!(ring.write(&event(12)));
    let mut cursor = 0;
    assert_eq!(read_all(&ring, &mut cursor), ([numbered(0, 10)].to_vec(), 0));
    assert_eq!(read_all(&ring, &mut cursor), (Vec::new(), 0));
    finish(&ring, stopped, 11);
    assert_eq!(
        read_all(&ring, &mut cursor),
        ([numbered(1, 11), numbered(2, 12)].to_vec(), 0)
    );
}

#[test]
fn a_writer_that_is_stopped_costs_one_event_a_lap_and_nobody_waits() {
    let words = words(4);
    let ring = EventRing::new(&words, 4);
    let stopped = stop_a_writer_in_the_middle(&ring);
    for number in 1..=3 {
        assert!(ring.write(&event(number)));
    }
    let mut cursor = 0;
    assert_eq!(read_all(&ring, &mut cursor), (Vec::new(), 0));

    // The ring comes round: the event for the claimed slot is given up, the next one is not.
    assert!(!ring.write(&event(4)));
    assert!(ring.write(&event(5)));
    let (events, lost) = read_all(&ring, &mut cursor);
    // Event 0 and 1 were overwritten or lapped, event 4 was given up.
    assert_eq!(
        (events, lost),
        ([numbered(2, 2), numbered(3, 3), numbered(5, 5)].to_vec(), 3)
    );
    assert_eq!(cursor, 6);

    // The writer goes on; its slot is good again on the next lap, although a lap is missing in between.
    finish(&ring, stopped, 0);
    for number in 6..=9 {
        assert!(ring.write(&event(number)), "{number}");
    }
    let (events, lost) = read_all(&ring, &mut cursor);
    assert_eq!(
        (events, lost),
        ((6..=9).map(|number| numbered(number, number)).collect(), 0)
    );
}

#[test]
fn an_older_event_never_replaces_a_younger_one() {
    let words = words(2);
    let ring = EventRing::new(&words, 2);
    let late = ring.head.unwrap().fetch_add(1, Ordering::Relaxed);
    assert!(ring.write(&event(1)));
    assert!(ring.write(&event(2)));
    assert!(!ring.write_at(ring.place(late), late, &event(0)));
    let mut cursor = 0;
    assert_eq!(
        read_all(&ring, &mut cursor),
        ([numbered(1, 1), numbered(2, 2)].to_vec(), 1)
    );
}

#[test]
fn words_that_are_no_event_are_a_loss() {
    let words = words(2);
    let ring = EventRing::new(&words, 2);
    assert!(ring.write(&event(1)));
    ring.slots[0][SLOT_WORDS - 1].store(u64::MAX, Ordering::Relaxed);
    let mut cursor = 0;
    assert_eq!(read_all(&ring, &mut cursor), (Vec::new(), 1));
}

#[test]
fn reading_into_a_slice_fills_its_first_places_only() {
    let words = words(4);
    let ring = EventRing::new(&words, 4);
    for number in 0..3 {
        assert!(ring.write(&event(number)));
    }
    let untouched = numbered(99, 99);
    let mut events = [untouched; 4];
    let mut cursor = 1;
    assert_eq!(ring.read(&mut cursor, &mut events), EventRead { count: 2, lost: 0 });
    assert_eq!(events, [numbered(1, 1), numbered(2, 2), untouched, untouched]);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    Read { reader: usize, limit: usize },
}

proptest! {
    #[test]
    fn the_ring_is_a_queue_that_forgets_its_oldest(
        capacity in 1_usize..7,
        steps in prop::collection::vec(
            prop_oneof![
                (1_u8..6).prop_map(Step::Write),
                (0_usize..2, 0_usize..9).prop_map(|(reader, limit)| Step::Read { reader, limit }),
            ],
            0..80,
        ),
    ) {
        let words = words(capacity);
        let ring = EventRing::new(&words, capacity);
        let mut model = VecDeque::new();
        let mut head = 0;
        let mut cursors = [0; 2];
        for step in steps {
            match step {
                Step::Write(count) => for _ in 0..count {
                    prop_assert!(ring.write(&event(head * 3)));
                    model.push_back(numbered(head, head * 3));
                    head += 1;
                    if model.len() > capacity {
                        model.pop_front();
                    }
                },
                Step::Read { reader, limit } => {
                    let cursor = cursors[reader];
                    let oldest = head - model.len() as u64;
                    let expected: Vec<Event> =
                        model.iter().filter(|event| event.sequence >= cursor).take(limit).copied().collect();
                    let mut events = std::vec![event(0); limit];
                    let read = ring.read(&mut cursors[reader], &mut events);
                    prop_assert_eq!(&events[..read.count], &expected[..]);
                    prop_assert_eq!(read.lost, oldest.saturating_sub(cursor));
                    prop_assert_eq!(cursors[reader], cursor.max(oldest) + expected.len() as u64);
                }
            }
        }
        prop_assert_eq!(ring.next_sequence(), head);
    }
}

/// Writers and readers at full speed: every event that is read is whole, in order and read once, each writer's events
/// keep their order, and at the end nothing is unaccounted for.
#[test]
fn threads_see_whole_events_in_order_and_every_loss() {
    const WRITERS_COUNT: u64 = 3;
    const EVENTS_COUNT: u64 = if cfg!(miri) { 60 } else { 30_000 };
    for capacity in [1, 2, 7, 64] {
        let words = words(capacity);
        let ring = EventRing::new(&words, capacity);
        let writing = AtomicUsize::new(WRITERS_COUNT as usize);
        let failed = AtomicBool::new(false);
        let given_up = AtomicU64::new(0);
        thread::scope(|scope| {
            for writer in 0..WRITERS_COUNT {
                let (writing, given_up) = (&writing, &given_up);
                scope.spawn(move || {
                    for number in 0..EVENTS_COUNT {
                        if !ring.write(&event(number * WRITERS_COUNT + writer)) {
                            given_up.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    writing.fetch_sub(1, Ordering::Release);
                });
            }
            for limit in [1, 16] {
                let (writing, failed) = (&writing, &failed);
                scope.spawn(move || {
                    let (mut cursor, mut count, mut lost) = (0, 0, 0);
                    let mut last_of = [None; WRITERS_COUNT as usize];
                    let mut sequence_last = None;
                    loop {
                        // Before the read: what is written until then must come out of it.
                        let finished = writing.load(Ordering::Acquire) == 0;
                        let read = ring.read_each(&mut cursor, limit, |found| {
                            let number = found.time_ns;
                            let last = &mut last_of[(number % WRITERS_COUNT) as usize];
                            let whole = found == numbered(found.sequence, number);
                            if !whole || Some(number) <= *last || Some(found.sequence) <= sequence_last {
                                failed.store(true, Ordering::Relaxed);
                            }
                            (*last, sequence_last) = (Some(number), Some(found.sequence));
                        });
                        (count, lost) = (count + read.count as u64, lost + read.lost);
                        if finished && read == EventRead::default() {
                            break;
                        }
                    }
                    assert_eq!(cursor, WRITERS_COUNT * EVENTS_COUNT, "capacity {capacity}");
                    assert_eq!(count + lost, cursor, "capacity {capacity}");
                });
            }
        });
        assert!(!failed.load(Ordering::Relaxed), "capacity {capacity}");

        // A late reader finds a full ring, less what was given up in its last lap.
        let mut cursor = 0;
        let (events, lost) = read_all(&ring, &mut cursor);
        assert_eq!(events.len() as u64 + lost, WRITERS_COUNT * EVENTS_COUNT);
        assert!(events.len() as u64 + given_up.load(Ordering::Relaxed) >= capacity as u64);
    }
}
