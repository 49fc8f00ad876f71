//! After open nothing is allocated, by any thread.
//!
//! A cache is opened, the allocator is sealed, and then more than a million operations of every kind run on two threads
//! beside the library's workers, fewer of them with file tiers below memory, and blocks go through every codec. A
//! sealed allocator ends the process at the first call, whatever thread makes it and whether it takes memory or gives
//! it back. So each case runs in a process of its own, and the last three prove that the seal holds: they break it and
//! must die of it.

#[path = "sealed/codecs.rs"]
mod codecs;

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::fmt::Write;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use kvcache::block::{BlockRef, PinRef, PutInfo};
use kvcache::codec::{BlockCodec, CodecChoice, CodecKind, Isa, Scratch, Tables};
use kvcache::config::{FileTier, IoEngine, PolicyKind, Prefetch};
use kvcache::copy::Temperature;
use kvcache::engine::{Completion, LaneRef, Opcode, PinInfo, RawView, Submission, TicketRef};
use kvcache::geometry::{Dtype, Geometry, Shape};
use kvcache::host::Paths;
use kvcache::metrics::{BoundedText, Counter, Event, EventKind, Operation};
use kvcache::units::{BlockIndex, Tier};
use kvcache::{Cache, Config, Key, Status};

const BLOCK_BYTES: usize = 512;
const KEYS_COUNT: u64 = 400;
const CAPACITY: u64 = 128;
const THREADS_COUNT: u64 = 2;
const OPERATIONS_COUNT: u64 = 1_100_000;
const ROUND_OPERATIONS: u64 = 40;
const WAIT: Duration = Duration::from_secs(30);

/// Names the case that a child process runs.
const CASE: &str = "KVCACHE_SEALED_CASE";

// The allocator.

static SEALED: AtomicBool = AtomicBool::new(false);

struct Sealable;

impl Sealable {
    /// Ends the process if the allocator is sealed.
    fn check(call: &str, bytes: usize) {
        // Relaxed: set and taken back while the other threads wait at a barrier.
        if !SEALED.load(Ordering::Relaxed) {
            return;
        }
        SEALED.store(false, Ordering::Relaxed);
        let mut buffer = [0; 128];
        let mut text = BoundedText::new(&mut buffer);
        let _ = writeln!(text, "sealed: {call} of {bytes} bytes");
        let written = text.written();
        // SAFETY: the text is there for the time of the call.
        unsafe { libc::write(2, written.as_ptr().cast(), written.len()) };
        std::process::abort();
    }
}

