//! Several threads at once on few keys and fewer places, so that everything happens to everything all the time.
//!
//! What a block holds follows from its key, so a wrong byte is seen wherever it comes from. At the end everything is
//! let go, and everything must be there again: no place lost, no key twice, no event that does not fit.

mod common;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::contents::{difference, fill, mix};
use kvcache::block::{BlockRef, PutInfo};
use kvcache::config::PolicyKind;
use kvcache::copy::Temperature;
use kvcache::engine::{Completion, LaneRef, Opcode, RawView, Submission, TicketRef};
use kvcache::metrics::{Counter, Event, EventKind};
use kvcache::units::{BlockIndex, Tier};
use kvcache::{Cache, Config, Key, Status};

const BLOCK_BYTES: usize = 200;
const KEYS_COUNT: u64 = 24;
const CAPACITY: u64 = 8;
/// More different contents than places, where keys share them.
const SEEDS_COUNT: u64 = 11;
const THREADS_COUNT: u64 = 3;
const STEPS_COUNT: u64 = 150_000;
/// Views held once, at the beginning; see [`open`].
const PINS_COUNT: u64 = 2000;
const WAIT: Duration = Duration::from_secs(30);

/// How a test's cache is opened, and so what its keys hold.
#[derive(Clone, Copy, Debug)]
struct Setup {
    policy: PolicyKind,
    workers_count: u64,
    /// Whether keys hold the same bytes, a few of them each, and share slots.
    dedup: bool,
}

impl Setup {
    const PLAIN: Self = Self {
        policy: PolicyKind::Lru,
        workers_count: 0,
        dedup: false,
    };
    const DEDUP: Self = Self {
        dedup: true,
        ..Self::PLAIN
    };

    /// What the contents of a key follow from.
    fn seed(self, number: u64) -> u64 {
        if self.dedup { number / 2 % SEEDS_COUNT } else { number }
    }

    /// How long the block of a key is.
    fn bytes(self, number: u64) -> usize {
        1 + (mix(self.seed(number)) % BLOCK_BYTES as u64) as usize
    }

    fn contents(self, number: u64) -> Vec<u8> {
        let mut contents = vec![0; self.bytes(number)];
        fill(&mut contents, self.seed(number));
        contents
    }

    fn check(self, block: &[u8], number: u64) {
        assert_eq!(
            (block.len(), difference(block, self.seed(number))),
            (self.bytes(number), None),
            "key {number}"
        );
    }
}

fn config(setup: Setup) -> Config {
    Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: CAPACITY * 256,
        policy: setup.policy,
        pins_count: PINS_COUNT,
        stripes_count: 2,
        lanes_count: THREADS_COUNT,
        lane_depth: 8,
        events_count: 1 << 20,
        workers_count: setup.workers_count,
        dedup: setup.dedup,
        ..Config::default()
    }
}

/// Opens a cache whose evictors have to look through many pins, all free: so the moment between condemning a block and
/// the verdict is long, and much happens in it.
fn open(setup: Setup) -> Cache {
    let cache = Cache::open(&config(setup)).unwrap();
    assert!(cache.put(&key(0), &setup.contents(0), &PutInfo::default()).is_ok());
    let views: Vec<RawView> = (0..PINS_COUNT).map_while(|_| cache.acquire_raw(&key(0)).ok()).collect();
    assert_eq!(views.len() as u64, PINS_COUNT);
    assert!(views.iter().all(|view| cache.release_raw(view) == Ok(())));
    assert_eq!(cache.remove(&[key(0)]), 1);
    cache
}

fn key(number: u64) -> Key {
    Key::from_words([number, 7, 7, 7])
}

fn number(key: &Key) -> u64 {
    key.words()[0]
}

/// Draws numbers of a thread's own.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % count
    }
}

/// The answers that a put may have among other threads.
fn may(answer: Status) {
    let expected = [Status::Exists, Status::Pending, Status::Again];
    assert!(expected.contains(&answer), "{answer}");
}

