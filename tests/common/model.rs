//! The naive engine: a few vectors, the documented rules, nothing clever.
//!
//! It says what every call must answer. Where the rules leave a choice (which of several equals is evicted) it learns
//! from the events what the engine chose, and checks that the choice is within the rules.

use std::collections::{HashMap, HashSet, VecDeque};

use kvcache::Plan;
use kvcache::block::{BlockRef, PutInfo};
use kvcache::config::{Config, PolicyKind};
use kvcache::engine::RawView;
use kvcache::error::Status;
use kvcache::metrics::{Counter, Event, EventKind};
use kvcache::units::Tier;

use super::contents::fill;
use super::keys::Keys;
use super::operation::{Info, KeyRun};

/// Priority and protection, and when they end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    pub priority: u8,
    pub protected: bool,
    /// In steps of 2^24 ns; 0 is never.
    end: u64,
}

impl Retention {
    fn new(now_ns: u64, priority: u8, protected: bool, expiry_ms: u64) -> Self {
        let end = match expiry_ms {
            0 => 0,
            _ => ((now_ns + expiry_ms * 1_000_000) >> 24) + 1,
        };
        Self {
            priority,
            protected,
            end,
        }
    }

    /// As it is at `now_ns`.
    pub fn at(self, now_ns: u64) -> Self {
        if self.end != 0 && now_ns >> 24 >= self.end {
            Self::new(0, 0, false, 0)
        } else {
            self
        }
    }

    fn class(self, now_ns: u64) -> u8 {
        let now = self.at(now_ns);
        if now.protected { 101 } else { now.priority }
    }
}

/// A block that can be read.
#[derive(Clone, Debug)]
pub struct Block {
    pub key: usize,
    pub block: BlockRef,
    /// What its contents follow from.
    pub seed: u64,
    pub bytes: u64,
    pub depth: u64,
    pub namespace: u64,
    pub retention: Retention,
    stamp: u64,
}

/// A view that was handed out.
#[derive(Clone, Debug)]
pub struct View {
    pub raw: RawView,
    pub key: usize,
    pub seed: u64,
    pub held: bool,
    since_ns: u64,
}

/// A reservation, or a put between its two halves.
#[derive(Clone, Debug)]
pub struct Draft {
    pub key: usize,
    pub bytes: u64,
    pub seed: u64,
    depth: u64,
    namespace: u64,
    retention: Retention,
    /// 0 never expires.
    since_ns: u64,
}

/// A slot with a committed block, or several that share it.
#[derive(Clone, Debug)]
struct Slot {
    contents: Vec<u8>,
    /// In memory, or removed and still held.
    blocks: Vec<BlockRef>,
    /// Whether the next block with the same contents finds it.
    offered: bool,
}

/// Events that the engine reported and the model has not accounted for.
pub type Events = VecDeque<Event>;

/// The block that an event names.
pub fn block_of(event: &Event) -> BlockRef {
    BlockRef {
        index: event.block_index.0,
        generation: event.block_generation,
    }
}

/// The naive engine.
pub struct Model {
    pub keys: Keys,
    pub config: Config,
    pub capacity: usize,
    pub now_ns: u64,
    pub resident: Vec<Block>,
    /// Open reservations by block.
    pub drafts: Vec<(BlockRef, Draft)>,
    pub views: Vec<View>,
    pub events: Events,
    pub counts: HashMap<Counter, u64>,
    /// Removed while pinned: not found any more, and still taking up a place.
    removed: Vec<BlockRef>,
    slots: Vec<Slot>,
    shares_max: usize,
    entries_count: u64,
    views_max: usize,
    commits: u64,
    seen: HashSet<BlockRef>,
}

impl Model {
    /// An empty engine.
    pub fn new(config: &Config, plan: &Plan, keys: Keys) -> Self {
        Self {
            keys,
            config: *config,
            capacity: plan.slots_count() as usize,
            entries_count: plan.entries_count(),
            now_ns: 0,
            resident: Vec::new(),
            drafts: Vec::new(),
            views: Vec::new(),
            events: Events::new(),
            counts: HashMap::new(),
            removed: Vec::new(),
            slots: Vec::new(),
            shares_max: plan.shares_count() as usize,
            views_max: (config.stripes_count * (config.pins_per_stripe() - 2)) as usize,
            commits: 0,
            seen: HashSet::new(),
        }
    }

