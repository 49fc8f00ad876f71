//! The replay itself.

use std::error::Error;
use std::time::{Duration, Instant};

use kvcache::copy::Temperature;
use kvcache::host::Paths;
use kvcache::metrics::Counter;
use kvcache::units::Tier;
use kvcache::{Cache, Config, Key, PutInfo, Status};

use super::folder::Folder;
use super::outcome::Outcome;
use super::progress::Progress;
use super::{KeysName, ReplayArgs};
use crate::content;

use crate::sys::{allocator, process};
use crate::trace::{Request, Requests};

/// What tells a trace's keys from others.
const SALT: &[u8] = b"kvcache:trace";
/// Bytes loaded and stored between two ticks, where the replay drives the engine.
const TICK_BYTES: u64 = 256 << 10;
/// Times that a call is repeated that the engine could not fulfil just now.
const TRIES_MAX: u32 = 1000;
/// Time that the flush at the end gets.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);
/// The tiers whose outcome is kept, in the order of the outcome.
const TIERS: [Tier; 3] = [Tier::Cpu, Tier::Nvme, Tier::Disk];

/// A replay that does not live to its end.
pub struct Ending<'r> {
    /// Requests of the trace after which the process kills itself.
    pub requests_count: usize,
    /// Shows what was counted till then.
    pub last_words: &'r dyn Fn(&Outcome),
}

/// Replays the requests and says what was counted. Does not return from an ending.
///
/// # Errors
/// A configuration that is refused, or a call that answers what it never should.
pub fn run(
    args: &ReplayArgs,
    config: &Config,
    requests: &Requests,
    folder: &Folder,
    ending: Option<&Ending<'_>>,
) -> Result<Outcome, Box<dyn Error>> {
    let mut progress = Progress::new(args.from, requests.list().len(), args.quiet);
    let mut replay = Replay::open(args, config, requests, folder)?;
    let heap_calls_before = allocator::calls();
    let begun = Instant::now();
    let mut done = args.from;
    for request in &requests.list()[args.from..] {
        if process::interrupted() {
            replay.outcome.interrupted = true;
            break;
        }
        replay.request(request)?;
        done += 1;
        progress.show(done, &replay.outcome);
        if let Some(ending) = ending.filter(|ending| ending.requests_count == done) {
            replay.outcome.killed = true;
            replay.outcome.run_ns = ns_since(begun);
            replay.count(heap_calls_before);
            progress.stop(done, &replay.outcome);
            (ending.last_words)(&replay.outcome);
            process::kill_self();
        }
    }
    replay.flush();
    replay.outcome.run_ns = ns_since(begun);
    replay.count(heap_calls_before);
    progress.stop(done, &replay.outcome);
    replay.cache.close().map_err(|(_, status)| status)?;
    Ok(replay.outcome)
}

/// An open engine and everything that a request takes, made beforehand.
struct Replay<'r> {
    cache: Cache,
    requests: &'r Requests,
    keys_name: KeysName,
    root: Key,
    prefetches: bool,
    /// Whether the replay drives the engine, since there are no workers.
    ticks: bool,
    bytes_since_tick: u64,
    block_tokens: u64,
    /// The keys of the request's blocks.
    keys: Vec<Key>,
    /// The tiers that hold each.
    masks: Vec<u8>,
    /// One block.
    buffer: Vec<u8>,
    outcome: Outcome,
}

