//! A script on an engine with two file tiers, small enough to be run for each of its writes, and what it proves.

use std::collections::{BTreeMap, BTreeSet};

use kvcache::block::PutInfo;
use kvcache::config::{FileTier, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::engine::{Clock, Devices};
use kvcache::error::{ConfigError, Status};
use kvcache::metrics::{Event, EventKind};
use kvcache::units::{BlockIndex, Tier};
use kvcache::{Config, Engine, Key};

use super::device::Watched;
use crate::common::contents::{difference, fill};
use crate::world::{bytes, key};

/// The file tiers.
pub const TIERS: [Tier; 2] = [Tier::Nvme, Tier::Disk];
const FILES: u8 = Tier::Nvme.bit() | Tier::Disk.bit();
/// Blocks that the script puts.
const KEYS_COUNT: u64 = 44;
/// The engine's patience with a device, in ticks of a millisecond.
const STALL_MS: u64 = 200;

/// Two tiers that both overflow, with blocks of a few pages.
pub fn config(write_policy: WritePolicy) -> Config {
    let block_bytes = 9_000;
    let segment_bytes = 48 << 10;
    let tier = |segments_count| FileTier {
        bytes: (64 << 10) + segment_bytes * segments_count,
        segment_bytes,
        blocks_count: 64,
        depth: 6,
        stall_ms: STALL_MS,
        ..FileTier::NONE
    };
    Config {
        block_bytes,
        cpu_bytes: 5 * 12288,
        pins_count: 8,
        stripes_count: 1,
        events_count: 1024,
        clock_ticks: true,
        nvme: tier(5),
        disk: tier(6),
        write_policy,
        write_wait_ms: 50,
        slots_free_low_permille: 200,
        slots_free_high_permille: 400,
        ..Config::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(u64, u64),
    Get(u64, u64),
    Remove(u64, u64),
    Prefetch(u64, u64),
    Tick(u64),
    Flush,
}

const SCRIPT: &[Step] = &[
    Step::Put(0, 6),
    Step::Flush,
    Step::Put(6, 14),
    Step::Tick(4),
    Step::Get(0, 6),
    Step::Remove(1, 3),
    Step::Flush,
    Step::Put(1, 2),
    Step::Put(14, 24),
    Step::Get(4, 10),
    Step::Flush,
    Step::Prefetch(6, 9),
    Step::Tick(6),
    Step::Get(6, 9),
    Step::Remove(14, 16),
    Step::Put(24, 34),
    Step::Flush,
    Step::Put(14, 15),
    Step::Get(16, 28),
    Step::Put(34, KEYS_COUNT),
    Step::Flush,
    Step::Get(0, KEYS_COUNT),
];

/// What is known from one opening to the next.
#[derive(Clone, Default)]
pub struct Known {
    /// Flushed, and in a file tier ever since.
    pub there: BTreeSet<u64>,
    /// Removed and flushed, and not put since.
    pub gone: BTreeSet<u64>,
    /// Removed and not flushed.
    removed: BTreeSet<u64>,
}

/// An engine, and what it has shown.
pub struct Run<'e, 'd, 'm> {
    engine: Engine<'e>,
    devices: &'e [Watched<'d, 'm>; 2],
    /// What is being tried, for messages.
    case: String,
    pub known: Known,
    located: BTreeMap<u64, u8>,
    event_next: u64,
    /// Events that a tier went offline.
    pub offline_events: [u64; 2],
    pub reads_right: u64,
    now_ns: u64,
    /// The next number of a block that nobody has put.
    fresh: u64,
    buffer: Vec<u8>,
}

impl<'e, 'd, 'm> Run<'e, 'd, 'm> {
    pub fn open(
        config: &Config,
        memory: &'e mut [u8],
        devices: &'e [Watched<'d, 'm>; 2],
        mut known: Known,
        case: &str,
    ) -> Result<Self, ConfigError> {
        // Not flushed: it may be there again.
        known.removed.clear();
        devices.iter().for_each(Watched::step);
        let given = Devices {
            nvme: Some(&devices[0]),
            disk: Some(&devices[1]),
            file_ids: [[7; 16], [9; 16]],
            unix_seconds: 0,
            tables: None,
        };
        let mut run = Self {
            engine: Engine::with_devices(config, memory, Clock::Ticks, given)?,
            devices,
            case: case.into(),
            known,
            located: BTreeMap::new(),
            event_next: 0,
            offline_events: [0; 2],
            reads_right: 0,
            now_ns: 0,
            fresh: 1000,
            buffer: vec![0; config.block_bytes as usize],
        };
        run.events();
        Ok(run)
    }

    /// Runs the script to its end, or until `stop` says so behind one of its calls.
    pub fn script(&mut self, mut stop: impl FnMut() -> bool) -> bool {
        for &step in SCRIPT {
            let (first, end) = match step {
                Step::Put(first, end) | Step::Get(first, end) => (first, end),
                Step::Remove(first, end) | Step::Prefetch(first, end) => (first, end),
                Step::Tick(count) => (0, count),
                Step::Flush => (0, 1),
            };
            for number in first..end {
                self.devices.iter().for_each(Watched::step);
                match step {
                    Step::Put(..) => drop(self.put(number)),
                    Step::Get(..) => drop(self.get(number)),
                    Step::Remove(..) => self.remove(number),
                    Step::Prefetch(..) => drop(self.engine.prefetch(&[key(number)])),
                    Step::Tick(_) => self.tick(),
                    Step::Flush => drop(self.flush()),
                }
                self.events();
                if stop() {
                    return false;
                }
            }
        }
        true
    }

    pub fn tick(&mut self) {
        self.now_ns += 1_000_000;
        self.engine.tick(self.now_ns, |_| {});
    }

    pub fn put(&mut self, number: u64) -> Result<(), Status> {
        let length = bytes(number, self.engine.config()) as usize;
        fill(&mut self.buffer[..length], number);
        let answer = self
            .engine
            .put(&key(number), &self.buffer[..length], &PutInfo::default());
        match answer {
            Ok(_) => {
                self.known.gone.remove(&number);
                self.known.removed.remove(&number);
            }
            Err(Status::Exists | Status::Again | Status::Pending) => {}
            Err(status) => panic!("{}: put of {number}: {status}", self.case),
        }
        answer.map(drop)
    }

    pub fn get(&mut self, number: u64) -> Result<u64, Status> {
        self.buffer.fill(0xee);
        let answer = self.engine.get(&key(number), &mut self.buffer, Temperature::Auto);
        let case = &self.case;
        match answer {
            Ok(length) => {
                assert_eq!(length, bytes(number, self.engine.config()), "{case}: {number}");
                let wrong = difference(&self.buffer[..length as usize], number);
                assert_eq!(wrong, None, "{case}: wrong bytes under {number}");
                self.reads_right += 1;
            }
            Err(Status::Miss | Status::Again) => {
                let untouched = self.buffer.iter().all(|&byte| byte == 0xee);
                assert!(untouched, "{case}: {number} was written without success");
            }
            Err(status) => panic!("{case}: get of {number}: {status}"),
        }
        answer
    }

    fn remove(&mut self, number: u64) {
        let count = self.engine.remove(&[key(number)]);
        assert_eq!(self.engine.match_prefix(&[key(number)], false), 0, "{}", self.case);
        self.known.there.remove(&number);
        // What only a tier had that is offline is a miss, and nobody can take it out of the file.
        if count == 1 && !self.is_offline(0) && !self.is_offline(1) {
            self.known.removed.insert(number);
        }
    }

    fn masks(&self) -> Vec<u8> {
        let keys: Vec<Key> = (0..KEYS_COUNT).map(key).collect();
        let mut masks = vec![0; keys.len()];
        self.engine.match_each(&keys, false, &mut masks);
        masks
    }

    pub fn flush(&mut self) -> Result<u64, Status> {
        let answer = self.engine.flush(2_000_000_000);
        match answer {
            Ok(_) => {
                // In this order: what has left since is not expected.
                let masks = self.masks();
                let flushed = (0..).zip(masks).filter(|(_, mask)| mask & FILES != 0);
                self.known.there.extend(flushed.map(|(number, _)| number));
                let mut removed = core::mem::take(&mut self.known.removed);
                if !self.is_offline(0) && !self.is_offline(1) {
                    self.known.gone.append(&mut removed);
                }
            }
            Err(Status::Offline | Status::Timeout) => {}
            Err(status) => panic!("{}: flush: {status}", self.case),
        }
        answer
    }

    /// What left its last file tier is not expected after a crash any more.
    pub fn events(&mut self) {
        let mut events = [Event {
            sequence: 0,
            time_ns: 0,
            key: Key::default(),
            block_index: BlockIndex(0),
            block_generation: 0,
            kind: EventKind::Stored,
            tier: Tier::Cpu,
        }; 64];
        loop {
            let read = self.engine.events_read(&mut self.event_next, &mut events);
            assert_eq!(read.lost, 0, "the ring is large enough");
            if read.count == 0 {
                return;
            }
            for event in &events[..read.count] {
                let number = event.key.words()[1];
                let place = TIERS.iter().position(|&tier| tier == event.tier);
                let tiers = self.located.entry(number).or_default();
                match event.kind {
                    EventKind::Offline => self.offline_events[place.expect("a file tier")] += 1,
                    EventKind::Removed => *tiers = 0,
                    EventKind::Stored if place.is_some() => *tiers |= event.tier.bit(),
                    EventKind::Evicted | EventKind::Damaged if place.is_some() => *tiers &= !event.tier.bit(),
                    _ => continue,
                }
                if event.kind != EventKind::Offline && *tiers == 0 {
                    self.known.there.remove(&number);
                }
            }
        }
    }

    pub fn is_offline(&self, place: usize) -> bool {
        self.engine.file_tier(TIERS[place]).expect("there are two").offline
    }

    /// Time in which nothing is asked of the engine, longer than its patience with a device.
    pub fn pass_time(&mut self) {
        for _ in 0..2 * STALL_MS {
            self.devices.iter().for_each(Watched::step);
            self.tick();
        }
        self.events();
    }

    /// Blocks that are in memory are there whatever the devices do, and there is always room for one more.
    pub fn memory_serves(&mut self) {
        for number in self.fresh..self.fresh + 10 {
            // While a device stalls, and is not yet known to, blocks that it is to write are held.
            for tries in 0.. {
                assert!(tries < 2 * STALL_MS, "{}: never room for a put", self.case);
                self.devices.iter().for_each(Watched::step);
                match self.put(number) {
                    Ok(()) => break,
                    Err(status) => assert_eq!(status, Status::Again, "{}: a put", self.case),
                }
                self.tick();
            }
            self.get(number)
                .unwrap_or_else(|status| panic!("{}: a hit in memory: {status}", self.case));
            self.tick();
        }
        self.fresh += 10;
        self.events();
    }

    /// Everything that was flushed and has not left since is there, and what was removed and flushed is not.
    pub fn expect_known(&mut self) {
        let masks = self.masks();
        for (number, mask) in (0..).zip(&masks) {
            let case = &self.case;
            assert!(
                !self.known.there.contains(&number) || *mask != 0,
                "{case}: {number} was flushed, and is gone"
            );
            let back = self.known.gone.contains(&number) && *mask != 0;
            assert!(!back, "{case}: {number} was removed and flushed, and is there again");
        }
        for number in 0..KEYS_COUNT {
            self.devices.iter().for_each(Watched::step);
            let found = self.get(number);
            self.events();
            let expected = self.known.there.contains(&number);
            assert!(
                found.is_ok() || !expected,
                "{}: {number} was flushed: {found:?}",
                self.case
            );
        }
    }

    /// Every block reads right or not at all.
    pub fn read_all(&mut self) {
        for number in 0..KEYS_COUNT {
            self.devices.iter().for_each(Watched::step);
            let _ = self.get(number);
        }
        self.events();
    }

    /// A device that works takes new blocks and makes them durable.
    pub fn goes_on(&mut self) {
        for number in 30..KEYS_COUNT {
            self.devices.iter().for_each(Watched::step);
            let _ = self.put(number);
            self.events();
        }
        let flushed = self.flush();
        assert!(flushed.is_ok(), "{}: {flushed:?}", self.case);
        self.events();
    }
}