// SAFETY: everything is the system's; the check before it allocates nothing.
unsafe impl GlobalAlloc for Sealable {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check("alloc", layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::check("alloc_zeroed", layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::check("realloc", bytes);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::check("dealloc", layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Sealable = Sealable;

// The operations.

fn key(number: u64) -> Key {
    Key::from_words([number % KEYS_COUNT, 3, 5, 7])
}

/// Everything that a thread works with, made before the seal.
struct Desk {
    random: u64,
    operations: u64,
    block: [u8; BLOCK_BYTES],
    target: [u8; 4 * BLOCK_BYTES],
    tiers: [u8; 16],
    text: Vec<u8>,
    views: [RawView; 8],
    events: [Event; 32],
    sequence: u64,
    pins: [PinInfo; 8],
    done: [Completion; 8],
    tickets: [TicketRef; 8],
}

impl Desk {
    fn new(seed: u64) -> Self {
        let event = Event {
            sequence: 0,
            time_ns: 0,
            key: key(0),
            block_index: BlockIndex(0),
            block_generation: 0,
            kind: EventKind::Moved,
            tier: Tier::Cpu,
        };
        let pin = PinInfo {
            block: BlockRef::default(),
            pin: PinRef::default(),
            key: key(0),
            age_ns: 0,
        };
        let done = Completion {
            user_data: 0,
            ticket: TicketRef::default(),
            status: 0,
            opcode: 0,
            result: 0,
        };
        Self {
            random: seed,
            operations: 0,
            block: [seed as u8; BLOCK_BYTES],
            target: [0; 4 * BLOCK_BYTES],
            tiers: [0; 16],
            text: vec![0; 1 << 20],
            views: [RawView::EMPTY; 8],
            events: [event; 32],
            sequence: 0,
            pins: [pin; 8],
            done: [done; 8],
            tickets: [TicketRef::default(); 8],
        }
    }

    fn below(&mut self, count: u64) -> u64 {
        // Knuth's generator; the high bits are the good ones.
        self.random = self
            .random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.random >> 33) % count
    }
}

/// At least [`ROUND_OPERATIONS`] operations, each kind at least now and then.
fn round(cache: &Cache, desk: &mut Desk) {
    let first = desk.below(KEYS_COUNT);
    let keys: [Key; 16] = core::array::from_fn(|at| key(first + at as u64));
    let info = PutInfo {
        parent: Some(keys[0]),
        priority: (first % 3) as u8,
        protected: first.is_multiple_of(50),
        expiry_ms: first % 2,
        namespace_id: first % 4,
        ..PutInfo::default()
    };
    for key in &keys[..8] {
        let bytes = 1 + desk.below(BLOCK_BYTES as u64) as usize;
        let _ = cache.put(key, &desk.block[..bytes], &info);
    }
    for key in &keys[..8] {
        let _ = cache.get(key, &mut desk.target, Temperature::Auto);
    }
    cache.match_prefix(&keys, first.is_multiple_of(2));
    cache.match_each(&keys, false, &mut desk.tiers);
    cache.touch(&keys[..4]);
    for key in &keys[..4] {
        if let Ok(view) = cache.acquire(key) {
            assert_ne!(view.len(), 0);
        }
    }
    let acquired = cache.acquire_prefix_raw(&keys[..8], &mut desk.views);
    let _ = cache.pins(&mut desk.pins);
    for view in &desk.views[..acquired as usize] {
        assert_eq!(cache.release_raw(view), Ok(()));
        assert_eq!(cache.release_raw(view), Err(Status::Stale));
    }
    for key in &keys[8..12] {
        if let Ok(mut reservation) = cache.reserve(key, 64, &info) {
            reservation.fill(7);
            if first.is_multiple_of(3) {
                drop(reservation);
            } else {
                reservation.commit().expect("it is this thread's");
            }
        }
    }
    if let Ok(reservation) = cache.reserve_raw(&keys[12], 64, &info) {
        assert_eq!(cache.commit_raw(&reservation, 65), Err(Status::TooLarge));
        assert_eq!(cache.abort_raw(&reservation), Ok(()));
        assert_eq!(cache.commit_raw(&reservation, 0), Err(Status::Stale));
    }
    let _ = cache.retain(&keys[..2], 10, false, 5);
    cache.remove(&keys[..1]);
    let _ = cache.describe(&keys[1]);
    desk.operations += ROUND_OPERATIONS;
}

/// What is done less often.
fn upkeep(cache: &Cache, desk: &mut Desk, round: u64) {
    cache.tick(0);
    let stats = cache.stats();
    assert!(stats.blocks_resident <= cache.capacity().blocks_count + THREADS_COUNT);
    let mut sequence = desk.sequence;
    cache.events_read(&mut sequence, &mut desk.events);
    desk.sequence = sequence;
    if round.is_multiple_of(16) {
        let mut text = BoundedText::new(&mut desk.text);
        cache.metrics_write(&mut text).expect("the text only counts");
        assert!(
            text.is_complete(),
            "the buffer is large enough for {} bytes",
            text.bytes_needed()
        );
        let mut short = BoundedText::new(&mut desk.target);
        cache.metrics_write(&mut short).expect("the text only counts");
        assert!(!short.is_complete());
        let _ = cache.latency(Operation::Get, Tier::Cpu);
        let _ = (cache.capacity(), cache.is_idle(), cache.check());
        cache.namespace_clear(3);
    }
    desk.operations += 6;
}

/// A batch on a lane that is opened and closed for it.
fn lane(cache: &Cache, desk: &mut Desk) {
    let lane: LaneRef = cache.lane_open().expect("a lane for each thread");
    let fd = cache.lane_event_fd(lane).expect("it is open");
    assert!(fd >= 0);
    let first = desk.below(KEYS_COUNT);
    let keys: [Key; 4] = core::array::from_fn(|at| key(first + at as u64));
    let opcodes = [
        Opcode::Put,
        Opcode::Get,
        Opcode::Match,
        Opcode::Touch,
        Opcode::Remove,
        Opcode::Acquire,
    ];
    let target = desk.target.as_mut_ptr();
    let views: *mut u8 = desk.views.as_mut_ptr().cast();
    let submissions = opcodes.map(|opcode| Submission {
        opcode,
        user_data: 1,
        keys: keys.as_ptr(),
        keys_count: 4,
        data: if opcode == Opcode::Acquire { views } else { target },
        bytes: if opcode == Opcode::Acquire {
            4
        } else {
            BLOCK_BYTES as u64
        },
        info: PutInfo::default(),
        touch: true,
        temperature: kvcache::copy::Temperature::Auto,
    });
    // SAFETY: keys and buffers stay until every operation was reaped below. Put and get use one buffer: they run one
    // after the other.
    let taken = unsafe { cache.submit(lane, &submissions, Some(&mut desk.tickets)) };
    assert_eq!(taken, Ok(6));
    let cancelled = cache.cancel(lane, desk.tickets[2]);
    let acquired = cache.wait(lane, desk.tickets[5], WAIT).expect("it is done in time");
    assert_eq!(acquired.opcode, Opcode::Acquire as u32);
    for view in &desk.views[..acquired.result as usize] {
        assert_eq!(cache.release_raw(view), Ok(()));
    }
    let mut reaped = 0;
    while reaped < 5 {
        let count = cache.reap(lane, &mut desk.done).expect("it is this thread's") as usize;
        let stopped = desk.done[..count]
            .iter()
            .any(|done| done.status == Status::Cancelled.code());
        assert!(!stopped || cancelled == Ok(()));
        reaped += count;
    }
    assert_eq!(cache.poll(lane, desk.tickets[0]), Err(Status::Stale));
    assert_eq!(cache.lane_close(lane), Ok(()));
    desk.operations += 16;
}

fn config(policy: PolicyKind, workers_count: u64, dedup: bool) -> Config {
    Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: CAPACITY * BLOCK_BYTES as u64,
        policy,
        pins_count: 64,
        stripes_count: 4,
        lanes_count: THREADS_COUNT,
        lane_depth: 8,
        events_count: 64,
        workers_count,
        pin_expiry_ms: 60_000,
        reservation_expiry_ms: 60_000,
        dedup,
        ..Config::default()
    }
}

/// Seals, runs `work` on every thread, unseals.
fn sealed(threads_count: u64, work: impl Fn(u64, &mut Desk) + Sync) -> u64 {
    let ready = Barrier::new(threads_count as usize + 1);
    let go = (Mutex::new(false), Condvar::new());
    let finished = (Mutex::new(0), Condvar::new());
    let leave = Barrier::new(threads_count as usize + 1);
    let operations = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..threads_count {
            let (ready, go, finished, leave, operations, work) = (&ready, &go, &finished, &leave, &operations, &work);
            scope.spawn(move || {
                let mut desk = Desk::new(seed + 1);
                ready.wait();
                let waiting = go.1.wait_while(go.0.lock().expect("no panics"), |go| !*go);
                drop(waiting.expect("no panics"));
                work(seed, &mut desk);
                operations.fetch_add(desk.operations, Ordering::Relaxed);
                *finished.0.lock().expect("no panics") += 1;
                finished.1.notify_all();
                leave.wait();
            });
        }
        ready.wait();
        // The test harness's own thread allocates once, for its channel, before it begins to wait for this test.
        thread::sleep(Duration::from_millis(300));
        SEALED.store(true, Ordering::Relaxed);
        *go.0.lock().expect("no panics") = true;
        go.1.notify_all();
        let done = finished
            .1
            .wait_while(finished.0.lock().expect("no panics"), |done| *done != threads_count);
        drop(done.expect("no panics"));
        SEALED.store(false, Ordering::Relaxed);
        leave.wait();
    });
    operations.into_inner()
}