impl<'r> Replay<'r> {
    fn open(
        args: &ReplayArgs,
        config: &Config,
        requests: &'r Requests,
        folder: &Folder,
    ) -> Result<Self, Box<dyn Error>> {
        let (nvme, disk) = (folder.nvme(), folder.disk());
        let paths = Paths {
            nvme: (config.nvme.bytes != 0).then_some(nvme.as_path()),
            disk: (config.disk.bytes != 0).then_some(disk.as_path()),
            tables: None,
        };
        let begun = Instant::now();
        let cache = Cache::open_with(config, &paths)?;
        let mut outcome = Outcome {
            opened_ns: ns_since(begun),
            block_bytes: config.block_bytes,
            ..Outcome::default()
        };
        outcome.recovered_blocks = cache.stats().counter(Counter::BlocksRecovered);
        outcome.damaged = cache.stats().counter(Counter::BlocksDamaged);
        // The heap is called for everything that has a name now, so that it is not later.
        for (place, tier) in outcome.tiers.iter_mut().enumerate() {
            let io = match cache.file_tier(TIERS[place]) {
                Some(state) => state.io_name,
                None if place == 0 => "memory",
                None => "none",
            };
            tier.io = String::from(io);
        }
        outcome.flush = String::with_capacity(64);
        let blocks_count_max = requests.blocks_count_max();
        Ok(Self {
            cache,
            requests,
            keys_name: args.keys,
            root: Key::chain_root(0, SALT),
            prefetches: args.prefetch,
            ticks: config.workers_count == 0,
            bytes_since_tick: 0,
            block_tokens: requests.block_tokens(),
            keys: Vec::with_capacity(blocks_count_max),
            masks: vec![0; blocks_count_max],
            buffer: vec![0; config.block_bytes as usize],
            outcome,
        })
    }

    /// One request: what is there is loaded, what is not is stored.
    fn request(&mut self, request: &Request) -> Result<(), Status> {
        self.derive_keys(request);
        let count = self.keys.len();
        let prefix = self.cache.match_prefix(&self.keys, true) as usize;
        self.outcome.blocks_found += self.cache.match_each(&self.keys, false, &mut self.masks[..count]);
        if self.prefetches {
            self.cache.prefetch(&self.keys[..prefix]);
        }
        let loaded = self.load(prefix)?;
        for place in 0..count {
            let tokens = request.tokens(place, self.block_tokens);
            self.outcome.tokens_accessed += tokens;
            self.outcome.tokens_hit += if place < loaded { tokens } else { 0 };
        }
        self.outcome.requests += 1;
        self.outcome.blocks_accessed += count as u64;
        self.outcome.misses += (count - loaded) as u64;
        for place in loaded..count {
            self.store(request, place)?;
        }
        self.tick();
        Ok(())
    }

    fn derive_keys(&mut self, request: &Request) {
        self.keys.clear();
        let mut parent = self.root;
        for &id in self.requests.ids(request) {
            parent = match self.keys_name {
                KeysName::Id => Key::derive(0, SALT, &id.to_le_bytes()),
                KeysName::Chain => Key::chain(&parent, &[id as u32, (id >> 32) as u32]),
            };
            self.keys.push(parent);
        }
    }

    /// Loads the first `prefix` blocks and checks them. Returns how many, counted from the first, could be had.
    fn load(&mut self, prefix: usize) -> Result<usize, Status> {
        for place in 0..prefix {
            let key = self.keys[place];
            if !self.prefetches {
                // Anew, since loading the blocks before it may have pushed it out of memory.
                self.cache.match_each(&[key], false, &mut self.masks[place..=place]);
            }
            let begun = Instant::now();
            let bytes = match self.get(&key) {
                Ok(bytes) => bytes,
                Err(Status::Miss | Status::Again | Status::Offline) => return Ok(place),
                Err(status) => return Err(status),
            };
            let ns = ns_since(begun);
            let tier = &mut self.outcome.tiers[nearest(self.masks[place])];
            tier.hits += 1;
            tier.load_ns += ns;
            tier.load_times.add(ns);
            let missing = self.outcome.block_bytes - bytes.min(self.outcome.block_bytes);
            self.outcome.wrong_bytes += missing + content::wrong_bytes(&key, &self.buffer[..bytes as usize]);
            self.moved(bytes);
        }
        Ok(prefix)
    }

    fn get(&mut self, key: &Key) -> Result<u64, Status> {
        let mut tries = 0;
        loop {
            match self.cache.get(key, &mut self.buffer, Temperature::Auto) {
                Err(Status::Again) if tries < TRIES_MAX => tries += 1,
                answer => return answer,
            }
            self.tick();
        }
    }

