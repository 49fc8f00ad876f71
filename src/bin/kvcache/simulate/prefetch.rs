//! Raising ahead of use: what the planner expects, with the very code that the engine has, beside a policy that runs.
//!
//! The first tier is the policy's own, and is not touched: raised blocks lie in a room of their own beside it, so that
//! its hits are the same with and without. Below are all blocks that were ever stored, or those of the second tier,
//! where there is one. Once a second of the trace's time the planner is asked, and the blocks that it wishes and that
//! are not in the first tier are raised, first ones first, while the room has places. A raised block stays until it is
//! asked for, or until its wish lapses.
//!
//! | figure | what |
//! | --- | --- |
//! | recall | of the blocks that are below and not in the first tier when they are asked for, the share that was raised by then |
//! | precision | of the raised blocks, the share that was used |
//! | waste | of the raised blocks, the share that was given up unused |
//! | lead | how long before its use a block was raised, on average |
//!
//! The planner sees all requests. What is raised is followed for all blocks of a trace of up to [`ACCESSES_ALL`]
//! accesses, else for every second, fourth and so on, picked by their fingerprints, with a room that much smaller;
//! counts are multiplied to make up for it. What was stored is known for certain for [`GENERATION_BLOCKS`] of the
//! blocks that are followed, and in any trace for the last so many. Besides there are 12 bytes a block of the last
//! requests of conversations, of which the first [`CHAIN_MAX`] that are followed count.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::AtomicU64;

use kvcache::policy::Shadow;
use kvcache::prefetch::{Planner, Wish};

use super::stream::{Mixed, Request};

/// Different blocks of which it is known for certain that they were stored; at most twice as many are remembered.
const GENERATION_BLOCKS: usize = 1 << 20;
/// Conversations that the planner remembers.
const CONVERSATIONS: u32 = 1 << 14;
/// Milliseconds between two polls, of the trace's time.
const POLL_MS: u64 = 1000;
/// The pause of a trace that is gone through, in milliseconds; a longer one says no more.
const PAUSE_MS_MAX: u64 = 1 << 25;
/// Wishes of a poll.
const WISHES: usize = 64;
/// Accesses up to which all blocks are followed.
const ACCESSES_ALL: u64 = 1 << 22;
/// Blocks of a request that are followed, at most.
const CHAIN_MAX: usize = 1 << 12;

type Numbers<V> = HashMap<u64, V, BuildHasherDefault<Mixed>>;

/// How blocks are raised.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most raised blocks that wait for their use.
    pub room_blocks: u32,
    /// Accesses of the whole trace.
    pub accesses: u64,
    /// Least probability at which a conversation is wished, in thousandths.
    pub confidence_permille: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks raised.
    pub raised: u64,
    /// Of those, the ones that were used.
    pub used: u64,
    /// Of those, the ones that were given up unused; the rest waits.
    pub wasted: u64,
    /// Blocks asked for that were below, and neither in the first tier nor raised.
    pub missed: u64,
    /// Sum of the times from raising to use, in milliseconds.
    lead_ms: u64,
}

impl Counts {
    /// Share of the raised blocks that was used; nothing if there was none.
    pub fn precision(&self) -> Option<f64> {
        share(self.used, self.raised)
    }

    /// Share of the first tier's misses of blocks that are below that was raised; nothing if there was none.
    pub fn recall(&self) -> Option<f64> {
        share(self.used, self.used + self.missed)
    }

    /// Share of the raised blocks that was given up unused; nothing if there was none.
    pub fn waste(&self) -> Option<f64> {
        share(self.wasted, self.raised)
    }