/// One thread's part: every operation there is on `keys`, checked by contents.
fn work(cache: &Cache, setup: Setup, seed: u64, keys: u64) {
    let mut random = Random(seed << 32);
    let mut views: Vec<(u64, RawView)> = Vec::new();
    let mut target = vec![0; BLOCK_BYTES];
    for _ in 0..STEPS_COUNT {
        let chosen = random.below(keys);
        let info = PutInfo {
            priority: [0, 0, 0, 9][random.below(4) as usize],
            protected: random.below(16) == 0,
            namespace_id: chosen % 3,
            parent: Some(key(random.below(keys))),
            ..PutInfo::default()
        };
        match random.below(40) {
            0..=9 => match cache.put(&key(chosen), &setup.contents(chosen), &info) {
                Ok(block) => assert!(u64::from(block.index) < cache.plan().entries_count()),
                Err(status) => may(status),
            },
            10..=19 => match cache.get(&key(chosen), &mut target, Temperature::Auto) {
                Ok(length) => setup.check(&target[..length as usize], chosen),
                Err(status) => assert_eq!(status, Status::Miss),
            },
            20..=24 => match cache.acquire_raw(&key(chosen)) {
                Ok(view) => views.push((chosen, view)),
                Err(status) => assert!([Status::Miss, Status::Again].contains(&status)),
            },
            25 | 26 => match cache.reserve(&key(chosen), setup.bytes(chosen) as u64, &info) {
                Ok(mut reservation) => {
                    // Wrong bytes first: nobody may see them.
                    fill(&mut reservation, !setup.seed(chosen));
                    fill(&mut reservation, setup.seed(chosen));
                    if random.below(2) == 0 {
                        reservation.commit().expect("it is this thread's");
                    }
                }
                Err(status) => may(status),
            },
            27 | 28 => assert!(cache.remove(&[key(chosen)]) <= 1),
            29 => assert!(cache.touch(&[key(chosen)]) <= 1),
            30..=32 => {
                let asked: Vec<Key> = (chosen..chosen + 3).map(key).collect();
                assert!(cache.match_prefix(&asked, random.below(2) == 0) <= 3);
            }
            33 => {
                let protected = random.below(8) == 0;
                let retained = cache.retain(&[key(chosen)], random.below(101) as u8, protected, random.below(3));
                assert!(retained.expect("the values are in range") <= 1);
            }
            34 if random.below(50) == 0 => {
                cache.namespace_clear(random.below(3));
            }
            35 => {
                cache.tick(0);
            }
            _ => {}
        }
        // At most as many views as leave a place that can be evicted.
        let held_max = (CAPACITY / THREADS_COUNT - 1) as usize;
        while views.len() > held_max || (!views.is_empty() && random.below(6) == 0) {
            let (number, view) = views.swap_remove(0);
            // SAFETY: the view is held and pins do not expire here.
            setup.check(
                unsafe { core::slice::from_raw_parts(view.data, view.bytes as usize) },
                number,
            );
            assert_eq!(cache.release_raw(&view), Ok(()));
            assert_eq!(cache.release_raw(&view), Err(Status::Stale));
        }
    }
    for (_, view) in views {
        assert_eq!(cache.release_raw(&view), Ok(()));
    }
}

fn resident(cache: &Cache) -> Vec<u64> {
    let keys: Vec<Key> = (0..KEYS_COUNT).map(key).collect();
    let mut tiers = vec![0; keys.len()];
    cache.match_each(&keys, false, &mut tiers);
    (0..KEYS_COUNT).filter(|number| tiers[*number as usize] != 0).collect()
}

