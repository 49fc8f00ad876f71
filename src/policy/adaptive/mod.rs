//! The best of a few policies for what is going on.
//!
//! One policy is in charge: `hazard` to begin with. Beside it, each of them runs in a [`Shadow`], a cache of nothing
//! but metadata, on a sample of the keys that their fingerprints choose: as many as fill 1024 places, or a 512th of
//! the cache's, and less in a small cache. For a cache in small behaves like the large one on its share of the keys
//! (Waldspurger, Saemundsson, Ahmad, Park: "Cache modeling and optimization using miniature simulations", USENIX ATC
//! 2017). The one that hits most is followed ([`contest`]). A block counts only if those before it in its chain that
//! are sampled are there, too.
//!
//! Hits are not reported to policies. So every so often, 16 times for each turnover of the cache, the sampled blocks
//! are looked at: what was used since, and what came, is told to the shadows in the order in which the blocks came. The
//! shadows lag behind by so much; of several uses of a block in that time all but the first are hits everywhere.
//!
//! The policies share their storage. A change empties it and puts all blocks in again: parents before their children
//! for `hazard`, by the time of their last use (in 256 steps) for the others. That takes O(n), about a tenth of a
//! microsecond a block, once and within one eviction. Ghosts are lost by it; what `hazard` learnt of lifetimes is not.

mod contest;
mod sample;
#[cfg(all(test, not(loom)))]
mod tests;

use super::{Access, Blocks, Hazard, Lru, Policy, S3Fifo, Shadow, Storage, hazard};
use crate::budget::{ADAPTIVE_MEMBERS, AdaptiveSample, Needs};
use crate::config::PolicyKind;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use contest::Contest;
use sample::{CHANGED, Entry, FRESH, GONE, Sample};

const MEMBERS: usize = ADAPTIVE_MEMBERS.len();
/// Which of the members is which.
const HAZARD: usize = 0;
const S3FIFO: usize = 1;
const LRU: usize = 2;
const _: () = {
    assert!(matches!(ADAPTIVE_MEMBERS[HAZARD], PolicyKind::Hazard));
    assert!(matches!(ADAPTIVE_MEMBERS[S3FIFO], PolicyKind::S3Fifo));
    assert!(matches!(ADAPTIVE_MEMBERS[LRU], PolicyKind::Lru));
};

/// How often the sampled blocks are looked at for each turnover of the cache.
const LOOKS: u32 = 16;
/// Fewest sampled accesses of a window of the contest.
const WINDOW_MIN: u32 = 1024;
/// Blocks before a sampled one among which one that is sampled is looked for.
const PARENTS_MAX: u32 = 512;
/// Steps in which blocks are put in order of their last use.
const STEPS: usize = 256;

/// Single half words of the fixed part.
const ACTIVE: usize = 0;
const INSERTIONS: usize = 1;
const SCALARS: usize = 2;
const _: () = assert!(SCALARS + contest::WORDS + sample::HEADS <= AdaptiveSample::HEADS as usize);

/// What a shadow lives in.
#[derive(Clone, Copy)]
struct Part<'m> {
    kind: PolicyKind,
    words: &'m [AtomicU64],
    halves: &'m [AtomicU32],
}

