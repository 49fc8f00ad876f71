//! Devices that fail, stall, move less than asked, or end too early.
//!
//! # Soundness
//! - **I2** Targets live until the outcome is told.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use super::super::tests::*;
use super::super::*;
use crate::tier::device::{Io, IoKind};

/// What a script found out.
#[derive(Default)]
struct Outcome {
    /// Blocks told as written, by key: where.
    written: HashMap<u64, (u64, u32)>,
    failed: Vec<u64>,
    offline: bool,
    /// Keys that a flush vouched for.
    durable: Vec<u64>,
    /// What the request was that failed.
    failed_kind: Option<IoKind>,
}

fn note(outcome: &mut Outcome, events: &[LogEvent]) {
    for event in events {
        match *event {
            LogEvent::Written {
                tag,
                offset,
                payload_bytes,
            } => assert!(
                outcome.written.insert(tag, (offset, payload_bytes)).is_none(),
                "told twice"
            ),
            LogEvent::WriteFailed { tag } => outcome.failed.push(tag),
            LogEvent::Offline => {
                assert!(!outcome.offline, "told twice");
                outcome.offline = true;
            }
            LogEvent::Read { .. } | LogEvent::Progress { .. } => {}
        }
    }
}

const BLOCKS: u64 = 24;

fn bytes_of(number: u64) -> usize {
    (number * 977 % 9000) as usize
}

/// Appends, flushes, reads; whatever is answered is taken, nothing may be wrong or missing.
fn script(log: &mut Log<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut appended = Vec::new();
    for number in 0..BLOCKS {
        for _ in 0..1000 {
            match log.append(
                &info(number, bytes_of(number)),
                &payload(number, 0, bytes_of(number)),
                number,
                false,
            ) {
                Ok(()) => {
                    appended.push(number);
                    break;
                }
                Err(Refused::Full) => {
                    let mut events = Vec::new();
                    log.poll(0, &mut |event| events.push(event));
                    note(&mut outcome, &events);
                }
                Err(Refused::Offline) => break,
                Err(refused) => panic!("{refused:?}"),
            }
        }
        if number % 7 == 6 {
            let mut events = Vec::new();
            let done = flush(log, &mut events);
            note(&mut outcome, &events);
            if done {
                outcome.durable = appended
                    .iter()
                    .filter(|tag| !outcome.failed.contains(tag))
                    .copied()
                    .collect();
            }
        }
    }
    log.push();
    let events = settle(log);
    note(&mut outcome, &events);
    assert_eq!(
        outcome.written.len() + outcome.failed.len(),
        appended.len(),
        "a record was never told of"
    );
    assert!(outcome.durable.iter().all(|tag| outcome.written.contains_key(tag)));
    for (&number, &(offset, bytes)) in &outcome.written {
        if log.is_offline() {
            break;
        }
        match read(log, number, offset, bytes) {
            Ok((told, contents)) => {
                assert_eq!(told, info(number, bytes_of(number)));
                assert!(contents == payload(number, 0, bytes_of(number)), "wrong bytes");
            }
            Err(ReadFault::Io(5) | ReadFault::Offline) => {}
            Err(fault) => panic!("{fault:?}"),
        }
    }
    outcome
}

/// Runs the script on a device that fails as said, then opens the file again on one that does not.
fn with_faults(prepare: impl Fn(&mut State)) -> Outcome {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    prepare(&mut device.lock());
    let mut room = Room::new(&layout);
    let outcome = {
        let mut log = room.log(&device, layout, identity());
        match open(&mut log) {
            Ok(_) => script(&mut log),
            Err(OpenRefusal::Io { os_error: 5 }) => Outcome::default(),
            Err(refusal) => panic!("{refusal:?}"),
        }
    };
    let mut outcome = outcome;
    outcome.failed_kind = device.lock().failed_kind;
    let image = device.lock().image.clone();
    let device = Memory::new(image, 6);
    let mut log = room.log(&device, layout, identity());
    let (_, found) = open(&mut log).unwrap();
    for &number in &outcome.durable {
        let place = found.get(&key(number)).expect("a flushed block is gone");
        let (_, contents) = read(&mut log, number, place.offset, place.payload_bytes).unwrap();
        assert!(contents == payload(number, 0, bytes_of(number)), "wrong bytes");
    }
    outcome
}

#[test]
fn the_nth_request_fails_once() {
    let mut requests = 0;
    let mut offline = 0;
    for fail_at in 1.. {
        let outcome = with_faults(|state| state.fail_at = fail_at);
        // Another try helps, but for a sync: what it was about may be lost, and the next one would not say so.
        let lost = outcome.failed_kind == Some(IoKind::Sync);
        assert!(
            lost || outcome.failed.is_empty() && !outcome.offline,
            "request {fail_at}"
        );
        offline += u64::from(outcome.offline);
        requests += 1;
        if requests > 300 {
            break;
        }
    }
    assert_ne!(offline, 0, "no sync failed");
}