/// Nothing is held any more: what is left is what can be found, and then nothing.
fn check_all_is_there(cache: &Cache, setup: Setup) {
    let stats = cache.stats();
    assert!(cache.is_idle());
    assert_eq!((stats.pins_held, stats.blocks_reserved), (0, 0));
    let left = resident(cache);
    assert_eq!(
        stats.blocks_resident,
        left.len() as u64,
        "a key twice, or a block that is not found"
    );
    if setup.dedup {
        let bytes: u64 = left.iter().map(|number| setup.bytes(*number) as u64).sum();
        let shared = stats.blocks_resident + stats.slots_free - CAPACITY;
        assert!((stats.dedup_bytes_saved < bytes) && (shared == 0) == (stats.dedup_bytes_saved == 0));
        assert_eq!(stats.counter(Counter::DedupCollisions), 0);
    } else {
        assert_eq!(stats.slots_free + stats.blocks_resident, CAPACITY, "a place was lost");
    }
    // Each place can be used: so many puts work with nothing else there.
    let keys: Vec<Key> = (0..KEYS_COUNT).map(key).collect();
    assert_eq!(cache.remove(&keys), stats.blocks_resident);
    let before = cache.stats();
    assert_eq!((before.slots_free, before.blocks_resident), (CAPACITY, 0));
    assert_eq!(before.dedup_bytes_saved, 0, "a reference was lost");
    for number in 0..CAPACITY {
        let contents = [number as u8 + 1; BLOCK_BYTES];
        assert!(cache.put(&key(number), &contents, &PutInfo::default()).is_ok());
    }
    let after = cache.stats();
    assert_eq!((after.slots_free, after.dedup_bytes_saved), (0, 0));
    assert_eq!(after.counter(Counter::Evictions), before.counter(Counter::Evictions));
    assert_eq!(resident(cache), (0..CAPACITY).collect::<Vec<_>>());
}

/// What a router believes that followed the events from the first.
fn replayed(cache: &Cache) -> Vec<u64> {
    let empty = Event {
        sequence: 0,
        time_ns: 0,
        key: key(0),
        block_index: BlockIndex(0),
        block_generation: 0,
        kind: EventKind::Moved,
        tier: Tier::Cpu,
    };
    let mut events = vec![empty; 4096];
    let mut believed: HashMap<u64, BlockRef> = HashMap::new();
    let mut sequence = 0;
    loop {
        let read = cache.events_read(&mut sequence, &mut events);
        assert_eq!(read.lost, 0, "the ring is large enough");
        if read.count == 0 {
            break;
        }
        for event in &events[..read.count] {
            let block = BlockRef {
                index: event.block_index.0,
                generation: event.block_generation,
            };
            let number = number(&event.key);
            match event.kind {
                EventKind::Damaged | EventKind::Offline | EventKind::CodecFallback => panic!("there is no file tier"),
                EventKind::Stored => {
                    let before = believed.insert(number, block);
                    assert_eq!(before, None, "event {}: key {number} stored twice", event.sequence);
                }
                EventKind::Removed | EventKind::Evicted => {
                    let before = believed.remove(&number);
                    assert_eq!(
                        before,
                        Some(block),
                        "event {}: key {number} went before it came",
                        event.sequence
                    );
                }
                EventKind::Moved | EventKind::PinExpired => unreachable!("{event:?}"),
            }
        }
    }
    let mut believed: Vec<u64> = believed.into_keys().collect();
    believed.sort_unstable();
    believed
}

#[test]
fn every_operation_from_every_thread() {
    let s3fifo = Setup {
        policy: PolicyKind::S3Fifo,
        ..Setup::PLAIN
    };
    for setup in [Setup::PLAIN, s3fifo, Setup::DEDUP] {
        let cache = open(setup);
        thread::scope(|scope| {
            for seed in 1..=THREADS_COUNT {
                let cache = &cache;
                scope.spawn(move || work(cache, setup, seed, KEYS_COUNT));
            }
        });
        let stats = cache.stats();
        assert_eq!(stats.counter(Counter::DedupHits) > 1000, setup.dedup);
        assert!(stats.counter(Counter::Evictions) > 1000, "the test has to evict");
        assert!(
            stats.counter(Counter::EvictionRollbacks) > 0,
            "the test has to meet pins"
        );
        assert_eq!(replayed(&cache), resident(&cache));
        check_all_is_there(&cache, setup);
        cache.close().map_err(|(_, status)| status).expect("nothing is held");
    }
}

/// Keys that fewer threads fight for more: puts of a key meet puts, removals and evictions of the same key.
#[test]
fn four_keys_between_three_threads() {
    for setup in [Setup::PLAIN, Setup::DEDUP] {
        let cache = open(setup);
        thread::scope(|scope| {
            for seed in 1..=THREADS_COUNT {
                let cache = &cache;
                scope.spawn(move || work(cache, setup, seed, 4));
            }
        });
        assert_eq!(replayed(&cache), resident(&cache));
        check_all_is_there(&cache, setup);
    }
}