    pub fn count(&mut self, counter: Counter, amount: u64) {
        *self.counts.entry(counter).or_default() += amount;
    }

    pub fn find(&self, key: usize) -> Option<&Block> {
        self.resident.iter().find(|block| block.key == key)
    }

    pub fn views_held(&self) -> usize {
        self.views.iter().filter(|view| view.held).count()
    }

    pub fn places_used(&self) -> usize {
        self.slots.len() + self.drafts.len()
    }

    /// Blocks that take no slot of their own, and their bytes.
    fn shares(&self) -> (usize, u64) {
        let shares = self
            .slots
            .iter()
            .map(|slot| (slot.blocks.len() - 1, slot.contents.len()));
        shares.fold((0, 0), |(count, bytes), (shares, length)| {
            (count + shares, bytes + (shares * length) as u64)
        })
    }

    /// Bytes of the blocks that take no slot of their own.
    pub fn bytes_saved(&self) -> u64 {
        self.shares().1
    }

    /// Puts a block that is committed into a slot.
    fn settle(&mut self, block: BlockRef, seed: u64, bytes: u64) {
        let mut contents = vec![0; bytes as usize];
        fill(&mut contents, seed);
        let may_share = self.shares().0 < self.shares_max;
        let same = |slot: &&mut Slot| slot.offered && slot.contents == contents;
        match self.slots.iter_mut().find(same).filter(|_| self.config.dedup) {
            Some(slot) if may_share => {
                slot.blocks.push(block);
                self.count(Counter::DedupHits, 1);
                self.count(Counter::Frees, 1);
            }
            found => {
                let offered = found.is_none();
                self.slots.push(Slot {
                    contents,
                    blocks: vec![block],
                    offered,
                });
            }
        }
    }

    /// A block gives its slot up; true if that frees it.
    fn leave(&mut self, block: BlockRef) -> bool {
        let at = self.slots.iter().position(|slot| slot.blocks.contains(&block));
        let at = at.expect("every block is in a slot");
        self.slots[at].blocks.retain(|other| *other != block);
        let last = self.slots[at].blocks.is_empty();
        if last {
            self.slots.remove(at);
            self.count(Counter::Frees, 1);
        }
        last
    }

    fn pinned(&self, block: BlockRef) -> bool {
        self.views.iter().any(|view| view.held && view.raw.block == block)
    }

    fn next_event(&mut self, kind: EventKind, key: usize) -> Event {
        let event = self.events.pop_front();
        let event = event.unwrap_or_else(|| panic!("no event, wanted {kind:?} of key {key}"));
        assert_eq!((event.kind, event.key), (kind, *self.keys.key(key)));
        assert_eq!((event.time_ns, event.tier), (self.now_ns, Tier::Cpu));
        event
    }

    /// Notes a use, as a hit does.
    fn touch_block(&mut self, key: usize) -> Option<&Block> {
        let stamp = self.commits << 1 | 1;
        let block = self.resident.iter_mut().find(|block| block.key == key)?;
        block.stamp = stamp;
        Some(block)
    }

    // Puts.

    /// What reserving answers; `Ok` has made a place.
    pub fn reserve(
        &mut self,
        key: usize,
        bytes: u64,
        info: &PutInfo,
        parent: Option<usize>,
        seed: u64,
    ) -> Result<Draft, Status> {
        if bytes > self.config.block_bytes {
            return Err(Status::TooLarge);
        }
        let expiry_ms_max = kvcache::limits::EXPIRY_MS_MAX;
        if bytes == 0 || info.priority > 100 || info.geometry_id != 0 || info.expiry_ms > expiry_ms_max {
            return Err(Status::Argument);
        }
        if self.find(key).is_some() {
            self.count(Counter::PutsExisting, 1);
            return Err(Status::Exists);
        }
        if self.drafts.iter().any(|(_, draft)| draft.key == key) {
            self.count(Counter::PutsPending, 1);
            return Err(Status::Pending);
        }
        if self.places_used() == self.capacity {
            self.evict()?;
        }
        self.count(Counter::Reserves, 1);
        let depth_min = parent
            .and_then(|parent| self.find(parent))
            .map(|parent| parent.depth + 1);
        Ok(Draft {
            key,
            bytes,
            seed,
            depth: info.chain_index.max(depth_min.unwrap_or(0)).min(65_535),
            namespace: info.namespace_id,
            retention: Retention::new(self.now_ns, info.priority, info.protected, info.expiry_ms),
            since_ns: 0,
        })
    }

