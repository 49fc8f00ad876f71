//! Runs operations on an engine and on the model beside it, and compares every answer.

use kvcache::block::{BlockRef, PinRef};
use kvcache::config::{Config, PolicyKind};
use kvcache::copy::Temperature;
use kvcache::engine::{Clock, Engine, PinInfo, RawReservation, RawView};
use kvcache::error::Status;
use kvcache::metrics::{Counter, Event, EventKind};
use kvcache::units::{BlockIndex, Tier};
use kvcache::{Key, Plan};

use super::contents::{difference, fill, mix};
use super::keys::{KEYS_COUNT_MAX, Keys};
use super::lanes::LaneRun;
use super::memory::Memory;
use super::model::Model;
use super::operation::{BLOCK_BYTES, Info, KeyRun, Operation};

/// What buffers hold before the engine writes to them.
pub const POISON: u8 = 0x5a;
/// More than any one call can cause: two lanes, four operations each, on fifty keys.
const EVENTS_COUNT: usize = 1024;

/// As many different contents of each length there are where blocks share slots.
const SEEDS_COUNT: u64 = 4;

/// The engine of a run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub policy: PolicyKind,
    pub capacity: usize,
    pub hash_seed: u64,
    pub pin_expiry_ms: u64,
    pub reservation_expiry_ms: u64,
    pub stripes_count: u64,
    pub lane_depth: u64,
    pub dedup: bool,
}

impl Setup {
    /// The setup of a number.
    pub fn decode(mut number: u64) -> Self {
        let mut of = |choices: &[u64]| {
            let drawn = choices[(number % choices.len() as u64) as usize];
            number /= choices.len() as u64;
            drawn
        };
        Self {
            policy: PolicyKind::ALL[of(&[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]) as usize],
            capacity: of(&[3, 1, 2, 4, 6, 12, 40]) as usize,
            pin_expiry_ms: of(&[0, 30]),
            reservation_expiry_ms: of(&[0, 30]),
            stripes_count: of(&[1, 2]),
            lane_depth: of(&[4, 1, 2]),
            hash_seed: of(&[0, 7]),
            dedup: of(&[0, 1]) != 0,
        }
    }

    fn config(&self) -> Config {
        Config {
            block_bytes: BLOCK_BYTES,
            // Slots are whole cache lines.
            cpu_bytes: self.capacity as u64 * 128,
            policy: self.policy,
            pins_count: 1,
            stripes_count: self.stripes_count,
            lanes_count: 2,
            lane_depth: self.lane_depth,
            events_count: EVENTS_COUNT as u64,
            pin_expiry_ms: self.pin_expiry_ms,
            reservation_expiry_ms: self.reservation_expiry_ms,
            hash_seed: self.hash_seed,
            dedup: self.dedup,
            ..Config::default()
        }
    }
}

/// Runs the operations of `numbers` and returns a digest of everything that the engine said.
///
/// # Panics
/// Where engine and model differ.
pub fn run(setup: &Setup, numbers: &[u64]) -> u64 {
    let config = setup.config();
    let plan = Plan::compute(&config).expect("the setups are valid");
    assert_eq!(plan.slots_count(), setup.capacity as u64);
    let mut memory = Memory::new(plan.bytes());
    let engine = Engine::new(&config, memory.page_aligned(), Clock::Ticks).expect("the memory is as planned");
    let buckets_count = plan.part(kvcache::budget::Part::Index).count;
    // Two keys to a place: so that there are hits, misses and evictions.
    let keys_count = (2 * setup.capacity + 2).min(KEYS_COUNT_MAX);
    let keys = Keys::crowded(setup.hash_seed, buckets_count, keys_count);
    let mut run = Run {
        engine: &engine,
        model: Model::new(&config, &plan, keys),
        lanes: Vec::new(),
        lanes_closed: Vec::new(),
        reservations: Vec::new(),
        event_buffer: vec![event_empty(); EVENTS_COUNT],
        seeds: 0,
        sequence: 0,
        digest: 0,
    };
    for number in numbers {
        run.step(&Operation::decode(*number, keys_count));
        run.check();
    }
    run.finish();
    run.digest
}

