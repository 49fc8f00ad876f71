//! What a killed process leaves of records that were under way.

use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use super::super::record::record_bytes;
use super::super::tests::*;
use super::super::*;

fn append(log: &mut Log<'_>, number: u64, bytes: usize) {
    while log.append(&info(number, bytes), &payload(number, 0, bytes), number, false) == Err(Refused::Full) {
        settle(log);
    }
}

fn checks(image: &[u8]) -> (CheckReport, Vec<CheckItem>) {
    let device = Memory::new(image.to_vec(), 1);
    let mut buffer = vec![0; CHECK_BUFFER_BYTES_MIN];
    let mut items = Vec::new();
    let report = check(&device, &mut buffer, &mut |item| items.push(item));
    (report, items)
}

/// The files that a process leaves whose writes were done up to each of them, and not further; with the requests that
/// each was done after, in any order.
fn killed_images(layout: &LogLayout, seed: u64, sizes: &[usize]) -> Vec<Vec<u8>> {
    let base = blank(layout);
    let device = Memory::new(base.clone(), seed);
    device.lock().keeps_journal = true;
    let mut room = Room::new(layout);
    let mut log = room.log(&device, *layout, identity());
    open(&mut log).unwrap();
    let before = device.lock().journal.len();
    for (number, &bytes) in (0..).zip(sizes) {
        while log.append(&info(number, bytes), &payload(number, 0, bytes), number, false) == Err(Refused::Full) {
            log.poll(0, &mut |_| {});
        }
    }
    settle(&mut log);
    let journal = device.lock().journal.clone();
    (before..=journal.len())
        .map(|done| crashed_keeping(&base, &journal, done, |_| true))
        .collect()
}

/// Killed while records were under way, of which some headers were in the file and not all of the payload: such records
/// are passed over when the file is opened, however often that is and with however few frames, and are no damage.
#[test]
fn a_record_that_was_under_way_counts_only_whole() {
    // More than can be under way, so that a segment with a footer has a header, and just more, so that both are near.
    let small = LogLayout {
        segment_bytes: 80 << 10,
        ..layout(12)
    };
    let large = LogLayout {
        segment_bytes: 512 << 10,
        ..layout(4)
    };
    let few = |layout: LogLayout| LogLayout {
        frames_count: 6,
        ..layout
    };
    let mut unfinished = 0;
    for seed in 0..4 {
        for (layout, sizes) in [
            (
                small,
                &[
                    17_000, 20_000, 300, 9_000, 40, 12_000, 8_000, 20_000, 20_000, 17_000, 9_000, 20_000, 100, 20_000,
                ][..],
            ),
            (
                large,
                &[
                    17_000, 3_000, 20_000, 900, 17_000, 64, 20_000, 18_000, 20_000, 19_000, 20_000, 20_000,
                ],
            ),
        ] {
            for image in killed_images(&layout, seed, sizes) {
                let device = Memory::new(image, seed);
                let mut room = Room::new(&layout);
                for round in 0..3 {
                    let layout = if round == 0 { layout } else { few(layout) };
                    let mut log = room.log(&device, layout, identity());
                    let mut found = HashMap::new();
                    let opened = log.open(false, true, &mut |record| {
                        found.insert(record.info.key, *record);
                    });
                    let report = opened.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}"));
                    unfinished += report.unfinished;
                    for (number, &bytes) in (0..).zip(sizes) {
                        if let Some(place) = found.get(&key(number)) {
                            let (_, contents) = read(&mut log, number, place.offset, place.payload_bytes).unwrap();
                            assert!(contents == payload(number, 0, bytes), "wrong bytes");
                        }
                    }
                    // A segment that is begun says that everything before it is durable.
                    append(&mut log, 19, 100);
                    assert!(flush(&mut log, &mut Vec::new()));
                    let (checked, items) = checks(&device.lock().image);
                    assert_eq!(checked.damaged, checked.damaged_unflushed, "seed {seed}: {items:?}");
                }
            }
        }
    }
    assert!(unfinished > 50, "{unfinished}");
}

/// What is damaged further back than anything can have been under way is damage, and what is damaged within is not.
#[test]
fn only_the_end_of_an_open_segment_may_have_been_under_way() {
    let layout = LogLayout {
        segment_bytes: 1 << 20,
        ..layout(4)
    };
    // Of ten frames two are kept for reads.
    let under_way = 8 * layout.frame_bytes;
    let device = Memory::new(blank(&layout), 1);
    let mut room = Room::new(&layout);
    let mut places = Vec::new();
    {
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        for number in 0..20 {
            append(&mut log, number, 17_000);
            for event in settle(&mut log) {
                if let LogEvent::Written { offset, .. } = event {
                    places.push(offset);
                }
            }
        }
        let mut events = Vec::new();
        assert!(flush(&mut log, &mut events));
        places.extend(events.iter().filter_map(|event| match event {
            LogEvent::Written { offset, .. } => Some(*offset),
            _ => None,
        }));
    }
    assert_eq!(places.len(), 20);
    let last = places[19];
    for (number, place) in (0..).zip(places) {
        let mut image = device.lock().image.clone();
        image[place as usize + 9000] ^= 1;
        let device = Memory::new(image, 1);
        let mut room = Room::new(&layout);
        let mut log = room.log(&device, layout, identity());
        let (report, found) = open(&mut log).unwrap();
        let within = place + record_bytes(17_000, layout.part_bytes) > last - under_way;
        assert_eq!(
            (report.unfinished, found.len()),
            (u64::from(within), 20 - usize::from(within))
        );
        // Superblocks, marks, around the begins of segments, the headers of records and what is free behind them, a
        // frame at a time less a header, and what may have been under way; of a record whose parts lie in two frames,
        // the first ones twice.
        let blank = 65_536 + layout.segment_bytes - last;
        let headers = 5 * 4096 + 5 * 12_288 + 22 * 8192 + blank + blank / 15;
        let read_bytes = device.lock().read_bytes;
        assert!(read_bytes < headers + under_way + under_way / 4, "{read_bytes}");
        append(&mut log, 30, 100);
        assert!(flush(&mut log, &mut Vec::new()));
        let (checked, _) = checks(&device.lock().image);
        assert_eq!(
            (checked.damaged, checked.damaged_unflushed),
            (1, u64::from(within)),
            "{number}"
        );
    }
}