    /// Milliseconds from raising to use, on average; nothing if none was used.
    pub fn lead_ms_mean(&self) -> Option<f64> {
        share(self.lead_ms, self.used)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

/// A block of a request that was not in the first tier.
#[derive(Clone, Copy, Debug)]
pub struct Missed {
    /// Its place in the request.
    pub place: u32,
    /// Whether it was in the second tier.
    pub below: bool,
}

/// Blocks that were stored, and the row of the conversation that did so last: where the young half is full, it becomes
/// the old one, and what the old one had is forgotten.
#[derive(Default)]
struct Ever {
    young: Numbers<u32>,
    old: Numbers<u32>,
}

impl Ever {
    fn row(&self, fingerprint: u64) -> Option<u32> {
        self.young
            .get(&fingerprint)
            .or_else(|| self.old.get(&fingerprint))
            .copied()
    }

    fn put(&mut self, fingerprint: u64, row: u32) {
        if self.young.len() >= GENERATION_BLOCKS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, row);
    }
}

/// A block that waits for its use.
#[derive(Clone, Copy)]
struct Raised {
    row: u32,
    at_ms: u64,
}

/// What a conversation was wished.
#[derive(Clone, Default)]
struct Row {
    /// The blocks of its last request that are followed: places and fingerprints.
    chain: Vec<(u32, u64)>,
    raised: Vec<u64>,
    tail: u64,
    /// When its last request came.
    noted_ms: u64,
    /// Blocks that it stored and the first tier gave up; of those, how many when its chain was last gone through.
    lost: u32,
    lost_seen: u32,
    /// Whether its chain was gone through since its last request.
    walked: bool,
}

/// Raises ahead of use beside a first tier.
pub struct Ahead {
    settings: Settings,
    words: Vec<AtomicU64>,
    ever: Ever,
    room: Numbers<Raised>,
    rows: Vec<Row>,
    /// Rows that have raised blocks.
    standing: Vec<u32>,
    /// One of so many blocks is followed, as a power of two.
    sample_shift: u32,
    polled_ms: u64,
    counts: Counts,
}

impl Ahead {
    /// Knows nothing.
    pub fn new(settings: Settings) -> Self {
        let words_count = Planner::words_count(CONVERSATIONS);
        Self {
            settings,
            words: (0..words_count).map(|_| AtomicU64::new(0)).collect(),
            ever: Ever::default(),
            room: Numbers::default(),
            rows: vec![Row::default(); CONVERSATIONS as usize],
            standing: Vec::new(),
            sample_shift: (settings.accesses / ACCESSES_ALL).max(1).ilog2(),
            polled_ms: 0,
            counts: Counts::default(),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let all = |sampled: u64| sampled << self.sample_shift;
        Counts {
            raised: all(self.counts.raised),
            used: all(self.counts.used),
            wasted: all(self.counts.wasted),
            missed: all(self.counts.missed),
            lead_ms: all(self.counts.lead_ms),
        }
    }

    /// Whether a block is followed.
    fn is_followed(&self, fingerprint: u64) -> bool {
        fingerprint >> 7 & ((1 << self.sample_shift) - 1) == 0
    }

    /// Most followed blocks that wait.
    fn room_blocks(&self) -> usize {
        (self.settings.room_blocks >> self.sample_shift).max(1) as usize
    }

    /// Whether it wants to be asked before what comes at `now_ms`.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.polled_ms + POLL_MS < now_ms
    }

    /// Lets the time pass until `now_ms`: lapses, wishes and raises.
    pub fn wait(&mut self, now_ms: u64, near: &Shadow<'_>, below: Option<&Shadow<'_>>) {
        self.polled_ms = self.polled_ms.max(now_ms.saturating_sub(PAUSE_MS_MAX));
        while self.is_due(now_ms) {
            self.polled_ms += POLL_MS;
            let at_ms = self.polled_ms;
            let mut place = 0;
            while let Some(&row) = self.standing.get(place) {
                let planner = Planner::new(&self.words, self.settings.confidence_permille);
                match planner.stands(row, self.rows[row as usize].tail, at_ms) {
                    false => self.give_up(row),
                    true => place += 1,
                }
            }
            let mut wishes = [Wish::default(); WISHES];
            let planner = Planner::new(&self.words, self.settings.confidence_permille);
            let count = planner.poll(at_ms, &mut wishes);
            for wish in &wishes[..count] {
                self.raise(wish, at_ms, near, below);
            }
        }
    }

