//! Raising ahead of use: from what callers do to news, from news to wishes, from wishes to raises.
//!
//! **News.** Who uses or stores a block writes one word into a ring of its own stripe, if prefetching is on: no line is
//! shared with other stripes, nothing is waited for. The ring keeps the latest; what a tick does not see in time is
//! lost, which costs foresight and nothing else.
//!
//! **Wishes.** A tick takes the turn, reads the news, tells the planner and the pattern tables, and collects wishes.
//! Blocks are named by place and generation, mixed so that a name spreads like a fingerprint and can be taken apart
//! again.
//!
//! **Raises.** A few blocks a tick, first ones first, through the same path as any raise without patience. A wish is
//! dropped when its request came, when it lapsed or was cancelled; a block, when it went. Raised blocks that wait for
//! their use are bounded in bytes, raising is bounded in bytes per second. And **nothing is raised at the cost of what
//! is hotter**: where no slot is free beyond those that ticks keep free, the block that was evicted last stands for the
//! next one to go; it must have been unused for twice as long as the wish expects to wait, divided by the wish's
//! probability. What was not used for so long is expected to stay unused for as long again; the factor of two is what
//! it took for no capacity of the traces to lose hits by it.

use super::Engine;
use crate::block::entry::Phase;
use crate::budget::{PREFETCH_DESK_WORDS, PREFETCH_NEWS_COUNT, Part, Plan, PrefetchLayout};
use crate::config::{Config, Prefetch};
use crate::error::Status;
use crate::metrics::Counter;
use crate::prefetch::{Bucket, Planner, Streams, Successors, Wish};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Blocks raised in a tick.
const RAISES_PER_TICK: usize = 32;
/// Wishes taken from the planner in a tick, and wishes that wait at most.
const WISHES_MAX: usize = 16;
/// Milliseconds between two looks at the silent conversations.
const POLL_MS: u64 = 100;
/// Blocks of a chain that one piece of news is followed through.
const STEPS_MAX: usize = 4096;
/// Successors followed from one use.
const SUCCESSORS_AHEAD: u32 = 4;
/// Times of use that are remembered.
const AGES_COUNT: usize = 32;
/// Words before a stripe's ring: its count has a pair of lines to itself.
const NEWS_HEAD: usize = 16;

/// Words of the desk. Written by the turn's holder alone, except where it says so.
mod desk {
    /// Two words of the bucket.
    pub(super) const BUCKET: usize = 0;
    /// When the planner was last asked, in milliseconds.
    pub(super) const POLLED: usize = 2;
    /// Bytes raised and neither used nor evicted. Any evictor takes from it.
    pub(super) const WAITING: usize = 3;
    /// Stamp of the block that was evicted last. Any evictor writes it.
    pub(super) const VICTIM: usize = 4;
    /// Number of the next block that is stored for the first time.
    pub(super) const NUMBER: usize = 5;
    /// Wishes that wait, and blocks left of the chain that is being raised.
    pub(super) const WISHES: usize = 6;
    pub(super) const CHAIN: usize = 7;
    /// Ring of times of use: how many were written.
    pub(super) const AGES: usize = 8;
    /// Per time of use: stamp, milliseconds.
    pub(super) const AGE_FIRST: usize = 16;
    /// Per wish: row, tail, due, lapse, probability in millionths, blocks at its end that are not worth raising.
    pub(super) const WISH_FIRST: usize = AGE_FIRST + 2 * super::AGES_COUNT;
    pub(super) const WISH_WORDS: usize = 8;
}

const _: () = assert!(desk::WISH_FIRST + desk::WISH_WORDS * (WISHES_MAX + 1) <= PREFETCH_DESK_WORDS as usize);

const USED: u64 = 1 << 62;
const STORED: u64 = 2 << 62;
/// Odd, so that multiplying can be undone.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
const UNMIX: u64 = inverse(MIX);

/// The inverse modulo 2^64, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// A block's name for the planner and the tables, never 0.
fn name_of(index: u32, generation: u32) -> u64 {
    (u64::from(generation) << 32 | (u64::from(index) + 1)).wrapping_mul(MIX)
}

/// Place and generation of a name.
fn block_of(name: u64) -> Option<(u32, u32)> {
    let word = name.wrapping_mul(UNMIX);
    Some(((word as u32).checked_sub(1)?, (word >> 32) as u32))
}