#[test]
fn the_nth_write_fails_for_good() {
    for place in 0..40 {
        // The place in the file fails, however often it is tried.
        let fails = [
            |_: u64, io: &Io| io.kind == IoKind::Write && (io.offset / 8192).is_multiple_of(5),
            |_: u64, io: &Io| io.kind == IoKind::Write && io.offset / 8192 % 5 == 1,
            |_: u64, io: &Io| io.kind == IoKind::Write && io.offset / 8192 % 5 == 2,
            |number: u64, io: &Io| number > 60 && io.kind == IoKind::Read && io.offset / 8192 % 5 == 3,
            |number: u64, io: &Io| io.kind == IoKind::Sync && number.is_multiple_of(2),
        ][place % 5];
        let outcome = with_faults(|state| {
            state.random = Random(place as u64);
            state.fails = fails;
        });
        if place % 5 == 2 {
            assert!(!outcome.failed.is_empty());
        }
    }
}

#[test]
fn short_transfers_are_completed() {
    for seed in 0..50 {
        let outcome = with_faults(|state| {
            state.random = Random(seed);
            state.short_percent = 60;
        });
        assert!(outcome.failed.is_empty() && !outcome.offline);
        assert_eq!(outcome.written.len() as u64, BLOCKS);
    }
}

#[test]
fn a_device_that_fails_goes_offline_and_everything_is_told() {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    device.lock().fails = |_, _| true;
    let outcome = script(&mut log);
    assert!(outcome.offline && log.is_offline() && outcome.written.is_empty());
    assert!(log.counts().io_errors >= 8 && log.counts().io_retries >= 24);
    assert_eq!(log.append(&info(1, 1), &[1], 1, true), Err(Refused::Offline));
    assert_eq!(log.append_tombstone(&key(1)), Err(Refused::Offline));
    let number = log.flush_begin();
    assert_eq!(log.flushed(number), Some(false));
    assert!(!log.victim_begin() && log.is_idle());
}

#[test]
fn a_stall_is_noticed_by_the_clock_and_by_waiting() {
    for by_clock in [true, false] {
        let layout = layout(6);
        let device = Memory::new(blank(&layout), 5);
        let mut room = Room::new(&layout);
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        let mut events = Vec::new();
        log.append(&info(1, 3), b"one", 1, false).unwrap();
        assert!(flush(&mut log, &mut events));
        let place = events.iter().find_map(|event| match event {
            LogEvent::Written { offset, .. } => Some(*offset),
            _ => None,
        });
        device.lock().stalled = true;
        log.append(&info(2, 3), b"two", 2, false).unwrap();
        let number = log.flush_begin();
        let mut target = vec![0; 3];
        let request = ReadRequest {
            offset: place.unwrap(),
            payload_bytes: 3,
            key: key(1),
            target: target.as_mut_ptr(),
            tag: 9,
        };
        // SAFETY: I2, the outcome is told below.
        unsafe { log.read(&request) }.unwrap();
        events.clear();
        let mut now_ns = 50_000_000_000;
        log.poll(now_ns, &mut |event| events.push(event));
        assert!(events.is_empty(), "a long time without requests is no stall");
        for step in 0..10 {
            assert!(!log.is_offline() && events.is_empty(), "{step}");
            match by_clock {
                true => now_ns += 110_000_000,
                false => log.waited(110_000_000),
            }
            log.poll(now_ns, &mut |event| events.push(event));
        }
        assert_eq!(
            events,
            [
                LogEvent::WriteFailed { tag: 2 },
                LogEvent::Read {
                    tag: 9,
                    result: Err(ReadFault::Offline)
                },
                LogEvent::Offline
            ]
        );
        assert_eq!(log.flushed(number), Some(false));
        assert!(!log.is_idle(), "the device still has frames");
        // What comes back at last harms nobody.
        device.lock().stalled = false;
        assert_eq!(settle(&mut log), []);
        assert!(log.is_idle());
        assert_eq!(target, [0; 3]);
    }
}