fn run_sealed(policy: PolicyKind, workers_count: u64, dedup: bool) {
    let cache = Cache::open(&config(policy, workers_count, dedup)).expect("a small cache");
    let operations = sealed(THREADS_COUNT, |_, desk| {
        for number in 0.. {
            round(&cache, desk);
            if number % 4 == 0 {
                upkeep(&cache, desk, number);
                lane(&cache, desk);
            }
            if desk.operations * THREADS_COUNT >= OPERATIONS_COUNT {
                break;
            }
        }
    });
    let stats = cache.stats();
    assert!(operations >= 1_000_000, "{operations}");
    assert!(stats.counter(Counter::Evictions) > 10_000, "the run has to evict");
    assert!(
        stats.counter(Counter::OperationsCompleted) > 10_000,
        "the run has to use lanes"
    );
    assert_eq!(
        stats.counter(Counter::DedupHits) > 10_000,
        dedup,
        "the run has to share slots, or not"
    );
    assert!(cache.is_idle());
    println!(
        "{operations} operations, {} evictions",
        stats.counter(Counter::Evictions)
    );
}

// The file tiers.

/// Files in which a few hundred blocks are too many, so that segments are given up all the time.
fn config_files(io_engine: IoEngine, workers_count: u64, dedup: bool) -> Config {
    let tier = |segments_count, segment_bytes, kind| FileTier {
        bytes: (64 << 10) + segments_count * segment_bytes,
        segment_bytes,
        blocks_count: 1000,
        depth: 8,
        codec: CodecChoice::all(kind),
        ..FileTier::NONE
    };
    let geometry = Geometry::new(&Shape {
        layers_count: 1,
        planes_count: 2,
        kv_heads_count: 1,
        head_dim: 32,
        tokens_per_block: BLOCK_BYTES as u64 / 128,
        dtype: Dtype::F16,
    });
    let mut geometries = [None; 16];
    geometries[0] = geometry.ok();
    Config {
        geometries,
        nvme: tier(6, 32 << 10, CodecKind::I8),
        disk: tier(8, 64 << 10, CodecKind::T3),
        io_engine,
        prefetch: Prefetch {
            turns: true,
            sequences: true,
            successors: true,
            ..Prefetch::OFF
        },
        tuning: true,
        ..config(PolicyKind::Lru, workers_count, dedup)
    }
}

