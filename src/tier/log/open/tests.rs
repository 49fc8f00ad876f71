//! Opening what a crash, damage or somebody else left.

use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use super::super::format::{FORMAT_VERSION, Page, Superblock};
use super::super::tests::*;
use super::super::*;
use super::{PAGE, SUPERBLOCK_B_OFFSET};

/// By key: the last version and its length; `None` is removed.
type Last = HashMap<u64, Option<(u64, usize)>>;

/// A valid file with blocks of versions, some removed, in several segments; what the last version of each key is.
fn filled(layout: &LogLayout, seed: u64) -> (Vec<u8>, Last) {
    let device = Memory::new(blank(layout), seed);
    let mut room = Room::new(layout);
    let mut log = room.log(&device, *layout, identity());
    open(&mut log).unwrap();
    let mut random = Random(seed);
    let mut last = HashMap::new();
    let mut events = Vec::new();
    for version in 0..60 {
        let number = random.below(20);
        if random.chance(15) {
            if log.append_tombstone(&key(number)).is_ok() {
                last.insert(number, None);
            }
        } else {
            let bytes = random.below(6000) as usize;
            if log
                .append(&info(number, bytes), &payload(number, version, bytes), version, false)
                .is_ok()
            {
                last.insert(number, Some((version, bytes)));
            }
        }
        if random.chance(20) {
            assert!(flush(&mut log, &mut events));
        }
        settle(&mut log);
    }
    assert!(flush(&mut log, &mut events));
    let image = device.lock().image.clone();
    (image, last)
}

fn versions(contents: &[u8], number: u64) -> Option<u64> {
    (0..60).find(|&version| contents == payload(number, version, contents.len()))
}

/// Opens any bytes: nothing panics, and every block that can be read was stored under its key. How many can.
fn opens(image: &[u8], layout: LogLayout) -> Result<(OpenReport, HashMap<u64, Option<u64>>), OpenRefusal> {
    let device = Memory::new(image.to_vec(), 1);
    device.lock().ordered = true;
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    let (report, found) = open(&mut log)?;
    let mut read_back = HashMap::new();
    for (name, place) in &found {
        let number = (0..20)
            .find(|&number| key(number) == *name)
            .expect("a key that nobody stored");
        match read(&mut log, number, place.offset, place.payload_bytes) {
            Ok((told, contents)) => {
                assert_eq!(told, info(number, contents.len()));
                let version = versions(&contents, number);
                assert!(version.is_some(), "wrong bytes");
                read_back.insert(number, version);
            }
            Err(ReadFault::Damaged) => {
                read_back.insert(number, None);
            }
            Err(fault) => panic!("{fault:?}"),
        }
    }
    // And it goes on working.
    let mut events = Vec::new();
    while log.segments_free() < 2 && log.victim_begin() {
        loop {
            match log.victim_next() {
                VictimStep::Pending => events.extend(settle(&mut log)),
                VictimStep::Record { offset, .. } => assert!(log.victim_range().contains(&offset)),
                VictimStep::Done | VictimStep::Lost => break,
            }
        }
        log.victim_end();
    }
    if log.segments_free() >= 2 {
        log.append(&info(3, 5), b"later", 1, false).unwrap();
        assert!(flush(&mut log, &mut events));
    }
    Ok((report, read_back))
}

fn checks(image: &[u8]) -> (CheckReport, Vec<CheckItem>) {
    let device = Memory::new(image.to_vec(), 1);
    let mut buffer = vec![0; CHECK_BUFFER_BYTES_MIN];
    let mut items = Vec::new();
    let report = check(&device, &mut buffer, &mut |item| items.push(item));
    (report, items)
}

#[test]
fn a_good_file_opens_and_checks_without_damage() {
    for seed in 0..10 {
        let layout = layout(12);
        let (image, last) = filled(&layout, seed);
        let (report, found) = opens(&image, layout).unwrap();
        assert_eq!((report.created, report.damaged), (false, 0));
        for (number, version) in &last {
            let found = found.get(number).copied().flatten();
            assert_eq!(found, version.map(|(version, _)| version), "key {number}");
        }
        let (checked, items) = checks(&image);
        assert_eq!((checked.damaged, checked.io_errors), (0, 0));
        assert_eq!((checked.blocks, checked.bytes), (report.blocks, report.bytes));
        assert_eq!(checked.segments_used, report.segments_used);
        let identity_found = checked.identity.unwrap();
        assert_eq!(identity_found.file_id, identity().file_id);
        assert_eq!(identity_found.tier, Some(Tier::Nvme as u32));
        let blocks = items
            .iter()
            .filter(|item| matches!(item, CheckItem::Block { .. }))
            .count();
        assert_eq!(blocks as u64, report.blocks);
    }
}