    /// Notes a request that has gone through the tiers: what of it the first one did not have, and what that gave up
    /// for it.
    pub fn note(
        &mut self,
        request: &Request,
        fingerprints: &[u64],
        missed: &[Missed],
        gone: &[u64],
        exact_below: bool,
    ) {
        let mut known_count = None;
        for miss in missed {
            let fingerprint = fingerprints[miss.place as usize];
            if !self.is_followed(fingerprint) {
                continue;
            }
            let was_stored = self.ever.row(fingerprint).is_some();
            if !was_stored && known_count.is_none() {
                known_count = Some(miss.place);
            }
            if let Some(raised) = self.room.remove(&fingerprint) {
                self.counts.used += 1;
                self.counts.lead_ms += request.time_ms.saturating_sub(raised.at_ms);
            } else if if exact_below { miss.below } else { was_stored } {
                self.counts.missed += 1;
            }
        }
        let known_count = known_count.unwrap_or(fingerprints.len() as u32);
        let planner = Planner::new(&self.words, self.settings.confidence_permille);
        let noted = planner.request(request.time_ms, request.conversation, fingerprints, known_count, 1);
        let number = noted.map_or(u32::MAX, |(row, _)| row);
        for miss in missed {
            let fingerprint = fingerprints[miss.place as usize];
            if self.is_followed(fingerprint) {
                self.ever.put(fingerprint, number);
            }
        }
        for &fingerprint in gone {
            if self.is_followed(fingerprint)
                && let Some(number) = self.ever.row(fingerprint)
                && let Some(row) = self.rows.get_mut(number as usize)
            {
                row.lost = row.lost.wrapping_add(1);
            }
        }
        if (number as usize) < self.rows.len() {
            self.give_up(number);
            let mut chain = std::mem::take(&mut self.rows[number as usize].chain);
            chain.clear();
            let followed = (0..).zip(fingerprints.iter().copied());
            chain.extend(
                followed
                    .filter(|&(_, fingerprint)| self.is_followed(fingerprint))
                    .take(CHAIN_MAX),
            );
            let row = &mut self.rows[number as usize];
            (row.chain, row.walked, row.noted_ms) = (chain, false, request.time_ms);
        }
    }

    fn raise(&mut self, wish: &Wish, now_ms: u64, near: &Shadow<'_>, below: Option<&Shadow<'_>>) {
        let row = &mut self.rows[wish.row as usize];
        row.tail = wish.tail;
        if row.walked && row.lost_seen == row.lost {
            return;
        }
        row.lost_seen = row.lost;
        row.walked = true;
        if row.raised.is_empty() {
            self.standing.push(wish.row);
        }
        let chain = std::mem::take(&mut row.chain);
        for &(place, fingerprint) in &chain {
            if place >= wish.likely_count {
                break;
            }
            let is_below = below.is_none_or(|below| below.find(fingerprint).is_some());
            if !is_below || near.find(fingerprint).is_some() || self.room.contains_key(&fingerprint) {
                continue;
            }
            if self.room.len() >= self.room_blocks() && !self.make_room(wish.row, now_ms) {
                self.rows[wish.row as usize].walked = false;
                break;
            }
            let raised = Raised {
                row: wish.row,
                at_ms: now_ms,
            };
            self.room.insert(fingerprint, raised);
            self.counts.raised += 1;
            self.rows[wish.row as usize].raised.push(fingerprint);
        }
        self.rows[wish.row as usize].chain = chain;
        if self.rows[wish.row as usize].raised.is_empty() {
            self.stand_no_more(wish.row);
        }
    }

    /// Gives up what was raised for the conversation that has been silent longest, if that is at least twice as long as
    /// the one in `row`: so it is half as likely to come, where nothing else is known.
    fn make_room(&mut self, row: u32, now_ms: u64) -> bool {
        let silent_ms = |row: u32| now_ms.saturating_sub(self.rows[row as usize].noted_ms);
        let longest = self.standing.iter().copied().max_by_key(|&other| silent_ms(other));
        let longest = longest.filter(|&other| silent_ms(other) >= 2 * silent_ms(row).max(1));
        longest.inspect(|&other| self.give_up(other)).is_some()
    }

    /// Gives up what was raised for a row and was not used.
    fn give_up(&mut self, number: u32) {
        let row = &mut self.rows[number as usize];
        if row.raised.is_empty() {
            return;
        }
        for fingerprint in row.raised.drain(..) {
            if self.room.get(&fingerprint).is_some_and(|raised| raised.row == number) {
                self.room.remove(&fingerprint);
                self.counts.wasted += 1;
            }
        }
        row.walked = false;
        self.stand_no_more(number);
    }