/// What only file tiers do.
fn round_below(cache: &Cache, desk: &mut Desk, number: u64) {
    let first = desk.below(KEYS_COUNT);
    let keys: [Key; 8] = core::array::from_fn(|at| key(first + at as u64));
    cache.prefetch(&keys[..4]);
    let info = PutInfo {
        geometry_id: 1,
        ..PutInfo::default()
    };
    for key in &keys[5..] {
        let _ = cache.put(key, &desk.block, &info);
    }
    for key in &keys {
        let _ = cache.get(key, &mut desk.target, Temperature::Auto);
    }
    if let Ok(view) = cache.acquire_partial_raw(&keys[4]) {
        while let Err((Status::Pending, _)) = cache.view_ready(&view) {
            cache.tick(0);
        }
        assert_eq!(cache.release_raw(&view), Ok(()));
    }
    if number.is_multiple_of(32) {
        cache.flush(WAIT).expect("the files can be written");
        assert!(!cache.file_tier(Tier::Nvme).expect("there is one").offline);
    }
    desk.operations += 16;
}

fn run_sealed_files(io_engine: IoEngine, workers_count: u64, dedup: bool, rounds: u64) {
    let folder = env::temp_dir().join(format!("kvcache-sealed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the files");
    let (nvme, disk) = (folder.join("nvme"), folder.join("disk"));
    let paths = Paths {
        nvme: Some(&nvme),
        disk: Some(&disk),
        tables: None,
    };
    let cache = Cache::open_with(&config_files(io_engine, workers_count, dedup), &paths).expect("small files");
    let operations = sealed(THREADS_COUNT, |_, desk| {
        for number in 0..rounds {
            round(&cache, desk);
            round_below(&cache, desk, number);
            if number.is_multiple_of(4) {
                upkeep(&cache, desk, number);
                lane(&cache, desk);
            }
        }
    });
    let stats = cache.stats();
    let io_name = cache.file_tier(Tier::Nvme).expect("there is one").io_name;
    for counter in [
        Counter::NvmeWrites,
        Counter::NvmeEvictions,
        Counter::NvmeHits,
        Counter::DiskWrites,
        Counter::DiskHits,
        Counter::Flushes,
        Counter::Transcodes,
    ] {
        assert!(
            stats.counter(counter) > 10,
            "the run has to use the files: {counter:?} {}",
            stats.counter(counter)
        );
    }
    assert_eq!(stats.counter(Counter::ChecksumFailures), 0);
    assert_eq!(stats.counter(Counter::DedupHits) > 100, dedup);
    println!(
        "{operations} operations, {} writes ({io_name})",
        stats.counter(Counter::NvmeWrites)
    );
    drop(cache);
    std::fs::remove_dir_all(folder).expect("the folder is this test's");
}

/// What a child process does; see [`CASE`].
#[test]
fn child() {
    let Ok(case) = env::var(CASE) else { return };
    match case.as_str() {
        "ticks-lru" => run_sealed(PolicyKind::Lru, 0, false),
        "ticks-s3fifo" => run_sealed(PolicyKind::S3Fifo, 0, false),
        "one-worker" => run_sealed(PolicyKind::S3Fifo, 1, false),
        "two-workers" => run_sealed(PolicyKind::Lru, 2, false),
        "dedup" => run_sealed(PolicyKind::Lru, 1, true),
        "files-ticks" => run_sealed_files(IoEngine::Auto, 0, false, 1500),
        "files-worker" => run_sealed_files(IoEngine::Auto, 1, false, 300),
        "files-positional" => run_sealed_files(IoEngine::Positional, 0, false, 1500),
        "files-dedup" => run_sealed_files(IoEngine::Positional, 0, true, 300),
        "codecs" => codecs::run_sealed_codecs(),
        "break-alloc" => {
            sealed(1, |_, desk| desk.text = vec![0; 1000]);
        }
        "break-dealloc" => {
            sealed(1, |_, desk| core::mem::take(&mut desk.text).clear());
        }
        "break-elsewhere" => {
            // The thread that breaks the seal is not one of those that work.
            let (running, stop) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    running.store(true, Ordering::Release);
                    while !stop.load(Ordering::Relaxed) {
                        if SEALED.load(Ordering::Relaxed) {
                            drop(core::hint::black_box(vec![1_u8; 77]));
                        }
                    }
                });
                // A thread allocates while it starts; that is not what is planted here.
                while !running.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                sealed(1, |_, _| thread::sleep(Duration::from_millis(200)));
                stop.store(true, Ordering::Relaxed);
            });
        }
        other => panic!("no case {other}"),
    }
}

