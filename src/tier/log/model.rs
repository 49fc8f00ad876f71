//! The log against a map: random appends, tombstones, reads, flushes, victims with reinsertion, crashes.
//!
//! The rule after a crash: a block that was flushed, and neither removed nor given up since, is there with the right
//! bytes; of anything else the bytes of some version that was appended, or nothing.

use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use super::tests::*;
use super::*;

/// What the model knows of a key.
#[derive(Clone, Default)]
struct Known {
    /// Versions appended since the last removal that is durable, with their lengths; a removal is `None`.
    versions: Vec<Option<(u64, usize)>>,
    /// How many of them the last flush covered.
    durable: usize,
    /// Where the newest is, once it is written.
    place: Option<(u64, u32)>,
    /// It was given up without being copied, or could not be written: nothing is promised.
    loose: bool,
}

struct Model {
    keys: BTreeMap<u64, Known>,
    /// Appends under way, by tag: the key, and the place that it is copied from.
    tags: HashMap<u64, (u64, Option<u64>)>,
    tag: u64,
    version: u64,
    random: Random,
}

impl Model {
    fn take(&mut self, events: &[LogEvent]) {
        for event in events {
            match *event {
                LogEvent::Written {
                    tag,
                    offset,
                    payload_bytes,
                } => {
                    let (number, from) = self.tags.remove(&tag).expect("a record is told once");
                    let known = self.keys.get_mut(&number).unwrap();
                    // A copy counts if nothing happened to the block meanwhile.
                    let counts = from.is_none_or(|from| known.place.is_some_and(|place| place.0 == from));
                    let newest = !self
                        .tags
                        .values()
                        .any(|(other, from)| *other == number && from.is_none());
                    if counts && newest && matches!(known.versions.last(), Some(Some(_))) {
                        known.place = Some((offset, payload_bytes));
                    }
                }
                LogEvent::WriteFailed { tag } => {
                    let (number, _) = self.tags.remove(&tag).expect("a record is told once");
                    self.keys.get_mut(&number).unwrap().loose = true;
                    self.keys.get_mut(&number).unwrap().place = None;
                }
                LogEvent::Offline => panic!("offline"),
                _ => {}
            }
        }
    }

    fn wait(&mut self, log: &mut Log<'_>) {
        let mut events = Vec::new();
        let work = log.poll(0, &mut |event| events.push(event));
        if work == 0 {
            log.push();
        }
        self.take(&events);
    }

    fn settle(&mut self, log: &mut Log<'_>) {
        log.push();
        let events = settle(log);
        self.take(&events);
    }

    /// Appends a new version of a key.
    fn append(&mut self, log: &mut Log<'_>) {
        let number = self.random.below(12);
        // A block is written again only when nothing of it is under way, as the engine does it.
        if self.tags.values().any(|(other, _)| *other == number) {
            return self.wait(log);
        }
        let bytes = self
            .random
            .below(if self.random.0.is_multiple_of(3) { 20_000 } else { 3_000 }) as usize;
        self.version += 1;
        let contents = payload(number, self.version, bytes);
        loop {
            self.tag += 1;
            match log.append(&info(number, bytes), &contents, self.tag, false) {
                Ok(()) => break,
                Err(Refused::Full) => self.wait(log),
                Err(Refused::NoSegment) => self.give_up(log),
                Err(refused) => panic!("{refused:?}"),
            }
        }
        self.tags.insert(self.tag, (number, None));
        let known = self.keys.entry(number).or_default();
        known.versions.push(Some((self.version, bytes)));
        known.place = None;
    }

    fn remove(&mut self, log: &mut Log<'_>) {
        let number = self.random.below(12);
        if self.tags.values().any(|(other, _)| *other == number) || !self.keys.contains_key(&number) {
            return self.wait(log);
        }
        loop {
            match log.append_tombstone(&key(number)) {
                Ok(()) => break,
                Err(Refused::Full) => self.wait(log),
                Err(Refused::NoSegment) => self.give_up(log),
                Err(refused) => panic!("{refused:?}"),
            }
        }
        let known = self.keys.get_mut(&number).unwrap();
        known.versions.push(None);
        known.place = None;
    }

    /// Gives up a segment; half of what is alive is copied.
    fn give_up(&mut self, log: &mut Log<'_>) {
        if !log.victim_begin() {
            return self.wait(log);
        }
        let range = log.victim_range();
        loop {
            match log.victim_next() {
                VictimStep::Pending => self.wait(log),
                VictimStep::Done => break,
                VictimStep::Lost => panic!("a segment is lost"),
                VictimStep::Record { tombstone: true, .. } => {}
                VictimStep::Record {
                    offset,
                    payload_bytes,
                    info: told,
                    ..
                } => {
                    let found = self.keys.iter().find(|(number, known)| {
                        key(**number) == told.key && known.place == Some((offset, payload_bytes))
                    });
                    let Some((&number, _)) = found else {
                        continue;
                    };
                    if self.random.chance(50) {
                        self.copy(log, number, offset, payload_bytes, &told);
                    }
                }
            }
        }
        // Everything that was to be copied is told before the segment is given up.
        while !self.tags.is_empty() {
            self.wait(log);
        }
        for known in self.keys.values_mut() {
            if known.place.is_some_and(|(offset, _)| range.contains(&offset)) {
                known.place = None;
                known.loose = true;
            }
        }
        log.victim_end();
    }