/// One request that never comes back, beside others that do, ends a device too: somebody waits for it. A pause of those
/// who drive the log does not.
#[test]
fn a_lost_request_is_noticed_while_others_come_back() {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    let mut events = Vec::new();
    log.append(&info(1, 3), b"one", 1, false).unwrap();
    assert!(flush(&mut log, &mut events));
    let place = events.iter().find_map(|event| match event {
        LogEvent::Written { offset, .. } => Some(*offset),
        _ => None,
    });
    let mut target = vec![0; 3];
    let request = ReadRequest {
        offset: place.unwrap(),
        payload_bytes: 3,
        key: key(1),
        target: target.as_mut_ptr(),
        tag: 9,
    };
    device.lock().holds_reads = true;
    // SAFETY: I2, the outcome is told below.
    unsafe { log.read(&request) }.unwrap();
    events.clear();
    // The log was left alone for long.
    let mut now_ns = 70_000_000_000;
    let mut steps = 0;
    while !log.is_offline() {
        steps += 1;
        assert!(steps < 100, "nobody notices");
        let _ = log.append(&info(2, 3), b"two", 2, false);
        log.push();
        for _ in 0..20 {
            log.poll(now_ns, &mut |event| events.push(event));
        }
        now_ns += 110_000_000;
    }
    assert!(steps > 15, "too early: {steps}");
    let result = Err(ReadFault::Offline);
    assert!(events.contains(&LogEvent::Read { tag: 9, result }));
    assert!(events.iter().any(|event| matches!(event, LogEvent::Written { .. })));
    // What comes back at last harms nobody.
    device.lock().holds_reads = false;
    settle(&mut log);
    assert_eq!(target, [0; 3]);
}

#[test]
fn a_file_that_is_cut_off_under_the_log_only_loses_blocks() {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    let mut outcome = Outcome::default();
    for number in 0..5 {
        log.append(&info(number, 9000), &payload(number, 0, 9000), number, false)
            .unwrap();
        log.push();
        note(&mut outcome, &settle(&mut log));
    }
    let (second, third) = (outcome.written[&1], outcome.written[&2]);
    device.lock().image.truncate(third.0 as usize + 4096);
    assert!(read(&mut log, 1, second.0, second.1).is_ok());
    assert!(read(&mut log, 2, third.0, third.1).is_err());
    device.lock().image.truncate(0);
    assert!(read(&mut log, 1, second.0, second.1).is_err());
    assert!(!log.is_offline());
}

/// A frame that is not full is not forgotten.
#[test]
fn what_is_staged_is_submitted_after_a_while() {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    log.append(&info(1, 3), b"one", 1, false).unwrap();
    assert_eq!(settle(&mut log), []);
    assert!(!log.is_idle());
    let mut events = Vec::new();
    for _ in 0..100 {
        log.poll(30_000_000, &mut |event| events.push(event));
    }
    assert!(matches!(events[..], [LogEvent::Written { tag: 1, .. }]), "{events:?}");
}

/// As many blocks as there is room for, in any order, while records are appended; neither starves.
#[test]
fn reads_and_writes_share_the_frames() {
    let layout = layout(12);
    for seed in 0..30 {
        let device = Memory::new(blank(&layout), seed);
        let mut room = Room::new(&layout);
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        let mut outcome = Outcome::default();
        for number in 0..10 {
            log.append(&info(number, 18_000), &payload(number, 0, 18_000), number, false)
                .unwrap();
            log.push();
            note(&mut outcome, &settle(&mut log));
        }
        let mut targets = vec![vec![0_u8; 18_000]; 10];
        let mut busy = [false; 10];
        let (mut begun, mut done, mut appended) = (0, 0, 0);
        let mut rounds = 0;
        while done < 40 || appended < 6 {
            rounds += 1;
            assert!(rounds < 20_000, "seed {seed}: {done} reads, {appended} writes");
            // There are always more reads waiting than there is room for.
            while begun < done + 10 {
                let number = begun % 10;
                if busy[number as usize] {
                    break;
                }
                let (offset, payload_bytes) = outcome.written[&number];
                let request = ReadRequest {
                    offset,
                    payload_bytes,
                    key: key(number),
                    target: targets[number as usize].as_mut_ptr(),
                    tag: number,
                };
                // SAFETY: I2; ten blocks are begun at most, each has its own target.
                match unsafe { log.read(&request) } {
                    Ok(()) => {
                        begun += 1;
                        busy[number as usize] = true;
                    }
                    Err(Refused::Full) => break,
                    Err(refused) => panic!("{refused:?}"),
                }
            }
            let number = 50 + appended;
            if appended < 6
                && log
                    .append(&info(number, 18_000), &payload(number, 0, 18_000), number, false)
                    .is_ok()
            {
                appended += 1;
            }
            let mut events = Vec::new();
            log.poll(0, &mut |event| events.push(event));
            for event in &events {
                if let LogEvent::Read { tag, result } = event {
                    assert!(result.is_ok());
                    let target = &mut targets[*tag as usize];
                    assert!(*target == payload(*tag, 0, 18_000), "wrong bytes");
                    target.fill(0);
                    busy[*tag as usize] = false;
                    done += 1;
                }
            }
        }
    }
}

