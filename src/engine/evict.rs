//! Making room: the policy's turn, and the sweep for those who do not get it.
//!
//! The policy is advice, the sweep is the guarantee. Whoever needs room tries to take the policy's turn and then evicts
//! what the policy names. A thread that finds the turn taken sweeps: it looks at a handful of blocks from a shared hand
//! on and evicts the one that was used longest ago, or the next that is not pinned. So nobody waits for anybody, and
//! with one thread every victim is the policy's.
//!
//! Where blocks share slots, an eviction that leaves the slot to others frees nothing, and the next victim goes, too.
//!
//! **Progress.** Lock-free: a victim is lost only to a thread that evicted, removed or pinned it. Bounded: the policy
//! names each block at most once per call, the sweep goes round at most twice.

use super::{Clock, Engine};
use crate::block::entry::{Phase, Recency};
use crate::block::facts::mark;
use crate::error::Status;
use crate::limits::CLASSES_COUNT;
use crate::metrics::Counter;
use crate::policy::{Blocks, Policy};
use crate::sync::atomic::Ordering;
use crate::units::SlotIndex;

/// Blocks that a sweep looks at before it chooses.
const SWEEP_SAMPLE: usize = 16;
/// Victims that are written down together when memory has run out.
const VICTIMS_UNWRITTEN: usize = 16;
/// Longest single wait for a device.
const WAIT_NS_MAX: u64 = 1_000_000;
/// Blocks checked for a lapsed retention per eviction and per tick, while there are any with an end.
const LAPSE_SAMPLE: u32 = 1024;

/// What became of a block that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// It stays: pinned, being written, or gone already.
    Not,
    /// It went, and others have its slot.
    Shared,
    /// It went, and its slot is free or will be.
    Freed,
}

/// The engine's blocks as a policy sees them at one moment.
pub(super) struct At<'e, 'm> {
    engine: &'e Engine<'m>,
    now_ns: u64,
}

impl<'e, 'm> At<'e, 'm> {
    /// At this moment.
    pub(super) fn now(engine: &'e Engine<'m>) -> Self {
        Self {
            engine,
            now_ns: engine.now_ns(),
        }
    }
}

impl Blocks for At<'_, '_> {
    fn class(&self, index: u32) -> u8 {
        self.engine.facts[index as usize].retention().class(self.now_ns)
    }
    fn recency(&self, index: u32) -> Recency {
        self.engine.entries[index as usize].recency()
    }
    fn depth(&self, index: u32) -> u16 {
        self.engine.facts[index as usize].depth()
    }
    fn generation(&self, index: u32) -> u32 {
        self.engine.entries[index as usize].state().generation()
    }
    fn fingerprint(&self, index: u32) -> u64 {
        let entry = &self.engine.entries[index as usize];
        entry.key().fingerprint(self.engine.config.hash_seed)
    }
    fn parent(&self, index: u32) -> Option<u32> {
        let parent = self.engine.entries[index as usize].parent()?;
        // In memory or below: what is below can be raised. Another block may have the place by now.
        let here = self.engine.entries.get(parent as usize)?.state().is_known();
        (here && mark(self.fingerprint(parent)) == self.parent_mark(index)).then_some(parent)
    }
    fn parent_mark(&self, index: u32) -> u32 {
        self.engine.facts[index as usize].parent_mark()
    }
    fn now_ms(&self) -> u64 {
        self.now_ns / 1_000_000
    }
    fn used_ms(&self, index: u32) -> u64 {
        let stamp = self.recency(index).stamp();
        self.engine.control.use_times.used_ms(stamp, self.now_ms())
    }
    fn tokens(&self, index: u32) -> u16 {
        self.engine.facts[index as usize].tokens_count()
    }
    fn cost_us(&self, index: u32) -> u64 {
        self.engine.facts[index as usize].recompute_cost_us()
    }
    fn importance(&self, index: u32) -> u32 {
        let engine = self.engine;
        let given = match engine.config.importance_count {
            0 => None,
            _ => engine
                .importance
                .get(&engine.control.importance, self.fingerprint(index)),
        };
        given.unwrap_or_else(|| engine.facts[index as usize].importance())
    }
}