/// A short script, cut off behind every single write, with every mixture of what was not durable.
#[test]
fn killed_at_every_write() {
    let layout = layout(4);
    let base = blank(&layout);
    let device = Memory::new(base.clone(), 3);
    device.lock().keeps_journal = true;
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    // By journal length: which version of which key is durable from there on, and which version came last.
    let mut promises: Vec<(usize, HashMap<u64, Option<u64>>, u64)> = Vec::new();
    // Every append or removal: when, of which key.
    let mut changes: Vec<(usize, u64, u64)> = Vec::new();
    let mut last: HashMap<u64, Option<u64>> = HashMap::new();
    let mut events = Vec::new();
    let mut random = Random(8);
    for version in 0..60 {
        let number = version % 5;
        let bytes = 100 + random.below(8000) as usize;
        let append = |log: &mut Log<'_>| match version % 11 {
            10 => log.append_tombstone(&key(number)).map(|()| None),
            _ => log
                .append(&info(number, bytes), &payload(number, version, bytes), version, false)
                .map(|()| Some(version)),
        };
        let appended = loop {
            match append(&mut log) {
                Ok(version) => break version,
                Err(Refused::Full) => {
                    settle(&mut log);
                }
                Err(Refused::NoSegment) => {
                    // What is given up was superseded, or is not promised any more.
                    assert!(log.victim_begin());
                    let range = log.victim_range();
                    let mut alive = HashMap::new();
                    loop {
                        match log.victim_next() {
                            VictimStep::Pending => {
                                settle(&mut log);
                            }
                            VictimStep::Record {
                                offset,
                                payload_bytes,
                                info: told,
                                tombstone: false,
                            } => {
                                alive.insert(told.key, (offset, payload_bytes));
                            }
                            VictimStep::Record { .. } => {}
                            VictimStep::Done => break,
                            VictimStep::Lost => panic!("lost"),
                        }
                    }
                    for number in 0..5 {
                        let Some(&(offset, payload_bytes)) = alive.get(&key(number)) else {
                            continue;
                        };
                        let (told, contents) = read(&mut log, number, offset, payload_bytes).unwrap();
                        if last.get(&number).copied().flatten() == versions(&contents, number) {
                            while log.append(&told, &contents, 1000, true) == Err(Refused::Full) {
                                settle(&mut log);
                            }
                        }
                    }
                    assert!(!range.is_empty());
                    settle(&mut log);
                    log.victim_end();
                }
                Err(refused) => panic!("{refused:?}"),
            }
        };
        last.insert(number, appended);
        changes.push((device.lock().journal.len(), number, version));
        if version % 4 == 3 {
            assert!(flush(&mut log, &mut events));
            promises.push((device.lock().journal.len(), last.clone(), version));
        }
    }
    let journal = device.lock().journal.clone();
    let times = if cfg!(debug_assertions) { 6 } else { 40 };
    let mut checked = 0;
    for done in 0..=journal.len() {
        let promise = promises.iter().rev().find(|(at, ..)| *at <= done);
        for time in 0..times {
            let image = crashed(&base, &journal, done, &mut Random(done as u64 * 1000 + time));
            let (_, found) = opens(&image, layout).unwrap_or_else(|refusal| panic!("{done}: {refusal:?}"));
            let Some((_, promised, at)) = promise else {
                continue;
            };
            for (number, version) in promised {
                let found = found.get(number).copied().flatten();
                // Since the flush it may have been appended again or removed, and that may be there, or be torn.
                let changed = changes
                    .iter()
                    .any(|(when, other, version)| other == number && *when <= done && version > at);
                let is_later = found.is_some_and(|found| found > *at);
                assert!(
                    found == *version || changed && (found.is_none() || is_later),
                    "{done} {time}: key {number} has {found:?} instead of {version:?}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 1000);
}

#[test]
fn mutated_files_never_give_wrong_bytes() {
    let layout = layout(6);
    let rounds = if cfg!(debug_assertions) { 400 } else { 4000 };
    let (image, _) = filled(&layout, 4);
    let mut damaged = 0;
    let mut random = Random(9);
    for _ in 0..rounds {
        let mut image = image.clone();
        for _ in 0..1 + random.below(4) {
            let length = image.len() as u64;
            let at = random.below(length) as usize;
            let bytes = random.below(20_000).min(length - at as u64) as usize;
            match random.below(6) {
                0 => image[at] ^= 1 << random.below(8),
                1 => image[at..at + bytes].fill(0),
                2 => image[at..at + bytes].fill_with(|| random.next() as u8),
                // Pieces that verify, in other places.
                3 => {
                    let unit = [64, 512, 4096][random.below(3) as usize];
                    let from = random.below(length - bytes as u64) as usize / unit * unit;
                    let to = random.below(length - bytes as u64) as usize / unit * unit;
                    image.copy_within(from..from + bytes, to);
                }
                // Whole segments exchanged.
                4 if image.len() as u64 == layout.file_bytes() => {
                    let segment = layout.segment_bytes as usize;
                    let area = image.split_at_mut(65536).1;
                    let (first, second) = (random.below(6) as usize, random.below(6) as usize);
                    if first < second {
                        let (left, right) = area.split_at_mut(second * segment);
                        left[first * segment..][..segment].swap_with_slice(&mut right[..segment]);
                    }
                }
                // Half a file.
                _ => image.truncate(at),
            }
            if image.is_empty() {
                break;
            }
        }
        match opens(&image, layout) {
            Ok((report, _)) => damaged += u64::from(report.damaged != 0),
            Err(OpenRefusal::Foreign | OpenRefusal::Io { .. }) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        let (report, items) = checks(&image);
        for item in items {
            if let CheckItem::Block { info: told, .. } = item {
                assert!((0..20).any(|number| told == info(number, told.block_bytes as usize)));
            }
        }
        assert!(report.identity.is_some_and(|found| found.file_id == identity().file_id) || report.blocks == 0);
    }
    assert!(damaged > rounds / 3);
}

#[test]
fn arbitrary_bytes_are_refused() {
    let layout = layout(4);
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut image = blank(&layout);
        image.fill_with(|| random.next() as u8);
        assert_eq!(opens(&image, layout).err(), Some(OpenRefusal::Foreign));
        let (report, _) = checks(&image);
        assert!(report.identity.is_none() && !report.blank);
        // Told to overwrite, it is a new file, and its remains count for nothing.
        let device = Memory::new(image, seed);
        let mut room = Room::new(&layout);
        {
            let mut log = room.log(&device, layout, identity());
            assert!(log.open(true, true, &mut |_| panic!("a record")).unwrap().created);
        }
        let mut log = room.log(&device, layout, identity());
        let report = log.open(true, true, &mut |_| panic!("a record")).unwrap();
        assert_eq!((report.created, report.damaged), (false, 0));
    }
    assert!(checks(&blank(&layout)).0.blank);
    assert!(checks(&[]).0.blank);
    assert!(matches!(opens(&[], layout), Err(OpenRefusal::Io { .. })));
}

#[test]
fn another_tier_is_refused_with_what_it_holds() {
    let held = layout(6);
    let (image, _) = filled(&held, 1);
    let digest = |byte: u8| u64::from_be_bytes([byte; 8]);
    type Change = fn(&mut LogLayout, &mut Identity);
    let cases: [(Change, &str, u64, u64); 6] = [
        (|_, identity| identity.tier = Tier::Disk, "tier", 2, 3),
        (
            |_, identity| identity.geometry_digest = [8; 32],
            "geometry",
            digest(7),
            digest(8),
        ),
        (|layout, _| layout.block_bytes = 10_000, "block_bytes", 20_000, 10_000),
        (
            |layout, _| layout.segment_bytes = 128 << 10,
            "segment_bytes",
            64 << 10,
            128 << 10,
        ),
        (|layout, _| layout.part_bytes = 2048, "part_bytes", 1024, 2048),
        (|layout, _| layout.segments_count = 5, "segments_count", 6, 5),
    ];
    for (change, field, holds, asked) in cases {
        let (mut layout, mut identity) = (held, identity());
        change(&mut layout, &mut identity);
        for lost_superblocks in [false, true] {
            // A segment's header does not say which tier it is.
            if lost_superblocks && field == "tier" {
                continue;
            }
            let mut image = image.clone();
            if lost_superblocks {
                image[..40_000].fill(0);
            }
            let device = Memory::new(image.clone(), 1);
            let mut room = Room::new(&layout);
            let mut log = room.log(&device, layout, identity);
            let outcome = log.open(false, false, &mut |_| panic!("a record"));
            assert_eq!(outcome, Err(OpenRefusal::Mismatch { field, holds, asked }));
            assert!(device.lock().image == image, "a file that was refused was written");
            // The checker needs no configuration.
            assert_eq!(checks(&image).0.identity.unwrap().block_bytes, 20_000);
        }
    }
    // Another version.
    let mut image = image;
    for at in [0, SUPERBLOCK_B_OFFSET as usize] {
        let page: &mut [u8; PAGE] = (&mut image[at..at + PAGE]).try_into().unwrap();
        let mut superblock = Superblock::decode(page).good().unwrap();
        superblock.version = 2;
        superblock.encode(page);
    }
    assert_eq!(
        opens(&image, held).err(),
        Some(OpenRefusal::Mismatch {
            field: "version",
            holds: 2,
            asked: u64::from(FORMAT_VERSION)
        })
    );
    assert_eq!(checks(&image).0.identity.unwrap().version, 2);
}

#[test]
fn a_file_grows() {
    let small = layout(6);
    let (mut image, last) = filled(&small, 2);
    let large = layout(9);
    image.resize(large.file_bytes() as usize, 0);
    let (report, found) = opens(&image, large).unwrap();
    assert_eq!(report.damaged, 0);
    let alive = last.values().flatten().count();
    assert_eq!(found.values().flatten().count(), alive);
}

#[test]
fn superblocks_are_repaired() {
    let layout = layout(6);
    let (image, last) = filled(&layout, 3);
    let alive = last.values().flatten().count();
    for (first, second, damaged) in [
        (100..101, 0..0, 1),
        (0..0, 32768 + 4090..32768 + 4091, 1),
        (0..4096, 0..0, 1),
        (5..6, 32768..36864, 2),
    ] {
        let mut image = image.clone();
        for range in [first, second] {
            image[range].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
        let before = image.clone();
        let device = Memory::new(image, 4);
        let mut room = Room::new(&layout);
        {
            // Told to refuse damage, it leaves everything as it is.
            let mut log = room.log(&device, layout, identity());
            let refused = log.open(false, true, &mut |_| {});
            assert_eq!(refused, Err(OpenRefusal::Damaged { count: damaged }));
            assert!(device.lock().image == before);
        }
        {
            let mut log = room.log(&device, layout, identity());
            let (report, found) = open(&mut log).unwrap();
            assert_eq!((report.damaged, found.len()), (damaged, alive));
        }
        let state = device.lock();
        for at in [0, 32768] {
            assert!(matches!(Superblock::decode(&state.image[at..at + PAGE]), Page::Good(_)));
        }
        drop(state);
        let mut log = room.log(&device, layout, identity());
        assert_eq!(open(&mut log).unwrap().0.damaged, 0);
    }
}

/// Tables and headers that are gone cost nothing: records speak for themselves.
#[test]
fn lost_headers_and_tables_are_made_up_for() {
    let layout = layout(6);
    let (image, last) = filled(&layout, 3);
    let alive = last.values().flatten().count();
    let segment = layout.segment_bytes as usize;
    for index in 0..3 {
        let start = 65536 + index * segment;
        let end = start + segment;
        for (range, what) in [
            (start..start + 4096, "header"),
            (end - 4096..end, "footer"),
            (end - 8192..end - 4096, "table"),
        ] {
            for byte in [0, 0x77] {
                let mut image = image.clone();
                if image[range.clone()].iter().all(|byte| *byte == 0) {
                    continue;
                }
                image[range.clone()].fill(byte);
                let (report, found) = opens(&image, layout).unwrap();
                assert_eq!(found.values().flatten().count(), alive, "{what} of segment {index}");
                // A footer that is zero is one that was never written.
                assert_eq!(
                    report.damaged,
                    u64::from(what != "footer" || byte != 0),
                    "{what} of segment {index}"
                );
            }
        }
    }
}

/// Opening reads what it must, not the blocks, but for those at the ends of segments that may have been under way.
#[test]
fn opening_reads_little_payload() {
    let layout = layout(6);
    let (image, _) = filled(&layout, 5);
    let (report, _) = opens(&image, layout).unwrap();
    let device = Memory::new(image, 1);
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    let scanned = report.segments_scanned * layout.segment_bytes;
    let borders = 7 * 12_288 + 4 * 4096;
    let tables = report.segments_used * 12_288;
    // Eight frames can be under way, in the last segment and the one before; the first parts in a frame are read twice.
    let ends = 2 * 8 * (layout.frame_bytes + 2 * layout.part_bytes);
    assert!(device.lock().read_bytes <= scanned + 8192 * report.segments_scanned + borders + tables + ends);
    assert!(report.segments_scanned == 1);
}

/// A crash while the superblocks of a new file are written leaves a new file.
#[test]
fn a_new_file_that_was_never_finished_is_new() {
    let layout = layout(3);
    let base = blank(&layout);
    let device = Memory::new(base.clone(), 3);
    device.lock().keeps_journal = true;
    let mut room = Room::new(&layout);
    {
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
    }
    let journal = device.lock().journal.clone();
    for done in 0..=journal.len() {
        for time in 0..50 {
            let image = crashed(&base, &journal, done, &mut Random(time * 100 + done as u64));
            opens(&image, layout).unwrap();
        }
    }
}

#[test]
fn a_shorter_device_holds_what_it_holds() {
    let layout = layout(6);
    let (image, _) = filled(&layout, 6);
    for length in (0..=image.len()).rev().step_by(7777) {
        match opens(&image[..length], layout) {
            Ok((report, _)) => assert!(!report.created && length >= 40_960),
            Err(OpenRefusal::Io { .. } | OpenRefusal::Foreign) => assert!(length < 40_960),
            Err(refusal) => panic!("{length}: {refusal:?}"),
        }
        checks(&image[..length]);
    }
}

fn append(log: &mut Log<'_>, number: u64, bytes: usize) {
    while log.append(&info(number, bytes), &payload(number, 0, bytes), number, true) == Err(Refused::Full) {
        settle(log);
    }
}

fn give_up(log: &mut Log<'_>) {
    assert!(log.victim_begin());
    settle(log);
    log.victim_end();
}

/// A tombstone's segment is written again only when no crash brings back what it buried.
#[test]
fn what_was_removed_stays_removed() {
    let layout = layout(4);
    let base = blank(&layout);
    let device = Memory::new(base.clone(), 3);
    device.lock().keeps_journal = true;
    let mut room = Room::new(&layout);
    let mut log = room.log(&device, layout, identity());
    open(&mut log).unwrap();
    let mut events = Vec::new();
    // The block in the first segment, the tombstone in the second; both are given up, and durably so.
    append(&mut log, 0, 3000);
    for number in 1..4 {
        append(&mut log, number, 17_000);
    }
    settle(&mut log);
    while log.append_tombstone(&key(0)) == Err(Refused::Full) {
        settle(&mut log);
    }
    for number in 4..8 {
        append(&mut log, number, 17_000);
    }
    settle(&mut log);
    give_up(&mut log);
    give_up(&mut log);
    assert!(flush(&mut log, &mut events));
    let before = device.lock().journal.len();
    // Both are written again.
    for number in 8..18 {
        append(&mut log, number, 17_000);
        log.push();
        settle(&mut log);
    }
    let journal = device.lock().journal.clone();
    let segment = layout.segment_bytes as usize;
    let second = 65536 + segment..65536 + 2 * segment;
    let mut written_again = 0;
    for done in before..=journal.len() {
        let untouched = crashed_keeping(&base, &journal, before, |_| true);
        // Nothing is there that was not durable, but for ruins in the second segment.
        let mut image = crashed_keeping(&base, &journal, done, |offset| second.contains(&(offset as usize)));
        if image[second.clone()] != untouched[second.clone()] {
            written_again += 1;
            image[second.start..second.start + 8192].fill(0x11);
            image[second.end - 8192..second.end].fill(0x11);
        }
        let (_, found) = opens(&image, layout).unwrap();
        assert_eq!(found.get(&0), None, "{done}");
    }
    assert!(written_again > 0);
}

/// A copy that a crash tore does not take the place of its original, however often the file is opened.
#[test]
fn a_torn_copy_never_counts() {
    let layout = layout(4);
    let device = Memory::new(blank(&layout), 3);
    let mut room = Room::new(&layout);
    let mut place = 0;
    {
        let mut log = room.log(&device, layout, identity());
        open(&mut log).unwrap();
        for number in 0..4 {
            append(&mut log, number, 17_000);
        }
        settle(&mut log);
        // The first block is copied, and its copy's segment sealed.
        assert!(log.victim_begin());
        append(&mut log, 0, 17_000);
        log.push();
        for event in settle(&mut log) {
            if let LogEvent::Written { tag: 0, offset, .. } = event {
                place = offset;
            }
        }
        for number in 4..6 {
            append(&mut log, number, 17_000);
        }
        settle(&mut log);
    }
    assert!(place > 2 * 65536);
    device.lock().image[place as usize + 9000] ^= 1;
    for round in 0..3 {
        let mut log = room.log(&device, layout, identity());
        let (report, found) = open(&mut log).unwrap();
        assert_eq!(report.damaged, 0);
        if round == 0 {
            // A new segment says that everything before it is durable.
            append(&mut log, 9, 100);
            assert!(flush(&mut log, &mut Vec::new()));
        }
        let original = found[&key(0)];
        assert_ne!(original.offset, place);
        assert!(read(&mut log, 0, original.offset, original.payload_bytes).is_ok());
    }
}