/// What prefetching remembers.
pub(super) struct Foresight<'m> {
    settings: Prefetch,
    bytes_max: u64,
    slot_bytes: u64,
    desk: &'m [AtomicU64],
    planner: Planner<'m>,
    streams: Streams<'m>,
    successors: Successors<'m>,
    news: &'m [AtomicU64],
    /// The chain that is being raised, names from its end to its beginning.
    chain: &'m [AtomicU64],
    /// Per place: when it was raised in 1/64 s + 1 and not used since, 0 if not; in the upper half, its number + 1.
    places: &'m [AtomicU64],
    order: &'m [AtomicU64],
}

impl<'m> Foresight<'m> {
    pub(super) fn new(config: &Config, plan: &Plan, words: &'m [AtomicU64]) -> Option<Self> {
        let layout: PrefetchLayout = plan.prefetch();
        if !config.prefetch.is_on() || (words.len() as u64) < layout.words_count() {
            return None;
        }
        let mut rest = words;
        let mut next = |count: u64| {
            let (part, after) = rest.split_at(count as usize);
            rest = after;
            part
        };
        Some(Self {
            settings: config.prefetch,
            bytes_max: config.prefetch.bytes_of(config.cpu_bytes),
            slot_bytes: plan.slot_bytes(),
            desk: next(layout.desk),
            news: next(layout.news),
            planner: Planner::new(next(layout.planner), config.prefetch.confidence_permille as u32),
            streams: Streams::new(next(layout.streams)),
            successors: Successors::new(next(layout.successors)),
            chain: next(layout.chain),
            places: next(layout.places),
            order: next(layout.order),
        })
    }

