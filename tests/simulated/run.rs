//! One seeded run: operations, checks, crashes.

use std::collections::{BTreeMap, BTreeSet};

use kvcache::block::PutInfo;
use kvcache::copy::Temperature;
use kvcache::engine::{Clock, Completion, Devices, Opcode, Submission, TicketRef};
use kvcache::error::Status;
use kvcache::metrics::{Counter, Event, EventKind};
use kvcache::tier::fault::FaultRates;
use kvcache::units::{BlockIndex, Tier};
use kvcache::{Config, Engine, Key, Plan};

use super::world::{Dice, Durable, KEYS_COUNT, Storage, bytes, config, contents, geometry_id, key};
use crate::common::contents::{difference, fill};
use crate::common::memory::Memory;

/// What the devices do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// They work, and lose power now and then.
    Power,
    /// They err, lie and stall.
    Lies,
}

/// What a run came to; two runs of one seed agree in all of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Losses of power and deaths of the process.
    pub reopened: u64,
    /// Faults that the devices put in.
    pub injected: u64,
    /// Blocks read back and checked.
    pub checked: u64,
    /// Digest of everything that the devices were asked and answered.
    pub digest: u64,
}

const FILES: u8 = Tier::Nvme.bit() | Tier::Disk.bit();
const LIVES: u64 = 4;

/// Runs a seed.
pub fn run(seed: u64, faults: Faults) -> Outcome {
    let mut dice = Dice::new(seed);
    let config = config(&mut dice);
    let plan = Plan::compute(&config).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let rates = match faults {
        Faults::Power => FaultRates::default(),
        Faults::Lies => FaultRates {
            error: dice.below(40_000) as u32,
            error_done: dice.below(10_000) as u32,
            short: dice.below(40_000) as u32,
            flip: dice.below(40_000) as u32,
            torn: dice.below(40_000) as u32,
            misdirected: dice.below(20_000) as u32,
            lost: dice.below(40_000) as u32,
            sync_lost: dice.below(40_000) as u32,
            stall: dice.below(2_000) as u32,
            delay: dice.below(40_000) as u32,
        },
    };
    let mut storage = [Tier::Nvme, Tier::Disk].map(|tier| {
        let layout = plan.log(tier);
        Storage::new(layout.file_bytes().max(4096), layout.frames_count.max(1) as usize)
    });
    let [nvme, disk] = &mut storage;
    let devices = [nvme.device(seed, rates), disk.device(seed ^ 1, rates)];
    let mut outcome = Outcome {
        reopened: 0,
        injected: 0,
        checked: 0,
        digest: 0,
    };
    let mut durable = Durable::default();
    for life in 0..LIVES {
        let mut memory = Memory::new(plan.bytes());
        let given = Devices {
            nvme: Some(&devices[0]),
            disk: config
                .disk
                .bytes
                .ne(&0)
                .then_some(&devices[1] as &dyn kvcache::tier::device::Device),
            file_ids: [[seed as u8; 16], [!seed as u8; 16]],
            unix_seconds: 0,
            tables: None,
        };
        let engine = match Engine::with_devices(&config, memory.page_aligned(), Clock::Ticks, given) {
            Ok(engine) => engine,
            Err(error) if faults == Faults::Lies => {
                // Lies may make a file unreadable or unrecognisable; that is an answer.
                assert!(error.status.is_error(), "seed {seed}");
                break;
            }
            Err(error) => panic!("seed {seed}, life {life}: {error}"),
        };
        let mut live = Live {
            engine: &engine,
            config: &config,
            seed,
            faults,
            durable: &mut durable,
            dice: &mut dice,
            event_next: 0,
            located: BTreeMap::new(),
            left: BTreeSet::new(),
            suspect: BTreeSet::new(),
            life,
            checked: 0,
            now_ns: 0,
            buffer: vec![0; config.block_bytes as usize],
        };
        live.after_open();
        for _ in 0..120 {
            live.step();
        }
        if life + 1 == LIVES {
            live.drain();
        }
        outcome.checked += live.checked;
        let crash_seed = dice.next();
        let killed = crash_seed.is_multiple_of(3);
        durable.power_lost |= !killed;
        for device in &devices {
            let sim = device.device().device();
            if killed {
                sim.kill(crash_seed)
            } else {
                sim.crash(crash_seed)
            }
            device.device().forget();
        }
        outcome.reopened += 1;
        durable.history.push((u64::MAX, format!("crash killed {killed}")));
    }
    for device in &devices {
        outcome.injected += device.device().counts().faults();
        outcome.digest = outcome.digest.rotate_left(7) ^ device.digest();
    }
    outcome
}