fn run_child(case: &str) -> Output {
    // One test on the main thread: the harness has no thread of its own then, which would allocate as it likes.
    Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "child", "--test-threads=1", "--nocapture"])
        .env(CASE, case)
        .output()
        .expect("this test can be started")
}

fn assert_passes(case: &str) {
    let output = run_child(case);
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{case}: {}\n{said}\n{complained}",
        output.status
    );
    // A child that ran nothing would pass, too.
    assert!(said.contains(" operations, "), "{case}: {said}");
}

fn assert_breaks(case: &str, call: &str) {
    let output = run_child(case);
    assert!(!output.status.success(), "{case}: the seal did not hold");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(complained.contains(call), "{case}: {complained}");
}

#[test]
fn tick_mode_with_lru() {
    assert_passes("ticks-lru");
}

#[test]
fn tick_mode_with_s3fifo() {
    assert_passes("ticks-s3fifo");
}

#[test]
fn one_worker() {
    assert_passes("one-worker");
}

#[test]
fn two_workers() {
    assert_passes("two-workers");
}

#[test]
fn with_slots_that_are_shared() {
    assert_passes("dedup");
}

#[test]
fn file_tiers_below_slots_that_are_shared() {
    assert_passes("files-dedup");
}

#[test]
fn file_tiers_in_tick_mode() {
    assert_passes("files-ticks");
}

#[test]
fn file_tiers_with_a_worker() {
    assert_passes("files-worker");
}

#[test]
fn file_tiers_through_plain_reads_and_writes() {
    assert_passes("files-positional");
}

#[test]
fn codecs_of_every_kind() {
    assert_passes("codecs");
}

#[test]
fn a_broken_seal_is_seen() {
    assert_breaks("break-alloc", "sealed: alloc_zeroed of 1000 bytes");
    assert_breaks("break-dealloc", "sealed: dealloc of 1048576 bytes");
    assert_breaks("break-elsewhere", "sealed: alloc of 77 bytes");
}