fn event_empty() -> Event {
    Event {
        sequence: 0,
        time_ns: 0,
        key: Key::from_words([0; 4]),
        block_index: BlockIndex(0),
        block_generation: 0,
        kind: EventKind::Moved,
        tier: Tier::Cpu,
    }
}

/// An engine and its model.
pub struct Run<'e> {
    pub engine: &'e Engine<'e>,
    pub model: Model,
    pub lanes: Vec<LaneRun>,
    pub lanes_closed: Vec<kvcache::engine::LaneRef>,
    /// Every reservation that was handed out.
    reservations: Vec<RawReservation>,
    event_buffer: Vec<Event>,
    seeds: u64,
    sequence: u64,
    digest: u64,
}

impl Run<'_> {
    /// A number that contents follow from, never used before; or, where equal contents matter, one of a few.
    pub fn seed(&mut self) -> u64 {
        self.seeds += 1;
        if self.model.config.dedup {
            mix(self.seeds) % SEEDS_COUNT
        } else {
            self.seeds
        }
    }

    /// Takes what the engine said into the digest.
    pub fn note(&mut self, number: u64) {
        self.digest = mix(self.digest ^ number);
    }

    fn note_status<T>(&mut self, answer: &Result<T, Status>) {
        self.note(answer.as_ref().err().map_or(0, |status| status.code() as u64));
    }

    /// Fetches what the engine reported.
    pub fn read_events(&mut self) {
        let before = self.sequence;
        let read = self.engine.events_read(&mut self.sequence, &mut self.event_buffer);
        assert_eq!((read.lost, self.sequence - before), (0, read.count as u64));
        for (at, sequence) in (before..self.sequence).enumerate() {
            let event = self.event_buffer[at];
            assert_eq!(event.sequence, sequence);
            self.note(
                event.kind as u64 ^ u64::from(event.block_index.0) << 8 ^ u64::from(event.block_generation) << 32,
            );
            self.note(event.key.words()[0]);
            self.model.events.push_back(event);
        }
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Put { key, bytes, info } => self.put(key, bytes, &info),
            Operation::Get { key, room } => self.get(key, room),
            Operation::Acquire { key } => self.acquire(key),
            Operation::AcquireGuard { key } => self.acquire_guard(key),
            Operation::AcquirePrefix { keys, room } => self.acquire_prefix(keys, room),
            Operation::Release { which } => self.release(which),
            Operation::Reserve { key, bytes, info } => self.reserve(key, bytes, &info),
            Operation::ReserveGuard {
                key,
                bytes,
                info,
                commit,
            } => self.reserve_guard(key, bytes, &info, commit),
            Operation::Commit { which, bytes } => self.commit(which, bytes),
            Operation::Abort { which } => self.abort(which),
            Operation::Remove { keys } => {
                let removed = self.engine.remove(&self.keys(keys));
                self.read_events();
                assert_eq!(removed, self.model.remove(keys));
            }
            Operation::Touch { keys } => {
                assert_eq!(self.engine.touch(&self.keys(keys)), self.model.touch(keys));
            }
            Operation::Match { keys, touch } => {
                let matched = self.engine.match_prefix(&self.keys(keys), touch);
                assert_eq!(matched, self.model.match_prefix(keys, touch));
            }
            Operation::MatchEach { keys, touch } => self.match_each(keys, touch),
            Operation::Retain {
                keys,
                priority,
                protected,
                expiry_ms,
            } => {
                let retained = self.engine.retain(&self.keys(keys), priority, protected, expiry_ms);
                assert_eq!(retained, self.model.retain(keys, priority, protected, expiry_ms));
            }
            Operation::NamespaceClear { namespace } => {
                let cleared = self.engine.namespace_clear(namespace);
                self.read_events();
                assert_eq!(cleared, self.model.namespace_clear(namespace));
            }
            Operation::Tick { ms } => self.tick(ms),
            Operation::LaneOpen => self.lane_open(),
            Operation::LaneClose => self.lane_close(),
            Operation::Submit {
                count,
                opcode,
                keys,
                bytes,
                info,
            } => self.submit(count, opcode, keys, bytes, &info),
            Operation::Reap { room } => self.reap(room),
            Operation::Poll { which } => self.poll(which),
            Operation::Cancel { which } => self.cancel(which),
        }
        assert_eq!(
            self.model.events.pop_front(),
            None,
            "an event that nothing accounts for"
        );
    }

    fn keys(&self, keys: KeyRun) -> Vec<Key> {
        self.model.keys.run(keys.first, keys.count)
    }

    fn put(&mut self, key: usize, bytes: u64, info: &Info) {
        let seed = self.seed();
        let mut source = vec![0; bytes as usize];
        fill(&mut source, seed);
        let put_info = info.put_info(&self.model.keys);
        let answer = self.engine.put(self.model.keys.key(key), &source, &put_info);
        self.read_events();
        assert_eq!(answer, self.model.put(key, bytes, info, seed));
        self.note_status(&answer);
    }

    fn get(&mut self, key: usize, room: u64) {
        let mut target = vec![POISON; room as usize];
        let answer = self
            .engine
            .get(self.model.keys.key(key), &mut target, Temperature::Auto);
        let expected = self.model.get(key, room);
        assert_eq!(answer, expected.map(|(_, bytes)| bytes));
        let (seed, bytes) = expected.unwrap_or((0, 0));
        let (contents, rest) = target.split_at(bytes as usize);
        assert_eq!(difference(contents, seed), None);
        assert!(rest.iter().all(|byte| *byte == POISON), "wrote past the block");
        self.note_status(&answer);
    }

    fn acquire(&mut self, key: usize) {
        let answer = self.engine.acquire_raw(self.model.keys.key(key));
        let expected = self.model.acquire(key);
        self.note_status(&answer);
        match (answer, expected) {
            (Ok(raw), Ok(block)) => self.model.viewed(&block, raw),
            (answer, expected) => assert_eq!(answer.err(), expected.err()),
        }
    }

    fn acquire_guard(&mut self, key: usize) {
        let engine = self.engine;
        let answer = engine.acquire(self.model.keys.key(key));
        let expected = self.model.acquire(key);
        match (answer, expected) {
            (Ok(view), Ok(block)) => {
                assert_eq!((view.block(), view.len() as u64), (block.block, block.bytes));
                assert_eq!(difference(&view, block.seed), None);
                drop(view);
                self.model.count(Counter::Releases, 1);
            }
            (answer, expected) => assert_eq!(answer.err(), expected.err()),
        }
    }

    fn acquire_prefix(&mut self, keys: KeyRun, room: usize) {
        let mut views = vec![RawView::EMPTY; room];
        let acquired = self.engine.acquire_prefix_raw(&self.keys(keys), &mut views);
        let expected = self.model.acquire_prefix(keys, room);
        assert_eq!(acquired, expected.len() as u64);
        for (block, raw) in expected.iter().zip(&views) {
            self.model.viewed(block, *raw);
        }
        assert!(views[expected.len()..].iter().all(|view| view.data.is_null()));
        self.note(acquired);
    }

    fn release(&mut self, which: usize) {
        if self.model.views.is_empty() {
            return;
        }
        let which = which % self.model.views.len();
        let answer = self.engine.release_raw(&self.model.views[which].raw);
        assert_eq!(answer, self.model.release(which));
    }

    fn reserve(&mut self, key: usize, bytes: u64, info: &Info) {
        let seed = self.seed();
        let put_info = info.put_info(&self.model.keys);
        let answer = self.engine.reserve_raw(self.model.keys.key(key), bytes, &put_info);
        self.read_events();
        let expected = self.model.reserve(key, bytes, &info.rest, info.parent, seed);
        self.note_status(&answer);
        match (answer, expected) {
            (Ok(raw), Ok(draft)) => {
                assert_eq!((raw.bytes, raw.reserved), (bytes, 0));
                // SAFETY: the reservation was just made and is this thread's; it lasts until a tick at least.
                fill(
                    unsafe { core::slice::from_raw_parts_mut(raw.data, raw.bytes as usize) },
                    seed,
                );
                self.model.open(raw.block, draft);
                self.reservations.push(raw);
            }
            (answer, expected) => assert_eq!(answer.err(), expected.err()),
        }
    }

    fn reserve_guard(&mut self, key: usize, bytes: u64, info: &Info, commit: bool) {
        let seed = self.seed();
        let put_info = info.put_info(&self.model.keys);
        let engine = self.engine;
        let answer = engine.reserve(self.model.keys.key(key), bytes, &put_info);
        match answer {
            Ok(mut reservation) => {
                fill(&mut reservation, seed);
                assert_eq!(difference(&reservation, seed), None);
                let block = if commit { Some(reservation.commit()) } else { None };
                self.read_events();
                let draft = self.model.reserve(key, bytes, &info.rest, info.parent, seed);
                let draft = draft.expect("the engine found it right");
                match block {
                    Some(block) => assert_eq!(block, Ok(self.model.commit(draft, None, bytes))),
                    None => self.model.aborted(Counter::Aborts),
                }
            }
            Err(status) => {
                self.read_events();
                let expected = self.model.reserve(key, bytes, &info.rest, info.parent, seed);
                assert_eq!(expected.err(), Some(status));
            }
        }
    }

    fn commit(&mut self, which: usize, bytes: u64) {
        if self.reservations.is_empty() {
            return;
        }
        let raw = self.reservations[self.reservations.len() - 1 - which % self.reservations.len()];
        let answer = self.engine.commit_raw(&raw, bytes);
        self.read_events();
        assert_eq!(answer, self.model.commit_open(raw.block, bytes));
    }

    fn abort(&mut self, which: usize) {
        if self.reservations.is_empty() {
            return;
        }
        let raw = self.reservations[self.reservations.len() - 1 - which % self.reservations.len()];
        assert_eq!(self.engine.abort_raw(&raw), self.model.abort_open(raw.block));
    }

    fn match_each(&mut self, keys: KeyRun, touch: bool) {
        let mut tiers = vec![POISON; keys.count + 1];
        let hits = self.engine.match_each(&self.keys(keys), touch, &mut tiers);
        let expected = self.model.match_each(keys, touch);
        assert_eq!(hits, expected.iter().filter(|tier| **tier != 0).count() as u64);
        assert_eq!(tiers[..keys.count], expected);
        assert_eq!(tiers[keys.count], POISON);
    }

    fn tick(&mut self, ms: u64) {
        self.model.now_ns += ms * 1_000_000;
        self.model.count(Counter::Ticks, 2);
        let mut notified = Vec::new();
        self.engine.tick(self.model.now_ns, |lane| notified.push(lane));
        self.read_events();
        assert_eq!(notified, self.driven_by_tick());
        self.model.expire();
        let left = self.engine.tick(self.model.now_ns, |_| panic!("nothing is left to do"));
        assert_eq!(left, 0);
        assert_eq!(self.engine.now_ns(), self.model.now_ns);
    }

    /// Compares everything that can be seen without changing it.
    fn check(&mut self) {
        let mut tiers = vec![0; self.model.keys.all().len()];
        self.engine.match_each(self.model.keys.all(), false, &mut tiers);
        let all = KeyRun {
            first: 0,
            count: tiers.len(),
        };
        assert_eq!(tiers[..], self.model.match_each(all, false));
        for block in &self.model.resident {
            let facts = self.engine.describe(self.model.keys.key(block.key));
            let facts = facts.expect("it is resident");
            let retention = block.retention.at(self.model.now_ns);
            assert_eq!((facts.block, facts.bytes), (block.block, block.bytes));
            assert_eq!((facts.chain_index, facts.namespace_id), (block.depth, block.namespace));
            assert_eq!(
                (facts.priority, facts.protected),
                (retention.priority, retention.protected)
            );
        }
        for view in self.model.views.iter().filter(|view| view.held) {
            // SAFETY: the model knows that the view is neither released nor expired.
            let bytes = unsafe { core::slice::from_raw_parts(view.raw.data, view.raw.bytes as usize) };
            assert_eq!(difference(bytes, view.seed), None, "a view changed: {view:?}");
        }
        self.check_pins();
        self.check_stats();
    }

    fn check_pins(&self) {
        let empty = PinInfo {
            block: BlockRef::default(),
            pin: PinRef::default(),
            key: *self.model.keys.key(0),
            age_ns: 0,
        };
        let mut pins = [empty; 64];
        let count = self.engine.pins(&mut pins) as usize;
        let held = self.model.views.iter().filter(|view| view.held);
        let mut held: Vec<PinInfo> = held
            .map(|view| PinInfo {
                block: view.raw.block,
                pin: view.raw.pin,
                key: *self.model.keys.key(view.key),
                age_ns: self.model.age_ns(view),
            })
            .collect();
        held.sort_unstable_by_key(|pin| pin.pin.index);
        assert_eq!(pins[..count], held);
    }

    fn check_stats(&self) {
        let (stats, model) = (self.engine.stats(), &self.model);
        let blocks_max = self.engine.capacity().blocks_count as usize;
        assert!(model.resident.len() <= blocks_max && model.places_used() <= model.capacity);
        assert_eq!(stats.dedup_bytes_saved, model.bytes_saved());
        assert_eq!(stats.blocks_resident, model.resident.len() as u64);
        assert_eq!(stats.blocks_reserved, model.drafts.len() as u64);
        assert_eq!(stats.slots_free, (model.capacity - model.places_used()) as u64);
        assert_eq!(stats.pins_held, model.views_held() as u64);
        assert_eq!(stats.lanes_open, self.lanes.len() as u64);
        assert_eq!(stats.event_sequence_next, self.sequence);
        let idle = model.views_held() == 0 && model.drafts.is_empty() && self.lanes.is_empty();
        assert_eq!(self.engine.is_idle(), idle);
        let unmodelled = [Counter::EvictionRollbacks];
        for counter in Counter::ALL.iter().filter(|counter| !unmodelled.contains(counter)) {
            let expected = model.counts.get(counter).copied().unwrap_or(0);
            assert_eq!(stats.counter(*counter), expected, "{counter:?}");
        }
    }

    /// Lets everything go and looks whether everything is there again.
    fn finish(&mut self) {
        while let Some((block, _)) = self.model.drafts.first() {
            let block = *block;
            let raw = self.reservations.iter().find(|raw| raw.block == block);
            assert_eq!(self.engine.abort_raw(raw.expect("it was handed out")), Ok(()));
            assert_eq!(self.model.abort_open(block), Ok(()));
        }
        while !self.lanes.is_empty() {
            (0..16).for_each(|_| self.reap(8));
            self.lane_close();
        }
        for which in 0..self.model.views.len() {
            let answer = self.engine.release_raw(&self.model.views[which].raw);
            assert_eq!(answer, self.model.release(which));
        }
        self.check();
        assert!(self.engine.is_idle());
        let stats = self.engine.stats();
        assert_eq!(
            stats.slots_free,
            (self.model.capacity - self.model.places_used()) as u64
        );
        assert!(self.model.config.dedup || stats.slots_free + stats.blocks_resident == self.model.capacity as u64);
        for key in 0..self.model.keys.all().len() {
            self.get(key, BLOCK_BYTES);
        }
        self.engine.shutdown(|_| {});
        let put = self.engine.put(self.model.keys.key(0), &[1], &Default::default());
        assert_eq!(put, Err(Status::Shutdown));
        assert_eq!(self.engine.lane_open(), Err(Status::Shutdown));
        for key in 0..self.model.keys.all().len() {
            self.get(key, BLOCK_BYTES);
        }
    }
}