/// An engine between two crashes.
struct Live<'r, 'e> {
    engine: &'r Engine<'e>,
    config: &'r Config,
    seed: u64,
    faults: Faults,
    durable: &'r mut Durable,
    dice: &'r mut Dice,
    event_next: u64,
    /// The file tiers that have each key, by the events.
    located: BTreeMap<u64, u8>,
    /// Keys that left a file tier since somebody last looked.
    left: BTreeSet<u64>,
    /// Keys found when the files were opened that nobody had flushed: they may be there in part.
    suspect: BTreeSet<u64>,
    life: u64,
    checked: u64,
    now_ns: u64,
    buffer: Vec<u8>,
}

impl Live<'_, '_> {
    fn number(&mut self) -> u64 {
        self.dice.below(KEYS_COUNT)
    }

    /// What was durable is there, what was removed is not.
    fn after_open(&mut self) {
        let there = self.durable.there.clone();
        self.events();
        self.suspect = self
            .located
            .keys()
            .copied()
            .filter(|number| !there.contains(number))
            .collect();
        if self.faults == Faults::Power {
            for number in self.durable.gone.clone() {
                if self.engine.match_prefix(&[key(number)], false) != 0 {
                    let mut tiers = [0];
                    self.engine.match_each(&[key(number)], false, &mut tiers);
                    eprintln!("tiers {tiers:?}");
                    self.dump(number);
                }
                assert_eq!(
                    self.engine.match_prefix(&[key(number)], false),
                    0,
                    "seed {}: key {number} was removed and flushed, and is there again",
                    self.seed
                );
            }
            // All of them before the first is asked for: that moves things on, and then blocks may leave for want of
            // room.
            let keys: Vec<Key> = there.iter().map(|&number| key(number)).collect();
            let mut tiers = vec![0; keys.len()];
            self.engine.match_each(&keys, false, &mut tiers);
            for (&number, tiers) in there.iter().zip(tiers) {
                if tiers == 0 {
                    self.dump(number);
                }
                assert_ne!(tiers, 0, "seed {}: key {number} was flushed, and is gone", self.seed);
            }
            for &number in &there {
                let found = self.get(number);
                self.events();
                let expected = self.durable.there.contains(&number);
                if expected && !found {
                    self.dump(number);
                }
                assert!(
                    found || !expected,
                    "seed {}: key {number} was flushed, and is not read",
                    self.seed
                );
            }
        }
        self.events();
        // Not flushed: it may be there again.
        self.durable.removed.clear();
    }

    fn step(&mut self) {
        let number = self.number();
        match self.dice.below(24) {
            0..=7 => self.put(number),
            8..=12 => {
                self.get(number);
            }
            13 => self.remove(number),
            14..=16 => self.tick(),
            17 => self.flush(),
            18 => {
                let keys: Vec<Key> = (0..4).map(|step| key((number + step) % KEYS_COUNT)).collect();
                self.engine.prefetch(&keys);
            }
            19 => self.lane_get(number),
            20 => self.partial(number),
            21 => self.prefix(number),
            22 => {
                let keys = [key(number), key(self.number())];
                self.engine.match_prefix(&keys, true);
            }
            _ => {
                for _ in 0..20 {
                    self.tick();
                }
            }
        }
        self.events();
    }

    /// What became of a key, and what was counted, for who looks into a failure.
    fn dump(&self, number: u64) {
        for &counter in Counter::ALL {
            let count = self.engine.stats().counter(counter);
            if count != 0 {
                eprintln!("{counter:?} {count}");
            }
        }
        for (of, line) in &self.durable.history {
            if *of == number || *of == u64::MAX {
                eprintln!("{of:>20} {line}");
            }
        }
    }

    /// Removes everything: no slot, no entry and no place below memory is left behind.
    fn drain(&mut self) {
        let keys: Vec<Key> = (0..KEYS_COUNT).map(key).collect();
        for round in 0.. {
            self.engine.remove(&keys);
            self.tick();
            let stats = self.engine.stats();
            let left = (stats.slots_free, stats.blocks_below, stats.blocks_reserved);
            if left == (self.engine.plan().slots_count(), 0, 0) {
                assert_eq!(stats.blocks_resident, 0, "seed {}", self.seed);
                return;
            }
            assert!(round < 20_000, "seed {}: never comes back: {left:?}", self.seed);
        }
    }

    fn tick(&mut self) {
        self.now_ns += 1_000_000;
        self.engine.tick(self.now_ns, |_| {});
    }