/// What was promised to be the most is the most.
#[test]
fn bytes_written_stay_within_what_appends_cost() {
    let layout = layout(10);
    for seed in 0..20 {
        let device = Memory::new(blank(&layout), seed).with_alignment([512, 4096][seed as usize % 2]);
        let mut room = Room::new(&layout);
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        let before = device.lock().written_bytes;
        let mut random = Random(seed);
        let mut allowed = 0;
        for number in 0.. {
            let bytes = random.below(if seed < 10 { 2000 } else { 20_000 }) as usize;
            let cost = log.append_cost_max(if number % 5 == 0 { 0 } else { bytes as u64 });
            let result = match number % 5 {
                0 => log.append_tombstone(&key(number)),
                _ => log.append(&info(number, bytes), &payload(number, 0, bytes), number, false),
            };
            match result {
                Ok(()) => allowed += cost,
                Err(Refused::Full) => {}
                Err(_) => break,
            }
            if random.chance(30) {
                let mut events = Vec::new();
                assert!(flush(&mut log, &mut events));
            } else {
                settle(&mut log);
            }
            assert!(log.counts().bytes_written <= allowed);
        }
        let mut events = Vec::new();
        assert!(flush(&mut log, &mut events));
        settle(&mut log);
        assert!(log.counts().bytes_written <= allowed);
        assert_eq!(device.lock().written_bytes - before, log.counts().bytes_written);
    }
}

/// A flush that covers a write that failed says so, and the next one does not. After a sync that failed nothing more is
/// promised.
#[test]
fn a_flush_fails_with_what_it_covers() {
    let layout = layout(6);
    for kind in [IoKind::Write, IoKind::Sync] {
        let device = Memory::new(blank(&layout), 5);
        let mut room = Room::new(&layout);
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        let mut events = Vec::new();
        log.append(&info(1, 3), b"one", 1, false).unwrap();
        assert!(flush(&mut log, &mut events));
        log.append(&info(2, 3), b"two", 2, false).unwrap();
        device.lock().fails = match kind {
            IoKind::Write => |_, io| io.kind == IoKind::Write,
            _ => |_, io| io.kind == IoKind::Sync,
        };
        let first = log.flush_begin();
        let second = log.flush_begin();
        settle(&mut log);
        assert_eq!((log.flushed(first), log.flushed(second)), (Some(false), Some(false)));
        device.lock().fails = |_, _| false;
        assert_eq!(log.is_offline(), kind == IoKind::Sync);
        if kind == IoKind::Sync {
            assert_eq!(log.append(&info(3, 3), b"two", 3, false), Err(Refused::Offline));
            continue;
        }
        log.append(&info(3, 3), b"two", 3, false).unwrap();
        assert!(flush(&mut log, &mut events));
        assert_eq!(log.flushed(first), Some(false));
    }
}

/// Without its header in the file, what is in a segment does not count as written.
#[test]
fn a_segment_whose_header_failed_takes_nothing() {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    device.lock().fails = |_, io| io.kind == IoKind::Write && io.offset == 65536;
    log.append(&info(1, 3), b"one", 1, false).unwrap();
    log.push();
    log.append(&info(2, 3), b"two", 2, false).unwrap();
    log.push();
    let told = settle(&mut log);
    assert_eq!(
        told,
        [LogEvent::WriteFailed { tag: 1 }, LogEvent::WriteFailed { tag: 2 }]
    );
    // The next goes into the next segment.
    log.append(&info(3, 3), b"two", 3, false).unwrap();
    log.push();
    let told = settle(&mut log);
    assert!(
        matches!(told[..], [LogEvent::Written { tag: 3, offset, .. }] if offset > 2 * 65536),
        "{told:?}"
    );
}

/// More flushes than there are places for are done together.
#[test]
fn any_number_of_flushes_can_be_under_way() {
    let layout = layout(6);
    let device = Memory::new(blank(&layout), 5);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    let mut numbers = Vec::new();
    for number in 0..40 {
        if number % 3 == 0 {
            while log.append(&info(number, 9), b"012345678", number, false).is_err() {
                settle(&mut log);
            }
        }
        numbers.push(log.flush_begin());
        if number == 30 {
            log.poll(0, &mut |_| {});
        }
    }
    settle(&mut log);
    let last: Vec<_> = numbers
        .iter()
        .rev()
        .take(14)
        .map(|number| log.flushed(*number))
        .collect();
    assert_eq!(last, [Some(true); 14]);
    assert_eq!(log.flushed(1000), Some(false));
}