    fn stand_no_more(&mut self, number: u32) {
        if let Some(place) = self.standing.iter().position(|&other| other == number) {
            self.standing.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use kvcache::config::PolicyKind;
    use kvcache::policy::Access;

    use super::*;

    /// A conversation of ten blocks that comes every two minutes, or another one each time; 60 blocks of others
    /// displace it from a tier of 40. Says what was counted over the second half, when there was something to learn
    /// from.
    fn run(room_blocks: u32, accesses: u64, same: bool) -> (Counts, usize) {
        const TIER: u32 = 40;
        let storage = Shadow::storage(PolicyKind::Lru, TIER);
        let words: Vec<AtomicU64> = (0..storage.words).map(|_| AtomicU64::new(0)).collect();
        let halves: Vec<AtomicU32> = (0..storage.halves).map(|_| AtomicU32::new(0)).collect();
        let mut near = Shadow::new(PolicyKind::Lru, TIER, &words, &halves);
        let mut ahead = Ahead::new(Settings {
            room_blocks,
            accesses,
            confidence_permille: 500,
        });
        let mut waiting_max = 0;
        let mut half = Counts::default();
        for round in 0..200_u64 {
            if round == 100 {
                half = ahead.counts();
            }
            for talk in [true, false] {
                let (first, count) = match talk {
                    true => (0, 10),
                    false => (1_000 + round * 60, 60),
                };
                let line = crate::trace::Line {
                    timestamp: (round * 120_000 + if talk { 0 } else { 5_000 }) as f64,
                    session: talk.then_some(if same { 1 } else { 1000 + round }),
                    hash_ids: (first..first + count).collect(),
                    ..Default::default()
                };
                let request = Request::of(&line);
                let fingerprints: Vec<u64> = line
                    .hash_ids
                    .iter()
                    .map(|&id| (id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
                    .collect();
                ahead.wait(request.time_ms, &near, None);
                waiting_max = waiting_max.max(ahead.room.len());
                near.set_now_ms(request.time_ms);
                let missed: Vec<Missed> = (0..)
                    .zip(&fingerprints)
                    .filter(|(_, fingerprint)| near.find(**fingerprint).is_none())
                    .map(|(place, _)| Missed { place, below: false })
                    .collect();
                let insert = |fingerprint: &u64| {
                    near.insert(&Access {
                        fingerprint: *fingerprint,
                        ..Access::default()
                    })
                };
                let gone: Vec<u64> = fingerprints.iter().filter_map(insert).collect();
                ahead.note(&request, &fingerprints, &missed, &gone, false);
                let done = ahead.counts;
                assert_eq!(done.raised, done.used + done.wasted + ahead.room.len() as u64);
            }
        }
        let whole = ahead.counts();
        let late = Counts {
            raised: whole.raised - half.raised,
            used: whole.used - half.used,
            wasted: whole.wasted - half.wasted,
            missed: whole.missed - half.missed,
            lead_ms: whole.lead_ms - half.lead_ms,
        };
        (late, waiting_max)
    }

    #[test]
    fn what_comes_back_is_there_before_its_request() {
        let (counts, waiting_max) = run(100, 0, true);
        assert_eq!((counts.used, counts.missed, counts.wasted), (1000, 0, 0), "{counts:?}");
        assert!(
            counts
                .lead_ms_mean()
                .is_some_and(|lead_ms| (1000.0..120_000.0).contains(&lead_ms))
        );
        assert!(waiting_max <= 10);
    }

    #[test]
    fn what_does_not_come_back_is_not_raised() {
        // The blocks do, but no conversation that had them before.
        let (counts, _) = run(100, 0, false);
        assert_eq!((counts.raised, counts.missed), (0, 1000), "{counts:?}");
        assert_eq!((counts.precision(), counts.recall()), (None, Some(0.0)));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let (counts, waiting_max) = run(4, 0, true);
        assert_eq!((counts.used, counts.missed, waiting_max), (400, 600, 4), "{counts:?}");
    }

    #[test]
    fn a_part_stands_for_the_whole_of_a_long_trace() {
        let (counts, _) = run(100, 2 * ACCESSES_ALL, true);
        assert!(
            counts.used % 2 == 0 && (200..=1800).contains(&counts.used),
            "{counts:?}"
        );
        assert_eq!((counts.missed, counts.wasted), (0, 0), "{counts:?}");
    }
}