impl Engine<'_> {
    /// Frees the slot of one block, or of several that share it.
    ///
    /// # Errors
    /// [`Status::Again`] if everything is pinned or reserved.
    pub(super) fn evict(&self) -> Result<(), Status> {
        let blocks = At::now(self);
        if let Some(_turn) = self.control.policy_turn.take() {
            self.inform_policy(&blocks);
            while let Some(index) = self.policy.victim(&blocks) {
                let state = self.entries[index as usize].state();
                if state.is_resident() && self.frees(index, state.generation(), Counter::Evictions) {
                    return Ok(());
                }
            }
        }
        self.sweep(&blocks, |_, _| true)
    }

    /// A free slot, making room as long as there is none. With file tiers it waits up to `patience_ns` for victims to
    /// be written down, and gives up an unwritten one then; without patience it does neither. Whoever has a slot finds
    /// an entry: there are more of those.
    ///
    /// # Errors
    /// [`Status::Again`] if everything is pinned or reserved, or there is no patience and the victims are still to be
    /// written.
    pub(super) fn take_slot(&self, patience_ns: Option<u64>) -> Result<SlotIndex, Status> {
        // An eviction frees a slot that another thread may take first; who loses that often is told to come again.
        for _ in 0..64 {
            if let Some(slot) = self.cpu.take() {
                return Ok(slot);
            }
            if self.lower.is_none() {
                self.evict()?;
            } else if !self.make_room()? {
                return self.wait_for_slot(patience_ns.ok_or(Status::Again)?);
            }
        }
        self.cpu.take().ok_or(Status::Again)
    }

    /// Waits until a victim is written down and its slot free.
    #[cold]
    fn wait_for_slot(&self, patience_ns: u64) -> Result<SlotIndex, Status> {
        let started_ns = self.now_ns();
        let mut waits: u64 = 0;
        loop {
            if let Some(slot) = self.cpu.take() {
                return Ok(slot);
            }
            let elapsed_ns = match self.clock {
                Clock::Ticks => waits * WAIT_NS_MAX,
                _ => self.now_ns().saturating_sub(started_ns),
            };
            if elapsed_ns >= patience_ns {
                break;
            }
            if self.pump() == 0 {
                waits += 1;
                self.io_wait(WAIT_NS_MAX.min(patience_ns - elapsed_ns));
            }
            self.make_room()?;
        }
        self.give_up_unwritten()?;
        self.cpu.take().ok_or(Status::Again)
    }

    /// Frees a slot without losing what a file tier would take: of a block that is written already, or that no tier
    /// takes. Has others written down, and answers false if that is all it could do.
    fn make_room(&self) -> Result<bool, Status> {
        let mut unwritten = [0; VICTIMS_UNWRITTEN];
        let mut count = 0;
        let turn = self.control.policy_turn.take();
        if turn.is_none() {
            return Ok(self
                .sweep(&At::now(self), |index, generation| self.is_written(index, generation))
                .is_ok());
        }
        let blocks = At::now(self);
        self.inform_policy(&blocks);
        while count < unwritten.len() {
            let Some(index) = self.policy.victim(&blocks) else {
                break;
            };
            let state = self.entries[index as usize].state();
            let written = self.is_written(index, state.generation());
            if !state.is_resident() || !written && self.is_held(index, state.generation()) {
                // Whoever ends what is under way lets the policy know it again.
                continue;
            }
            if !written {
                unwritten[count] = index;
                count += 1;
            } else if self.frees(index, state.generation(), Counter::Evictions) {
                unwritten[..count].iter().for_each(|&index| self.inbox.put(index));
                return Ok(true);
            }
        }
        drop(turn);
        let mut freed = false;
        let under_way = self.stage_victims(&unwritten[..count], |index| {
            let state = self.entries[index as usize].state();
            if !freed && state.is_resident() {
                self.counters.add(self.stripe(), Counter::WritesRefused, 1);
                freed = self.frees(index, state.generation(), Counter::Evictions);
            } else {
                self.inbox.put(index);
            }
        });
        if !freed && !under_way && count == 0 && !self.io_under_way() {
            // The policy knows nothing: everything is held.
            return self.sweep(&blocks, |_, _| true).map(|()| true);
        }
        Ok(freed)
    }

    /// Gives up a block that no file tier has: what memory does when nothing else helps.
    fn give_up_unwritten(&self) -> Result<(), Status> {
        self.evict()?;
        self.counters.add(self.stripe(), Counter::WritesSkipped, 1);
        Ok(())
    }

    /// Nanoseconds that a put waits for room.
    pub(super) fn write_wait_ns(&self) -> u64 {
        self.config.write_wait_ms.saturating_mul(1_000_000)
    }

    /// Tells the policy what has changed since the last time. Only with the policy's turn.
    pub(super) fn inform_policy(&self, blocks: &At<'_, '_>) {
        self.control.use_times.note(self.stamp_hit() >> 1, blocks.now_ms());
        self.inbox.take_all(|index| {
            if self.entries[index as usize].state().is_resident() {
                self.policy.insert(index, blocks);
            } else {
                self.policy.remove(index);
            }
        });
        self.importance_inform(blocks);
        self.lapse(blocks);
    }

    /// Moves blocks whose retention has lapsed to the lowest class.
    fn lapse(&self, blocks: &At<'_, '_>) {
        // Relaxed: a count that decides whether to look.
        if self.control.expiring_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let known = self.entries.len() as u32;
        for _ in 0..LAPSE_SAMPLE.min(known) {
            let index = self.next_of(&self.control.lapse_hand, known);
            let facts = &self.facts[index as usize];
            if facts.retention().lapsed(blocks.now_ns) && self.entries[index as usize].state().is_resident() {
                if facts.set_retention(0, false, 0) {
                    self.expiring_sub(1);
                }
                self.policy.insert(index, blocks);
            }
        }
    }

    /// Tells the policy the news if nobody else has its turn; true if there were any.
    pub(super) fn policy_tick(&self) -> bool {
        // Relaxed: as in `lapse`.
        let quiet = self.inbox.is_empty() && self.control.expiring_count.load(Ordering::Relaxed) == 0;
        if quiet && !self.importance_changed() {
            return false;
        }
        let Some(_turn) = self.control.policy_turn.take() else {
            return false;
        };
        let news = !self.inbox.is_empty();
        self.inform_policy(&At::now(self));
        news
    }

    fn next_of(&self, hand: &crate::sync::atomic::AtomicU32, count: u32) -> u32 {
        // Relaxed: who gets which number does not matter.
        hand.fetch_add(1, Ordering::Relaxed) % count
    }

    /// Evicts without the policy: unprotected blocks first, sampled by age, then whatever is not pinned.
    fn sweep(&self, blocks: &At<'_, '_>, may: impl Fn(u32, u32) -> bool) -> Result<(), Status> {
        let known = self.entries.len() as u32;
        for class_end in [CLASSES_COUNT as u8 - 1, CLASSES_COUNT as u8] {
            let mut looked = 0;
            while looked < known {
                let mut sample = [(u64::MAX, 0, 0); SWEEP_SAMPLE];
                for place in &mut sample {
                    looked += 1;
                    let index = self.next_of(&self.control.sweep_hand, known);
                    let state = self.entries[index as usize].state();
                    let class = blocks.class(index);
                    if state.is_resident() && class < class_end && may(index, state.generation()) {
                        let age_order = u64::from(class) << 48 | blocks.recency(index).stamp() & ((1 << 48) - 1);
                        *place = (age_order, index, state.generation());
                    }
                }
                sample.sort_unstable();
                for (age_order, index, generation) in sample {
                    if age_order != u64::MAX && self.frees(index, generation, Counter::EvictionsSwept) {
                        return Ok(());
                    }
                }
            }
        }
        Err(Status::Again)
    }

    /// Evicts one block unless it is pinned or gone; true if that frees its slot.
    fn frees(&self, index: u32, generation: u32, counter: Counter) -> bool {
        self.evict_block(index, generation, counter) == Evicted::Freed
    }

    /// Evicts one block unless it is pinned or gone.
    pub(super) fn evict_block(&self, index: u32, generation: u32, counter: Counter) -> Evicted {
        let entry = &self.entries[index as usize];
        if !entry.condemn(generation) {
            return Evicted::Not;
        }
        let held = self.pins.pinned(&[index]) != 0;
        // A block that is being written is not freed; once it is written it may go.
        let pinned = held || self.is_held(index, generation) && !self.is_written(index, generation);
        if pinned && entry.roll_back(generation) {
            // Being held is being used. Otherwise the same held blocks would come up at every eviction.
            if held {
                entry.touch(self.stamp_hit());
            }
            self.inbox.put(index);
            self.counters.add(self.stripe(), Counter::EvictionRollbacks, 1);
            return Evicted::Not;
        }
        // A snapshot: of two that evict the last sharers at once neither may see that it frees the slot, and each goes
        // on to another victim.
        let shared = self.cpu.is_shared(SlotIndex(entry.slot()));
        // Who fails to roll back or to claim finds the block doomed: a remover left it to this thread.
        let claimed = !pinned && entry.claim(generation, Phase::Condemned);
        self.foresee_eviction(index);
        let (counter, from) = match claimed {
            true => (counter, Phase::Claimed),
            false => (Counter::Removes, Phase::Doomed),
        };
        self.announce_gone(index, generation, counter);
        if claimed && self.settles(index, generation) {
            self.settle(index, generation);
        } else if pinned || self.lower.is_some() {
            if !claimed {
                self.lower_bury(index, generation);
            }
            entry.remove(generation, from);
            self.let_go(index, generation);
        } else if entry.free(generation, from) {
            self.recycle(index);
        }
        match (pinned, shared) {
            (true, _) => Evicted::Not,
            (false, true) => Evicted::Shared,
            (false, false) => Evicted::Freed,
        }
    }

    /// Whether an evicted block stays known, below.
    fn settles(&self, index: u32, generation: u32) -> bool {
        // Relaxed: a count, and one block more or less is within the spare entries.
        self.is_written(index, generation) && self.control.below_count.load(Ordering::Relaxed) < self.plan.below_count()
    }

    /// Gives up the slot of an evicted block, which this thread has claimed; the block is below from now on.
    fn settle(&self, index: u32, generation: u32) {
        let entry = &self.entries[index as usize];
        let slot = SlotIndex(entry.slot());
        // Relaxed: a count.
        self.control.below_count.fetch_add(1, Ordering::Relaxed);
        entry.settle(generation);
        self.give_slot(slot);
        if !self.is_written(index, generation) && !self.is_held(index, generation) {
            // Its tier gave it up at the same moment; whoever looks second sees the other.
            self.drop_below(index, generation);
        }
    }

    pub(super) fn expiring_add(&self, count: u64) {
        // Relaxed: as in `lapse`.
        self.control.expiring_count.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn expiring_sub(&self, count: u64) {
        // Relaxed: as in `lapse`.
        self.control.expiring_count.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom), feature = "std"))]
