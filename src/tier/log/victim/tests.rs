//! Giving up segments.
//!
//! # Soundness
//! - **I2** Targets live until the outcome is told.
#![allow(unsafe_code)]

use std::vec;
use std::vec::Vec;

use super::super::tests::*;
use super::super::*;

/// Steps through the victim; its records' keys, or `None` if they are lost.
fn steps(log: &mut Log<'_>) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let mut offset_last = 0;
    loop {
        match log.victim_next() {
            VictimStep::Pending => {
                settle(log);
            }
            record @ VictimStep::Record { offset, info, .. } => {
                // Who can't deal with it yet is told it again.
                log.victim_again();
                assert_eq!(log.victim_next(), record);
                assert!(offset > offset_last && log.victim_range().contains(&offset));
                offset_last = offset;
                keys.push(info.key);
            }
            VictimStep::Done => return Some(keys),
            VictimStep::Lost => return None,
        }
    }
}

/// Appends blocks until no segment is free; how many.
fn fill(log: &mut Log<'_>, bytes: usize) -> u64 {
    for number in 0.. {
        loop {
            match log.append(&info(number, bytes), &payload(number, 0, bytes), number, false) {
                Ok(()) => break,
                Err(Refused::Full) => {
                    settle(log);
                }
                Err(Refused::NoSegment) => return number,
                Err(refused) => panic!("{refused:?}"),
            }
        }
    }
    0
}

#[test]
fn segments_are_given_up_in_order_and_written_again() {
    let layout = layout(4);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    // The last free segment is kept for what is copied.
    let count = fill(&mut log, 3000);
    assert_eq!(log.segments_free(), 1);
    let mut given_up = Vec::new();
    for round in 0..3 {
        assert!(log.victim_begin());
        assert!(!log.victim_begin(), "one at a time");
        given_up.extend(steps(&mut log).unwrap());
        assert!(!log.victim_range().is_empty());
        log.victim_end();
        assert!(log.victim_range().is_empty());
        assert_eq!(log.segments_free(), 2 + round);
    }
    assert!(!log.victim_begin(), "nothing is sealed");
    assert_eq!(given_up, (0..count).map(key).collect::<Vec<_>>());
    // All four are written again: four times as much as before goes through.
    assert!(fill(&mut log, 3000) >= count);
}

#[test]
fn a_segment_is_not_written_again_while_it_is_read() {
    let layout = layout(3);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    let mut offset = 0;
    open(&mut log).unwrap();
    log.append(&info(0, 9000), &payload(0, 0, 9000), 0, false).unwrap();
    log.push();
    for event in settle(&mut log) {
        if let LogEvent::Written { offset: told, .. } = event {
            offset = told;
        }
    }
    fill(&mut log, 9000);
    settle(&mut log);
    device.lock().holds_reads = true;
    let mut target = vec![0; 9000];
    let request = ReadRequest {
        offset,
        payload_bytes: 9000,
        key: key(0),
        target: target.as_mut_ptr(),
        tag: 4,
    };
    // SAFETY: I2, told below.
    unsafe { log.read(&request) }.unwrap();
    // Given up without looking at its table, and with the read still under way.
    assert!(log.victim_begin());
    log.victim_end();
    assert_eq!(log.segments_free(), 2);
    let append_many = |log: &mut Log<'_>, events: &mut Vec<LogEvent>| {
        for number in 0..200 {
            match log.append(&info(number, 9000), &payload(number, 1, 9000), number, true) {
                Ok(()) | Err(Refused::Full) => {}
                Err(Refused::NoSegment) => break,
                Err(refused) => panic!("{refused:?}"),
            }
            log.poll(0, &mut |event| events.push(event));
        }
    };
    let mut events = Vec::new();
    append_many(&mut log, &mut events);
    assert_eq!(log.segments_free(), 1, "written again while it was read");
    device.lock().holds_reads = false;
    append_many(&mut log, &mut events);
    assert_eq!(log.segments_free(), 0);
    let told = events
        .iter()
        .find(|event| matches!(event, LogEvent::Read { tag: 4, .. }));
    assert!(matches!(told, Some(LogEvent::Read { result: Ok(_), .. })), "{told:?}");
    assert!(target == payload(0, 0, 9000), "wrong bytes");
    // Of a segment that is free nothing can be read.
    while log.victim_begin() {
        let range = log.victim_range();
        log.victim_end();
        assert_eq!(read(&mut log, 1, range.start + 4096, 9000), Err(ReadFault::Damaged));
    }
}

/// Without its table a segment is scanned; what can't be read at all is lost, and said to be.
#[test]
fn a_victim_without_a_table_is_scanned() {
    for (cut, lost) in [(4096, false), (8192, false), (65536, true)] {
        let layout = layout(3);
        let device = Memory::new(blank(&layout), 5);
        let mut room = Room::new(&layout);
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        fill(&mut log, 3000);
        settle(&mut log);
        let end = 65536 * 2;
        match lost {
            false => device.lock().image[end - cut..end].fill(0x33),
            true => device.lock().fails = |_, io| io.offset < 65536 * 2 && io.kind == crate::tier::device::IoKind::Read,
        }
        assert!(log.victim_begin());
        let keys = steps(&mut log);
        match lost {
            false => assert_eq!(keys.unwrap(), (0..keys_of_a_segment()).map(key).collect::<Vec<_>>()),
            true => assert_eq!(keys, None),
        }
        log.victim_end();
        assert_eq!(log.segments_free(), 2);
    }
}

/// Records of 3000 bytes in a segment of 64 KiB: 128 + 64 + 3008 bytes each, beside header, table and footer.
fn keys_of_a_segment() -> u64 {
    (65536 - 3 * 4096) / 3200
}

/// What a crash left unsealed is given up like the others, in its turn.
#[test]
fn an_unsealed_segment_becomes_a_victim() {
    let layout = layout(3);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    {
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        let mut events = Vec::new();
        for number in 0..5 {
            log.append(&info(number, 3000), &payload(number, 0, 3000), number, false)
                .unwrap();
            assert!(flush(&mut log, &mut events));
        }
    }
    let mut log = room.log(&device, layout, identity());
    let (report, found) = open(&mut log).unwrap();
    assert_eq!((report.segments_scanned, found.len()), (1, 5));
    assert!(log.victim_begin());
    assert_eq!(steps(&mut log).unwrap(), (0..5).map(key).collect::<Vec<_>>());
    log.victim_end();
    assert_eq!(log.segments_free(), 3);
}