    fn put(&mut self, number: u64) {
        let length = bytes(number, self.config) as usize;
        fill(&mut self.buffer[..length], contents(number, self.config));
        let info = PutInfo {
            chain_index: number % 5,
            geometry_id: geometry_id(number, self.config),
            ..PutInfo::default()
        };
        match self.engine.put(&key(number), &self.buffer[..length], &info) {
            Ok(_) => {
                self.durable.gone.remove(&number);
                self.durable.removed.remove(&number);
            }
            Err(Status::Exists | Status::Again | Status::Pending) => {}
            Err(status) => panic!("seed {}: put of {number}: {status}", self.seed),
        }
    }

    fn check(&mut self, number: u64, found: &[u8]) {
        self.checked += 1;
        assert_eq!(
            found.len() as u64,
            bytes(number, self.config),
            "seed {}: {number}",
            self.seed
        );
        assert_eq!(
            difference(found, contents(number, self.config)),
            None,
            "seed {}: wrong bytes under {number}",
            self.seed
        );
    }

    fn get(&mut self, number: u64) -> bool {
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.fill(0xee);
        let answer = self.engine.get(&key(number), &mut buffer, Temperature::Auto);
        match answer {
            Ok(length) => self.check(number, &buffer[..length as usize]),
            Err(Status::Miss | Status::Again) => {
                assert!(
                    buffer.iter().all(|&byte| byte == 0xee),
                    "seed {}: written without success",
                    self.seed
                );
            }
            Err(status) => panic!("seed {}: get of {number}: {status}", self.seed),
        }
        self.buffer = buffer;
        answer.is_ok()
    }

    fn remove(&mut self, number: u64) {
        let mut tiers = [0];
        self.engine.match_each(&[key(number)], false, &mut tiers);
        let gone = self.engine.remove(&[key(number)]);
        self.durable.history.push((number, format!("remove {tiers:?} {gone}")));
        assert_eq!(self.engine.match_prefix(&[key(number)], false), 0);
        self.durable.there.remove(&number);
        self.durable.removed.insert(number);
    }

    fn flush(&mut self) {
        self.left.clear();
        match self.engine.flush(20_000_000_000) {
            Ok(_) => {
                self.durable.history.push((u64::MAX, "flushed".into()));
                let keys: Vec<Key> = (0..KEYS_COUNT).map(key).collect();
                let mut tiers = vec![0; keys.len()];
                self.engine.match_each(&keys, false, &mut tiers);
                self.events();
                for (number, tiers) in (0..).zip(tiers) {
                    if self.suspect.contains(&number) {
                        continue;
                    }
                    if tiers & FILES != 0 {
                        self.durable.there.insert(number);
                    } else if !self.left.contains(&number) {
                        if tiers != 0 {
                            self.dump(number);
                        }
                        assert_eq!(
                            tiers, 0,
                            "seed {}: {number} is in memory only, after a flush",
                            self.seed
                        );
                    }
                }
                let removed = core::mem::take(&mut self.durable.removed);
                self.durable.gone.extend(removed);
            }
            Err(status) if self.faults == Faults::Power => {
                self.dump(u64::MAX);
                for tier in [Tier::Nvme, Tier::Disk] {
                    eprintln!("{:?}", self.engine.file_tier(tier));
                }
                panic!("seed {}: flush: {status}", self.seed)
            }
            Err(Status::Offline | Status::Timeout) => {}
            Err(status) => panic!("seed {}: flush: {status}", self.seed),
        }
    }

    fn lane_get(&mut self, number: u64) {
        let lane = self.engine.lane_open().expect("it is free");
        let keys = [key(number)];
        let mut buffer = vec![0; self.config.block_bytes as usize];
        let operation = Submission {
            opcode: Opcode::Get,
            user_data: number,
            keys: keys.as_ptr(),
            keys_count: 1,
            data: buffer.as_mut_ptr(),
            bytes: buffer.len() as u64,
            info: PutInfo::default(),
            touch: false,
            temperature: Temperature::Auto,
        };
        let mut tickets = [TicketRef::default()];
        // SAFETY: key and buffer live until the completion was reaped below.
        unsafe { self.engine.submit(lane, &[operation], Some(&mut tickets)) }.expect("the lane is empty");
        let cancel_at = self.dice.below(12);
        for round in 0_u64.. {
            assert!(round < 200_000, "seed {}: a get on a lane never completes", self.seed);
            if round == cancel_at {
                match self.engine.cancel(lane, tickets[0]) {
                    Ok(()) | Err(Status::Pending) => {}
                    Err(status) => panic!("seed {}: cancel: {status}", self.seed),
                }
            }
            match self.engine.poll(lane, tickets[0]) {
                Ok(Completion { status, result, .. }) => {
                    if status == Status::Ok.code() {
                        self.check(number, &buffer[..result as usize]);
                    }
                    break;
                }
                Err(Status::Pending) => self.tick(),
                Err(status) => panic!("seed {}: poll: {status}", self.seed),
            }
        }
        self.engine.lane_close(lane).expect("it is unused");
    }

