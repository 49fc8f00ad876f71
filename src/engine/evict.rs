//! Making room: the policy's turn, and the sweep for those who do not get it.
//!
//! The policy is advice, the sweep is the guarantee. Whoever needs room tries to take the policy's turn and then evicts
//! what the policy names. A thread that finds the turn taken sweeps: it looks at a handful of blocks from a shared hand
//! on and evicts the one that was used longest ago, or the next that is not pinned. So nobody waits for anybody, and
//! with one thread every victim is the policy's.
//!
//! **Progress.** Lock-free: a victim is lost only to a thread that evicted, removed or pinned it. Bounded: the policy
//! names each block at most once per call, the sweep goes round at most twice.

use super::Engine;
use crate::block::entry::{Phase, Recency};
use crate::error::Status;
use crate::limits::CLASSES_COUNT;
use crate::metrics::Counter;
use crate::policy::{Blocks, Policy};
use crate::sync::atomic::Ordering;

/// Blocks that a sweep looks at before it chooses.
const SWEEP_SAMPLE: usize = 16;
/// Blocks checked for a lapsed retention per eviction and per tick, while there are any with an end.
const LAPSE_SAMPLE: u32 = 1024;

/// The engine's blocks as a policy sees them at one moment.
struct At<'e, 'm> {
    engine: &'e Engine<'m>,
    now_ns: u64,
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
}

impl Engine<'_> {
    /// Frees the place of one block.
    ///
    /// # Errors
    /// [`Status::Again`] if everything is pinned or reserved.
    pub(super) fn evict(&self) -> Result<(), Status> {
        let blocks = At {
            engine: self,
            now_ns: self.now_ns(),
        };
        if let Some(_turn) = self.control.policy_turn.take() {
            self.inform_policy(&blocks);
            while let Some(index) = self.policy.victim(&blocks) {
                let state = self.entries[index as usize].state();
                if state.is_resident() && self.evict_block(index, state.generation(), Counter::Evictions) {
                    return Ok(());
                }
            }
        }
        self.sweep(&blocks)
    }

    /// Tells the policy what has changed since the last time. Only with the policy's turn.
    fn inform_policy(&self, blocks: &At<'_, '_>) {
        self.inbox.take_all(|index| {
            if self.entries[index as usize].state().is_resident() {
                self.policy.insert(index, blocks);
            } else {
                self.policy.remove(index);
            }
        });
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
        if self.inbox.is_empty() && self.control.expiring_count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let Some(_turn) = self.control.policy_turn.take() else {
            return false;
        };
        let news = !self.inbox.is_empty();
        self.inform_policy(&At {
            engine: self,
            now_ns: self.now_ns(),
        });
        news
    }

    fn next_of(&self, hand: &crate::sync::atomic::AtomicU32, count: u32) -> u32 {
        // Relaxed: who gets which number does not matter.
        hand.fetch_add(1, Ordering::Relaxed) % count
    }

    /// Evicts without the policy: unprotected blocks first, sampled by age, then whatever is not pinned.
    fn sweep(&self, blocks: &At<'_, '_>) -> Result<(), Status> {
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
                    if state.is_resident() && class < class_end {
                        let age_order = u64::from(class) << 48 | blocks.recency(index).stamp() & ((1 << 48) - 1);
                        *place = (age_order, index, state.generation());
                    }
                }
                sample.sort_unstable();
                for (age_order, index, generation) in sample {
                    if age_order != u64::MAX && self.evict_block(index, generation, Counter::EvictionsSwept) {
                        return Ok(());
                    }
                }
            }
        }
        Err(Status::Again)
    }

    /// Evicts one block unless it is pinned or gone.
    fn evict_block(&self, index: u32, generation: u32, counter: Counter) -> bool {
        let entry = &self.entries[index as usize];
        if !entry.condemn(generation) {
            return false;
        }
        let pinned = self.pins.pinned(&[index]) != 0;
        if pinned && entry.roll_back(generation) {
            // Being held is being used. Otherwise the same held blocks would come up at every eviction.
            entry.touch(self.stamp_hit());
            self.inbox.put(index);
            self.counters.add(self.stripe(), Counter::EvictionRollbacks, 1);
            return false;
        }
        // Who fails to roll back or to claim finds the block doomed: a remover left it to this thread.
        let claimed = !pinned && entry.claim(generation, Phase::Condemned);
        let (counter, from) = match claimed {
            true => (counter, Phase::Claimed),
            false => (Counter::Removes, Phase::Doomed),
        };
        self.announce_gone(index, generation, counter);
        if pinned {
            entry.remove(generation, from);
            self.reclaim(index, generation);
        } else if entry.free(generation, from) {
            self.counters.add(self.stripe(), Counter::Frees, 1);
            self.recycle(index);
        }
        !pinned
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