    fn copy(&mut self, log: &mut Log<'_>, number: u64, offset: u64, payload_bytes: u32, told: &RecordInfo) {
        let (_, contents) = self
            .read(log, number, offset, payload_bytes)
            .expect("what is known can be read");
        loop {
            self.tag += 1;
            match log.append(told, &contents, self.tag, true) {
                Ok(()) => break,
                Err(Refused::Full) => self.wait(log),
                // The last free segment is full, too.
                Err(Refused::NoSegment) => return,
                Err(refused) => panic!("{refused:?}"),
            }
        }
        self.tags.insert(self.tag, (number, Some(offset)));
    }

    fn read(
        &mut self,
        log: &mut Log<'_>,
        number: u64,
        offset: u64,
        bytes: u32,
    ) -> Result<(RecordInfo, Vec<u8>), ReadFault> {
        let mut events = Vec::new();
        let result = read_telling(log, number, offset, bytes, &mut |event| events.push(event));
        self.take(&events);
        result
    }

    fn check(&mut self, log: &mut Log<'_>) {
        let number = self.random.below(12);
        let Some((place, version)) = self
            .keys
            .get(&number)
            .and_then(|known| Some((known.place?, known.versions.last().copied()??)))
        else {
            return;
        };
        let (told, contents) = self
            .read(log, number, place.0, place.1)
            .expect("what is known can be read");
        assert_eq!(told, info(number, version.1));
        assert!(contents == payload(number, version.0, version.1), "wrong bytes");
    }

    fn flush(&mut self, log: &mut Log<'_>) {
        let covered: Vec<(u64, usize)> = self
            .keys
            .iter()
            .map(|(key, known)| (*key, known.versions.len()))
            .collect();
        let mut events = Vec::new();
        let done = flush(log, &mut events);
        self.take(&events);
        assert!(done, "a flush failed on a device that does not");
        for (number, count) in covered {
            self.keys.get_mut(&number).unwrap().durable = count;
        }
    }

    /// Compares what opening found with what may be there.
    fn reopened(&mut self, log: &mut Log<'_>, found: &HashMap<Key, Recovered>) {
        self.tags.clear();
        let mut keys = core::mem::take(&mut self.keys);
        for (&number, known) in &mut keys {
            let durable = known.durable;
            let required = durable.checked_sub(1).and_then(|last| known.versions[last]);
            let read = found
                .get(&key(number))
                .map(|place| (*place, read(log, number, place.offset, place.payload_bytes)));
            let matching = match &read {
                Some((place, Ok((told, contents)))) => {
                    assert_eq!(*told, info(number, contents.len()));
                    let version = known.versions.iter().rposition(|version| {
                        version.is_some_and(|(version, bytes)| *contents == payload(number, version, bytes))
                    });
                    let version = version.expect("wrong bytes");
                    // Nothing older than what was flushed; after a removal that was flushed, nothing at all.
                    assert!(version + 1 >= durable, "an old version came back");
                    Some((version, (place.offset, place.payload_bytes)))
                }
                _ => None,
            };
            let superseded = known.versions.len() > durable;
            if required.is_some() && !superseded && !known.loose {
                assert!(
                    matching.is_some(),
                    "a flushed block is gone: {number} {:?}",
                    read.map(|read| read.0)
                );
            }
            known.place = matching.map(|(_, place)| place);
            known.versions = match matching {
                Some((version, _)) => std::vec![known.versions[version]],
                None => std::vec![None],
            };
            // Opening makes durable what it found; of what it did not find, nothing must come later.
            known.durable = 1;
            known.loose = matching.is_none();
        }
        for place in found.values() {
            assert!(
                keys.keys().any(|&number| key(number) == place.info.key),
                "a key that nobody stored"
            );
        }
        self.keys = keys;
    }
}

fn run(seed: u64, alignment: u64, rounds: usize) {
    let layout = layout(5);
    let mut image = blank(&layout);
    let mut model = Model {
        keys: BTreeMap::new(),
        tags: HashMap::new(),
        tag: 0,
        version: 0,
        random: Random(seed),
    };
    for round in 0..rounds {
        let device = Memory::new(image.clone(), seed ^ round as u64).with_alignment(alignment);
        device.lock().keeps_journal = true;
        device.lock().short_percent = if seed.is_multiple_of(2) { 20 } else { 0 };
        let mut room = Room::new(&layout);
        {
            let mut log = room.log(&device, layout, identity());
            let (report, found) = open(&mut log).unwrap();
            assert_eq!(report.created, round == 0);
            model.reopened(&mut log, &found);
            for _ in 0..model.random.below(150) {
                match model.random.below(20) {
                    0..8 => model.append(&mut log),
                    8..10 => model.remove(&mut log),
                    10..14 => model.check(&mut log),
                    14 => model.flush(&mut log),
                    15 => model.settle(&mut log),
                    16 if log.segments_free() < 2 => model.give_up(&mut log),
                    _ => model.wait(&mut log),
                }
            }
        }
        // What the process wrote and told, and what it did not: any of it.
        let mut random = Random(seed ^ 0x55);
        let state = device.lock();
        image = crashed(&image, &state.journal, state.journal.len(), &mut random);
    }
}

#[test]
fn the_log_is_a_map_that_survives_crashes() {
    let seeds = std::env::var("KVC_LOG_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(150);
    let first = std::env::var("KVC_LOG_SEED").ok().and_then(|text| text.parse().ok());
    for seed in first.unwrap_or(0)..first.map_or(seeds, |first| first + 1) {
        let alignment = [1, 512, 4096][seed as usize % 3];
        let outcome = std::panic::catch_unwind(|| run(seed, alignment, 6));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