    /// A block that is lent while it arrives: what is said to be there is right from the beginning.
    fn partial(&mut self, number: u64) {
        let Ok(view) = self.engine.acquire_partial_raw(&key(number)) else {
            return;
        };
        let mut ready = 0;
        for round in 0_u64.. {
            assert!(round < 200_000, "seed {}: a block never arrives", self.seed);
            let (more, state) = match self.engine.view_ready(&view) {
                Ok(bytes) => (bytes, Status::Ok),
                Err((status, bytes)) => (bytes, status),
            };
            assert!(
                state == Status::Miss || more >= ready,
                "seed {}: {ready} and then {more}",
                self.seed
            );
            ready = more;
            // SAFETY: so many bytes are said to be there; the view is held.
            let there = unsafe { core::slice::from_raw_parts(view.data, ready as usize) };
            assert_eq!(
                difference(&there[..there.len() & !7], contents(number, self.config)),
                None,
                "seed {}",
                self.seed
            );
            match state {
                Status::Ok => {
                    self.check(number, there);
                    break;
                }
                Status::Pending => self.tick(),
                Status::Miss => break,
                status => panic!("seed {}: {status}", self.seed),
            }
        }
        self.engine.release_raw(&view).expect("it is held");
    }

    fn prefix(&mut self, number: u64) {
        let keys: Vec<Key> = (0..6).map(|step| key((number + step) % KEYS_COUNT)).collect();
        let mut views = [kvcache::engine::RawView::EMPTY; 6];
        let count = self.engine.acquire_prefix_raw(&keys, &mut views);
        for (step, view) in views[..count as usize].iter().enumerate() {
            // SAFETY: the view is held.
            let found = unsafe { core::slice::from_raw_parts(view.data, view.bytes as usize) };
            self.check((number + step as u64) % KEYS_COUNT, found);
            self.engine.release_raw(view).expect("it is held");
        }
    }

    /// What left its last file tier is not expected after a crash any more.
    fn events(&mut self) {
        let mut events = [Event {
            sequence: 0,
            time_ns: 0,
            key: Key::default(),
            block_index: BlockIndex(0),
            block_generation: 0,
            kind: EventKind::Stored,
            tier: Tier::Cpu,
        }; 256];
        loop {
            let read = self.engine.events_read(&mut self.event_next, &mut events);
            assert_eq!(read.lost, 0, "the ring is large enough");
            if read.count == 0 {
                break;
            }
            for event in &events[..read.count] {
                let number = event.key.words()[1];
                self.durable
                    .history
                    .push((number, format!("{:?} {:?}", event.kind, event.tier)));
                let durable = self.durable.there.contains(&number);
                let tiers = self.located.entry(number).or_default();
                match (event.kind, event.tier) {
                    (_, Tier::Cpu) => {}
                    (EventKind::Stored, tier) => *tiers |= tier.bit(),
                    (EventKind::Evicted | EventKind::Damaged, tier) => {
                        *tiers &= !tier.bit();
                        self.left.insert(number);
                        self.suspect.remove(&number);
                    }
                    _ => {}
                }
                if event.kind == EventKind::Removed {
                    *tiers = 0;
                    self.suspect.remove(&number);
                }
                if *tiers == 0 {
                    self.durable.there.remove(&number);
                }
                if self.faults == Faults::Power {
                    // What was not flushed when the power went may be there in part, and is found out when it is read.
                    let torn = event.kind == EventKind::Damaged && self.durable.power_lost && !durable;
                    if !torn && matches!(event.kind, EventKind::Damaged | EventKind::Offline) {
                        eprintln!("life {} durable {durable}", self.life);
                        self.dump(number);
                    }
                    assert!(
                        torn || !matches!(event.kind, EventKind::Damaged | EventKind::Offline),
                        "seed {}: {event:?} on devices that work",
                        self.seed
                    );
                }
            }
        }
        if self.faults == Faults::Power {
            let stats = self.engine.stats();
            assert!(
                self.durable.power_lost || stats.counter(Counter::ChecksumFailures) == 0,
                "seed {}",
                self.seed
            );
        }
    }
}