    /// Opens a reservation that the engine made.
    pub fn open(&mut self, block: BlockRef, mut draft: Draft) {
        self.is_new(block);
        draft.since_ns = self.now_ns.max(1);
        self.drafts.push((block, draft));
    }

    fn is_new(&mut self, block: BlockRef) {
        assert!(
            u64::from(block.index) < self.entries_count,
            "{block:?} is outside the table"
        );
        assert!(self.seen.insert(block), "{block:?} was handed out before");
    }

    /// A block becomes readable with `bytes` bytes.
    pub fn commit(&mut self, draft: Draft, block: Option<BlockRef>, bytes: u64) -> BlockRef {
        let event = self.next_event(EventKind::Stored, draft.key);
        match block {
            Some(block) => assert_eq!(block_of(&event), block),
            None => self.is_new(block_of(&event)),
        }
        let block = block_of(&event);
        self.count(Counter::Commits, 1);
        self.count(Counter::CommitBytes, bytes);
        self.settle(block, draft.seed, bytes);
        self.commits += 1;
        self.resident.push(Block {
            key: draft.key,
            block,
            seed: draft.seed,
            bytes,
            depth: draft.depth,
            namespace: draft.namespace,
            retention: draft.retention,
            stamp: self.commits << 1,
        });
        block
    }

    /// What a put answers, and its block.
    pub fn put(&mut self, key: usize, bytes: u64, info: &Info, seed: u64) -> Result<BlockRef, Status> {
        let draft = self.reserve(key, bytes, &info.rest, info.parent, seed)?;
        Ok(self.commit(draft, None, bytes))
    }

    /// What committing an open reservation with `bytes` bytes answers.
    pub fn commit_open(&mut self, block: BlockRef, bytes: u64) -> Result<(), Status> {
        let at = self.drafts.iter().position(|(other, _)| *other == block);
        let at = at.ok_or(Status::Stale)?;
        let reserved = self.drafts[at].1.bytes;
        if bytes > reserved {
            return Err(Status::TooLarge);
        }
        let (_, draft) = self.drafts.remove(at);
        self.commit(draft, Some(block), if bytes == 0 { reserved } else { bytes });
        Ok(())
    }

    /// What giving a reservation back answers.
    pub fn abort_open(&mut self, block: BlockRef) -> Result<(), Status> {
        let at = self.drafts.iter().position(|(other, _)| *other == block);
        self.drafts.remove(at.ok_or(Status::Stale)?);
        self.aborted(Counter::Aborts);
        Ok(())
    }

    pub fn aborted(&mut self, counter: Counter) {
        self.count(counter, 1);
        self.count(Counter::Frees, 1);
    }

    /// Makes one place, or says that nothing may go.
    fn evict(&mut self) -> Result<(), Status> {
        while !self.evict_one()? {}
        Ok(())
    }

    /// Evicts one block; true if that makes a place.
    fn evict_one(&mut self) -> Result<bool, Status> {
        let evictable = self.resident.iter().filter(|block| !self.pinned(block.block));
        let least = evictable.map(|block| self.rank(block)).min();
        // The blocks that came up before and could not go, since they are held, count as used.
        let stamp = self.commits << 1 | 1;
        let passed = |block: &Block| least.is_none_or(|least| self.rank(block) < least);
        let passed: Vec<usize> = (0..self.resident.len())
            .filter(|&at| passed(&self.resident[at]))
            .collect();
        for at in passed {
            self.resident[at].stamp = stamp;
        }
        let Some(least) = least else {
            self.count(Counter::Refusals, 1);
            return Err(Status::Again);
        };
        let event = self.events.front().expect("an eviction, since every place is taken");
        let key = self.keys.number(&event.key);
        let event = self.next_event(EventKind::Evicted, key);
        let at = self.resident.iter().position(|block| block.key == key);
        let victim = self.resident.remove(at.expect("only resident blocks are evicted"));
        assert_eq!(block_of(&event), victim.block);
        assert!(!self.pinned(victim.block), "evicted a pinned block: {victim:?}");
        assert_eq!(
            self.rank(&victim),
            least,
            "{victim:?} was not the one to go, at {}",
            self.now_ns
        );
        self.count(Counter::Evictions, 1);
        Ok(self.leave(victim.block))
    }