/// Lets a number of threads begin each round at the same moment, give or take what each adds by chance.
struct Rounds {
    threads_count: u64,
    arrived: AtomicU64,
}

impl Rounds {
    /// Waits for the others. Spins, for the threads are to be on their processors; and yields, for there may be fewer.
    fn meet(&self, round: u64) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        for spins in 0_u64.. {
            if self.arrived.load(Ordering::Acquire) >= (round + 1) * self.threads_count {
                return;
            }
            if spins % 1000 == 999 {
                thread::yield_now();
            }
            core::hint::spin_loop();
        }
    }
}

/// Two threads put one key at the same moment, thousands of times: exactly one of them stores it.
#[test]
fn one_of_two_producers_stores_a_key() {
    const ROUNDS_COUNT: u64 = 60_000;
    let setup = Setup::PLAIN;
    let cache = open(setup);
    let rounds = Rounds {
        threads_count: 2,
        arrived: AtomicU64::new(0),
    };
    // How often a round was won, and how often it left the key there twice or not at all.
    let (stored, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..2 {
            let (cache, rounds, stored, wrong) = (&cache, &rounds, &stored, &wrong);
            scope.spawn(move || {
                let mut random = Random(seed << 56);
                for round in 0..ROUNDS_COUNT {
                    rounds.meet(2 * round);
                    (0..random.below(60)).for_each(|_| core::hint::spin_loop());
                    match cache.put(&key(3), &setup.contents(3), &PutInfo::default()) {
                        Ok(_) => {
                            stored.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(status) => may(status),
                    }
                    rounds.meet(2 * round + 1);
                    if seed == 0 && (cache.remove(&[key(3)]), cache.remove(&[key(3)])) != (1, 0) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!((stored.into_inner(), wrong.into_inner()), (ROUNDS_COUNT, 0));
    check_all_is_there(&cache, setup);
}

/// Counts a thread out, also one that fails.
struct Leaves<'r>(&'r AtomicU64);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        // Relaxed: the others only stop by it.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who alone puts a key finds it gone after it removed it, whatever evictors and readers do with it meanwhile.
#[test]
fn what_was_removed_is_not_found() {
    [Setup::PLAIN, Setup::DEDUP].into_iter().for_each(removed_is_not_found);
}

fn removed_is_not_found(setup: Setup) {
    let cache = open(setup);
    let running = AtomicU64::new(2);
    thread::scope(|scope| {
        for owner in 0..2 {
            let (cache, running) = (&cache, &running);
            scope.spawn(move || {
                let _leaves = Leaves(running);
                let mut random = Random(owner << 40);
                let mut target = vec![0; BLOCK_BYTES];
                for _ in 0..STEPS_COUNT {
                    let mine = random.below(CAPACITY) * 2 + owner;
                    let info = PutInfo {
                        namespace_id: owner,
                        ..PutInfo::default()
                    };
                    match cache.put(&key(mine), &setup.contents(mine), &info) {
                        Ok(_) => {}
                        Err(status) => may(status),
                    }
                    if random.below(4) == 0 {
                        let asked = if random.below(8) == 0 {
                            cache.namespace_clear(owner);
                            (0..CAPACITY).map(|number| number * 2 + owner).collect()
                        } else {
                            cache.remove(&[key(mine)]);
                            vec![mine]
                        };
                        for number in asked {
                            let got = cache.get(&key(number), &mut target, Temperature::Auto);
                            assert_eq!(got, Err(Status::Miss), "key {number} was removed");
                        }
                    }
                }
            });
        }
        let (cache, running) = (&cache, &running);
        scope.spawn(move || {
            let mut random = Random(9 << 40);
            let mut views = VecDeque::new();
            while running.load(Ordering::Relaxed) != 0 {
                // Held until they are the oldest, so that every evictor tries them first and has to roll back.
                let any = random.below(2 * CAPACITY);
                if let Ok(view) = cache.acquire(&key(any)) {
                    views.push_back((any, view));
                }
                if views.len() > 4 {
                    let (number, view) = views.pop_front().expect("there are five");
                    setup.check(&view, number);
                }
                (0..2000).for_each(|_| core::hint::spin_loop());
            }
        });
    });
    assert_eq!(replayed(&cache), resident(&cache));
    check_all_is_there(&cache, setup);
}

/// Each thread's lane beside the others' calls: each completion comes once, to its lane, with the right bytes.
fn lanes(workers_count: u64, dedup: bool) {
    const BATCH: usize = 4;
    let setup = Setup {
        policy: PolicyKind::S3Fifo,
        workers_count,
        dedup,
    };
    let cache = open(setup);
    thread::scope(|scope| {
        for seed in 1..=THREADS_COUNT {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = Random(seed << 48);
                for _ in 0..STEPS_COUNT / 400 {
                    let lane = cache.lane_open().expect("a lane for each thread");
                    for _ in 0..10 {
                        batch::<BATCH>(cache, setup, lane, &mut random);
                    }
                    assert_eq!(cache.lane_close(lane), Ok(()), "everything was reaped");
                    assert_eq!(cache.lane_close(lane), Err(Status::Stale));
                }
            });
        }
    });
    let stats = cache.stats();
    let submitted = stats.counter(Counter::OperationsSubmitted);
    assert_eq!(submitted, stats.counter(Counter::OperationsCompleted));
    assert_eq!(submitted, THREADS_COUNT * (STEPS_COUNT / 400) * 10 * BATCH as u64);
    assert_eq!(replayed(&cache), resident(&cache));
    check_all_is_there(&cache, setup);
}

fn batch<const COUNT: usize>(cache: &Cache, setup: Setup, lane: LaneRef, random: &mut Random) {
    let numbers: [u64; COUNT] = core::array::from_fn(|_| random.below(KEYS_COUNT));
    let puts: [bool; COUNT] = core::array::from_fn(|_| random.below(2) == 0);
    let keys = numbers.map(key);
    let mut blocks: Vec<Vec<u8>> = (0..COUNT)
        .map(|at| {
            if puts[at] {
                setup.contents(numbers[at])
            } else {
                vec![0; BLOCK_BYTES]
            }
        })
        .collect();
    let submissions: Vec<Submission> = (0..COUNT)
        .map(|at| Submission {
            opcode: if puts[at] { Opcode::Put } else { Opcode::Get },
            user_data: at as u64,
            keys: &raw const keys[at],
            keys_count: 1,
            bytes: blocks[at].len() as u64,
            data: blocks[at].as_mut_ptr(),
            info: PutInfo::default(),
            touch: true,
            temperature: kvcache::copy::Temperature::Auto,
        })
        .collect();
    let mut tickets = [TicketRef::default(); COUNT];
    // SAFETY: keys and blocks live until every completion was fetched, below.
    let taken = unsafe { cache.submit(lane, &submissions, Some(&mut tickets)) };
    assert_eq!(taken, Ok(COUNT as u64));
    let cancelled = random.below(COUNT as u64 * 2) as usize;
    let cancel = tickets.get(cancelled).map(|ticket| cache.cancel(lane, *ticket));
    // Out of order, and each one once.
    for at in (0..COUNT).rev() {
        let done = cache.wait(lane, tickets[at], WAIT).expect("it is done in time");
        assert_eq!(cache.poll(lane, tickets[at]), Err(Status::Stale));
        check_done(&done, setup, at, (numbers[at], puts[at]), &blocks[at]);
        if cancelled == at && cancel == Some(Ok(())) {
            assert_eq!(done.status, Status::Cancelled.code());
        }
    }
}

fn check_done(done: &Completion, setup: Setup, at: usize, (number, put): (u64, bool), block: &[u8]) {
    assert_eq!(done.user_data, at as u64);
    match Status::from_code(done.status) {
        Some(Status::Ok) if put => assert_eq!(done.result, 1),
        Some(Status::Ok) => setup.check(&block[..done.result as usize], number),
        Some(Status::Cancelled) => {}
        Some(status) if put => may(status),
        status => assert_eq!(status, Some(Status::Miss)),
    }
}

#[test]
fn lanes_in_tick_mode() {
    lanes(0, false);
}

#[test]
fn lanes_with_one_worker() {
    lanes(1, false);
    lanes(1, true);
}

#[test]
fn lanes_with_two_workers() {
    lanes(2, false);
}