/// The adaptive policy.
pub(crate) struct Adaptive<'m> {
    hazard: Hazard<'m>,
    s3fifo: S3Fifo<'m>,
    lru: Lru<'m>,
    /// What the three share.
    words: &'m [AtomicU64],
    links: &'m [AtomicU32],
    /// The fixed part of each.
    heads: [&'m [AtomicU32]; MEMBERS],
    /// A bit for each block that the policy in charge has.
    known: &'m [AtomicU64],
    scalars: &'m [AtomicU32],
    contest: Contest<'m>,
    sample: Sample<'m>,
    parts: [Part<'m>; MEMBERS],
    places: u32,
    capacity: u32,
}

/// Empties storage.
fn clear(words: &[AtomicU64], halves: &[AtomicU32]) {
    words.iter().for_each(|word| word.store(0, Relaxed));
    halves.iter().for_each(|half| half.store(0, Relaxed));
}

impl<'m> Adaptive<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        let links = storage.links;
        let places = links.len() / 2;
        let sample = AdaptiveSample::of(places as u64);
        let shadows = ADAPTIVE_MEMBERS.map(|kind| Shadow::storage(kind, sample.capacity as u32));
        let shadow_words = shadows.iter().map(|shadow| shadow.words).sum::<usize>();
        let entry_words = (sample.entries * AdaptiveSample::ENTRY_WORDS) as usize;
        let words = storage.words;
        let (words, mut rest) = words.split_at(words.len() - shadow_words - entry_words - places.div_ceil(64));
        let mut words_of = |count: usize| {
            let (part, after) = rest.split_at(count);
            rest = after;
            part
        };
        let mut halves = storage.heads;
        let mut halves_of = |count: usize| {
            let (part, after) = halves.split_at(count);
            halves = after;
            part
        };
        let heads = ADAPTIVE_MEMBERS.map(|kind| halves_of(Needs::of(kind, places as u64).heads as usize));
        let fixed = halves_of(AdaptiveSample::HEADS as usize);
        let (scalars, fixed) = fixed.split_at(SCALARS);
        let (contest, fixed) = fixed.split_at(contest::WORDS);
        let chains = halves_of(2 * sample.entries as usize);
        let known = words_of(places.div_ceil(64));
        let entries = words_of(entry_words);
        let main = |words: &'m [AtomicU64], member: usize| Storage {
            words,
            links,
            heads: heads[member],
        };
        Self {
            hazard: Hazard::new(Storage {
                links: &links[..places],
                ..main(words, HAZARD)
            }),
            s3fifo: S3Fifo::new(main(&words[..places], S3FIFO)),
            lru: Lru::new(main(&words[..places], LRU)),
            words,
            links,
            heads,
            known,
            scalars,
            contest: Contest::new(contest),
            sample: Sample::new(entries, &fixed[..sample::HEADS], chains),
            parts: core::array::from_fn(|member| Part {
                kind: ADAPTIVE_MEMBERS[member],
                words: words_of(shadows[member].words),
                halves: halves_of(shadows[member].halves),
            }),
            places: places as u32,
            capacity: sample.capacity as u32,
        }
    }

    fn shadow(&self, member: usize) -> Shadow<'m> {
        let part = &self.parts[member];
        Shadow::new(part.kind, self.capacity, part.words, part.halves)
    }

    fn active(&self) -> usize {
        self.scalars[ACTIVE].load(Relaxed) as usize
    }

    /// Whether [`Adaptive::expect`] does anything.
    pub(crate) fn listens(&self) -> bool {
        self.active() == HAZARD
    }

    /// As [`Hazard::announce`].
    pub(crate) fn announce(&self, missing: impl Iterator<Item = u64>, now_ms: u64) {
        if self.listens() {
            self.hazard.announce(missing, now_ms);
        }
    }

    fn is_known(&self, index: u32) -> bool {
        self.known[index as usize / 64].load(Relaxed) >> (index % 64) & 1 != 0
    }

    fn set_known(&self, index: u32, on: bool) {
        let cell = &self.known[index as usize / 64];
        let bit = 1 << (index % 64);
        let word = cell.load(Relaxed) & !bit;
        cell.store(if on { word | bit } else { word }, Relaxed);
    }

    /// Whether a key is sampled. Policies pick other bits of a fingerprint.
    fn is_sampled(&self, fingerprint: u64) -> bool {
        let hash = fingerprint.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32;
        hash * u64::from(self.places) < u64::from(self.capacity) << 32
    }

    fn main_insert(&self, index: u32, blocks: &impl Blocks) {
        match self.active() {
            S3FIFO => self.s3fifo.insert(index, blocks),
            LRU => self.lru.insert(index, blocks),
            _ => self.hazard.insert(index, blocks),
        }
    }

    /// The nearest block before one that is sampled.
    fn sampled_parent(&self, mut index: u32, blocks: &impl Blocks) -> u64 {
        for _ in 0..PARENTS_MAX {
            let Some(parent) = blocks.parent(index) else {
                break;
            };
            let fingerprint = blocks.fingerprint(parent);
            if self.is_sampled(fingerprint) {
                return fingerprint;
            }
            index = parent;
        }
        0
    }

    /// Takes note of a sampled block that came or changed.
    fn sample_insert(&self, index: u32, blocks: &impl Blocks) {
        let generation = blocks.generation(index);
        let there = self.sample.find(index);
        if let Some(slot) = there {
            let mut entry = self.sample.get(slot);
            if entry.generation == generation {
                (entry.class, entry.importance) = (blocks.class(index), blocks.importance(index));
                entry.flags |= CHANGED;
                return self.sample.set(slot, &entry);
            }
            self.sample.leave(slot, 0);
        }
        let fingerprint = blocks.fingerprint(index);
        if !self.is_sampled(fingerprint) {
            return;
        }
        let entry = Entry {
            fingerprint,
            parent: self.sampled_parent(index, blocks),
            index,
            generation,
            depth: blocks.depth(index),
            tokens: blocks.tokens(index),
            cost_us: u32::try_from(blocks.cost_us(index)).unwrap_or(u32::MAX),
            importance: blocks.importance(index),
            uses: blocks.recency(index).uses(),
            class: blocks.class(index),
            flags: FRESH,
        };
        if !self.sample.add(&entry) {
            self.look(blocks);
            // Where there is still no room the sample is without it.
            self.sample.add(&entry);
        }
    }

    /// Tells the shadows what became of the sampled blocks.
    fn look(&self, blocks: &impl Blocks) {
        self.scalars[INSERTIONS].store(0, Relaxed);
        let mut shadows: [Shadow<'m>; MEMBERS] = core::array::from_fn(|member| self.shadow(member));
        shadows.iter_mut().for_each(|shadow| shadow.set_now_ms(blocks.now_ms()));
        let mut next = self.sample.first();
        while let Some(slot) = next {
            next = self.sample.next(slot);
            let mut entry = self.sample.get(slot);
            let here = entry.flags & GONE == 0 && blocks.generation(entry.index) == entry.generation;
            let (uses, used_ms) = match here {
                true => {
                    let uses = blocks.recency(entry.index).uses();
                    (uses.wrapping_sub(entry.uses), blocks.used_ms(entry.index))
                }
                false if entry.flags & GONE != 0 => (entry.uses, blocks.now_ms()),
                false => (0, blocks.now_ms()),
            };
            let count = u32::from(uses) + u32::from(entry.flags & FRESH);
            if count != 0 || entry.flags & CHANGED != 0 {
                self.tell(&mut shadows, &entry, count, used_ms);
            }
            if here {
                entry.flags = 0;
                entry.uses = entry.uses.wrapping_add(uses);
                self.sample.set(slot, &entry);
                continue;
            }
            if entry.flags & GONE == 0 {
                self.sample.leave(slot, 0);
            }
            self.sample.drop(slot);
        }
    }

    /// Tells the shadows of a block that was used `count` times.
    fn tell(&self, shadows: &mut [Shadow<'m>; MEMBERS], entry: &Entry, count: u32, used_ms: u64) {
        let access = Access {
            fingerprint: entry.fingerprint,
            parent_fingerprint: entry.parent,
            depth: entry.depth,
            tokens: entry.tokens,
            conversation: 0,
            cost_us: u64::from(entry.cost_us),
            importance: entry.importance,
            priority: entry.class,
        };
        self.contest.accessed(count);
        self.contest.hit_itself(count - u32::from(entry.flags & FRESH));
        for (member, shadow) in shadows.iter_mut().enumerate() {
            if entry.flags & CHANGED != 0 {
                shadow.reprice(&access);
            }
            if count == 0 {
                continue;
            }
            let hit = shadow.visit(&access, used_ms);
            let more = if hit || count > 1 && shadow.visit(&access, used_ms) {
                count - 1
            } else {
                0
            };
            self.contest.hit(member, u32::from(hit) + more);
        }
    }

    /// Looks at the sample if it is time, and changes the policy if another one is better.
    fn adapt(&self, blocks: &impl Blocks) {
        if self.scalars[INSERTIONS].load(Relaxed) < (self.places / LOOKS).max(1) {
            return;
        }
        self.look(blocks);
        if self.contest.accesses() >= self.capacity.max(WINDOW_MIN)
            && let Some(member) = self.contest.close(self.active())
        {
            self.change(member, blocks);
        }
    }

    /// Puts another policy in charge.
    #[cold]
    fn change(&self, member: usize, blocks: &impl Blocks) {
        let heads = self.heads[member];
        let kept = if member == HAZARD { hazard::LEARNT } else { 0 };
        clear(self.words, self.links);
        clear(&[], &heads[..heads.len() - kept]);
        self.scalars[ACTIVE].store(member as u32, Relaxed);
        if member == HAZARD {
            self.insert_by_chain(blocks);
        } else {
            self.insert_by_use(blocks);
        }
    }

    fn each_known(&self) -> impl Iterator<Item = u32> {
        (0..self.places).filter(|&index| self.is_known(index))
    }

    /// Puts all blocks into `hazard`, parents first.
    fn insert_by_chain(&self, blocks: &impl Blocks) {
        // `hazard` uses the first half of the links.
        let stack = &self.links[self.places as usize..];
        for index in self.each_known() {
            let (mut index, mut height) = (index, 0);
            while height < stack.len() && !self.hazard.knows(index) {
                stack[height].store(index, Relaxed);
                height += 1;
                match blocks.parent(index).filter(|&parent| self.is_known(parent)) {
                    Some(parent) => index = parent,
                    None => break,
                }
            }
            for cell in stack[..height].iter().rev() {
                self.hazard.insert(cell.load(Relaxed), blocks);
            }
        }
    }

    /// Puts all blocks in, those used longest ago first.
    fn insert_by_use(&self, blocks: &impl Blocks) {
        // Policies that go by time have the first of the words.
        let order = &self.words[self.places as usize..];
        let stamp = |index: u32| blocks.recency(index).stamp();
        let (first, last) = self.each_known().fold((u64::MAX, 0), |(first, last), index| {
            (first.min(stamp(index)), last.max(stamp(index)))
        });
        // Hits may come in meanwhile: later ones count as the last.
        let step = |index: u32| {
            let since = stamp(index).clamp(first, last) - first;
            (since / ((last - first) / STEPS as u64 + 1)) as usize
        };
        let mut ends = [0_u32; STEPS];
        for index in self.each_known() {
            let at = step(index);
            order[index as usize].store(at as u64, Relaxed);
            ends[at] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        // The upper half of a word is another array: blocks in order.
        for index in self.each_known() {
            let at = order[index as usize].load(Relaxed) as u32 as usize;
            ends[at] -= 1;
            let cell = &order[ends[at] as usize];
            cell.store(
                u64::from(index) << 32 | cell.load(Relaxed) & u64::from(u32::MAX),
                Relaxed,
            );
        }
        for cell in &order[..end as usize] {
            self.main_insert((cell.load(Relaxed) >> 32) as u32, blocks);
        }
    }
}

impl Policy for Adaptive<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        self.set_known(index, true);
        self.main_insert(index, blocks);
        let insertions = self.scalars[INSERTIONS].load(Relaxed).saturating_add(1);
        self.scalars[INSERTIONS].store(insertions, Relaxed);
        self.sample_insert(index, blocks);
    }

    fn remove(&self, index: u32) {
        self.set_known(index, false);
        match self.active() {
            S3FIFO => self.s3fifo.remove(index),
            LRU => self.lru.remove(index),
            _ => self.hazard.remove(index),
        }
        if let Some(slot) = self.sample.find(index) {
            self.sample.leave(slot, 0);
        }
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        self.adapt(blocks);
        let index = match self.active() {
            S3FIFO => self.s3fifo.victim(blocks),
            LRU => self.lru.victim(blocks),
            _ => self.hazard.victim(blocks),
        }?;
        self.set_known(index, false);
        if let Some(slot) = self.sample.find(index) {
            let entry = self.sample.get(slot);
            let uses = match entry.generation == blocks.generation(index) {
                true => blocks.recency(index).uses().wrapping_sub(entry.uses),
                false => 0,
            };
            self.sample.leave(slot, uses);
        }
        Some(index)
    }
}