    /// Lower goes first: the class; then, by LRU, the time of the last use; then the deeper in the chain; then an
    /// order of places that means nothing.
    fn rank(&self, block: &Block) -> (u8, u64, u64, u32) {
        let class = block.retention.class(self.now_ns);
        match self.config.policy {
            PolicyKind::Lru => (
                class,
                block.stamp,
                8191 - block.depth.min(8191),
                block.block.index.wrapping_mul(0x9E37_79B1),
            ),
            _ => (class, 0, 0, 0),
        }
    }

    // Reads.

    /// What a get into `room` bytes answers: seed and length.
    pub fn get(&mut self, key: usize, room: u64) -> Result<(u64, u64), Status> {
        let Some(block) = self.touch_block(key) else {
            self.count(Counter::GetMisses, 1);
            return Err(Status::Miss);
        };
        let (seed, bytes) = (block.seed, block.bytes);
        if bytes > room {
            return Err(Status::TooSmall);
        }
        self.count(Counter::GetHits, 1);
        self.count(Counter::GetBytes, bytes);
        Ok((seed, bytes))
    }

    /// What acquiring answers.
    pub fn acquire(&mut self, key: usize) -> Result<Block, Status> {
        if self.find(key).is_none() {
            self.count(Counter::AcquireMisses, 1);
            return Err(Status::Miss);
        }
        if self.views_held() == self.views_max {
            self.count(Counter::Refusals, 1);
            return Err(Status::Again);
        }
        self.count(Counter::Acquires, 1);
        Ok(self.touch_block(key).expect("it is resident").clone())
    }

    /// Which blocks a prefix acquires.
    pub fn acquire_prefix(&mut self, keys: KeyRun, room: usize) -> Vec<Block> {
        let count = keys.count.min(room);
        let views_free = self.views_max - self.views_held();
        let mut acquired = Vec::new();
        for key in self.numbers(keys).into_iter().take(count) {
            if self.find(key).is_none() || acquired.len() == views_free {
                self.count(Counter::AcquireMisses, 1);
                break;
            }
            acquired.push(self.touch_block(key).expect("it is resident").clone());
        }
        self.count(Counter::Acquires, acquired.len() as u64);
        acquired
    }

    /// The engine handed out a view of `block`.
    pub fn viewed(&mut self, block: &Block, raw: RawView) {
        assert_eq!((raw.block, raw.bytes), (block.block, block.bytes));
        self.views.push(View {
            raw,
            key: block.key,
            seed: block.seed,
            held: true,
            since_ns: self.now_ns,
        });
    }

    /// What releasing a view answers.
    pub fn release(&mut self, which: usize) -> Result<(), Status> {
        if !self.views[which].held {
            return Err(Status::Stale);
        }
        self.count(Counter::Releases, 1);
        self.unpin(which);
        Ok(())
    }

    fn unpin(&mut self, which: usize) {
        self.views[which].held = false;
        let block = self.views[which].raw.block;
        if !self.pinned(block) && self.removed.contains(&block) {
            self.removed.retain(|other| *other != block);
            self.leave(block);
        }
    }

    /// What a prefix match answers.
    pub fn match_prefix(&mut self, keys: KeyRun, touch: bool) -> u64 {
        let numbers = self.numbers(keys);
        let hits = numbers.iter().take_while(|key| self.find(**key).is_some()).count();
        let asked = (hits + 1).min(numbers.len());
        self.count(Counter::MatchMisses, (asked - hits) as u64);
        self.count(Counter::MatchHits, hits as u64);
        for &key in numbers[..hits].iter().filter(|_| touch) {
            self.touch_block(key);
        }
        hits as u64
    }