    /// Stores one block, filled in place.
    fn store(&mut self, request: &Request, place: usize) -> Result<(), Status> {
        let key = self.keys[place];
        let info = PutInfo {
            parent: place.checked_sub(1).map(|before| self.keys[before]),
            chain_index: place as u64,
            tokens_count: request.tokens(place, self.block_tokens),
            conversation_id: request.conversation,
            ..PutInfo::default()
        };
        for _ in 0..TRIES_MAX {
            match self.fill(&key, &info) {
                Ok(()) => {
                    self.moved(self.outcome.block_bytes);
                    return Ok(());
                }
                // It is there, only a block before it was not.
                Err(Status::Exists) => return Ok(()),
                Err(Status::Again | Status::Pending) => self.tick(),
                Err(status) => return Err(status),
            }
        }
        self.outcome.stores_refused += 1;
        Ok(())
    }

    fn fill(&mut self, key: &Key, info: &PutInfo) -> Result<(), Status> {
        let begun = Instant::now();
        let reservation = self.cache.reserve(key, self.outcome.block_bytes, info);
        self.outcome.store_ns += ns_since(begun);
        let mut reservation = reservation?;
        let reserved = Instant::now();
        content::fill(key, &mut reservation);
        let filled = Instant::now();
        self.outcome.fill_ns += (filled - reserved).as_nanos() as u64;
        reservation.commit()?;
        self.outcome.store_ns += ns_since(filled);
        Ok(())
    }

    /// Notes that bytes went in or out, and lets the engine move on from time to time.
    fn moved(&mut self, bytes: u64) {
        self.bytes_since_tick += bytes;
        if self.bytes_since_tick >= TICK_BYTES {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.bytes_since_tick = 0;
        if self.ticks {
            let begun = Instant::now();
            self.cache.tick(0);
            self.outcome.store_ns += ns_since(begun);
        } else {
            std::thread::yield_now();
        }
    }

    /// Makes everything durable.
    fn flush(&mut self) {
        let begun = Instant::now();
        let answer = self.cache.flush(FLUSH_TIMEOUT);
        self.outcome.flush_ns = ns_since(begun);
        self.outcome.store_ns += self.outcome.flush_ns;
        self.outcome.flushed_blocks = answer.unwrap_or(0);
        // Room for it was made beforehand.
        self.outcome
            .flush
            .push_str(answer.map_or_else(Status::name, |_| Status::Ok.name()));
    }

    /// Takes over what the engine counted.
    fn count(&mut self, heap_calls_before: u64) {
        let stats = self.cache.stats();
        self.outcome.heap_calls_after_open = allocator::calls() - heap_calls_before;
        self.outcome.checksum_failures = stats.counter(Counter::ChecksumFailures);
        self.outcome.io_errors = stats.counter(Counter::IoErrors);
        self.outcome.io_retries = stats.counter(Counter::IoRetries);
        self.outcome.writes_skipped = stats.counter(Counter::WritesSkipped);
        self.outcome.writes_refused = stats.counter(Counter::WritesRefused);
        let [cpu, nvme, disk] = &mut self.outcome.tiers;
        cpu.bytes_read = stats.counter(Counter::GetBytes);
        cpu.bytes_written = stats.counter(Counter::CommitBytes);
        cpu.block_bytes_written = cpu.bytes_written;
        cpu.blocks = self.cache.plan().slots_count() - stats.slots_free;
        nvme.bytes_read = stats.counter(Counter::NvmeReadBytes);
        nvme.bytes_written = stats.counter(Counter::NvmeFileBytes);
        nvme.block_bytes_written = stats.counter(Counter::NvmeWriteBytes);
        disk.bytes_read = stats.counter(Counter::DiskReadBytes);
        disk.bytes_written = stats.counter(Counter::DiskFileBytes);
        disk.block_bytes_written = stats.counter(Counter::DiskWriteBytes);
        for (outcome, tier) in self.outcome.tiers.iter_mut().zip(TIERS) {
            if let Some(state) = self.cache.file_tier(tier) {
                outcome.offline = state.offline;
                outcome.blocks = state.blocks;
            }
        }
    }
}

/// The place in the outcome of the nearest tier of a mask; memory where the mask is empty, since the block was there.
fn nearest(mask: u8) -> usize {
    TIERS.iter().position(|tier| mask & tier.bit() != 0).unwrap_or(0)
}

fn ns_since(begun: Instant) -> u64 {
    begun.elapsed().as_nanos() as u64
}