    fn get(&self, place: usize) -> u64 {
        // Relaxed, here and below: the turn orders what its holder writes; what evictors write are figures.
        self.desk.get(place).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(&self, place: usize, value: u64) {
        if let Some(word) = self.desk.get(place) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// A caller used or stored a block.
    #[inline]
    fn tell(&self, stripe: usize, word: u64) {
        let stride = PREFETCH_NEWS_COUNT as usize + NEWS_HEAD;
        let first = stripe * stride;
        let Some([head, ring @ ..]) = self.news.get(first..first + stride) else {
            return;
        };
        // Relaxed: a lossy ring. A word says all by itself, so that it does not matter when which becomes visible.
        let at = head.fetch_add(1, Ordering::Relaxed) & (PREFETCH_NEWS_COUNT - 1);
        if let Some(place) = ring.get(NEWS_HEAD - 1 + at as usize) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Takes what stripes were told, each word once, with the stripe's word for the block that was used last.
    fn take_news(&self, mut show: impl FnMut(u64, &AtomicU64)) {
        let stride = PREFETCH_NEWS_COUNT as usize + NEWS_HEAD;
        for stripe in self.news.chunks_exact(stride) {
            let [head, seen, last, ring @ ..] = stripe else {
                continue;
            };
            // Relaxed: as in `tell`.
            let (from, to) = (seen.load(Ordering::Relaxed), head.load(Ordering::Relaxed));
            if from == to {
                continue;
            }
            seen.store(to, Ordering::Relaxed);
            for at in from.max(to.saturating_sub(PREFETCH_NEWS_COUNT))..to {
                let place = ring.get(NEWS_HEAD - 3 + (at & (PREFETCH_NEWS_COUNT - 1)) as usize);
                match place.map_or(0, |place| place.swap(0, Ordering::Relaxed)) {
                    0 => {}
                    word => show(word, last),
                }
            }
        }
    }

    /// Marks a place as raised and unused, or no more; returns since when it was, in milliseconds.
    fn mark_raised(&self, index: u32, since_ms: Option<u64>) -> Option<u64> {
        let word = self.places.get(index as usize)?;
        let value = since_ms.map_or(0, |ms| (ms >> 4).min(u64::from(u32::MAX) - 1) + 1);
        // Relaxed: evictor and turn's holder may meet here; the exchange lets one of them have the mark.
        let mut before = word.load(Ordering::Relaxed);
        loop {
            let after = before >> 32 << 32 | value;
            if before == after {
                return None;
            }
            match word.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return (before as u32).checked_sub(1).map(|units| u64::from(units) << 4),
                Err(now) => before = now,
            }
        }
    }

    fn number(&self, index: u32, name: u64) -> Option<u64> {
        // Relaxed: the turn orders it.
        let number = (self.places.get(index as usize)?.load(Ordering::Relaxed) >> 32).checked_sub(1)?;
        (self.numbered(number) == Some(name)).then_some(number)
    }

    /// The name of the block with this number, as far as it is remembered.
    fn numbered(&self, number: u64) -> Option<u64> {
        if self.order.is_empty() || number >= self.get(desk::NUMBER) {
            return None;
        }
        let place = self.order.get((number % self.order.len() as u64) as usize)?;
        Some(place.load(Ordering::Relaxed)).filter(|&name| name != 0)
    }

    /// Gives a block that is stored for the first time its number.
    fn give_number(&self, index: u32, name: u64) {
        let number = self.get(desk::NUMBER);
        let place = (!self.order.is_empty()).then(|| number % self.order.len() as u64);
        let (Some(order), Some(word)) = (
            place.and_then(|place| self.order.get(place as usize)),
            self.places.get(index as usize),
        ) else {
            return;
        };
        // Half words: numbers begin anew where they do not fit any more.
        let number = if number >= u64::from(u32::MAX) - 1 { 0 } else { number };
        order.store(name, Ordering::Relaxed);
        word.store(
            u64::from(number as u32 + 1) << 32 | u64::from(word.load(Ordering::Relaxed) as u32),
            Ordering::Relaxed,
        );
        self.set(desk::NUMBER, number + 1);
    }

    /// Remembers where the use clock stands, a few times per turnover of the memory tier.
    fn note_age(&self, stamp: u64, step: u64, now_ms: u64) {
        let count = self.get(desk::AGES);
        let at = |n: u64| desk::AGE_FIRST + 2 * (n % AGES_COUNT as u64) as usize;
        if count == 0 || stamp >= self.get(at(count - 1)) + step {
            self.set(at(count), stamp);
            self.set(at(count) + 1, now_ms);
            self.set(desk::AGES, count + 1);
        }
    }

    /// For how long what has this stamp has been unused, in milliseconds; no less than is known.
    fn age_ms(&self, stamp: u64, now_ms: u64) -> u64 {
        let count = self.get(desk::AGES);
        let first = count.saturating_sub(AGES_COUNT as u64);
        let at = |n: u64| desk::AGE_FIRST + 2 * (n % AGES_COUNT as u64) as usize;
        // The first time at which the clock was past it.
        let after = (first..count).find(|&n| self.get(at(n)) > stamp);
        after.map_or(0, |n| now_ms.saturating_sub(self.get(at(n) + 1)))
    }

    fn wish(&self, place: usize) -> Wish {
        let at = desk::WISH_FIRST + desk::WISH_WORDS * place;
        Wish {
            row: self.get(at) as u32,
            tail: self.get(at + 1),
            due_ms: self.get(at + 2),
            lapse_ms: self.get(at + 3),
            probability: self.get(at + 4) as f32 / 1e6,
            blocks_count: self.get(at + 5) as u32,
            ..Wish::default()
        }
    }

    fn set_wish(&self, place: usize, wish: &Wish) {
        let at = desk::WISH_FIRST + desk::WISH_WORDS * place;
        let words = [
            u64::from(wish.row),
            wish.tail,
            wish.due_ms,
            wish.lapse_ms,
            (wish.probability * 1e6) as u64,
            u64::from(wish.blocks_count.saturating_sub(wish.likely_count)),
        ];
        for (offset, word) in words.into_iter().enumerate() {
            self.set(at + offset, word);
        }
    }

    /// Puts a wish behind those that wait; the last one gives way.
    fn push_wish(&self, wish: &Wish) {
        let count = (self.get(desk::WISHES) as usize).min(WISHES_MAX - 1);
        // Place 0 is the wish that is being carried out.
        self.set_wish(count + 1, wish);
        self.set(desk::WISHES, count as u64 + 1);
    }

    fn pop_wish(&self) -> Option<Wish> {
        let count = self.get(desk::WISHES) as usize;
        let wish = (count != 0).then(|| self.wish(1))?;
        for place in 1..count {
            self.set_wish(place, &self.wish(place + 1));
        }
        self.set(desk::WISHES, count as u64 - 1);
        Some(wish)
    }
}

impl Engine<'_> {
    /// Tells prefetching that a block was used.
    #[inline]
    pub(super) fn foresee_use(&self, stripe: usize, index: u32, generation: u32) {
        if let Some(foresight) = &self.foresight {
            foresight.tell(
                stripe,
                USED | u64::from(generation & 0x3FFF_FFFF) << 32 | u64::from(index),
            );
        }
    }

    /// Tells prefetching that a block was stored.
    pub(super) fn foresee_store(&self, stripe: usize, index: u32, generation: u32) {
        if let Some(foresight) = &self.foresight {
            foresight.tell(
                stripe,
                STORED | u64::from(generation & 0x3FFF_FFFF) << 32 | u64::from(index),
            );
        }
    }

    /// Counts a block that was raised ahead of use and is evicted without one.
    pub(super) fn foresee_eviction(&self, index: u32) {
        let Some(foresight) = &self.foresight else { return };
        if let Some(word) = foresight.desk.get(desk::VICTIM) {
            // Relaxed: a figure.
            word.store(self.entries[index as usize].recency().stamp(), Ordering::Relaxed);
        }
        if foresight.mark_raised(index, None).is_some() {
            self.counters.add(self.stripe(), Counter::PrefetchesWasted, 1);
            self.no_longer_waiting(foresight);
        }
    }

    fn no_longer_waiting(&self, foresight: &Foresight<'_>) {
        if let Some(word) = foresight.desk.get(desk::WAITING) {
            // Relaxed: a figure that bounds; each block is taken from it once, by whoever took its mark.
            word.fetch_sub(foresight.slot_bytes, Ordering::Relaxed);
        }
    }

    /// Makes no wish for a conversation before its next request, and forgets the one that stands. `false` if it is not
    /// known.
    ///
    /// # Errors
    /// [`Status::Again`] if a tick is just under way.
    pub fn prefetch_cancel(&self, conversation_id: u64) -> Result<bool, Status> {
        let Some(foresight) = &self.foresight else {
            return Ok(false);
        };
        let _turn = self.control.prefetch_turn.take().ok_or(Status::Again)?;
        let conversation = (conversation_id ^ conversation_id >> 32) as u32;
        Ok(conversation != 0 && foresight.planner.cancel(conversation, 0))
    }

    /// Learns, wishes and raises, if nobody else does. Bounded; returns how much there was to do.
    pub(super) fn foresee(&self) -> u64 {
        let Some(foresight) = &self.foresight else { return 0 };
        let Some(_turn) = self.control.prefetch_turn.take() else {
            return 0;
        };
        let now_ms = self.coarse_ns() / 1_000_000;
        // An eighth of a turnover of the memory tier.
        let step = (self.plan.slots_count() >> self.stamp_shift << 1) / 8;
        foresight.note_age(self.stamp_hit(), step.max(2), now_ms);
        let mut done = 0;
        foresight.take_news(|word, last| {
            done += 1;
            self.take_note(foresight, word, now_ms, last);
        });
        if foresight.settings.turns && now_ms >= foresight.get(desk::POLLED) + POLL_MS {
            foresight.set(desk::POLLED, now_ms);
            let mut wishes = [Wish::default(); WISHES_MAX];
            let planner = foresight.planner.with_confidence(self.confidence_permille() as u32);
            let count = planner.poll(now_ms, &mut wishes);
            for wish in &wishes[..count] {
                self.counters.add(self.stripe(), Counter::PrefetchWishes, 1);
                foresight.push_wish(wish);
            }
        }
        done + self.carry_out(foresight, now_ms)
    }

    /// The parent of a block, as far as it is known: advice, like all that is made of it.
    fn parent_of(&self, index: u32) -> Option<u32> {
        let parent = self.entries.get(index as usize)?.parent()?;
        let state = self.entries.get(parent as usize)?.state();
        let deeper = self.facts[parent as usize].depth() < self.facts[index as usize].depth();
        (state.is_known() && deeper).then_some(parent)
    }

    fn name(&self, index: u32) -> u64 {
        name_of(index, self.entries[index as usize].state().generation())
    }

    /// One piece of news.
    fn take_note(&self, foresight: &Foresight<'_>, word: u64, now_ms: u64, last: &AtomicU64) {
        let (index, generation) = (word as u32, (word >> 32) as u32 & 0x3FFF_FFFF);
        let Some(entry) = self.entries.get(index as usize) else {
            return;
        };
        if entry.state().generation() & 0x3FFF_FFFF != generation || !entry.state().is_known() {
            return;
        }
        let facts = &self.facts[index as usize];
        let (name, parent) = (self.name(index), self.parent_of(index));
        let keys = [parent.map_or(0, |parent| self.name(parent)), name];
        let keys = if keys[0] == 0 { &keys[1..] } else { &keys[..] };
        let saved_us = facts.recompute_cost_us().clamp(1, 1 << 24) as u32;
        let blocks_count = u32::from(facts.depth()) + 1;
        if word & STORED != 0 {
            if foresight.mark_raised(index, None).is_some() {
                // Of a block that was removed before it was used.
                self.no_longer_waiting(foresight);
            }
            foresight.give_number(index, name);
            if foresight.settings.turns
                && let [parent, _] = keys
                && !foresight.planner.extend(now_ms, *parent, name)
            {
                let counts = (blocks_count, blocks_count - 1, saved_us);
                foresight.planner.begin(now_ms, facts.conversation(), keys, counts);
            }
        } else {
            if foresight.settings.turns {
                let resumed = foresight.planner.resume(now_ms, keys, blocks_count, saved_us);
                if let Some((row, true)) = resumed
                    && foresight.get(desk::CHAIN) != 0
                    && foresight.wish(0).row == row
                {
                    // Its request was faster.
                    self.counters
                        .add(self.stripe(), Counter::PrefetchesLate, foresight.get(desk::CHAIN));
                    foresight.set(desk::CHAIN, 0);
                }
            }
            self.count_used(foresight, index, now_ms);
            // Relaxed: the turn's holder alone.
            let before = last.swap(name, Ordering::Relaxed);
            if foresight.settings.successors && before != 0 && before != name {
                foresight.successors.learn(before, name);
            }
            self.follow(foresight, (index, name), facts.namespace(), now_ms);
        }
    }

    /// Counts the blocks up to this one that were raised ahead of this use.
    fn count_used(&self, foresight: &Foresight<'_>, index: u32, now_ms: u64) {
        let mut at = Some(index);
        for _ in 0..STEPS_MAX {
            let Some(index) = at else { return };
            if let Some(since_ms) = foresight.mark_raised(index, None) {
                let stripe = self.stripe();
                self.counters.add(stripe, Counter::PrefetchesUsed, 1);
                self.counters
                    .add(stripe, Counter::PrefetchLeadMs, now_ms.saturating_sub(since_ms));
                self.no_longer_waiting(foresight);
            }
            at = self.parent_of(index);
        }
    }

    /// Raises what the patterns expect after a use.
    fn follow(&self, foresight: &Foresight<'_>, (index, name): (u32, u64), namespace: u64, now_ms: u64) {
        let confidence = self.confidence_permille() as u32;
        if foresight.settings.successors {
            let (mut at, mut sure) = (name, 1000_u32);
            for _ in 0..SUCCESSORS_AHEAD {
                let Some((next, confidence_next)) = foresight.successors.next(at) else {
                    break;
                };
                sure = sure * confidence_next / 1000;
                if sure < confidence {
                    break;
                }
                self.counters.add(self.stripe(), Counter::PrefetchWishes, 1);
                self.raise_wished(foresight, next, sure as f32 / 1000.0, now_ms, now_ms);
                at = next;
            }
        }
        let run = match foresight.number(index, name) {
            Some(number) if foresight.settings.sequences => foresight.streams.used(namespace, number),
            _ => None,
        };
        let Some(run) = run.filter(|run| run.confidence >= confidence) else {
            return;
        };
        for step in 0..run.count {
            let next = run.first.checked_add_signed(run.stride * step as i64);
            if let Some(next) = next.and_then(|number| foresight.numbered(number)) {
                self.counters.add(self.stripe(), Counter::PrefetchWishes, 1);
                self.raise_wished(foresight, next, run.confidence as f32 / 1000.0, now_ms, now_ms);
            }
        }
    }

    /// Carries out what conversations are wished, for a tick.
    fn carry_out(&self, foresight: &Foresight<'_>, now_ms: u64) -> u64 {
        let mut done = 0;
        for _ in 0..RAISES_PER_TICK {
            let left = foresight.get(desk::CHAIN) as usize;
            if left == 0 {
                let Some(wish) = foresight.pop_wish() else { break };
                foresight.set_wish(0, &wish);
                self.line_up(foresight, &wish);
                done += 1;
                continue;
            }
            let wish = foresight.wish(0);
            if !foresight.planner.stands(wish.row, wish.tail, now_ms) {
                foresight.set(desk::CHAIN, 0);
                continue;
            }
            let name = foresight
                .chain
                .get(left - 1)
                .map_or(0, |word| word.load(Ordering::Relaxed));
            match self.raise_wished(foresight, name, wish.probability, wish.due_ms, now_ms) {
                Some(true) => done += 1,
                Some(false) => {}
                // No room for this one, so none for those after it: they are worth no more.
                None => break,
            }
            foresight.set(desk::CHAIN, left as u64 - 1);
        }
        done
    }

    /// Writes the chain that leads up to a wish's tail down, from its end.
    fn line_up(&self, foresight: &Foresight<'_>, wish: &Wish) {
        let known = block_of(wish.tail).filter(|&(index, generation)| {
            self.entries.get(index as usize).is_some_and(|entry| {
                let state = entry.state();
                state.generation() == generation && state.is_known()
            })
        });
        let mut at = known.map(|(index, _)| index);
        for _ in wish.likely_count..wish.blocks_count {
            at = at.and_then(|index| self.parent_of(index));
        }
        let mut count = 0;
        while let (Some(index), Some(word)) = (at, foresight.chain.get(count)) {
            word.store(self.name(index), Ordering::Relaxed);
            count += 1;
            at = self.parent_of(index);
        }
        foresight.set(desk::CHAIN, count as u64);
    }

    /// Raises one block. `Some(false)` where there is nothing to raise, `None` where it may not be raised now.
    fn raise_wished(
        &self,
        foresight: &Foresight<'_>,
        name: u64,
        probability: f32,
        due_ms: u64,
        now_ms: u64,
    ) -> Option<bool> {
        let found = block_of(name).and_then(|(index, generation)| {
            let entry = self.entries.get(index as usize)?;
            let state = entry.state();
            (state.generation() == generation && state.phase() == Phase::Below).then_some((index, entry))
        });
        let Some((index, entry)) = found else {
            return Some(false);
        };
        if foresight.get(desk::WAITING).saturating_add(foresight.slot_bytes) > foresight.bytes_max {
            return None;
        }
        // Ticks keep some slots free by evicting; only what is free beyond that costs nothing.
        let slots_kept = self.plan.slots_count() * self.config.slots_free_high_permille / 1000;
        if self.slots_free() <= slots_kept {
            let unused_ms = foresight.age_ms(foresight.get(desk::VICTIM), now_ms);
            let wait_ms = due_ms.saturating_sub(now_ms);
            if unused_ms as f32 * probability <= 2.0 * wait_ms as f32 {
                return None;
            }
        }
        let bucket = foresight.desk.get(desk::BUCKET..desk::BUCKET + 2)?;
        let bucket = Bucket::new(bucket.try_into().ok()?, foresight.settings.bytes_per_second);
        if !bucket.take(now_ms, u64::from(entry.bytes())) {
            return None;
        }
        if self.ask(&entry.key(), None) != Ok(super::lower::Asked::Raising) {
            return None;
        }
        self.counters.add(self.stripe(), Counter::Prefetches, 1);
        if foresight.mark_raised(index, Some(now_ms)).is_none() {
            // Relaxed: as in `no_longer_waiting`.
            if let Some(word) = foresight.desk.get(desk::WAITING) {
                word.fetch_add(foresight.slot_bytes, Ordering::Relaxed);
            }
        }
        Some(true)
    }

    /// What prefetching remembers, from the part of the plan that is its.
    pub(super) fn foresight_of<'m>(
        config: &Config,
        plan: &Plan,
        arena: &crate::arena::Arena<'m>,
    ) -> Option<Foresight<'m>> {
        Foresight::new(config, plan, arena.slice(Part::Prefetch))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_taken_apart() {
        for (index, generation) in [(0, 1), (7, u32::MAX), (u32::MAX - 1, 12)] {
            assert_eq!(block_of(name_of(index, generation)), Some((index, generation)));
        }
        assert_eq!(MIX.wrapping_mul(UNMIX), 1);
    }
}