    /// What a match of each answers: a mask of tiers for each key.
    pub fn match_each(&mut self, keys: KeyRun, touch: bool) -> Vec<u8> {
        let numbers = self.numbers(keys);
        let resident = |key: &usize| if self.find(*key).is_some() { Tier::Cpu.bit() } else { 0 };
        let tiers: Vec<u8> = numbers.iter().map(resident).collect();
        let hits = tiers.iter().filter(|tier| **tier != 0).count() as u64;
        self.count(Counter::MatchHits, hits);
        self.count(Counter::MatchMisses, tiers.len() as u64 - hits);
        for &key in numbers.iter().filter(|_| touch) {
            self.touch_block(key);
        }
        tiers
    }

    /// What touching answers.
    pub fn touch(&mut self, keys: KeyRun) -> u64 {
        let numbers = self.numbers(keys);
        let touched = numbers.iter().filter(|key| self.touch_block(**key).is_some()).count() as u64;
        self.count(Counter::Touches, touched);
        touched
    }

    // The rest.

    /// What retaining answers.
    pub fn retain(&mut self, keys: KeyRun, priority: u8, protected: bool, expiry_ms: u64) -> Result<u64, Status> {
        if priority > 100 || expiry_ms > kvcache::limits::EXPIRY_MS_MAX {
            return Err(Status::Argument);
        }
        let retention = Retention::new(self.now_ns, priority, protected, expiry_ms);
        let mut retained = 0;
        for key in self.numbers(keys) {
            if let Some(block) = self.resident.iter_mut().find(|block| block.key == key) {
                block.retention = retention;
                retained += 1;
            }
        }
        Ok(retained)
    }

    /// What removing answers.
    pub fn remove(&mut self, keys: KeyRun) -> u64 {
        let numbers = self.numbers(keys);
        numbers.into_iter().filter(|key| self.remove_key(*key)).count() as u64
    }

    fn remove_key(&mut self, key: usize) -> bool {
        let Some(at) = self.resident.iter().position(|block| block.key == key) else {
            return false;
        };
        let block = self.resident.remove(at).block;
        assert_eq!(block_of(&self.next_event(EventKind::Removed, key)), block);
        self.count(Counter::Removes, 1);
        if self.pinned(block) {
            self.removed.push(block);
        } else {
            self.leave(block);
        }
        true
    }

    /// What clearing a namespace answers.
    pub fn namespace_clear(&mut self, namespace: u64) -> u64 {
        let cleared = self.resident.iter().filter(|block| block.namespace == namespace);
        // The engine goes through its table in order.
        let mut cleared: Vec<(u32, usize)> = cleared.map(|block| (block.block.index, block.key)).collect();
        cleared.sort_unstable();
        for &(_, key) in &cleared {
            assert!(self.remove_key(key));
        }
        cleared.len() as u64
    }

    /// Views and reservations that are too old by now go, after the lanes' operations.
    pub fn expire(&mut self) {
        let age_max_ns = self.config.pin_expiry_ms * 1_000_000;
        let mut held: Vec<usize> = (0..self.views.len()).filter(|at| self.views[*at].held).collect();
        held.sort_unstable_by_key(|at| self.views[*at].raw.pin.index);
        for at in held.into_iter().filter(|_| age_max_ns != 0) {
            let view = &mut self.views[at];
            if view.since_ns == 0 {
                // A view from before the first tick: its age begins now.
                view.since_ns = self.now_ns;
            } else if self.now_ns - view.since_ns > age_max_ns {
                let (key, block) = (view.key, view.raw.block);
                assert_eq!(block_of(&self.next_event(EventKind::PinExpired, key)), block);
                self.count(Counter::PinsExpired, 1);
                self.unpin(at);
            }
        }
        let age_max_ns = self.config.reservation_expiry_ms * 1_000_000;
        if age_max_ns != 0 {
            let now_ns = self.now_ns;
            let before = self.drafts.len();
            self.drafts
                .retain(|(_, draft)| now_ns.saturating_sub(draft.since_ns) <= age_max_ns);
            (self.drafts.len()..before).for_each(|_| self.aborted(Counter::ReservationsExpired));
        }
    }

    /// How old a view is.
    pub fn age_ns(&self, view: &View) -> u64 {
        if view.since_ns == 0 {
            0
        } else {
            self.now_ns - view.since_ns
        }
    }

    fn numbers(&self, keys: KeyRun) -> Vec<usize> {
        let number = |number| self.keys.number(self.keys.key(number));
        (keys.first..keys.first + keys.count).map(number).collect()
    }
}