mod tests {
    use super::*;
    use crate::{Cache, Config, Key, PutInfo};

    #[test]
    fn a_policy_sees_what_puts_said_and_when_blocks_were_used() {
        let cache = Cache::open(&Config {
            block_bytes: 64,
            cpu_bytes: 4 * 64,
            clock_ticks: true,
            ..Config::default()
        })
        .unwrap();
        let engine: &Engine<'_> = &cache;
        let keys = [b"a", b"b"].map(|name| Key::derive(0, b"", name));
        let tick = |seconds: u64| engine.tick(seconds * 1_000_000_000, |_| {});

        let first = engine.put(&keys[0], b"x", &PutInfo::default()).unwrap().index;
        tick(1);
        let info = PutInfo {
            parent: Some(keys[0]),
            tokens_count: 16,
            conversation_id: 7,
            recompute_cost_us: 640,
            importance: 3,
            ..PutInfo::default()
        };
        let second = engine.put(&keys[1], b"x", &info).unwrap().index;
        tick(5);
        let blocks = At::now(engine);
        assert_eq!((blocks.parent(first), blocks.parent_mark(first)), (None, 0));
        assert_eq!(blocks.parent(second), Some(first));
        assert_eq!(blocks.parent_mark(second), mark(blocks.fingerprint(first)));
        assert_eq!((blocks.depth(second), blocks.tokens(second)), (1, 16));
        assert_eq!(blocks.cost_us(second), 640);
        assert_eq!((blocks.importance(first), blocks.importance(second)), (0, 3));
        assert_eq!(
            (blocks.used_ms(first), blocks.used_ms(second), blocks.now_ms()),
            (1000, 5000, 5000)
        );

        engine.touch(&keys[..1]);
        tick(9);
        let blocks = At::now(engine);
        assert_eq!(
            (blocks.used_ms(first), blocks.used_ms(second)),
            (9000, 5000),
            "since the last insertion"
        );
        assert_eq!(engine.remove(&keys[..1]), 1);
        assert_eq!(blocks.parent(second), None, "it went");
        let replaced = (0..1000_u64).any(|number| {
            let key = Key::derive(1, b"", &number.to_le_bytes());
            let there = engine.put(&key, b"x", &PutInfo::default()).unwrap().index == first;
            there || engine.remove(&[key]) == 0
        });
        assert!(replaced);
        assert_eq!(blocks.parent(second), None, "another block has its place");
        assert_ne!(blocks.parent_mark(second), 0);
    }
}
